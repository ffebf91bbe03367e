//! Access tokens of platforms, shared by every running function.
//!
//! Many platforms give a token that works for two hours, and some void the old one when a new one is asked for: functions
//! that each fetch their own would throw each other out. So a token is fetched by one function, and stands encrypted in
//! the Tokens table for the others.
//!
//! The item `<channel>/<bot>` holds `ciphertext` (encryption context `{channel, bot, name: token}`), `generation` (which
//! counts the tokens), `renew_at` and `usable_until` (milliseconds), `locked_until` (milliseconds, while a function
//! fetches), and `expires_at`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use aws_sdk_kms::primitives::Blob;
use aws_types::SdkConfig;
use hoopoe_message::{BotId, Channel, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use zeroize::Zeroize;

use crate::{FAILURE_CACHED, KeyringError, encryption_context, number, text};

/// A token is renewed so long before its end, or, where it lives shorter than half an hour, at five sixths of its life.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// A token is not used in its last moments: the platform's clock and ours differ, and a request takes its time.
const UNUSABLE_BEFORE: Duration = Duration::from_secs(30);

/// How long a function may take to fetch a token before another may try.
const LOCK: Duration = Duration::from_secs(10);

/// How long an item stays that nobody renews.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// How long a function waits for the one that fetches, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(100);

/// The Tokens table.
#[derive(Debug)]
pub struct Tokens {
    dynamodb: aws_sdk_dynamodb::Client,
    kms: aws_sdk_kms::Client,
    table: String,
    kms_key: String,
    /// The lock is held while a token is fetched: sends that come together cause one call.
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    tokens: HashMap<(Channel, BotId), Token>,
    /// When DynamoDB or KMS last failed.
    failures: HashMap<(Channel, BotId), (Instant, KeyringError)>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError<E> {
    /// The platform gave none.
    #[error("the platform gave no access token")]
    Fetch(E),
    /// DynamoDB or KMS did not do what was asked.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// Another function fetches one, and takes too long.
    #[error("another function fetches the access token and has not finished")]
    Busy,
}

#[derive(Clone, Debug)]
struct Token {
    secret: SecretString,
    generation: u64,
    renew_at: Timestamp,
    usable_until: Timestamp,
}

/// What the table says, before anything is decrypted.
#[derive(Debug, Default)]
struct Stored {
    ciphertext: Option<Blob>,
    generation: u64,
    renew_at: u64,
    usable_until: u64,
}

impl Tokens {
    /// The table of this name; tokens are encrypted under `kms_key`.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String, kms_key: String) -> Self {
        Self {
            dynamodb: aws_sdk_dynamodb::Client::new(config),
            kms: aws_sdk_kms::Client::new(config),
            table,
            kms_key,
            cache: Mutex::default(),
        }
    }

    /// The bot's access token: from memory, else from the table, else from the platform by `fetch`, which gives a token
    /// and how long it lives. Of all running functions one fetches. Where that fails, the token in memory serves as long
    /// as it is good.
    ///
    /// # Errors
    ///
    /// What `fetch` says, or that a service or the fetching function does not answer.
    pub async fn get<E>(
        &self,
        channel: Channel,
        bot: &BotId,
        fetch: impl Future<Output = Result<(SecretString, Duration), E>>,
    ) -> Result<SecretString, TokenError<E>> {
        let place = (channel, bot.clone());
        let mut cache = self.cache.lock().await;
        let known = |cache: &Cache, end: fn(&Token) -> Timestamp| {
            let token = cache.tokens.get(&place).filter(|token| Timestamp::now() < end(token));
            token.map(|token| token.secret.clone())
        };
        if let Some(secret) = known(&cache, |token| token.renew_at) {
            return Ok(secret);
        }
        let failed = cache.failures.get(&place).filter(|(since, _)| since.elapsed() < FAILURE_CACHED);
        let error = match failed {
            Some((_, error)) => error.clone().into(),
            None => match self.obtain(channel, bot, fetch).await {
                Ok(token) => {
                    let secret = token.secret.clone();
                    cache.tokens.insert(place, token);
                    return Ok(secret);
                }
                Err(error) => {
                    cache.failures.retain(|_, (since, _)| since.elapsed() < FAILURE_CACHED);
                    if let TokenError::Keyring(error) = &error {
                        cache.failures.insert(place.clone(), (Instant::now(), error.clone()));
                    }
                    error
                }
            },
        };
        known(&cache, |token| token.usable_until).ok_or(error)
    }

    /// A token from the table, else from the platform.
    async fn obtain<E>(
        &self,
        channel: Channel,
        bot: &BotId,
        fetch: impl Future<Output = Result<(SecretString, Duration), E>>,
    ) -> Result<Token, TokenError<E>> {
        let began = Timestamp::now();
        loop {
            let now = Timestamp::now();
            let stored = match self.lock(channel, bot, now).await? {
                // Nobody else fetches, and what stands there is old.
                Lock::Taken { generation } => return self.renew(channel, bot, generation, fetch).await,
                Lock::Not(stored) => stored,
            };
            // Renewed already, or being renewed and still good.
            if now.as_millis() < stored.usable_until
                && let Some(token) = self.decrypt(channel, bot, stored).await?
            {
                return Ok(token);
            }
            if now.since(began) > PATIENCE {
                return Err(TokenError::Busy);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Takes note that the platform does not accept the token any more. It is fetched anew, unless another function has
    /// done that meanwhile.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer.
    pub async fn reject(&self, channel: Channel, bot: &BotId) -> Result<(), KeyringError> {
        let Some(rejected) = self.cache.lock().await.tokens.remove(&(channel, bot.clone())) else { return Ok(()) };
        let ended = self
            .dynamodb
            .update_item()
            .table_name(&self.table)
            .key("bot", text(place(channel, bot)))
            .update_expression("SET #renew = :zero, #usable = :zero")
            .condition_expression("#generation = :rejected")
            .expression_attribute_names("#renew", "renew_at")
            .expression_attribute_names("#usable", "usable_until")
            .expression_attribute_names("#generation", "generation")
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":rejected", number(rejected.generation))
            .send()
            .await;
        match ended {
            Err(error)
                if !error.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Err(KeyringError::call("rejecting an access token", &error))
            }
            _ => Ok(()),
        }
    }

    /// Takes the right to fetch, where the token is due and nobody else is at it.
    async fn lock(&self, channel: Channel, bot: &BotId, now: Timestamp) -> Result<Lock, KeyringError> {
        let locked = self
            .dynamodb
            .update_item()
            .table_name(&self.table)
            .key("bot", text(place(channel, bot)))
            .update_expression("SET #locked = :until, #expires = :expires")
            .condition_expression(
                "(attribute_not_exists(#renew) OR #renew <= :now) AND (attribute_not_exists(#locked) OR #locked < :now)",
            )
            .expression_attribute_names("#renew", "renew_at")
            .expression_attribute_names("#locked", "locked_until")
            .expression_attribute_names("#expires", "expires_at")
            .expression_attribute_values(":expires", number(now.plus(KEPT).as_secs()))
            .expression_attribute_values(":now", number(now.as_millis()))
            .expression_attribute_values(":until", number(now.plus(LOCK).as_millis()))
            .return_values(aws_sdk_dynamodb::types::ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match locked {
            Ok(output) => {
                Ok(Lock::Taken { generation: Stored::read(output.attributes.unwrap_or_default()).generation })
            }
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    Ok(Lock::Not(Stored::read(failed.item().cloned().unwrap_or_default())))
                }
                _ => Err(KeyringError::call("reading an access token", &error)),
            },
        }
    }

    async fn renew<E>(
        &self,
        channel: Channel,
        bot: &BotId,
        generation: u64,
        fetch: impl Future<Output = Result<(SecretString, Duration), E>>,
    ) -> Result<Token, TokenError<E>> {
        let fetched = fetch.await;
        let now = Timestamp::now();
        let (secret, lifetime) = match fetched {
            Ok(fetched) => fetched,
            Err(error) => {
                // The next function tries at once; where this fails, after LOCK.
                let _ = self.unlock(channel, bot).await;
                return Err(TokenError::Fetch(error));
            }
        };
        let token = Token {
            secret,
            generation: generation + 1,
            renew_at: now.plus(lifetime.saturating_sub(RENEW_BEFORE.min(lifetime / 6))),
            usable_until: now.plus(lifetime.saturating_sub(UNUSABLE_BEFORE.min(lifetime / 6))),
        };
        // The token is good, whether or not the others can have it.
        if let Err(error) = self.store(channel, bot, &token, now).await {
            tracing::warn!(%error, %channel, "an access token cannot be shared with other functions");
        }
        Ok(token)
    }

    async fn store(&self, channel: Channel, bot: &BotId, token: &Token, now: Timestamp) -> Result<(), KeyringError> {
        let sealed = self
            .kms
            .encrypt()
            .key_id(&self.kms_key)
            .plaintext(Blob::new(token.secret.expose_secret()))
            .set_encryption_context(Some(encryption_context(channel, bot, "token")))
            .send()
            .await
            .map_err(|error| KeyringError::call("encrypting an access token", &error))?;
        let ciphertext = sealed.ciphertext_blob.ok_or(KeyringError::Token { channel })?;
        self.dynamodb
            .update_item()
            .table_name(&self.table)
            .key("bot", text(place(channel, bot)))
            .update_expression(
                "SET #ciphertext = :ciphertext, #generation = :generation, #renew = :renew, #usable = :usable, \
                 #expires = :expires REMOVE #locked",
            )
            .expression_attribute_names("#ciphertext", "ciphertext")
            .expression_attribute_names("#generation", "generation")
            .expression_attribute_names("#renew", "renew_at")
            .expression_attribute_names("#usable", "usable_until")
            .expression_attribute_names("#expires", "expires_at")
            .expression_attribute_names("#locked", "locked_until")
            .expression_attribute_values(":ciphertext", AttributeValue::B(ciphertext))
            .expression_attribute_values(":generation", number(token.generation))
            .expression_attribute_values(":renew", number(token.renew_at.as_millis()))
            .expression_attribute_values(":usable", number(token.usable_until.as_millis()))
            .expression_attribute_values(":expires", number(now.plus(KEPT).as_secs()))
            .send()
            .await
            .map_err(|error| KeyringError::call("storing an access token", &error))?;
        Ok(())
    }

    async fn unlock(&self, channel: Channel, bot: &BotId) -> Result<(), KeyringError> {
        self.dynamodb
            .update_item()
            .table_name(&self.table)
            .key("bot", text(place(channel, bot)))
            .update_expression("REMOVE #locked")
            .expression_attribute_names("#locked", "locked_until")
            .send()
            .await
            .map_err(|error| KeyringError::call("unlocking an access token", &error))?;
        Ok(())
    }

    async fn decrypt(&self, channel: Channel, bot: &BotId, stored: Stored) -> Result<Option<Token>, KeyringError> {
        let Some(ciphertext) = stored.ciphertext else { return Ok(None) };
        let output = self
            .kms
            .decrypt()
            .ciphertext_blob(ciphertext)
            .set_encryption_context(Some(encryption_context(channel, bot, "token")))
            .send()
            .await
            .map_err(|error| KeyringError::call("decrypting an access token", &error))?;
        let mut plaintext = output.plaintext.ok_or(KeyringError::Token { channel })?.into_inner();
        let secret = std::str::from_utf8(&plaintext).map(SecretString::from);
        plaintext.zeroize();
        Ok(Some(Token {
            secret: secret.map_err(|_| KeyringError::Token { channel })?,
            generation: stored.generation,
            renew_at: Timestamp::from_millis(stored.renew_at),
            usable_until: Timestamp::from_millis(stored.usable_until),
        }))
    }
}

enum Lock {
    Taken { generation: u64 },
    Not(Stored),
}

impl Stored {
    fn read(mut item: HashMap<String, AttributeValue>) -> Self {
        let ciphertext = match item.remove("ciphertext") {
            Some(AttributeValue::B(ciphertext)) => Some(ciphertext),
            _ => None,
        };
        let number = |name: &str| item.get(name).and_then(|value| value.as_n().ok()?.parse().ok()).unwrap_or(0);
        Self {
            ciphertext,
            generation: number("generation"),
            renew_at: number("renew_at"),
            usable_until: number("usable_until"),
        }
    }
}

fn place(channel: Channel, bot: &BotId) -> String {
    format!("{channel}/{bot}")
}
