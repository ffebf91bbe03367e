//! What WeChat is told: 客服消息 ("发送客服消息", `service/api/customer/message/api_sendcustommessage`), with a token
//! of "获取稳定版接口调用凭据" (`service/api/base/api_getstableaccesstoken`).
//!
//! Suggestions are a menu message (`msgmenu`): the text with each suggestion as a link below it, whose press sends the
//! suggestion as a text message of the person. Accounts that may not send one (40200) get numbered lines.
//!
//! A message of a person allows 5 messages of the bot within 48 hours; following the account, or pressing an entry of a
//! menu, 3 within a minute ("客服消息介绍", `subscription/guide/product/kf/intro`). So a reply that needs more than 5
//! messages does not arrive whole, and the welcome has to be quick.
//!
//! Codes are those of "全局返回码" (`offiaccount/Getting_Started/Global_Return_Code.html`).

use hoopoe_message::{Reply, Timestamp};
use http::{HeaderMap, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{MAX_TEXT_BYTES, Wechat, as_written};
use crate::contract::address::address_of;
use crate::contract::rejection::{DAY, MINUTE, Rejection, Retry};
use crate::contract::sender::{
    AccessToken, ApiRequest, Part, Sender, Unrenderable, suggestions, with_numbered_suggestions,
};
use crate::contract::settings::exposed_if_any;
use crate::text::split::split;

/// WeChat's own server.
const API_BASE: &str = "https://api.weixin.qq.com";

/// What authorises a call.
#[derive(Debug, Deserialize, Serialize)]
pub struct SendKeys {
    #[serde(default)]
    pub(super) api_base: Option<String>,
    pub(super) app_id: String,
    /// A passive account needs none.
    #[serde(default, serialize_with = "exposed_if_any")]
    pub(super) app_secret: Option<SecretString>,
    #[serde(default)]
    pub(super) passive: bool,
}

impl SendKeys {
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.api_base.as_deref().unwrap_or(API_BASE))
    }
}

impl Sender for Wechat {
    type Keys = SendKeys;

    /// No call takes a key that would make WeChat drop a second one, so no part may be repeated.
    fn render(keys: &SendKeys, reply: &Reply, _now: Timestamp) -> Result<Vec<Part>, Unrenderable> {
        let user = address_of::<Self>(reply)?.user;
        let url = keys.url("/cgi-bin/message/custom/send");
        let send = |kind: &str, message: Value| {
            let body = json!({ "touser": user, "msgtype": kind, kind: message }).to_string();
            Ok::<_, http::Error>(ApiRequest::post_json(&url, body)?.with_token_parameter("access_token"))
        };
        let send_text = |text: &str| send("text", json!({ "content": text }));
        let reply = Reply {
            text: as_written(&reply.text),
            suggestions: reply.suggestions.iter().map(|words| as_written(words)).collect(),
            ..reply.clone()
        };
        let numbered = with_numbered_suggestions(&Reply { text: String::new(), ..reply.clone() });
        // Suggestions that would leave no room for the text are no menu.
        let menu = !numbered.is_empty() && !reply.text.trim().is_empty() && numbered.len() <= MAX_TEXT_BYTES / 2;
        if !menu {
            let whole = with_numbered_suggestions(&reply);
            let texts = split(&whole, MAX_TEXT_BYTES, char::len_utf8);
            return texts.into_iter().map(|text| Ok(Part::once(send_text(text)?))).collect();
        }
        let texts = split(&reply.text, MAX_TEXT_BYTES - numbered.len(), char::len_utf8);
        let last = texts.len().saturating_sub(1);
        let parts = texts.into_iter().enumerate().map(|(at, text)| {
            if at < last {
                return Ok(Part::once(send_text(text)?));
            }
            let entries = (1..).zip(suggestions(&reply));
            let entries: Vec<_> =
                entries.map(|(id, words)| json!({ "id": id.to_string(), "content": words })).collect();
            let menu = json!({ "head_content": text, "list": entries, "tail_content": "" });
            let fallback = send_text(&format!("{text}{numbered}"))?;
            Ok(Part {
                request: send("msgmenu", menu)?,
                fallback: Some(fallback),
                repeatable_for: None,
                fallback_repeatable_for: None,
            })
        });
        parts.collect()
    }

