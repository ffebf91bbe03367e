//! A bot's item in the Tokens table.
//!
//! The item `<channel>/<bot>` holds
//!
//! - `ciphertext` (encryption context `{channel, bot, name: token}`), `generation`, `renew_at` and `usable_until`
//!   (milliseconds) of the newest token;
//! - `fetches`, the number of the newest fetch, which becomes the generation of its token. The first number of an item is
//!   the time in milliseconds, so that no number comes twice, not even after the item was deleted;
//! - `locked_until` (milliseconds) and `locked_by`, a random name, while a function fetches;
//! - `expires_at` (seconds).
//!
//! A token is stored only by the owner of the lock. So a function that took too long, and whose token the platform has
//! voided since, does not put it over a newer one.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use aws_sdk_kms::primitives::Blob;
use aws_types::SdkConfig;
use hoopoe_message::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroize;

use super::{AccessToken, Place, Token};
use crate::{KeyringError, encryption_context, number, read_number, text};

/// How long a function may take to fetch a token and store it before another may try.
pub(super) const LOCK: Duration = Duration::from_secs(20);

/// How long an item stays that nobody renews.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// The name of a lock's owner. The SDK repeats a call whose answer was lost: by its name the owner knows its own lock.
pub(super) struct Owner(String);

impl Owner {
    pub(super) fn random() -> Self {
        Self(format!("{:016x}", fastrand::u64(..)))
    }
}

/// What the table says, before anything is decrypted.
#[derive(Debug)]
pub(super) struct Stored {
    ciphertext: Option<Blob>,
    pub(super) generation: u64,
    renew_at: Timestamp,
    pub(super) usable_until: Timestamp,
}

/// The right to fetch.
#[derive(Debug)]
pub(super) struct Locked {
    /// The generation of the token that is to be fetched.
    pub(super) generation: u64,
    /// The token before it.
    pub(super) stored: Stored,
}

pub(super) enum Lock {
    Ours(Locked),
    /// The token is not due, or another function fetches.
    Theirs(Stored),
}

#[derive(Debug)]
pub(super) struct Table {
    dynamodb: aws_sdk_dynamodb::Client,
    kms: aws_sdk_kms::Client,
    name: String,
    kms_key: String,
}

impl Table {
    pub(super) fn new(config: &SdkConfig, name: String, kms_key: String) -> Self {
        Self { dynamodb: aws_sdk_dynamodb::Client::new(config), kms: aws_sdk_kms::Client::new(config), name, kms_key }
    }

    fn item(&self, place: &Place) -> UpdateItemFluentBuilder {
        self.dynamodb.update_item().table_name(&self.name).key("bot", text(place.to_string()))
    }

