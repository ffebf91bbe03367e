//! What Telegram posts: one `Update` a request ("Getting updates", <https://core.telegram.org/bots/api#update>).
//!
//! Answered: messages in private chats; in groups those that mention the bot, reply to it, are a command for it, or
//! begin with the configured prefix; and being added or removed (`my_chat_member`). Everything else is acknowledged and
//! left: edits, channel posts, service messages (`new_chat_members` among them, which `my_chat_member` tells better),
//! and what bots or chats say.
//!
//! A bot whose privacy mode is on, which is how it begins, is not told of messages that only begin with a prefix
//! (<https://core.telegram.org/bots/features#privacy-mode>).

use std::collections::HashMap;

use hoopoe_message::{ChannelEvent, Command, Content, MessageId, Timestamp};
use http::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::{Address, Telegram};
use crate::contract::settings::exposed;
use crate::contract::webhook::{Incoming, Moment, Received, Refusal, Request, Webhook, chat, message_id, utf16_range};
use crate::text::group;

/// The header that carries the secret token ("setWebhook", <https://core.telegram.org/bots/api#setwebhook>).
pub(super) const SECRET_TOKEN: &str = "x-telegram-bot-api-secret-token";

/// What verifies an update, and what tells that a group's message is for this bot.
#[derive(Debug, Deserialize, Serialize)]
pub struct WebhookKeys {
    /// The part of the bot token before the colon.
    pub(super) bot_id: i64,
    /// Without it mentions and `/command@name` in groups cannot be told from those of other bots.
    #[serde(default)]
    pub(super) bot_username: Option<String>,
    #[serde(default)]
    pub(super) group_prefix: Option<String>,
    #[serde(serialize_with = "exposed")]
    pub(super) secret_token: SecretString,
}

impl Webhook for Telegram {
    /// A text of 4,096 characters with its entities, and as much again of the message that it replies to, has some 70 KB.
    const MAX_BODY: usize = 256 * 1024;

    type Keys = WebhookKeys;

    fn receive(keys: &WebhookKeys, request: &Request<'_>, _now: Timestamp) -> Result<Received, Refusal> {
        if request.method != Method::POST {
            return Err(Refusal::Method);
        }
        verify(keys, request)?;
        let update: Update = serde_json::from_slice(request.body).map_err(|_| Refusal::Malformed("not an Update"))?;
        let id = message_id(&update.update_id.to_string())?;
        Ok(Received::one(match (update.message, update.my_chat_member) {
            (Some(message), _) => read_message(keys, id, message),
            (None, Some(change)) => read_change(id, change),
            (None, None) => None,
        }))
    }
}

fn verify(keys: &WebhookKeys, request: &Request<'_>) -> Result<(), Refusal> {
    let expected = keys.secret_token.expose_secret().as_bytes();
    if expected.is_empty() {
        return Err(Refusal::Forged("no secret token is configured"));
    }
    let given = request.headers.get(SECRET_TOKEN).ok_or(Refusal::Forged("the secret token is missing"))?;
    let equal = bool::from(given.as_bytes().ct_eq(expected));
    if equal { Ok(()) } else { Err(Refusal::Forged("the secret token is wrong")) }
}

fn read_message(keys: &WebhookKeys, id: MessageId, message: Message) -> Option<Incoming> {
    let sender = message.from.as_ref().filter(|sender| !sender.is_bot)?;
    // A channel, or a group's administrator without a name: not one person's conversation.
    if message.sender_chat.is_some() {
        return None;
    }
    let group = message.chat.is_group()?;
    let content = message.content(keys, group)?;
    let address = Address {
        chat: message.chat.id,
        // Only a topic takes messages by its thread id; in other groups the field names a chain of replies.
        thread: message.message_thread_id.filter(|_| message.is_topic_message),
        reply_to: group.then_some(message.message_id),
    };
    let chat = conversation(&message.chat, sender, group);
    Some(Incoming::new::<Telegram>(id, chat, address, content).at(message.date.0))
}

fn read_change(id: MessageId, change: ChatMemberUpdated) -> Option<Incoming> {
    let group = change.chat.is_group()?;
    let event = match (change.old_chat_member.is_in(), change.new_chat_member.is_in()) {
        (false, true) => ChannelEvent::Joined,
        (true, false) => ChannelEvent::Left,
        _ => return None,
    };
    let address = Address { chat: change.chat.id, thread: None, reply_to: None };
    let chat = conversation(&change.chat, &change.from, group);
    Some(Incoming::new::<Telegram>(id, chat, address, Content::Event(event)).at(change.date.0))
}

fn conversation(chat: &Chat, person: &User, group: bool) -> String {
    let room = chat.id.to_string();
    if group { self::chat(&[&room, &person.id.to_string()]) } else { room }
}

#[derive(Deserialize)]
struct Update {
    update_id: u64,
    message: Option<Message>,
    my_chat_member: Option<ChatMemberUpdated>,
}

/// <https://core.telegram.org/bots/api#message>
#[derive(Deserialize)]
struct Message {
    message_id: i64,
    #[serde(default)]
    date: Moment,
    message_thread_id: Option<i64>,
    #[serde(default)]
    is_topic_message: bool,
    from: Option<User>,
    sender_chat: Option<IgnoredAny>,
    chat: Chat,
    reply_to_message: Option<RepliedTo>,
    text: Option<String>,
    #[serde(default)]
    entities: Vec<Entity>,
    caption: Option<String>,
    #[serde(default)]
    caption_entities: Vec<Entity>,
    #[serde(flatten)]
    others: HashMap<String, IgnoredAny>,
}

