//! Draining a queue.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_types::SdkConfig;

use crate::{QueueSender, Record};

/// A record that was received this often is replaced by a copy when it waits again. Well below the `maxReceiveCount` of
/// any queue, and rare: each copy is a message of its own.
const MAX_RECEIVES: u32 = 10;

/// The longest that a record may be hidden. SQS allows 12 hours since it was received and refuses what is longer.
const MAX_HIDDEN: i32 = 11 * 3600;

/// The longest that SQS delays a new message: 15 minutes.
pub(crate) const MAX_DELAY: i32 = 900;

/// The queue a function drains, with its dead-letter queue.
#[derive(Clone, Debug)]
pub struct Consumer {
    client: Client,
    url: String,
    dead_letters: QueueSender,
}

/// What becomes of a record after [`Consumer::bury`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Buried {
    /// It stands in the dead-letter queue and may leave this one.
    Yes,
    /// It could not be moved and must stay.
    No,
}

/// What becomes of a record after [`Consumer::put_off`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum PutOff {
    /// It stays in the queue and comes again.
    Kept,
    /// A copy comes instead; it may leave the queue.
    Replaced,
}

impl Consumer {
    /// The queue at `url` with the dead-letter queue at `dead_letter_url`.
    #[must_use]
    pub fn new(config: &SdkConfig, url: String, dead_letter_url: String) -> Self {
        Self { client: Client::new(config), url, dead_letters: QueueSender::new(config, dead_letter_url) }
    }

    /// Lets a record that stays in the queue come again after `pause` instead of the queue's visibility timeout.
    ///
    /// Whole seconds, at least one, and no more than 11 hours. A failure only means that it comes later, so it is logged and not returned.
    pub async fn postpone(&self, record: &Record, pause: Duration) {
        let changed = self
            .client
            .change_message_visibility()
            .queue_url(&self.url)
            .receipt_handle(&record.receipt_handle)
            .visibility_timeout(seconds(pause).min(MAX_HIDDEN))
            .send()
            .await;
        if let Err(error) = changed {
            tracing::warn!(
                error = hoopoe_aws::cause(&error),
                "a record comes again only after the queue's visibility timeout"
            );
        }
    }

    /// [`postpone`](Self::postpone)s a record that may have to wait any number of times.
    ///
    /// SQS moves what it has handed out `maxReceiveCount` times to the dead-letter queue, and drops what is older than the
    /// queue's retention. So a record that was received often is replaced by a copy, which SQS takes for a new message; a
    /// copy waits 15 minutes at most. Both are there for a moment, so whoever handles them must know a repeated one.
    pub async fn put_off(&self, record: &Record, pause: Duration) -> PutOff {
        if record.receives() >= MAX_RECEIVES {
            let copied = self
                .client
                .send_message()
                .queue_url(&self.url)
                .message_body(&record.body)
                .set_message_group_id(record.attributes.get("MessageGroupId").cloned())
                .delay_seconds(seconds(pause).min(MAX_DELAY))
                .send()
                .await;
            match copied {
                Ok(_) => return PutOff::Replaced,
                Err(error) => {
                    tracing::warn!(error = hoopoe_aws::cause(&error), "a record that waits cannot be queued anew");
                }
            }
        }
        self.postpone(record, pause).await;
        PutOff::Kept
    }

    /// Moves a record to the dead-letter queue, with the reason.
    pub async fn bury(&self, record: &Record, reason: &str) -> Buried {
        match self.dead_letters.bury(&record.body, reason).await {
            Ok(()) => {
                tracing::warn!(record = record.message_id, reason, "moved to the dead-letter queue");
                Buried::Yes
            }
            Err(error) => {
                tracing::error!(record = record.message_id, reason, %error, "cannot be moved to the dead-letter queue");
                Buried::No
            }
        }
    }
}

pub(crate) fn seconds(pause: Duration) -> i32 {
    i32::try_from(pause.as_millis().div_ceil(1000)).unwrap_or(i32::MAX).max(1)
}
