//! The rotation of one key.

use std::collections::BTreeMap;
use std::time::Duration;

use hoopoe_channels::{Rotation, rotation};
use hoopoe_keyring::keyring::LOOK_AGAIN;
use hoopoe_keyring::{History, KeyName, KeyringError, Move, Purpose, Stored, Use, Uses, Vault, Version};
use hoopoe_message::{Channel, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::platforms::{PlatformError, Platforms};

/// The table of keys, as a rotation needs it.
pub trait Ledger {
    /// All keys.
    ///
    /// # Errors
    ///
    /// As [`Vault::list`].
    fn list(&self) -> impl Future<Output = Result<Vec<Stored>, KeyringError>> + Send;

    /// The versions of a key.
    ///
    /// # Errors
    ///
    /// As [`Vault::history`].
    fn history(&self, key: &KeyName) -> impl Future<Output = Result<History, KeyringError>> + Send;

    /// Stores a version as pending.
    ///
    /// # Errors
    ///
    /// As [`Vault::add`].
    fn add(&self, key: &KeyName, secret: &[u8]) -> impl Future<Output = Result<Version, KeyringError>> + Send;

    /// Decrypts a version.
    ///
    /// # Errors
    ///
    /// As [`Vault::open`].
    fn open(
        &self,
        key: &KeyName,
        version: u64,
    ) -> impl Future<Output = Result<Zeroizing<Vec<u8>>, KeyringError>> + Send;

    /// Moves a key's versions.
    ///
    /// # Errors
    ///
    /// As [`Vault::step`].
    fn step(&self, key: &KeyName, step: Move) -> impl Future<Output = Result<History, KeyringError>> + Send;

    /// How the versions of a key fared.
    ///
    /// # Errors
    ///
    /// As [`Uses::of`].
    fn uses(&self, key: &KeyName) -> impl Future<Output = Result<BTreeMap<u64, Use>, KeyringError>> + Send;
}

/// The tables of a stack.
#[derive(Clone, Debug)]
pub struct Tables {
    /// The Keys table.
    pub vault: Vault,
    /// The Usage table.
    pub uses: Uses,
}

impl Ledger for Tables {
    async fn list(&self) -> Result<Vec<Stored>, KeyringError> {
        self.vault.list().await
    }

    async fn history(&self, key: &KeyName) -> Result<History, KeyringError> {
        self.vault.history(key).await
    }

    async fn add(&self, key: &KeyName, secret: &[u8]) -> Result<Version, KeyringError> {
        self.vault.add(key, secret).await
    }

    async fn open(&self, key: &KeyName, version: u64) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        self.vault.open(key, version).await
    }

    async fn step(&self, key: &KeyName, step: Move) -> Result<History, KeyringError> {
        self.vault.step(key, step).await
    }

    async fn uses(&self, key: &KeyName) -> Result<BTreeMap<u64, Use>, KeyringError> {
        self.uses.of(key).await
    }
}

/// Why a rotation stopped. What was done stays done, and the next run goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The keyring did not do its part.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The platform did not do its part.
    #[error("{key}: version {version} is pending, and {doing} failed: {fault}")]
    Platform {
        /// The key.
        key: KeyName,
        /// The version that was to take over.
        version: u64,
        /// The step.
        doing: &'static str,
        /// Why.
        fault: PlatformError,
    },
    /// The platform does not let us.
    #[error("{0} can only be changed in the platform's console")]
    ByHand(KeyName),
    /// The system has no random numbers, or the stored keys cannot be read.
    #[error("{0}: no new version can be made from the one in force")]
    Make(KeyName),
}

/// Whether a key is rotated without a person: the platform lets us choose it, or nobody but us knows it.
#[must_use]
pub fn is_automatic(key: &KeyName) -> bool {
    automatic(key).is_some()
}

fn automatic(key: &KeyName) -> Option<Rotation> {
    rotation(key.channel).filter(|_| key.purpose == Purpose::Webhook)
}

