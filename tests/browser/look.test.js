// How the page looks: what stays in view, what can be pressed, what assistive technology finds; chat.js says how to run it.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";
import { DESKTOP, PHONE, SMALL_PHONE, open } from "./chat.js";

const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const SCREENS = { phone: PHONE, "small phone": SMALL_PHONE, desktop: DESKTOP };

/** What of the page is wider than its card, or beside or below it. */
const outside = page => page.evaluate(() => {
  const card = document.querySelector(".chat").getBoundingClientRect();
  const scrolled = document.getElementById("rows");
  const name = each => each.id || each.getAttribute("class") || each.tagName;
  return [
    ...card.left < 0 || card.right > innerWidth || card.top < 0 || card.bottom > innerHeight ? ["the card"] : [],
    ...document.documentElement.scrollWidth > innerWidth ? ["the page"] : [],
    ...[...document.querySelectorAll(".chat *")].filter(each => {
      const box = each.getBoundingClientRect();
      if (each.matches(".unseen") || !box.width) return false;
      const tall = !scrolled.contains(each) && !each.contains(scrolled) && !each.matches(".about *, .about");
      return box.left < card.left || box.right > card.right || tall && (box.top < card.top || box.bottom > card.bottom);
    }).map(name),
  ];
});

for (const [screen, options] of Object.entries(SCREENS)) {
  test(`no text pushes anything out of view on a ${screen}`, async t => {
    const chat = await open(t, {
      ...options,
      rewrite: message => message.from === "bot" && message.seq > welcome
        ? { ...message, text: `https://lotus.example/${"x".repeat(500)}`, suggestions: ["y".repeat(200), "z"] } : message,
    });
    await chat.page.evaluate(() => { document.getElementById("name").textContent = "N".repeat(60); });
    const text = `https://lotus.example/${"x".repeat(400)}`;
    await chat.input.fill(text);
    assert.deepEqual(await outside(chat.page), [], "while it is written");
    await chat.input.press("Enter");
    await chat.answer(2);
    assert.deepEqual(await outside(chat.page), [], "once it is answered");
    await chat.input.fill("w".repeat(2100));
    assert.deepEqual(await outside(chat.page), [], "while it is too long");
    await chat.page.getByRole("button", { name: "Send" }).waitFor();
  });

  test(`what can be pressed on a ${screen} is large enough`, async t => {
    const chat = await open(t, options);
    chat.errorsExpected(/400/);
    await chat.page.route("**/messages", route => route.fulfill({ status: 400, json: {} }), { times: 1 });
    await chat.ask("this will be refused");
    await chat.page.getByRole("button", { name: "Try again" }).waitFor();
    await chat.ask("how do I return something");
    await chat.suggestions.first().waitFor();
    assert.equal(await chat.page.getByText("This message was not accepted.").count(), 1, "it still says so");
    for (const button of await chat.page.getByRole("button").all()) {
      const { width, height } = await button.boundingBox();
      assert.ok(width >= 44 && height >= 44, `${await button.innerText()}: ${width} x ${height}`);
    }
  });
}

for (const [screen, options] of [["phone", PHONE], ["desktop", DESKTOP]]) {
  for (const colorScheme of ["light", "dark"]) {
    for (const locale of ["en-GB", "zh-CN"]) {
      test(`axe finds nothing on a ${screen}, ${colorScheme}, ${locale}`, async t => {
        const chat = await open(t, {
          ...options, colorScheme, locale, bypassCSP: true,
          rewrite: message => message.seq === welcome
            ? { ...message, suggestions: ["how do I return something", "Where are you?"] } : message,
        });
        chat.errorsExpected(/ERR_INTERNET_DISCONNECTED/);
        await chat.suggestions.first().click();
        await chat.suggestions.first().waitFor();
        await chat.answer(2);
        await chat.context.setOffline(true);
        await chat.ask("call 010-5555-0123");
        await chat.page.locator(".waiting").waitFor();
        await chat.input.fill("x".repeat(2100));
        await chat.page.addScriptTag({ path: axe });
        const { violations } = await chat.page.evaluate(() => {
          // Moving parts have no colours to compare.
          for (const animation of document.getAnimations()) animation.finish();
          return window.axe.run();
        });
        assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map(node => node.html).join(" ")}`), []);
      });
    }
  }
}

test("addresses in messages are links, and nothing else becomes an element", async t => {
  const chat = await open(t);
  const text = "lotus.example/menu hi@lotus.example +86 10 5555 0123 https://x.example/a,b. <b>x</b> javascript:alert(1)";
  await chat.ask(text);
  const links = chat.questions.getByRole("link");
  assert.equal(await chat.questions.innerText(), text);
  assert.deepEqual(await links.evaluateAll(all => all.map(link => [link.getAttribute("href"), link.target, link.rel])), [
    ["https://lotus.example/menu", "_blank", "noopener noreferrer nofollow"],
    ["mailto:hi@lotus.example", "", ""],
    ["tel:+861055550123", "", ""],
    ["https://x.example/a,b", "_blank", "noopener noreferrer nofollow"],
  ]);
  assert.equal(await chat.questions.locator("> :not(a)").count(), 0);
});

test("a text is shown in its own direction", async t => {
  const chat = await open(t, {
    rewrite: message => message.seq === welcome
      ? { ...message, text: "مرحبا، كيف يمكنني مساعدتك؟\nHello", suggestions: ["أين أنتم؟", "Hello?"] } : message,
  });
  const direction = locator => locator.evaluate(each => getComputedStyle(each).direction);
  assert.equal(await direction(chat.answers), "rtl");
  assert.deepEqual(await Promise.all((await chat.suggestions.all()).map(direction)), ["rtl", "ltr"]);
  await chat.input.fill("שלום");
  assert.equal(await direction(chat.input), "rtl");
  await chat.input.fill("hello");
  assert.equal(await direction(chat.input), "ltr");
});

test("times are written as in the reader's country", async t => {
  for (const [locale, time] of [["en-US", /^May 6, 5:37 AM$/], ["en-GB", /^6 May, 0?5:37$/], ["zh-CN", /^5月6日 0?5:37$/]]) {
    const chat = await open(t, {
      locale, timezoneId: "UTC", rewrite: message => ({ ...message, at: Date.UTC(2024, 4, 6, 5, 37) }),
    });
    assert.match(await chat.page.locator("time").innerText(), time);
  }
});

test("the new conversation's button says what it does", async t => {
  const chat = await open(t, PHONE);
  assert.equal(await chat.page.locator("#restart span").innerText(), "New chat");
  const small = await open(t, { ...SMALL_PHONE, locale: "zh-CN" });
  const button = small.page.getByRole("button", { name: "新对话" });
  assert.equal(await button.getAttribute("title"), "新对话");
});
