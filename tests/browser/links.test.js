// Which parts of a message the web chat's page makes links of.

import assert from "node:assert/strict";
import { test } from "node:test";
import { links } from "../../functions/webchat/page/links.mjs";

/** A message with its links in ⟦ ⟧, each with its address if that is not the text with "https://" or itself. */
const marked = text => links(text).map(part => {
  if (typeof part === "string") return part;
  return [part.text, `https://${part.text}`].includes(part.href) ? `⟦${part.text}⟧` : `⟦${part.text}|${part.href}⟧`;
}).join("");

const text = marking => marking.replace(/⟦([^⟦⟧|]*)(\|[^⟦⟧]*)?⟧/g, "$1");

const CASES = {
  "web addresses": [
    "see ⟦https://lotus.example/menu⟧",
    "⟦http://lotus.example⟧",
    "⟦HTTPS://LOTUS.EXAMPLE/Menu⟧",
    "⟦https://uri.amap.com/navigation?destination=39.9158,116.4166&mode=car⟧",
    "⟦https://x.example/a,b;c=d⟧, and more",
    "⟦https://x.example/a⟧,⟦https://y.example/b⟧;⟦https://z.example⟧",
    "⟦https://web.archive.org/web/2020/https://x.example/⟧",
    "⟦https://x.example:8443/a?b=c#d⟧",
    "⟦http://127.0.0.1:8080/a⟧ and ⟦http://[::1]/a⟧",
    "⟦https://fr.wikipedia.org/wiki/Huppe_fasciée⟧.",
    "https:// is nothing, http://. neither",
    "javascript:alert(1) data:text/html,x ftp://x.example/a file:///etc/passwd",
  ],
  "what stands behind an address": [
    "Read ⟦https://x.example/a⟧.",
    "Is it ⟦https://x.example/a⟧?",
    "⟦https://x.example/a⟧!?...",
    "\"⟦https://x.example/a⟧\", he said",
    "the ⟦https://x.example⟧'s menu",
    "<⟦https://x.example/a⟧>",
    "**⟦https://x.example/a⟧**",
    "(⟦https://x.example/a⟧)",
    "(see ⟦https://en.wikipedia.org/wiki/Lotus_(plant)⟧).",
    "⟦https://en.wikipedia.org/wiki/Lotus_(plant)⟧",
    "[menu](⟦https://x.example/a⟧)",
    "[⟦https://x.example/a[1]⟧]",
    "⟦https://x.example/a/⟧",
    "⟦https://x.example/a-⟧ ⟦https://x.example/a?b=⟧ ⟦https://x.example/c++⟧",
  ],
  "Chinese beside an address": [
    "请看⟦https://x.example/a⟧。谢谢",
    "请看⟦https://x.example/a⟧，谢谢",
    "（⟦https://x.example/a⟧）",
    "点⟦https://x.example/a⟧查看",
    "请访问⟦lotus.example/menu⟧点餐",
    "菜单：⟦www.lotus.cn⟧。",
    "邮箱⟦hi@lotus.example|mailto:hi@lotus.example⟧或电话⟦010-5555-0123|tel:01055550123⟧。",
    "「⟦https://x.example/a⟧」 ⟦https://x.example/a⟧、⟦https://y.example⟧；",
  ],
  "letters of other scripts": [
    // The first letter, or one within, is Cyrillic.
    "https://аpple.com аpple.com www.аpple.com https://www.аpple.com/a",
    "https://gооgle.com/a gооgle.com hi@gооgle.com аhi@lotus.com",
    "https://apple.соm apple.соm/a www.apple.соm https://lotus.com.рф lotus.com.рф hi@lotus.com.рф",
    "lotus.comа https://lotus.comа hi@lotus.comа",
    "https://éxample.com éxample.com bücher.de https://bücher.de παlotus.com",
    "https://我的shop.com https://shop中国.com https://shop中国a.com https://www.中国 https://a.例子.com",
    "https://lotus.com中国.cn https://lotus.com.中国 https://shop中国 lotus.com.中国",
    "⟦https://xn--pple-43d.com⟧ ⟦xn--pple-43d.com⟧",
    "⟦https://ru.wikipedia.org/wiki/Удод⟧, ⟦lotus.example/меню⟧",
    "点⟦https://lotus.cn⟧查看，⟦https://lotus.cn:8080⟧试试，⟦https://lotus.cn⟧和⟦https://lotus.com⟧。",
    "⟦https://lotus.cn⟧或⟦hi@lotus.cn|mailto:hi@lotus.cn⟧，⟦lotus.com⟧或⟦www.lotus.cn⟧都行",
    "⟦https://lotus.kr⟧에서 ⟦https://lotus.jp⟧へどうぞ",
    "⟦https://me:secret@lotus.cn/a⟧",
  ],
  "bare domains": [
    "⟦lotus.example/menu⟧ and ⟦www.x.com⟧",
    "⟦www.lotus.example⟧",
    "⟦lotus.com⟧, ⟦lotus.com.cn⟧. ⟦shop.lotus.co.uk⟧!",
    "Do you know ⟦lotus.com⟧?",
    "(⟦lotus.example/a_(b)⟧)",
    "⟦lotus.example:8080/menu⟧ ⟦lotus.example?a=1⟧ ⟦LOTUS.COM⟧",
    "menu:⟦lotus.example/menu⟧",
    "⟦t.me/lotus⟧ ⟦wa.me/861055550123⟧",
    "lotus.example alone, e.g. this, i.e. that, a.m./p.m.",
    "node.js, main.rs, report.pdf, README.md/LICENSE, index.html#top",
    "I read it.is it yours? Thank you.Shop again. Yes.No",
    "3.5 km, 1.2.3, v2.0.cn1, 10.0.0.1/admin, and/or",
    "x.comment .com www. www.x",
    "/srv/lotus.example/menu",
  ],
  "mail addresses": [
    "⟦hi@lotus.example|mailto:hi@lotus.example⟧",
    "write to ⟦first.last+menu@mail.lotus.co.uk|mailto:first.last+menu@mail.lotus.co.uk⟧.",
    "mailto:⟦hi@lotus.example|mailto:hi@lotus.example⟧",
    "(⟦hi@lotus.example|mailto:hi@lotus.example⟧)",
    "@lotus, hi@lotus, hi@@lotus.example, a@b@lotus.example",
    "hi@1.2 is none",
  ],
  "phone numbers": [
    "⟦+86 10 5555 0123|tel:+861055550123⟧",
    "⟦+8613800138000|tel:+8613800138000⟧",
    "(⟦+86-10-5555-0123|tel:+861055550123⟧)",
    "⟦+44 (0)20 7946 0958|tel:+442079460958⟧",
    "⟦+1 (415) 555-0123|tel:+14155550123⟧, ext. 4",
    "⟦+86 10 5555 0123|tel:+861055550123⟧ 8:00-20:00",
    "⟦+86 10 5555 0123|tel:+861055550123⟧ 24/7",
    "⟦010-5555-0123|tel:01055550123⟧",
    "⟦010-5555-0123|tel:01055550123⟧ 10:00-21:00",
    "⟦010-5555-0123|tel:01055550123⟧,⟦010-5555-0124|tel:01055550124⟧",
    "⟦010-55550123|tel:01055550123⟧/55550124",
    "⟦010 5555 0123|tel:01055550123⟧ 8001",
    "Tel:⟦0755 8888 8888|tel:075588888888⟧",
    "⟦(010) 5555 0123|tel:01055550123⟧ （⟦（0571）88888888|tel:057188888888⟧）",
    "⟦(415) 555-0123|tel:4155550123⟧ or ⟦1-800-555-0123|tel:18005550123⟧",
    "⟦415.555.0123|tel:4155550123⟧",
    "⟦020 7946 0958|tel:02079460958⟧ ⟦0800 123 4567|tel:08001234567⟧",
    "⟦01 23 45 67 89|tel:0123456789⟧",
    "⟦030 123456|tel:030123456⟧",
    "⟦0086-10-5555-0123|tel:+861055550123⟧",
    "⟦400-820-8820|tel:4008208820⟧转1，⟦400-8208-820|tel:4008208820⟧",
    "⟦138-0013-8000|tel:13800138000⟧ ⟦138 0013 8000|tel:13800138000⟧",
    "电话：⟦13800138000|tel:13800138000⟧，热线⟦95588|tel:95588⟧",
    "Phone: ⟦01055550123|tel:01055550123⟧, call ⟦5550123|tel:5550123⟧",
  ],
  "numbers that nobody can call": [
    "2024-05-06, 2024.05.06, 06.05.2024, 05/06/2024, 06-05-2024, 20240506",
    "01.02.2024 10:30, 2024-05-06 10:30:00, 10:00-21:00, 0900-2100",
    "订单号 12345678, 202405060001, 13800138000, #010-5555-0123",
    "order 2024-0001234, SF1234567890, A010-5555-0123, 0012-345678",
    "￥1,299.00, $400-800-1200, 1 299,00 €, 1 000 000, 0.123456789",
    "192.168.1.10, 192.168.100.200, 010.020.030.040, 255.255.255.0",
    "6222 0212 3456 7890, 1234-5678-9012-3456, 123-45-6789",
    "978-7-111-12345-6, 94103-1234, 1-2-3, 100-200, 4-6 days",
    "+5, +100 points, 1+123456789, +12345678901234567890",
    "call 3 times, 8 am",
  ],
};

