// The conversation: what was accepted stands in the transcript at a place ("seq"), its answer at the next one. The page
// asks for answers only while it awaits one.

const PATIENCE_MS = 30e3; // how long an answer is awaited; one normally comes within half a second
const WAIT_S = 2; // how long one request may be held; a busy function says when to ask again instead
const PAUSES_MS = [1e3, 2e3, 4e3];

const pause = ms => new Promise(resolve => setTimeout(resolve, ms));
const untilOnline = () => new Promise(resolve => addEventListener("online", resolve, { once: true }));

/** What is shown of the conversation. A new one replaces it as a whole; what still arrives for the old is dropped. */
let talk;

/** Shows the conversation that the browser remembers, or begins one. */
async function start(notice) {
  talk = {
    placed: new Map(), // rows by place in the transcript
    unsent: new Map(), // rows by id, of what has no place yet
    awaited: new Map(), // answers by place
    heard: 0, // the last place at which the bot has spoken
    restored: false, sending: false, listening: false,
    begin: () => start(notice), // again, after it failed
  };
  const mine = talk;
  rows.replaceChildren();
  showTyping(false);
  if (notice) note(notice);
  for (const message of outbox.all()) if (message.text) showUnsent(message);
  try {
    if (store.get("session")) await restore(mine);
  } catch {
    if (mine !== talk) return;
    if (navigator.onLine) note(say.unavailable, mine.begin);
    else showWaiting();
    return;
  }
  if (mine !== talk) return;
  mine.restored = true;
  flush();
}

async function restore(mine) {
  log.ariaLive = "off"; // Nobody wants the whole conversation read out again.
  let last = null;
  try {
    for (let more = true; more;) {
      const { messages } = await request("GET", `messages?after=${last?.seq ?? 0}`);
      if (mine !== talk) return;
      take(messages);
      last = messages.at(-1) ?? last;
      more = messages.length > 0;
    }
  } finally {
    log.ariaLive = "polite";
  }
  if (!last) {
    store.remove("session"); // Nothing was said in it, or all has been forgotten: the next one begins with a welcome.
  } else if (last.from === "you" && Date.now() - last.at < PATIENCE_MS) {
    expect(last.seq + 1, last.at);
  }
}

/** Goes on after the connection was lost. */
function resume() {
  if (talk.restored) flush();
  else talk.begin();
}

/** Asks for what came while nobody looked, perhaps in another tab. */
async function refresh() {
  const mine = talk;
  try {
    const { messages } = await request("GET", `messages?after=${mine.heard}`);
    if (mine === talk) take(messages);
  } catch { /* The next message will tell. */ }
}

/**
 * Sends what waits in the outbox, one after the other: their order is the order of the conversation. Without a
 * connection it all waits for the next one; what a reachable server does not take is tried a few times.
 */
async function flush() {
  const mine = talk;
  if (mine.sending) return;
  mine.sending = true;
  for (const notice of rows.querySelectorAll(".notice:has(button)")) notice.remove();
  for (const { id } of outbox.all()) talk.unsent.get(id)?.querySelector(".trouble")?.remove();
  try {
    for (let tries = 0, next; mine === talk; next = undefined) {
      try {
        await token(); // A new session puts its beginning into the outbox.
        next = outbox.all()[0];
        if (!next) return;
        const { id, text, event } = next;
        const { seq } = await request("POST", "messages", { id, text, event, language: statedLanguage });
        outbox.remove(id);
        if (mine === talk) settle(next, seq);
        tries = 0;
      } catch (error) {
        if (mine !== talk) return;
        const refused = error instanceof Refused && !error.passing;
        if (refused && next) {
          outbox.remove(next.id);
          fail(talk.unsent.get(next.id), next, say.refused);
        } else if (!refused && tries < PAUSES_MS.length && navigator.onLine) {
          await pause(Math.max(PAUSES_MS[tries++], error.retryMs ?? 0));
        } else {
          throw error;
        }
      }
    }
  } catch {
    if (mine !== talk) return;
    if (!navigator.onLine) return showWaiting();
    for (const message of outbox.all()) fail(talk.unsent.get(message.id), message, say.unsent);
    if (!talk.unsent.size) note(say.unavailable, flush);
  } finally {
    mine.sending = false;
  }
}

/** The message stands at `seq` now, and its answer will stand at the next place. */
function settle(message, seq) {
  const row = talk.unsent.get(message.id);
  talk.unsent.delete(message.id);
  if (row && talk.placed.has(seq)) {
    row.remove(); // It had been accepted before the page was closed, and restored from the transcript.
  } else if (row) {
    row.classList.remove("unsent");
    row.querySelector(".trouble")?.remove();
    row.seq = seq;
    talk.placed.set(seq, row);
  }
  expect(seq + 1, Date.now(), message);
}

/** Awaits the answer at `seq` to a question asked at `since`. */
function expect(seq, since, question) {
  if (talk.placed.has(seq)) return;
  talk.awaited.set(seq, { since, question });
  listen();
}

/** Asks for answers as long as one is awaited. Time without a connection does not count as waiting. */
async function listen() {
  const mine = talk;
  if (mine.listening) return;
  mine.listening = true;
  for (let fails = 0; mine === talk && mine.awaited.size;) {
    showTyping(navigator.onLine);
    try {
      const { messages, retry_after_ms: again } =
        await request("GET", `messages?after=${mine.heard}&wait=${WAIT_S}`, null, (WAIT_S + 10) * 1e3);
      if (mine === talk) take(messages);
      fails = 0;
      if (again && mine === talk) await pause(again);
    } catch (error) {
      if (navigator.onLine) {
        await pause(Math.max(PAUSES_MS[Math.min(fails++, PAUSES_MS.length - 1)], error.retryMs ?? 0));
      } else {
        await untilOnline();
        for (const answer of mine.awaited.values()) answer.since = Date.now();
      }
    }
    for (const [seq, { since, question }] of mine.awaited) {
      if (mine !== talk || Date.now() - since < PATIENCE_MS) continue;
      mine.awaited.delete(seq);
      if (question?.text) fail(mine.placed.get(seq - 1), question, say.unanswered);
    }
  }
  mine.listening = false;
  if (mine === talk) showTyping(false);
}

function take(messages) {
  for (const message of messages) {
    if (!talk.placed.has(message.seq)) showPlaced(message);
    if (message.from !== "bot") continue;
    talk.heard = Math.max(talk.heard, message.seq);
    // Answers come in order: those before this one will not come any more.
    for (const seq of talk.awaited.keys()) if (seq <= message.seq) talk.awaited.delete(seq);
  }
}

/** Says something. */
function speak(text) {
  const message = { id: crypto.getRandomValues(new Uint32Array(4)).join("-"), text, at: Date.now() };
  outbox.add(message);
  showUnsent(message);
  flush();
}

