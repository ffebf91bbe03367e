//! From an inbound message to its reply in the outbound queue.
//!
//! | module | what is in it |
//! |---|---|
//! | [`dialogue`] | [`Dialogue`]: a batch of messages: order, sessions, queueing the replies |
//! | [`responder`] | [`Responder`]: what a message is answered with |
//! | [`written`] | [`Written`]: the answers that somebody wrote: commands, the pack's intents, the model that finds them |
//!
//! The reply is queued before the session is written. So what a session calls handled has its reply in the queue, and a
//! function that is ended between the two leaves a message that comes again, is answered again, and whose second reply is
//! dropped by the record of the send.
//!
//! It runs over the AWS clients of an `SdkConfig`; a test gives it that, and a clock with it.

pub mod dialogue;
pub mod responder;
pub mod written;

pub use dialogue::Dialogue;
pub use responder::{Responder, Response};
pub use written::Written;