for (const [name, markings] of Object.entries(CASES)) {
  test(name, () => {
    for (const marking of markings) assert.equal(marked(text(marking)), marking);
  });
}

test("the parts are the text, and only four schemes are made", () => {
  const pieces = ["https://", "www.", "x.com", "@", "(", ")", "+86 ", "010-", "5555", " ", ".", ",", "。", "戴胜", "javascript:", "\n", "/", "<"];
  let seed = 1;
  const random = below => {
    seed = (seed * 48271) % 2147483647;
    return seed % below;
  };
  for (let round = 0; round < 20_000; round++) {
    const message = Array.from({ length: 1 + random(8) }, () => pieces[random(pieces.length)]).join("");
    const parts = links(message);
    assert.equal(parts.map(part => part.text ?? part).join(""), message);
    for (const { href } of parts.filter(part => part.href)) assert.match(href, /^(https?:\/\/|mailto:|tel:)/, message);
  }
});

test("work grows with the length and not with its square", () => {
  // A step of a backtracking search for each pair of characters would take minutes.
  for (const piece of ["12345 ", "a", "a.", "a@", "0", "0 12 ", "+1", "(", "https://a,", "https://аa.", "https://a中", "a-", "010-5555-0123 ", "www."]) {
    assert.equal(links(piece.repeat(200_000 / piece.length)).map(part => part.text ?? part).join("").length > 0, true);
  }
});
