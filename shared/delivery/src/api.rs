//! One platform's send API.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use hoopoe_aws::Clock;
use hoopoe_channels::{ApiRequest, Echo, Part, Rejection, Retry, Sender};
use hoopoe_keyring::{
    AccessToken, KeyName, Keyring, KeyringError, Place, Purpose, Quota, Quotas, Secret, TokenError, Tokens, Turn,
};
use hoopoe_message::BotId;
use hoopoe_store::Transcripts;
use hoopoe_telemetry::metrics;
use secrecy::SecretString;

use crate::http::{Answer, Broken, Http};
use crate::passage::{End, Passage};
use crate::retry::Kind;

/// How long a request waits for its turn; where that comes later, the reply goes back to the queue.
const PATIENCE: Duration = Duration::from_secs(1);

/// A shorter pause of the bot is not worth telling the other functions.
const PAUSE_TOLD: Duration = Duration::from_secs(1);

/// A reply that is left for a webhook function has its place there: written twice, it is there once.
const LEFT_FOR: Duration = hoopoe_store::transcripts::LIFETIME;

/// What the sends of all platforms share.
pub(crate) struct Means<H> {
    pub(crate) http: H,
    pub(crate) clock: Clock,
    pub(crate) tokens: Tokens<End>,
    pub(crate) quotas: Quotas,
    pub(crate) transcripts: Transcripts,
}

/// A platform, whichever it is.
pub(crate) trait Platform: Send + Sync {
    /// Sends a reply, part after part, each after its record says so.
    fn send<'a>(&'a self, passage: &'a mut Passage<'_>) -> BoxFuture<'a, Result<(), End>>;
}

/// A platform that has an API.
pub(crate) struct Api<S: Sender, H> {
    keyring: Keyring<S::Keys>,
    means: Arc<Means<H>>,
}

impl<S: Sender, H: Http> Api<S, H> {
    pub(crate) fn new(place: Place, means: Arc<Means<H>>) -> Self {
        Self { keyring: Keyring::new(place, S::CHANNEL, Purpose::Send), means }
    }

    /// Sends with the secret in force and, where the platform does not accept that, once with each other live version: a
    /// rotation that goes wrong costs an alarm and no reply.
    async fn send(&self, passage: &mut Passage<'_>) -> Result<(), End> {
        let bot = &passage.reply.conversation.bot;
        let mut live = self.keyring.get(bot).await.map_err(unreadable)?;
        let mut tried = Vec::new();
        let mut secret = live.current();
        loop {
            let ended = self.send_as(secret, live.quota(), passage).await;
            let refused = matches!(ended, Err(End::Failed { kind: Kind::Refused(Retry::BadCredential), .. }));
            if refused || ended.is_ok() {
                self.keyring.used(bot, &live, secret.version, ended.is_ok()).await;
            }
            if !refused {
                return ended;
            }
            metrics::CREDENTIALS_REFUSED.add(1, ["deliver"]);
            tracing::error!(channel = %S::CHANNEL, %bot, version = secret.version, "the platform refuses the bot's secret");
            tried.push(secret.version);
            // Perhaps the operator stored a newer one since this function read them.
            if let Some(newer) = self.keyring.look_again(bot, &live).await.map_err(unreadable)? {
                live = newer;
            }
            let Some(other) = live.iter().find(|secret| !tried.contains(&secret.version)) else { return ended };
            secret = other;
        }
    }

    async fn send_as(&self, secret: &Secret<S::Keys>, quota: Quota, passage: &mut Passage<'_>) -> Result<(), End> {
        let keys = &secret.keys;
        if S::is_passive(keys) {
            return leave(&self.means, passage).await;
        }
        let parts = S::render(keys, passage.reply, self.means.clock.now()).map_err(never)?;
        let Some(first) = parts.first() else { return Ok(()) };
        // All that may take long or fail comes before the reply is begun: whatever ends the function until then, the
        // platform has nothing.
        let bot = &passage.reply.conversation.bot;
        let sending = Sending { keys, version: secret.version, bot, quota };
        if first.request.needs_token() {
            self.token(sending, passage).await?;
        }
        self.turn(bot, quota, passage).await?;
        let begin_at = passage.begin(first.repeatable_for).await?;
        let mut has_turn = true;
        for part in parts.into_iter().skip(begin_at) {
            self.send_part(sending, part, passage, &mut has_turn).await?;
            passage.went_out();
        }
        Ok(())
    }

