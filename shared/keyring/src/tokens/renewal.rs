//! One renewal of a bot's token, as a task of its own: it goes on while the callers send with the old token, and ends with
//! the [`Tokens`](super::Tokens) it belongs to.

use std::sync::Arc;
use std::time::Duration;

use hoopoe_aws::Clock;
use hoopoe_message::Timestamp;
use secrecy::SecretString;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::table::{LOCK, Lock, Locked, Owner, Stored, Table};
use super::{AccessToken, Place, Token, TokenError};

/// A token is renewed so long before its end, or, where it lives shorter than half an hour, at five sixths of its life.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// A token is not used in its last moments: the platform's clock and ours differ, and a request takes its time.
const UNUSABLE_BEFORE: Duration = Duration::from_secs(30);

/// What is done under the table's lock is given up after these times from asking for the lock. The second leaves room for
/// the last attempt of a write that was given up and is still on its way.
const FETCHED_BY: Duration = Duration::from_secs(14);
const STORED_BY: Duration = Duration::from_secs(18);
const _: () = assert!(FETCHED_BY.as_secs() < STORED_BY.as_secs() && STORED_BY.as_secs() + 2 <= LOCK.as_secs());

/// How often the table is looked at while another function fetches: at first, and at last.
const LOOK: Duration = Duration::from_millis(100);
const LOOK_MOST: Duration = Duration::from_millis(800);

/// A renewal is given up after this. No caller lives so long; the environment may have been frozen meanwhile.
const LONGEST: Duration = Duration::from_secs(30);

/// What the function knew when the renewal began.
pub(super) struct Known {
    pub(super) token: Option<Token>,
    /// Tokens of this generation and earlier are refused by the platform.
    pub(super) rejected: u64,
}

/// How far a renewal is.
#[derive(Clone, Debug)]
pub(super) enum Progress<E> {
    /// No token yet.
    Waiting,
    /// The table's token is still good. The renewal goes on.
    Meanwhile(Token),
    /// The end: a token that is good.
    Got { token: Token, at: Instant },
    /// The end: none.
    Failed {
        error: TokenError<E>,
        /// The version of the key that was used.
        version: u64,
        at: Instant,
    },
}

/// A renewal that has been begun.
#[derive(Debug)]
pub(super) struct Renewal<E> {
    progress: watch::Receiver<Progress<E>>,
    pub(super) version: u64,
    began: Instant,
    task: AbortHandle,
}

impl<E> Drop for Renewal<E> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<E> Renewal<E> {
    pub(super) fn progress(&self) -> watch::Receiver<Progress<E>> {
        self.progress.clone()
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.began.elapsed() > LONGEST
    }
}

impl<E: Clone + Send + Sync + 'static> Renewal<E> {
    pub(super) fn start<F>(
        (table, clock): (Arc<Table>, Clock),
        place: Place,
        version: u64,
        known: Known,
        fetch: F,
    ) -> Self
    where
        F: Future<Output = Result<(SecretString, Duration), E>> + Send + 'static,
    {
        let (sender, progress) = watch::channel(Progress::Waiting);
        let began = Instant::now();
        let has_good_token = known.token.as_ref().is_some_and(|token| token.is_good(clock.now(), known.rejected));
        let task = tokio::spawn(async move {
            let work = Work { table: &table, clock: &clock, place: &place, known, sender: &sender };
            let ended = timeout_at(began + LONGEST, work.run(fetch)).await.unwrap_or(Err(TokenError::Late));
            let ended = match ended {
                Ok(token) => Progress::Got { token, at: Instant::now() },
                Err(error) => {
                    if has_good_token {
                        tracing::warn!(%error, channel = %place.channel, bot = %place.bot,
                            "renewing an access token failed; the old one is used until it ends");
                    }
                    Progress::Failed { error, version, at: Instant::now() }
                }
            };
            sender.send_replace(ended);
        });
        Self { progress, version, began, task: task.abort_handle() }
    }
}

/// What a renewal works with.
struct Work<'a, E> {
    table: &'a Table,
    clock: &'a Clock,
    place: &'a Place,
    known: Known,
    sender: &'a watch::Sender<Progress<E>>,
}

