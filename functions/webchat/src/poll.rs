//! Awaiting an answer.
//!
//! The page asks `GET messages?after=…&wait=…` once it has sent something; this function holds the request back while
//! it looks into the transcript again and again, and answers as soon as the bot has. A page that awaits nothing asks
//! nothing. An answer normally stands in the transcript a third of a second after its question.
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
//! A held request occupies one concurrent execution for its time, so the function's reserved concurrency bounds how
//! many answers can be awaited at once.

use std::time::Duration;

use hoopoe_channels::webchat::api::MAX_MESSAGES;
use hoopoe_message::Conversation;
use hoopoe_store::Entry;
use tokio::time::{Instant, sleep};

use crate::backend::{Backend, BackendError};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// What stands after a place: at once with a `wait` of zero, else when the bot is among those who speak there, or
/// when the time is over.
pub(crate) async fn messages<B: Backend>(
    backend: &B,
    conversation: &Conversation,
    after: u64,
    wait: Duration,
) -> Result<Vec<Entry>, BackendError> {
    let end = Instant::now() + wait;
    let mut pause = FIRST_PAUSE;
    loop {
        let entries = backend.after(conversation, after, MAX_MESSAGES).await?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || entries.len() >= MAX_MESSAGES || entries.iter().any(Entry::is_reply) {
            return Ok(entries);
        }
        sleep(pause.min(left)).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}
