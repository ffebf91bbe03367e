//! Draining a queue.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_types::SdkConfig;

use crate::{QueueSender, Record};

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

impl Consumer {
    /// The queue at `url` with the dead-letter queue at `dead_letter_url`.
    #[must_use]
    pub fn new(config: &SdkConfig, url: String, dead_letter_url: String) -> Self {
        Self { client: Client::new(config), url, dead_letters: QueueSender::new(config, dead_letter_url) }
    }

    /// Lets a record that stays in the queue come again after `pause` instead of the queue's visibility timeout.
    ///
    /// Whole seconds, at least one. A failure only means that it comes later, so it is logged and not returned.
    pub async fn postpone(&self, record: &Record, pause: Duration) {
        // SQS allows up to 12 hours.
        let seconds = i32::try_from(pause.as_millis().div_ceil(1000)).unwrap_or(i32::MAX).clamp(1, 12 * 3600);
        let changed = self
            .client
            .change_message_visibility()
            .queue_url(&self.url)
            .receipt_handle(&record.receipt_handle)
            .visibility_timeout(seconds)
            .send()
            .await;
        if let Err(error) = changed {
            tracing::warn!(
                error = hoopoe_aws::cause(&error),
                "a record comes again only after the queue's visibility timeout"
            );
        }
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
