//! The event that an SQS mapping hands to a function, and the answer it expects.

use std::collections::HashMap;
use std::time::Duration;

use hoopoe_message::Timestamp;
use serde::{Deserialize, Serialize};

/// Up to ten records. Only the fields that are used are read, and no body is parsed here: one bad body must not fail
/// the batch.
#[derive(Debug, Deserialize)]
pub struct Batch {
    /// The records, in no particular order.
    #[serde(rename = "Records")]
    pub records: Vec<Record>,
}

/// One message as it stands in the queue.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// SQS's own id of the message, by which a failure is reported.
    pub message_id: String,
    /// What this receipt of the message is called, to change its visibility.
    pub receipt_handle: String,
    /// The message.
    pub body: String,
    /// What SQS says about it, by SQS's names.
    #[serde(default)]
    pub attributes: HashMap<String, String>,
}

impl Record {
    /// How often it was received, with this time.
    #[must_use]
    pub fn receives(&self) -> u32 {
        self.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1)
    }

    /// How long ago it was first taken out of the queue; nothing for one that comes for the first time.
    #[must_use]
    pub fn waited(&self, now: Timestamp) -> Duration {
        let first = self.attributes.get("ApproximateFirstReceiveTimestamp").and_then(|millis| millis.parse().ok());
        first.map_or(Duration::ZERO, |first| now.since(Timestamp::from_millis(first)))
    }
}

/// Leaves the body out: it holds a person's words.
impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record").field("message_id", &self.message_id).finish_non_exhaustive()
    }
}

/// The answer to a [`Batch`]: the records that stay in the queue. All others are deleted from it.
///
/// On AWS a malformed answer fails the whole batch; this type cannot make one.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchResponse {
    batch_item_failures: Vec<BatchItemFailure>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchItemFailure {
    item_identifier: String,
}

impl BatchResponse {
    /// The record stays in the queue and comes again.
    pub fn keep(&mut self, record: &Record) {
        self.batch_item_failures.push(BatchItemFailure { item_identifier: record.message_id.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_whatever_its_bodies_are() {
        let event = serde_json::json!({"Records": [{
            "messageId": "m1", "receiptHandle": "r1", "body": "{not json", "md5OfBody": "x",
            "attributes": {"ApproximateReceiveCount": "3"}, "messageAttributes": {}, "eventSource": "aws:sqs"
        }]});
        let batch: Batch = serde_json::from_value(event).expect("an SQS event");
        assert_eq!(batch.records[0].body, "{not json");
        assert_eq!(batch.records[0].receives(), 3);
        assert!(!format!("{batch:?}").contains("not json"));
    }

    #[test]
    fn the_answer_names_what_stays() {
        let record = Record {
            message_id: "m1".into(),
            receipt_handle: "r1".into(),
            body: String::new(),
            attributes: HashMap::new(),
        };
        let mut response = BatchResponse::default();
        assert_eq!(serde_json::to_string(&response).expect("json"), r#"{"batchItemFailures":[]}"#);
        response.keep(&record);
        let json = serde_json::to_string(&response).expect("json");
        assert_eq!(json, r#"{"batchItemFailures":[{"itemIdentifier":"m1"}]}"#);
    }
}
