//! Access tokens of platforms, shared by every running function.
//!
//! Many platforms give a token that works for two hours, and some void the old one when a new one is asked for: functions
//! that each fetch their own would throw each other out. So a token is fetched by one function, and stands encrypted in
//! the Tokens table for the others.
//!
//! | module | what is in it |
//! |---|---|
//! | `renewal` | one renewal: the lock in the table, the fetch, storing what came |
//! | `table` | the item of a bot, and its ciphertext |
//!
//! Each bot of each channel has at most one renewal at a time in a function, whatever other bots do. It runs as a task of
//! its own. A caller waits for it only if no good token is known, and no longer than its own deadline. What a failed
//! renewal said is given to all callers for a moment, which doubles with each failure in a row.

mod renewal;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_types::SdkConfig;
use hoopoe_aws::Clock;
use hoopoe_message::{BotId, Channel, Timestamp};
use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::{FAILURE_CACHED, KeyringError};
use renewal::{Known, Progress, Renewal};
use table::Table;

/// The longest that a failed renewal is remembered.
const FAILURE_CACHED_MOST: Duration = Duration::from_secs(10);

/// While another function renews a token that is still good, the table is not asked for the new one more often than this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The Tokens table, and what this function knows of it. `E` is what a fetch fails with; callers that wait for the same
/// fetch get a copy each.
#[derive(Debug)]
pub struct Tokens<E> {
    table: Arc<Table>,
    clock: Clock,
    /// Never held while anything is waited for.
    bots: Mutex<HashMap<Place, Bot<E>>>,
}

/// The bot that a token belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    channel: Channel,
    bot: BotId,
}

/// `<channel>/<bot>`, the key of its item.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.channel, self.bot)
    }
}

/// A token that is good.
#[derive(Clone, Debug)]
pub struct AccessToken {
    /// The token.
    pub secret: SecretString,
    /// Which of the bot's tokens it is: a later one has a higher number. [`Tokens::reject`] names it by this.
    pub generation: u64,
}

/// Why there is no token.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TokenError<E> {
    /// The platform gave none.
    #[error("the platform gave no access token")]
    Fetch(E),
    /// DynamoDB or KMS did not do what was asked.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// Neither this function nor another one got it in time.
    #[error("no access token came in time")]
    Late,
}

/// A token with its times.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    access: AccessToken,
    renew_at: Timestamp,
    usable_until: Timestamp,
}

/// What this function knows of a bot's tokens.
#[derive(Debug)]
struct Bot<E> {
    token: Option<Token>,
    /// The platform refused the token of this generation: neither it nor any before it is used again.
    rejected: u64,
    renewal: Option<Renewal<E>>,
    /// By the version of the bot's key that the token was asked for with: where one is refused, another may be accepted.
    failures: BTreeMap<u64, Failure<E>>,
    /// No renewal begins before this where the token in memory is good.
    looked: Option<Instant>,
}

#[derive(Debug)]
struct Failure<E> {
    error: TokenError<E>,
    since: Instant,
    lasts: Duration,
}

/// What a caller has to do.
enum Next<E> {
    Use(AccessToken),
    Fail(TokenError<E>),
    Wait(watch::Receiver<Progress<E>>),
}

