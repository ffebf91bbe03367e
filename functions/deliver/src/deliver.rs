//! A batch of replies.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use hoopoe_aws::{Environment, SdkConfig};
use hoopoe_channels::{Retry, with_platform};
use hoopoe_keyring::{Place, Quotas, Tokens};
use hoopoe_message::{Channel, Reply, Timestamp, wire};
use hoopoe_queue::consumer::{Buried, PutOff};
use hoopoe_queue::{Batch, BatchResponse, Consumer, Record};
use hoopoe_store::sends::{Attempt, Settled, by_conversation};
use hoopoe_store::{Begin, Sends, StoreError, Transcripts};
use hoopoe_telemetry::{count, duration};
use lambda_runtime::Error;

use crate::platform::{ANSWER, Api, CONNECT, End, Means, Platform, Start, Webchat};

/// A reply the platform does not take is tried this often before it goes to the dead-letter queue.
const MAX_ATTEMPTS: u32 = 6;

/// A reply is not begun when less than this is left of the invocation: one part, and an access token for it.
const RESERVE: Duration = Duration::from_secs(12);

/// A reply whose predecessor is on its way is waited with for this long before it goes back to the queue.
const PATIENCE: Duration = Duration::from_millis(500);
const PATIENCE_STEP: Duration = Duration::from_millis(50);

/// The longest pause before a further attempt; a platform that asks for more is asked again then.
const MAX_PAUSE: Duration = Duration::from_secs(900);

/// The first pause where the platform refuses the bot's secret; each further one is twice as long. Together they are four
/// minutes, in which the operator can store the new secret.
const BAD_CREDENTIAL_PAUSE: Duration = Duration::from_secs(8);

/// A reply that waits for its bot's quota looks again after this at the latest: the quota may be a larger one by then.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

/// A reply that has waited for its bot's quota for so long is given up: whoever asked has gone. It is less than the queue's
/// retention of four days, so that none is dropped without a word.
const MAX_WAIT: Duration = Duration::from_secs(3 * 24 * 3600);

/// Everything that sending takes.
pub(crate) struct Deliver {
    outbound: Consumer,
    sends: Sends,
    keys: Place,
    means: Means,
    /// Made at their first reply: most bots live on a few of them.
    platforms: Mutex<HashMap<Channel, Arc<dyn Platform>>>,
}

/// What becomes of a reply's record in the queue.
enum Verdict {
    Done,
    Again(Duration),
}

impl Deliver {
    /// Reads the environment.
    ///
    /// # Errors
    ///
    /// Names the variable that is missing or wrong.
    pub(crate) fn new(environment: Environment, config: &SdkConfig) -> Result<Self, Error> {
        // Fails only where a provider is installed already, and nothing else installs one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("hoopoe")
            .build()?;
        let tokens = Tokens::new(config, environment.required("TOKENS_TABLE")?, environment.required("KMS_KEY")?);
        let quotas = Quotas::new(config, environment.required("USAGE_TABLE")?);
        let transcripts = Transcripts::new(config, environment.required("TRANSCRIPTS_TABLE")?);
        let gap = Duration::from_millis(environment.parsed("ORDER_GAP_MILLISECONDS")?);
        Ok(Self {
            outbound: Consumer::new(
                config,
                environment.required("OUTBOUND_QUEUE_URL")?,
                environment.required("OUTBOUND_DLQ_URL")?,
            ),
            sends: Sends::new(config, environment.required("SENDS_TABLE")?, gap),
            keys: Place::new(environment, config)?,
            means: Means { http, tokens: Arc::new(tokens), quotas: Arc::new(quotas), transcripts },
            platforms: Mutex::default(),
        })
    }

    fn platform(&self, channel: Channel) -> Arc<dyn Platform> {
        let mut platforms = self.platforms.lock().unwrap_or_else(PoisonError::into_inner);
        let platform = platforms.entry(channel).or_insert_with(|| {
            let means = self.means.clone();
            with_platform!(
                channel,
                P => Arc::new(Api::<P>::new(self.keys.clone(), means)),
                webchat => Arc::new(Webchat(means))
            )
        });
        Arc::clone(platform)
    }

