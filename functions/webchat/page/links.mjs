// Which parts of a message are addresses. The page and tests/browser/links.test.js share this part.

/** Scripts whose letters stand beside an address without a space. A letter of any other script is part of the word. */
const UNSPACED = `[${["Han", "Hiragana", "Katakana", "Hangul", "Thai", "Lao", "Khmer", "Myanmar"]
  .map(script => String.raw`\p{Script_Extensions=${script}}`).join("")}]`;
const LETTER = String.raw`(?:(?!${UNSPACED})[\p{L}\p{M}])`;
const URL_CHAR = String.raw`(?:[\w\-.~:/?#[\]@!$&()*+,;=%]|${LETTER})`;
const PATH = `(?:[/?#](?:(?![,;]https?:)${URL_CHAR})*)?`;
const USER = String.raw`(?:[\w\-.~:!$&()*+,;=%]*@)?`;
/** With letters of every script, so that no address begins or ends within a host; `address` says which are linked. */
const ANY_HOST = String.raw`(?:\[[\da-f:.]+\]|(?:(?!https?:)[\w\-.%\p{L}\p{M}\p{N}])+)`;
const HOST = "(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\\.){1,8}";

/** Endings by which a bare domain is known. Those that are words ("is", "it") or file names ("md") are left out. */
const ENDINGS = "com|net|org|edu|gov|info|biz|io|ai|app|dev|shop|store|online|site|club|top|vip|xyz|cloud|restaurant|cafe|"
  + "hotel|cn|hk|tw|mo|jp|kr|sg|uk|ie|de|fr|es|nl|eu|ch|se|dk|cz|pt|gr|ru|ca|au|nz|br|mx";

/** What looks like a file's or a page's name is no domain, even before a slash. */
const FILES = "(?:js|ts|py|rs|md|html?|php|txt|pdf|png|jpe?g|gif|svg|json|ya?ml|xml|csv|docx?|xlsx?|zip)";

/** Where a domain ends, it is not the beginning of a longer one. */
const AFTER_DOMAIN = String.raw`(?![\w@-]|${LETTER}|\.[\p{L}\p{N}])`;

const GAP = String.raw`[ \u00a0.\-]`;
const AFTER_NUMBER = String.raw`(?![\w@#%€¥￥$]|[.:\-]\d|/7\b)`; // as in 24/7

/** The kinds of addresses; of those that begin at one place the first counts. */
const KINDS = {
  url: String.raw`https?://${USER}${ANY_HOST}(?::\d{1,5})?${PATH}`,
  mail: `[\\w.+\\-]{1,64}@${HOST}[a-z]{2,}${AFTER_DOMAIN}`,
  site: `(?:www\\.${HOST}[a-z]{2,}|${HOST}(?:(?!${FILES}[/?#:])[a-z]{2,}(?=[/?#]|:\\d{2,5}/)|(?:${ENDINGS})))`
    + `${AFTER_DOMAIN}(?::\\d{2,5})?${PATH}`,
  // +86 10 5555 0123, +44 (0)20 7946 0958, 0086-10-5555-0123
  international: String.raw`(?:\+|00(?=\d{1,3}${GAP}))\d(?:${GAP}?[(（]?\d[)）]?){7,14}`,
  // (010) 5555 0123, (415) 555-0123
  bracketed: String.raw`[(（](?:0\d{1,4}|[2-9]\d\d)[)）]${GAP}?\d{3,4}${GAP}?\d{3,4}`,
  // 010-5555-0123, 0755 8888 8888, 01 23 45 67 89
  trunk: String.raw`0\d{1,4}(?:(?:${GAP}\d{2}){4}|(?:${GAP}\d{3,8}){1,3})`,
  // 415-555-0123, 1-800-555-0123, 400-010-8820, 400-8208-820
  grouped: String.raw`(?:1${GAP})?(?:[2-9]\d\d${GAP}[2-9]\d\d${GAP}\d{4}|[48]00${GAP}(?:\d{3}${GAP}\d{4}|\d{4}${GAP}\d{3}))`,
  // 138-0013-8000
  mobile: String.raw`1[3-9]\d[ \-]\d{4}[ \-]\d{4}`,
  // 13800138000 and 95588, if a word before says that it is a number to call
  named: String.raw`\d{5,12}`,
};
const WITHIN_WORD = new RegExp(`${LETTER}$`, "u");
const BEGINS_UNSPACED = new RegExp(`^${UNSPACED}`, "u");
const CALL = /(?:电话|手机|热线|拨打|致电|\b(?:tel|phone|mobile|call))[\s:：.是]{0,3}$/i;
const ADDRESS = new RegExp(Object.entries(KINDS)
  .map(([kind, pattern]) => `(?<${kind}>${pattern})${/^(url|mail|site)$/.test(kind) ? "" : AFTER_NUMBER}`).join("|"), "giu");

