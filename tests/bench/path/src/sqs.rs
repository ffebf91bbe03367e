//! SQS, and the event source mappings that feed it to a function.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::counts::Counts;
use crate::lambda::Function;
use crate::latency::Latencies;

/// Of both queues in `template.yaml`.
const VISIBILITY: Duration = Duration::from_secs(180);

/// How often what has become visible again is looked for.
const SWEEP: Duration = Duration::from_millis(20);

/// "Lambda starts processing five batches at a time … increases … by up to 300 more instances per minute"
/// (Lambda developer guide, "Configuring scaling behavior for SQS event source mappings").
const FIRST_POLLERS: usize = 5;
const MORE_POLLERS: (usize, Duration) = (5, Duration::from_secs(1));

/// Both queues, and their dead-letter queues.
pub(crate) struct Sqs {
    queues: HashMap<&'static str, Arc<Queue>>,
    latencies: Latencies,
}

/// A standard queue.
pub(crate) struct Queue {
    name: &'static str,
    max_receives: u32,
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Message>,
    /// By receipt handle, with the time when it becomes visible again.
    in_flight: HashMap<String, (Message, Instant)>,
    /// Messages that were sent and wait for their delay.
    on_the_way: usize,
    dead: usize,
}

#[derive(Clone)]
pub(crate) struct Message {
    id: String,
    body: String,
    group: Option<String>,
    sent: u128,
    receives: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    queue_url: String,
    message_body: Option<String>,
    message_group_id: Option<String>,
    delay_seconds: Option<u64>,
    receipt_handle: Option<String>,
    visibility_timeout: Option<u64>,
    #[serde(default)]
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    id: String,
    message_body: String,
    message_group_id: Option<String>,
}

/// How a mapping hands batches to its function.
#[derive(Clone, Copy)]
pub(crate) struct Mapping {
    /// At most so many batches at once: `MaximumConcurrency`.
    pub(crate) concurrency: usize,
    /// Waits until so many messages are there, for a second at most; 1 is what `template.yaml` says, more is for counting
    /// full batches.
    pub(crate) at_least: usize,
}

/// How long a mapping waits for more messages where it is told to.
const WINDOW: Duration = Duration::from_secs(1);

/// `BatchSize` in `template.yaml`.
pub(crate) const BATCH: usize = 10;

impl Sqs {
    pub(crate) fn new(latencies: Latencies) -> Arc<Self> {
        let queues = [("inbound", 10), ("outbound", 20), ("inbound-dlq", u32::MAX), ("outbound-dlq", u32::MAX)];
        let queue = |(name, max_receives)| {
            (name, Arc::new(Queue { name, max_receives, state: Mutex::default(), arrived: Notify::new() }))
        };
        Arc::new(Self { queues: queues.into_iter().map(queue).collect(), latencies })
    }

    pub(crate) fn queue(&self, name: &str) -> Arc<Queue> {
        Arc::clone(&self.queues[name])
    }

    /// The queue's name and the answer, which is to be given after `takes`.
    pub(crate) fn call(&self, operation: &str, body: &[u8], takes: Duration) -> Result<(&'static str, Json), String> {
        let request: Request =
            serde_json::from_slice(body).map_err(|error| format!("{operation} is not understood: {error}"))?;
        let name = request.queue_url.rsplit('/').next().unwrap_or_default();
        let queue = self.queues.get(name).ok_or_else(|| format!("no queue {name}"))?;
        let poll = || takes / 2 + self.latencies.poll.sample();
        let answer = match operation {
            "SendMessage" => {
                let body = request.message_body.ok_or("a message without a body")?;
                let delay = Duration::from_secs(request.delay_seconds.unwrap_or(0));
                let id = queue.send(body, request.message_group_id, delay + poll());
                json!({"MessageId": id})
            }
            "SendMessageBatch" => {
                let send = |entry: Entry| {
                    let id = queue.send(entry.message_body, entry.message_group_id, poll());
                    json!({"Id": entry.id, "MessageId": id})
                };
                json!({"Successful": request.entries.into_iter().map(send).collect::<Vec<_>>(), "Failed": []})
            }
            "ChangeMessageVisibility" => {
                let receipt = request.receipt_handle.ok_or("no receipt handle")?;
                let seconds = request.visibility_timeout.ok_or("no timeout")?;
                queue.hide(&receipt, Duration::from_secs(seconds));
                json!({})
            }
            _ => return Err(format!("SQS's {operation} is not called by the functions of this path")),
        };
        Ok((queue.name, answer))
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(self: &Arc<Self>, body: String, group: Option<String>, after: Duration) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = format!("00000000-0000-4000-8000-{:012}", NEXT.fetch_add(1, Ordering::Relaxed));
        let sent = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let message = Message { id: id.clone(), body, group, sent, receives: 0 };
        if after.is_zero() {
            self.lock().ready.push_back(message);
            self.arrived.notify_one();
            return id;
        }
        self.lock().on_the_way += 1;
        let queue = Arc::clone(self);
        tokio::spawn(async move {
            crate::latency::wait(after).await;
            {
                let mut state = queue.lock();
                state.on_the_way -= 1;
                state.ready.push_back(message);
            }
            queue.arrived.notify_one();
        });
        id
    }

