//! What the bot remembers, in DynamoDB.
//!
//! | module | table | written by | what it holds |
//! |---|---|---|---|
//! | [`claims`] | Claims | webhook functions | which events were seen, and each conversation's next number |
//! | [`sessions`] | Sessions | inference | the last turns of a conversation, until it goes quiet |
//! | [`sends`] | Sends | deliver | which replies went out, and in what order |
//! | [`transcripts`] | Transcripts | webchat, deliver, wechat | what the web page shows; replies that are fetched |
//!
//! Every item carries `expires_at` (epoch seconds), DynamoDB's time to live. AWS deletes expired items hours or days
//! late, so whatever is read is compared with the clock, and so is every condition; but for claims, which are true
//! however late they are deleted.
//!
//! The claims of a conversation are attributes of one item, and so are its send records. One conditional update then
//! does what would else take two (seen before? next number?), and the item is bounded: see each module.
//!
//! What the conversations of a batch write at the same time, sessions and send records, goes out as one request
//! (`joined.rs`).

pub mod claims;
mod item;
mod joined;
pub mod sends;
pub mod sessions;
pub mod transcripts;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

pub use claims::{Claim, Claims, Event};
pub use sends::{Begin, Revival, Sends};
pub use sessions::{Session, Sessions, Turn};
pub use transcripts::{Entry, Transcripts};

/// DynamoDB did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The call failed, after the client's own attempts.
    #[error("{operation} failed: {cause}")]
    Call {
        /// What was being done.
        operation: &'static str,
        /// The service's code and words.
        cause: String,
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
        Self::Call { operation, cause: hoopoe_aws::cause(error) }
    }
}
