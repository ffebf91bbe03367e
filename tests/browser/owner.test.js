// The page with its owner's name, logo and colour: the function itself composes it from a page.json.
//
// WEBCHAT_BINARY is the compiled function, by default that of `make up`. The test stands in for Lambda's runtime API and
// gives Chromium what the function answers; the conversation goes to the stack.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { DESKTOP, PHONE, open, url } from "./chat.js";

const binary = process.env.WEBCHAT_BINARY ?? fileURLToPath(new URL("../../target/debug/webchat", import.meta.url));

// A picture of one pixel.
const PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const SVG = `data:image/svg+xml;base64,${Buffer.from(
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><script>parent.document.title = "x"</script><rect width="8" height="8" fill="#0a7f5c"/></svg>',
).toString("base64")}`;

/** Starts the function with a page.json. Resolves with its answer to GET /webchat/main, or with how it ended. */
async function start(appearance) {
  assert.ok(existsSync(binary), `there is no ${binary}: run make up, or set WEBCHAT_BINARY`);
  const bundle = mkdtempSync(join(tmpdir(), "hoopoe-page-"));
  writeFileSync(join(bundle, "page.json"), JSON.stringify(appearance));
  const event = {
    version: "2.0", routeKey: "$default", rawPath: "/webchat/main", rawQueryString: "", headers: {}, isBase64Encoded: false,
    requestContext: { http: { method: "GET", path: "/webchat/main", sourceIp: "127.0.0.1" } },
  };
  let answered;
  const answer = new Promise(resolve => { answered = resolve; });
  let asked = 0;
  const api = createServer((request, response) => {
    let body = "";
    request.on("data", part => { body += part; });
    request.on("end", () => {
      if (request.url.endsWith("/invocation/next")) {
        if (asked++) return; // It waits for a second event, which does not come.
        response.setHeader("lambda-runtime-aws-request-id", "1");
        response.setHeader("lambda-runtime-deadline-ms", `${Date.now() + 60_000}`);
        response.setHeader("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:000000000000:function:webchat");
        return response.end(JSON.stringify(event));
      }
      response.statusCode = 202;
      response.end("{}");
      if (request.url.endsWith("/response")) answered({ page: JSON.parse(body) });
    });
  });
  await new Promise(resolve => { api.listen(0, "127.0.0.1", resolve); });
  const child = spawn(binary, [], {
    env: {
      AWS_LAMBDA_RUNTIME_API: `127.0.0.1:${api.address().port}`, LAMBDA_TASK_ROOT: bundle, AWS_REGION: "us-east-1",
      AWS_LAMBDA_FUNCTION_NAME: "webchat", AWS_LAMBDA_FUNCTION_VERSION: "1", AWS_LAMBDA_FUNCTION_MEMORY_SIZE: "128",
      AWS_LAMBDA_LOG_GROUP_NAME: "group", AWS_LAMBDA_LOG_STREAM_NAME: "stream",
      AWS_ACCESS_KEY_ID: "none", AWS_SECRET_ACCESS_KEY: "none",
      CLAIMS_TABLE: "none", KEYS_TABLE: "none", USAGE_TABLE: "none", TRANSCRIPTS_TABLE: "none",
      INBOUND_QUEUE_URL: "http://127.0.0.1:1/none", KEY_CACHE_SECONDS: "300",
    },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let errors = "";
  child.stderr.on("data", part => { errors += part; });
  child.on("close", code => answered({ code, errors }));
  const result = await answer;
  child.kill();
  api.closeAllConnections();
  api.close();
  rmSync(bundle, { recursive: true });
  return result;
}

async function openOwned(t, appearance, options) {
  const { page, errors } = await start(appearance);
  assert.ok(page, errors);
  return open(t, {
    ...options,
    prepare: browserPage => browserPage.route(url, route =>
      route.fulfill({ status: page.statusCode, headers: page.headers, body: page.body })),
  });
}

/** The contrast of WCAG 2.2 between an element's text and what lies behind it. */
const contrast = locator => locator.evaluate(element => {
  const luminance = color => {
    const [red, green, blue] = color.match(/[\d.]+/g).map(part => part / 255)
      .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  let behind = element;
  while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
  const [one, other] = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(luminance);
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
});

test("name, logo and colour are the owner's, in the reader's language", async t => {
  const appearance = { name: { zh: "莲园", en: "Lotus Garden" }, default_language: "en", logo: PNG, color: "#0a7f5c" };
  for (const [locale, name] of [["zh-TW", "莲园"], ["en-US", "Lotus Garden"], ["fr-FR", "Lotus Garden"]]) {
    const { page, answers } = await openOwned(t, appearance, { locale });
    assert.equal(await page.title(), name);
    assert.equal(await page.getByRole("heading", { level: 1 }).innerText(), name);
    assert.match(await page.locator(".row.bot").innerText(), new RegExp(`^${name}[:：]`));
    assert.equal(await answers.count(), 1);
    assert.equal(await page.locator("#mark").evaluate(mark => mark.naturalWidth), 1, "the logo is loaded");
    assert.equal(await page.locator("#icon").getAttribute("href"), PNG);
    const you = await page.evaluate(() => getComputedStyle(document.documentElement).getPropertyValue("--you"));
    assert.equal(you, "#0a7f5c");
  }
});

test("a picture's script does not run", async t => {
  const { page } = await openOwned(t, { name: { en: "Lotus" }, default_language: "en", logo: SVG });
  assert.ok(await page.locator("#mark").evaluate(mark => mark.decode().then(() => mark.naturalWidth > 0)));
  assert.equal(await page.title(), "Lotus");
});

test("a hostile name is a name", async t => {
  for (const name of ["</script><script>window.pwned = 1</script>", "</title></style><img src=x onerror=pwned=1>", "{{script}}&lt;'\""]) {
    const { page } = await openOwned(t, { name: { en: name }, default_language: "en" });
    assert.equal(await page.title(), name);
    assert.equal(await page.getByRole("heading", { level: 1 }).innerText(), name);
    assert.equal(await page.evaluate(() => "pwned" in window || document.images.length > 0), false);
    assert.equal(await page.locator("#mark text").textContent(), name[0]);
  }
});

test("any colour can be read, in light and in dark", async t => {
  for (const color of ["#ffffff", "#000000", "#ffd400", "#808080"]) {
    for (const [colorScheme, screen] of [["light", PHONE], ["dark", DESKTOP]]) {
      const chat = await openOwned(t, { name: { en: "Lotus" }, default_language: "en", color }, {
        ...screen, colorScheme,
        rewrite: message => message.seq === welcome ? { ...message, suggestions: ["Where are you?", "Parking"] } : message,
      });
      await chat.suggestions.first().click();
      for (const part of [chat.questions, chat.page.locator(".suggestions button:enabled").first()]) {
        assert.ok(await contrast(part) >= 4.5, `${color} ${colorScheme}: ${await contrast(part)}`);
      }
    }
  }
});

test("a broken page.json stops the function with a sentence", async () => {
  const { page, code, errors } = await start({ name: { en: "Lotus" }, default_language: "en", color: "red" });
  assert.equal(page, undefined);
  assert.notEqual(code, 0);
  assert.match(errors, /page\.json is not valid: a color is # and six hexadecimal digits, such as #b4552d/);
});
