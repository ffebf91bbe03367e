//! Which version of a key worked how often, while a rotation is watched.
//!
//! In the Usage table the item `<channel>/<bot>/<purpose>`, `version#<number>` holds `accepted`, `refused` (counts),
//! `last_accepted_at` (seconds) and `expires_at`. The counts are for judging a rotation, not for accounting: a function
//! that ends between two writes takes what it had not written with it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_types::SdkConfig;
use hoopoe_message::Timestamp;
use tokio::sync::Mutex;

use crate::{KeyName, KeyringError, number, read_number, text};

/// A function writes its counts this often at most.
const WRITE_EVERY: Duration = Duration::from_secs(60);

/// How long counts stay that nobody adds to.
const KEPT: Duration = Duration::from_secs(40 * 24 * 3600);

/// How a version fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// How many requests it verified, or how many sends the platform accepted with it.
    pub accepted: u64,
    /// How often the platform did not accept it. Always 0 for what verifies: anybody can send what no version verifies.
    pub refused: u64,
    /// When it was last accepted, to the minute.
    pub last_accepted_at: Option<Timestamp>,
}

/// The counts in the Usage table.
#[derive(Clone, Debug)]
pub struct Uses {
    dynamodb: aws_sdk_dynamodb::Client,
    table: String,
}

impl Uses {
    /// The table of this name.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String) -> Self {
        Self { dynamodb: aws_sdk_dynamodb::Client::new(config), table }
    }

    /// What is known of each version of a key.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer.
    pub async fn of(&self, key: &KeyName) -> Result<BTreeMap<u64, Use>, KeyringError> {
        let output = self
            .dynamodb
            .query()
            .table_name(&self.table)
            .key_condition_expression("#key = :key AND begins_with(#name, :version)")
            .expression_attribute_names("#key", "key")
            .expression_attribute_names("#name", "name")
            .expression_attribute_values(":key", text(key.to_string()))
            .expression_attribute_values(":version", text("version#"))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| KeyringError::call("reading the uses of a key", &error))?;
        let read = |item: HashMap<String, AttributeValue>| {
            let version = item.get("name")?.as_s().ok()?.strip_prefix("version#")?.parse().ok()?;
            let count = |name| read_number(&item, name).unwrap_or(0);
            let last_accepted_at = read_number(&item, "last_accepted_at").map(Timestamp::from_secs);
            Some((version, Use { accepted: count("accepted"), refused: count("refused"), last_accepted_at }))
        };
        Ok(output.items.unwrap_or_default().into_iter().filter_map(read).collect())
    }

    async fn add(&self, key: &KeyName, version: u64, counts: Counts, now: Timestamp) -> Result<(), KeyringError> {
        let mut update = self
            .dynamodb
            .update_item()
            .table_name(&self.table)
            .key("key", text(key.to_string()))
            .key("name", text(format!("version#{version}")))
            .expression_attribute_names("#accepted", "accepted")
            .expression_attribute_names("#refused", "refused")
            .expression_attribute_names("#expires", "expires_at")
            .expression_attribute_values(":accepted", number(counts.accepted))
            .expression_attribute_values(":refused", number(counts.refused))
            .expression_attribute_values(":expires", number(now.plus(KEPT).as_secs()));
        let mut expression = "ADD #accepted :accepted, #refused :refused SET #expires = :expires".to_owned();
        if counts.accepted > 0 {
            expression.push_str(", #last = :now");
            update = update
                .expression_attribute_names("#last", "last_accepted_at")
                .expression_attribute_values(":now", number(now.as_secs()));
        }
        update
            .update_expression(expression)
            .send()
            .await
            .map_err(|error| KeyringError::call("counting the uses of a key", &error))?;
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    accepted: u64,
    refused: u64,
}

/// What was counted since it was last written.
#[derive(Debug, Default)]
struct Counted {
    counts: Counts,
    written: Option<Timestamp>,
}

/// The counts of one function between two writes.
#[derive(Debug)]
pub(crate) struct Tally {
    uses: Uses,
    counted: Mutex<HashMap<(KeyName, u64), Counted>>,
}

impl Tally {
    pub(crate) fn new(uses: Uses) -> Self {
        Self { uses, counted: Mutex::default() }
    }

    /// Counts a use, and writes the counts where that is due. A message never fails for a count.
    pub(crate) async fn count(&self, key: &KeyName, version: u64, accepted: bool, now: Timestamp) {
        let due = {
            let mut counted = self.counted.lock().await;
            let Counted { counts, written } = counted.entry((key.clone(), version)).or_default();
            if accepted {
                counts.accepted += 1
            } else {
                counts.refused += 1
            }
            if written.is_some_and(|written| now.since(written) < WRITE_EVERY) {
                return;
            }
            *written = Some(now);
            std::mem::take(counts)
        };
        if let Err(error) = self.uses.add(key, version, due, now).await {
            tracing::warn!(%error, "the uses of a key are not counted");
        }
    }
}
