//! Reading secrets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_types::SdkConfig;
use hoopoe_aws::{Clock, Environment, EnvironmentError};
use hoopoe_message::{BotId, Channel};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::envelope;
use crate::lifecycle::History;
use crate::uses::{Tally, Uses};
use crate::vault::{self, Item};
use crate::{FAILURE_CACHED, KeyName, KeyringError, Purpose, Quota, read_number, text};

/// After a request that no version verifies, the table is asked again for new ones, but not more often than this: whoever
/// forges requests causes no more reads. A version that has been stored for so long is known wherever it is needed.
pub const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// How many secrets are kept. Of more bots, those used last.
const MAX_CACHED: usize = 64;

/// Where the secrets of all channels are: what every [`Keyring`] of a function shares.
#[derive(Clone, Debug)]
pub struct Place {
    dynamodb: aws_sdk_dynamodb::Client,
    kms: aws_sdk_kms::Client,
    clock: Clock,
    keys_table: String,
    uses: Uses,
    /// How long a decrypted secret is kept in memory: a removed or revoked version is refused after this at the latest.
    cached: Duration,
}

impl Place {
    /// Reads KEYS_TABLE, USAGE_TABLE and KEY_CACHE_SECONDS.
    ///
    /// # Errors
    ///
    /// When one is missing or none.
    pub fn new(environment: Environment, config: &SdkConfig) -> Result<Self, EnvironmentError> {
        let keys_table = environment.required("KEYS_TABLE")?;
        let uses = Uses::new(config, environment.required("USAGE_TABLE")?);
        Ok(Self::at(config, keys_table, uses, Duration::from_secs(environment.parsed("KEY_CACHE_SECONDS")?)))
    }

    /// The Keys table of this name. A secret is kept in memory for as long as `cached`. The time is that of `config`.
    #[must_use]
    pub fn at(config: &SdkConfig, keys_table: String, uses: Uses, cached: Duration) -> Self {
        Self {
            dynamodb: aws_sdk_dynamodb::Client::new(config),
            kms: aws_sdk_kms::Client::new(config),
            clock: Clock::new(config),
            keys_table,
            uses,
            cached,
        }
    }
}

/// A version of a secret, decrypted.
#[derive(Debug)]
pub struct Secret<K> {
    /// The version's number.
    pub version: u64,
    /// The secret.
    pub keys: K,
}

/// What a live version verified.
#[derive(Debug)]
pub struct Verified<K, T> {
    /// The version that accepted it.
    pub by: Arc<Secret<K>>,
    /// What it was verified as.
    pub value: T,
}

/// Why no live version verified something.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError<E> {
    /// None accepts it; what the current one says, or the first that finds another fault than a forgery.
    #[error(transparent)]
    Rejected(E),
    /// The versions cannot be had.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
}

/// The versions of a secret that are live: one, or two and in haste three while a rotation is on.
#[derive(Debug)]
pub struct Live<K> {
    /// The one in force first.
    secrets: Vec<Arc<Secret<K>>>,
    quota: Quota,
}

impl<K> Live<K> {
    /// The version in force.
    #[must_use]
    pub fn current(&self) -> &Secret<K> {
        self.secrets.first().expect("a secret without a version in force is not given out")
    }

    /// All of them, in the order in which they are tried.
    pub fn iter(&self) -> impl Iterator<Item = &Secret<K>> {
        self.secrets.iter().map(Arc::as_ref)
    }

    /// Whether a rotation is on.
    #[must_use]
    pub fn in_rotation(&self) -> bool {
        self.secrets.len() > 1
    }

    /// How often the secret may be used.
    #[must_use]
    pub const fn quota(&self) -> Quota {
        self.quota
    }
}

/// The secrets of one channel side, decrypted at first use and kept as the type `K`.
///
/// `K` holds its secrets in types that clear them when dropped and hide them from `Debug`.
#[derive(Debug)]
pub struct Keyring<K> {
    place: Place,
    channel: Channel,
    purpose: Purpose,
    /// Never held while anything is waited for.
    cache: Mutex<Cache<K>>,
    tally: Tally,
}

#[derive(Debug)]
struct Cache<K> {
    known: HashMap<BotId, Cached<K>>,
    /// Each held while a bot's secret is fetched: requests that come together cause one call, and other bots' do not wait.
    fetching: HashMap<BotId, Arc<tokio::sync::Mutex<()>>>,
}

