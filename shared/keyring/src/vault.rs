//! Storing secrets and moving their versions: the operator's side, and that of `rotate`.

use std::collections::HashMap;

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use aws_types::SdkConfig;
use hoopoe_message::Timestamp;
use zeroize::Zeroizing;

use crate::audit::Audit;
use crate::envelope::{self, Sealed};
use crate::lifecycle::{Change, History, Move, State, Version};
use crate::{KeyName, KeyringError, Quota, is_overtaken, number, read_number, text};

/// What stands in place of a version's number for a key's quota.
/// What only the item of a quota has.
pub(crate) const PER_SECOND: &str = "per_second";

pub(crate) const QUOTA: u64 = 0;

/// The Keys table with the right to write it.
#[derive(Clone, Debug)]
pub struct Vault {
    dynamodb: aws_sdk_dynamodb::Client,
    kms: aws_sdk_kms::Client,
    table: String,
    kms_key: String,
    audit: Audit,
}

/// A key in the table, without its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Which.
    pub key: KeyName,
    /// Its versions.
    pub history: History,
}

/// What stands in one item.
pub(crate) struct Item {
    pub(crate) version: Version,
    pub(crate) sealed: Option<Sealed>,
}

impl Vault {
    /// The Keys table of this name; new secrets are encrypted under `kms_key` (an id, ARN or `alias/…`), and every move
    /// is written to `audit`.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String, kms_key: String, audit: Audit) -> Self {
        Self {
            dynamodb: aws_sdk_dynamodb::Client::new(config),
            kms: aws_sdk_kms::Client::new(config),
            table,
            kms_key,
            audit,
        }
    }

    /// Stores a secret as pending, or as current where none is in force; returns the new version.
    ///
    /// # Errors
    ///
    /// When a version is pending already, or KMS or DynamoDB refuses; nothing is stored then.
    pub async fn add(&self, key: &KeyName, secret: &[u8]) -> Result<Version, KeyringError> {
        self.store(key, secret, Move::Add).await
    }

    /// Stores a secret that takes over at once; returns the new version.
    ///
    /// # Errors
    ///
    /// As [`Vault::add`].
    pub async fn replace(&self, key: &KeyName, secret: &[u8]) -> Result<Version, KeyringError> {
        self.store(key, secret, Move::Replace).await
    }

    async fn store(&self, key: &KeyName, secret: &[u8], step: Move) -> Result<Version, KeyringError> {
        let history = self.history(key).await?;
        let changes = plan(key, &history, step)?;
        let sealed = envelope::encrypt(&self.kms, &self.kms_key, key.encryption_context(), secret).await?;
        self.write(key, &changes, Some(sealed)).await?;
        Ok(changes.last().expect("a stored version is a change").after)
    }

    /// Moves a key's versions, and returns the history after that.
    ///
    /// # Errors
    ///
    /// When the move is not possible, somebody else moved at the same time, or DynamoDB does not answer. Nothing is moved
    /// then.
    pub async fn step(&self, key: &KeyName, step: Move) -> Result<History, KeyringError> {
        let history = self.history(key).await?;
        let changes = plan(key, &history, step)?;
        self.write(key, &changes, None).await?;
        Ok(history.after(&changes))
    }

    /// The versions of a key.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer.
    pub async fn history(&self, key: &KeyName) -> Result<History, KeyringError> {
        let mut pages = self
            .dynamodb
            .query()
            .table_name(&self.table)
            .key_condition_expression("#key = :key AND #version > :quota")
            .expression_attribute_names("#key", "key")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":key", text(key.to_string()))
            .expression_attribute_values(":quota", number(QUOTA))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut versions = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| KeyringError::call("reading a key", &error))?;
            versions.push(read(item).ok_or_else(|| KeyringError::Shape(key.clone()))?.version);
        }
        Ok(History::new(versions))
    }

    /// All keys of which something is left, without their values, in order.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer.
    pub async fn list(&self) -> Result<Vec<Stored>, KeyringError> {
        let mut pages = self
            .dynamodb
            .scan()
            .table_name(&self.table)
            .projection_expression("#key, #version, #state, #created, #since, #watched, #noticed")
            .expression_attribute_names("#key", "key")
            .expression_attribute_names("#version", "version")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#created", "created_at")
            .expression_attribute_names("#since", "since")
            .expression_attribute_names("#watched", "watched")
            .expression_attribute_names("#noticed", "noticed")
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut keys: HashMap<KeyName, Vec<Version>> = HashMap::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| KeyringError::call("listing keys", &error))?;
            // The operator's credential stands here too, and perhaps what a later version of Hoopoe stores.
            let key = item.get("key").and_then(|key| KeyName::read(key.as_s().ok()?));
            if let (Some(key), Some(Item { version, .. })) = (key, read(item)) {
                keys.entry(key).or_default().push(version);
            }
        }
        let mut all: Vec<Stored> = keys
            .into_iter()
            .map(|(key, versions)| Stored { key, history: History::new(versions) })
            .filter(|stored| stored.history.versions().iter().any(|version| version.state != State::Destroyed))
            .collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(all)
    }

    /// Decrypts a version.
    ///
    /// # Errors
    ///
    /// When there is none, it was destroyed, or KMS refuses.
    pub async fn open(&self, key: &KeyName, version: u64) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        let output = self
            .dynamodb
            .get_item()
            .table_name(&self.table)
            .key("key", text(key.to_string()))
            .key("version", number(version))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| KeyringError::call("reading a key", &error))?;
        let item = output.item.ok_or_else(|| KeyringError::Missing(key.clone()))?;
        let sealed = read(item).and_then(|item| item.sealed).ok_or_else(|| KeyringError::Missing(key.clone()))?;
        envelope::decrypt(&self.kms, key.encryption_context(), sealed).await
    }

    /// Sets how often a key may be used. Running functions know it once they read the key again.
    ///
    /// # Errors
    ///
    /// When DynamoDB refuses.
    pub async fn set_quota(&self, key: &KeyName, quota: Quota) -> Result<(), KeyringError> {
        const DOING: &str = "storing a quota";
        let put = Put::builder()
            .table_name(&self.table)
            .item("key", text(key.to_string()))
            .item("version", number(QUOTA))
            .item(PER_SECOND, number(u64::from(quota.per_second.get())));
        let put = quota.per_day.into_iter().fold(put, |put, units| put.item("per_day", number(units)));
        let record = self.audit.record(&key.to_string(), "quota set", QUOTA, Timestamp::now());
        let items = put.build().and_then(|put| Ok([put, record?]));
        let items = items.map_err(|error| KeyringError::Call { operation: DOING, cause: error.to_string() })?;
        let items = items.map(|put| TransactWriteItem::builder().put(put).build());
        let written = self.dynamodb.transact_write_items().set_transact_items(Some(items.into())).send().await;
        written.map(|_| ()).map_err(|error| KeyringError::call(DOING, &error))
    }

    /// Writes changes and their records in one transaction, where the versions are still as they were read.
    async fn write(&self, key: &KeyName, changes: &[Change], new: Option<Sealed>) -> Result<(), KeyringError> {
        const DOING: &str = "writing a key";
        let now = Timestamp::now();
        let items = || -> Result<Vec<TransactWriteItem>, BuildError> {
            let mut items = Vec::with_capacity(changes.len() * 2);
            let mut new = new;
            for Change { before, after } in changes {
                let item = TransactWriteItem::builder();
                items.push(match before {
                    None => item.put(self.insert(key, *after, new.take())?).build(),
                    Some(before) => item.update(self.update(key, *before, *after)?).build(),
                });
                let record = self.audit.record(&key.to_string(), action(*before, *after), after.number, now)?;
                items.push(TransactWriteItem::builder().put(record).build());
            }
            Ok(items)
        };
        let items = items().map_err(|error| KeyringError::Call { operation: DOING, cause: error.to_string() })?;
        let written = self.dynamodb.transact_write_items().set_transact_items(Some(items)).send().await;
        written.map(|_| ()).map_err(|error| match error.as_service_error() {
            Some(canceled) if is_overtaken(canceled) => KeyringError::Conflict(key.clone()),
            _ => KeyringError::call(DOING, &error),
        })
    }

    fn insert(&self, key: &KeyName, version: Version, sealed: Option<Sealed>) -> Result<Put, BuildError> {
        let Sealed { ciphertext, sealed } = sealed.expect("a version is stored with its value");
        Put::builder()
            .table_name(&self.table)
            .item("key", text(key.to_string()))
            .item("version", number(version.number))
            .item("state", text(version.state.as_str()))
            .item("created_at", number(version.created_at.as_secs()))
            .item("since", number(version.since.as_secs()))
            .item("watched", AttributeValue::Bool(version.watched))
            .item("noticed", number(u64::from(version.noticed)))
            .item("ciphertext", AttributeValue::B(ciphertext))
            .condition_expression("attribute_not_exists(#key)")
            .expression_attribute_names("#key", "key")
            .build()
            .map(|mut put| {
                if let Some(sealed) = sealed {
                    put.item.insert("sealed".into(), AttributeValue::B(sealed));
                }
                put
            })
    }

    fn update(&self, key: &KeyName, before: Version, after: Version) -> Result<Update, BuildError> {
        let remove = if after.state == State::Destroyed { " REMOVE #ciphertext, #sealed" } else { "" };
        let mut update = Update::builder()
            .table_name(&self.table)
            .key("key", text(key.to_string()))
            .key("version", number(after.number))
            .update_expression(format!(
                "SET #state = :state, #since = :since, #watched = :watched, #noticed = :noticed{remove}"
            ))
            .condition_expression("#state = :was AND #since = :was_since AND #watched = :was_watched")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#since", "since")
            .expression_attribute_names("#watched", "watched")
            .expression_attribute_names("#noticed", "noticed")
            .expression_attribute_values(":state", text(after.state.as_str()))
            .expression_attribute_values(":since", number(after.since.as_secs()))
            .expression_attribute_values(":watched", AttributeValue::Bool(after.watched))
            .expression_attribute_values(":noticed", number(u64::from(after.noticed)))
            .expression_attribute_values(":was", text(before.state.as_str()))
            .expression_attribute_values(":was_since", number(before.since.as_secs()))
            .expression_attribute_values(":was_watched", AttributeValue::Bool(before.watched));
        if !remove.is_empty() {
            update = update
                .expression_attribute_names("#ciphertext", "ciphertext")
                .expression_attribute_names("#sealed", "sealed");
        }
        update.build()
    }
}