/**
 * The text in parts: strings, and addresses as `{text, href}` with the scheme http, https, mailto or tel.
 * Joined, the parts are the text.
 */
export function links(text) {
  const parts = [];
  let end = 0;
  ADDRESS.lastIndex = 0;
  for (let match; match = ADDRESS.exec(text);) {
    const kind = Object.keys(KINDS).find(each => match.groups[each]);
    const found = address(kind, match[0], text.slice(Math.max(end, match.index - 16), match.index));
    if (!found) continue;
    parts.push(text.slice(end, match.index), found);
    end = ADDRESS.lastIndex = match.index + found.text.length;
  }
  return [...parts, text.slice(end)].filter(part => part !== "");
}

/** What was found as an address, without what only stands behind it; null if what stands before it says otherwise. */
function address(kind, found, before) {
  if (kind === "url") return withScheme(found);
  if (WITHIN_WORD.test(before) && (kind === "mail" || kind === "site")) return null;
  if (kind === "mail") {
    return /[\w.+\-@/]$/.test(before) || found.startsWith(".") ? null : { text: found, href: `mailto:${found}` };
  }
  if (kind === "site") {
    // "Thank you.Shop": a sentence that begins without a space.
    const sentence = /\.[A-Z][a-z]+$/.test(/^[^/?#:]*/.exec(found)[0]);
    return /[\w.@\-/:]$/.test(before) && !/[a-z]:$/i.test(before) || sentence ? null : webAddress(found, "https://");
  }
  if (/[\w@#$€£¥￥+\-/=_&%*]$|\d[.:]$|\d[ \u00a0]$/.test(before) && !CALL.test(before)) return null;
  return kind === "named" && !CALL.test(before) ? null : phone(kind, found);
}

/**
 * The address if its host is of ASCII letters. Another host is not linked: it may look like one that people know, as
 * аpple.com does with its Cyrillic а.
 */
function withScheme(found) {
  const [start] = /^[^/]*\/\/[^/?#]*/.exec(found);
  const ascii = /^[!-~]*/.exec(start)[0];
  if (!/^https?:\/\/[\w[]/i.test(ascii)) return null;
  if (ascii === start) return webAddress(found, "");
  // "https://lotus.cn查看": no top-level domain mixes scripts, so what follows the host is text, unless it has a dot too.
  const text = start.slice(ascii.length);
  return BEGINS_UNSPACED.test(text) && /\.[a-z0-9]+$/i.test(ascii) && !/\.[\p{L}\p{N}]/u.test(text)
    ? webAddress(ascii, "") : null;
}

function webAddress(found, scheme) {
  const count = sign => found.split(sign).length - 1;
  // A closing bracket belongs to the address if it was opened there.
  const spare = { ")": count(")") - count("("), "]": count("]") - count("[") };
  let end = found.length;
  for (let last; last = found[end - 1], spare[last] > 0 || ".,:;!?*~@$&([".includes(last); end--) {
    if (last in spare) spare[last]--;
  }
  const text = found.slice(0, end);
  return { text, href: scheme + text };
}

function phone(kind, found) {
  const count = (text, brackets) => text.split(brackets).length - 1;
  for (let text = found; text; text = text.slice(0, Math.max(text.lastIndexOf(" "), 0))) {
    if (count(text, /[)）]/) > count(text, /[(（]/)) text = text.replace(/[)）]$/, "");
    if (count(text, /[)）]/) !== count(text, /[(（]/) || /^(\d{1,3}\.){3}\d{1,3}$/.test(text)) return null;
    const digits = text.replace(/^00|[(（]0[)）]/g, "").replace(/\D/g, "");
    const [least, most] = kind === "international" ? [text.startsWith("00") ? 10 : 8, 15] : [kind === "named" ? 5 : 9, 12];
    if (digits.length < least) return null;
    // After a space another number may follow.
    if (digits.length <= most) return { text, href: `tel:${kind === "international" ? "+" : ""}${digits}` };
  }
  return null;
}

