//! One platform's send API.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use hoopoe_channels::{ApiRequest, Echo, Outcome, Part, Retry, Sender, Unrenderable};
use hoopoe_keyring::{
    AccessToken, KeyName, Keyring, KeyringError, Place, Purpose, Quota, Quotas, Secret, TokenError, Tokens, Turn,
};
use hoopoe_message::{BotId, Reply, Timestamp};
use hoopoe_store::Transcripts;
use hoopoe_telemetry::count;
use reqwest::header::HeaderMap;
use reqwest::{Client, StatusCode};
use secrecy::SecretString;

/// How long a connection to a platform, and its answer, may take.
pub(crate) const CONNECT: Duration = Duration::from_secs(3);
pub(crate) const ANSWER: Duration = Duration::from_secs(8);

/// How long a request waits for its turn; where that comes later, the reply goes back to the queue.
const PATIENCE: Duration = Duration::from_secs(1);

/// A request about which the table of quotas says nothing is held back for so long.
const UNKNOWN_TURN: Duration = Duration::from_secs(5);

/// The most of an answer that is read; platforms answer a send with a few hundred bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// What the sends of all platforms share.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) http: Client,
    pub(crate) tokens: Arc<Tokens<End>>,
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) transcripts: Transcripts,
}

/// How a send ended, and how many parts of the reply have gone out by now.
pub(crate) struct Sent {
    pub(crate) parts: usize,
    pub(crate) end: End,
}

/// How a send ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// Everything went out.
    Sent,
    /// The platform did not take a part.
    Refused { reason: String, retry: Retry },
    /// A part was not begun: its turn within the bot's quota comes after so long, or too late for this function.
    Throttled { pause: Duration },
    /// The platform did not answer: it may have taken the part. `again` where it drops a second one itself.
    Unknown { reason: String, again: bool },
}

/// Where a send begins, or goes on.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    /// The first part that has not gone out.
    pub(crate) part: usize,
    /// A function began to send it and died.
    pub(crate) unknown: bool,
    /// When Lambda ends this function. A part is not begun whose answer could come after that.
    pub(crate) deadline: Timestamp,
}

/// A platform, whichever it is.
pub(crate) trait Platform: Send + Sync {
    /// Sends a reply, part after part.
    fn send<'a>(&'a self, reply: &'a Reply, start: Start) -> BoxFuture<'a, Sent>;
}

/// A platform that has an API.
pub(crate) struct Api<S: Sender> {
    keyring: Keyring<S::Keys>,
    means: Means,
}

impl<S: Sender> Api<S> {
    pub(crate) fn new(place: Place, means: Means) -> Self {
        Self { keyring: Keyring::new(place, S::CHANNEL, Purpose::Send), means }
    }

    /// Sends with the secret in force and, where the platform does not accept that, once with each other live version: a
    /// rotation that goes wrong costs an alarm and no reply.
    async fn send_parts(&self, reply: &Reply, mut start: Start, sent: &mut usize) -> Result<(), End> {
        let bot = &reply.conversation.bot;
        let mut live = self.keyring.get(bot).await.map_err(unreadable)?;
        let mut tried = Vec::new();
        let mut secret = live.current();
        loop {
            let ended = self.send_as(secret, live.quota(), reply, start, sent).await;
            let refused = matches!(ended, Err(End::Refused { retry: Retry::BadCredential, .. }));
            if refused || ended.is_ok() {
                self.keyring.used(bot, &live, secret.version, ended.is_ok()).await;
            }
            if !refused {
                return ended;
            }
            count("CredentialsRefused", 1, ("Function", "deliver"));
            tracing::error!(channel = %S::CHANNEL, %bot, version = secret.version, "the platform refuses the bot's secret");
            tried.push(secret.version);
            // Perhaps the operator stored a newer one since this function read them.
            if let Some(newer) = self.keyring.look_again(bot, &live).await.map_err(unreadable)? {
                live = newer;
            }
            let Some(other) = live.iter().find(|secret| !tried.contains(&secret.version)) else { return ended };
            secret = other;
            start = Start { part: *sent, unknown: false, ..start };
        }
    }

