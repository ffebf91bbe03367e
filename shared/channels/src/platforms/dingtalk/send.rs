//! What DingTalk is told.
//!
//! A reply goes to the webhook that came with the message ("机器人回复/发送消息", dingstart/robot-reply-and-send-messages):
//! it needs no token and can mention the person in a group. Once that has expired or is refused, it goes through the
//! API, which cannot mention anybody: "批量发送人与机器人会话中机器人消息"
//! (development/chatbots-send-one-on-one-chat-messages-in-batches) in private, "机器人发送群聊消息"
//! (development/the-robot-sends-a-group-message) in a group, with a token from "获取企业内部应用的accessToken"
//! (development/obtain-the-access-token-of-an-internal-app).
//!
//! The text is sent as text and shown as it was written. DingTalk's Markdown has no documented way to write a `*` or
//! `#` that is one, and the addresses by which a button could send a message (`dtmd:`) are not in its documents either,
//! so suggestions are numbered lines below the text.

use std::time::Duration;

use hoopoe_message::{Reply, Timestamp};
use http::{HeaderMap, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Address, Dingtalk, Session, is_dingtalks, scalar};
use crate::contract::address::address_of;
use crate::contract::rejection::{MINUTE, Rejection, Retry, SECOND, retry_after};
use crate::contract::sender::{AccessToken, ApiRequest, Part, Sender, Unrenderable, with_numbered_suggestions};
use crate::contract::settings::exposed;
use crate::text::printable;
use crate::text::split::split;

/// The server of the new API.
const API_BASE: &str = "https://api.dingtalk.com";

/// "长度限制 15000 字节以内", of the JSON text that holds the reply's; the webhook takes 20000 bytes (its code 460101). How
/// a reply is cut must not depend on the way it goes, so the lower limit holds for both.
const MAX_PARAMETER_BYTES: usize = 15_000;

/// What stands around the text in it.
const PARAMETER: &str = r#"{"content":""}"#;

/// "当前IP的调用将会被禁止5分钟" ("调用频次与限流", development/how-to-process-api-throttling-on-the-dingtalk-server).
const PUNISHMENT: Duration = Duration::from_secs(5 * 60);

/// What authorises a call.
#[derive(Debug, Deserialize, Serialize)]
pub struct SendKeys {
    #[serde(default)]
    pub(super) api_base: Option<String>,
    pub(super) app_key: String,
    #[serde(serialize_with = "exposed")]
    pub(super) app_secret: SecretString,
    pub(super) robot_code: String,
}

impl SendKeys {
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.api_base.as_deref().unwrap_or(API_BASE))
    }

    /// A text through the API; `None` where the address names nobody that it reaches.
    fn through_api(&self, address: &Address, text: &str) -> Option<http::Result<ApiRequest>> {
        let parameter = json!({ "content": text }).to_string();
        let mut body = json!({ "robotCode": self.robot_code, "msgKey": "sampleText", "msgParam": parameter });
        let path = match (&address.group, &address.user) {
            (Some(group), _) => {
                body["openConversationId"] = group.as_str().into();
                if let Some(cool_app) = &address.cool_app {
                    body["coolAppCode"] = cool_app.as_str().into();
                }
                "/v1.0/robot/groupMessages/send"
            }
            (None, Some(user)) => {
                body["userIds"] = json!([user]);
                "/v1.0/robot/oToMessages/batchSend"
            }
            (None, None) => return None,
        };
        let request = ApiRequest::post_json(&self.url(path), body.to_string());
        Some(request.map(|request| request.with_token_header("x-acs-dingtalk-access-token")))
    }
}

/// A text to the webhook of the session. The person who is mentioned has to stand in the text as well; DingTalk shows
/// the name there.
fn to_session(session: &Session, mentioned: Option<&String>, text: &str) -> http::Result<ApiRequest> {
    let body = match mentioned {
        Some(user) => json!({
            "msgtype": "text",
            "text": { "content": format!("@{user} {text}") },
            "at": { "atUserIds": [user], "isAtAll": false },
        }),
        None => json!({ "msgtype": "text", "text": { "content": text } }),
    };
    ApiRequest::post_json(&session.url, body.to_string())
}

/// The bytes of a character in JSON, of those that are sent.
fn escaped(character: char) -> usize {
    if matches!(character, '"' | '\\' | '\n' | '\t') { 2 } else { character.len_utf8() }
}

