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
//!
//! # What a message costs
//!
//! Four write units: its claim, its session, and the begin and the end of its reply. `make write-units` counts them with the
//! real intake, dialogue and delivery in a world without faults (`tests/world/src/units.rs`), in a conversation of 1,000
//! messages on each channel, with the longest of the channel's usual ids and all that a session may remember:
//!
//! | channel | bytes of key, id | message 1 | message 10 | message 140 | message 1000 | mean | largest items | beside |
//! |---|---|---|---|---|---|---|---|---|
//! | wecom | 75, 87 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 4.06 | 803, 578, 159 | 0.01 |
//! | wechat | 40, 51 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 4.06 | 768, 543, 124 | 0.01 |
//! | dingtalk | 59, 27 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 4.06 | 787, 562, 143 | 0.00 |
//! | feishu | 83, 35 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 4.06 | 811, 586, 167 | 0.01 |
//! | qq | 73, 128 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 4.06 | 801, 576, 157 | 0.01 |
//! | telegram | 45, 10 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 4.06 | 773, 548, 129 | 0.00 |
//! | slack | 34, 58 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 4.06 | 762, 537, 118 | 0.00 |
//! | discord | 54, 20 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 4.06 | 782, 557, 138 | 0.00 |
//! | whatsapp | 78, 64 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 4.06 | 806, 581, 162 | 0.00 |
//! | messenger | 32, 88 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 4.06 | 760, 535, 116 | 0.00 |
//! | line | 77, 26 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 4.06 | 805, 580, 161 | 0.00 |
//! | teams | 75, 40 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 4.06 | 803, 578, 159 | 0.01 |
//! | webchat | 35, 36 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 4.06 | 763, 538, 119 | 2.00 |
//! | the longest ids | 123, 128 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 1+1+1+1 | 4.06 | 851, 626, 207 | 0.00 |
//!
//! The columns: the lengths of the conversation's key and of an event's id; the units of the four writes of a message, in
//! this order; the mean of the thousand, with the moves of claims to their archive, which are two units once in 32 messages;
//! the bytes of the largest items of Claims, Sessions and Sends, of which 1,024 are one unit; and what a message writes on
//! average to other tables. That is the question and the answer in the web chat's transcript, each a unit for a kilobyte
//! of words, and an access token for all conversations of a bot.
//!
//! It is the same where conversations share their batches and where a session has expired (`target/debug/write-units
//! --people 2 --pace 2400 --messages 40`). More costs what is no usual message: each further part of a long reply one unit,
//! an event that its platform dates more than five minutes back one, a reply of WeChat that waits to be fetched its line in
//! the transcript, and whatever is tried again. A bot's sends beyond its functions' shares write slots of its quota
//! (`hoopoe_keyring`).

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
