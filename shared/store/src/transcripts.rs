//! Transcripts: what the web page shows, and where replies are left that are fetched and not sent: those for the page,
//! and those of bots that may only speak in answer to a request.
//!
//! Message number `n` of a conversation stands at `seq` 2n, its reply at 2n + 1, so both sides write without asking
//! for a place, and writing the same entry twice changes nothing.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_types::SdkConfig;
use hoopoe_message::{Conversation, Decision, Reply, Timestamp};

use crate::StoreError;
use crate::item::{Item, number, read_number, read_text, text};

/// How long the page finds a conversation again.
pub const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The Transcripts table.
#[derive(Clone, Debug)]
pub struct Transcripts {
    client: Client,
    table: String,
}

/// One line of a transcript.
#[derive(Clone, PartialEq)]
pub struct Entry {
    /// Its place: even for what the person said, odd for a reply.
    pub seq: u64,
    /// The words.
    pub text: String,
    /// Quick replies.
    pub suggestions: Vec<String>,
    /// When it was written.
    pub at: Timestamp,
    /// How the bot came to it; for the operator.
    pub decision: Option<Decision>,
}

impl Entry {
    /// Whether the bot says it: questions stand at even places and replies at odd ones.
    #[must_use]
    pub const fn is_reply(&self) -> bool {
        self.seq % 2 == 1
    }
}

impl Transcripts {
    /// The table of this name.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String) -> Self {
        Self { client: Client::new(config), table }
    }

    /// Writes down what the person said as message `number`.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer.
    pub async fn put_question(
        &self,
        conversation: &Conversation,
        message: u64,
        words: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.put(conversation, 2 * message, words, &[], None, now).await
    }

    /// Writes down a reply.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer.
    pub async fn put_reply(&self, reply: &Reply, now: Timestamp) -> Result<(), StoreError> {
        let Reply { conversation, number, text, suggestions, decision, .. } = reply;
        self.put(conversation, 2 * number + 1, text, suggestions, decision.as_ref(), now).await
    }

    /// The entries with a greater `seq` than `after`, in order, at most `limit`.
    ///
    /// DynamoDB counts items before it filters them, and expired ones may stand there for days: so pages are read
    /// until there are enough entries that are not expired.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer, or an item is not an entry.
    pub async fn after(
        &self,
        conversation: &Conversation,
        after: u64,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Entry>, StoreError> {
        const OPERATION: &str = "reading a transcript";
        let mut items = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("#conversation = :conversation AND #seq > :after")
            .filter_expression("#expires > :now")
            .expression_attribute_names("#conversation", "conversation")
            .expression_attribute_names("#seq", "seq")
            .expression_attribute_names("#expires", "expires_at")
            .expression_attribute_values(":conversation", text(conversation.to_string()))
            .expression_attribute_values(":after", number(after))
            .expression_attribute_values(":now", number(now.as_secs()))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut entries = Vec::new();
        while entries.len() < limit
            && let Some(item) = items.next().await
        {
            let item = item.map_err(|error| StoreError::call(OPERATION, &error))?;
            entries.push(entry(&item).ok_or(StoreError::Shape { operation: OPERATION, what: "an entry" })?);
        }
        Ok(entries)
    }

    /// The replies up to that of message `number` that were not taken before, in order, for the answer to the request
    /// that brought this message. They are taken then; asked again for the same message, they are given again, because
    /// the platform asks again when it did not hear the answer.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer, or an item is not an entry.
    pub async fn take_replies(
        &self,
        conversation: &Conversation,
        message: u64,
        now: Timestamp,
    ) -> Result<Vec<Entry>, StoreError> {
        const OPERATION: &str = "taking replies";
        let mut items = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("#conversation = :conversation AND #seq <= :last")
            .filter_expression("#expires > :now AND (attribute_not_exists(#taken) OR #taken = :message)")
            .expression_attribute_names("#conversation", "conversation")
            .expression_attribute_names("#seq", "seq")
            .expression_attribute_names("#expires", "expires_at")
            .expression_attribute_names("#taken", "taken_by")
            .expression_attribute_values(":conversation", text(conversation.to_string()))
            .expression_attribute_values(":last", number(2 * message + 1))
            .expression_attribute_values(":now", number(now.as_secs()))
            .expression_attribute_values(":message", number(message))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut taken = Vec::new();
        while let Some(item) = items.next().await {
            let item = item.map_err(|error| StoreError::call(OPERATION, &error))?;
            let entry = entry(&item).ok_or(StoreError::Shape { operation: OPERATION, what: "an entry" })?;
            if entry.is_reply() && self.take(conversation, entry.seq, message).await? {
                taken.push(entry);
            }
        }
        Ok(taken)
    }

    /// Marks an entry as taken for a message; whether it was not taken for another one meanwhile.
    async fn take(&self, conversation: &Conversation, seq: u64, message: u64) -> Result<bool, StoreError> {
        let marked = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("conversation", text(conversation.to_string()))
            .key("seq", number(seq))
            .update_expression("SET #taken = :message")
            .condition_expression("attribute_exists(#seq) AND (attribute_not_exists(#taken) OR #taken = :message)")
            .expression_attribute_names("#taken", "taken_by")
            .expression_attribute_names("#seq", "seq")
            .expression_attribute_values(":message", number(message))
            .send()
            .await;
        match marked {
            Ok(_) => Ok(true),
            Err(error)
                if error.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(StoreError::call("taking replies", &error)),
        }
    }

    async fn put(
        &self,
        conversation: &Conversation,
        seq: u64,
        words: &str,
        suggestions: &[String],
        decision: Option<&Decision>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut put = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("conversation", text(conversation.to_string()))
            .item("seq", number(seq))
            .item("text", text(words))
            .item("at", number(now.as_millis()))
            .item("expires_at", number(now.plus(LIFETIME).as_secs()));
        if !suggestions.is_empty() {
            put = put.item("suggestions", AttributeValue::L(suggestions.iter().map(text).collect()));
        }
        if let Some(decision) = decision {
            put = put.item("decision", text(serde_json::to_string(decision).expect("words and numbers serialise")));
        }
        put.send().await.map_err(|error| StoreError::call("writing a transcript", &error))?;
        Ok(())
    }
}

fn entry(item: &Item) -> Option<Entry> {
    let suggestions = item.get("suggestions").and_then(|value| value.as_l().ok()).map_or(&[][..], Vec::as_slice);
    Some(Entry {
        seq: read_number(item, "seq")?,
        text: read_text(item, "text")?.to_owned(),
        suggestions: suggestions.iter().filter_map(|value| value.as_s().ok().cloned()).collect(),
        at: Timestamp::from_millis(read_number(item, "at")?),
        // One of a later version may be of another shape, and only the operator's command asks for it.
        decision: read_text(item, "decision").and_then(|json| serde_json::from_str(json).ok()),
    })
}
