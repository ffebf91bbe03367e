//! What Messenger is told ("Send a Message", …send-messages; "Quick replies", …send-messages/quick-replies; the Send
//! API's reference, <https://developers.facebook.com/docs/messenger-platform/reference/send-api/>). Codes are those of
//! "Common Error Codes" (…error-codes).
//!
//! Suggestions are quick replies below the last message. They go when one is pressed, and what was pressed stands in
//! the chat. Their labels are short; what is behind each is the whole text, which comes back with the press.

use hoopoe_message::{Reply, Timestamp};
use http::{HeaderMap, StatusCode};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Address, Messenger};
use crate::contract::address::address_of;
use crate::contract::rejection::{CheckRejection, Rejection, Retry};
use crate::contract::sender::{ApiRequest, Part, Sender, Unrenderable, with_numbered_suggestions};
use crate::contract::settings::exposed;
use crate::platforms::meta::{self, API_BASE, Fault, label, length};
use crate::text::split::split;

/// "Must be UTF-8 and has a 2000 character limit"
pub(super) const MAX_TEXT: usize = 2000;
pub(super) const MAX_QUICK_REPLIES: usize = 13;
pub(super) const MAX_TITLE: usize = 20;
pub(super) const MAX_PAYLOAD: usize = 1000;

/// What authorises a call.
#[derive(Debug, Deserialize, Serialize)]
pub struct SendKeys {
    #[serde(default)]
    pub(super) api_base: Option<String>,
    #[serde(serialize_with = "exposed")]
    pub(super) page_access_token: SecretString,
    pub(super) page_id: String,
}

impl Sender for Messenger {
    type Keys = SendKeys;

    /// The Send API takes no key that would make Messenger drop a second message, so no part may be repeated.
    fn render(keys: &SendKeys, reply: &Reply, _now: Timestamp) -> Result<Vec<Part>, Unrenderable> {
        let Address(person) = address_of::<Self>(reply)?;
        let request = |message: Value| keys.request(&person, &message);
        let quick_replies = quick_replies(reply);
        let whole = if quick_replies.is_some() { reply.text.clone() } else { with_numbered_suggestions(reply) };
        let texts = split(&whole, MAX_TEXT, char::len_utf16);
        let last = texts.len().saturating_sub(1);
        let parts = texts.into_iter().enumerate().map(|(at, text)| {
            let Some(quick_replies) = quick_replies.as_ref().filter(|_| at == last) else {
                return Ok(Part::once(request(json!({ "text": text }))?));
            };
            let numbered = with_numbered_suggestions(&Reply { text: text.to_owned(), ..reply.clone() });
            let fits = length(&numbered) <= MAX_TEXT;
            Ok(Part {
                request: request(json!({ "text": text, "quick_replies": quick_replies }))?,
                fallback: fits.then(|| request(json!({ "text": numbered }))).transpose()?,
                repeatable_for: None,
                fallback_repeatable_for: None,
            })
        });
        parts.collect()
    }

    fn outcome(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), Rejection> {
        meta::outcome(status, headers, body, of_messenger)
    }

    /// "/me", which is the Page whose token it is ("Page", <https://developers.facebook.com/docs/graph-api/reference/page>).
    fn check_request(keys: &SendKeys) -> Option<http::Result<ApiRequest>> {
        Some(meta::check_request(keys.api_base.as_deref(), "me", &keys.page_access_token))
    }

    fn read_check(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), CheckRejection> {
        meta::read_check(status, headers, body)
    }
}

impl SendKeys {
    /// The documents put the token into the query; the Graph API takes it in the header as well, where no URL shows it.
    fn request(&self, person: &str, message: &Value) -> http::Result<ApiRequest> {
        let base = self.api_base.as_deref().unwrap_or(API_BASE);
        let body = json!({ "recipient": { "id": person }, "messaging_type": "RESPONSE", "message": message });
        let url = format!("{base}/{}/messages", self.page_id);
        ApiRequest::post_json(&url, body.to_string())?.authorized("Bearer", &self.page_access_token)
    }
}

/// The suggestions as quick replies; `None` where there are none, or they do not fit.
fn quick_replies(reply: &Reply) -> Option<Vec<Value>> {
    let texts = meta::offered(reply);
    let fit = (1..=MAX_QUICK_REPLIES).contains(&texts.len()) && texts.iter().all(|text| length(text) <= MAX_PAYLOAD);
    let quick_reply = |text: &&str| json!({ "content_type": "text", "title": label(text, MAX_TITLE), "payload": text });
    fit.then(|| texts.iter().map(quick_reply).collect())
}

/// The codes of the Messenger Platform.
fn of_messenger(fault: &Fault) -> Option<(Retry, &'static str)> {
    Some(match (fault.code, fault.subcode) {
        // As Messenger is told it today, and with news messaging.
        (_, 2_018_278 | 2_018_065) => (Retry::Never, "the person's last message is older than 24 hours"),
        (551, _) | (_, 2_018_108) => (Retry::Never, "the person takes no messages from this Page now"),
        (100, 2_018_001) => (Retry::Never, "the person is none of this Page's"),
        (1200, _) => (Retry::Backoff, ""),
        _ => return None,
    })
}
