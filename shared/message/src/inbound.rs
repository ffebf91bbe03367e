//! What comes in.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Conversation, Language, Timestamp};

/// One message or event of a person: verified, claimed and numbered by a webhook function, and on its way to
/// inference.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboundMessage {
    /// The platform's id of the event, unique within the conversation.
    pub id: MessageId,
    /// Who speaks, and to which bot.
    pub conversation: Conversation,
    /// Where the reply has to go, written and read by the channel's module alone.
    pub address: String,
    /// Its place in the conversation: numbers follow each other without gaps, as the claims were made. The first is the
    /// time of its claim in milliseconds since the epoch.
    pub number: u64,
    /// When the webhook function claimed it.
    pub received_at: Timestamp,
    /// When the message with the number before this one was claimed; `None` for the first.
    pub previous_at: Option<Timestamp>,
    /// The person's language as the platform or the client states it, such as that of the browser; `None` if it states
    /// none. What the person writes counts for more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// What it says.
    pub content: Content,
}

/// Leaves the address out: on some platforms it is the right to answer.
impl fmt::Debug for InboundMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboundMessage")
            .field("id", &self.id)
            .field("conversation", &self.conversation)
            .field("number", &self.number)
            .field("language", &self.language)
            .field("content", &self.content)
            .finish_non_exhaustive()
    }
}

/// What a message says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Words, with mentions of the bot already taken out; at most [`Content::MAX_TEXT_BYTES`] bytes.
    Text(String),
    /// Something happened to the conversation.
    Event(ChannelEvent),
    /// A sticker, picture, voice, file or place: nothing the bot can read.
    Unsupported,
}

impl Content {
    /// A longer text is cut here: no platform sends more, and the model reads 128 tokens of it.
    pub const MAX_TEXT_BYTES: usize = 16 * 1024;

    /// Text content, cut at a character boundary to [`Content::MAX_TEXT_BYTES`].
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text[..text.floor_char_boundary(Self::MAX_TEXT_BYTES)].to_owned())
    }
}

/// Leaves the words out: a person's words never reach a log.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Event(event) => write!(f, "Event({event:?})"),
            Self::Unsupported => f.write_str("Unsupported"),
        }
    }
}

/// What can happen to a conversation besides words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelEvent {
    /// A person followed or opened the bot, or the bot was added to a group: it says its welcome.
    Joined,
    /// A person blocked or left the bot, or the bot was removed: the session is forgotten, nothing is said.
    Left,
}

/// The platform's id of an event. Unique within its conversation, so that a retried webhook is known again.
///
/// On some platforms the id names the person: WeChat's and WeCom's events have none but the sender and the time, WhatsApp's
/// holds the phone number, and the web chat's is the client's choice. So a log gets a digest of it: [`fmt::Display`] and
/// [`fmt::Debug`] show the first 12 hexadecimal digits of its SHA-256. What is stored, queued or sent has to hold
/// [`MessageId::as_str`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MessageId(String);

impl MessageId {
    /// The longest id in bytes.
    pub const MAX_BYTES: usize = 128;

    /// The id as the platform wrote it: for stores, queues and platforms, and never for a log.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The first 12 hexadecimal digits of the id's SHA-256.
impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(&Sha256::digest(&self.0)[..6]))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({self})")
    }
}

impl TryFrom<String> for MessageId {
    type Error = InvalidMessageId;

    fn try_from(id: String) -> Result<Self, Self::Error> {
        if (1..=Self::MAX_BYTES).contains(&id.len()) && !id.chars().any(char::is_control) {
            Ok(Self(id))
        } else {
            Err(InvalidMessageId)
        }
    }
}

impl From<MessageId> for String {
    fn from(id: MessageId) -> Self {
        id.0
    }
}

/// The id does not fit [`MessageId`].
#[derive(Debug, thiserror::Error)]
#[error("a message id is 1 to 128 bytes without control characters")]
pub struct InvalidMessageId;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BotId, Channel, Reply, wire};

    #[test]
    fn an_id_is_shown_as_a_digest_and_travels_as_it_is() {
        let id = MessageId::try_from("oIDofAPerson:1790000000:subscribe".to_owned()).expect("a valid id");
        // printf %s oIDofAPerson:1790000000:subscribe | sha256sum
        assert_eq!(id.to_string(), "7c9bee2c6ade");
        let conversation =
            Conversation { channel: Channel::Wechat, bot: BotId::default(), chat: "oIDofAPerson".into() };
        let at = Timestamp::from_secs(1_790_000_000);
        let message = InboundMessage {
            id: id.clone(),
            conversation: conversation.clone(),
            address: String::new(),
            number: 1,
            received_at: at,
            previous_at: None,
            language: None,
            content: Content::Event(ChannelEvent::Joined),
        };
        let reply = Reply {
            id: id.clone(),
            conversation,
            address: String::new(),
            number: 1,
            after: None,
            complete: true,
            pending_until: None,
            received_at: at,
            created_at: at,
            text: String::new(),
            suggestions: vec![],
            decision: None,
        };
        for shown in [format!("{id:?}"), format!("{message:?}"), format!("{reply:?}")] {
            assert!(shown.contains("7c9bee2c6ade") && !shown.contains("oIDof"), "{shown}");
        }
        for body in [wire::encode(&message), wire::encode(&reply)] {
            assert!(body.contains("\"id\":\"oIDofAPerson:1790000000:subscribe\""), "{body}");
        }
    }
}
