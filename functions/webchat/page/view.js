// What is seen, and what the person does.

const MAX_CHARS = 2000;

const [state, log, rows, typing, latest, form, input, sendButton, count, announcer, restart, mark, icon, heading] =
  ["state", "log", "rows", "typing", "latest", "form", "input", "send", "count", "status", "restart", "mark", "icon", "name"]
    .map(id => document.getElementById(id));

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function showUnsent(message) {
  const row = rowOf("you", message.text, message.at);
  row.classList.add("unsent");
  row.seq = Infinity;
  talk.unsent.set(message.id, row);
  insert(row);
  toLatest();
}

function showPlaced({ seq, from, text, suggestions, at }) {
  const row = rowOf(from, text, at);
  row.seq = seq;
  talk.placed.set(seq, row);
  if (suggestions.length) {
    const choose = words => {
      speak(words);
      if (matchMedia("(pointer: fine)").matches) input.focus(); // A phone's keyboard would cover the answer.
      else log.focus();
    };
    row.querySelector(".bubble").after(
      element("div", { className: "suggestions", role: "group", ariaLabel: say.suggested },
        ...suggestions.map(words => element("button", {
          type: "button", dir: "auto", lang: languageOf(words), textContent: words, onclick: () => choose(words),
        }))));
  }
  insert(row);
}

function rowOf(from, text, at) {
  const when = new Date(at);
  const day = when.toDateString() === new Date().toDateString() ? {} : { month: "short", day: "numeric" };
  return element("div", { className: `row ${from}${log.ariaLive === "off" ? "" : " fresh"}` },
    element("span", { className: "unseen", textContent: say[from] }),
    element("div", { className: "bubble", dir: "auto", lang: languageOf(text) }, ...linked(text)),
    element("time", {
      dateTime: when.toISOString(),
      textContent: when.toLocaleString(locale, { ...day, hour: "numeric", minute: "2-digit" }),
    }));
}

/** Puts a row at its place: an answer stands below its question even where another has been asked since. */
function insert(row) {
  let next = null;
  for (let last = rows.lastElementChild; last?.seq > row.seq; last = last.previousElementSibling) next = last;
  rows.insertBefore(row, next);
  for (const each of [row, row.previousElementSibling]) hideRepeatedTime(each);
  if (row.matches(".you")) markChosen(row);
  if (atLatest) toLatest();
  else latest.hidden = false;
}

/**
 * Suggestions stay with their message, so that the others can still be chosen. The one that a person chose is marked in
 * the last group above that offers it, and cannot be pressed again: its answer stands below.
 */
function markChosen(row) {
  const words = row.querySelector(".bubble").textContent;
  for (let above = row.previousElementSibling; above; above = above.previousElementSibling) {
    const offered = [...above.querySelectorAll(".suggestions button")].find(button => button.textContent === words);
    if (!offered) continue;
    offered.disabled = true;
    return;
  }
}

/** One minute's messages show their time once, below the last. */
function hideRepeatedTime(row) {
  const [time, following] = [row, row?.nextElementSibling].map(each => each?.querySelector("time"));
  if (time) time.hidden = time.textContent === following?.textContent;
}

/** Says in a message's row what went wrong, and lets the person send it again under the id it has. */
function fail(row, message, trouble) {
  showTrouble(row, element("p", { className: "trouble" }, `${trouble} `, element("button", {
    type: "button", textContent: say.again, onclick: event => {
      event.target.parentElement.remove();
      input.focus();
      outbox.add(message);
      flush();
    },
  })));
  announcer.textContent = trouble;
}

/** Says in the row of each message of the outbox that it waits for a connection. It is sent by itself then. */
function showWaiting() {
  for (const { id } of outbox.all()) {
    showTrouble(talk.unsent.get(id), element("p", { className: "trouble waiting", textContent: say.waiting }));
  }
}

function showTrouble(row, trouble) {
  row?.querySelector(".trouble")?.remove();
  row?.append(trouble);
  if (atLatest) toLatest();
}

/** A line of the page's own within the conversation. */
function note(text, retry) {
  const row = element("div", { className: "notice" }, text);
  if (retry) row.append(" ", element("button", { type: "button", textContent: say.again, onclick: () => {
    row.remove();
    retry();
  } }));
  insert(row);
}

/** The text, with its addresses as links. */
function linked(text) {
  return links(text).map(part => {
    if (typeof part === "string") return part;
    const elsewhere = part.href.startsWith("http") && { target: "_blank", rel: "noopener noreferrer nofollow" };
    return element("a", { href: part.href, ...elsewhere, textContent: part.text });
  });
}

