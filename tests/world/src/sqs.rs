//! SQS's standard queues, with the limits of the real ones, and with what they do to messages: they come twice, late and
//! in any order.

mod wire;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::weather::Dice;
pub use wire::Refusal;
pub(crate) use wire::record;
use wire::{Entry, Request, check_attributes, check_body, check_group};

/// How long a message takes from its sender to a receiver, at most, where nothing is wrong.
const USUAL: Duration = Duration::from_millis(40);

/// "You can set a message's visibility timeout to 12 hours at most from the time that it is received."
const MAX_HIDDEN: u64 = 12 * 3600;
const MAX_DELAY: u64 = 900;
const MAX_BATCH_BYTES: usize = 1024 * 1024;
const MAX_ENTRIES: usize = 10;

/// How a queue is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// How long a received message is hidden.
    pub visibility: Duration,
    /// After so many receives a message is moved to the dead-letter queue.
    pub dead_letters: Option<(&'static str, u32)>,
    /// A message that is older is dropped.
    pub retention: Duration,
}

/// A message.
#[derive(Clone, Debug)]
pub struct Message {
    /// SQS's own id.
    pub id: String,
    /// What was sent.
    pub body: String,
    /// The `MessageGroupId`, for a fair queue.
    pub group: Option<String>,
    /// Message attributes of type String.
    pub attributes: BTreeMap<String, String>,
    /// When it was sent, in milliseconds since the epoch.
    pub sent: u64,
    /// When it was received for the first time.
    pub first_received: Option<u64>,
    /// How often it was received.
    pub receives: u32,
    visible: u64,
    received: u64,
    receipt: Option<String>,
}

/// A message that was handed out.
#[derive(Clone, Debug)]
pub struct Received {
    /// What this receipt of it is called.
    pub receipt: String,
    /// The message.
    pub message: Message,
}

#[derive(Debug)]
struct Queue {
    setup: Setup,
    messages: BTreeMap<u64, Message>,
}

/// All queues.
#[derive(Debug, Default)]
pub struct Sqs {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queues: BTreeMap<&'static str, Queue>,
    next: u64,
    dropped: Vec<Message>,
    /// What was delayed on its way, by its body, and for how long.
    delayed: Vec<(String, Duration)>,
}