/// The key to send with, where a key can only be rotated or tried with that.
///
/// # Errors
///
/// As [`in_force`].
pub async fn needed_to_send(ledger: &impl Ledger, key: &KeyName) -> Result<Option<Zeroizing<Vec<u8>>>, KeyringError> {
    match automatic(key) {
        Some(Rotation::Chosen(_)) => {
            in_force(ledger, &KeyName { purpose: Purpose::Send, ..key.clone() }).await.map(Some)
        }
        Some(Rotation::Own(_)) | None => Ok(None),
    }
}

/// Rotates a key that [`is_automatic`]: from where the last run stopped, or else from the beginning.
///
/// 1. Create: a new version stands in the table as pending. It is accepted beside the one in force a moment later.
/// 2. Set: the platform is told.
/// 3. Test: the version is used once.
/// 4. Finish: it takes over. The version before stays live while the new one is watched.
///
/// # Errors
///
/// Where a step fails.
pub async fn rotate(ledger: &impl Ledger, platforms: &impl Platforms, key: &KeyName) -> Result<u64, RotationError> {
    let rotation = automatic(key).ok_or_else(|| RotationError::ByHand(key.clone()))?;
    let history = ledger.history(key).await?;
    let current = history.current().ok_or_else(|| KeyringError::Missing(key.clone()))?.number;
    let pending = match history.pending() {
        Some(pending) => *pending,
        None => {
            let renewed = renew(rotation, &ledger.open(key, current).await?);
            let renewed = renewed.ok_or_else(|| RotationError::Make(key.clone()))?;
            ledger.add(key, renewed.expose_secret().as_bytes()).await?
        }
    };
    let version = pending.number;
    let secret = ledger.open(key, version).await?;
    let send = needed_to_send(ledger, key).await?;
    let send = send.as_ref().map(|send| send.as_slice());
    // The platform may use it from the moment it is told, so every function has to be able to know it by then. The table
    // counts in whole seconds.
    let known_after = LOOK_AGAIN + Duration::from_secs(1);
    tokio::time::sleep(known_after.saturating_sub(Timestamp::now().since(pending.since))).await;
    let failed = |doing| move |fault| RotationError::Platform { key: key.clone(), version, doing, fault };
    platforms.set(key, &secret, send).await.map_err(failed("telling the platform"))?;
    platforms.test(key, &secret, send).await.map_err(failed("trying it"))?;
    promote(ledger, key, version).await?;
    Ok(version)
}

/// Puts a pending version in force. That somebody else did it meanwhile is as good.
///
/// # Errors
///
/// Where another version is pending by now, or the table does not answer.
pub async fn promote(ledger: &impl Ledger, key: &KeyName, version: u64) -> Result<(), KeyringError> {
    let moved = ledger.step(key, Move::Promote).await;
    if let Err(KeyringError::Conflict(_) | KeyringError::Move { .. }) = moved
        && ledger.history(key).await?.current().is_some_and(|current| current.number == version)
    {
        return Ok(());
    }
    moved.map(|_| ())
}

/// The value of the version in force.
///
/// # Errors
///
/// Where there is none, or it cannot be decrypted.
pub async fn in_force(ledger: &impl Ledger, key: &KeyName) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    let history = ledger.history(key).await?;
    let current = history.current().ok_or_else(|| KeyringError::Missing(key.clone()))?;
    ledger.open(key, current.number).await
}

/// A new value for a key, from the one in force; `None` if that cannot be read, or the system has no random numbers.
fn renew(rotation: Rotation, current: &[u8]) -> Option<SecretString> {
    let random = random()?;
    match rotation {
        Rotation::Own(own) => Some(own.renew(random.expose_secret())),
        Rotation::Chosen(chosen) => chosen.renew(current, random.expose_secret()),
    }
}

/// Webhook keys of a channel whose key nobody but its functions knows; `None` if it has none such, or the system has no
/// random numbers.
#[must_use]
pub fn own_key(channel: Channel) -> Option<SecretString> {
    match rotation(channel) {
        Some(Rotation::Own(own)) => Some(own.renew(random()?.expose_secret())),
        Some(Rotation::Chosen(_)) | None => None,
    }
}

/// 32 random bytes as hexadecimal digits.
fn random() -> Option<SecretString> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(bytes.as_mut()).ok()?;
    Some(hex::encode(bytes.as_slice()).into())
}
