//! What a message is answered with.

use hoopoe_message::{Decision, InboundMessage, Timestamp};
use hoopoe_store::Session;

/// Answers messages. Order, sessions and retries are not its business: it is asked for each message in its turn.
pub trait Responder: Send + Sync {
    /// What it has read of the messages of a batch, all together.
    type Read;

    /// Why a message cannot be answered; it comes again then.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Reads the messages of a batch together, where that is cheaper than one by one.
    fn read(&self, messages: &[&InboundMessage]) -> Self::Read;

    /// Answers the message that was number `at` of those that were read. The session learns what the bot remembers of it.
    ///
    /// # Errors
    ///
    /// When it cannot be answered now. What the session has learned is forgotten then.
    fn respond(
        &self,
        read: &Self::Read,
        at: usize,
        message: &InboundMessage,
        session: &mut Session,
        now: Timestamp,
    ) -> Result<Response, Self::Error>;
}

/// What the bot says.
#[derive(Debug, PartialEq)]
pub enum Response {
    /// This.
    Say {
        /// The words.
        text: String,
        /// Quick replies.
        suggestions: Vec<String>,
        /// How the bot came to it; `None` for commands and events.
        decision: Option<Decision>,
    },
    /// Nothing: it was said before, or nobody is there to hear it.
    Nothing,
}
