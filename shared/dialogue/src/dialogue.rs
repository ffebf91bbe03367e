//! A batch of messages.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures_util::future::{join, join_all};
use hoopoe_aws::{Clock, Environment, EnvironmentError, SdkConfig};
use hoopoe_message::{Conversation, InboundMessage, Reply, Timestamp, wire};
use hoopoe_queue::consumer::{Buried, PutOff};
use hoopoe_queue::{Batch, BatchResponse, Consumer, QueueSender, Record};
use hoopoe_store::sessions::{Gathering, Place, WriteError};
use hoopoe_store::{Session, Sessions, Turns};
use hoopoe_telemetry::metrics;

use crate::pending::PendingTurn;
use crate::responder::{Responder, Response, reply};

/// A message that came before its predecessor is waited with for so long before it goes back to the queue, and the first
/// pause before its session is read again; each further one is twice as long.
const WAIT: Duration = Duration::from_millis(300);
const FIRST_PAUSE: Duration = Duration::from_millis(30);

/// How long a message that goes back to the queue because it is early stays invisible.
const EARLY: Duration = Duration::from_secs(1);

/// The pause before a message comes again that could not be handled, and the longest. It doubles from the fifth time on: a
/// failure of a moment is to be over before those after it have waited for long enough.
const FAILED: Duration = Duration::from_secs(1);
const MAX_FAILED: Duration = Duration::from_secs(60);

/// A message that cannot be handled is given up after so long: whoever wrote it has gone.
const GIVEN_UP: Duration = Duration::from_secs(3600);

/// How long the text that stands in for an answer which did not come may be on its way.
const STANDING_IN: Duration = Duration::from_secs(15);

/// Everything that answering takes.
pub struct Dialogue<R> {
    clock: Clock,
    responder: R,
    inbound: Consumer,
    outbound: QueueSender,
    /// Where turns go whose answer comes later; `None` where no function writes such.
    pending: Option<QueueSender>,
    sessions: Sessions,
    turns: Turns,
    gap: Duration,
}

/// A message with its record in the queue.
struct Waiting {
    message: InboundMessage,
    record: Record,
    /// Its place among those that the responder has read.
    at: usize,
    /// It could not be answered together with an earlier one.
    alone: bool,
}

/// A message that was handled, what its session was after it, and what goes on its way.
struct Handled {
    waiting: Waiting,
    session: Session,
    made: Made,
}

/// What a message leads to.
enum Made {
    Reply(Reply),
    Turn { turn: PendingTurn, gather: Duration },
    Together(Gathering),
    Nothing,
}

impl Made {
    const fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Reply(reply) => Some(reply),
            Self::Turn { .. } | Self::Together(_) | Self::Nothing => None,
        }
    }
}

/// What came of one conversation in a round.
#[derive(Default)]
struct Outcome {
    handled: Vec<Handled>,
    /// Messages whose turn has not come.
    early: Vec<Waiting>,
    /// Messages that could not be handled, with the reason of the first.
    failed: Vec<Waiting>,
    reason: String,
}

impl Outcome {
    /// The messages from a place on, which were not handled after all.
    fn take_from(&mut self, at: usize) -> Vec<Waiting> {
        self.handled.split_off(at).into_iter().map(|handled| handled.waiting).collect()
    }
}

impl<R: Responder> Dialogue<R> {
    /// Reads the environment; `responder` answers.
    ///
    /// # Errors
    ///
    /// Names the variable that is missing or wrong.
    pub fn new(environment: Environment, config: &SdkConfig, responder: R) -> Result<Self, EnvironmentError> {
        let (queue, dead) = (environment.required("INBOUND_QUEUE_URL")?, environment.required("INBOUND_DLQ_URL")?);
        let lifetime = Duration::from_secs(environment.parsed("SESSION_TTL_SECONDS")?);
        let sessions = environment.required("SESSIONS_TABLE")?;
        Ok(Self {
            clock: Clock::new(config),
            responder,
            inbound: Consumer::new(config, queue, dead),
            outbound: QueueSender::new(config, environment.required("OUTBOUND_QUEUE_URL")?),
            pending: environment.optional("PENDING_QUEUE_URL").map(|queue| QueueSender::new(config, queue)),
            turns: Turns::new(config, sessions.clone()),
            sessions: Sessions::new(config, sessions, lifetime),
            gap: Duration::from_millis(environment.parsed("ORDER_GAP_MILLISECONDS")?),
        })
    }

