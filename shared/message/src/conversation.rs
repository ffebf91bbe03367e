//! Whom the bot is talking with.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{BotId, Channel};

/// One conversation: in a private chat the person, in a group one member of it, so that the context of one member
/// never shows to another.
///
/// Its text form `<channel>/<bot>/<chat>` ([`fmt::Display`]) is the partition key of every table that keeps
/// something by conversation, and the message group of both queues.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Conversation {
    /// The platform.
    pub channel: Channel,
    /// The operator's bot on it.
    pub bot: BotId,
    /// The platform's name for the chat (and member), as the channel's module writes it; at most
    /// [`Conversation::MAX_CHAT_BYTES`] bytes.
    pub chat: String,
}

impl Conversation {
    /// Bounds the key: a DynamoDB partition key and an SQS message group both have to hold it.
    pub const MAX_CHAT_BYTES: usize = 80;
}

impl fmt::Display for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.channel, self.bot, self.chat)
    }
}

/// Leaves the chat out: it names a person.
impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conversation({}/{}/…)", self.channel, self.bot)
    }
}