/** The language a screen reader speaks a text in, as far as its letters tell. */
function languageOf(text) {
  if (/[\p{Script=Hiragana}\p{Script=Katakana}]/u.test(text)) return "ja";
  if (/\p{Script=Han}/u.test(text)) return "zh";
  return /^[\p{ASCII}\p{P}\p{S}]*$/u.test(text) ? "en" : "";
}

let typingTimer;

function showTyping(shown) {
  if (typing.hidden !== shown) return;
  typing.hidden = !shown;
  clearTimeout(typingTimer);
  announcer.textContent = "";
  if (!shown) return;
  if (atLatest) toLatest();
  typingTimer = setTimeout(() => { announcer.textContent = say.typing; }, 2e3); // Most answers are there before.
}

/** Whether the latest message is in view, which new ones then keep up. */
let atLatest = true;

function toLatest() {
  log.scrollTop = log.scrollHeight;
  atLatest = true;
  latest.hidden = true;
}

function showConnection() {
  state.textContent = navigator.onLine ? say.online : say.offline;
  state.classList.toggle("offline", !navigator.onLine);
  if (navigator.onLine) return;
  showTyping(false);
  showWaiting();
}

/** Fits the field to its text, and says how much more it may hold. A longer text stays as it is, but is not sent. */
function fitInput() {
  const text = input.value.trim();
  const left = MAX_CHARS - [...text].length;
  const over = left < 0;
  sendButton.disabled = !text || over;
  count.hidden = left > 200;
  count.textContent = count.hidden ? "" : over ? say.over(-left) : say.left(left);
  count.classList.toggle("over", over);
  if (over !== (input.ariaInvalid === "true")) announcer.textContent = over ? count.textContent : "";
  input.ariaInvalid = String(over);
  if (CSS.supports("field-sizing", "content")) return;
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight}px`;
}

form.addEventListener("submit", event => {
  event.preventDefault();
  if (sendButton.disabled) return;
  const text = input.value.trim();
  input.value = "";
  fitInput();
  input.focus();
  speak(text);
});
input.addEventListener("input", fitInput);
input.addEventListener("keydown", event => {
  // Enter that chooses a word in an input method (229 in Safari) does not send.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  form.requestSubmit();
});
restart.addEventListener("click", () => {
  if (!confirm(say.sure)) return;
  for (const { id } of outbox.all()) outbox.remove(id);
  store.remove("session");
  start();
  input.focus();
});
latest.addEventListener("click", () => {
  toLatest();
  log.focus();
});
log.addEventListener("scroll", () => {
  atLatest = log.scrollHeight - log.scrollTop - log.clientHeight < 48;
  if (atLatest) latest.hidden = true;
});
new ResizeObserver(() => { if (atLatest) toLatest(); }).observe(log);
visualViewport?.addEventListener("resize", () => {
  if (visualViewport.scale !== 1) return;
  document.documentElement.style.setProperty("--visible-height", `${visualViewport.height}px`);
  scrollTo(0, 0);
});
addEventListener("storage", ({ key, oldValue, newValue }) => {
  // Another tab has begun a new conversation. A token starts with the name of its session.
  const session = value => JSON.parse(value ?? "{}")?.token?.split(".")[0];
  if (key === `${base} session` && newValue && session(newValue) !== session(oldValue)) start();
});
addEventListener("online", () => { showConnection(); resume(); });
addEventListener("offline", showConnection);
document.addEventListener("visibilitychange", () => { if (!document.hidden && store.get("session")) refresh(); });

document.documentElement.lang = codeOf(locale) === "zh" ? "zh-CN" : codeOf(locale);
document.title = heading.textContent = heading.title = botName;
heading.lang = nameLanguage;
const letter = mark.querySelector("text");
if (letter) letter.textContent = [...botName][0].toUpperCase();
icon.href = mark.src ?? `data:image/svg+xml,${encodeURIComponent(mark.outerHTML)}`;
for (const part of document.querySelectorAll("[data-say]")) part.textContent = say[part.dataset.say];
for (const [part, label] of [
  [log, say.conversation], [input, say.write], [sendButton, say.send], [latest, say.latest], [restart, say.restart],
]) {
  part.ariaLabel = label;
  if (part instanceof HTMLButtonElement) part.title = label;
}
input.placeholder = say.write;
start();
showConnection();
fitInput();
