//! One platform's send API.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hoopoe_channels::{ApiRequest, Outcome, Retry, Sender};
use hoopoe_keyring::{Keyring, KeyringError};
use hoopoe_message::{BotId, Reply};
use reqwest::header::HeaderMap;
use reqwest::{Client, StatusCode};
use secrecy::SecretString;
use tokio::sync::Mutex;

/// The most of an answer that is read; platforms answer a send with a few hundred bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// An access token is fetched anew this long before the platform ends it.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// A platform with its keys and, where it uses them, its access tokens.
pub(crate) struct Platform<S: Sender> {
    keyring: Keyring<S::Keys>,
    http: Client,
    /// The lock is held while a token is fetched: sends that come together cause one call.
    tokens: Mutex<HashMap<BotId, (SecretString, Instant)>>,
}

/// How a send ended, and how many parts of the reply have gone out by now.
pub(crate) struct Sent {
    pub(crate) parts: usize,
    pub(crate) end: End,
}

/// How a send ended.
pub(crate) enum End {
    /// Everything went out.
    Sent,
    /// The platform did not take a part.
    Refused { reason: String, retry: Retry },
    /// The platform did not answer: it may have taken the part.
    Unknown { reason: String },
}

impl<S: Sender> Platform<S> {
    pub(crate) fn new(keyring: Keyring<S::Keys>, http: Client) -> Self {
        Self { keyring, http, tokens: Mutex::default() }
    }

    /// Sends a reply from part `from` on, part after part.
    pub(crate) async fn send(&self, reply: &Reply, from: usize) -> Sent {
        let mut parts = from;
        let end = match self.send_parts(reply, &mut parts).await {
            Ok(()) => End::Sent,
            Err(end) => end,
        };
        Sent { parts, end }
    }

    async fn send_parts(&self, reply: &Reply, parts: &mut usize) -> Result<(), End> {
        let bot = &reply.conversation.bot;
        let keys = self.keyring.get(bot).await.map_err(|error| match error {
            KeyringError::Call { .. } => refused(&error, Retry::Backoff),
            KeyringError::Missing { .. } | KeyringError::Shape { .. } => refused(&error, Retry::Never),
        })?;
        let bodies = S::render(&keys, reply).map_err(|error| refused(&error, Retry::Never))?;
        for body in bodies.into_iter().skip(*parts) {
            if let Err(end) = self.send_part(&keys, bot, body.clone()).await {
                let End::Refused { retry: Retry::NewToken, .. } = end else { return Err(end) };
                self.tokens.lock().await.remove(bot);
                self.send_part(&keys, bot, body).await.map_err(|end| match end {
                    End::Refused { reason, retry: Retry::NewToken } => End::Refused { reason, retry: Retry::Backoff },
                    other => other,
                })?;
            }
            *parts += 1;
        }
        Ok(())
    }

    async fn send_part(&self, keys: &S::Keys, bot: &BotId, body: String) -> Result<(), End> {
        let token = self.token(keys, bot).await?;
        let request = S::request(keys, token.as_ref(), body).map_err(|error| refused(&error, Retry::Never))?;
        let answer = self.call(request).await?;
        match S::outcome(answer.status, &answer.headers, &answer.body) {
            Outcome::Sent => Ok(()),
            Outcome::Refused { reason, retry } => Err(End::Refused { reason, retry }),
        }
    }

    async fn token(&self, keys: &S::Keys, bot: &BotId) -> Result<Option<SecretString>, End> {
        let Some(request) = S::token_request(keys) else { return Ok(None) };
        let mut tokens = self.tokens.lock().await;
        if let Some((token, until)) = tokens.get(bot)
            && Instant::now() < *until
        {
            return Ok(Some(token.clone()));
        }
        let request = request.map_err(|error| refused(&error, Retry::Never))?;
        // Asking twice for a token does no harm, whatever became of the first request.
        let answer = self.call(request).await.map_err(|end| match end {
            End::Unknown { reason } => End::Refused { reason, retry: Retry::Backoff },
            other => other,
        })?;
        match S::read_token(answer.status, &answer.body) {
            Ok(token) => {
                let until = Instant::now() + token.lifetime.saturating_sub(RENEW_BEFORE);
                tokens.insert(bot.clone(), (token.secret.clone(), until));
                Ok(Some(token.secret))
            }
            Err(Outcome::Refused { reason, retry }) => Err(End::Refused { reason, retry }),
            Err(Outcome::Sent) => Err(End::Refused { reason: "no access token came".into(), retry: Retry::Backoff }),
        }
    }

    async fn call(&self, request: ApiRequest) -> Result<Answer, End> {
        let request =
            reqwest::Request::try_from(request.into_http()).map_err(|error| refused(&Redacted(error), Retry::Never))?;
        let mut response = self.http.execute(request).await.map_err(failed)?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk[..chunk.len().min(MAX_ANSWER - body.len())]);
            if body.len() == MAX_ANSWER {
                break;
            }
        }
        Ok(Answer { status, headers, body })
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

fn refused(error: &dyn std::error::Error, retry: Retry) -> End {
    End::Refused { reason: error.to_string(), retry }
}

/// Without a connection nothing was sent; after that the platform may have taken what was sent.
fn failed(error: reqwest::Error) -> End {
    let connecting = error.is_connect();
    let reason = Redacted(error).to_string();
    if connecting { End::Refused { reason, retry: Retry::Backoff } } else { End::Unknown { reason } }
}

/// An HTTP error without its URL: Telegram and WeCom have their tokens in it.
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
