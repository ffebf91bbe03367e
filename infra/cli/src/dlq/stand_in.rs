//! SQS on a bad day, for tests: it shuffles, repeats, gives nothing although it has something, and counts wrong. It has a
//! dead-letter queue and the queue that letters go back to, and also a table of send records, which is empty.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_sdk_sqs::primitives::{DateTime, DateTimeFormat};
use hoopoe_message::Timestamp;
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use super::letters::{BATCH, BATCH_BYTES};
use crate::stack::Stack;

/// How the stand-in behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mood {
    /// Of a hundred letters that are hidden, so many come again in each call.
    pub(super) repeats: u32,
    /// Of a hundred calls, so many give nothing.
    pub(super) gives_nothing: u32,
    /// What it says when it is asked how many letters are there; `None` for the truth.
    pub(super) counts: Option<usize>,
    /// How far its clock is ahead of this machine's, in seconds.
    pub(super) ahead: i64,
    /// How long a letter stays hidden for which sixty seconds are asked.
    pub(super) minute: Duration,
    /// How long it takes over giving letters.
    pub(super) takes: Duration,
    /// What is queued again becomes a dead letter at once.
    pub(super) dies_anew: bool,
    /// A message with these words is not taken.
    pub(super) refuses: Option<&'static str>,
    /// After so many calls that queue messages, there is no such queue.
    pub(super) vanishes_after: Option<usize>,
}

impl Default for Mood {
    fn default() -> Self {
        let (hour, none) = (Duration::from_secs(3600), Duration::ZERO);
        let (dies_anew, refuses, vanishes_after) = (false, None, None);
        let (repeats, gives_nothing, counts, ahead) = (1, 25, None, 0);
        Self { repeats, gives_nothing, counts, ahead, minute: hour, takes: none, dies_anew, refuses, vanishes_after }
    }
}

struct Letter {
    id: u64,
    body: String,
    hidden_until: Option<Instant>,
}

impl Letter {
    fn is_hidden(&self) -> bool {
        self.hidden_until.is_some_and(|until| Instant::now() < until)
    }
}

struct Queues {
    mood: Mood,
    random: fastrand::Rng,
    next: u64,
    letters: Vec<Letter>,
    sent: Vec<String>,
    calls: BTreeMap<String, usize>,
    renewed: usize,
}

/// The server.
pub(super) struct StandIn {
    server: MockServer,
    queues: Arc<Mutex<Queues>>,
}

impl StandIn {
    pub(super) async fn start(mood: Mood, bodies: Vec<String>) -> Self {
        let (random, calls) = (fastrand::Rng::with_seed(7), BTreeMap::new());
        let mut queues = Queues { mood, random, next: 0, letters: vec![], sent: vec![], calls, renewed: 0 };
        bodies.into_iter().for_each(|body| queues.bury(body));
        let queues = Arc::new(Mutex::new(queues));
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(Answers(Arc::clone(&queues))).mount(&server).await;
        Self { server, queues }
    }

    pub(super) fn config(&self) -> SdkConfig {
        Stack::local_config(&self.server.uri())
    }

    pub(super) fn url(&self) -> String {
        self.server.uri()
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was queued again, in order.
    pub(super) fn sent(&self) -> Vec<String> {
        self.queues().sent.clone()
    }

    /// The letters that are in the queue, and how many of them are hidden.
    pub(super) fn left(&self) -> (Vec<String>, usize) {
        let queues = self.queues();
        let hidden = queues.letters.iter().filter(|letter| letter.is_hidden()).count();
        (queues.letters.iter().map(|letter| letter.body.clone()).collect(), hidden)
    }

    /// How often it was called so.
    pub(super) fn calls(&self, action: &str) -> usize {
        self.queues().calls.get(action).copied().unwrap_or(0)
    }

    /// How many letters were hidden anew.
    pub(super) fn renewed(&self) -> usize {
        self.queues().renewed
    }
}

struct Answers(Arc<Mutex<Queues>>);

impl Respond for Answers {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let target = request.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
        let action = target.rsplit('.').next().unwrap_or_default();
        let body: Value = request.body_json().expect("JSON");
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (status, answer) = queues.answer(action, &body);
        let now = i64::try_from(Timestamp::now().as_secs()).expect("not so late") + queues.mood.ahead;
        let date = DateTime::from_secs(now).fmt(DateTimeFormat::HttpDate).expect("a date");
        let takes = if action == "ReceiveMessage" { queues.mood.takes } else { Duration::ZERO };
        ResponseTemplate::new(status).set_body_json(answer).insert_header("date", date).set_delay(takes)
    }
}