    /// Sends a batch: conversations side by side, the replies of each in order.
    pub(crate) async fn handle(&self, batch: Batch, deadline: Timestamp) -> BatchResponse {
        let mut response = BatchResponse::default();
        let mut replies = Vec::with_capacity(batch.records.len());
        for record in batch.records {
            match wire::decode::<Reply>(&record.body) {
                Ok(reply) => replies.push((reply, record)),
                Err(error) => {
                    if self.outbound.bury(&record, &error.to_string()).await == Buried::No {
                        response.keep(&record);
                    }
                }
            }
        }
        let conversations = by_conversation(replies);
        let verdicts = join_all(conversations.into_iter().map(|replies| self.converse(replies, deadline))).await;
        for record in verdicts.iter().flatten() {
            response.keep(record);
        }
        response
    }

    /// Sends the replies of one conversation and returns the records that stay in the queue.
    async fn converse(&self, replies: Vec<(Reply, Record)>, deadline: Timestamp) -> Vec<Record> {
        let (mut kept, mut wait) = (Vec::new(), None);
        for (reply, record) in replies {
            // Once one must wait, so must those after it: they are begun again with the next batch.
            let verdict = match wait {
                None => self.deliver(&reply, &record, deadline).await,
                Some(pause) => Verdict::Again(pause),
            };
            if let Verdict::Again(pause) = verdict {
                wait = Some(pause);
                if self.outbound.put_off(&record, pause).await == PutOff::Kept {
                    kept.push(record);
                }
            }
        }
        kept
    }

    async fn deliver(&self, reply: &Reply, record: &Record, deadline: Timestamp) -> Verdict {
        let now = Timestamp::now();
        if deadline.since(now) < RESERVE {
            return Verdict::Again(Duration::from_secs(1));
        }
        let (mut attempt, unknown) = match self.begin(reply, deadline, now).await {
            Ok(Begin::Send(attempt)) => (attempt, false),
            Ok(Begin::Settled) => {
                count("RepeatedReplies", 1, ("Channel", reply.conversation.channel.as_str()));
                return Verdict::Done;
            }
            Ok(Begin::Wait(pause)) => return Verdict::Again(pause),
            Ok(Begin::Unknown(attempt)) => (attempt, true),
            Err(error) => {
                tracing::error!(reply = %reply.id, %error, "a send cannot be recorded and is not begun");
                return Verdict::Again(Duration::from_secs(5));
            }
        };
        let platform = self.platform(reply.conversation.channel);
        let sent = platform.send(reply, Start { part: attempt.part, unknown, deadline }).await;
        // A part that went out leaves no doubt about it; what is unknown is the one after.
        attempt.in_doubt = matches!(sent.end, End::Unknown { .. }) || (attempt.in_doubt && sent.parts == attempt.part);
        attempt.part = sent.parts;
        match sent.end {
            End::Sent => self.settle(reply, &attempt).await,
            End::Refused { reason, retry: Retry::Never } => self.give_up(reply, record, &attempt, &reason).await,
            End::Refused { reason, .. } if attempt.attempt >= MAX_ATTEMPTS => {
                let reason = format!("not taken in {MAX_ATTEMPTS} attempts, the last time because: {reason}");
                self.give_up(reply, record, &attempt, &reason).await
            }
            End::Refused { reason, retry } => self.postpone(reply, &attempt, &reason, retry).await,
            End::Throttled { pause } => self.throttle(reply, record, attempt, pause).await,
            End::Unknown { reason, again: true } if attempt.attempt < MAX_ATTEMPTS => {
                self.postpone(reply, &attempt, &reason, Retry::Backoff).await
            }
            End::Unknown { reason, .. } => {
                let reason = format!("{reason}, so the platform may have it: it is not sent again by itself");
                self.give_up(reply, record, &attempt, &reason).await
            }
        }
    }

