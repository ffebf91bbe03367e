//! Who moved which key, when, and from where.
//!
//! In the Audit table the item `key`, `at` (milliseconds of the epoch, and a few random letters against two at once)
//! holds `action`, `version`, `who`, `origin` and `expires_at`. A move and its record are written in one transaction, so
//! there is no move without a record. Records are only ever added; nothing here changes or deletes one.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{AttributeValue, Put};
use aws_types::SdkConfig;
use hoopoe_message::Timestamp;

use crate::{KeyringError, number, read_number, text};

/// Who does something, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The AWS identity, as an ARN.
    pub who: String,
    /// The machine, or the function's request.
    pub origin: String,
}

/// The Audit table.
#[derive(Clone, Debug)]
pub struct Audit {
    dynamodb: aws_sdk_dynamodb::Client,
    table: String,
    actor: Actor,
    retention: Duration,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// Which key: `<channel>/<bot>/<purpose>`, or `operator`.
    pub key: String,
    /// What was done: added, promoted, …
    pub action: String,
    /// Which version.
    pub version: u64,
    /// By whom.
    pub actor: Actor,
}

impl Audit {
    /// The table of this name, for what `actor` does; records are kept for `retention`.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String, actor: Actor, retention: Duration) -> Self {
        Self { dynamodb: aws_sdk_dynamodb::Client::new(config), table, actor, retention }
    }

    /// The record of something, for the transaction that does it.
    pub(crate) fn record(&self, key: &str, action: &str, version: u64, now: Timestamp) -> Result<Put, BuildError> {
        let suffix: String = std::iter::repeat_with(fastrand::lowercase).take(6).collect();
        Put::builder()
            .table_name(&self.table)
            .item("key", text(key))
            .item("at", text(format!("{:013}#{suffix}", now.as_millis())))
            .item("action", text(action))
            .item("version", number(version))
            .item("who", text(&self.actor.who))
            .item("origin", text(&self.actor.origin))
            .item("expires_at", number(now.plus(self.retention).as_secs()))
            // Never over another.
            .condition_expression("attribute_not_exists(#key)")
            .expression_attribute_names("#key", "key")
            .build()
    }

    /// All records, the oldest first. Those past their time are left out, whether or not DynamoDB has deleted them.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer.
    pub async fn read(&self, now: Timestamp) -> Result<Vec<Entry>, KeyringError> {
        let mut pages = self
            .dynamodb
            .scan()
            .table_name(&self.table)
            .filter_expression("#expires > :now")
            .expression_attribute_names("#expires", "expires_at")
            .expression_attribute_values(":now", number(now.as_secs()))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut entries = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| KeyringError::call("reading the audit", &error))?;
            entries.extend(read(&item));
        }
        entries.sort_by(|a, b| (a.at, &a.key, a.version).cmp(&(b.at, &b.key, b.version)));
        Ok(entries)
    }
}

fn read(item: &HashMap<String, AttributeValue>) -> Option<Entry> {
    let word = |name: &str| item.get(name)?.as_s().ok().cloned();
    Some(Entry {
        at: Timestamp::from_millis(word("at")?.split_once('#')?.0.parse().ok()?),
        key: word("key")?,
        action: word("action")?,
        version: read_number(item, "version")?,
        actor: Actor { who: word("who")?, origin: word("origin")? },
    })
}