#[derive(Debug)]
struct Cached<K> {
    /// When a request last needed it.
    used: Instant,
    /// When KMS decrypted it, or failed to.
    since: Instant,
    /// When the table was last asked.
    looked: Instant,
    found: Result<Arc<Live<K>>, KeyringError>,
}

impl<K: DeserializeOwned> Keyring<K> {
    /// The secrets of `channel` for `purpose`.
    #[must_use]
    pub fn new(place: Place, channel: Channel, purpose: Purpose) -> Self {
        let tally = Tally::new(place.uses.clone());
        Self {
            place,
            channel,
            purpose,
            cache: Mutex::new(Cache { known: HashMap::new(), fetching: HashMap::new() }),
            tally,
        }
    }

    /// The live versions of a bot's secret.
    ///
    /// # Errors
    ///
    /// When there is none, it cannot be decrypted, or a service does not answer.
    pub async fn get(&self, bot: &BotId) -> Result<Arc<Live<K>>, KeyringError> {
        if let Some(found) = self.known(bot) {
            return found;
        }
        let fetching = self.fetching(bot);
        let _fetching = fetching.lock().await;
        // Perhaps another request has fetched it meanwhile.
        if let Some(found) = self.known(bot) {
            return found;
        }
        let found = self.fetch(bot, None).await.map(Arc::new);
        self.keep(bot, &found);
        found
    }

