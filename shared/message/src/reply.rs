//! What goes out.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Conversation, Language, MessageId, Timestamp};

/// The answer to one inbound message, on its way to the platform.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
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
    /// Whether every message between `after` and this one was handled, so that none of them may still get a reply.
    #[serde(default)]
    pub complete: bool,
    /// Until when a reply before this one may still be in the making; `None` where none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_until: Option<Timestamp>,
    /// When the message was claimed.
    pub received_at: Timestamp,
    /// When this reply was queued.
    pub created_at: Timestamp,
    /// What to say, as plain text.
    pub text: String,
    /// Quick replies: short texts, each a message the person may send next.
    pub suggestions: Vec<String>,
    /// How the bot came to it. `None` for commands and events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// How the bot came to a reply: for the operator, never shown to people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Decision {
    /// It is the answer of an intent.
    Answer {
        /// The intent's id.
        intent: String,
        /// How probable it is that the intent is the right one, 0 to 1.
        probability: f32,
    },
    /// It offers intents to choose from.
    Suggest {
        /// The id of the most probable one.
        intent: String,
        /// How probable that one is, 0 to 1.
        probability: f32,
    },
    /// It says that the bot does not know.
    Fallback,
    /// It answers `/lang` with a language that the bot does not have.
    UnknownLanguage {
        /// Those it has.
        languages: Vec<Language>,
    },
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