    async fn send_as(
        &self,
        secret: &Secret<S::Keys>,
        quota: Quota,
        reply: &Reply,
        start: Start,
        sent: &mut usize,
    ) -> Result<(), End> {
        let (bot, keys, version) = (&reply.conversation.bot, &secret.keys, secret.version);
        if S::is_passive(keys) {
            return leave(&self.means.transcripts, reply).await;
        }
        let parts = S::render(keys, reply, Timestamp::now()).map_err(|error| match error {
            Unrenderable::Address | Unrenderable::Request(_) => refused(&error, Retry::Never),
        })?;
        for (at, part) in parts.into_iter().enumerate().skip(start.part) {
            if start.unknown && at == start.part && !part.idempotent {
                return Err(End::Unknown { reason: "the function ended during the send".into(), again: false });
            }
            if start.deadline.since(Timestamp::now()) < ANSWER {
                let reason = "the function's time is over; the rest follows".to_owned();
                return Err(End::Refused { reason, retry: Retry::After(Duration::from_secs(1)) });
            }
            let sending = Sending { bot, version, quota, deadline: start.deadline, again: part.idempotent };
            self.send_part(keys, sending, part).await?;
            *sent += 1;
        }
        Ok(())
    }

    async fn send_part(&self, keys: &S::Keys, sending: Sending<'_>, part: Part) -> Result<(), End> {
        let Part { request, fallback, idempotent: _ } = part;
        let ended = match self.request(keys, sending, request).await {
            Err(End::Refused { retry: Retry::Fallback, reason }) => match fallback {
                Some(fallback) => self.request(keys, Sending { again: false, ..sending }, fallback).await,
                None => Err(End::Refused { reason, retry: Retry::Never }),
            },
            ended => ended,
        };
        ended.map_err(|end| match end {
            End::Refused { reason, retry: Retry::Fallback } => End::Refused { reason, retry: Retry::Never },
            other => other,
        })
    }

    /// Sends a request, and once more with a new access token where the platform does not accept the one it came with.
    async fn request(&self, keys: &S::Keys, sending: Sending<'_>, request: ApiRequest) -> Result<(), End> {
        if !request.needs_token() {
            return self.attempt(sending, request, None).await;
        }
        let token = self.token(keys, sending).await?;
        let ended = self.attempt(sending, request.clone(), Some(&token.secret)).await;
        let Err(End::Refused { retry: Retry::NewToken, .. }) = ended else { return ended };
        self.means.tokens.reject(S::CHANNEL, sending.bot, token.generation);
        let token = self.token(keys, sending).await?;
        self.attempt(sending, request, Some(&token.secret)).await.map_err(|end| match end {
            End::Refused { reason, retry: Retry::NewToken } => End::Refused { reason, retry: Retry::Backoff },
            other => other,
        })
    }

    async fn attempt(
        &self,
        sending: Sending<'_>,
        request: ApiRequest,
        token: Option<&SecretString>,
    ) -> Result<(), End> {
        self.turn(sending).await?;
        let answer = Self::call(&self.means.http, request, token, sending.again).await?;
        match answer.echo.cut(S::outcome(answer.status, &answer.headers, &answer.body)) {
            Outcome::Sent => Ok(()),
            Outcome::Refused { reason, retry } => Err(End::Refused { reason, retry }),
        }
    }

    /// Waits for the turn of one request within the bot's quota.
    async fn turn(&self, sending: Sending<'_>) -> Result<(), End> {
        let left = || sending.deadline.since(Timestamp::now()).checked_sub(ANSWER);
        let over = End::Throttled { pause: Duration::from_secs(1) };
        let Some(patience) = left() else { return Err(over) };
        let key = KeyName { channel: S::CHANNEL, bot: sending.bot.clone(), purpose: Purpose::Send };
        match self.means.quotas.take(&key, sending.quota, 1, patience.min(PATIENCE)).await {
            // The table may have taken its time.
            Ok(Turn::Now) => left().map(drop).ok_or(over),
            Ok(Turn::After(pause)) => Err(End::Throttled { pause }),
            Err(error) => {
                tracing::error!(%error, channel = %S::CHANNEL, "whether a send is within its quota is unknown");
                Err(End::Throttled { pause: UNKNOWN_TURN })
            }
        }
    }

