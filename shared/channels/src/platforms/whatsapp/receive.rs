//! What WhatsApp posts ("messages webhook reference", …webhooks/reference/messages; "Create a webhook endpoint",
//! …webhooks/create-webhook-endpoint): a notification with any number of changes, each with any number of messages.
//! Without a 200 it comes again for up to 7 days.
//!
//! A person is known by the business-scoped user ID: it is always there, while the phone number may be hidden behind a
//! username ("Business-scoped user IDs", …business-scoped-user-ids). A person who changes the number becomes another
//! one.
//!
//! In groups ("Group messaging", …groups/groups-messaging) the bot hears commands and replies to what it said;
//! WhatsApp documents no mentions.
//!
//! Everything else is acknowledged and left: receipts (`statuses`), reactions, edits, deletions, system messages, what
//! WhatsApp itself calls unsupported, every field but `messages` (echoes among them), and what is for another phone
//! number of the same account.

use hoopoe_message::{ChannelEvent, Command, Content, Timestamp};
use secrecy::SecretString;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Address, Whatsapp};
use crate::contract::settings::exposed;
use crate::contract::webhook::{Incoming, Moment, Received, Refusal, Request, Webhook, chat, message_id};
use crate::platforms::meta;

/// What verifies a notification, and what tells that it is for this bot.
#[derive(Debug, Deserialize, Serialize)]
pub struct WebhookKeys {
    #[serde(serialize_with = "exposed")]
    pub(super) app_secret: SecretString,
    pub(super) phone_number_id: String,
    #[serde(serialize_with = "exposed")]
    pub(super) verify_token: SecretString,
}

impl Webhook for Whatsapp {
    /// A request carries up to a thousand updates ("Webhooks", batching), and many at once after an outage.
    const MAX_BODY: usize = 1024 * 1024;

    type Keys = WebhookKeys;

    fn receive(keys: &WebhookKeys, request: &Request<'_>, _now: Timestamp) -> Result<Received, Refusal> {
        meta::receive(&keys.app_secret, &keys.verify_token, request, |notification| read(keys, notification))
    }
}

fn read(keys: &WebhookKeys, notification: Notification) -> Result<Vec<Option<Incoming>>, Refusal> {
    if notification.object != "whatsapp_business_account" {
        return Ok(vec![None]);
    }
    let mut events = Vec::new();
    for change in notification.entry.into_iter().flat_map(|entry| entry.changes) {
        if change.field != "messages" {
            events.push(None);
            continue;
        }
        let told: Told = serde_json::from_value(change.value)
            .map_err(|_| Refusal::Malformed("a change of messages does not name its phone number"))?;
        let ours = told.metadata.phone_number_id == keys.phone_number_id;
        let business = &told.metadata.display_phone_number;
        events.extend(told.messages.into_iter().map(|message| ours.then(|| read_message(message, business)).flatten()));
        events.extend(told.statuses.iter().chain(&told.errors).map(|_| None));
    }
    Ok(events)
}

/// Reads one message; `None` where it does not concern the bot, or cannot be answered for want of an id or a sender: it
/// must not hold up those that came along.
fn read_message(message: Value, business: &str) -> Option<Incoming> {
    let message: Message = serde_json::from_value(message).ok()?;
    let content = message.content()?;
    let (id, sent_at) = (message_id(&message.id).ok()?, message.timestamp.0);
    let phone = message.from.as_deref().filter(|phone| meta::is_number(phone));
    let user = message.from_user_id.as_deref().filter(|user| is_user_id(user));
    let person = user.or(phone)?;
    if let Some(group) = &message.group_id {
        let commanded = matches!(&content, Content::Text(text) if Command::parse(text).is_some());
        if !commanded && !message.replies_to(business) {
            return None;
        }
        let (chat, address) = (chat(&[group, person]), Address::Group(group.clone()));
        return Some(Incoming::new::<Whatsapp>(id, chat, address, content).at(sent_at));
    }
    let address = match phone {
        Some(phone) => Address::Phone(phone.to_owned()),
        None => Address::User(person.to_owned()),
    };
    Some(Incoming::new::<Whatsapp>(id, chat(&[person]), address, content).at(sent_at))
}

/// "A two-letter ISO 3166 country code, a period, and up to 128 alphanumeric characters"; with a parent portfolio
/// another period.
fn is_user_id(text: &str) -> bool {
    (1..=160).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
}

#[derive(Deserialize)]
struct Notification {
    object: String,
    entry: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    changes: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    field: String,
    value: Value,
}

/// What a change of the field `messages` tells.
#[derive(Deserialize)]
struct Told {
    metadata: Metadata,
    #[serde(default)]
    messages: Vec<Value>,
    #[serde(default)]
    statuses: Vec<IgnoredAny>,
    #[serde(default)]
    errors: Vec<IgnoredAny>,
}

/// Which phone number of the business it is about.
#[derive(Deserialize)]
struct Metadata {
    phone_number_id: String,
    #[serde(default)]
    display_phone_number: String,
}

#[derive(Deserialize)]
struct Message {
    id: String,
    #[serde(default)]
    timestamp: Moment,
    /// The person's phone number.
    from: Option<String>,
    from_user_id: Option<String>,
    group_id: Option<String>,
    context: Option<Context>,
    #[serde(rename = "type")]
    kind: String,
    text: Option<Text>,
    button: Option<Button>,
    interactive: Option<Interactive>,
    image: Option<Media>,
    video: Option<Media>,
    document: Option<Media>,
}

/// What the message replies to.
#[derive(Deserialize)]
struct Context {
    from: Option<String>,
}

#[derive(Deserialize)]
struct Text {
    body: String,
}

/// A quick reply of a template.
#[derive(Deserialize)]
struct Button {
    text: String,
}

/// A press below a message of the bot.
#[derive(Deserialize)]
struct Interactive {
    button_reply: Option<Pressed>,
    list_reply: Option<Pressed>,
}

#[derive(Deserialize)]
struct Pressed {
    id: String,
    title: String,
}

#[derive(Deserialize)]
struct Media {
    #[serde(default)]
    caption: String,
}

impl Message {
    /// What the message says; `None` where it says nothing.
    fn content(&self) -> Option<Content> {
        let words = match self.kind.as_str() {
            "text" => &self.text.as_ref()?.body,
            "button" => &self.button.as_ref()?.text,
            "interactive" => {
                let interactive = self.interactive.as_ref()?;
                let pressed = interactive.button_reply.as_ref().or(interactive.list_reply.as_ref())?;
                meta::pressed(&pressed.title, &pressed.id)
            }
            "image" | "video" | "document" => {
                let media = [&self.image, &self.video, &self.document].into_iter().flatten().next();
                let caption = media.map_or("", |media| media.caption.trim());
                return Some(if caption.is_empty() { Content::Unsupported } else { Content::text(caption) });
            }
            "audio" | "voice" | "sticker" | "location" | "contacts" | "order" => return Some(Content::Unsupported),
            // The chat was opened for the first time, where the business asked to be told.
            "request_welcome" => return Some(Content::Event(ChannelEvent::Joined)),
            _ => return None,
        };
        let words = words.trim();
        (!words.is_empty()).then(|| Content::text(words))
    }

    fn replies_to(&self, business: &str) -> bool {
        let digits = |number: &str| number.bytes().filter(u8::is_ascii_digit).collect::<Vec<_>>();
        let author = self.context.as_ref().and_then(|context| context.from.as_deref()).map(digits);
        author.is_some_and(|author| !author.is_empty() && author == digits(business))
    }
}