impl Queues {
    fn bury(&mut self, body: String) {
        self.next += 1;
        self.letters.push(Letter { id: self.next, body, hidden_until: None });
    }

    fn answer(&mut self, action: &str, body: &Value) -> (u16, Value) {
        *self.calls.entry(action.to_owned()).or_default() += 1;
        let answer = match action {
            "GetQueueAttributes" => self.count(),
            "ReceiveMessage" => self.receive(body),
            "ChangeMessageVisibilityBatch" => each(body, |entry| {
                let seconds = u32::try_from(entry["VisibilityTimeout"].as_u64().expect("seconds")).expect("few");
                let until = Instant::now() + self.mood.minute * seconds / 60;
                self.renewed += usize::from(seconds > 0);
                self.letter(entry).map(|letter| letter.hidden_until = Some(until)).ok_or("ReceiptHandleIsInvalid")
            }),
            "DeleteMessageBatch" => each(body, |entry| {
                let id = id_of(entry);
                self.letters.retain(|letter| letter.id != id);
                Ok(())
            }),
            "SendMessageBatch" if self.mood.vanishes_after.is_some_and(|after| self.calls[action] > after) => {
                return (400, json!({"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "no"}));
            }
            "SendMessageBatch" => self.send(body),
            // The table of send records has no item.
            "GetItem" => json!({}),
            other => panic!("not expected: {other}"),
        };
        (200, answer)
    }

    fn count(&self) -> Value {
        let hidden = self.letters.iter().filter(|letter| letter.is_hidden()).count();
        let visible = self.mood.counts.unwrap_or(self.letters.len() - hidden);
        json!({"Attributes": {
            "ApproximateNumberOfMessages": visible.to_string(),
            "ApproximateNumberOfMessagesNotVisible": hidden.to_string(),
        }})
    }

    fn receive(&mut self, body: &Value) -> Value {
        if self.random.u32(0..100) < self.mood.gives_nothing {
            return json!({});
        }
        let most = usize::try_from(body["MaxNumberOfMessages"].as_u64().expect("a number")).expect("few");
        assert!((1..=BATCH).contains(&most), "SQS gives ten");
        let until = Instant::now()
            + self.mood.minute * u32::try_from(body["VisibilityTimeout"].as_u64().expect("seconds")).expect("few") / 60;
        self.random.shuffle(&mut self.letters);
        let mut given = Vec::new();
        for letter in &mut self.letters {
            if given.len() == most {
                break;
            }
            if letter.is_hidden() && self.random.u32(0..100) >= self.mood.repeats {
                continue;
            }
            letter.hidden_until = Some(until);
            let handle = format!("{}#{}", letter.id, self.random.u32(..));
            given.push(json!({
                "MessageId": letter.id.to_string(), "ReceiptHandle": handle, "Body": letter.body,
                "Attributes": {"SentTimestamp": (1_700_000_000_000 + letter.id).to_string()},
            }));
        }
        json!({ "Messages": given })
    }

    fn send(&mut self, body: &Value) -> Value {
        let entries = body["Entries"].as_array().expect("entries");
        let bytes: usize = entries.iter().filter_map(|entry| entry["MessageBody"].as_str()).map(str::len).sum();
        assert!(entries.len() == 1 || bytes <= BATCH_BYTES, "{bytes} bytes are too many");
        each(body, |entry| {
            let message = entry["MessageBody"].as_str().expect("a text").to_owned();
            if self.mood.refuses.is_some_and(|words| message.contains(words)) {
                return Err("InvalidMessageContents");
            }
            if self.mood.dies_anew {
                self.bury(message.clone());
            }
            self.sent.push(message);
            Ok(())
        })
    }

    fn letter(&mut self, entry: &Value) -> Option<&mut Letter> {
        let id = id_of(entry);
        self.letters.iter_mut().find(|letter| letter.id == id)
    }
}

fn id_of(entry: &Value) -> u64 {
    let handle = entry["ReceiptHandle"].as_str().expect("a handle");
    handle.split_once('#').and_then(|(id, _)| id.parse().ok()).expect("one that was given")
}

/// Answers a call of several entries.
fn each(body: &Value, mut one: impl FnMut(&Value) -> Result<(), &'static str>) -> Value {
    let entries = body["Entries"].as_array().expect("entries");
    assert!((1..=BATCH).contains(&entries.len()), "SQS takes one to ten entries");
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for entry in entries {
        match one(entry) {
            Ok(()) => successful.push(json!({"Id": entry["Id"], "MessageId": "new", "MD5OfMessageBody": ""})),
            Err(code) => failed.push(json!({"Id": entry["Id"], "SenderFault": true, "Code": code})),
        }
    }
    json!({"Successful": successful, "Failed": failed})
}