impl<E: Clone + fmt::Debug + Send + Sync + 'static> Tokens<E> {
    /// The table of this name; tokens are encrypted under `kms_key`. The time is that of `config`.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String, kms_key: String) -> Self {
        Self { table: Arc::new(Table::new(config, table, kms_key)), clock: Clock::new(config), bots: Mutex::default() }
    }

    /// The bot's access token: from memory, else from the table, else from the platform.
    ///
    /// `fetch` asks the platform, with the bot's key of this `version`, for a token and how long it lives. Of all running
    /// functions one asks. A token that is due for renewal and still good is given at once. Nobody waits here beyond
    /// `deadline`.
    ///
    /// # Errors
    ///
    /// What `fetch` says, now or a moment ago; or that a service does not answer, or that the token does not come in time.
    pub async fn get<F>(
        &self,
        channel: Channel,
        bot: &BotId,
        version: u64,
        deadline: Timestamp,
        fetch: impl Fn() -> F,
    ) -> Result<AccessToken, TokenError<E>>
    where
        F: Future<Output = Result<(SecretString, Duration), E>> + Send + 'static,
    {
        let place = Place { channel, bot: bot.clone() };
        let until = Instant::now() + deadline.since(self.clock.now());
        loop {
            let mut progress = match self.next(&place, version, &fetch) {
                Next::Use(token) => return Ok(token),
                Next::Fail(error) => return Err(error),
                Next::Wait(progress) => progress,
            };
            let is_news = |progress: &Progress<E>| match progress {
                Progress::Waiting => false,
                Progress::Meanwhile(token) => self.is_good(&place, token),
                Progress::Got { .. } | Progress::Failed { .. } => true,
            };
            let news = tokio::time::timeout_at(until, progress.wait_for(is_news)).await;
            let Ok(news) = news else { return Err(TokenError::Late) };
            // Whoever waited takes the answer, however long ago it came, unless it is of no use to him.
            match news.as_deref() {
                Ok(Progress::Got { token, .. }) if !self.is_rejected(&place, token) => return Ok(token.access.clone()),
                Ok(Progress::Failed { error, version: asked, .. }) if *asked == version || !error.is_fetch() => {
                    return Err(error.clone());
                }
                _ => {}
            }
        }
    }

    /// Takes note that the platform did not accept the token of this generation. The next caller gets a newer one: another
    /// function's if there is one, else it is fetched. A refusal that comes late, when a newer token is known already,
    /// changes nothing.
    pub fn reject(&self, channel: Channel, bot: &BotId, generation: u64) {
        let mut bots = self.bots.lock().unwrap_or_else(PoisonError::into_inner);
        let bot = bots.entry(Place { channel, bot: bot.clone() }).or_default();
        bot.rejected = bot.rejected.max(generation);
    }

    fn is_rejected(&self, place: &Place, token: &Token) -> bool {
        let bots = self.bots.lock().unwrap_or_else(PoisonError::into_inner);
        bots.get(place).is_some_and(|bot| token.access.generation <= bot.rejected)
    }

    fn is_good(&self, place: &Place, token: &Token) -> bool {
        !self.is_rejected(place, token) && self.clock.now() < token.usable_until
    }

    fn next<F>(&self, place: &Place, version: u64, fetch: impl Fn() -> F) -> Next<E>
    where
        F: Future<Output = Result<(SecretString, Duration), E>> + Send + 'static,
    {
        let mut bots = self.bots.lock().unwrap_or_else(PoisonError::into_inner);
        let bot = bots.entry(place.clone()).or_default();
        bot.take_news();
        let now = self.clock.now();
        let good = bot.token.as_ref().filter(|token| token.is_good(now, bot.rejected));
        if let Some(token) = good
            && now < token.renew_at
        {
            return Next::Use(token.access.clone());
        }
        let good = good.map(|token| token.access.clone());
        let failure = bot.failures.get(&version).filter(|failure| failure.since.elapsed() < failure.lasts);
        let rests = good.is_some() && bot.looked.is_some_and(|looked| looked.elapsed() < LOOK_AGAIN);
        match (&bot.renewal, failure) {
            (None, Some(failure)) => return good.map_or_else(|| Next::Fail(failure.error.clone()), Next::Use),
            (None, None) if !rests => {
                let known = Known { token: bot.token.clone(), rejected: bot.rejected };
                let table = (Arc::clone(&self.table), self.clock.clone());
                bot.renewal = Some(Renewal::start(table, place.clone(), version, known, fetch()));
            }
            _ => {}
        }
        match (good, &bot.renewal) {
            (Some(good), _) => Next::Use(good),
            (None, Some(renewal)) => Next::Wait(renewal.progress()),
            (None, None) => unreachable!("only who has a good token starts none"),
        }
    }
}

impl<E> TokenError<E> {
    const fn is_fetch(&self) -> bool {
        matches!(self, Self::Fetch(_))
    }
}

impl<E> Default for Bot<E> {
    fn default() -> Self {
        Self { token: None, rejected: 0, renewal: None, failures: BTreeMap::new(), looked: None }
    }
}

impl<E: Clone> Bot<E> {
    /// Takes over what the renewal has come to.
    fn take_news(&mut self) {
        let Some(renewal) = &self.renewal else { return };
        let (version, abandoned, progress) = (renewal.version, renewal.is_abandoned(), renewal.progress());
        // Asked before the progress is read: what comes after that is news for the next caller.
        let ended = progress.has_changed().is_err();
        let news = progress.borrow().clone();
        match news {
            Progress::Waiting => self.end_if(ended, abandoned, version),
            Progress::Meanwhile(token) => {
                self.keep(token);
                self.end_if(ended, abandoned, version);
            }
            Progress::Got { token, at } => {
                self.renewal = None;
                self.keep(token);
                self.failures.clear();
                self.looked = Some(at);
            }
            Progress::Failed { error, version, at } => {
                self.renewal = None;
                self.fail(version, error, at);
            }
        }
    }

    /// Gives up a renewal that ended without a result, because `fetch` panicked, or that the environment froze.
    fn end_if(&mut self, ended: bool, abandoned: bool, version: u64) {
        if ended || abandoned {
            self.renewal = None;
        }
        if ended {
            self.fail(version, TokenError::Late, Instant::now());
        }
    }

    fn fail(&mut self, version: u64, error: TokenError<E>, since: Instant) {
        // One after a quiet time is the first of a row again.
        let in_a_row = |last: &&Failure<E>| since.duration_since(last.since) < 4 * FAILURE_CACHED_MOST;
        let before = self.failures.get(&version).filter(in_a_row);
        let lasts = before.map_or(FAILURE_CACHED, |last| (last.lasts * 2).min(FAILURE_CACHED_MOST));
        self.failures.insert(version, Failure { error, since, lasts });
    }

    fn keep(&mut self, token: Token) {
        if self.token.as_ref().is_none_or(|known| known.access.generation <= token.access.generation) {
            self.token = Some(token);
        }
    }
}