impl<E> Work<'_, E> {
    async fn run<F>(&self, fetch: F) -> Result<Token, TokenError<E>>
    where
        F: Future<Output = Result<(SecretString, Duration), E>>,
    {
        let owner = Owner::random();
        let mut fetch = Some(fetch);
        let mut pause = LOOK;
        loop {
            let (began, now) = (Instant::now(), self.clock.now());
            match self.table.lock(self.place, &owner, self.known.rejected, now).await? {
                Lock::Ours(locked) => {
                    let Some(fetch) = fetch.take() else {
                        // Its token was fetched and is voided; another caller asks for one.
                        self.unlock(&owner).await;
                        return Err(TokenError::Late);
                    };
                    if let Ok(Some(token)) = self.token(&locked.stored).await {
                        self.sender.send_replace(Progress::Meanwhile(token));
                    }
                    if let Some(token) = self.fetch(&owner, &locked, began, fetch).await? {
                        return Ok(token);
                    }
                }
                // Renewed already, or being renewed by another function and still good.
                Lock::Theirs(stored) => {
                    if let Some(token) = self.token(&stored).await? {
                        return Ok(token);
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(LOOK_MOST);
        }
    }

    /// The token that stands in the table, if it is good. It is decrypted if it is not known already.
    async fn token(&self, stored: &Stored) -> Result<Option<Token>, TokenError<E>> {
        if !is_good(stored.generation, stored.usable_until, self.clock.now(), self.known.rejected) {
            return Ok(None);
        }
        match &self.known.token {
            Some(known) if known.access.generation == stored.generation => Ok(Some(known.clone())),
            _ => Ok(self.table.decrypt(self.place, stored).await?),
        }
    }

    /// Fetches under the lock. `None` if another function took the lock over meanwhile: then its token is the newer one.
    async fn fetch<F>(
        &self,
        owner: &Owner,
        locked: &Locked,
        began: Instant,
        fetch: F,
    ) -> Result<Option<Token>, TokenError<E>>
    where
        F: Future<Output = Result<(SecretString, Duration), E>>,
    {
        let fetched = match timeout_at(began + FETCHED_BY, fetch).await {
            Ok(fetched) => fetched.map_err(TokenError::Fetch),
            Err(_) => Err(TokenError::Late),
        };
        let (secret, lifetime) = match fetched {
            Ok(fetched) => fetched,
            Err(error) => {
                self.unlock(owner).await;
                return Err(error);
            }
        };
        let token = Token::new(secret, lifetime, locked.generation, self.clock.now());
        let stored = timeout_at(began + STORED_BY, self.table.store(self.place, owner, &token, self.clock.now())).await;
        // The token is good, whether or not the others can have it.
        match stored {
            Ok(Ok(true)) => Ok(Some(token)),
            Ok(Ok(false)) => Ok(None),
            Ok(Err(error)) => {
                tracing::warn!(%error, channel = %self.place.channel,
                    "an access token cannot be shared with other functions");
                self.unlock(owner).await;
                Ok(Some(token))
            }
            Err(_) => {
                tracing::warn!(channel = %self.place.channel, "storing an access token took too long");
                Ok(Some(token))
            }
        }
    }

    /// The next function tries at once; if this fails, once the lock has ended.
    async fn unlock(&self, owner: &Owner) {
        if let Err(error) = self.table.unlock(self.place, owner).await {
            tracing::warn!(%error, channel = %self.place.channel, "other functions wait for a lock to end");
        }
    }
}

impl Token {
    fn new(secret: SecretString, lifetime: Duration, generation: u64, now: Timestamp) -> Self {
        Self {
            access: AccessToken { secret, generation },
            renew_at: now.plus(lifetime.saturating_sub(RENEW_BEFORE.min(lifetime / 6))),
            usable_until: now.plus(lifetime.saturating_sub(UNUSABLE_BEFORE.min(lifetime / 6))),
        }
    }

    pub(super) fn is_good(&self, now: Timestamp, rejected: u64) -> bool {
        is_good(self.access.generation, self.usable_until, now, rejected)
    }
}

fn is_good(generation: u64, usable_until: Timestamp, now: Timestamp, rejected: u64) -> bool {
    generation > rejected && now < usable_until
}