    /// Answers a batch. What is early is tried again for a moment, then goes back to the queue.
    pub async fn handle(&self, batch: Batch) -> BatchResponse {
        let mut response = BatchResponse::default();
        let mut waiting = Vec::with_capacity(batch.records.len());
        for record in batch.records {
            match wire::decode::<InboundMessage>(&record.body) {
                Ok(message) => waiting.push(Waiting { message, record, at: waiting.len(), alone: false }),
                Err(error) => {
                    metrics::POISON_MESSAGES.add(1, ["inbound"]);
                    self.give_up(&record, &error.to_string(), &mut response).await;
                }
            }
        }
        let messages: Vec<&InboundMessage> = waiting.iter().map(|waiting| &waiting.message).collect();
        let read = self.responder.read(&messages);
        let (mut left, mut pause) = (WAIT, FIRST_PAUSE);
        loop {
            waiting = self.round(waiting, &read, &mut response).await;
            if waiting.is_empty() || left.is_zero() {
                break;
            }
            let step = pause.min(left);
            tokio::time::sleep(step).await;
            (left, pause) = (left - step, pause * 2);
        }
        for Waiting { record, .. } in &waiting {
            self.put_off(record, EARLY, &mut response).await;
        }
        response
    }

    /// Handles every message whose turn it is, and returns the others.
    async fn round(&self, waiting: Vec<Waiting>, read: &R::Read, response: &mut BatchResponse) -> Vec<Waiting> {
        let now = self.clock.now();
        let conversations = by_conversation(waiting);
        let names: Vec<&Conversation> =
            conversations.iter().map(|messages| &messages[0].message.conversation).collect();
        let sessions = self.sessions.read(&names, now).await;
        let mut outcomes: Vec<Outcome> = conversations
            .into_iter()
            .zip(sessions)
            .map(|(messages, session)| match session {
                Ok(session) => self.converse(messages, session, read, now),
                Err(error) => Outcome { failed: messages, reason: error.to_string(), ..Outcome::default() },
            })
            .collect();
        join_all(outcomes.iter_mut().map(|outcome| self.join(outcome, now))).await;
        self.queue(&mut outcomes, now).await;
        let written = join_all(outcomes.iter().map(|outcome| self.write(outcome, now))).await;
        let mut early = Vec::new();
        for (mut outcome, written) in outcomes.into_iter().zip(written) {
            early.append(&mut outcome.early);
            let again = outcome.handled.into_iter().map(|handled| handled.waiting);
            match written {
                Ok(()) => {}
                Err(WriteError::Conflict) => early.extend(again),
                Err(WriteError::Store(error)) => {
                    outcome.reason = error.to_string();
                    outcome.failed.extend(again);
                }
            }
            for Waiting { message, record, .. } in &outcome.failed {
                self.failed(message, record, &outcome.reason, response).await;
            }
        }
        early
    }

    /// Handles the messages of one conversation, in order, until one is early or fails.
    fn converse(&self, messages: Vec<Waiting>, session: Session, read: &R::Read, now: Timestamp) -> Outcome {
        let mut outcome = Outcome::default();
        let mut session = session;
        for waiting in messages {
            if !outcome.failed.is_empty() {
                outcome.failed.push(waiting);
                continue;
            }
            if !outcome.early.is_empty() {
                outcome.early.push(waiting);
                continue;
            }
            let (message, waited) = (&waiting.message, waiting.record.waited(now));
            match session.place(message, waited, self.gap, self.sessions.lifetime(), now) {
                Place::Early => outcome.early.push(waiting),
                // Its reply is queued, or it has none.
                Place::Handled => metrics::REPEATED_MESSAGES.add(1, [message.conversation.channel.as_str()]),
                Place::Next => {
                    let mut after = session.clone();
                    if waiting.alone {
                        after.stop_gathering(message);
                    }
                    match self.respond(&waiting, &mut after, read, now) {
                        Ok(made) => {
                            session = after.clone();
                            outcome.handled.push(Handled { waiting, session: after, made });
                        }
                        Err(reason) => {
                            outcome.reason = reason;
                            outcome.failed.push(waiting);
                        }
                    }
                }
            }
        }
        outcome
    }