    async fn send_part(
        &self,
        sending: Sending<'_, S>,
        part: Part,
        passage: &mut Passage<'_>,
        has_turn: &mut bool,
    ) -> Result<(), End> {
        let Part { request, fallback, repeatable_for, fallback_repeatable_for } = part;
        match (self.request(sending, request, repeatable_for, passage, has_turn).await, fallback) {
            (Err(End::Failed { kind: Kind::Refused(Retry::Fallback), .. }), Some(fallback)) => {
                self.request(sending, fallback, fallback_repeatable_for, passage, has_turn).await
            }
            (ended, _) => ended,
        }
    }

    /// Sends a request, and once more with a new access token where the platform does not accept the one it came with.
    async fn request(
        &self,
        sending: Sending<'_, S>,
        request: ApiRequest,
        repeatable_for: Option<Duration>,
        passage: &mut Passage<'_>,
        has_turn: &mut bool,
    ) -> Result<(), End> {
        if !request.needs_token() {
            return self.attempt(sending, request, None, repeatable_for, passage, has_turn).await;
        }
        let token = self.token(sending, passage).await?;
        let ended =
            self.attempt(sending, request.clone(), Some(&token.secret), repeatable_for, passage, has_turn).await;
        let Err(End::Failed { kind: Kind::Refused(Retry::NewToken), .. }) = ended else { return ended };
        self.means.tokens.reject(S::CHANNEL, sending.bot, token.generation);
        let token = self.token(sending, passage).await?;
        self.attempt(sending, request, Some(&token.secret), repeatable_for, passage, has_turn).await
    }

    async fn attempt(
        &self,
        sending: Sending<'_, S>,
        request: ApiRequest,
        token: Option<&SecretString>,
        repeatable_for: Option<Duration>,
        passage: &mut Passage<'_>,
        has_turn: &mut bool,
    ) -> Result<(), End> {
        if !std::mem::take(has_turn) {
            self.turn(sending.bot, sending.quota, passage).await?;
        }
        passage.leave(repeatable_for).await?;
        let (answer, echo) = exchange(&self.means.http, request, token).await.map_err(|end| match end {
            Unanswered::Unsendable(end) => end,
            Unanswered::Broken(Broken::Invalid) => never(Broken::Invalid),
            Unanswered::Broken(Broken::NoConnection) => {
                End::failed(Kind::Refused(Retry::Backoff), Broken::NoConnection)
            }
            Unanswered::Broken(broken @ (Broken::NoAnswer | Broken::Broke)) => unknown(repeatable_for, broken),
        })?;
        match S::outcome(answer.status, &answer.headers, &answer.body).map_err(|rejection| echo.cut(rejection)) {
            Ok(()) => Ok(()),
            Err(Rejection::Refused { reason, retry }) => Err(self.refused(sending.bot, reason, retry).await),
            Err(Rejection::Unknown { reason }) => Err(unknown(repeatable_for, reason)),
        }
    }

    /// Waits for the turn of one request within the bot's quota.
    async fn turn(&self, bot: &BotId, quota: Quota, passage: &Passage<'_>) -> Result<(), End> {
        let over = || End::failed(Kind::OutOfTime, "the function's time is over");
        let patience = passage.time_left().ok_or_else(over)?;
        match self.means.quotas.take(&key::<S>(bot), quota, 1, patience.min(PATIENCE)).await {
            // The table may have taken its time.
            Ok(Turn::Now) => passage.time_left().map(drop).ok_or_else(over),
            Ok(Turn::After(pause)) => {
                let reason = "the bot's quota is used up, or the platform asked for a pause";
                Err(End::failed(Kind::Throttled(pause), reason))
            }
            Err(error) => {
                tracing::error!(%error, channel = %S::CHANNEL, "whether a send is within its quota is unknown");
                Err(End::failed(Kind::Unready, error))
            }
        }
    }

    /// A request was refused. If the platform takes nothing of the bot for a while, no function asks it before.
    async fn refused(&self, bot: &BotId, reason: String, retry: Retry) -> End {
        if let Retry::BotAfter(pause) = retry
            && pause >= PAUSE_TOLD
        {
            tracing::warn!(channel = %S::CHANNEL, %bot, ?pause, "the platform takes nothing of the bot for a while");
            if let Err(error) = self.means.quotas.pause(&key::<S>(bot), pause).await {
                tracing::error!(%error, channel = %S::CHANNEL, %bot, "the other functions do not know of the pause");
            }
        }
        End::failed(Kind::Refused(retry), reason)
    }

