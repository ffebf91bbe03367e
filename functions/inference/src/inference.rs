//! A batch of messages.

use std::time::Duration;

use futures_util::future::join_all;
use hoopoe_aws::{Environment, SdkConfig};
use hoopoe_encoder::{Embeddings, EncoderError};
use hoopoe_message::{InboundMessage, Reply, Timestamp, wire};
use hoopoe_queue::consumer::Buried;
use hoopoe_queue::{Batch, BatchResponse, Consumer, QueueSender, Record};
use hoopoe_store::sessions::{Place, WriteError};
use hoopoe_store::{Session, Sessions};
use hoopoe_telemetry::count;
use lambda_runtime::Error;

use crate::answer::{Answer, Answerer, question};

/// A message that came before its predecessor is waited with for this long before it goes back to the queue.
const WAIT: Duration = Duration::from_millis(300);
const WAIT_STEP: Duration = Duration::from_millis(30);

/// How long a message that goes back to the queue stays invisible.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// Everything that answering takes.
pub(crate) struct Inference {
    answerer: Answerer,
    inbound: Consumer,
    outbound: QueueSender,
    sessions: Sessions,
    gap: Duration,
}

/// A message with its record in the queue.
struct Pending {
    message: InboundMessage,
    record: Record,
    /// Where its question's embedding is, if it has one.
    row: Option<usize>,
}

/// What came of one conversation in a round.
struct Outcome {
    /// Replies to queue, each with the record that may leave the queue then.
    replies: Vec<(Reply, Record)>,
    /// Messages whose turn has not come, or whose session somebody else wrote meanwhile.
    early: Vec<Pending>,
    /// Messages that could not be handled and stay in the queue.
    failed: Vec<Record>,
}

impl Inference {
    /// Reads the environment and loads model and knowledge.
    ///
    /// # Errors
    ///
    /// Names the variable or file that is missing or wrong.
    pub(crate) fn new(environment: Environment, config: &SdkConfig) -> Result<Self, Error> {
        Ok(Self {
            answerer: Answerer::load(&environment.task_root()?)?,
            inbound: Consumer::new(
                config,
                environment.required("INBOUND_QUEUE_URL")?,
                environment.required("INBOUND_DLQ_URL")?,
            ),
            outbound: QueueSender::new(config, environment.required("OUTBOUND_QUEUE_URL")?),
            sessions: Sessions::new(
                config,
                environment.required("SESSIONS_TABLE")?,
                Duration::from_secs(environment.parsed("SESSION_TTL_SECONDS")?),
            ),
            gap: Duration::from_millis(environment.parsed("ORDER_GAP_MILLISECONDS")?),
        })
    }

    /// Answers a batch. What is early is tried again for a moment, then goes back to the queue.
    pub(crate) async fn handle(&self, batch: Batch) -> BatchResponse {
        let mut response = BatchResponse::default();
        let mut pending = Vec::with_capacity(batch.records.len());
        for record in batch.records {
            match wire::decode::<InboundMessage>(&record.body) {
                Ok(message) => pending.push(Pending { message, record, row: None }),
                Err(error) => {
                    count("PoisonMessages", 1, ("Queue", "inbound"));
                    if self.inbound.bury(&record, &error.to_string()).await == Buried::No {
                        response.keep(&record);
                    }
                }
            }
        }
        let embeddings = match self.encode(&mut pending) {
            Ok(embeddings) => embeddings,
            Err(error) => {
                tracing::error!(%error, "messages stay in the queue");
                pending.iter().for_each(|pending| response.keep(&pending.record));
                return response;
            }
        };
        let began = Timestamp::now();
        while !pending.is_empty() {
            pending = self.round(pending, &embeddings, &mut response).await;
            if pending.is_empty() || Timestamp::now().since(began) >= WAIT {
                break;
            }
            tokio::time::sleep(WAIT_STEP).await;
        }
        for Pending { record, .. } in &pending {
            self.inbound.postpone(record, COME_AGAIN).await;
            response.keep(record);
        }
        response
    }

    /// Encodes the questions of the batch together.
    fn encode(&self, pending: &mut [Pending]) -> Result<Embeddings, EncoderError> {
        let mut questions = Vec::with_capacity(pending.len());
        for Pending { message, row, .. } in pending {
            if let Some(question) = question(message) {
                *row = Some(questions.len());
                questions.push(question);
            }
        }
        self.answerer.encode(&questions)
    }

