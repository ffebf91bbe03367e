//! What LINE is told: reply messages and push messages
//! (<https://developers.line.biz/en/reference/messaging-api/#send-reply-message>,
//! <https://developers.line.biz/en/reference/messaging-api/#send-push-message>).
//!
//! A reply costs nothing but needs the event's reply token, which is good once and "within one minute after receiving
//! the webhook"; a push message can be sent at any time and counts against the account's monthly quota. So the first
//! part of an answer goes by reply token while that is fresh, and everything else by push.
//!
//! The words go as messages of the type `text`, which shows them as they are: nothing in them is a mention or a
//! placeholder (those are of `textV2`), and `$` is one only with `emojis`.

use std::time::Duration;

use hoopoe_message::{Reply, Timestamp};
use http::{HeaderMap, StatusCode};
use secrecy::SecretString;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

use super::{API_BASE, Line};
use crate::contract::address::address_of;
use crate::contract::rejection::{CheckRejection, Rejection, Retry, SECOND, asked_pause};
use crate::contract::sender::{
    ApiRequest, Part, Sender, Unrenderable, idempotency_key, suggestions, with_numbered_suggestions,
};
use crate::contract::settings::exposed;
use crate::text::split::split;

/// "Max character limit: 5000" ("Text message"), counted in UTF-16 code units ("Character counting in a text",
/// <https://developers.line.biz/en/docs/messaging-api/text-character-count/>).
const MAX_TEXT_UTF16: usize = 5000;

/// How many messages a request holds.
const MAX_MESSAGES: usize = 5;

/// How long after the claim the reply token is still tried. LINE counts the minute from the webhook on, asks not to
/// rely on all of it, and the request has to arrive in it.
const TOKEN_LIFETIME: Duration = Duration::from_secs(50);

/// "items object", <https://developers.line.biz/en/reference/messaging-api/#items-object>
const MAX_BUTTONS: usize = 13;
/// Of an action's label in a quick reply, in characters as a reader sees them (grapheme clusters).
const MAX_LABEL: usize = 20;
/// Of a message action's text, counted alike.
const MAX_ACTION_TEXT: usize = 300;

/// LINE knows a retry key for 24 hours ("Retry failed API requests"); less one for clocks that are apart.
const KNOWN_FOR: Duration = Duration::from_secs(23 * 3600);

/// Makes LINE drop a second request ("Retry failed API requests",
/// <https://developers.line.biz/en/docs/messaging-api/retrying-api-request/>). It is good for 24 hours, and refused
/// with 400 on a reply.
const RETRY_KEY: &str = "x-line-retry-key";
/// Names the first request in the answer to a second one.
const ACCEPTED_REQUEST: &str = "x-line-accepted-request-id";

/// What authorises a call.
#[derive(Debug, Deserialize, Serialize)]
pub struct SendKeys {
    #[serde(default)]
    pub(super) api_base: Option<String>,
    #[serde(serialize_with = "exposed")]
    pub(super) channel_access_token: SecretString,
    #[serde(default)]
    pub(super) group_prefix: Option<String>,
}

