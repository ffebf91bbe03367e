//! What Messenger posts ("Webhook Events Reference", …webhooks/webhook-events): a notification with any number of
//! entries, each with any number of events. Without a 200 it comes again for some hours.
//!
//! All conversations are private. A press of *Get Started* is `/start`; Messenger tells of nobody who joins or leaves.
//!
//! Answered are messages and postbacks. Everything else is acknowledged and left: echoes, receipts (`delivery`,
//! `read`), reactions, edits, opt-ins, referrals, hand-overs, what another app handles (`standby`), changes of the Page,
//! and what is for another Page.

use std::fmt;

use hoopoe_message::{Content, Timestamp};
use secrecy::SecretString;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Address, Messenger};
use crate::contract::settings::exposed;
use crate::contract::webhook::{Incoming, Moment, Received, Refusal, Request, Webhook, chat, message_id};
use crate::platforms::meta;

/// What verifies a notification, and what tells that it is for this bot.
#[derive(Debug, Deserialize, Serialize)]
pub struct WebhookKeys {
    #[serde(serialize_with = "exposed")]
    pub(super) app_secret: SecretString,
    pub(super) page_id: String,
    #[serde(serialize_with = "exposed")]
    pub(super) verify_token: SecretString,
}

impl Webhook for Messenger {
    /// A request carries up to a thousand updates ("Webhooks", batching), and many at once after an outage.
    const MAX_BODY: usize = 1024 * 1024;

    type Keys = WebhookKeys;

    fn receive(keys: &WebhookKeys, request: &Request<'_>, _now: Timestamp) -> Result<Received, Refusal> {
        meta::receive(&keys.app_secret, &keys.verify_token, request, |notification| Ok(read(keys, notification)))
    }
}

fn read(keys: &WebhookKeys, notification: Notification) -> Vec<Option<Incoming>> {
    if notification.object != "page" {
        return vec![None];
    }
    let mut events = Vec::new();
    for entry in notification.entry {
        let ours = entry.id.to_string() == keys.page_id;
        events.extend(entry.messaging.into_iter().map(|event| ours.then(|| read_event(keys, event)).flatten()));
        events.extend(entry.standby.iter().chain(&entry.changes).map(|_| None));
    }
    events
}

/// Reads one event; `None` where it does not concern the bot, or cannot be answered for want of an id or a sender: it
/// must not hold up those that came along.
fn read_event(keys: &WebhookKeys, event: Value) -> Option<Incoming> {
    let event: Event = serde_json::from_value(event).ok()?;
    let person = event.sender?.id?.to_string();
    if !meta::is_number(&person) || person == keys.page_id {
        return None;
    }
    let (id, content) = match (event.message, event.postback) {
        (Some(message), _) => (message.content().map(|content| (message.mid, content)))?,
        (None, Some(postback)) => {
            let words = postback.words();
            // Every postback of today has a `mid`; documents of older ones have none.
            let id = postback.mid.unwrap_or_else(|| format!("{person}:{}:{}", event.timestamp, postback.payload));
            (id, words)
        }
        (None, None) => return None,
    };
    let (id, sent_at) = (message_id(&id).ok()?, Moment::of_number(event.timestamp).0);
    Some(Incoming::new::<Messenger>(id, chat(&[&person]), Address(person), content).at(sent_at))
}

#[derive(Deserialize)]
struct Notification {
    object: String,
    entry: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    id: Id,
    #[serde(default)]
    messaging: Vec<Value>,
    #[serde(default)]
    standby: Vec<IgnoredAny>,
    #[serde(default)]
    changes: Vec<IgnoredAny>,
}

/// Documented as text, though it is a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(u64),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
        }
    }
}

#[derive(Deserialize)]
struct Event {
    sender: Option<Party>,
    #[serde(default)]
    timestamp: u64,
    message: Option<Message>,
    postback: Option<Postback>,
}

#[derive(Deserialize)]
struct Party {
    /// The page-scoped id; a person who came through a plugin and has not written yet has none.
    id: Option<Id>,
}

/// "messages Webhook Event Reference", …webhooks/webhook-events/messages
#[derive(Deserialize)]
struct Message {
    mid: String,
    /// The Page itself said it.
    #[serde(default)]
    is_echo: bool,
    text: Option<String>,
    quick_reply: Option<QuickReply>,
    attachments: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct QuickReply {
    payload: String,
}

impl Message {
    /// What the message says; `None` where it says nothing.
    fn content(&self) -> Option<Content> {
        if self.is_echo {
            return None;
        }
        let text = self.text.as_deref().unwrap_or_default();
        let words = match &self.quick_reply {
            Some(reply) => meta::pressed(text, &reply.payload),
            None => text,
        };
        match words.trim() {
            "" => self.attachments.as_ref().filter(|attached| !attached.is_empty()).map(|_| Content::Unsupported),
            words => Some(Content::text(words)),
        }
    }
}

/// "messaging_postbacks Webhook Event Reference", …webhooks/webhook-events/messaging_postbacks: a press of a button of
/// the Page's own: Get Started, an ice breaker, the menu.
#[derive(Deserialize)]
struct Postback {
    mid: Option<String>,
    #[serde(default)]
    title: String,
    #[serde(default)]
    payload: String,
}

impl Postback {
    fn words(&self) -> Content {
        let words = match self.payload.trim() {
            payload if payload.eq_ignore_ascii_case("get_started") => "/start",
            // A command that the operator put behind an entry of the menu.
            payload if payload.starts_with('/') => payload,
            payload => meta::pressed(self.title.trim(), payload),
        };
        Content::text(words)
    }
}