/// The fields of a message that hold something a person sent and the bot cannot read. All others that are not text
/// belong to service messages.
const MEDIA: [&str; 17] = [
    "animation",
    "audio",
    "checklist",
    "contact",
    "dice",
    "document",
    "game",
    "location",
    "paid_media",
    "photo",
    "poll",
    "sticker",
    "story",
    "venue",
    "video",
    "video_note",
    "voice",
];

#[derive(Deserialize)]
struct User {
    id: i64,
    #[serde(default)]
    is_bot: bool,
}

#[derive(Deserialize)]
struct Chat {
    id: i64,
    #[serde(rename = "type")]
    kind: String,
}

impl Chat {
    /// Whether several people talk here; `None` where nobody talks with a bot.
    fn is_group(&self) -> Option<bool> {
        match self.kind.as_str() {
            "private" => Some(false),
            "group" | "supergroup" => Some(true),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct RepliedTo {
    from: Option<User>,
    /// Every message of a topic counts as a reply to the one that opened the topic.
    forum_topic_created: Option<IgnoredAny>,
}

/// <https://core.telegram.org/bots/api#messageentity>
#[derive(Deserialize)]
struct Entity {
    #[serde(rename = "type")]
    kind: String,
    /// In UTF-16 code units, as is the length.
    offset: usize,
    length: usize,
    user: Option<User>,
}

/// <https://core.telegram.org/bots/api#chatmemberupdated>
#[derive(Deserialize)]
struct ChatMemberUpdated {
    #[serde(default)]
    date: Moment,
    chat: Chat,
    from: User,
    old_chat_member: ChatMember,
    new_chat_member: ChatMember,
}

#[derive(Deserialize)]
struct ChatMember {
    status: String,
    #[serde(default)]
    is_member: bool,
}

impl ChatMember {
    fn is_in(&self) -> bool {
        match self.status.as_str() {
            "creator" | "administrator" | "member" => true,
            "restricted" => self.is_member,
            _ => false,
        }
    }
}

impl Message {
    /// What the message says to the bot; `None` where it says nothing, or not to the bot.
    fn content(&self, keys: &WebhookKeys, group: bool) -> Option<Content> {
        let written = match (&self.text, &self.caption) {
            (Some(text), _) => Some((text, &self.entities)),
            (None, Some(caption)) => Some((caption, &self.caption_entities)),
            (None, None) => None,
        };
        let media = MEDIA.iter().any(|field| self.others.contains_key(*field));
        let Some((text, entities)) = written else {
            return (media && (!group || self.replies_to(keys.bot_id))).then_some(Content::Unsupported);
        };
        let (text, mentioned) = without_mentions(text, entities, keys);
        let prefix = keys.group_prefix.as_deref().filter(|_| group);
        let prefixed = prefix.and_then(|prefix| group::without_prefix(&text, prefix)).map(str::to_owned);
        let called = mentioned || prefixed.is_some();
        let text = prefixed.unwrap_or(text);
        let (text, commanded) = match Addressee::of(&text) {
            Addressee::Nobody => (text, false),
            Addressee::AnyBot => {
                let ours = Command::parse(&text).is_some();
                (text, ours)
            }
            Addressee::Named(name) if !group || keys.is_called(name) => (without_name(&text, name), true),
            Addressee::Named(_) => return None,
        };
        if group && !called && !commanded && !self.replies_to(keys.bot_id) {
            return None;
        }
        Some(group::said(&text, media))
    }

    fn replies_to(&self, bot: i64) -> bool {
        let opening = self.reply_to_message.as_ref().filter(|replied| replied.forum_topic_created.is_none());
        opening.and_then(|replied| replied.from.as_ref()).is_some_and(|author| author.id == bot)
    }
}

impl WebhookKeys {
    fn is_called(&self, name: &str) -> bool {
        self.bot_username.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name))
    }
}

/// Whom a command is for.
enum Addressee<'a> {
    /// It is no command.
    Nobody,
    /// `/command`
    AnyBot,
    /// `/command@name`
    Named(&'a str),
}

impl<'a> Addressee<'a> {
    fn of(text: &'a str) -> Self {
        let Some(command) = text.trim_start().strip_prefix('/') else { return Self::Nobody };
        let word = command.split_whitespace().next().unwrap_or_default();
        let (command, name) = word.split_once('@').map_or((word, None), |(command, name)| (command, Some(name)));
        let formed = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        match name {
            _ if !formed(command) => Self::Nobody,
            None => Self::AnyBot,
            Some(name) if formed(name) => Self::Named(name),
            Some(_) => Self::Nobody,
        }
    }
}

fn without_name(text: &str, name: &str) -> String {
    text.replacen(&format!("@{name}"), "", 1)
}

/// The text without the mentions of this bot, and whether there were any.
fn without_mentions(text: &str, entities: &[Entity], keys: &WebhookKeys) -> (String, bool) {
    let mut rest = String::with_capacity(text.len());
    let mut done = 0;
    let mut mentioned = false;
    for entity in entities {
        let Some(range) = utf16_range(text, entity.offset, entity.length) else { continue };
        let ours = match entity.kind.as_str() {
            "mention" => text[range.clone()].strip_prefix('@').is_some_and(|name| keys.is_called(name)),
            "text_mention" => entity.user.as_ref().is_some_and(|user| user.id == keys.bot_id),
            _ => false,
        };
        if ours && range.start >= done {
            rest.push_str(&text[done..range.start]);
            done = text.len() - text[range.end..].trim_start_matches(' ').len();
            mentioned = true;
        }
    }
    rest.push_str(&text[done..]);
    if mentioned {
        // "Hoopoe, are you open?"
        rest = group::unaddressed(&rest).to_owned();
    }
    (rest, mentioned)
}
