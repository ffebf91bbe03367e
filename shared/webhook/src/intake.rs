//! Taking a verified message in.

use hoopoe_aws::{Environment, EnvironmentError, SdkConfig};
use hoopoe_channels::Incoming;
use hoopoe_message::{BotId, Channel, ChannelEvent, Content, Conversation, InboundMessage, Timestamp};
use hoopoe_queue::{QueueError, QueueSender};
use hoopoe_store::{Claims, StoreError};

/// Claims messages, numbers them, and puts them into the inbound queue.
#[derive(Clone, Debug)]
pub struct Intake {
    channel: Channel,
    claims: Claims,
    inbound: QueueSender,
}

/// A message that stands in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its place in its conversation, from 1; the same for every repetition of the message.
    pub number: u64,
    /// When it was taken in.
    pub received_at: Timestamp,
    /// It was taken in before.
    pub duplicate: bool,
}

/// A message that was taken in.
#[derive(Clone)]
pub struct Taken {
    /// Whose it is.
    pub conversation: Conversation,
    /// Where its reply has to go.
    pub address: String,
    /// Its place in the conversation.
    pub accepted: Accepted,
    /// Somebody waits for a reply to it; not where the person has left.
    pub awaits_reply: bool,
}

/// A message could not be taken in: the platform must send it again.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The channel wrote a chat that is too long for a key.
    #[error("the chat's id is longer than {} bytes", Conversation::MAX_CHAT_BYTES)]
    Chat,
    /// It could not be claimed.
    #[error(transparent)]
    Claim(#[from] StoreError),
    /// It could not be queued.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl Intake {
    /// Reads CLAIMS_TABLE and INBOUND_QUEUE_URL.
    ///
    /// # Errors
    ///
    /// When one is missing.
    pub fn new(channel: Channel, environment: Environment, config: &SdkConfig) -> Result<Self, EnvironmentError> {
        Ok(Self {
            channel,
            claims: Claims::new(config, environment.required("CLAIMS_TABLE")?),
            inbound: QueueSender::new(config, environment.required("INBOUND_QUEUE_URL")?),
        })
    }

    /// Takes a message in. A message that was claimed before is queued again under its number: perhaps the function
    /// died the first time before it was queued, and if not, inference knows it.
    ///
    /// # Errors
    ///
    /// When it is not certain that the message stands in the queue.
    pub async fn accept(&self, bot: &BotId, incoming: Incoming) -> Result<Taken, IntakeError> {
        if incoming.chat.len() > Conversation::MAX_CHAT_BYTES {
            return Err(IntakeError::Chat);
        }
        let conversation = Conversation { channel: self.channel, bot: bot.clone(), chat: incoming.chat };
        let received_at = Timestamp::now();
        let claim = self.claims.claim(&conversation, &incoming.id, received_at).await?;
        let message = InboundMessage {
            id: incoming.id,
            conversation,
            address: incoming.address,
            number: claim.number,
            received_at,
            previous_at: claim.previous_at,
            language: incoming.language,
            content: incoming.content,
        };
        let awaits_reply = message.content != Content::Event(ChannelEvent::Left);
        self.inbound.send(&message.conversation, &message).await?;
        let accepted = Accepted { number: claim.number, received_at, duplicate: claim.duplicate };
        Ok(Taken { conversation: message.conversation, address: message.address, accepted, awaits_reply })
    }
}
