//! The platforms' side of a rotation.

use hoopoe_channels::telegram::{self, SendKeys, Telegram};
use hoopoe_channels::webchat::{Keys, SessionId};
use hoopoe_channels::{CheckRejection, Sender, with_platform};
use hoopoe_keyring::{KeyName, Purpose};
use hoopoe_message::{Channel, Timestamp};
use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::http::{Answer, Unreachable, call};

/// What a platform is asked to do.
pub trait Platforms {
    /// Has the platform use this version of a key that rotates by itself. Done twice, it is done once.
    ///
    /// # Errors
    ///
    /// What the platform says instead.
    fn set(
        &self,
        key: &KeyName,
        secret: &[u8],
        send: Option<&[u8]>,
    ) -> impl Future<Output = Result<(), PlatformError>> + Send;

    /// Tries a version of a key, without a message to anybody.
    ///
    /// # Errors
    ///
    /// Why it does not work.
    fn test(
        &self,
        key: &KeyName,
        secret: &[u8],
        send: Option<&[u8]>,
    ) -> impl Future<Output = Result<Tested, PlatformError>> + Send;
}

/// What came of a test that found no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tested {
    /// It was used, and accepted.
    Accepted,
    /// There is nothing that could be asked; only the platform's next request will tell.
    NotTestable,
}

/// Why a platform did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// It does not accept the secret.
    #[error("the platform does not accept it: {0}")]
    Refused(String),
    /// It did not do it for another reason.
    #[error("the platform could not tell: {0}")]
    Unclear(String),
    /// No answer came.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The stored keys are not of the shape this version reads.
    #[error("the stored keys are of an unknown shape")]
    Shape,
    /// Telegram posts nowhere.
    #[error("Telegram has no webhook for this bot: `hoopoe channel add telegram --set-webhook` sets one")]
    NoWebhook,
    /// Our own webhook does not accept the version.
    #[error("the bot's own webhook answers {0} to a request with this version")]
    Webhook(StatusCode),
}

/// The real platforms.
#[derive(Clone, Debug)]
pub struct HttpPlatforms(Client);

impl HttpPlatforms {
    /// By this client; see [`client`](crate::http::client).
    #[must_use]
    pub const fn new(client: Client) -> Self {
        Self(client)
    }

    /// Where Telegram posts what people say to the bot.
    async fn telegram_url(&self, send: &SendKeys) -> Result<String, PlatformError> {
        let answer = call(&self.0, send.webhook_info().map_err(|_| PlatformError::Shape)?).await?;
        let info = telegram::rotation::read_webhook_info(answer.status, &answer.body)
            .map_err(|rejection| fault(&answer, rejection))?;
        if info.url.is_empty() { Err(PlatformError::NoWebhook) } else { Ok(info.url) }
    }

    /// Posts an update that tells of nothing, as Telegram does it with this secret token.
    async fn test_telegram(&self, secret_token: &SecretString, send: &SendKeys) -> Result<(), PlatformError> {
        let url = self.telegram_url(send).await?;
        let request = self
            .0
            .post(url)
            .header("X-Telegram-Bot-Api-Secret-Token", secret_token.expose_secret())
            .header("Content-Type", "application/json")
            .body(r#"{"update_id":0}"#);
        let answered = request.send().await.map_err(Unreachable::from)?;
        if answered.status().is_success() { Ok(()) } else { Err(PlatformError::Webhook(answered.status())) }
    }

    async fn check<P: Sender>(&self, secret: &[u8]) -> Result<Tested, PlatformError> {
        let keys: P::Keys = serde_json::from_slice(secret).map_err(|_| PlatformError::Shape)?;
        let Some(request) = P::check_request(&keys) else { return Ok(Tested::NotTestable) };
        let answer = call(&self.0, request.map_err(|_| PlatformError::Shape)?).await?;
        P::read_check(answer.status, &answer.headers, &answer.body).map_err(|rejection| fault(&answer, rejection))?;
        Ok(Tested::Accepted)
    }
}

impl Platforms for HttpPlatforms {
    async fn set(&self, key: &KeyName, secret: &[u8], send: Option<&[u8]>) -> Result<(), PlatformError> {
        // The page's tokens are signed and verified by us alone.
        let (Channel::Telegram, Some(send)) = (key.channel, send) else { return Ok(()) };
        let send: SendKeys = serde_json::from_slice(send).map_err(|_| PlatformError::Shape)?;
        let url = self.telegram_url(&send).await?;
        let request = send.set_webhook(&url, &secret_token(secret)?).map_err(|_| PlatformError::Shape)?;
        let answer = call(&self.0, request).await?;
        Telegram::outcome(answer.status, &answer.headers, &answer.body).map_err(|rejection| fault(&answer, rejection))
    }

    async fn test(&self, key: &KeyName, secret: &[u8], send: Option<&[u8]>) -> Result<Tested, PlatformError> {
        match (key.purpose, key.channel, send) {
            (Purpose::Webhook, Channel::Telegram, Some(send)) => {
                let send = serde_json::from_slice(send).map_err(|_| PlatformError::Shape)?;
                self.test_telegram(&secret_token(secret)?, &send).await?;
                Ok(Tested::Accepted)
            }
            (Purpose::Webhook, Channel::Webchat, _) => {
                let Keys { signing_key } = serde_json::from_slice(secret).map_err(|_| PlatformError::Shape)?;
                let (session, now) = (SessionId::from_random([0; 16]), Timestamp::now());
                let token = signing_key.mint(&key.bot, &session, now).token;
                signing_key.verify(&key.bot, &token, now).map_err(|_| PlatformError::Shape)?;
                Ok(Tested::Accepted)
            }
            (Purpose::Webhook, ..) => Ok(Tested::NotTestable),
            (Purpose::Send, channel, _) => with_platform!(
                channel,
                P => self.check::<P>(secret).await,
                webchat => Ok(Tested::NotTestable)
            ),
        }
    }
}

/// The secret token in stored webhook keys of Telegram.
fn secret_token(webhook: &[u8]) -> Result<SecretString, PlatformError> {
    let mut keys: Value = serde_json::from_slice(webhook).map_err(|_| PlatformError::Shape)?;
    match keys.get_mut("secret_token").map(Value::take) {
        Some(Value::String(token)) => Ok(Zeroizing::new(token).as_str().into()),
        _ => Err(PlatformError::Shape),
    }
}

fn fault(answer: &Answer, rejection: impl Into<CheckRejection>) -> PlatformError {
    match answer.echo.cut(rejection.into()) {
        CheckRejection::BadCredential { reason } => PlatformError::Refused(reason),
        CheckRejection::Inconclusive { reason } => PlatformError::Unclear(reason),
    }
}