    async fn token(&self, sending: Sending<'_, S>, passage: &Passage<'_>) -> Result<AccessToken, End> {
        let Sending { keys, bot, version, .. } = sending;
        let fetch = || {
            let (request, http) = (S::token_request(keys), self.means.http.clone());
            async move {
                let request =
                    request.ok_or_else(|| never("the platform has no access tokens, and yet a request needs one"))?;
                // Asking twice for a token does no harm, whatever became of the first request.
                let (answer, echo) = exchange(&http, request.map_err(never)?, None).await.map_err(|end| match end {
                    Unanswered::Unsendable(end) => end,
                    Unanswered::Broken(broken) => End::failed(Kind::Unready, broken),
                })?;
                match S::read_token(answer.status, &answer.body).map_err(|rejection| echo.cut(rejection)) {
                    Ok(token) => Ok((token.secret, token.lifetime)),
                    Err(Rejection::Refused { reason, retry: retry @ (Retry::Never | Retry::BadCredential) }) => {
                        Err(End::failed(Kind::Refused(retry), reason))
                    }
                    Err(Rejection::Refused { reason, .. } | Rejection::Unknown { reason }) => {
                        Err(End::failed(Kind::Unready, reason))
                    }
                }
            }
        };
        let time = passage.time_left().ok_or_else(|| End::failed(Kind::OutOfTime, "the function's time is over"))?;
        let until = self.means.clock.now().plus(time);
        self.means.tokens.get(S::CHANNEL, bot, version, until, fetch).await.map_err(|error| match error {
            TokenError::Fetch(end) => end,
            TokenError::Keyring(_) | TokenError::Late => End::failed(Kind::Unready, error),
        })
    }
}

/// Sends a request as it is to the platform.
async fn exchange<H: Http>(
    http: &H,
    request: ApiRequest,
    token: Option<&SecretString>,
) -> Result<(Answer, Echo), Unanswered> {
    let request = request.into_http(token).map_err(|error| Unanswered::Unsendable(never(error)))?;
    let echo = Echo::of(&request);
    let answer = http.exchange(request).await.map_err(Unanswered::Broken)?;
    Ok((answer, echo))
}

/// Why a request has no answer.
enum Unanswered {
    Unsendable(End),
    Broken(Broken),
}

impl<S: Sender, H: Http> Platform for Api<S, H> {
    fn send<'a>(&'a self, passage: &'a mut Passage<'_>) -> BoxFuture<'a, Result<(), End>> {
        Box::pin(Self::send(self, passage))
    }
}

/// The bot's own page: its function reads replies from the transcript.
pub(crate) struct Webchat<H>(pub(crate) Arc<Means<H>>);

impl<H: Http> Platform for Webchat<H> {
    fn send<'a>(&'a self, passage: &'a mut Passage<'_>) -> BoxFuture<'a, Result<(), End>> {
        Box::pin(leave(&self.0, passage))
    }
}

/// Leaves a reply for a webhook function to fetch.
async fn leave<H>(means: &Means<H>, passage: &mut Passage<'_>) -> Result<(), End> {
    if passage.begin(Some(LEFT_FOR)).await? > 0 {
        return Ok(());
    }
    passage.leave(Some(LEFT_FOR)).await?;
    let left = means.transcripts.put_reply(passage.reply, means.clock.now()).await;
    left.map_err(|error| End::failed(Kind::Unready, error))?;
    passage.went_out();
    Ok(())
}

/// Whose request it is.
struct Sending<'a, S: Sender> {
    keys: &'a S::Keys,
    /// Of the bot's key.
    version: u64,
    bot: &'a BotId,
    quota: Quota,
}

impl<S: Sender> Clone for Sending<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Sender> Copy for Sending<'_, S> {}

/// The key that a bot of this platform sends with.
fn key<S: Sender>(bot: &BotId) -> KeyName {
    KeyName { channel: S::CHANNEL, bot: bot.clone(), purpose: Purpose::Send }
}

fn never(error: impl ToString) -> End {
    End::failed(Kind::Refused(Retry::Never), error)
}

fn unknown(repeatable_for: Option<Duration>, reason: impl ToString) -> End {
    End::failed(Kind::Unknown { repeatable: repeatable_for.is_some() }, reason)
}

fn unreadable(error: KeyringError) -> End {
    match error {
        KeyringError::Call { .. } => End::failed(Kind::Unready, error),
        other => never(other),
    }
}

#[cfg(test)]
mod tests;
