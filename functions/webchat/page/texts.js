// What the page itself says.

/** The name of the bot by language, and which of them is for everybody else. */
const appearance = JSON.parse(document.getElementById("appearance").textContent);

/** The language of a browser's tag, such as "zh" of "zh-TW". Cantonese and Mandarin are written in Chinese. */
const codeOf = tag => tag.split("-")[0].toLowerCase().replace(/^(cmn|yue)$/, "zh");

/** The first of the browser's tags whose language is among the keys of `texts`. */
const wanted = texts => navigator.languages.find(tag => Object.hasOwn(texts, codeOf(tag)));

const nameLanguage = codeOf(wanted(appearance.names) ?? appearance.default);
const botName = appearance.names[nameLanguage];

const TEXTS = {
  en: {
    about: "You are talking with a bot. Please share no passwords or card numbers.",
    online: "Online", offline: "Offline. Messages wait until you are back.", conversation: `Conversation with ${botName}`,
    you: "You: ", bot: `${botName}: `, write: "Write a message", send: "Send", latest: "Go to the latest message",
    restart: "New chat", sure: "Start a new conversation? This one will no longer be shown here.",
    suggested: "Suggested replies", typing: `${botName} is typing`, waiting: "Waits for a connection.",
    unsent: "Not sent.", unanswered: "No answer came.", refused: "This message was not accepted.", again: "Try again",
    left: n => `${n} characters left`, over: n => `${n} characters too many. Nothing was cut; please shorten the message.`,
    ended: "The earlier conversation has ended. This is a new one.",
    unavailable: "The chat cannot be reached at the moment.",
  },
  zh: {
    about: "与您对话的是机器人。请勿发送密码或银行卡号。",
    online: "在线", offline: "网络已断开，恢复后自动发送", conversation: `与${botName}的对话`,
    you: "您：", bot: `${botName}：`, write: "输入消息", send: "发送", latest: "回到最新消息",
    restart: "新对话", sure: "要开始新对话吗？当前对话将不再显示。",
    suggested: "快捷回复", typing: `${botName}正在输入`, waiting: "等待网络恢复。",
    unsent: "未发送。", unanswered: "没有收到回复。", refused: "这条消息未被接受。", again: "重试",
    left: n => `还可输入 ${n} 字`, over: n => `超出 ${n} 字。内容未被截断，请缩短后发送。`,
    ended: "之前的对话已结束，这是一段新对话。",
    unavailable: "暂时无法连接聊天服务。",
  },
};

/** The tag of the page's own language: its region decides how times are written. */
const locale = wanted(TEXTS) ?? (Object.hasOwn(TEXTS, appearance.default) ? appearance.default : "en");
const say = TEXTS[codeOf(locale)];

/** What the server is told of the person's language; nothing if the browser's tag is odd. */
const statedLanguage = /^[a-z]{2,3}(-[a-z0-9]{1,8})*$/i.test(navigator.language) && navigator.language.length <= 35
  ? navigator.language : undefined;