impl SendKeys {
    /// The URL of a path below `/v2/bot`.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}/v2/bot/{path}", self.api_base.as_deref().unwrap_or(API_BASE))
    }

    fn reply(&self, token: &str, messages: &[TextMessage<'_>]) -> http::Result<ApiRequest> {
        let body = serde_json::to_string(&ReplyRequest { reply_token: token, messages }).expect("texts serialise");
        ApiRequest::post_json(&self.url("message/reply"), body)?.authorized("Bearer", &self.channel_access_token)
    }

    fn push(&self, to: &str, messages: &[TextMessage<'_>], retry_key: &str) -> http::Result<ApiRequest> {
        let body = serde_json::to_string(&PushRequest { to, messages }).expect("texts serialise");
        ApiRequest::post_json(&self.url("message/push"), body)?
            .header(RETRY_KEY, retry_key)?
            .authorized("Bearer", &self.channel_access_token)
    }
}

impl Sender for Line {
    type Keys = SendKeys;

    /// Pushes may be repeated. A request with a reply token is not: LINE refuses a second one as it does an expired one,
    /// so whether the first arrived cannot be told.
    fn render(keys: &SendKeys, reply: &Reply, now: Timestamp) -> Result<Vec<Part>, Unrenderable> {
        let address = address_of::<Self>(reply)?;
        let fresh = now.since(reply.received_at) <= TOKEN_LIFETIME;
        let reply_token = address.reply_token.as_deref().filter(|_| fresh);
        let offer = Offer::of(keys, reply, address.group);
        let text = if matches!(offer, Offer::Lines) { &with_numbered_suggestions(reply) } else { &reply.text };
        let mut messages: Vec<_> =
            split(text, MAX_TEXT_UTF16, char::len_utf16).into_iter().map(TextMessage::new).collect();
        if let Some(first) = messages.first_mut() {
            first.quote_token = address.quote_token.as_deref();
        }
        // Of several messages LINE shows the last one's quick replies.
        if let Some(last) = messages.last_mut() {
            last.quick_reply = offer.buttons();
        }
        let parts = messages.chunks(MAX_MESSAGES).enumerate().map(|(at, messages)| {
            let push = keys.push(&address.to, messages, &idempotency_key(reply, at))?;
            Ok(match reply_token.filter(|_| at == 0) {
                Some(token) => Part {
                    request: keys.reply(token, messages)?,
                    fallback: Some(push),
                    repeatable_for: None,
                    fallback_repeatable_for: Some(KNOWN_FOR),
                },
                None => Part {
                    request: push,
                    fallback: None,
                    repeatable_for: Some(KNOWN_FOR),
                    fallback_repeatable_for: None,
                },
            })
        });
        parts.collect()
    }

    /// By "Status codes" and "Error messages"
    /// (<https://developers.line.biz/en/reference/messaging-api/#error-responses>).
    fn outcome(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), Rejection> {
        let answer: Answer =
            serde_json::from_slice(body).map_err(|_| Rejection::of_status(status, "the Messaging API"))?;
        if status.is_success() {
            return Ok(());
        }
        let says = |words: &str| answer.message.to_ascii_lowercase().contains(words);
        // "The request may have been accepted" ("Retry failed API requests"): what was sent with a retry key is repeated.
        if status.is_server_error() {
            return Err(Rejection::Unknown { reason: format!("HTTP {} of the Messaging API", status.as_u16()) });
        }
        let (retry, hint) = match status.as_u16() {
            // A push that was sent before under the same retry key.
            409 if headers.contains_key(ACCEPTED_REQUEST) || says("already accepted") => return Ok(()),
            400 if says("invalid reply token") => (Retry::Fallback, ""),
            400 if says("failed to send messages") => {
                (Retry::Never, " (the person is unknown to this account, or it is no longer in the group)")
            }
            // "Valid channel access token is not specified"
            401 => (Retry::BadCredential, " (the channel access token is not valid)"),
            403 => (Retry::Never, " (the account or its plan may not send this way)"),
            // It ends with the month, but a reply that waited for that would hold back those after it until their reply
            // tokens are too old, and those cost nothing.
            429 if says("monthly limit") => {
                (Retry::Never, " (the plan's messages of this month are used up; replies within a minute are free)")
            }
            // "2,000 requests per second" of a channel ("Rate limits").
            429 => {
                let asked = asked_pause(headers, http::header::RETRY_AFTER.as_str());
                (Retry::BotAfter(asked.unwrap_or(SECOND)), "")
            }
            _ => (Retry::of_status(status, headers), ""),
        };
        Err(Rejection::refused(format!("{} {}{hint}", status.as_u16(), answer.words()), retry))
    }

    /// "Get bot info", <https://developers.line.biz/en/reference/messaging-api/#get-bot-info>.
    fn check_request(keys: &SendKeys) -> Option<http::Result<ApiRequest>> {
        let request = ApiRequest::get(&keys.url("info"));
        Some(request.and_then(|request| request.authorized("Bearer", &keys.channel_access_token)))
    }

    fn read_check(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), CheckRejection> {
        Self::outcome(status, headers, body)?;
        serde_json::from_slice::<BotInfo>(body)
            .map(drop)
            .map_err(|_| CheckRejection::inconclusive("the Messaging API named no bot"))
    }
}

/// Whose token it is.
#[derive(Deserialize)]
struct BotInfo {
    #[serde(rename = "userId")]
    _user_id: IgnoredAny,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReplyRequest<'a> {
    reply_token: &'a str,
    messages: &'a [TextMessage<'a>],
}

