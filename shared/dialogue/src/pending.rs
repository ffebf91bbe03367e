//! Answers that come later: a turn is asked, and another function answers it, within seconds or minutes.
//!
//! The turn stands in a queue of its own. Whoever takes it out has it for himself for a while, asks the [`Author`], stores
//! the answer, and only then queues the reply. A second copy of the turn comes at its deadline: if nothing is stored by
//! then, a text of the pack that says so is stored and sent in its place. What was stored first stays, so that nothing is
//! said twice whatever else comes, and nothing is written, or paid, a second time once it is there.
//!
//! Later messages of the conversation are taken in meanwhile. Their replies know until when this one may come, and the
//! function that sends them waits for it. Where the [`Responder`](crate::Responder) says so, the turn waits for a moment
//! before it is begun, and those that come until then are answered together with it.

use std::time::Duration;

use futures_util::future::join_all;
use hoopoe_aws::{Clock, SdkConfig};
use hoopoe_message::{InboundMessage, Timestamp, wire};
use hoopoe_queue::consumer::{Buried, PutOff};
use hoopoe_queue::{Batch, BatchResponse, Consumer, QueueSender, Record};
use hoopoe_store::Turns;
use hoopoe_store::sessions::Order;
use hoopoe_store::turns::{Answer, Write};
use serde::{Deserialize, Serialize};

use crate::responder::reply;

/// What is left of a function's time for storing the answer and queueing the reply.
const STORING: Duration = Duration::from_secs(5);

/// The pause before an author that failed is asked again, and before another function's answer is looked for.
const AGAIN: Duration = Duration::from_secs(1);

/// A turn on its way to its author.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct PendingTurn {
    /// What was asked.
    pub message: InboundMessage,
    /// How its reply stands to those before it.
    #[serde(flatten)]
    pub order: Order,
    /// Until when an answer is of use.
    pub deadline: Timestamp,
    /// What is said where there is none by then.
    pub instead: String,
}

/// Writes answers, in its own time.
pub trait Author: Send + Sync {
    /// Why it cannot write one. It is asked again as long as there is time.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Writes the answer of a turn, and of the messages that are answered together with it: later ones, in their order.
    ///
    /// # Errors
    ///
    /// When it cannot.
    fn write(
        &self,
        turn: &PendingTurn,
        joined: &[InboundMessage],
    ) -> impl Future<Output = Result<Answer, Self::Error>> + Send;
}

/// Drains the queue of pending turns.
pub struct Pending<A> {
    clock: Clock,
    author: A,
    queue: Consumer,
    outbound: QueueSender,
    turns: Turns,
}

impl<A: Author> Pending<A> {
    /// Takes turns from `queue`, and queues replies to `outbound`.
    #[must_use]
    pub fn new(config: &SdkConfig, queue: Consumer, outbound: QueueSender, turns: Turns, author: A) -> Self {
        Self { clock: Clock::new(config), author, queue, outbound, turns }
    }

    /// Answers a batch of turns, side by side. `deadline` is when Lambda ends this function.
    pub async fn handle(&self, batch: Batch, deadline: Timestamp) -> BatchResponse {
        let mut response = BatchResponse::default();
        let kept = join_all(batch.records.iter().map(|record| self.one(record, deadline))).await;
        for record in kept.into_iter().flatten() {
            response.keep(record);
        }
        response
    }

    /// Answers a turn; the record, where it stays in the queue.
    async fn one<'r>(&self, record: &'r Record, deadline: Timestamp) -> Option<&'r Record> {
        let turn = match wire::decode::<PendingTurn>(&record.body) {
            Ok(turn) => turn,
            Err(error) => {
                let buried = self.queue.bury(record, &error.to_string()).await;
                return (buried == Buried::No).then_some(record);
            }
        };
        let pause = match self.answer(&turn, deadline).await {
            Ok(()) => return None,
            Err(pause) => pause,
        };
        // It is looked at again at its deadline at the latest.
        let left = turn.deadline.since(self.clock.now());
        (self.queue.put_off(record, pause.min(left.max(AGAIN))).await == PutOff::Kept).then_some(record)
    }

    /// Answers a turn and queues its reply, or says after what pause to try again.
    async fn answer(&self, turn: &PendingTurn, deadline: Timestamp) -> Result<(), Duration> {
        let (conversation, number) = (&turn.message.conversation, turn.message.number);
        let now = self.clock.now();
        let late = now >= turn.deadline;
        let answer = if late {
            let instead = Answer { text: turn.instead.clone(), suggestions: Vec::new(), decision: None };
            self.turns.answer(conversation, number, instead, now).await
        } else {
            let until = turn.deadline.min(now.plus(deadline.since(now).saturating_sub(STORING)));
            match self.turns.begin(conversation, number, until, now).await {
                Ok(Write::Written(answer)) => Ok(answer),
                Ok(Write::Wait(pause)) => return Err(pause.max(AGAIN)),
                Ok(Write::Yes(joined)) => match self.ask(turn, &joined, until).await {
                    Some(answer) => self.turns.answer(conversation, number, answer, self.clock.now()).await,
                    None => {
                        // Where this fails too, another function begins once the time is over.
                        let _ = self.turns.release(conversation, number, self.clock.now()).await;
                        return Err(AGAIN);
                    }
                },
                Err(error) => Err(error),
            }
        };
        let answer = answer.map_err(|error| {
            tracing::error!(message = %turn.message.id, %error, "an answer cannot be stored");
            AGAIN
        })?;
        let reply = reply(&turn.message, turn.order, answer, self.clock.now());
        self.outbound.send(conversation, &reply).await.map_err(|error| {
            tracing::error!(message = %turn.message.id, %error, "a reply cannot be queued");
            AGAIN
        })
    }

    /// Asks the author, as long as there is time.
    async fn ask(&self, turn: &PendingTurn, joined: &[InboundMessage], until: Timestamp) -> Option<Answer> {
        let time = until.since(self.clock.now());
        match tokio::time::timeout(time, self.author.write(turn, joined)).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                tracing::warn!(message = %turn.message.id, %error, "an author gave no answer");
                None
            }
            Err(_) => {
                tracing::warn!(message = %turn.message.id, "an author gave no answer in time");
                None
            }
        }
    }
}
