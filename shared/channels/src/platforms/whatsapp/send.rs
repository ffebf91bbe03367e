//! What WhatsApp is told ("Text messages", …messages/text-messages; "Interactive reply buttons messages",
//! …messages/interactive-reply-buttons-messages; "Interactive list messages", …messages/interactive-list-messages).
//! Codes are those of "Error codes" (…support/error-codes).
//!
//! Suggestions are reply buttons where all of them fit on such, else rows of a list, else numbered lines. Both menus
//! hang below a text that is shorter than a text message may be, so what is longer goes before, as text messages. In
//! groups WhatsApp takes no menus.
//!
//! A reply quotes nothing: the person's messages are answered one after the other, in their order.

use std::time::Duration;

use hoopoe_message::{Reply, Timestamp};
use http::{HeaderMap, StatusCode};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Address, Whatsapp, markup};
use crate::contract::address::address_of;
use crate::contract::rejection::{CheckRejection, Rejection, Retry, SECOND};
use crate::contract::sender::{ApiRequest, Part, Sender, Unrenderable, with_numbered_suggestions};
use crate::contract::settings::exposed;
use crate::platforms::meta::{self, API_BASE, Fault, label, length};
use crate::text::split::split;

/// Of a text message.
pub(super) const MAX_TEXT: usize = 4096;
/// Of the text above a menu. That of a list may be longer, but not in every version of the document.
pub(super) const MAX_BODY: usize = 1024;
pub(super) const MAX_BUTTONS: usize = 3;
pub(super) const MAX_BUTTON: usize = 20;
pub(super) const MAX_ROWS: usize = 10;
pub(super) const MAX_ROW_ID: usize = 200;
pub(super) const MAX_ROW_TITLE: usize = 24;
pub(super) const MAX_ROW_DESCRIPTION: usize = 72;

/// "1 message every 6 seconds" to the same person ("Pair rate limits"); a burst may take more, and is paid for by waiting
/// longer.
const PAIR_WINDOW: Duration = Duration::from_secs(6);

/// What opens a list, in every language.
const OPEN_LIST: &str = "☰";

/// What authorises a call.
#[derive(Debug, Deserialize, Serialize)]
pub struct SendKeys {
    #[serde(serialize_with = "exposed")]
    pub(super) access_token: SecretString,
    #[serde(default)]
    pub(super) api_base: Option<String>,
    pub(super) phone_number_id: String,
}

impl Sender for Whatsapp {
    type Keys = SendKeys;

    /// `messages` takes no key that would make WhatsApp drop a second one, so no part may be repeated.
    fn render(keys: &SendKeys, reply: &Reply, _now: Timestamp) -> Result<Vec<Part>, Unrenderable> {
        let address = address_of::<Self>(reply)?;
        let request = |kind: &str, content: Value| keys.request(&address, kind, content);
        let text = |text: &str| {
            let body = markup::literal(text);
            request("text", json!({ "body": body, "preview_url": false }))
        };
        let menu = if matches!(address, Address::Group(_)) { None } else { Menu::of(reply) };
        let Some(menu) = menu else {
            let whole = with_numbered_suggestions(reply);
            let texts = split(&whole, MAX_TEXT, markup::size);
            return texts.into_iter().map(|part| Ok(Part::once(text(part)?))).collect();
        };
        let mut texts = split(&reply.text, MAX_TEXT, markup::size);
        let Some(last) = texts.pop() else { return Ok(Vec::new()) };
        // The last message takes the menu, so it has to be shorter: what it cannot hold is one more before it.
        let body = split(last, MAX_BODY, markup::size).pop().unwrap_or(last);
        texts.extend(Some(last[..last.len() - body.len()].trim_end()).filter(|before| !before.is_empty()));
        let mut parts =
            texts.into_iter().map(|part| Ok(Part::once(text(part)?))).collect::<Result<Vec<_>, Unrenderable>>()?;
        let numbered = with_numbered_suggestions(&Reply { text: body.to_owned(), ..reply.clone() });
        let fits = numbered.chars().map(markup::size).sum::<usize>() <= MAX_TEXT;
        parts.push(Part {
            request: request("interactive", menu.below(&markup::literal(body)))?,
            fallback: fits.then(|| text(&numbered)).transpose()?,
            repeatable_for: None,
            fallback_repeatable_for: None,
        });
        Ok(parts)
    }

