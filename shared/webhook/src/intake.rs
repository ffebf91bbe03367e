//! Taking verified messages in.

use std::collections::HashMap;

use futures_util::stream::{self, StreamExt};
use hoopoe_aws::{Clock, Environment, EnvironmentError, SdkConfig};
use hoopoe_channels::Incoming;
use hoopoe_message::{BotId, Channel, ChannelEvent, Content, Conversation, InboundMessage, Timestamp};
use hoopoe_queue::{QueueError, QueueSender};
use hoopoe_store::{Claims, Event, StoreError};
use tokio::time::{Instant, timeout_at};

/// Of how many conversations messages are claimed at the same time.
const CONVERSATIONS: usize = 32;

/// How many messages are queued with one call; SQS takes no more.
const QUEUED_AT_ONCE: usize = 10;

/// How many of those calls are made at the same time.
const CALLS: usize = 8;

/// Claims messages, numbers them, and puts them into the inbound queue.
#[derive(Clone, Debug)]
pub struct Intake {
    channel: Channel,
    clock: Clock,
    claims: Claims,
    inbound: QueueSender,
}

/// A message that stands in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its place in its conversation; the same for every repetition of the message.
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
    /// The function's time was over.
    #[error(
        "there was not enough time to take all messages of the request in; those that are missing come with its repetition"
    )]
    Late,
}

/// A message that has its number, and its place in the request.
struct Claimed {
    at: usize,
    message: InboundMessage,
    duplicate: bool,
}

impl Intake {
    /// Reads CLAIMS_TABLE and INBOUND_QUEUE_URL.
    ///
    /// # Errors
    ///
    /// When one is missing.
    pub fn new(channel: Channel, environment: Environment, config: &SdkConfig) -> Result<Self, EnvironmentError> {
        let (claims, inbound) = (environment.required("CLAIMS_TABLE")?, environment.required("INBOUND_QUEUE_URL")?);
        Ok(Self::of(channel, config, claims, inbound))
    }

    /// One with the table of this name and the queue at this URL.
    #[must_use]
    pub fn of(channel: Channel, config: &SdkConfig, claims: String, inbound: String) -> Self {
        let (claims, inbound) = (Claims::new(config, claims), QueueSender::new(config, inbound));
        Self { channel, clock: Clock::new(config), claims, inbound }
    }

    /// Takes a message in. A message that was claimed before is queued again under its number: perhaps the function
    /// died the first time before it was queued, and if not, inference knows it.
    ///
    /// # Errors
    ///
    /// When it is not certain that the message stands in the queue.
    pub async fn accept(&self, bot: &BotId, incoming: Incoming) -> Result<Taken, IntakeError> {
        let conversation = self.conversation(bot, &incoming)?;
        let claimed = self.claim(&conversation, vec![(0, incoming)]).await?.pop().ok_or(IntakeError::Late)?;
        self.inbound.send(&claimed.message.conversation, &claimed.message).await?;
        Ok(claimed.taken())
    }