    /// Asks the responder. What goes wrong with one message stays with it, a panic too.
    fn respond(
        &self,
        waiting: &Waiting,
        session: &mut Session,
        read: &R::Read,
        now: Timestamp,
    ) -> Result<Made, String> {
        let message = &waiting.message;
        let answered =
            catch_unwind(AssertUnwindSafe(|| self.responder.respond(read, waiting.at, message, session, now)));
        match answered {
            Ok(Ok(Response::Say(answer))) => {
                let order = session.answer(message, now);
                Ok(Made::Reply(reply(message, order, answer, now)))
            }
            Ok(Ok(Response::Later { deadline, instead, gather })) => {
                let order = session.answer(message, now);
                session.expect_reply(message, deadline.plus(STANDING_IN));
                let gather = if !gather.is_zero() && session.gather(message) { gather } else { Duration::ZERO };
                let turn = PendingTurn { message: message.clone(), order, deadline, instead };
                Ok(Made::Turn { turn, gather })
            }
            Ok(Ok(Response::Together(gathering))) => {
                session.pass(message, now);
                Ok(Made::Together(gathering))
            }
            Ok(Ok(Response::Nothing)) => {
                session.pass(message, now);
                Ok(Made::Nothing)
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("answering it panicked".into()),
        }
    }

    /// Lets messages be answered together with earlier ones. Where that is too late, the message and those after it are
    /// handled anew in the next round.
    async fn join(&self, outcome: &mut Outcome, now: Timestamp) {
        for at in 0..outcome.handled.len() {
            let Handled { waiting, made: Made::Together(gathering), .. } = &outcome.handled[at] else { continue };
            match self.turns.join(*gathering, &waiting.message, now).await {
                Ok(true) => {}
                Ok(false) => {
                    let mut left = outcome.take_from(at);
                    left[0].alone = true;
                    outcome.early.splice(0..0, left);
                    return;
                }
                Err(error) => {
                    outcome.reason = error.to_string();
                    let left = outcome.take_from(at);
                    outcome.failed.splice(0..0, left);
                    return;
                }
            }
        }
    }

    /// Queues the replies of all conversations together. What comes after one that is not queued was not handled.
    async fn queue(&self, outcomes: &mut [Outcome], now: Timestamp) {
        let replies = outcomes.iter().flat_map(|outcome| &outcome.handled).filter_map(|handled| handled.made.reply());
        let queued = self.outbound.send_all(replies.map(|reply| (&reply.conversation, reply))).await;
        let mut queued = queued.into_iter();
        for outcome in outcomes {
            let mut failed = None;
            for (at, handled) in outcome.handled.iter().enumerate() {
                let queued = match &handled.made {
                    Made::Reply(_) => queued.next().unwrap_or(Ok(())).map_err(|error| error.to_string()),
                    Made::Turn { turn, gather } if failed.is_none() => self.queue_turn(turn, *gather, now).await,
                    Made::Turn { .. } | Made::Together(_) | Made::Nothing => Ok(()),
                };
                failed = failed.or(queued.err().map(|reason| (at, reason)));
            }
            if let Some((at, reason)) = failed {
                outcome.reason = reason;
                let unqueued = outcome.take_from(at);
                outcome.failed.splice(0..0, unqueued);
            }
        }
    }

    /// Queues a turn for its author, and a copy that comes at its deadline.
    async fn queue_turn(&self, turn: &PendingTurn, gather: Duration, now: Timestamp) -> Result<(), String> {
        let pending = self.pending.as_ref().ok_or("there is no queue for turns that are answered later")?;
        let queue = |delay| pending.send_later(&turn.message.conversation, turn, delay);
        let (now, later) = join(queue(gather), queue(turn.deadline.since(now))).await;
        now.and(later).map_err(|error| error.to_string())
    }

    async fn write(&self, outcome: &Outcome, now: Timestamp) -> Result<(), WriteError> {
        let Some(Handled { waiting, session, .. }) = outcome.handled.last() else { return Ok(()) };
        let conversation = &waiting.message.conversation;
        let written = self.sessions.write(conversation, session, now).await;
        if matches!(written, Err(WriteError::Conflict)) {
            metrics::SESSION_CONFLICTS.add(1, [conversation.channel.as_str()]);
        }
        written
    }

    /// A message could not be handled: it comes again in seconds, and is given up in the end.
    async fn failed(&self, message: &InboundMessage, record: &Record, reason: &str, response: &mut BatchResponse) {
        tracing::error!(message = %message.id, reason, "a message comes again");
        if self.clock.now().since(message.received_at) >= GIVEN_UP && record.receives() > 1 {
            return self.give_up(record, reason, response).await;
        }
        let pause = FAILED * 2_u32.pow(record.receives().clamp(4, 10) - 4);
        self.put_off(record, pause.min(MAX_FAILED), response).await;
    }

    async fn give_up(&self, record: &Record, reason: &str, response: &mut BatchResponse) {
        if self.inbound.bury(record, reason).await == Buried::No {
            self.put_off(record, MAX_FAILED, response).await;
        }
    }

    async fn put_off(&self, record: &Record, pause: Duration, response: &mut BatchResponse) {
        if self.inbound.put_off(record, pause).await == PutOff::Kept {
            response.keep(record);
        }
    }
}

/// The conversations of a batch, each with its messages in order.
fn by_conversation(waiting: Vec<Waiting>) -> Vec<Vec<Waiting>> {
    let mut groups: Vec<Vec<Waiting>> = Vec::new();
    for one in waiting {
        match groups.iter_mut().find(|group| group[0].message.conversation == one.message.conversation) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    for group in &mut groups {
        group.sort_by_key(|waiting| waiting.message.number);
    }
    groups
}

#[cfg(test)]
mod tests;
