//! A batch of replies.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use hoopoe_aws::{Clock, Environment, EnvironmentError, SdkConfig};
use hoopoe_channels::with_platform;
use hoopoe_keyring::{Place, Quotas, Tokens};
use hoopoe_message::{Channel, Reply, Timestamp, wire};
use hoopoe_queue::consumer::{Buried, PutOff};
use hoopoe_queue::{Batch, BatchResponse, Consumer, Record};
use hoopoe_store::sends::{Attempt, Settled, by_conversation};
use hoopoe_store::{Sends, Transcripts};
use hoopoe_telemetry::metrics;

use crate::api::{Api, Means, Platform, Webchat};
use crate::http::Http;
use crate::passage::{End, Passage};
use crate::retry::{self, History, Kind, Next};

/// A reply whose handling broke off comes again after this pause, and after growing ones later.
const BROKEN_OFF: Duration = Duration::from_secs(5);

/// Everything that sending takes.
pub struct Delivery<H> {
    clock: Clock,
    outbound: Consumer,
    sends: Sends,
    keys: Place,
    gap: Duration,
    means: Arc<Means<H>>,
    /// Made at their first reply: most bots live on a few of them.
    platforms: Mutex<HashMap<Channel, Arc<dyn Platform>>>,
}

/// What becomes of a reply's record in the queue.
#[derive(Clone, Copy)]
enum Verdict {
    Done,
    Again(Duration),
}

impl<H: Http> Delivery<H> {
    /// Reads the environment; requests go out by `http`.
    ///
    /// # Errors
    ///
    /// Names the variable that is missing or wrong.
    pub fn new(environment: Environment, config: &SdkConfig, http: H) -> Result<Self, EnvironmentError> {
        let gap = Duration::from_millis(environment.parsed("ORDER_GAP_MILLISECONDS")?);
        let (queue, dead) = (environment.required("OUTBOUND_QUEUE_URL")?, environment.required("OUTBOUND_DLQ_URL")?);
        let means = Means {
            http,
            clock: Clock::new(config),
            tokens: Tokens::new(config, environment.required("TOKENS_TABLE")?, environment.required("KMS_KEY")?),
            quotas: Quotas::new(config, environment.required("USAGE_TABLE")?).among(concurrency(environment)?),
            transcripts: Transcripts::new(config, environment.required("TRANSCRIPTS_TABLE")?),
        };
        Ok(Self {
            clock: Clock::new(config),
            outbound: Consumer::new(config, queue, dead),
            sends: Sends::new(config, environment.required("SENDS_TABLE")?, gap),
            keys: Place::new(environment, config)?,
            gap,
            means: Arc::new(means),
            platforms: Mutex::default(),
        })
    }

    fn platform(&self, channel: Channel) -> Arc<dyn Platform> {
        let mut platforms = self.platforms.lock().unwrap_or_else(PoisonError::into_inner);
        let platform = platforms.entry(channel).or_insert_with(|| {
            let means = Arc::clone(&self.means);
            with_platform!(
                channel,
                P => Arc::new(Api::<P, H>::new(self.keys.clone(), means)),
                webchat => Arc::new(Webchat(means))
            )
        });
        Arc::clone(platform)
    }

    /// Sends a batch: conversations side by side, the replies of each in order. `deadline` is when Lambda ends this
    /// function.
    pub async fn handle(&self, batch: Batch, deadline: Timestamp) -> BatchResponse {
        let mut response = BatchResponse::default();
        let mut replies = Vec::with_capacity(batch.records.len());
        for record in batch.records {
            match wire::decode::<Reply>(&record.body) {
                Ok(reply) => replies.push((reply, record)),
                Err(error) => {
                    if self.outbound.bury(&record, &error.to_string()).await == Buried::No {
                        self.outbound.postpone(&record, BROKEN_OFF).await;
                        response.keep(&record);
                    }
                }
            }
        }
        let conversations = by_conversation(replies);
        let kept = join_all(conversations.iter().map(|replies| self.isolated(replies, deadline))).await;
        for record in kept.into_iter().flatten() {
            response.keep(record);
        }
        response
    }

