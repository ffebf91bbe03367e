//! Replies of accounts that may not send: they go out in answer to WeChat's own request.
//!
//! WeChat waits 5 s for an answer, and asks again with the same message where none came, three times in all
//! (被动回复用户消息). So a request is held until the reply is there. Where it is not there in time the request gets no
//! answer, which makes WeChat ask again; the last of them is acknowledged, and the reply goes along with the answer to
//! the person's next message.

use std::time::Duration;

use hoopoe_channels::contract::sender::numbered;
use hoopoe_channels::wechat::Wechat;
use hoopoe_channels::{Response, Webhook};
use hoopoe_message::Timestamp;
use hoopoe_store::{Entry, StoreError, Transcripts};
use hoopoe_telemetry::metrics;
use hoopoe_webhook::{Extension, Taken};
use tokio::time::{Instant, sleep};

/// An answer that leaves after this may come too late.
const HOLD: Duration = Duration::from_millis(4500);

/// After this WeChat has hung up.
const HUNG_UP: Duration = Duration::from_millis(5500);

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Waits for replies in the transcript.
pub(crate) struct Passive {
    pub(crate) transcripts: Transcripts,
}

impl Extension<Wechat> for Passive {
    async fn answer(&self, keys: &<Wechat as Webhook>::Keys, taken: &[Taken], answer: Response) -> Response {
        let began = Instant::now();
        let Some(message) = taken.first().filter(|message| keys.is_passive() && message.awaits_reply) else {
            return answer;
        };
        let last_try = Wechat::is_last_try(&message.address, Timestamp::now());
        match self.replies(message, began, last_try).await {
            Ok(replies) if replies.is_empty() => {
                if !last_try {
                    // Silence makes WeChat ask again; an answer would end it.
                    sleep((began + HUNG_UP).saturating_duration_since(Instant::now())).await;
                }
                metrics::LATE_REPLIES.add(1, ["wechat"]);
                answer
            }
            Ok(replies) => rendered(keys, message, &replies).unwrap_or(answer),
            Err(error) => {
                tracing::error!(%error, "a reply cannot be fetched");
                answer
            }
        }
    }
}

impl Passive {
    /// The replies that the person has not had yet, once that to this message is among them. Without it, on the last
    /// try those that are there; else none.
    async fn replies(&self, message: &Taken, began: Instant, last_try: bool) -> Result<Vec<Entry>, StoreError> {
        let Taken { conversation, accepted, .. } = message;
        let mut pause = FIRST_PAUSE;
        loop {
            let now = Timestamp::now();
            let there = !self.transcripts.after(conversation, 2 * accepted.number, 1, now).await?.is_empty();
            let left = HOLD.saturating_sub(began.elapsed());
            if there || (left.is_zero() && last_try) {
                return self.transcripts.take_replies(conversation, accepted.number, now).await;
            }
            if left.is_zero() {
                return Ok(Vec::new());
            }
            sleep(pause.min(left)).await;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }
}

/// The replies as one answer; the suggestions are those of the last.
fn rendered(keys: &<Wechat as Webhook>::Keys, message: &Taken, replies: &[Entry]) -> Option<Response> {
    let (last, earlier) = replies.split_last()?;
    let mut texts: Vec<String> = earlier.iter().map(|reply| reply.text.clone()).collect();
    texts.push(numbered(&last.text, &last.suggestions));
    let mut random = [0; 16];
    getrandom::fill(&mut random).ok()?;
    match Wechat::passive_answer(keys, &message.address, &texts.join("\n\n"), random, Timestamp::now()) {
        Ok(response) => {
            metrics::SENT.add(1, ["wechat"]);
            Some(response)
        }
        Err(error) => {
            tracing::error!(%error, "a reply cannot be rendered");
            None
        }
    }
}