    /// Takes in all messages of a request that it can until then, each as [`accept`](Self::accept) does: conversations side
    /// by side, the messages of one in their order. Returns those that stand in the queue, in the order of the request, and
    /// why others do not, if so. The others come with the next repetition of the request, in which those that were taken in
    /// are queued once more under their numbers.
    pub async fn accept_all(
        &self,
        bot: &BotId,
        incoming: Vec<Incoming>,
        until: Instant,
    ) -> (Vec<Taken>, Option<IntakeError>) {
        let (mut taken, mut fault) = (Vec::with_capacity(incoming.len()), None);
        let mut chats: HashMap<String, usize> = HashMap::new();
        let mut conversations: Vec<(Conversation, Vec<(usize, Incoming)>)> = Vec::new();
        for (at, message) in incoming.into_iter().enumerate() {
            match self.conversation(bot, &message) {
                Ok(conversation) => {
                    let place = *chats.entry(message.chat.clone()).or_insert(conversations.len());
                    if place == conversations.len() {
                        conversations.push((conversation, Vec::new()));
                    }
                    conversations[place].1.push((at, message));
                }
                Err(error) => fault = Some(error),
            }
        }
        // Each time from another one on: where the time is never enough for all, each has its turn with some repetition.
        let first = fastrand::usize(..conversations.len().max(1));
        conversations.rotate_left(first);
        let claimed = stream::iter(conversations)
            .map(|(conversation, messages)| self.claims_of(conversation, messages))
            .buffer_unordered(CONVERSATIONS)
            .flat_map(stream::iter);
        let queued = claimed.chunks(QUEUED_AT_ONCE).map(|batch| self.queue(batch)).buffer_unordered(CALLS);
        let mut queued = std::pin::pin!(queued);
        loop {
            match timeout_at(until, queued.next()).await {
                Ok(Some(batch)) => {
                    for result in batch {
                        match result {
                            Ok(claimed) => taken.push(claimed),
                            Err(error) => fault = Some(error),
                        }
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    fault = Some(IntakeError::Late);
                    break;
                }
            }
        }
        taken.sort_unstable_by_key(|claimed| claimed.at);
        (taken.into_iter().map(Claimed::taken).collect(), fault)
    }

    fn conversation(&self, bot: &BotId, incoming: &Incoming) -> Result<Conversation, IntakeError> {
        if incoming.chat.len() > Conversation::MAX_CHAT_BYTES {
            return Err(IntakeError::Chat);
        }
        Ok(Conversation { channel: self.channel, bot: bot.clone(), chat: incoming.chat.clone() })
    }

    /// Claims a conversation's messages. After a failure none is queued: the repetition finds what was claimed.
    async fn claims_of(
        &self,
        conversation: Conversation,
        messages: Vec<(usize, Incoming)>,
    ) -> Vec<Result<Claimed, IntakeError>> {
        match self.claim(&conversation, messages).await {
            Ok(claimed) => claimed.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        }
    }

    async fn claim(
        &self,
        conversation: &Conversation,
        messages: Vec<(usize, Incoming)>,
    ) -> Result<Vec<Claimed>, IntakeError> {
        let received_at = self.clock.now();
        let events: Vec<Event<'_>> =
            messages.iter().map(|(_, message)| Event { id: &message.id, sent_at: message.sent_at }).collect();
        let claims = self.claims.claim(conversation, &events, received_at).await?;
        let claimed = messages.into_iter().zip(claims).map(|((at, message), claim)| {
            let message = InboundMessage {
                id: message.id,
                conversation: conversation.clone(),
                address: message.address,
                number: claim.number,
                received_at,
                previous_at: claim.previous_at,
                language: message.language,
                content: message.content,
            };
            Claimed { at, message, duplicate: claim.duplicate }
        });
        Ok(claimed.collect())
    }

    /// Queues what was claimed.
    async fn queue(&self, batch: Vec<Result<Claimed, IntakeError>>) -> Vec<Result<Claimed, IntakeError>> {
        let (claimed, mut results): (Vec<_>, Vec<_>) = batch.into_iter().partition(Result::is_ok);
        let claimed: Vec<Claimed> = claimed.into_iter().flatten().collect();
        let messages: Vec<(&Conversation, &InboundMessage)> =
            claimed.iter().map(|one| (&one.message.conversation, &one.message)).collect();
        let sent = self.inbound.send_all(messages).await;
        results.extend(claimed.into_iter().zip(sent).map(|(one, sent)| sent.map(|()| one).map_err(IntakeError::from)));
        results
    }
}

impl Claimed {
    fn taken(self) -> Taken {
        let Self { message, duplicate, .. } = self;
        let awaits_reply = message.content != Content::Event(ChannelEvent::Left);
        let accepted = Accepted { number: message.number, received_at: message.received_at, duplicate };
        Taken { conversation: message.conversation, address: message.address, accepted, awaits_reply }
    }
}