    /// Takes the right to fetch if the token is due or `rejected`, and nobody else fetches.
    pub(super) async fn lock(
        &self,
        place: &Place,
        owner: &Owner,
        rejected: u64,
        now: Timestamp,
    ) -> Result<Lock, KeyringError> {
        let first = now.as_millis();
        let locked = self
            .item(place)
            .update_expression(
                "SET #locked = :until, #owner = :owner, #expires = :expires, \
                 #fetches = if_not_exists(#fetches, :first) + :one",
            )
            .condition_expression(
                "(attribute_not_exists(#renew) OR #renew <= :now OR #generation <= :rejected) \
                 AND (attribute_not_exists(#locked) OR #locked < :now)",
            )
            .expression_attribute_names("#locked", "locked_until")
            .expression_attribute_names("#owner", "locked_by")
            .expression_attribute_names("#expires", "expires_at")
            .expression_attribute_names("#fetches", "fetches")
            .expression_attribute_names("#renew", "renew_at")
            .expression_attribute_names("#generation", "generation")
            .expression_attribute_values(":until", number(now.plus(LOCK).as_millis()))
            .expression_attribute_values(":owner", text(&owner.0))
            .expression_attribute_values(":expires", number(now.plus(KEPT).as_secs()))
            .expression_attribute_values(":first", number(first))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":now", number(now.as_millis()))
            .expression_attribute_values(":rejected", number(rejected))
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match locked {
            Ok(output) => {
                let before = output.attributes.unwrap_or_default();
                let generation = read_number(&before, "fetches").unwrap_or(first) + 1;
                Ok(Lock::Ours(Locked { generation, stored: Stored::read(before) }))
            }
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    let item = failed.item().cloned().unwrap_or_default();
                    let is_ours = item.get("locked_by").is_some_and(|by| *by == text(&owner.0));
                    Ok(match read_number(&item, "fetches") {
                        Some(generation) if is_ours => Lock::Ours(Locked { generation, stored: Stored::read(item) }),
                        _ => Lock::Theirs(Stored::read(item)),
                    })
                }
                _ => Err(KeyringError::call("reading an access token", &error)),
            },
        }
    }

    /// Stores the token that the owner of the lock fetched, and ends the lock. Returns `false`, and stores nothing, if the
    /// lock is not the owner's any more.
    pub(super) async fn store(
        &self,
        place: &Place,
        owner: &Owner,
        token: &Token,
        now: Timestamp,
    ) -> Result<bool, KeyringError> {
        let sealed = self
            .kms
            .encrypt()
            .key_id(&self.kms_key)
            .plaintext(Blob::new(token.access.secret.expose_secret()))
            .set_encryption_context(Some(encryption_context(place.channel, &place.bot, "token")))
            .send()
            .await
            .map_err(|error| KeyringError::call("encrypting an access token", &error))?;
        let ciphertext = sealed.ciphertext_blob.ok_or(KeyringError::Empty("encrypting an access token"))?;
        let update = self
            .item(place)
            .update_expression(
                "SET #ciphertext = :ciphertext, #generation = :generation, #renew = :renew, #usable = :usable, \
                 #expires = :expires REMOVE #locked, #owner",
            )
            .condition_expression("#owner = :owner AND #fetches = :generation")
            .expression_attribute_names("#ciphertext", "ciphertext")
            .expression_attribute_names("#generation", "generation")
            .expression_attribute_names("#renew", "renew_at")
            .expression_attribute_names("#usable", "usable_until")
            .expression_attribute_names("#expires", "expires_at")
            .expression_attribute_names("#locked", "locked_until")
            .expression_attribute_names("#owner", "locked_by")
            .expression_attribute_names("#fetches", "fetches")
            .expression_attribute_values(":ciphertext", AttributeValue::B(ciphertext))
            .expression_attribute_values(":generation", number(token.access.generation))
            .expression_attribute_values(":renew", number(token.renew_at.as_millis()))
            .expression_attribute_values(":usable", number(token.usable_until.as_millis()))
            .expression_attribute_values(":expires", number(now.plus(KEPT).as_secs()))
            .expression_attribute_values(":owner", text(&owner.0));
        is_done(update, "storing an access token").await
    }

    /// Ends the owner's lock.
    pub(super) async fn unlock(&self, place: &Place, owner: &Owner) -> Result<(), KeyringError> {
        let update = self
            .item(place)
            .update_expression("REMOVE #locked, #owner")
            .condition_expression("#owner = :owner")
            .expression_attribute_names("#locked", "locked_until")
            .expression_attribute_names("#owner", "locked_by")
            .expression_attribute_values(":owner", text(&owner.0));
        is_done(update, "unlocking an access token").await.map(drop)
    }

    pub(super) async fn decrypt(&self, place: &Place, stored: &Stored) -> Result<Option<Token>, KeyringError> {
        let Some(ciphertext) = stored.ciphertext.clone() else { return Ok(None) };
        let unreadable = || KeyringError::Token { channel: place.channel };
        let output = self
            .kms
            .decrypt()
            .ciphertext_blob(ciphertext)
            .set_encryption_context(Some(encryption_context(place.channel, &place.bot, "token")))
            .send()
            .await
            .map_err(|error| KeyringError::call("decrypting an access token", &error))?;
        let mut plaintext = output.plaintext.ok_or_else(unreadable)?.into_inner();
        let secret = std::str::from_utf8(&plaintext).map(SecretString::from);
        plaintext.zeroize();
        Ok(Some(Token {
            access: AccessToken { secret: secret.map_err(|_| unreadable())?, generation: stored.generation },
            renew_at: stored.renew_at,
            usable_until: stored.usable_until,
        }))
    }
}

/// Whether the condition of an update held.
async fn is_done(update: UpdateItemFluentBuilder, operation: &'static str) -> Result<bool, KeyringError> {
    match update.send().await {
        Ok(_) => Ok(true),
        Err(error) if error.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception) => {
            Ok(false)
        }
        Err(error) => Err(KeyringError::call(operation, &error)),
    }
}

impl Stored {
    fn read(mut item: HashMap<String, AttributeValue>) -> Self {
        let number = |name| read_number(&item, name).unwrap_or(0);
        let (generation, renew_at, usable_until) = (number("generation"), number("renew_at"), number("usable_until"));
        let ciphertext = match item.remove("ciphertext") {
            Some(AttributeValue::B(ciphertext)) => Some(ciphertext),
            _ => None,
        };
        Self {
            ciphertext,
            generation,
            renew_at: Timestamp::from_millis(renew_at),
            usable_until: Timestamp::from_millis(usable_until),
        }
    }
}