impl Sender for Dingtalk {
    type Keys = SendKeys;

    /// Neither way has a key by which DingTalk would drop a second message, so no part may be repeated.
    fn render(keys: &SendKeys, reply: &Reply, now: Timestamp) -> Result<Vec<Part>, Unrenderable> {
        let mut address = address_of::<Self>(reply)?;
        address.session = address.session.filter(|session| is_dingtalks(&session.url, keys.api_base.as_deref()));
        let text = printable(with_numbered_suggestions(reply));
        let pieces = split(&text, MAX_PARAMETER_BYTES - PARAMETER.len(), escaped);
        let parts = pieces.iter().enumerate().map(|(at, text)| {
            let direct = keys.through_api(&address, text).transpose()?;
            let Some(session) = &address.session else {
                return direct.map(Part::once).ok_or(Unrenderable::Address);
            };
            match direct {
                Some(direct) if !session.is_open(now) => Ok(Part::once(direct)),
                // Where there is no other way, DingTalk says itself that the session is over.
                fallback => {
                    let mentioned = address.user.as_ref().filter(|_| at == 0 && address.group.is_some());
                    Ok(Part { fallback, ..Part::once(to_session(session, mentioned, text)?) })
                }
            }
        });
        parts.collect()
    }

    /// The webhook answers with `errcode`, the API with `code`. What the webhook refuses the API may take, but for what
    /// the words themselves are to blame for.
    fn outcome(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), Rejection> {
        let answer: Answer = serde_json::from_slice(body).map_err(|_| unread(status, headers))?;
        if answer.punish.is_some() {
            // One that comes with the webhook's own code is for too many messages in its chat.
            let retry = if answer.errcode.is_some() { Retry::After(PUNISHMENT) } else { Retry::BotAfter(PUNISHMENT) };
            return Err(Rejection::refused("too many calls from this network address", retry));
        }
        if let Some(code) = answer.errcode {
            let (retry, hint) = match code.parse() {
                Ok(0_i64) => return Ok(()),
                Ok(code) => of_session(code),
                Err(_) => (Retry::Fallback, ""),
            };
            return Err(Rejection::refused(format!("{code} {}{hint}", answer.errmsg.unwrap_or_default()), retry));
        }
        if let Some(code) = answer.code {
            let (retry, hint) = of_api(&code, status, headers);
            return Err(Rejection::refused(format!("{code} {}{hint}", answer.message.unwrap_or_default()), retry));
        }
        let some = |list: &Option<Vec<IgnoredAny>>| list.as_ref().is_some_and(|list| !list.is_empty());
        Err(if !status.is_success() || answer.process_query_key.is_none() {
            unread(status, headers)
        } else if some(&answer.flow_controlled_staff_id_list) {
            Rejection::refused(
                "taken, but the person got too many messages (flowControlledStaffIdList)",
                Retry::Backoff,
            )
        } else if some(&answer.invalid_staff_id_list) {
            Rejection::refused(
                "taken, but the person is not one of the organisation (invalidStaffIdList)",
                Retry::Never,
            )
        } else if some(&answer.filtered_staff_id_list) {
            Rejection::refused("taken, but the person does not get it (filteredStaffIdList)", Retry::Never)
        } else {
            return Ok(());
        })
    }

    fn token_request(keys: &SendKeys) -> Option<http::Result<ApiRequest>> {
        let body = json!({ "appKey": keys.app_key, "appSecret": keys.app_secret.expose_secret() });
        Some(ApiRequest::post_json(&keys.url("/v1.0/oauth2/accessToken"), body.to_string()))
    }

    fn read_token(status: StatusCode, body: &[u8]) -> Result<AccessToken, Rejection> {
        let Ok(answer) = serde_json::from_slice::<TokenAnswer>(body) else {
            return Err(Rejection::of_status(status, "DingTalk"));
        };
        let token = AccessToken::of(answer.access_token, answer.expire_in).filter(|_| status.is_success());
        token.ok_or_else(|| {
            let Some(code) = answer.code else { return Rejection::of_status(status, "DingTalk") };
            let (retry, hint) = match of_api(&code, status, &HeaderMap::new()) {
                // The only code that the document of this call has.
                _ if code == "invalidClientIdOrSecret" => {
                    (Retry::BadCredential, " (app_key and app_secret do not belong together)")
                }
                (later @ (Retry::Backoff | Retry::After(_) | Retry::BotAfter(_)), hint) => (later, hint),
                (_, hint) => (Retry::Never, hint),
            };
            Rejection::refused(format!("{code} {}{hint}", answer.message.unwrap_or_default()), retry)
        })
    }
}