fn plan(key: &KeyName, history: &History, step: Move) -> Result<Vec<Change>, KeyringError> {
    history.plan(step, Timestamp::now()).map_err(|fault| KeyringError::Move { key: key.clone(), fault })
}

/// What the audit calls a change.
fn action(before: Option<Version>, after: Version) -> &'static str {
    match (before, after.state) {
        (None, State::Current) => "added, in force",
        (None, _) | (_, State::Pending) => "added",
        (Some(before), State::Current) if before.state == State::Current && before.watched != after.watched => {
            "finished"
        }
        (Some(before), State::Current) if before.state == State::Current => "noticed",
        (Some(before), State::Current) if before.state == State::Previous => "restored",
        (Some(_), State::Current) => "promoted",
        (Some(_), State::Previous) => "replaced",
        (Some(_), State::Revoked) => "revoked",
        (Some(_), State::Destroyed) => "destroyed",
    }
}

/// Reads a key's quota; `None` where it is none.
pub(crate) fn read_quota(item: &HashMap<String, AttributeValue>) -> Option<Quota> {
    let per_second = read_number(item, PER_SECOND).and_then(|calls| u32::try_from(calls).ok()?.try_into().ok())?;
    let per_day = item.contains_key("per_day").then(|| read_number(item, "per_day"));
    match per_day {
        Some(None) => None,
        per_day => Some(Quota { per_second, per_day: per_day.flatten() }),
    }
}

/// Reads an item; `None` where it is not of this shape.
pub(crate) fn read(mut item: HashMap<String, AttributeValue>) -> Option<Item> {
    let version = Version {
        number: read_number(&item, "version")?,
        state: item.get("state")?.as_s().ok()?.parse().ok()?,
        created_at: Timestamp::from_secs(read_number(&item, "created_at")?),
        since: Timestamp::from_secs(read_number(&item, "since")?),
        watched: *item.get("watched")?.as_bool().ok()?,
        noticed: read_number(&item, "noticed").and_then(|days| u32::try_from(days).ok())?,
    };
    let mut blob = |name: &str| match item.remove(name) {
        Some(AttributeValue::B(blob)) => Some(blob),
        _ => None,
    };
    let (ciphertext, sealed) = (blob("ciphertext"), blob("sealed"));
    Some(Item { version, sealed: ciphertext.map(|ciphertext| Sealed { ciphertext, sealed }) })
}
