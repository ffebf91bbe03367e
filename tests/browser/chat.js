// What the page's tests share: a real Chromium, and the page in it against a running stack.
//
//   npm ci && WEBCHAT_URL=http://….localhost:…/webchat/main npm test
//
// WEBCHAT_URL is the field "webchat" of target/local/stack.json. The browser is Debian's package `chromium`, or the
// program that CHROMIUM names.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, before } from "node:test";
import { chromium } from "playwright-core";

export const url = process.env.WEBCHAT_URL;
const program = process.env.CHROMIUM ?? "/usr/bin/chromium";
// After this, what is waited for is taken to come never: it says nothing of how fast anything is.
const DEADLINE_MS = 300_000;

export const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };
export const SMALL_PHONE = { ...PHONE, viewport: { width: 320, height: 640 } };
export const DESKTOP = { viewport: { width: 1280, height: 900 } };

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

/**
 * The page in a fresh browser profile. Whatever it reports to the console as an error fails the test.
 *
 * `prepare` may add routes before the page is opened. `rewrite` changes each message that the page reads; it runs in the
 * page and sees nothing of the test but `welcome`, the `seq` of the bot's first message.
 */
export async function open(t, { locale = "en-GB", fakeClock = false, prepare, rewrite, ...options } = {}) {
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
  if (rewrite) {
    await page.addInitScript(`{
      const json = Response.prototype.json;
      Response.prototype.json = async function () {
        const body = await json.call(this);
        globalThis.welcome ??= body.messages?.find(message => message.from === "bot")?.seq;
        return body.messages ? { ...body, messages: body.messages.map(${rewrite}) } : body;
      };
    }`);
  }
  await prepare?.(page);
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
export const shown = chat => chat.page.locator(".bubble").allInnerTexts();