    /// The bot's access token, if it comes in time for a request and its answer.
    async fn token(&self, keys: &S::Keys, sending: Sending<'_>) -> Result<AccessToken, End> {
        let fetch = || {
            let (http, request) = (self.means.http.clone(), S::token_request(keys));
            async move {
                let request = request.ok_or_else(|| End::Refused {
                    reason: "the platform has no access tokens, and yet a request needs one".into(),
                    retry: Retry::Never,
                })?;
                let request = request.map_err(|error| refused(&error, Retry::Never))?;
                // Asking twice for a token does no harm, whatever became of the first request.
                let answer = Self::call(&http, request, None, true).await.map_err(|end| match end {
                    End::Unknown { reason, .. } => End::Refused { reason, retry: Retry::Backoff },
                    other => other,
                })?;
                match S::read_token(answer.status, &answer.body).map_err(|outcome| answer.echo.cut(outcome)) {
                    Ok(token) => Ok((token.secret, token.lifetime)),
                    Err(Outcome::Refused { reason, retry }) => Err(End::Refused { reason, retry }),
                    Err(Outcome::Sent) => {
                        Err(End::Refused { reason: "no access token came".into(), retry: Retry::Backoff })
                    }
                }
            }
        };
        let Sending { bot, version, deadline, .. } = sending;
        let now = Timestamp::now();
        let until = now.plus(deadline.since(now).saturating_sub(ANSWER));
        self.means.tokens.get(S::CHANNEL, bot, version, until, fetch).await.map_err(|error| match error {
            TokenError::Fetch(end) => end,
            TokenError::Keyring(_) | TokenError::Late => refused(&error, Retry::Backoff),
        })
    }

    async fn call(
        http: &Client,
        request: ApiRequest,
        token: Option<&SecretString>,
        again: bool,
    ) -> Result<Answer, End> {
        let request = request.into_http(token).map_err(|error| refused(&error, Retry::Never))?;
        let echo = Echo::of(&request);
        let request = reqwest::Request::try_from(request).map_err(|error| refused(&Redacted(error), Retry::Never))?;
        let failed = |error| failed(error, again);
        let mut response = http.execute(request).await.map_err(failed)?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk[..chunk.len().min(MAX_ANSWER - body.len())]);
            if body.len() == MAX_ANSWER {
                break;
            }
        }
        Ok(Answer { status, headers, body, echo })
    }
}

impl<S: Sender> Platform for Api<S> {
    fn send<'a>(&'a self, reply: &'a Reply, start: Start) -> BoxFuture<'a, Sent> {
        Box::pin(async move {
            let mut parts = start.part;
            let end = match self.send_parts(reply, start, &mut parts).await {
                Ok(()) => End::Sent,
                Err(end) => end,
            };
            Sent { parts, end }
        })
    }
}

/// The bot's own page: its function reads replies from the transcript.
pub(crate) struct Webchat(pub(crate) Means);

impl Platform for Webchat {
    fn send<'a>(&'a self, reply: &'a Reply, _start: Start) -> BoxFuture<'a, Sent> {
        Box::pin(async move {
            match leave(&self.0.transcripts, reply).await {
                Ok(()) => Sent { parts: 1, end: End::Sent },
                Err(end) => Sent { parts: 0, end },
            }
        })
    }
}

/// Leaves a reply for a webhook function to fetch. An entry has its place: written twice, it is there once.
async fn leave(transcripts: &Transcripts, reply: &Reply) -> Result<(), End> {
    transcripts.put_reply(reply, Timestamp::now()).await.map_err(|error| refused(&error, Retry::Backoff))
}

/// What the requests of one part have in common.
#[derive(Clone, Copy)]
struct Sending<'a> {
    bot: &'a BotId,
    /// Of the bot's key.
    version: u64,
    quota: Quota,
    deadline: Timestamp,
    /// Whether the platform drops a second one itself.
    again: bool,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    /// What of the request it may repeat.
    echo: Echo,
}

fn refused(error: &dyn std::error::Error, retry: Retry) -> End {
    End::Refused { reason: error.to_string(), retry }
}

fn unreadable(error: KeyringError) -> End {
    let retry = if matches!(error, KeyringError::Call { .. }) { Retry::Backoff } else { Retry::Never };
    refused(&error, retry)
}

/// Without a connection nothing was sent; after that the platform may have taken what was sent.
fn failed(error: reqwest::Error, again: bool) -> End {
    let connecting = error.is_connect();
    let reason = Redacted(error).to_string();
    if connecting { End::Refused { reason, retry: Retry::Backoff } } else { End::Unknown { reason, again } }
}

/// An HTTP error without its URL: some platforms have their tokens in it.
#[derive(Debug)]
struct Redacted(reqwest::Error);

impl std::error::Error for Redacted {}

impl std::fmt::Display for Redacted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let error = &self.0;
        f.write_str(match () {
            () if error.is_connect() => "no connection to the platform",
            () if error.is_timeout() => "the platform did not answer in time",
            () if error.is_builder() => "the request to the platform is not valid",
            () => "the connection to the platform broke",
        })
    }
}
