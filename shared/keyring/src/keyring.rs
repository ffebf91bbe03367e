//! Reading secrets.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_types::SdkConfig;
use hoopoe_message::{BotId, Channel};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use zeroize::Zeroize;

use crate::{KeyringError, Purpose, encryption_context, key};

/// How long a decrypted secret is kept in memory: a new or removed version takes effect within this.
const CACHED: Duration = Duration::from_secs(300);

/// How many secrets are kept; one function serves few bots.
const MAX_CACHED: usize = 64;

/// The secrets of one channel side, decrypted at first use and kept as the type `K` for five minutes.
///
/// `K` holds its secrets in types that clear them when dropped and hide them from `Debug`.
#[derive(Debug)]
pub struct Keyring<K> {
    dynamodb: aws_sdk_dynamodb::Client,
    kms: aws_sdk_kms::Client,
    table: String,
    channel: Channel,
    purpose: Purpose,
    /// The lock is held while a secret is fetched: requests that come together cause one call.
    cache: Mutex<HashMap<BotId, (Instant, Arc<K>)>>,
}

impl<K: DeserializeOwned> Keyring<K> {
    /// The secrets of `channel` for `purpose`, from the Keys table of this name.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String, channel: Channel, purpose: Purpose) -> Self {
        Self {
            dynamodb: aws_sdk_dynamodb::Client::new(config),
            kms: aws_sdk_kms::Client::new(config),
            table,
            channel,
            purpose,
            cache: Mutex::default(),
        }
    }

    /// The newest version of a bot's secret.
    ///
    /// # Errors
    ///
    /// When there is none, it cannot be decrypted, or a service does not answer.
    pub async fn get(&self, bot: &BotId) -> Result<Arc<K>, KeyringError> {
        let mut cache = self.cache.lock().await;
        if let Some((since, secret)) = cache.get(bot)
            && since.elapsed() < CACHED
        {
            return Ok(Arc::clone(secret));
        }
        let secret = Arc::new(self.fetch(bot).await?);
        cache.retain(|_, (since, _)| since.elapsed() < CACHED);
        if cache.len() < MAX_CACHED {
            cache.insert(bot.clone(), (Instant::now(), Arc::clone(&secret)));
        }
        Ok(secret)
    }

    async fn fetch(&self, bot: &BotId) -> Result<K, KeyringError> {
        let (channel, purpose) = (self.channel, self.purpose);
        let newest = self
            .dynamodb
            .query()
            .table_name(&self.table)
            .key_condition_expression("#key = :key")
            .expression_attribute_names("#key", "key")
            .expression_attribute_values(":key", AttributeValue::S(key(channel, bot, purpose)))
            .scan_index_forward(false)
            .limit(1)
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| KeyringError::call("reading a key", &error))?;
        let Some(mut item) = newest.items.unwrap_or_default().pop() else {
            return Err(KeyringError::Missing { channel, bot: bot.clone(), purpose });
        };
        let Some(AttributeValue::B(ciphertext)) = item.remove("ciphertext") else {
            return Err(KeyringError::Shape { channel, purpose });
        };
        let output = self
            .kms
            .decrypt()
            .ciphertext_blob(ciphertext)
            .set_encryption_context(Some(encryption_context(channel, bot, purpose)))
            .send()
            .await
            .map_err(|error| KeyringError::call("decrypting a key", &error))?;
        let mut plaintext = output.plaintext.ok_or(KeyringError::Shape { channel, purpose })?.into_inner();
        let secret = serde_json::from_slice(&plaintext).map_err(|_| KeyringError::Shape { channel, purpose });
        plaintext.zeroize();
        secret
    }
}