    fn outcome(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), Rejection> {
        meta::outcome(status, headers, body, of_whatsapp)
    }

    /// The phone number's own node ("Phone numbers", …reference/phone-numbers).
    fn check_request(keys: &SendKeys) -> Option<http::Result<ApiRequest>> {
        Some(meta::check_request(keys.api_base.as_deref(), &keys.phone_number_id, &keys.access_token))
    }

    fn read_check(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), CheckRejection> {
        meta::read_check(status, headers, body)
    }
}

impl SendKeys {
    fn request(&self, address: &Address, kind: &str, content: Value) -> http::Result<ApiRequest> {
        let base = self.api_base.as_deref().unwrap_or(API_BASE);
        let (recipient_type, field, to) = match address {
            Address::Phone(phone) => ("individual", "to", phone),
            Address::User(user) => ("individual", "recipient", user),
            Address::Group(group) => ("group", "to", group),
        };
        let body = json!({
            "messaging_product": "whatsapp",
            "recipient_type": recipient_type,
            field: to,
            "type": kind,
            kind: content,
        });
        let url = format!("{base}/{}/messages", self.phone_number_id);
        ApiRequest::post_json(&url, body.to_string())?.authorized("Bearer", &self.access_token)
    }
}

/// Suggestions to press. What is behind each is its whole text, which comes back with the press.
enum Menu<'a> {
    Buttons(Vec<&'a str>),
    List(Vec<&'a str>),
}

impl<'a> Menu<'a> {
    /// The menu of the suggestions; `None` where there are none, or none fits.
    fn of(reply: &'a Reply) -> Option<Self> {
        let texts = meta::offered(reply);
        let all_within = |limit| texts.iter().all(|text| length(text) <= limit);
        match texts.len() {
            0 => None,
            1..=MAX_BUTTONS if all_within(MAX_BUTTON) => Some(Self::Buttons(texts)),
            1..=MAX_ROWS if all_within(MAX_ROW_ID) => Some(Self::List(texts)),
            _ => None,
        }
    }

    /// The content of an interactive message.
    fn below(&self, body: &str) -> Value {
        let (kind, action) = match self {
            Self::Buttons(texts) => {
                let button = |text: &&str| json!({ "type": "reply", "reply": { "id": text, "title": text } });
                ("button", json!({ "buttons": texts.iter().map(button).collect::<Vec<_>>() }))
            }
            Self::List(texts) => {
                let rows: Vec<Value> = texts.iter().map(|text| row(text)).collect();
                ("list", json!({ "button": OPEN_LIST, "sections": [{ "rows": rows }] }))
            }
        };
        json!({ "type": kind, "body": { "text": body }, "action": action })
    }
}

fn row(text: &str) -> Value {
    let mut row = json!({ "id": text, "title": label(text, MAX_ROW_TITLE) });
    if length(text) > MAX_ROW_TITLE {
        row["description"] = label(text, MAX_ROW_DESCRIPTION).into();
    }
    row
}

/// The codes of the Cloud API.
fn of_whatsapp(fault: &Fault) -> Option<(Retry, &'static str)> {
    Some(match fault.code {
        // "up to 80 messages per second" of the number ("Throughput").
        130_429 => (Retry::BotAfter(SECOND), ""),
        131_056 => (Retry::After(PAIR_WINDOW), ""),
        // Messages that people called spam; registrations.
        131_048 | 133_016 => (Retry::Backoff, ""),
        // Something went wrong; overloaded; the account is in maintenance; the server is.
        131_000 | 131_016 | 131_057 | 133_004 => (Retry::Backoff, ""),
        // A parameter is missing; its value is not valid; the type is not supported.
        131_008 | 131_009 | 131_051 => (Retry::Fallback, ""),
        131_005 => (Retry::Never, "the access token lacks a permission"),
        131_026 => (Retry::Never, "WhatsApp cannot reach this person"),
        131_030 => (Retry::Never, "a test number reaches only the people on its list"),
        131_031 => (Retry::Never, "the WhatsApp Business account is locked"),
        131_042 => (Retry::Never, "the WhatsApp Business account has a payment issue"),
        131_047 => (Retry::Never, "the person's last message is older than 24 hours"),
        133_010 => (Retry::Never, "the phone number is not registered with the Cloud API"),
        _ => return None,
    })
}
