//! What stands behind the routes.

use hoopoe_aws::{Environment, EnvironmentError, SdkConfig};
use hoopoe_channels::Incoming;
use hoopoe_channels::webchat::api::Session;
use hoopoe_channels::webchat::{InvalidToken, Keys, SessionId};
use hoopoe_keyring::{Keyring, KeyringError, Place, Purpose, VerifyError};
use hoopoe_message::{BotId, Channel, Conversation, Timestamp};
use hoopoe_store::{Entry, StoreError, Transcripts};
use hoopoe_webhook::{Accepted, Intake, IntakeError};

/// A bot's keys, the queue and the transcript; AWS in the function, memory in the routes' tests.
pub(crate) trait Backend: Send + Sync {
    /// A token for a session.
    fn mint(
        &self,
        bot: &BotId,
        session: &SessionId,
        now: Timestamp,
    ) -> impl Future<Output = Result<Session, BackendError>> + Send;

    /// The session of a token.
    fn verify(
        &self,
        bot: &BotId,
        token: &str,
        now: Timestamp,
    ) -> impl Future<Output = Result<SessionId, BackendError>> + Send;

    /// Numbers a message and queues it for inference.
    fn accept(&self, bot: &BotId, message: Incoming) -> impl Future<Output = Result<Accepted, BackendError>> + Send;

    /// Writes down what a person said as message `number`.
    fn put_question(
        &self,
        conversation: &Conversation,
        number: u64,
        text: &str,
        at: Timestamp,
    ) -> impl Future<Output = Result<(), BackendError>> + Send;

    /// What stands in the transcript after a place, in order, at most `limit` entries.
    fn after(
        &self,
        conversation: &Conversation,
        seq: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Entry>, BackendError>> + Send;
}

/// Something behind the routes did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackendError {
    #[error(transparent)]
    Keys(#[from] KeyringError),
    #[error(transparent)]
    Token(#[from] InvalidToken),
    #[error(transparent)]
    Intake(#[from] IntakeError),
    #[error(transparent)]
    Transcript(#[from] StoreError),
}

impl From<VerifyError<InvalidToken>> for BackendError {
    fn from(error: VerifyError<InvalidToken>) -> Self {
        match error {
            VerifyError::Rejected(error) => Self::Token(error),
            VerifyError::Keyring(error) => Self::Keys(error),
        }
    }
}

/// The stack that `template.yaml` describes.
#[derive(Debug)]
pub(crate) struct Aws {
    keyring: Keyring<Keys>,
    intake: Intake,
    transcripts: Transcripts,
}

impl Aws {
    /// Reads the variables of the keys, and CLAIMS_TABLE, INBOUND_QUEUE_URL and TRANSCRIPTS_TABLE.
    pub(crate) fn new(environment: Environment, config: &SdkConfig) -> Result<Self, EnvironmentError> {
        Ok(Self {
            keyring: Keyring::new(Place::new(environment, config)?, Channel::Webchat, Purpose::Webhook),
            intake: Intake::new(Channel::Webchat, environment, config)?,
            transcripts: Transcripts::new(config, environment.required("TRANSCRIPTS_TABLE")?),
        })
    }
}

impl Backend for Aws {
    async fn mint(&self, bot: &BotId, session: &SessionId, now: Timestamp) -> Result<Session, BackendError> {
        Ok(self.keyring.get(bot).await?.current().keys.signing_key.mint(bot, session, now))
    }

    async fn verify(&self, bot: &BotId, token: &str, now: Timestamp) -> Result<SessionId, BackendError> {
        let verify = |keys: &Keys| keys.signing_key.verify(bot, token, now);
        Ok(self.keyring.verify(bot, verify, |error| *error == InvalidToken::Forged).await?.value)
    }

    async fn accept(&self, bot: &BotId, message: Incoming) -> Result<Accepted, BackendError> {
        Ok(self.intake.accept(bot, message).await?.accepted)
    }

    async fn put_question(
        &self,
        conversation: &Conversation,
        number: u64,
        text: &str,
        at: Timestamp,
    ) -> Result<(), BackendError> {
        Ok(self.transcripts.put_question(conversation, number, text, at).await?)
    }

    async fn after(&self, conversation: &Conversation, seq: u64, limit: usize) -> Result<Vec<Entry>, BackendError> {
        Ok(self.transcripts.after(conversation, seq, limit, Timestamp::now()).await?)
    }
}
