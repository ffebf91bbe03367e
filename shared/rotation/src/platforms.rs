//! The platforms' side of a rotation.

use hoopoe_channels::contract::rotation::ChosenKey;
use hoopoe_channels::{CheckRejection, Rotation, Sender, rotation, with_platform};
use hoopoe_keyring::{KeyName, Purpose};
use hoopoe_message::{Channel, Timestamp};
use reqwest::{Client, StatusCode};

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
    /// The platform posts nowhere.
    #[error("{0} has no webhook for this bot: `hoopoe channel add {0} --set-webhook` sets one")]
    NoWebhook(Channel),
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

    /// Where the platform posts what people say to the bot.
    async fn url(&self, channel: Channel, chosen: &dyn ChosenKey, send: &[u8]) -> Result<String, PlatformError> {
        let answer = call(&self.0, chosen.ask_url(send).ok_or(PlatformError::Shape)?).await?;
        let url = chosen.read_url(answer.status, &answer.body).map_err(|rejection| fault(&answer, rejection))?;
        url.ok_or(PlatformError::NoWebhook(channel))
    }

    /// Posts to the bot's own webhook what the platform would post with this secret.
    async fn probe(
        &self,
        channel: Channel,
        chosen: &dyn ChosenKey,
        secret: &[u8],
        send: &[u8],
    ) -> Result<(), PlatformError> {
        let url = self.url(channel, chosen, send).await?;
        let request = chosen.probe(&url, secret).ok_or(PlatformError::Shape)?;
        let request = reqwest::Request::try_from(request).map_err(Unreachable::from)?;
        let answered = self.0.execute(request).await.map_err(Unreachable::from)?;
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
        let (Some(Rotation::Chosen(chosen)), Some(send)) = (rotation(key.channel), send) else { return Ok(()) };
        let url = self.url(key.channel, chosen, send).await?;
        let answer = call(&self.0, chosen.set(send, &url, secret).ok_or(PlatformError::Shape)?).await?;
        chosen.read_set(answer.status, &answer.headers, &answer.body).map_err(|rejection| fault(&answer, rejection))
    }

    async fn test(&self, key: &KeyName, secret: &[u8], send: Option<&[u8]>) -> Result<Tested, PlatformError> {
        match (key.purpose, rotation(key.channel), send) {
            (Purpose::Webhook, Some(Rotation::Chosen(chosen)), Some(send)) => {
                self.probe(key.channel, chosen, secret, send).await?;
                Ok(Tested::Accepted)
            }
            (Purpose::Webhook, Some(Rotation::Own(own)), _) => {
                let works = own.works(secret, &key.bot, Timestamp::now());
                works.then_some(Tested::Accepted).ok_or(PlatformError::Shape)
            }
            (Purpose::Webhook, ..) => Ok(Tested::NotTestable),
            (Purpose::Send, ..) => with_platform!(
                key.channel,
                P => self.check::<P>(secret).await,
                webchat => Ok(Tested::NotTestable)
            ),
        }
    }
}

fn fault(answer: &Answer, rejection: impl Into<CheckRejection>) -> PlatformError {
    match answer.echo.cut(rejection.into()) {
        CheckRejection::BadCredential { reason } => PlatformError::Refused(reason),
        CheckRejection::Inconclusive { reason } => PlatformError::Unclear(reason),
    }
}
