//! What goes out.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Conversation, MessageId, Timestamp};

/// The answer to one inbound message, on its way to the platform.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The id of the message it answers: one message, one reply.
    pub id: MessageId,
    /// Whom it is for.
    pub conversation: Conversation,
    /// Where to send it, as the channel's module wrote it.
    pub address: String,
    /// The number of the message it answers.
    pub number: u64,
    /// The number of the conversation's message answered before this one, whose reply must have gone out first;
    /// `None` where the session knows of none.
    pub after: Option<u64>,
    /// When the message was claimed.
    pub received_at: Timestamp,
    /// When this reply was queued.
    pub created_at: Timestamp,
    /// What to say, as plain text.
    pub text: String,
    /// Quick replies: short texts, each a message the person may send next.
    pub suggestions: Vec<String>,
}

/// Leaves the words out: what the bot says tells what was asked.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("id", &self.id)
            .field("conversation", &self.conversation)
            .field("number", &self.number)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}