    fn is_passive(keys: &SendKeys) -> bool {
        keys.passive
    }

    fn outcome(status: StatusCode, _headers: &HeaderMap, body: &[u8]) -> Result<(), Rejection> {
        let answer = Answer::read(status, body)?;
        Err(match answer.errcode {
            0 => return Ok(()),
            // Invalid, missing, expired.
            40001 | 40014 | 41001 | 42001 => answer.refused(Retry::NewToken),
            // What a menu can be refused for: its type, a parameter, the kind of account, an empty text, its size, too many
            // entries, its shape. Which of them WeChat uses is documented only by reports.
            40008 | 40035 | 40200 | 44004 | 45002 | 45098 | 47001 => answer.refused(Retry::Fallback),
            _ => answer.refused_for_good_or_later(),
        })
    }

    /// Other than `/cgi-bin/token`, which invalidates the token before, this gives the same token to all who ask until
    /// it expires, and its tokens are independent of those of the other. It never forces a new one: that would take
    /// the token away from other programs of the account, and WeChat allows it 20 times a day.
    fn token_request(keys: &SendKeys) -> Option<http::Result<ApiRequest>> {
        let secret = keys.app_secret.as_ref()?;
        let body = json!({
            "grant_type": "client_credential",
            "appid": keys.app_id,
            "secret": secret.expose_secret(),
        });
        Some(ApiRequest::post_json(&keys.url("/cgi-bin/stable_token"), body.to_string()))
    }

    fn read_token(status: StatusCode, body: &[u8]) -> Result<AccessToken, Rejection> {
        let answer = Answer::read(status, body)?;
        let bad = |hint| Err(answer.refused_because(hint, Retry::BadCredential));
        match answer.errcode {
            0 => {}
            // 40001 here is "获取 access_token 时 AppSecret 错误", other than in the answer to a send.
            40001 | 40125 => return bad("the AppSecret is not the account's"),
            40243 => return bad("the AppSecret is frozen (开发密钥 > 解冻)"),
            _ => return Err(answer.refused_for_good_or_later()),
        }
        let token = AccessToken::of(answer.access_token, answer.expires_in);
        token.ok_or_else(|| Rejection::refused("0, but without an access token", Retry::Never))
    }
}

/// What every call is answered with; a token comes without `errcode`.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    errcode: i64,
    #[serde(default)]
    errmsg: String,
    access_token: Option<SecretString>,
    /// Seconds.
    expires_in: Option<u64>,
}

impl Answer {
    fn read(status: StatusCode, body: &[u8]) -> Result<Self, Rejection> {
        let answer = serde_json::from_slice(body).ok().filter(|_| status.is_success());
        answer.ok_or_else(|| Rejection::of_status(status, "WeChat"))
    }

    /// For codes that neither a new token nor plain text mends.
    fn refused_for_good_or_later(&self) -> Rejection {
        let hint = match self.errcode {
            // "调用超过天级别频率限制": all calls of the account today.
            45009 => return self.refused(Retry::BotAfter(DAY)),
            // "API 调用太频繁，请稍候再试", in words "api minute-quota reach limit … retry next minute".
            45011 => return self.refused(Retry::BotAfter(MINUTE)),
            // Busy.
            -1 => return self.refused(Retry::Backoff),
            40164 => "list the egress address under the account's API IP白名单",
            43004 => "the person does not follow the account",
            45015 => "the person wrote nothing for 48 hours, or does not follow the account any more",
            // No window ends this limit, but the person's next message.
            45047 => "more messages than one message of the person allows: 5, or 3 after a press or a new follower",
            48001 => "the account may not use the API (接口权限); verify it, or set \"passive\": true",
            48002 => "the person does not take messages of the account",
            _ => return self.refused(Retry::Never),
        };
        self.refused_because(hint, Retry::Never)
    }

    fn refused_because(&self, hint: &str, retry: Retry) -> Rejection {
        Rejection::refused(format!("{}: {hint}; {}", self.errcode, self.errmsg), retry)
    }

    fn refused(&self, retry: Retry) -> Rejection {
        Rejection::refused(format!("{} {}", self.errcode, self.errmsg), retry)
    }
}
