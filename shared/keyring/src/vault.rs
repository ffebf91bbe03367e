//! Storing secrets: the operator's side.

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_kms::primitives::Blob;
use aws_types::SdkConfig;
use hoopoe_message::{BotId, Channel, Timestamp};

use crate::{KeyringError, Purpose, encryption_context, key};

/// The Keys table with the right to write it.
#[derive(Clone, Debug)]
pub struct Vault {
    dynamodb: aws_sdk_dynamodb::Client,
    kms: aws_sdk_kms::Client,
    table: String,
    kms_key: String,
}

/// A secret in the table, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The channel it belongs to.
    pub channel: Channel,
    /// The bot it belongs to.
    pub bot: BotId,
    /// What it is for: `webhook` or `send`.
    pub purpose: String,
    /// Counted from 1.
    pub version: u64,
    /// When it was stored.
    pub created_at: Timestamp,
}

impl Vault {
    /// The Keys table of this name; new secrets are encrypted under `kms_key` (an id, ARN or `alias/…`).
    #[must_use]
    pub fn new(config: &SdkConfig, table: String, kms_key: String) -> Self {
        Self { dynamodb: aws_sdk_dynamodb::Client::new(config), kms: aws_sdk_kms::Client::new(config), table, kms_key }
    }

    /// Stores a secret as the newest version and returns its number.
    ///
    /// # Errors
    ///
    /// When KMS or DynamoDB refuses; nothing is stored then.
    pub async fn store(
        &self,
        channel: Channel,
        bot: &BotId,
        purpose: Purpose,
        secret: &[u8],
    ) -> Result<u64, KeyringError> {
        let sealed = self
            .kms
            .encrypt()
            .key_id(&self.kms_key)
            .plaintext(Blob::new(secret))
            .set_encryption_context(Some(encryption_context(channel, bot, purpose)))
            .send()
            .await
            .map_err(|error| KeyringError::call("encrypting a key", &error))?;
        let ciphertext = sealed.ciphertext_blob.ok_or(KeyringError::Shape { channel, purpose })?;
        let newest = self
            .list()
            .await?
            .into_iter()
            .filter(|stored| stored.channel == channel && stored.bot == *bot && stored.purpose == purpose.as_str());
        let version = newest.map(|stored| stored.version).max().unwrap_or(0) + 1;
        self.dynamodb
            .put_item()
            .table_name(&self.table)
            .item("key", AttributeValue::S(key(channel, bot, purpose)))
            .item("version", AttributeValue::N(version.to_string()))
            .item("ciphertext", AttributeValue::B(ciphertext))
            .item("created_at", AttributeValue::N(Timestamp::now().as_secs().to_string()))
            // Two operators at once must not overwrite each other's version.
            .condition_expression("attribute_not_exists(#key)")
            .expression_attribute_names("#key", "key")
            .send()
            .await
            .map_err(|error| KeyringError::call("storing a key", &error))?;
        Ok(version)
    }

    /// All stored secrets, without their values, by channel, bot, purpose and version.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer.
    pub async fn list(&self) -> Result<Vec<Stored>, KeyringError> {
        let mut pages = self
            .dynamodb
            .scan()
            .table_name(&self.table)
            .projection_expression("#key, #version, #created")
            .expression_attribute_names("#key", "key")
            .expression_attribute_names("#version", "version")
            .expression_attribute_names("#created", "created_at")
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut all = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| KeyringError::call("listing keys", &error))?;
            let number = |name: &str| item.get(name)?.as_n().ok()?.parse::<u64>().ok();
            let stored = || {
                let mut parts = item.get("key")?.as_s().ok()?.splitn(3, '/');
                Some(Stored {
                    channel: parts.next()?.parse().ok()?,
                    bot: parts.next()?.parse().ok()?,
                    purpose: parts.next()?.to_owned(),
                    version: number("version")?,
                    created_at: Timestamp::from_secs(number("created_at")?),
                })
            };
            // What a later version of Hoopoe stores is not ours to list.
            all.extend(stored());
        }
        all.sort_by(|a, b| (a.channel, &a.bot, &a.purpose, a.version).cmp(&(b.channel, &b.bot, &b.purpose, b.version)));
        Ok(all)
    }

    /// Removes every version of a bot's secrets on a channel and returns how many there were.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer; run it again to remove the rest.
    pub async fn remove(&self, channel: Channel, bot: &BotId) -> Result<usize, KeyringError> {
        let mut removed = 0;
        for stored in self.list().await?.into_iter().filter(|stored| stored.channel == channel && stored.bot == *bot) {
            self.dynamodb
                .delete_item()
                .table_name(&self.table)
                .key("key", AttributeValue::S(format!("{channel}/{bot}/{}", stored.purpose)))
                .key("version", AttributeValue::N(stored.version.to_string()))
                .send()
                .await
                .map_err(|error| KeyringError::call("removing a key", &error))?;
            removed += 1;
        }
        Ok(removed)
    }
}