#[derive(Serialize)]
struct PushRequest<'a> {
    to: &'a str,
    messages: &'a [TextMessage<'a>],
}

/// "Text message", <https://developers.line.biz/en/reference/messaging-api/#text-message>
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TextMessage<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    quote_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quick_reply: Option<QuickReply>,
}

impl<'a> TextMessage<'a> {
    const fn new(text: &'a str) -> Self {
        Self { kind: "text", text, quote_token: None, quick_reply: None }
    }
}

/// "Quick reply", <https://developers.line.biz/en/reference/messaging-api/#quick-reply>. A press sends the action's text
/// as the person's own message.
#[derive(Serialize)]
struct QuickReply {
    items: Vec<Button>,
}

#[derive(Serialize)]
struct Button {
    #[serde(rename = "type")]
    kind: &'static str,
    action: MessageAction,
}

#[derive(Serialize)]
struct MessageAction {
    #[serde(rename = "type")]
    kind: &'static str,
    label: String,
    text: String,
}

/// How suggestions are offered.
enum Offer {
    Buttons(QuickReply),
    /// As numbered lines: what a button says would not be heard.
    Lines,
}

impl Offer {
    /// In a group the bot hears only what is said to it, and a button cannot mention it: there are buttons where a
    /// prefix calls it.
    fn of(keys: &SendKeys, reply: &Reply, group: bool) -> Self {
        let call = match &keys.group_prefix {
            _ if !group => String::new(),
            Some(prefix) => format!("{prefix} "),
            None => return Self::Lines,
        };
        let button = |text| Button {
            kind: "action",
            action: MessageAction {
                kind: "message",
                label: shortened(text, MAX_LABEL),
                text: shortened(&format!("{call}{text}"), MAX_ACTION_TEXT),
            },
        };
        Self::Buttons(QuickReply { items: suggestions(reply).take(MAX_BUTTONS).map(button).collect() })
    }

    fn buttons(self) -> Option<QuickReply> {
        match self {
            Self::Buttons(buttons) if !buttons.items.is_empty() => Some(buttons),
            Self::Buttons(_) | Self::Lines => None,
        }
    }
}

/// The text, cut to as many characters as a reader sees, the last of which then is `…`.
fn shortened(text: &str, limit: usize) -> String {
    match text.grapheme_indices(true).nth(limit) {
        None => text.to_owned(),
        Some(_) => {
            let kept: String = text.graphemes(true).take(limit - 1).collect();
            format!("{}…", kept.trim_end())
        }
    }
}

/// What every call is answered with: `{}` or `sentMessages` where it succeeded, else why not.
#[derive(Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: Vec<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(default)]
    message: String,
    #[serde(default)]
    property: String,
}

impl Answer {
    pub(super) fn words(&self) -> String {
        let details = self.details.iter().map(|detail| format!("{} {}", detail.property, detail.message));
        let details: Vec<_> = details.map(|detail| detail.trim().to_owned()).collect();
        if details.is_empty() { self.message.clone() } else { format!("{}: {}", self.message, details.join("; ")) }
    }
}
