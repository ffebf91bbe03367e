//! Putting messages into a queue.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{MessageAttributeValue, SendMessageBatchRequestEntry};
use aws_types::SdkConfig;
use hoopoe_message::{Conversation, wire};
use serde::Serialize;

use crate::QueueError;
use crate::consumer::{MAX_DELAY, seconds};

/// SQS's limits for one `SendMessageBatch`.
const MAX_ENTRIES: usize = 10;
const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// A queue to send to.
///
/// A message's group is its conversation, which makes a standard queue a fair one: a conversation that floods it
/// delays itself and not the others ("Amazon SQS fair queues").
#[derive(Clone, Debug)]
pub struct QueueSender {
    client: Client,
    url: String,
}

impl QueueSender {
    /// The queue at this URL.
    #[must_use]
    pub fn new(config: &SdkConfig, url: String) -> Self {
        Self { client: Client::new(config), url }
    }

    /// Sends one message.
    ///
    /// # Errors
    ///
    /// When SQS does not take it.
    pub async fn send<T: Serialize>(&self, conversation: &Conversation, message: &T) -> Result<(), QueueError> {
        self.client
            .send_message()
            .queue_url(&self.url)
            .message_body(wire::encode(message))
            .message_group_id(group(conversation))
            .send()
            .await
            .map_err(|error| QueueError::call("queueing a message", &error))?;
        Ok(())
    }

    /// Sends one message that nobody can take out before `delay` is over: whole seconds, at most 15 minutes.
    ///
    /// # Errors
    ///
    /// When SQS does not take it.
    pub async fn send_later<T: Serialize>(
        &self,
        conversation: &Conversation,
        message: &T,
        delay: Duration,
    ) -> Result<(), QueueError> {
        self.client
            .send_message()
            .queue_url(&self.url)
            .message_body(wire::encode(message))
            .message_group_id(group(conversation))
            .delay_seconds(seconds(delay).min(MAX_DELAY))
            .send()
            .await
            .map_err(|error| QueueError::call("queueing a message for later", &error))?;
        Ok(())
    }

    /// Sends many messages, ten a call, and says for each whether SQS took it, in their order. After a call that failed as
    /// a whole some may have been taken all the same: they are to be sent again, and whoever receives them has to know a
    /// repeated one.
    pub async fn send_all<'a, T: Serialize + 'a>(
        &self,
        messages: impl IntoIterator<Item = (&'a Conversation, &'a T)>,
    ) -> Vec<Result<(), QueueError>> {
        let mut results = Vec::new();
        let mut batch: Vec<(String, String)> = Vec::new();
        let mut bytes = 0;
        for (conversation, message) in messages {
            let body = wire::encode(message);
            if batch.len() == MAX_ENTRIES || bytes + body.len() > MAX_BATCH_BYTES {
                results.extend(self.send_batch(std::mem::take(&mut batch)).await);
                bytes = 0;
            }
            bytes += body.len();
            batch.push((group(conversation), body));
        }
        if !batch.is_empty() {
            results.extend(self.send_batch(batch).await);
        }
        results
    }

    /// Moves a record that cannot be handled to this queue, a dead-letter queue, with the reason beside it. The reason may
    /// have any characters: a platform's words among them.
    ///
    /// # Errors
    ///
    /// When SQS does not take it; the record must stay where it is then.
    pub async fn bury(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        let reason = MessageAttributeValue::builder()
            .data_type("String")
            .string_value(wire::attribute(reason))
            .build()
            .map_err(|_| QueueError { operation: "burying a message", cause: "it has no reason".into() })?;
        self.client
            .send_message()
            .queue_url(&self.url)
            .message_body(body)
            .message_attributes("reason", reason)
            .send()
            .await
            .map_err(|error| QueueError::call("burying a message", &error))?;
        Ok(())
    }

    async fn send_batch(&self, batch: Vec<(String, String)>) -> Vec<Result<(), QueueError>> {
        const OPERATION: &str = "queueing messages";
        let count = batch.len();
        let mut request = self.client.send_message_batch().queue_url(&self.url);
        for (index, (group, body)) in batch.into_iter().enumerate() {
            let entry = SendMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .message_group_id(group)
                .message_body(body)
                .build()
                .expect("id and body are set");
            request = request.entries(entry);
        }
        match request.send().await {
            Ok(output) => {
                let mut results: Vec<Result<(), QueueError>> = (0..count).map(|_| Ok(())).collect();
                for failed in output.failed {
                    let cause = failed.code;
                    if let Some(result) = failed.id.parse().ok().and_then(|index: usize| results.get_mut(index)) {
                        *result = Err(QueueError { operation: OPERATION, cause });
                    }
                }
                results
            }
            Err(error) => (0..count).map(|_| Err(QueueError::call(OPERATION, &error))).collect(),
        }
    }
}

/// The message group: the conversation, with what SQS does not allow in one replaced. Alphanumerics and ASCII
/// punctuation are allowed; two chats that fall together share a group, which only affects fairness.
fn group(conversation: &Conversation) -> String {
    let mut group = conversation.to_string();
    if group.bytes().any(|byte| !byte.is_ascii_graphic()) {
        group = group.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect();
    }
    group.truncate(128);
    group
}

#[cfg(test)]
mod tests {
    use super::*;
    use hoopoe_message::{BotId, Channel};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_chat_makes_a_legal_group(chat in ".{0,80}") {
            let conversation = Conversation { channel: Channel::Wecom, bot: BotId::default(), chat };
            let group = group(&conversation);
            prop_assert!((1..=128).contains(&group.len()));
            prop_assert!(group.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}