/// No answer of either kind. A refusal of the webhook's may be such, and then there is the other way.
fn unread(status: StatusCode, headers: &HeaderMap) -> Rejection {
    Rejection::of_status_or_fallback(status, headers, "DingTalk")
}

/// What helps after a code of the webhook. That of an expired session is 300001.
fn of_session(code: i64) -> (Retry, &'static str) {
    match code {
        // "每个机器人每分钟最多发送20条" ("自定义机器人接入", group/custom-robot-access), by three names. It is a limit of one group:
        // the robot has another in each.
        130_101 | 410_100 | 660_026 => (Retry::After(MINUTE), ""),
        // "每个企业的每个appkey调用单个接口的频率不可超过40次/秒，否则返回错误码90018" (an older document, as quoted in passwa11/ekp,
        // DingErrorCodeConstant.java).
        90_018 => (Retry::BotAfter(SECOND), ""),
        // Busy; called too often, and the document names no window.
        -1 | 90_002 => (Retry::Backoff, ""),
        // "内容不合规"
        430_101..=430_104 => (Retry::Never, " (DingTalk does not allow these words)"),
        460_101 => (Retry::Never, ""),
        _ => (Retry::Fallback, ""),
    }
}

/// What helps after a code of the API, and words for the operator.
fn of_api(code: &str, status: StatusCode, headers: &HeaderMap) -> (Retry, &'static str) {
    match code {
        "InvalidAuthentication" | "invalidParameter.token.invalid" | "token.notExisted" => (Retry::NewToken, ""),
        "send.too.fast" | "send.byToken.tooFast" | "too.many.group" | "too.many.people" => (retry_after(headers), ""),
        // It ends with the month, but a reply that waited for that would hold back those after it, which the webhooks of
        // their questions take.
        "Forbidden.AccessDenied.ApiCountLimitForOrg" => {
            (Retry::Never, " (the organisation has used up its calls of this month)")
        }
        "Forbidden.AccessDenied.AccessTokenPermissionDenied" => {
            (Retry::Never, " (give the application the permission qyapi_robot_sendmsg)")
        }
        "Forbidden.AccessDenied.IpNotInWhiteList" => {
            (Retry::Never, " (list the egress address under the application's 服务器出口IP, or leave that empty)")
        }
        "invalidParameter.robotCode.auth" => (Retry::Never, " (robot_code is not that of the application app_key)"),
        "invalidParameter.robotCode.coolApp" => {
            (Retry::Never, " (the robot came into the group with a 酷应用; only a fresh message can be answered there)")
        }
        "session.notExisted" | "session.expired" => (Retry::Fallback, ""),
        // Calls of the application, the organisation or all of them, in a second (QPS) or a minute (QPM).
        _ if code.contains(".QpsLimit") => (Retry::BotAfter(SECOND), ""),
        _ if code.contains(".QpmLimit") => (Retry::BotAfter(MINUTE), ""),
        _ if code.starts_with("Throttling") => (retry_after(headers), ""),
        _ if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => (retry_after(headers), ""),
        _ => (Retry::Never, ""),
    }
}

/// What a send is answered with, one way or the other.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default, deserialize_with = "scalar")]
    errcode: Option<String>,
    #[serde(default, deserialize_with = "scalar")]
    errmsg: Option<String>,
    #[serde(default, deserialize_with = "scalar")]
    code: Option<String>,
    #[serde(default, deserialize_with = "scalar")]
    message: Option<String>,
    process_query_key: Option<IgnoredAny>,
    invalid_staff_id_list: Option<Vec<IgnoredAny>>,
    flow_controlled_staff_id_list: Option<Vec<IgnoredAny>>,
    /// In DingTalk's SDKs, though not in its documents.
    filtered_staff_id_list: Option<Vec<IgnoredAny>>,
    /// Not of the API but of what stands before it.
    punish: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenAnswer {
    access_token: Option<SecretString>,
    /// Seconds.
    expire_in: Option<u64>,
    #[serde(default, deserialize_with = "scalar")]
    code: Option<String>,
    #[serde(default, deserialize_with = "scalar")]
    message: Option<String>,
}
