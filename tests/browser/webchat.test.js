// Talking with the bot on its page; chat.js says how to run it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { open, shown, url } from "./chat.js";

test("answers in Chinese and in English", async t => {
  const chat = await open(t);
  await chat.ask("忘记密码怎么办");
  assert.match(await chat.answer(2), /密码/);
  await chat.ask("where is my parcel");
  assert.match(await chat.answer(3), /parcel|package|order|track/i);
  assert.equal(await chat.questions.count(), 2);
});

test("a quick reply is asked, and a reload finds the conversation", async t => {
  const chat = await open(t);
  await chat.ask("how do I return something");
  await chat.answer(2);
  await chat.suggestions.first().waitFor();
  const words = await chat.suggestions.first().innerText();
  await chat.suggestions.first().click();
  await chat.answer(3);
  assert.equal(await chat.questions.last().innerText(), words);

  const before = await shown(chat);
  assert.equal(before.length, 5);
  await chat.page.reload();
  await chat.answer(3);
  assert.deepEqual(await shown(chat), before);
  await chat.ask("thank you");
  await chat.answer(4);
});

test("greets in the browser's language, and answers in it until the person's words show another", async t => {
  const [chinese, english] = [/^你好，我是小店的客服助手。[^a-z]*$/, /^Hello, I am the shop's assistant\.[^\p{Script=Han}]*$/u];
  for (const locale of ["zh-CN", "zh-TW", "zh-Hant-HK"]) {
    const chat = await open(t, { locale });
    assert.match(await chat.answer(1), chinese, locale);
    assert.equal(await chat.page.locator("html").getAttribute("lang"), "zh-CN");
    assert.equal(await chat.input.getAttribute("placeholder"), "输入消息");
  }
  const chat = await open(t, { locale: "zh-CN" });
  await chat.ask("123");
  assert.match(await chat.answer(2), /\p{Script=Han}/u);
  await chat.ask("where is my parcel");
  assert.match(await chat.answer(3), /tracking/);
  await chat.ask("123");
  assert.doesNotMatch(await chat.answer(4), /\p{Script=Han}/u);

  assert.match(await (await open(t, { locale: "en-US" })).answer(1), english);
  const french = await (await open(t, { locale: "fr-FR" })).answer(1);
  assert.match(french, /^你好[^]+Hello/, "a language that the bot does not speak");
});

test("suggestions stay with their message, and the others can still be chosen", async t => {
  const chat = await open(t);
  await chat.ask("how do I return something");
  await chat.answer(2);
  await chat.suggestions.nth(1).waitFor();
  const offered = chat.page.locator(".bot").nth(1).getByRole("group", { name: "Suggested replies" }).getByRole("button");
  const words = await offered.allInnerTexts();
  const usable = async () => Promise.all((await offered.all()).map(each => each.isEnabled()));
  await offered.first().click();
  await chat.answer(3);
  assert.deepEqual(await offered.allInnerTexts(), words);
  assert.deepEqual(await usable(), words.map((_, index) => index > 0), "its answer stands below");
  await offered.nth(1).click();
  await chat.answer(4);
  assert.deepEqual(await chat.questions.allInnerTexts(), ["how do I return something", words[0], words[1]]);
  await chat.page.reload();
  await chat.answer(4);
  assert.deepEqual(await usable(), words.map((_, index) => index > 1));
});

test("a welcome can come with suggestions", async t => {
  const chat = await open(t, {
    rewrite: message => message.seq === welcome ? { ...message, suggestions: ["where is my parcel"] } : message,
  });
  await chat.suggestions.first().click();
  await chat.answer(2);
  assert.equal(await chat.questions.innerText(), "where is my parcel");
});

test("is used with the keyboard alone", async t => {
  const chat = await open(t);
  const press = key => chat.page.keyboard.press(key);
  const focused = () => chat.page.evaluate(() => document.activeElement.id || document.activeElement.textContent);
  const reach = async wanted => {
    for (let presses = 0; presses < 15; presses++) {
      await press("Tab");
      if (await focused() === wanted) return;
    }
    assert.fail(`Tab does not lead to ${wanted}`);
  };
  await reach("input");
  await chat.page.keyboard.type("how do I return something");
  await press("Shift+Enter");
  await chat.page.keyboard.type("that I do not like?");
  await press("Enter");
  await chat.answer(2);
  assert.equal(await chat.questions.innerText(), "how do I return something\nthat I do not like?");
  assert.equal(await focused(), "input", "the next question can be typed at once");

  await chat.suggestions.first().waitFor();
  const words = await chat.suggestions.first().innerText();
  await press("Shift+Tab");
  while (await focused() !== words) await press("Shift+Tab");
  await press("Enter");
  await chat.answer(3);
  assert.equal(await chat.questions.last().innerText(), words);
  assert.equal(await focused(), "input", "the focus is not lost with the button");
});

test("Enter that ends an input method's word does not send", async t => {
  const chat = await open(t);
  await chat.input.fill("wangji");
  await chat.input.dispatchEvent("keydown", { key: "Enter", isComposing: true });
  assert.equal(await chat.input.inputValue(), "wangji");
  await chat.input.press("Enter");
  await chat.answer(2);
  assert.equal(await chat.questions.count(), 1);
});

test("what a screen reader is told", async t => {
  const chat = await open(t);
  const log = chat.page.getByRole("log", { name: "Conversation with Hoopoe" });
  assert.equal(await log.getAttribute("aria-live"), "polite");
  await chat.page.getByRole("button", { name: "New chat" }).waitFor();
  await chat.input.fill("忘记密码怎么办");
  await chat.page.getByRole("button", { name: "Send" }).click();
  await chat.answer(2);
  assert.match(await log.innerText(), /Hoopoe:\s[^]*You:\s+忘记密码怎么办\s+Hoopoe:\s/);
  assert.equal(await chat.questions.getAttribute("lang"), "zh");
});

test("a message whose acceptance was lost on the way back is sent again and answered once", async t => {
  const chat = await open(t);
  chat.errorsExpected(/ERR_CONNECTION_RESET/);
  const network = await chat.context.newCDPSession(chat.page);
  const ids = [];
  network.on("Fetch.requestPaused", ({ requestId, request }) => {
    ids.push(JSON.parse(request.postData).id);
    if (ids.length > 1) return network.send("Fetch.continueRequest", { requestId });
    return network.send("Fetch.failRequest", { requestId, errorReason: "ConnectionReset" });
  });
  await network.send("Fetch.enable", { patterns: [{ urlPattern: "*/messages", requestStage: "Response" }] });
  await chat.ask("忘记密码怎么办");
  await chat.answer(2);
  assert.equal(ids.length, 2);
  assert.equal(ids[0], ids[1]);
  await chat.page.reload();
  await chat.answer(2);
  assert.equal((await shown(chat)).length, 3, "the welcome, one question, one answer");
});

test("a message whose request was lost is sent again", async t => {
  const chat = await open(t);
  chat.errorsExpected(/ERR_FAILED/);
  await chat.page.route("**/messages", route => route.abort(), { times: 1 });
  await chat.ask("忘记密码怎么办");
  await chat.answer(2);
  assert.equal((await shown(chat)).length, 3);
});

test("what is written offline waits, says so, and is sent by itself", async t => {
  const chat = await open(t);
  chat.errorsExpected(/ERR_FAILED|ERR_INTERNET_DISCONNECTED/);
  await chat.context.setOffline(true);
  await chat.page.getByText("Offline. Messages wait until you are back.").waitFor();
  await chat.ask("where is my parcel");
  await chat.page.locator(".you").getByText("Waits for a connection.").waitFor();
  assert.equal(await chat.page.getByText(/Not sent|Try again/).count(), 0, "nothing went wrong");
  await chat.context.setOffline(false);
  await chat.answer(2);
  assert.equal(await chat.page.getByText("Waits for a connection.").count(), 0);
  await chat.page.getByText("Online", { exact: true }).waitFor();
});

test("what is not sent outlives a reload", async t => {
  const chat = await open(t);
  chat.errorsExpected(/ERR_FAILED/);
  await chat.page.route("**/messages", route => route.abort());
  await chat.ask("忘记密码怎么办");
  await chat.page.locator(".unsent").waitFor();
  await chat.page.unroute("**/messages");
  await chat.page.reload();
  await chat.answer(2);
  assert.equal((await shown(chat)).length, 3, "the welcome, a question, an answer");
});

test("a page that is opened offline goes on when the connection is back", async t => {
  const chat = await open(t);
  chat.errorsExpected(/ERR_FAILED|ERR_INTERNET_DISCONNECTED/);
  await chat.ask("where is my parcel");
  await chat.answer(2);
  const page = await chat.page.evaluate(() => fetch(location).then(response => response.text()));
  await chat.page.route(url, route => route.fulfill({ contentType: "text/html", body: page }));
  await chat.context.setOffline(true);
  await chat.page.reload();
  await chat.ask("忘记密码怎么办");
  await chat.page.getByText("Waits for a connection.").waitFor();
  await chat.context.setOffline(false);
  assert.match(await chat.answer(3), /密码/);
  assert.equal((await shown(chat)).length, 5, "the welcome, two questions, two answers");
});

test("time without a connection is no time without an answer", async t => {
  const chat = await open(t, { fakeClock: true });
  chat.errorsExpected(/ERR_FAILED|ERR_INTERNET_DISCONNECTED/);
  await chat.page.route("**/messages?*", route => route.abort());
  await chat.ask("where is my parcel");
  await chat.page.locator(".you:not(.unsent)").waitFor();
  await chat.context.setOffline(true);
  await chat.page.getByText("Offline.").waitFor();
  await chat.page.clock.runFor("05:00");
  assert.equal(await chat.page.getByText("No answer came.").count(), 0);
  await chat.page.unroute("**/messages?*");
  await chat.context.setOffline(false);
  await chat.answer(2);
});

test("a server that cannot be reached is told apart from a lost connection", async t => {
  const chat = await open(t, { fakeClock: true });
  chat.errorsExpected(/ERR_FAILED/);
  await chat.page.route("**/messages", route => route.abort());
  await chat.ask("where is my parcel");
  const again = chat.page.getByRole("button", { name: "Try again" });
  while (await again.count() === 0) await chat.page.clock.runFor("00:02");
  await chat.page.getByText("Not sent.").first().waitFor();
  await chat.page.unroute("**/messages");
  await again.click();
  await chat.answer(2);
});

test("a text that is too long is neither cut nor sent, and the page says so", async t => {
  const chat = await open(t);
  const send = chat.page.getByRole("button", { name: "Send" });
  await chat.input.fill("🦚".repeat(2000));
  await chat.page.getByText("0 characters left").waitFor();
  assert.equal(await send.isEnabled(), true);
  await chat.input.fill("where is my parcel" + "!".repeat(2100));
  await chat.page.locator("#count").getByText("118 characters too many.").waitFor();
  assert.equal((await chat.input.inputValue()).length, 2118);
  assert.equal(await chat.input.getAttribute("aria-invalid"), "true");
  assert.match(await chat.page.getByRole("status").innerText(), /118 characters too many/);
  assert.equal(await send.isDisabled(), true);
  await chat.input.press("Enter");
  assert.equal(await chat.questions.count(), 0);
  await chat.input.fill("where is my parcel" + "!".repeat(1982));
  assert.equal(await chat.input.getAttribute("aria-invalid"), "false");
  await chat.input.press("Enter");
  await chat.answer(2);
});

test("a session that has ended makes way for a new one, and nothing unsent is lost", async t => {
  const chat = await open(t);
  chat.errorsExpected(/401/);
  await chat.ask("where is my parcel");
  await chat.answer(2);
  await chat.page.evaluate(() => {
    const key = Object.keys(localStorage).find(name => name.endsWith(" session"));
    const session = JSON.parse(localStorage.getItem(key));
    const [id, , tag] = session.token.split(".");
    localStorage.setItem(key, JSON.stringify({ token: `${id}.1.${tag}`, renewAt: session.renewAt - 600_000 }));
  });
  await chat.ask("忘记密码怎么办");
  await chat.page.getByText("The earlier conversation has ended.").waitFor();
  assert.match(await chat.answer(2), /密码/);
  assert.equal(await chat.questions.count(), 1);
});

test("a new conversation leaves the old one behind", async t => {
  const chat = await open(t);
  await chat.ask("where is my parcel");
  await chat.answer(2);
  chat.page.once("dialog", dialog => dialog.accept());
  await chat.page.getByRole("button", { name: "New chat" }).click();
  await chat.questions.first().waitFor({ state: "detached" });
  await chat.answer(1);
  await chat.page.reload();
  await chat.answer(1);
  assert.equal((await shown(chat)).length, 1, "the welcome alone");
});

test("two tabs show one conversation", async t => {
  const first = await open(t);
  await first.ask("where is my parcel");
  await first.answer(2);
  const tab = await first.context.newPage();
  await tab.goto(url);
  await tab.locator(".bot .bubble").nth(1).waitFor();
  assert.deepEqual(await tab.locator(".bubble").allInnerTexts(), await shown(first));
});

test("asks for nothing while it awaits nothing", async t => {
  const chat = await open(t, { fakeClock: true });
  await chat.ask("where is my parcel");
  await chat.answer(2);
  const requests = [];
  chat.page.on("request", request => requests.push(request.url()));
  await chat.page.clock.runFor("01:00:00");
  assert.deepEqual(requests, []);
});

test("asks again when the function says so, and not before", async t => {
  const chat = await open(t, { fakeClock: true });
  await chat.answer(1);
  let polls = 0;
  await chat.page.route("**/messages?*", route => {
    polls += 1;
    return route.fulfill({ json: { messages: [], retry_after_ms: 20e3 } });
  });
  const first = chat.page.waitForResponse("**/messages?*");
  await chat.ask("where is my parcel");
  await first;
  await new Promise(resolve => setTimeout(resolve, 500));
  assert.equal(polls, 1);
  const second = chat.page.waitForResponse("**/messages?*");
  await chat.page.clock.runFor(20e3);
  await second;
  await chat.page.unroute("**/messages?*");
});

test("its policy allows the page's own script and style and nothing else", async t => {
  const chat = await open(t);
  chat.errorsExpected(/Content Security Policy|violates|TrustedHTML/);
  const policy = (await chat.page.reload()).headers()["content-security-policy"];
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe|\*|https?:/);
  await chat.page.evaluate(() => {
    window.blocked = [];
    addEventListener("securitypolicyviolation", event => window.blocked.push(event.effectiveDirective));
    new Image().src = "https://example.com/picture.png";
    document.body.setAttribute("style", "color: red");
    fetch("https://example.com/").catch(() => {});
    try {
      document.body.innerHTML = "<p>";
    } catch { /* As it should be. */ }
  });
  await chat.page.waitForFunction(() => window.blocked.length >= 4);
  const blocked = await chat.page.evaluate(() => window.blocked.sort());
  assert.deepEqual(blocked, ["connect-src", "img-src", "require-trusted-types-for", "style-src-attr"]);
});
