//! What a message is answered with.

use std::time::Duration;

use hoopoe_message::{InboundMessage, Reply, Timestamp};
use hoopoe_store::Session;
use hoopoe_store::sessions::{Gathering, Order};
use hoopoe_store::turns::Answer;

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
    Say(Answer),
    /// Something that another function writes, and that comes later.
    Later {
        /// Until when it is of use.
        deadline: Timestamp,
        /// What is said where it has not come by then.
        instead: String,
        /// For so long it waits to be begun, and messages that come meanwhile may be answered together with it.
        gather: Duration,
    },
    /// It is answered together with an earlier one, of which the session says so ([`Session::gathering`]). Where that is
    /// too late, the responder is asked again, of a session that does not say so.
    Together(Gathering),
    /// Nothing: it was said before, or nobody is there to hear it.
    Nothing,
}

/// The reply that says an answer to a message.
pub(crate) fn reply(message: &InboundMessage, order: Order, answer: Answer, now: Timestamp) -> Reply {
    let InboundMessage { id, conversation, address, number, received_at, .. } = message.clone();
    let Order { after, complete, pending_until } = order;
    let Answer { text, suggestions, decision } = answer;
    Reply {
        id,
        conversation,
        address,
        number,
        after,
        complete,
        pending_until,
        received_at,
        created_at: now,
        text,
        suggestions,
        decision,
    }
}