    fn cache(&self) -> MutexGuard<'_, Cache<K>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, bot: &BotId) -> Option<Result<Arc<Live<K>>, KeyringError>> {
        let mut cache = self.cache();
        let known = cache.known.get_mut(bot).filter(|known| self.is_fresh(known))?;
        known.used = Instant::now();
        Some(known.found.clone())
    }

    fn fetching(&self, bot: &BotId) -> Arc<tokio::sync::Mutex<()>> {
        let mut cache = self.cache();
        cache.fetching.retain(|_, fetching| Arc::strong_count(fetching) > 1);
        Arc::clone(cache.fetching.entry(bot.clone()).or_default())
    }

    fn keep(&self, bot: &BotId, found: &Result<Arc<Live<K>>, KeyringError>) {
        // What is not there may come any moment, and whoever asks for names at random fills no memory.
        if matches!(found, Err(KeyringError::Missing(_))) {
            return;
        }
        let mut cache = self.cache();
        cache.known.retain(|_, known| self.is_fresh(known));
        while cache.known.len() >= MAX_CACHED {
            // Nor does he drive out what is there while DynamoDB fails.
            let oldest = cache.known.iter().min_by_key(|(_, known)| (known.found.is_ok(), known.used));
            let Some(oldest) = oldest.filter(|_| found.is_ok()).map(|(bot, _)| bot.clone()) else { return };
            cache.known.remove(&oldest);
        }
        let now = Instant::now();
        cache.known.insert(bot.clone(), Cached { used: now, since: now, looked: now, found: found.clone() });
    }

    /// Verifies something with each live version until one accepts it, the current one first. Where all find it forged,
    /// the table is asked for versions that are newer than those in memory, but not more often than every few seconds.
    ///
    /// # Errors
    ///
    /// If no version accepts it, or as [`Keyring::get`].
    pub async fn verify<T, E>(
        &self,
        bot: &BotId,
        verify: impl Fn(&K) -> Result<T, E>,
        is_forged: impl Fn(&E) -> bool,
    ) -> Result<Verified<K, T>, VerifyError<E>> {
        let mut live = self.get(bot).await?;
        loop {
            let mut first = None;
            for secret in &live.secrets {
                match verify(&secret.keys) {
                    Ok(value) => {
                        self.used(bot, &live, secret.version, true).await;
                        return Ok(Verified { by: Arc::clone(secret), value });
                    }
                    Err(error) if is_forged(&error) => {
                        first.get_or_insert(error);
                    }
                    Err(error) => return Err(VerifyError::Rejected(error)),
                }
            }
            let forged = first.expect("one version is live, and it said no");
            match self.look_again(bot, &live).await? {
                Some(newer) => live = newer,
                None => return Err(VerifyError::Rejected(forged)),
            }
        }
    }

    /// The live versions, after none of `seen` was accepted: asked for again, unless that was done a moment ago. `None`
    /// where they are still the same.
    ///
    /// # Errors
    ///
    /// As [`Keyring::get`].
    pub async fn look_again(&self, bot: &BotId, seen: &Arc<Live<K>>) -> Result<Option<Arc<Live<K>>>, KeyringError> {
        let fetching = self.fetching(bot);
        let _fetching = fetching.lock().await;
        let live = {
            let mut cache = self.cache();
            let Some(known) = cache.known.get_mut(bot) else { return Ok(None) };
            let Ok(live) = &known.found else { return Ok(None) };
            if !Arc::ptr_eq(live, seen) {
                return Ok(Some(Arc::clone(live)));
            }
            if known.looked.elapsed() < LOOK_AGAIN {
                return Ok(None);
            }
            known.looked = Instant::now();
            Arc::clone(live)
        };
        let found = Arc::new(self.fetch(bot, Some(&live)).await?);
        let same = found.iter().map(|secret| secret.version).eq(live.iter().map(|secret| secret.version));
        if same {
            return Ok(None);
        }
        if let Some(known) = self.cache().known.get_mut(bot) {
            known.found = Ok(Arc::clone(&found));
        }
        Ok(Some(found))
    }

    /// Takes note, while a rotation is on, of whether a version was accepted. Written at its first use and then once a
    /// minute, so that the operator and `rotate` see which version the platform works with.
    pub async fn used(&self, bot: &BotId, live: &Live<K>, version: u64, accepted: bool) {
        if live.in_rotation() {
            let name = self.name(bot);
            self.tally.count(&name, version, accepted, self.place.clock.now()).await;
        }
    }

    fn is_fresh(&self, known: &Cached<K>) -> bool {
        let kept = if known.found.is_ok() { self.place.cached } else { FAILURE_CACHED.min(self.place.cached) };
        known.since.elapsed() < kept
    }

    fn name(&self, bot: &BotId) -> KeyName {
        KeyName { channel: self.channel, bot: bot.clone(), purpose: self.purpose }
    }

    /// Reads the table, and has KMS decrypt what is not `known`.
    async fn fetch(&self, bot: &BotId, known: Option<&Live<K>>) -> Result<Live<K>, KeyringError> {
        let name = self.name(bot);
        let (mut items, quota) = self.read(&name).await?;
        let history = History::new(items.iter().map(|item| item.version).collect());
        if history.current().is_none() {
            return Err(KeyringError::Missing(name));
        }
        let mut secrets = Vec::with_capacity(1);
        for version in history.live() {
            let again = known.and_then(|known| known.secrets.iter().find(|secret| secret.version == version.number));
            secrets.push(match again {
                Some(secret) => Arc::clone(secret),
                None => {
                    let item = items.iter_mut().find(|item| item.version == *version);
                    let sealed = item.and_then(|item| item.sealed.take());
                    let sealed = sealed.ok_or_else(|| KeyringError::Shape(name.clone()))?;
                    let plaintext = envelope::decrypt(&self.place.kms, name.encryption_context(), sealed).await?;
                    let keys = serde_json::from_slice(&plaintext).map_err(|_| KeyringError::Shape(name.clone()))?;
                    Arc::new(Secret { version: version.number, keys })
                }
            });
        }
        Ok(Live { secrets, quota })
    }

    /// The versions that may be live, with their ciphertexts, and the quota.
    async fn read(&self, name: &KeyName) -> Result<(Vec<Item>, Quota), KeyringError> {
        let mut pages = self
            .place
            .dynamodb
            .query()
            .table_name(&self.place.keys_table)
            .key_condition_expression("#key = :key")
            // A destroyed version stays as a record, and counts no more. A filter may name no key attribute, so the quota is
            // told by what only it has.
            .filter_expression("attribute_exists(#ciphertext) OR attribute_exists(#rate)")
            .expression_attribute_names("#key", "key")
            .expression_attribute_names("#ciphertext", "ciphertext")
            .expression_attribute_names("#rate", vault::PER_SECOND)
            .expression_attribute_values(":key", text(name.to_string()))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let (mut items, mut quota) = (Vec::new(), Quota::default());
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| KeyringError::call("reading a key", &error))?;
            let shape = || KeyringError::Shape(name.clone());
            if read_number(&item, "version") == Some(vault::QUOTA) {
                quota = vault::read_quota(&item).ok_or_else(shape)?;
            } else {
                items.push(vault::read(item).ok_or_else(shape)?);
            }
        }
        Ok((items, quota))
    }
}
