// What the browser keeps, and the calls of the API, which shared/channels/src/platforms/webchat/api.rs describes.
//
// A message waits in localStorage under an id of its own until the function has accepted it, so that a lost
// connection, a closed page or a second tab can send it again and it still counts once.

const RENEW_MS = 12 * 3600e3; // half of a token's life

const base = /^\/webchat\/[a-z0-9-]{1,32}/.exec(location.pathname)?.[0] ?? "/webchat/main";

/** This bot's part of localStorage; of memory where the browser denies it. */
const store = (() => {
  const key = name => `${base} ${name}`;
  let memory = new Map();
  try {
    localStorage.setItem(key("probe"), "");
    localStorage.removeItem(key("probe"));
    memory = null;
  } catch { /* Denied: what is kept lives as long as the page. */ }
  return {
    get: name => JSON.parse((memory ? memory.get(key(name)) : localStorage.getItem(key(name))) ?? "null"),
    set: (name, value) => {
      if (memory) memory.set(key(name), JSON.stringify(value));
      else localStorage.setItem(key(name), JSON.stringify(value));
    },
    remove: name => {
      if (memory) memory.delete(key(name));
      else localStorage.removeItem(key(name));
    },
    names: () => (memory ? [...memory.keys()] : Object.keys(localStorage))
      .filter(each => each.startsWith(key(""))).map(each => each.slice(key("").length)),
  };
})();

/** Messages the function has not accepted yet, oldest first. One entry each, so that two tabs never overwrite one. */
const outbox = {
  all: () => store.names().filter(name => name.startsWith("unsent ")).map(name => store.get(name)).filter(Boolean)
    .sort((a, b) => a.at - b.at),
  add: message => store.set(`unsent ${message.id}`, message),
  remove: id => store.remove(`unsent ${id}`),
};

class Refused extends Error {
  constructor(status, fault, retryAfter) {
    super(fault.message ?? `status ${status}`);
    this.status = status;
    this.passing = status === 408 || status === 429 || status >= 500;
    this.retryMs = 1000 * retryAfter || 0;
  }
}

async function call(method, what, token, body, timeout = 10e3) {
  const headers = { ...token && { authorization: `Bearer ${token}` }, ...body && { "content-type": "application/json" } };
  const response = await fetch(`${base}/${what}`, {
    method, headers, body: body && JSON.stringify(body), cache: "no-store", credentials: "omit",
    signal: AbortSignal.timeout(timeout),
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, answer, response.headers.get("retry-after"));
  return answer;
}

let opening = null;

/** The session's token; a new one where there is none, and a renewed one past half of its life. */
function token() {
  const saved = store.get("session");
  if (saved && Date.now() < saved.renewAt) return saved.token;
  return opening ??= open(saved?.token).finally(() => { opening = null; });
}

async function open(old) {
  try {
    const { token } = await call("POST", "session", old);
    store.set("session", { token, renewAt: Date.now() + RENEW_MS });
    if (!old) outbox.add({ id: "joined", event: "joined", at: 0 });
    return token;
  } catch (error) {
    if (old && error.status !== 401) return old; // Still good for a while.
    if (old) setTimeout(end, 0, old); // Once this opening is over.
    throw error;
  }
}

/** Calls with the session's token. A session that has ended makes way for a new one. */
async function request(method, what, body, timeout) {
  const used = await token();
  try {
    return await call(method, what, used, body, timeout);
  } catch (error) {
    if (error.status !== 401) throw error;
    const saved = store.get("session");
    // A token that is refused as soon as it is made will be refused again.
    error.passing = saved?.token === used && Date.now() < saved.renewAt - RENEW_MS + 60e3;
    if (!error.passing) end(used);
    throw error;
  }
}

/** Begins a new conversation in place of the one that `used` opened, unless another tab has done so. */
function end(used) {
  if (store.get("session")?.token === used) store.remove("session");
  start(say.ended);
}

