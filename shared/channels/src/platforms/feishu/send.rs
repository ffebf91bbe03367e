//! What Feishu is told: 回复消息 (`uAjLw4CM/ukTMukTMukTM/reference/im-v1/message/reply`) for messages and 发送消息
//! (`…/im-v1/message/create`) for events, with a token from 自建应用获取 tenant_access_token
//! (`ukTMukTMukTM/ukDNz4SO0MjL5QzM/auth-v3/auth/tenant_access_token_internal`).
//!
//! Codes are those of the two calls and of 服务端错误码说明 (`ukTMukTMukTM/ugjM14COyUjL4ITN`).
//!
//! A text message would be rendered: `<at>`, `<b>` and `[words](address)` mean something in it, and nothing escapes
//! them ("发送消息内容", `uAjLw4CM/ukTMukTMukTM/im-v1/message/create_json`). The text nodes of a rich text (post) and the
//! plain_text of a card show every character as it is, so replies are rich texts with a paragraph a line.
//!
//! The part with the suggestions is a card with buttons below the text, of the structure JSON 1.0, which every client
//! shows. Where Feishu does not take the card, the same words go as a rich text with numbered lines.

use std::time::Duration;

use hoopoe_message::{Reply, Timestamp};
use http::{HeaderMap, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{API_BASE, Address, Feishu, SAY};
use crate::contract::address::address_of;
use crate::contract::rejection::{MINUTE, Rejection, Retry, SECOND, asked_pause};
use crate::contract::sender::{
    AccessToken, ApiRequest, Part, Sender, Unrenderable, idempotency_key, suggestions, with_numbered_suggestions,
};
use crate::contract::settings::exposed;
use crate::text::printable;
use crate::text::split::split;

/// "文本消息最大不能超过150KB，卡片及富文本消息最大不能超过30KB" (230025). Of this many characters the JSON within JSON makes at
/// most 16 KB, and they are as much as a person wants to read at once.
const MAX_TEXT: usize = 4000;

/// "持有相同uuid的请求1小时内至多成功执行一次", less five minutes for clocks that are apart.
const KNOWN_FOR: Duration = Duration::from_secs(55 * 60);

/// How much of [`MAX_TEXT`] a character takes: the end of a line begins a paragraph, whose JSON is as long as that of
/// nine characters.
const fn size(character: char) -> usize {
    if character == '\n' { 10 } else { 1 }
}

/// "文本的内容，最多支持 100 个字符" ("按钮组件", `uAjLw4CM/ukzMukzMukzM/feishu-cards/card-components/interactive-components/button`).
const MAX_BUTTON_CHARS: usize = 100;

/// As many buttons as leave a card far below its limit.
const MAX_BUTTONS: usize = 10;

/// How long Feishu wants to be left alone, in seconds ("频控策略", `ukTMukTMukTM/uUzN04SN3QjL1cDN`).
const RATE_LIMIT_RESET: &str = "x-ogw-ratelimit-reset";

/// What authorises a call.
#[derive(Debug, Deserialize, Serialize)]
pub struct SendKeys {
    #[serde(default)]
    pub(super) api_base: Option<String>,
    pub(super) app_id: String,
    #[serde(serialize_with = "exposed")]
    pub(super) app_secret: SecretString,
}

impl SendKeys {
    pub(super) fn api_base(&self) -> &str {
        self.api_base.as_deref().unwrap_or(API_BASE)
    }

    fn post(&self, path: &str, body: &Value) -> http::Result<ApiRequest> {
        let request = ApiRequest::post_json(&format!("{}/open-apis/{path}", self.api_base()), body.to_string())?;
        request.header("content-type", "application/json; charset=utf-8")
    }
}

impl Sender for Feishu {
    type Keys = SendKeys;

    /// Every part has a `uuid`, so each may be repeated, and a fallback has its part's, so never both are shown.
    fn render(keys: &SendKeys, reply: &Reply, _now: Timestamp) -> Result<Vec<Part>, Unrenderable> {
        let address = address_of::<Self>(reply)?;
        let plain = plain(reply);
        let buttons = buttons(&plain);
        let whole = if buttons.is_empty() { with_numbered_suggestions(&plain) } else { plain.text.clone() };
        let texts = split(&whole, MAX_TEXT, size);
        let last = texts.len().saturating_sub(1);
        let parts = texts.iter().enumerate().map(|(at, text)| {
            let uuid = idempotency_key(reply, at);
            let send = |message: Message| send(keys, &address, &message, &uuid);
            let (request, fallback) = if at == last && !buttons.is_empty() {
                let numbered = with_numbered_suggestions(&Reply { text: (*text).to_owned(), ..plain.clone() });
                (send(Message::card(text, &buttons))?, Some(send(Message::post(&numbered))?))
            } else {
                (send(Message::post(text))?, None)
            };
            Ok(Part { request, fallback, repeatable_for: Some(KNOWN_FOR), fallback_repeatable_for: Some(KNOWN_FOR) })
        });
        parts.collect()
    }

    fn outcome(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), Rejection> {
        let answer = Answer::read(status, body)?;
        Err(match answer.code {
            0 => return Ok(()),
            // No token, an invalid one, one of another form, an expired one.
            99991661 | 99991663..=99991665 | 99991668 | 99991671 | 99991677 => answer.refused("", Retry::NewToken),
            // A parameter, the length, the type, the card: what is plainer may pass.
            230001 | 230025 | 230054 | 230099 => answer.refused("", Retry::Fallback),
            _ => answer.refused_for_good_or_later(status, headers),
        })
    }

    fn token_request(keys: &SendKeys) -> Option<http::Result<ApiRequest>> {
        let body = json!({ "app_id": keys.app_id, "app_secret": keys.app_secret.expose_secret() });
        Some(keys.post("auth/v3/tenant_access_token/internal", &body))
    }

    fn read_token(status: StatusCode, body: &[u8]) -> Result<AccessToken, Rejection> {
        let answer = Answer::read(status, body)?;
        match answer.code {
            0 => {}
            // An invalid parameter, which only these two can be; an invalid app_secret or an app_id that is none.
            10003 | 10014 | 10015 => {
                let hint = "app_id and app_secret do not belong together, or the app is disabled";
                return Err(answer.refused(hint, Retry::BadCredential));
            }
            _ => return Err(answer.refused_for_good_or_later(status, &HeaderMap::new())),
        }
        let token = AccessToken::of(answer.tenant_access_token, answer.expire);
        token.ok_or_else(|| Rejection::refused("0, but without a tenant_access_token", Retry::Never))
    }
}

/// The reply without the control characters that JSON would blow up and nobody sees.
fn plain(reply: &Reply) -> Reply {
    Reply {
        text: printable(reply.text.clone()),
        suggestions: reply.suggestions.iter().cloned().map(printable).collect(),
        ..reply.clone()
    }
}

/// The suggestions, where buttons can hold them all.
fn buttons(reply: &Reply) -> Vec<&str> {
    let buttons: Vec<_> = suggestions(reply).collect();
    let fit = buttons.len() <= MAX_BUTTONS && buttons.iter().all(|text| text.chars().count() <= MAX_BUTTON_CHARS);
    if fit { buttons } else { Vec::new() }
}

/// What is sent, in one of its forms.
struct Message {
    kind: &'static str,
    content: Value,
}

impl Message {
    /// A rich text has to name a language, and is shown to everybody where it has only one.
    fn post(text: &str) -> Self {
        let paragraphs: Vec<_> = text.split('\n').map(|line| json!([{ "tag": "text", "text": line }])).collect();
        Self { kind: "post", content: json!({ "zh_cn": { "content": paragraphs } }) }
    }

    /// "卡片 JSON 1.0 结构", `uAjLw4CM/ukzMukzMukzM/feishu-cards/card-json-structure`.
    fn card(text: &str, buttons: &[&str]) -> Self {
        let plain_text = |text: &str| json!({ "tag": "plain_text", "content": text });
        let actions: Vec<_> = buttons
            .iter()
            .map(|words| json!({ "tag": "button", "text": plain_text(words), "value": { SAY: words } }))
            .collect();
        let elements = json!([{ "tag": "div", "text": plain_text(text) }, { "tag": "action", "actions": actions }]);
        Self { kind: "interactive", content: json!({ "elements": elements }) }
    }
}

fn send(keys: &SendKeys, address: &Address, message: &Message, uuid: &str) -> http::Result<ApiRequest> {
    let mut body = json!({ "msg_type": message.kind, "content": message.content.to_string(), "uuid": uuid });
    let path = match &address.message {
        Some(message) => {
            if address.thread {
                body["reply_in_thread"] = true.into();
            }
            format!("im/v1/messages/{message}/reply")
        }
        None => {
            body["receive_id"] = address.chat.as_str().into();
            "im/v1/messages?receive_id_type=chat_id".to_owned()
        }
    };
    Ok(keys.post(&path, &body)?.with_token("Bearer"))
}

/// What every call is answered with, also where the status is 400.
#[derive(Deserialize)]
struct Answer {
    code: i64,
    #[serde(default)]
    msg: String,
    tenant_access_token: Option<SecretString>,
    /// Seconds.
    expire: Option<u64>,
}

impl Answer {
    fn read(status: StatusCode, body: &[u8]) -> Result<Self, Rejection> {
        let answer: Option<Self> = serde_json::from_slice(body).ok();
        answer
            .filter(|answer| status.is_success() || answer.code != 0)
            .ok_or_else(|| Rejection::of_status(status, "Feishu"))
    }

    /// For codes that neither a new token nor a plainer message mends.
    fn refused_for_good_or_later(&self, status: StatusCode, headers: &HeaderMap) -> Rejection {
        let hint = match self.code {
            // Too many calls of the app ("1000次/分&50次/秒", 频控策略), or of all apps.
            99991400 | 11232 | 11247 => return self.refused("", Retry::BotAfter(reset(headers).unwrap_or(MINUTE))),
            // Too many messages to one chat: "向同一群组发送消息的限频为群内机器人共享 5 QPS".
            230020 | 11233 => return self.refused("", Retry::After(reset(headers).unwrap_or(SECOND))),
            // The same request is on its way.
            230049 | 18121 => return self.refused("", Retry::Backoff),
            _ if status == StatusCode::TOO_MANY_REQUESTS => {
                return self.refused("", Retry::BotAfter(reset(headers).unwrap_or(MINUTE)));
            }
            _ if status.is_server_error() => return self.refused("", Retry::Backoff),
            99991401 => "list the egress address under 安全设置 > IP 白名单, or empty that list",
            99991662 | 99991673 => "the app is disabled or not installed",
            99991672 | 230027 => "grant im:message:send_as_bot and release a version of the app",
            230002 => "the bot is no longer in the group",
            230006 => "add the app's ability 机器人 and release a version of the app",
            230011 => "the question was recalled",
            230013 => "the person is outside of the app's 可用范围",
            230018 | 230035 => "the group's settings do not let the bot speak",
            230022 | 230028 => "Feishu's review did not let the words pass",
            232009 => "the group was dissolved",
            _ => "",
        };
        self.refused(hint, Retry::Never)
    }

    fn refused(&self, hint: &str, retry: Retry) -> Rejection {
        let hint = if hint.is_empty() { String::new() } else { format!(" ({hint})") };
        Rejection::refused(format!("{}{hint} {}", self.code, self.msg), retry)
    }
}

/// The pause that Feishu asks for.
fn reset(headers: &HeaderMap) -> Option<Duration> {
    asked_pause(headers, RATE_LIMIT_RESET)
}
