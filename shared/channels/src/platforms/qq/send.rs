//! What QQ is told: 发送消息 (`server-inter/message/send-receive/send.html`), with a token from 获取调用凭证
//! (`dev-prepare/interface-framework/api-use.html`).
//!
//! A reply answers a message or an event (被动消息): within 60 minutes in private and 5 minutes elsewhere, and at most
//! five times. Messages that answer nothing (主动消息) are hardly allowed at all, so there is no second way.
//!
//! Suggestions are numbered lines below the text: buttons (`keyboard`) need QQ's approval for each bot.

use std::time::Duration;

use hoopoe_message::{Reply, Timestamp};
use http::{HeaderMap, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Address, Answers, Qq, Room, is_id};
use crate::contract::address::address_of;
use crate::contract::rejection::{Rejection, Retry, SECOND, retry_after};
use crate::contract::sender::{AccessToken, ApiRequest, Part, Sender, Unrenderable, with_numbered_suggestions};
use crate::contract::settings::exposed;
use crate::text::split::split;

const API_BASE: &str = "https://api.sgroup.qq.com";
/// For how long QQ surely knows a `msg_seq` again: a message can be answered for five minutes, in a private chat for
/// longer.
const KNOWN_FOR: Duration = Duration::from_secs(5 * 60);

const TOKEN_URL: &str = "https://bots.qq.com/app/getAppAccessToken";

/// What authorises a call.
#[derive(Debug, Deserialize, Serialize)]
pub struct SendKeys {
    #[serde(default)]
    pub(super) api_base: Option<String>,
    pub(super) app_id: String,
    #[serde(serialize_with = "exposed")]
    pub(super) app_secret: SecretString,
    #[serde(default)]
    pub(super) token_url: Option<String>,
}

impl Room {
    fn path(&self) -> String {
        match self {
            Self::User(id) => format!("/v2/users/{id}/messages"),
            Self::Group(id) => format!("/v2/groups/{id}/messages"),
            Self::Channel(id) => format!("/channels/{id}/messages"),
            Self::Direct(id) => format!("/dms/{id}/messages"),
        }
    }

    pub(super) fn is_valid(&self) -> bool {
        let (Self::User(id) | Self::Group(id) | Self::Channel(id) | Self::Direct(id)) = self;
        is_id(id)
    }
}

impl Sender for Qq {
    type Keys = SendKeys;

    /// QQ refuses a second message with the same `msg_id` and `msg_seq`, so a part of an answer to a message may be
    /// repeated. The document says it of neither events nor guilds.
    fn render(keys: &SendKeys, reply: &Reply, _now: Timestamp) -> Result<Vec<Part>, Unrenderable> {
        let Address { room, answers } = &address_of::<Self>(reply)?;
        let url = format!("{}{}", keys.api_base.as_deref().unwrap_or(API_BASE), room.path());
        let text = with_numbered_suggestions(reply);
        let parts = split(&text, room.limit(), room.size()).into_iter().zip(1..).map(|(piece, number)| {
            let mut body = json!({ "content": room.written(piece) });
            match answers {
                Answers::Message(id) => body["msg_id"] = id.as_str().into(),
                Answers::Event(id) => body["event_id"] = id.as_str().into(),
            }
            let numbered = matches!(room, Room::User(_) | Room::Group(_));
            if numbered {
                body["msg_type"] = 0.into();
                body["msg_seq"] = number.into();
            }
            Ok(Part {
                request: ApiRequest::post_json(&url, body.to_string())?.with_token("QQBot"),
                fallback: None,
                repeatable_for: (numbered && matches!(answers, Answers::Message(_))).then_some(KNOWN_FOR),
                fallback_repeatable_for: None,
            })
        });
        parts.collect()
    }

    fn outcome(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), Rejection> {
        let answer: Answer = serde_json::from_slice(body).map_err(|_| Rejection::of_status(status, "QQ"))?;
        let (retry, hint) = match answer.code() {
            // Taken, and shown once QQ has looked at it.
            304_023 | 304_024 => return Ok(()),
            // An earlier request with the same number was taken.
            40_054_005 => return Ok(()),
            0 if status.is_success() => return Ok(()),
            code => advice(code, status, headers),
        };
        Err(answer.refused(retry, hint))
    }