    fn hide(&self, receipt: &str, pause: Duration) {
        if let Some((_, until)) = self.lock().in_flight.get_mut(receipt) {
            *until = Instant::now() + pause;
        }
    }

    /// Up to [`BATCH`] messages, with their receipt handles.
    pub(crate) fn receive(&self, at_least: usize) -> Vec<(String, Message)> {
        let mut state = self.lock();
        if state.ready.len() < at_least {
            return Vec::new();
        }
        let count = state.ready.len().min(BATCH);
        let mut batch: Vec<Message> = state.ready.drain(..count).collect();
        let until = Instant::now() + VISIBILITY;
        let mut received = Vec::with_capacity(count);
        for message in &mut batch {
            message.receives += 1;
            let receipt = format!("{}#{}", message.id, message.receives);
            state.in_flight.insert(receipt.clone(), (message.clone(), until));
            received.push((receipt, message.clone()));
        }
        received
    }

    fn sweep(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        let due: Vec<String> = state
            .in_flight
            .iter()
            .filter(|(_, (_, until))| *until <= now)
            .map(|(receipt, _)| receipt.clone())
            .collect();
        for receipt in due {
            let Some((message, _)) = state.in_flight.remove(&receipt) else { continue };
            if message.receives >= self.max_receives {
                state.dead += 1;
            } else {
                state.ready.push_back(message);
                self.arrived.notify_one();
            }
        }
    }

    /// Messages that are not handled yet.
    pub(crate) fn depth(&self) -> usize {
        let state = self.lock();
        state.ready.len() + state.in_flight.len() + state.on_the_way
    }

    /// Messages that were received too often.
    pub(crate) fn dead(&self) -> usize {
        self.lock().dead
    }

    /// Feeds a function until the tasks are ended.
    pub(crate) fn feed(
        self: &Arc<Self>,
        function: &Arc<Function>,
        counts: &Arc<Counts>,
        mapping: Mapping,
    ) -> [AbortHandle; 2] {
        let pollers = Arc::new(Semaphore::new(FIRST_POLLERS.min(mapping.concurrency)));
        let (queue, more) = (Arc::clone(self), Arc::clone(&pollers));
        let sweeping = tokio::spawn(async move {
            let mut added = FIRST_POLLERS.min(mapping.concurrency);
            let mut since = Instant::now();
            loop {
                tokio::time::sleep(SWEEP).await;
                queue.sweep();
                if since.elapsed() >= MORE_POLLERS.1 {
                    since = Instant::now();
                    // More only where what is there finds no poller.
                    let waits = !queue.lock().ready.is_empty() && more.available_permits() == 0;
                    if waits && added < mapping.concurrency {
                        let step = MORE_POLLERS.0.min(mapping.concurrency - added);
                        more.add_permits(step);
                        added += step;
                    }
                }
            }
        });
        let (queue, function, counts) = (Arc::clone(self), Arc::clone(function), Arc::clone(counts));
        let polling = tokio::spawn(async move {
            loop {
                let poller = Arc::clone(&pollers).acquire_owned().await.expect("it is never closed");
                let batch = loop {
                    let batch = queue.receive(mapping.at_least);
                    if !batch.is_empty() {
                        break batch;
                    }
                    if tokio::time::timeout(WINDOW, queue.arrived.notified()).await.is_err() {
                        let batch = queue.receive(1);
                        if !batch.is_empty() {
                            break batch;
                        }
                    }
                };
                let (queue, function, counts) = (Arc::clone(&queue), Arc::clone(&function), Arc::clone(&counts));
                tokio::spawn(async move {
                    queue.handle(batch, &function, &counts).await;
                    drop(poller);
                });
            }
        });
        [sweeping.abort_handle(), polling.abort_handle()]
    }