    /// Sends the replies of one conversation and returns the records that stay in the queue. Whatever goes wrong stays
    /// with this conversation, a panic too.
    async fn isolated<'r>(&self, replies: &'r [(Reply, Record)], deadline: Timestamp) -> Vec<&'r Record> {
        match AssertUnwindSafe(self.converse(replies, deadline)).catch_unwind().await {
            Ok(kept) => kept,
            Err(_) => {
                tracing::error!("the replies of a conversation stay in the queue, because handling them panicked");
                for (_, record) in replies {
                    self.outbound.postpone(record, BROKEN_OFF * record.receives()).await;
                }
                replies.iter().map(|(_, record)| record).collect()
            }
        }
    }

    async fn converse<'r>(&self, replies: &'r [(Reply, Record)], deadline: Timestamp) -> Vec<&'r Record> {
        let (mut kept, mut wait) = (Vec::new(), None);
        for (reply, record) in replies {
            // Once one must wait, so must those after it: they are begun again with the next batch.
            let verdict = match wait {
                None => self.deliver(reply, record, deadline).await,
                Some(pause) => Verdict::Again(pause),
            };
            if let Verdict::Again(pause) = verdict {
                wait = Some(pause);
                if self.outbound.put_off(record, pause).await == PutOff::Kept {
                    kept.push(record);
                }
            }
        }
        kept
    }

    async fn deliver(&self, reply: &Reply, record: &Record, deadline: Timestamp) -> Verdict {
        let waited = record.waited(self.clock.now());
        let mut passage = Passage::new(reply, &self.sends, &self.clock, deadline, waited);
        // One that came before mostly waits for another, and would take a turn within the quota in vain.
        let looked = if record.receives() > 1 { passage.look().await } else { Ok(()) };
        let ended = match looked {
            Ok(()) => self.platform(reply.conversation.channel).send(&mut passage).await,
            waits => waits,
        };
        match ended {
            Ok(()) => {
                passage.settle().await;
                let channel = [reply.conversation.channel.as_str()];
                metrics::SENT.add(1, channel);
                metrics::ANSWER_TIME.record(self.clock.now().since(reply.received_at), channel);
                Verdict::Done
            }
            Err(End::Settled) => {
                metrics::REPEATED_REPLIES.add(1, [reply.conversation.channel.as_str()]);
                Verdict::Done
            }
            Err(End::Wait(pause)) => self.wait(reply, pause).await,
            Err(End::Failed { kind, reason }) => self.failed(record, waited, passage, kind, reason).await,
        }
    }

    /// Those after it must not take it for one that does not come.
    async fn wait(&self, reply: &Reply, pause: Duration) -> Verdict {
        if let Err(error) = self.sends.hold(reply, pause, self.clock.now()).await {
            tracing::warn!(reply = %reply.id, %error, "that a reply waits cannot be recorded");
        }
        Verdict::Again(pause)
    }

    async fn failed(
        &self,
        record: &Record,
        waited: Duration,
        mut passage: Passage<'_>,
        kind: Kind,
        reason: String,
    ) -> Verdict {
        let (now, reply) = (self.clock.now(), passage.reply);
        if let Some(attempt) = passage.attempt_mut() {
            attempt.refusals += u32::from(matches!(kind, Kind::Refused(_) | Kind::Unknown { .. }));
            attempt.in_doubt |= matches!(kind, Kind::Unknown { .. });
        }
        let refusals = passage.attempt_mut().map_or(0, |attempt| attempt.refusals);
        let history = History { refusals, age: now.since(reply.created_at) };
        match retry::next(kind, history, fastrand::f64()) {
            Next::Again(pause) => {
                self.again(reply, waited, passage.into_attempt(), kind, &reason, pause, now).await;
                Verdict::Again(pause)
            }
            Next::GiveUp => {
                // It is given up in its turn: those after it would take it for the last one, and pass those before it.
                if passage.attempt_mut().is_none()
                    && let Err(End::Wait(pause)) = passage.look().await
                {
                    return self.wait(reply, pause).await;
                }
                self.give_up(reply, record, passage.into_attempt(), kind, &reason, history).await
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "all that is known of a reply that failed")]
    async fn again(
        &self,
        reply: &Reply,
        waited: Duration,
        attempt: Option<Attempt>,
        kind: Kind,
        reason: &str,
        pause: Duration,
        now: Timestamp,
    ) {
        let metric = if matches!(kind, Kind::Throttled(_)) { metrics::THROTTLED } else { metrics::RETRIES };
        metric.add(1, [reply.conversation.channel.as_str()]);
        tracing::warn!(reply = %reply.id, reason, ?pause, "a send is tried again");
        let recorded = match attempt {
            Some(mut attempt) => self.sends.postpone(reply, &mut attempt, pause, now).await,
            // Those after it wait for a moment anyway.
            None if waited + pause < self.gap => Ok(()),
            None => self.sends.hold(reply, pause, now).await,
        };
        if let Err(error) = recorded {
            tracing::error!(reply = %reply.id, %error, "that a send is tried again cannot be recorded");
        }
    }

    async fn give_up(
        &self,
        reply: &Reply,
        record: &Record,
        attempt: Option<Attempt>,
        kind: Kind,
        reason: &str,
        history: History,
    ) -> Verdict {
        let reason = match kind {
            Kind::Unknown { .. } => format!("{reason}, so the platform may have it: it is not sent again by itself"),
            _ if history.refusals > 1 => {
                format!("not taken in {} attempts, the last time because: {reason}", history.refusals)
            }
            _ => reason.to_owned(),
        };
        if self.outbound.bury(record, &reason).await == Buried::No {
            return Verdict::Again(Duration::from_secs(30));
        }
        let now = self.clock.now();
        let recorded = match attempt {
            Some(attempt) => self.sends.settle(reply, &attempt, Settled::Dead, now).await,
            None => self.sends.give_up(reply, now).await,
        };
        if let Err(error) = recorded {
            tracing::error!(reply = %reply.id, %error, "a dead reply cannot be recorded");
        }
        metrics::DEAD_REPLIES.add(1, [reply.conversation.channel.as_str()]);
        Verdict::Done
    }
}

/// How many of these functions Lambda runs at the same time; `None` if that is not limited.
fn concurrency(environment: Environment) -> Result<Option<NonZeroU32>, EnvironmentError> {
    const NAME: &str = "DELIVER_CONCURRENCY";
    match environment.optional(NAME).as_deref() {
        None | Some("none") => Ok(None),
        Some(_) => environment.parsed(NAME).map(Some),
    }
}

#[cfg(test)]
mod tests;
