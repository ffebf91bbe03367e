//! What the bot remembers, in DynamoDB.
//!
//! | module | table | written by | what it holds |
//! |---|---|---|---|
//! | [`claims`] | Claims | webhook functions | which events were seen, and each conversation's next number |
//! | [`sessions`] | Sessions | inference | what the bot remembers of a conversation, until it goes quiet |
//! | [`turns`] | Sessions | inference, whoever answers later | the answers that come later |
//! | [`sends`] | Sends | deliver | which replies went out, and in what order |
//! | [`transcripts`] | Transcripts | webchat, deliver, wechat | what the web page shows; replies that are fetched |
//!
//! Every item carries `expires_at` (epoch seconds), DynamoDB's time to live. AWS deletes expired items hours or days
//! late, so whatever is read is compared with the clock, and so is every condition; but for claims and send
//! records, which are true however late they are deleted.
//!
//! The claims of a conversation are attributes of one item, and so are its send records. One conditional update then
//! does what would else take two (seen before? next number?), and the item is bounded: see each module.
//!
//! What the conversations of a batch write at the same time, sessions and send records, goes out as one request
//! (`joined.rs`).

pub mod claims;
mod item;
mod joined;
mod numbers;
pub mod sends;
pub mod sessions;
pub mod transcripts;
pub mod turns;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

pub use claims::{Claim, Claims, Event};
pub use sends::{Begin, Departure, Revival, Sends};
pub use sessions::{Session, Sessions};
pub use transcripts::{Entry, Transcripts};
pub use turns::Turns;

/// DynamoDB did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The call failed, after the client's own attempts.
    #[error("{operation} failed: {cause}")]
    Call {
        /// What was being done.
        operation: &'static str,
        /// The service's code and words.
        cause: String,
        /// Trying again does not help: a permission, a table or a key is not as the template makes it.
        needs_operator: bool,
    },
    /// An item is not of the shape this version writes.
    #[error("{operation} found an item of an unknown shape: {what}")]
    Shape {
        /// What was being done.
        operation: &'static str,
        /// Which attribute, never its value.
        what: &'static str,
    },
}

impl StoreError {
    fn call<E, R>(operation: &'static str, error: &SdkError<E, R>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
        R: std::fmt::Debug,
    {
        Self::Call { operation, cause: hoopoe_aws::cause(error), needs_operator: hoopoe_aws::needs_operator(error) }
    }

    fn busy(operation: &'static str, cause: &str) -> Self {
        Self::Call { operation, cause: cause.to_owned(), needs_operator: false }
    }

    /// Whether trying again does not help before an operator has changed something.
    #[must_use]
    pub const fn needs_operator(&self) -> bool {
        matches!(self, Self::Shape { .. } | Self::Call { needs_operator: true, .. })
    }
}