    fn token_request(keys: &SendKeys) -> Option<http::Result<ApiRequest>> {
        let below = keys.api_base.as_ref().map(|base| format!("{base}/app/getAppAccessToken"));
        let url = keys.token_url.clone().or(below).unwrap_or_else(|| TOKEN_URL.to_owned());
        let body = json!({ "appId": keys.app_id, "clientSecret": keys.app_secret.expose_secret() });
        Some(ApiRequest::post_json(&url, body.to_string()))
    }

    /// An error comes with status 200 too.
    fn read_token(status: StatusCode, body: &[u8]) -> Result<AccessToken, Rejection> {
        let answer: Answer = serde_json::from_slice(body).map_err(|_| Rejection::of_status(status, "QQ"))?;
        let lifetime = answer.expires_in.as_ref().and_then(|seconds| match seconds {
            Value::String(digits) => digits.parse().ok(),
            number => number.as_u64(),
        });
        let token = AccessToken::of(answer.access_token.clone(), lifetime).filter(|_| status.is_success());
        token.ok_or_else(|| match answer.code() {
            100_001 => answer.refused(Retry::Backoff, ""),
            100_016 => answer.refused(Retry::BadCredential, " (app_id and app_secret do not belong together)"),
            100_007 | 10_004 => answer.refused(Retry::Never, " (there is no such app_id, or the bot is banned)"),
            code => {
                let (retry, hint) = advice(code, status, &HeaderMap::new());
                // No token mends a request for one.
                answer.refused(if retry == Retry::NewToken { Retry::Never } else { retry }, hint)
            }
        })
    }
}

/// What to do about a code of "openapi" (`dev-prepare/error-trace/openapi.html`) or of the documents of the send API.
fn advice(code: i64, status: StatusCode, headers: &HeaderMap) -> (Retry, &'static str) {
    match code {
        // Comes with status 401 too, but a new token would not help.
        11_298 | 40_023_002 => (Retry::Never, " (list the egress address under 开发设置 > IP白名单)"),
        // The token is missing, is wrong, has expired.
        11_241 | 11_243 | 11_244 => (Retry::NewToken, ""),
        304_027 | 304_103 | 40_034_005 | 40_034_026 | 40_034_128 => (
            Retry::Never,
            " (QQ takes replies for 60 minutes in private and 5 minutes elsewhere, and five to a message)",
        ),
        304_003 | 40_054_010 => (Retry::Never, " (list the address in the text under 开发设置 > 消息URL配置)"),
        40_034_101 | 40_054_003 => (Retry::Never, " (the bot is not in the group)"),
        40_054_004 | 40_054_013 => (Retry::Never, " (the person removed or blocked the bot)"),
        // "子频道消息触发限频": "在一个子频道中，每 1s 只能发送 5 条消息" (发送消息).
        20_028 => (Retry::After(SECOND), ""),
        // Too often, and the documents name no window.
        22_009 | 1_100_100 | 1_100_308 => (retry_after(headers), ""),
        // QQ's own faults, which it says pass.
        11_242 | 11_252 | 11_263 | 11_281 | 304_007..=304_009 | 40_054_006 | 50_055_001 | 50_055_002 => {
            (Retry::Backoff, "")
        }
        _ if status == StatusCode::UNAUTHORIZED => (Retry::NewToken, ""),
        _ => (Retry::of_status(status, headers), ""),
    }
}

/// What every call is answered with: the newer documents ask to go by `err_code`, the older by `code`.
#[derive(Deserialize)]
struct Answer {
    err_code: Option<i64>,
    code: Option<i64>,
    #[serde(default)]
    message: String,
    access_token: Option<SecretString>,
    /// Seconds, as a number in the table of the document and a text in its example.
    expires_in: Option<Value>,
}

impl Answer {
    /// The code that says most; 0 where all is well.
    fn code(&self) -> i64 {
        self.err_code.filter(|code| *code != 0).or(self.code).unwrap_or_default()
    }

    fn refused(&self, retry: Retry, hint: &str) -> Rejection {
        Rejection::refused(format!("{} {}{hint}", self.code(), self.message), retry)
    }
}