    /// One batch: what the function does not name as failed leaves the queue.
    pub(crate) async fn handle(&self, batch: Vec<(String, Message)>, function: &Function, counts: &Counts) {
        counts.sqs_of_lambda("ReceiveMessage", self.name);
        let records: Vec<Json> = batch
            .iter()
            .map(|(receipt, message)| {
                let mut record = json!({
                    "messageId": message.id,
                    "receiptHandle": receipt,
                    "body": message.body,
                    "attributes": {
                        "ApproximateReceiveCount": message.receives.to_string(),
                        "SentTimestamp": message.sent.to_string(),
                        "SenderId": "AROAEXAMPLE:function",
                        "ApproximateFirstReceiveTimestamp": message.sent.to_string(),
                    },
                    "messageAttributes": {},
                    "md5OfBody": "00000000000000000000000000000000",
                    "eventSource": "aws:sqs",
                    "eventSourceARN": format!("arn:aws:sqs:us-east-1:000000000000:{}", self.name),
                    "awsRegion": "us-east-1",
                });
                if let Some(group) = &message.group {
                    record["attributes"]["MessageGroupId"] = json!(group);
                }
                record
            })
            .collect();
        let event = json!({ "Records": records }).to_string();
        let failed: Vec<String> = match function.invoke(event.into()).await {
            Ok(answer) => {
                let answer: Json = serde_json::from_slice(&answer).unwrap_or_default();
                let failures = answer["batchItemFailures"].as_array().cloned().unwrap_or_default();
                failures.iter().filter_map(|failure| Some(failure["itemIdentifier"].as_str()?.to_owned())).collect()
            }
            Err(error) => {
                eprintln!("{}: {error}", self.name);
                batch.iter().map(|(_, message)| message.id.clone()).collect()
            }
        };
        if failed.len() < batch.len() {
            counts.sqs_of_lambda("DeleteMessageBatch", self.name);
        }
        let mut state = self.lock();
        for (receipt, message) in &batch {
            if !failed.contains(&message.id) {
                state.in_flight.remove(receipt);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_comes_again_after_its_visibility_and_dies_after_its_last_receive() {
        let sqs = Sqs::new(Latencies::NONE);
        let send = json!({"QueueUrl": "http://localhost/0/inbound", "MessageBody": "x"}).to_string();
        sqs.call("SendMessage", send.as_bytes(), Duration::ZERO).expect("it is taken");
        let queue = sqs.queue("inbound");
        for receive in 1..=10 {
            let batch = queue.receive(1);
            assert_eq!(batch[0].1.receives, receive);
            queue.sweep();
            assert!(queue.receive(1).is_empty(), "it is hidden");
            queue.hide(&batch[0].0, Duration::ZERO);
            queue.sweep();
        }
        assert_eq!((queue.depth(), queue.dead()), (0, 1));
    }

    #[tokio::test]
    async fn a_batch_has_ten_messages_at_most() {
        let sqs = Sqs::new(Latencies::NONE);
        let entries: Vec<Json> = (0..12).map(|id| json!({"Id": id.to_string(), "MessageBody": "x"})).collect();
        let send = json!({"QueueUrl": "http://localhost/0/outbound", "Entries": entries}).to_string();
        sqs.call("SendMessageBatch", send.as_bytes(), Duration::ZERO).expect("it is taken");
        let queue = sqs.queue("outbound");
        assert!(queue.receive(13).is_empty());
        assert_eq!((queue.receive(1).len(), queue.receive(1).len()), (10, 2));
    }
}