    /// Begins a reply, and waits a moment where its turn is about to come.
    async fn begin(&self, reply: &Reply, deadline: Timestamp, began: Timestamp) -> Result<Begin, StoreError> {
        loop {
            let now = Timestamp::now();
            match self.sends.begin(reply, deadline, now).await? {
                Begin::Wait(_) if now.since(began) < PATIENCE => tokio::time::sleep(PATIENCE_STEP).await,
                begin => return Ok(begin),
            }
        }
    }

    async fn settle(&self, reply: &Reply, attempt: &Attempt) -> Verdict {
        let channel = reply.conversation.channel.as_str();
        let now = Timestamp::now();
        if let Err(error) = self.sends.settle(reply, attempt, Settled::Sent, now).await {
            // It is sent, so it must leave the queue; the next reply waits a moment for this one in vain.
            tracing::error!(reply = %reply.id, %error, "a reply was sent but that cannot be recorded");
        }
        count("Sent", 1, ("Channel", channel));
        duration("AnswerTime", now.since(reply.received_at), ("Channel", channel));
        Verdict::Done
    }

    async fn postpone(&self, reply: &Reply, attempt: &Attempt, reason: &str, retry: Retry) -> Verdict {
        let pause = match retry {
            Retry::After(pause) => pause.clamp(Duration::from_secs(1), MAX_PAUSE),
            // Whoever changes a secret in a platform's console needs a moment to store the new one here.
            Retry::BadCredential => BAD_CREDENTIAL_PAUSE * (1 << (attempt.attempt - 1).min(MAX_ATTEMPTS)),
            // Exponential back-off with full jitter.
            Retry::Never | Retry::Backoff | Retry::NewToken | Retry::Fallback => {
                Duration::from_millis(fastrand::u64(500..=1000 << attempt.attempt.min(5)))
            }
        };
        tracing::warn!(reply = %reply.id, attempt = attempt.attempt, reason, ?pause, "a send is tried again");
        count("Retries", 1, ("Channel", reply.conversation.channel.as_str()));
        if let Err(error) = self.sends.postpone(reply, attempt, pause, Timestamp::now()).await {
            tracing::error!(reply = %reply.id, %error, "a refused send cannot be recorded");
        }
        Verdict::Again(pause)
    }

    /// The bot's quota is used up: the reply waits in the queue, and that was no attempt.
    async fn throttle(&self, reply: &Reply, record: &Record, mut attempt: Attempt, pause: Duration) -> Verdict {
        let (now, channel) = (Timestamp::now(), reply.conversation.channel.as_str());
        let waited = now.since(reply.created_at);
        if waited > MAX_WAIT {
            return self.give_up(reply, record, &attempt, "it waited three days for the bot's quota").await;
        }
        count("Throttled", 1, ("Channel", channel));
        // Many wait for the same moment. Up to as long again as it has waited spreads them out, and lets each look a
        // number of times that grows with the logarithm of its wait only.
        let spread = u64::try_from(waited.min(MAX_PAUSE).as_millis()).expect("15 minutes fit");
        let pause = pause.max(Duration::from_secs(1)) + Duration::from_millis(fastrand::u64(0..=spread));
        let pause = pause.min(LOOK_AGAIN);
        tracing::info!(reply = %reply.id, ?pause, "a send waits for its bot's quota");
        attempt.attempt = attempt.attempt.saturating_sub(1);
        if let Err(error) = self.sends.postpone(reply, &attempt, pause, now).await {
            tracing::error!(reply = %reply.id, %error, "a send that waits cannot be recorded");
        }
        Verdict::Again(pause)
    }

    async fn give_up(&self, reply: &Reply, record: &Record, attempt: &Attempt, reason: &str) -> Verdict {
        if self.outbound.bury(record, reason).await == Buried::No {
            return Verdict::Again(Duration::from_secs(30));
        }
        if let Err(error) = self.sends.settle(reply, attempt, Settled::Dead, Timestamp::now()).await {
            tracing::error!(reply = %reply.id, %error, "a dead reply cannot be recorded");
        }
        count("DeadReplies", 1, ("Channel", reply.conversation.channel.as_str()));
        Verdict::Done
    }
}