    /// Handles every message whose turn it is, and returns the others.
    async fn round(
        &self,
        pending: Vec<Pending>,
        embeddings: &Embeddings,
        response: &mut BatchResponse,
    ) -> Vec<Pending> {
        let now = Timestamp::now();
        let conversations = by_conversation(pending);
        let names: Vec<_> = conversations.iter().map(|messages| &messages[0].message.conversation).collect();
        let sessions = match self.sessions.read(&names, now).await {
            Ok(sessions) => sessions,
            Err(error) => {
                tracing::error!(%error, "messages stay in the queue");
                conversations.iter().flatten().for_each(|pending| response.keep(&pending.record));
                return Vec::new();
            }
        };
        let outcomes = join_all(
            conversations
                .into_iter()
                .zip(sessions)
                .map(|(messages, session)| self.converse(messages, session, embeddings, now)),
        )
        .await;
        let mut replies = Vec::new();
        let mut early = Vec::new();
        for outcome in outcomes {
            replies.extend(outcome.replies);
            early.extend(outcome.early);
            for record in &outcome.failed {
                response.keep(record);
            }
        }
        let queued = self.outbound.send_all(replies.iter().map(|(reply, _)| (&reply.conversation, reply))).await;
        for ((reply, record), queued) in replies.iter().zip(queued) {
            if let Err(error) = queued {
                // The session has the reply: it is queued when the message comes again.
                tracing::error!(message = %reply.id, %error, "a reply cannot be queued");
                response.keep(record);
            }
        }
        early
    }

    /// Handles the messages of one conversation, in order, until one is early or fails. The session is written once,
    /// before any reply leaves.
    async fn converse(
        &self,
        messages: Vec<Pending>,
        mut session: Session,
        embeddings: &Embeddings,
        now: Timestamp,
    ) -> Outcome {
        let conversation = messages[0].message.conversation.clone();
        let mut outcome = Outcome { replies: Vec::new(), early: Vec::new(), failed: Vec::new() };
        let mut handled: Vec<(Pending, Option<Reply>)> = Vec::new();
        let mut change = Change::None;
        for pending in messages {
            if !outcome.failed.is_empty() {
                outcome.failed.push(pending.record);
                continue;
            }
            if !outcome.early.is_empty() {
                outcome.early.push(pending);
                continue;
            }
            let message = &pending.message;
            let reply = match session.place(message, self.gap, now) {
                Place::Early => {
                    outcome.early.push(pending);
                    continue;
                }
                Place::Handled(turn) => {
                    count("RepeatedMessages", 1, ("Channel", conversation.channel.as_str()));
                    turn.map(|turn| turn.reply(message, now))
                }
                Place::Next => {
                    match self.answerer.answer(message, &mut session, pending.row.map(|row| embeddings.row(row)), now) {
                        Ok(Answer::Say { question, text, suggestions, decision }) => {
                            change = Change::Write;
                            Some(Reply { decision, ..session.record(message, question, text, suggestions, now) })
                        }
                        Ok(Answer::Nothing) => {
                            session.record_silent(message);
                            change = Change::Write;
                            None
                        }
                        Ok(Answer::Leave) => {
                            session.forget();
                            session.record_silent(message);
                            change = Change::Remove;
                            None
                        }
                        Err(error) => {
                            tracing::error!(message = %message.id, %error, "a message stays in the queue");
                            outcome.failed.push(pending.record);
                            continue;
                        }
                    }
                }
            };
            handled.push((pending, reply));
        }
        let written = match change {
            Change::None => Ok(()),
            Change::Write => self.sessions.write(&conversation, &session, now).await,
            Change::Remove => self.sessions.remove(&conversation, &session).await,
        };
        match written {
            Ok(()) => outcome
                .replies
                .extend(handled.into_iter().filter_map(|(pending, reply)| Some((reply?, pending.record)))),
            Err(WriteError::Conflict) => {
                count("SessionConflicts", 1, ("Channel", conversation.channel.as_str()));
                let mut again: Vec<Pending> = handled.into_iter().map(|(pending, _)| pending).collect();
                again.append(&mut outcome.early);
                outcome.early = again;
            }
            Err(WriteError::Store(error)) => {
                tracing::error!(%error, "messages stay in the queue");
                outcome.failed.extend(handled.into_iter().map(|(pending, _)| pending.record));
            }
        }
        outcome
    }
}

/// What happens to a session after its messages are handled.
enum Change {
    None,
    Write,
    Remove,
}

/// The conversations of a batch, each with its messages in order.
fn by_conversation(pending: Vec<Pending>) -> Vec<Vec<Pending>> {
    let mut groups: Vec<Vec<Pending>> = Vec::new();
    for pending in pending {
        match groups.iter_mut().find(|group| group[0].message.conversation == pending.message.conversation) {
            Some(group) => group.push(pending),
            None => groups.push(vec![pending]),
        }
    }
    for group in &mut groups {
        group.sort_by_key(|pending| pending.message.number);
    }
    groups
}