impl Sqs {
    /// These queues.
    #[must_use]
    pub fn new(queues: impl IntoIterator<Item = (&'static str, Setup)>) -> Self {
        let queue = |(name, setup)| (name, Queue { setup, messages: BTreeMap::new() });
        let queues = queues.into_iter().map(queue).collect();
        Self { state: Mutex::new(State { queues, next: 1, ..State::default() }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The messages of a queue, hidden ones too, in the order of their arrival.
    #[must_use]
    pub fn messages(&self, queue: &str) -> Vec<Message> {
        self.lock().queues.get(queue).map(|queue| queue.messages.values().cloned().collect()).unwrap_or_default()
    }

    /// Messages that became too old.
    #[must_use]
    pub fn dropped(&self) -> Vec<Message> {
        self.lock().dropped.clone()
    }

    /// Takes note of what was delayed on its way since this was last asked.
    pub fn take_delayed(&self) -> Vec<(String, Duration)> {
        std::mem::take(&mut self.lock().delayed)
    }

    /// An operator takes a message out.
    pub fn remove(&self, queue: &str, id: &str) {
        let mut state = self.lock();
        if let Some(queue) = state.queues.get_mut(queue) {
            queue.messages.retain(|_, message| message.id != id);
        }
    }

    /// Whether a queue has no message, also none that is hidden.
    #[must_use]
    pub fn is_empty(&self, queue: &str) -> bool {
        self.lock().queues.get(queue).is_none_or(|queue| queue.messages.is_empty())
    }

    /// When the next message of a queue is visible, in milliseconds since the epoch.
    #[must_use]
    pub fn next_visible(&self, queue: &str) -> Option<u64> {
        self.lock().queues.get(queue)?.messages.values().map(|message| message.visible).min()
    }

    /// Sends a message as the service does it, without the limits of a call.
    pub fn put(&self, queue: &str, body: &str, now: u64, dice: &Dice) {
        let entry = Entry { message_body: body.to_owned(), ..Entry::default() };
        self.lock().send(queue, entry, now, dice);
    }

    /// Hands out up to `most` messages.
    pub fn receive(&self, queue: &str, most: usize, now: u64, dice: &Dice) -> Vec<Received> {
        self.lock().receive(queue, most, None, now, dice)
    }

    /// Deletes handed-out messages.
    pub fn delete(&self, queue: &str, receipts: &[String]) {
        if let Some(queue) = self.lock().queues.get_mut(queue) {
            queue
                .messages
                .retain(|_, message| message.receipt.as_ref().is_none_or(|receipt| !receipts.contains(receipt)));
        }
    }

    /// Carries a call out, and returns the queue with the answer.
    ///
    /// # Errors
    ///
    /// What SQS refuses, or what this stand-in does not know.
    pub fn call(&self, operation: &str, body: &[u8], now: u64, dice: &Dice) -> Result<(&'static str, Json), Refusal> {
        let request: Request = serde_json::from_slice(body)
            .map_err(|error| Refusal::unknown(format!("{operation} is not understood: {error}")))?;
        let mut state = self.lock();
        let name = request.queue_url.rsplit('/').next().unwrap_or_default();
        let Some((&name, queue)) = state.queues.get_key_value(name) else {
            return Err(Refusal::new("QueueDoesNotExist", format!("no queue {name:?}")));
        };
        let visibility = queue.setup.visibility;
        let answer = match operation {
            "SendMessage" => json!({"MessageId": state.checked(name, request.entry, now, dice)?}),
            "SendMessageBatch" => state.send_batch(name, request.entries, now, dice)?,
            "ReceiveMessage" => {
                let most = request.max_number_of_messages.unwrap_or(1);
                let hidden = request.visibility_timeout.map_or(visibility, Duration::from_secs);
                let received = state.receive(name, most, Some(hidden), now, dice);
                json!({"Messages": received.iter().map(wire::shown).collect::<Vec<_>>()})
            }
            "DeleteMessage" => {
                let receipt = request.receipt_handle.ok_or_else(|| Refusal::missing("ReceiptHandle"))?;
                state.delete(name, &receipt);
                json!({})
            }
            "DeleteMessageBatch" => {
                let mut done = Vec::new();
                for entry in request.entries {
                    let receipt = entry.receipt_handle.ok_or_else(|| Refusal::missing("ReceiptHandle"))?;
                    state.delete(name, &receipt);
                    done.push(json!({"Id": entry.id}));
                }
                json!({"Successful": done, "Failed": []})
            }
            "ChangeMessageVisibility" => {
                let receipt = request.receipt_handle.ok_or_else(|| Refusal::missing("ReceiptHandle"))?;
                let seconds = request.visibility_timeout.ok_or_else(|| Refusal::missing("VisibilityTimeout"))?;
                state.hide(name, &receipt, seconds, now)?;
                json!({})
            }
            "GetQueueAttributes" => {
                let messages = state.queues.get(name).map_or(0, |queue| queue.messages.len());
                json!({"Attributes": {"ApproximateNumberOfMessages": messages.to_string()}})
            }
            _ => return Err(Refusal::unknown(format!("SQS's {operation} is not called by the functions"))),
        };
        Ok((name, answer))
    }
}

impl State {
    fn checked(&mut self, queue: &str, entry: Entry, now: u64, dice: &Dice) -> Result<String, Refusal> {
        check_body(&entry)?;
        check_group(entry.message_group_id.as_deref())?;
        check_attributes(&entry)?;
        if entry.delay_seconds.is_some_and(|delay| delay > MAX_DELAY) {
            return Err(Refusal::new("InvalidParameterValue", "DelaySeconds must be 0 to 900".to_owned()));
        }
        Ok(self.send(queue, entry, now, dice))
    }

    fn send_batch(&mut self, queue: &str, entries: Vec<Entry>, now: u64, dice: &Dice) -> Result<Json, Refusal> {
        let refusal = |code, what: &str| Err(Refusal::new(code, what.to_owned()));
        if entries.is_empty() {
            return refusal("EmptyBatchRequest", "a batch has an entry");
        }
        if entries.len() > MAX_ENTRIES {
            return refusal("TooManyEntriesInBatchRequest", "a batch has ten entries at most");
        }
        if entries.iter().map(Entry::bytes).sum::<usize>() > MAX_BATCH_BYTES {
            return refusal("BatchRequestTooLong", "a batch has 1 MiB at most");
        }
        let mut ids: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return refusal("BatchEntryIdsNotDistinct", "two entries have the same id");
        }
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for entry in entries {
            let id = entry.id.clone();
            if dice.fault(dice.weather().partial) {
                failed.push(json!({"Id": id, "SenderFault": false, "Code": "InternalError"}));
                continue;
            }
            match self.checked(queue, entry, now, dice) {
                Ok(message) => done.push(json!({"Id": id, "MessageId": message, "MD5OfMessageBody": ""})),
                Err(refusal) => {
                    failed
                        .push(json!({"Id": id, "SenderFault": true, "Code": refusal.code, "Message": refusal.message}));
                }
            }
        }
        Ok(json!({"Successful": done, "Failed": failed}))
    }

    fn send(&mut self, queue: &str, entry: Entry, now: u64, dice: &Dice) -> String {
        let number = self.next;
        self.next += 1;
        let id = format!("m{number}");
        let mut takes = dice.up_to(USUAL);
        if dice.fault(dice.weather().late) {
            let late = dice.up_to(dice.weather().late_by);
            self.delayed.push((entry.message_body.clone(), late));
            takes += late;
        }
        let delay = Duration::from_secs(entry.delay_seconds.unwrap_or(0)) + takes;
        let message = Message {
            id: id.clone(),
            attributes: entry.attributes(),
            body: entry.message_body,
            group: entry.message_group_id,
            sent: now,
            first_received: None,
            receives: 0,
            visible: now + millis(delay),
            received: 0,
            receipt: None,
        };
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.messages.insert(number, message);
        }
        id
    }

    fn receive(&mut self, name: &str, most: usize, hidden: Option<Duration>, now: u64, dice: &Dice) -> Vec<Received> {
        let Some(queue) = self.queues.get_mut(name) else { return Vec::new() };
        let setup = queue.setup;
        let old = queue.messages.extract_if(.., |_, message| message.sent + millis(setup.retention) <= now);
        self.dropped.extend(old.map(|(_, message)| message));
        let mut visible: Vec<(u64, u64)> =
            queue.messages.iter().filter(|(_, m)| m.visible <= now).map(|(number, m)| (m.visible, *number)).collect();
        visible.sort_unstable();
        let (mut received, mut dead) = (Vec::new(), Vec::new());
        while received.len() < most && !visible.is_empty() {
            let at = if dice.chance(dice.weather().shuffled) { dice.below(visible.len()) } else { 0 };
            let (_, number) = visible.remove(at);
            let Some(message) = queue.messages.get_mut(&number) else { continue };
            if let Some((letters, most)) = setup.dead_letters
                && message.receives >= most
            {
                dead.extend(queue.messages.remove(&number).map(|message| (letters, number, message)));
                continue;
            }
            message.receives += 1;
            message.first_received.get_or_insert(now);
            message.received = now;
            message.visible = now + millis(hidden.unwrap_or(setup.visibility));
            let receipt = format!("{}#{}", message.id, message.receives);
            message.receipt = Some(receipt.clone());
            let message = message.clone();
            if dice.fault(dice.weather().repeated) {
                // "On rare occasions, one of the servers that stores a copy of a message might be unavailable when you
                // receive or delete a message": the copy there is received again, and knows nothing of this receipt.
                let visible = now + millis(dice.up_to(setup.visibility));
                let copy = Message { visible, receipt: None, ..message.clone() };
                queue.messages.insert(self.next, copy);
                self.next += 1;
            }
            received.push(Received { receipt, message });
        }
        for (letters, number, message) in dead {
            let moved = Message { visible: now, receipt: None, receives: 0, first_received: None, ..message };
            if let Some(queue) = self.queues.get_mut(letters) {
                queue.messages.insert(number, moved);
            }
        }
        received
    }

    fn delete(&mut self, queue: &str, receipt: &str) {
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.messages.retain(|_, message| message.receipt.as_deref() != Some(receipt));
        }
    }

    fn hide(&mut self, queue: &str, receipt: &str, seconds: u64, now: u64) -> Result<(), Refusal> {
        let message = self
            .queues
            .get_mut(queue)
            .and_then(|queue| queue.messages.values_mut().find(|message| message.receipt.as_deref() == Some(receipt)));
        let Some(message) = message.filter(|message| message.visible > now) else {
            return Err(Refusal::new("MessageNotInflight", "the message is not hidden by this receipt".to_owned()));
        };
        if now + seconds * 1000 > message.received + MAX_HIDDEN * 1000 {
            let words = "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]".to_owned();
            return Err(Refusal::new("InvalidParameterValue", words));
        }
        message.visible = now + seconds * 1000;
        Ok(())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests;
