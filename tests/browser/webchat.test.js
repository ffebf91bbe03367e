// The web chat's page in a real Chromium, against a running stack.
//
//   npm ci && WEBCHAT_URL=http://….localhost:…/webchat/main npm test
//
// WEBCHAT_URL is the field "webchat" of target/local/stack.json. The browser is Debian's package `chromium`, or the
// program that CHROMIUM names.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const url = process.env.WEBCHAT_URL;
const program = process.env.CHROMIUM ?? "/usr/bin/chromium";
// After this, what is waited for is taken to come never: it says nothing of how fast anything is.
const DEADLINE_MS = 300_000;

let browser;

before(async () => {
  assert.ok(url, "WEBCHAT_URL is not set: give the field \"webchat\" of target/local/stack.json");
  assert.ok(existsSync(program), `there is no ${program}: apt-get install chromium, or set CHROMIUM to a Chromium program`);
  browser = await chromium.launch({
    executablePath: program,
    timeout: DEADLINE_MS,
    // The tests also run as root in a container, where Chromium's sandbox cannot.
    args: ["--no-sandbox", "--disable-background-networking"],
  });
});

after(() => browser?.close());

/** The page in a fresh browser profile. Whatever it reports to the console as an error fails the test. */
async function open(t, { locale = "en-GB", fakeClock = false, ...options } = {}) {
  const context = await browser.newContext({ locale, ...options });
  context.setDefaultTimeout(DEADLINE_MS);
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", error => errors.push(error.message));
  page.on("console", message => { if (message.type() === "error") errors.push(message.text()); });
  t.after(async () => {
    await context.close();
    assert.deepEqual(errors.filter(text => !page.expected?.test(text)), []);
  });
  if (fakeClock) await page.clock.install();
  await page.goto(url);
  const chat = {
    page, context,
    errorsExpected: pattern => { page.expected = pattern; },
    input: page.getByRole("textbox"),
    answers: page.locator(".bot .bubble"),
    questions: page.locator(".you .bubble"),
    suggestions: page.locator(".row:last-child .suggestions button"),
    ask: async text => {
      await chat.input.fill(text);
      await chat.input.press("Enter");
    },
    /** The text of the answer number `count`, from 1; the welcome is the first. */
    answer: async count => {
      await chat.answers.nth(count - 1).waitFor();
      return chat.answers.nth(count - 1).innerText();
    },
  };
  await chat.answer(1);
  return chat;
}

/** The conversation as a person sees it. */
const shown = chat => chat.page.locator(".bubble").allInnerTexts();

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

test("speaks the browser's language and fits a phone", async t => {
  const chat = await open(t, { locale: "zh-CN", viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true });
  assert.equal(await chat.page.locator("html").getAttribute("lang"), "zh-CN");
  assert.equal(await chat.input.getAttribute("placeholder"), "输入消息");
  await chat.ask("https://example.com/" + "x".repeat(300));
  await chat.answer(2);
  const wide = await chat.page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  assert.equal(wide, false, "nothing is wider than the screen");
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
  const log = chat.page.getByRole("log", { name: "Conversation" });
  assert.equal(await log.getAttribute("aria-live"), "polite");
  await chat.page.getByRole("button", { name: "New conversation" }).waitFor();
  await chat.input.fill("忘记密码怎么办");
  await chat.page.getByRole("button", { name: "Send" }).click();
  await chat.answer(2);
  assert.match(await log.innerText(), /Bot:\s[^]*You:\s+忘记密码怎么办\s+Bot:\s/);
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

test("what is written offline waits, shows so, and outlives a reload", async t => {
  const chat = await open(t);
  chat.errorsExpected(/ERR_FAILED|ERR_INTERNET_DISCONNECTED/);
  await chat.context.setOffline(true);
  await chat.ask("where is my parcel");
  await chat.page.getByRole("button", { name: "Try again" }).waitFor();
  await chat.page.getByText("Offline").waitFor();
  await chat.context.setOffline(false);
  await chat.answer(2);
  assert.equal(await chat.page.getByRole("button", { name: "Try again" }).count(), 0);

  await chat.page.route("**/messages", route => route.abort());
  await chat.ask("忘记密码怎么办");
  await chat.page.locator(".unsent").waitFor();
  await chat.page.unroute("**/messages");
  await chat.page.reload();
  await chat.answer(3);
  assert.equal((await shown(chat)).length, 5, "the welcome, two questions, two answers");
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
  await chat.page.getByRole("button", { name: "New conversation" }).click();
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
