//! Awaiting an answer.
//!
//! The page asks `GET messages?after=…&wait=…` once it has sent something; this function holds the request back while
//! it looks into the transcript again and again, and answers as soon as the bot has. A page that awaits nothing asks
//! nothing. An answer normally stands in the transcript a third of a second after its question.
//!
//! # What a held request may cost the others
//!
//! A held request occupies one of the account's concurrent executions, which the functions that compute and send the
//! answers share: whoever holds them all waits for nothing. Anybody can open a session. So a request is held only
//!
//! - while the last thing said in its session is a question younger than [`FRESH`] without an answer,
//! - for [`MAX_WAIT_SECONDS`] at most, and
//! - for as long as this environment can spare: it holds requests for a quarter of its time ([`Spare`]). Lambda starts an
//!   environment only when all others are busy, so of those that there are a quarter is held at most in the long run,
//!   however many requests come; and a new one, as in a flood, holds none.
//!
//! Any other request is answered at once, in milliseconds, with the time after which to ask again, which grows with the
//! age of the question. The parameter `WebhookReservedConcurrency` bounds what is left: the number of requests.
//!
//! # Why not WebSocket or an event stream
//!
//! By list prices in us-east-1 (Lambda $0.20 per million requests and $0.0000133334 on arm64 or $0.0000166667 on x86
//! per GB-second; DynamoDB $0.125 per million consistent reads of up to 4 KB; API Gateway WebSocket $1.00 per million
//! messages and $0.25 per million connection minutes), with a look every 50 ms that slows to 250 ms, which is 5 looks
//! in 0.35 s:
//!
//! | | per million answers | per page open for 1 h, idle |
//! |---|---|---|
//! | long poll, 128 MB arm64 | 0.20 + 0.35 s × 0.125 GB × 13.33 + 5 × 0.125 = $1.41 | nothing |
//! | long poll, 256 MB x86 | 0.20 + 0.35 s × 0.25 GB × 16.67 + 5 × 0.125 = $2.28 | nothing |
//! | WebSocket | question and answer as messages = $2.00, and a function call for the question = $0.20 and its time | 60 minutes = $0.000015, and calls to connect and disconnect |
//! | event stream, 128 MB arm64 | as the long poll while open, or nothing more where it is always open | 3600 s × 0.125 GB × $0.0000133334 = $0.006 |
//!
//! So long polling costs about what a WebSocket costs while people talk and nothing while they do not, and it needs
//! no second API, no table of connections, no right for deliver to post to them, and no code for a connection that
//! breaks: a lost poll is simply asked again. An event stream is a function that runs as long as the page is open.
//! What long polling does not do is tell an idle page of something new; a bot that only answers has nothing to tell.
//!
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hoopoe_channels::webchat::api::{MAX_MESSAGES, MAX_WAIT_SECONDS};
use hoopoe_message::{Conversation, Timestamp};
use hoopoe_store::Entry;
use tokio::time::{Instant, sleep};

use crate::backend::{Backend, BackendError};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// How old a question may be for its answer to be held for. An answer that takes longer is asked for at intervals.
pub(crate) const FRESH: Duration = Duration::from_secs(10);

/// One part in so many of an environment's time is spent on held requests.
const SHARE: u32 = 4;

/// A page asks again after a quarter of the time that it has waited, within these bounds.
const SOONEST: Duration = Duration::from_millis(200);
const LATEST: Duration = Duration::from_secs(2);

/// How long this environment may hold requests: it saves up a quarter of the time that passes, up to one long request.
#[derive(Debug)]
pub(crate) struct Spare(Mutex<Saved>);

#[derive(Debug)]
struct Saved {
    time: Duration,
    at: Instant,
}

impl Spare {
    /// That of a new environment, which has none.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Saved { time: Duration::ZERO, at: Instant::now() }))
    }

    /// Takes up to `wanted`; what is not used is given back.
    fn take(&self, wanted: Duration) -> Duration {
        let mut saved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let time = saved.time + now.duration_since(saved.at) / SHARE;
        let time = time.min(Duration::from_secs(MAX_WAIT_SECONDS));
        let taken = wanted.min(time);
        *saved = Saved { time: time - taken, at: now };
        taken
    }

    fn give_back(&self, unused: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).time += unused;
    }
}

/// What stands after a place.
pub(crate) struct Found {
    pub(crate) entries: Vec<Entry>,
    /// When the bot is not among those who speak there: after what time to look again.
    pub(crate) retry_after: Option<Duration>,
}

/// What stands after a place: at once with a `wait` of zero or when no new question is open there, else when the bot has
/// answered, or when the time is over.
pub(crate) async fn messages<B: Backend>(
    backend: &B,
    spare: &Spare,
    conversation: &Conversation,
    after: u64,
    wait: Duration,
) -> Result<Found, BackendError> {
    let mut entries = backend.after(conversation, after, MAX_MESSAGES).await?;
    let age = |entries: &[Entry]| entries.last().map(|question| Timestamp::now().since(question.at));
    let open = |entries: &[Entry]| entries.len() < MAX_MESSAGES && !entries.iter().any(Entry::is_reply);
    if open(&entries) {
        let fresh = age(&entries).map_or(Duration::ZERO, |age| FRESH.saturating_sub(age));
        let held = spare.take(wait.min(fresh));
        let end = Instant::now() + held;
        let mut pause = FIRST_PAUSE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !open(&entries) {
                spare.give_back(left);
                break;
            }
            sleep(pause.min(left)).await;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
            entries = backend.after(conversation, after, MAX_MESSAGES).await?;
        }
    }
    let retry_after = open(&entries).then(|| age(&entries).map_or(LATEST, interval));
    Ok(Found { entries, retry_after })
}

/// After what time to ask again for the answer to a question of this age.
fn interval(age: Duration) -> Duration {
    (age / 4).clamp(SOONEST, LATEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_takes_long_is_asked_for_less_often() {
        let millis = |age| interval(Duration::from_millis(age)).as_millis();
        assert_eq!([0, 700, 2000, 6000, 60_000].map(millis), [200, 200, 500, 1500, 2000]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_environment_saves_up_a_quarter_of_its_time_and_no_more_than_one_long_request() {
        let spare = Spare::new();
        let second = Duration::from_secs(1);
        assert_eq!(spare.take(second), Duration::ZERO, "a new one has none");
        sleep(second).await;
        assert_eq!(spare.take(second), second / 4);
        assert_eq!(spare.take(second), Duration::ZERO, "side by side they share it");
        sleep(100 * second).await;
        let longest = Duration::from_secs(MAX_WAIT_SECONDS);
        assert_eq!(spare.take(100 * second), longest);
        spare.give_back(second);
        assert_eq!(spare.take(100 * second), second);
    }
}
