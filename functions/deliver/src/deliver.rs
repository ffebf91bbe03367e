//! A batch of replies.

use std::time::Duration;

use futures_util::future::join_all;
use hoopoe_aws::{Environment, SdkConfig};
use hoopoe_channels::telegram::Telegram;
use hoopoe_channels::wecom::Wecom;
use hoopoe_channels::{Retry, Sender};
use hoopoe_keyring::{Keyring, Purpose};
use hoopoe_message::{Channel, Reply, Timestamp, wire};
use hoopoe_queue::consumer::Buried;
use hoopoe_queue::{Batch, BatchResponse, Consumer, Record};
use hoopoe_store::sends::{Attempt, Settled, by_conversation};
use hoopoe_store::{Begin, Sends, StoreError, Transcripts};
use hoopoe_telemetry::{count, duration};
use lambda_runtime::Error;

use crate::platform::{End, Platform, Sent};

/// A reply the platform does not take is tried this often before it goes to the dead-letter queue.
const MAX_ATTEMPTS: u32 = 6;

/// How long a platform may take to answer one request.
const ANSWER: Duration = Duration::from_secs(8);
const CONNECT: Duration = Duration::from_secs(3);

/// A reply is not begun when less than this is left of the invocation: two parts with an access token each.
const RESERVE: Duration = Duration::from_secs(12);

/// A reply whose predecessor is on its way is waited with for this long before it goes back to the queue.
const PATIENCE: Duration = Duration::from_millis(500);
const PATIENCE_STEP: Duration = Duration::from_millis(50);

/// The longest pause before a further attempt; a platform that asks for more is asked again then.
const MAX_PAUSE: Duration = Duration::from_secs(900);

/// Everything that sending takes.
pub(crate) struct Deliver {
    outbound: Consumer,
    sends: Sends,
    transcripts: Transcripts,
    telegram: Platform<Telegram>,
    wecom: Platform<Wecom>,
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
        let keys = environment.required("KEYS_TABLE")?;
        let gap = Duration::from_millis(environment.parsed("ORDER_GAP_MILLISECONDS")?);
        Ok(Self {
            outbound: Consumer::new(
                config,
                environment.required("OUTBOUND_QUEUE_URL")?,
                environment.required("OUTBOUND_DLQ_URL")?,
            ),
            sends: Sends::new(config, environment.required("SENDS_TABLE")?, gap),
            transcripts: Transcripts::new(config, environment.required("TRANSCRIPTS_TABLE")?),
            telegram: platform(config, &keys, &http),
            wecom: platform(config, &keys, &http),
        })
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
        let mut kept = Vec::new();
        for (reply, record) in replies {
            // Once one must wait, so must those after it: they are begun again with the next batch.
            let verdict = if kept.is_empty() {
                self.deliver(&reply, &record, deadline).await
            } else {
                Verdict::Again(Duration::from_secs(1))
            };
            if let Verdict::Again(pause) = verdict {
                self.outbound.postpone(&record, pause).await;
                kept.push(record);
            }
        }
        kept
    }

    async fn deliver(&self, reply: &Reply, record: &Record, deadline: Timestamp) -> Verdict {
        let now = Timestamp::now();
        if deadline.since(now) < RESERVE {
            return Verdict::Again(Duration::from_secs(1));
        }
        let mut attempt = match self.begin(reply, deadline, now).await {
            Ok(Begin::Send(attempt)) => attempt,
            Ok(Begin::Settled) => {
                count("RepeatedReplies", 1, ("Channel", reply.conversation.channel.as_str()));
                return Verdict::Done;
            }
            Ok(Begin::Wait(pause)) => return Verdict::Again(pause),
            Ok(Begin::Unknown(attempt)) if idempotent(reply.conversation.channel) => attempt,
            Ok(Begin::Unknown(attempt)) => {
                let reason = "the function ended during the send, so the platform may have it: it is not sent again";
                return self.give_up(reply, record, &attempt, reason).await;
            }
            Err(error) => {
                tracing::error!(reply = %reply.id, %error, "a send cannot be recorded and is not begun");
                return Verdict::Again(Duration::from_secs(5));
            }
        };
        let sent = self.send(reply, attempt.part).await;
        attempt.part = sent.parts;
        match sent.end {
            End::Sent => self.settle(reply, &attempt).await,
            End::Refused { reason, retry: Retry::Never } => self.give_up(reply, record, &attempt, &reason).await,
            End::Refused { reason, .. } if attempt.attempt >= MAX_ATTEMPTS => {
                let reason = format!("not taken in {MAX_ATTEMPTS} attempts, the last time because: {reason}");
                self.give_up(reply, record, &attempt, &reason).await
            }
            End::Refused { reason, retry } => self.postpone(reply, &attempt, &reason, retry).await,
            End::Unknown { reason } if idempotent(reply.conversation.channel) => {
                self.postpone(reply, &attempt, &reason, Retry::Backoff).await
            }
            End::Unknown { reason } => {
                let reason = format!("{reason}, so the platform may have it: it is not sent again");
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

    async fn send(&self, reply: &Reply, from: usize) -> Sent {
        match reply.conversation.channel {
            Channel::Telegram => self.telegram.send(reply, from).await,
            Channel::Wecom => self.wecom.send(reply, from).await,
            Channel::Webchat => match self.transcripts.put_reply(reply, Timestamp::now()).await {
                Ok(()) => Sent { parts: 1, end: End::Sent },
                Err(error) => Sent { parts: 0, end: End::Refused { reason: error.to_string(), retry: Retry::Backoff } },
            },
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
            // Exponential back-off with full jitter.
            Retry::Never | Retry::Backoff | Retry::NewToken => {
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

fn platform<S: Sender>(config: &SdkConfig, keys_table: &str, http: &reqwest::Client) -> Platform<S> {
    Platform::new(Keyring::new(config, keys_table.to_owned(), S::CHANNEL, Purpose::Send), http.clone())
}

/// Whether a send whose outcome is unknown may be repeated.
const fn idempotent(channel: Channel) -> bool {
    match channel {
        Channel::Telegram => Telegram::IDEMPOTENT,
        Channel::Wecom => Wecom::IDEMPOTENT,
        // A transcript entry has its place: written twice, it is there once.
        Channel::Webchat => true,
    }
}
