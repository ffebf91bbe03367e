//! A dead-letter queue as a command sees it: letters are taken out of sight while the command works with them, and what is
//! left of them is put back.
//!
//! SQS gives at most ten letters a call, in no order, some of them twice, and none that another reader holds. What was
//! received stays hidden for a minute and then comes again. So [`DeadLetters`] knows every letter that it holds by SQS's
//! id, and keeps it hidden until the command is done. A command that is killed leaves nothing hidden for longer than that
//! minute. Nothing here reads the time of day.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::future;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message,
    MessageSystemAttributeName as Attribute, SendMessageBatchRequestEntry,
};
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use hoopoe_aws::cause;

use super::Queue;
use crate::stack::Stack;
use crate::status::depth;

/// The most messages of a call to SQS.
pub(super) const BATCH: usize = 10;
/// The most bytes of the bodies of a call to SQS: what it took at all before 2025.
pub(super) const BATCH_BYTES: usize = 256 * 1024;
/// How long a letter stays hidden, should this command end before it puts the letter back.
const HIDDEN: Duration = Duration::from_secs(60);
/// How many calls of a kind are under way at a time.
const CALLS: usize = 8;
/// After so many rounds of calls in a row that brought no new letter the queue has no more, whatever it counts: its count
/// may be a minute old.
const QUIET_ROUNDS: usize = 3;
/// The most bytes of the bodies of a pass; the calls under way may bring a little more.
const PASS_BYTES: usize = 64 << 20;

/// What bounds the work on letters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// A letter that was hidden so long ago is hidden anew.
    pub(super) renewal: Duration,
    /// How many letters are in memory at a time.
    pub(super) pass: usize,
}

impl Bounds {
    const DEFAULT: Self = Self { renewal: Duration::from_secs(20), pass: 10_000 };
}

/// A dead-letter queue and the queue it belongs to.
pub(super) struct DeadLetters<'a> {
    client: Client,
    url: &'a str,
    source: &'a str,
    bounds: Bounds,
    /// The letters that are hidden because of this command, by SQS's id.
    held: RefCell<HashMap<String, Held>>,
    stopped: Cell<bool>,
}

struct Held {
    handle: String,
    hidden_at: Instant,
}

/// About how many letters there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// Those that can be received.
    pub(super) visible: usize,
    /// Those that can be, and those that another reader holds.
    pub(super) all: usize,
}

/// Letters that are held now.
pub(super) struct Collected {
    pub(super) letters: Vec<Message>,
    /// The queue gave no more.
    pub(super) complete: bool,
}

/// A message to be queued again in place of a letter.
pub(super) struct Outgoing {
    /// SQS's id of the letter.
    pub(super) letter: String,
    pub(super) body: String,
    pub(super) group: Option<String>,
}

impl<'a> DeadLetters<'a> {
    pub(super) fn of(client: &Client, stack: &'a Stack, queue: Queue) -> anyhow::Result<Self> {
        let url = stack.output(&format!("{}DeadLettersUrl", queue.output()))?;
        Ok(Self::at(client, url, stack.output(&format!("{}QueueUrl", queue.output()))?, Bounds::DEFAULT))
    }

    pub(super) fn at(client: &Client, url: &'a str, source: &'a str, bounds: Bounds) -> Self {
        let held = RefCell::default();
        Self { client: client.clone(), url, source, bounds, held, stopped: Cell::new(false) }
    }

    /// Whether Ctrl-C was pressed: the work should end where nothing is half done.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    /// Asks the work to stop.
    pub(super) fn stop(&self) {
        self.stopped.set(true);
    }

    /// Does `work`, keeps the letters that it collects hidden meanwhile, and puts back what it did not delete, also after
    /// a failure.
    ///
    /// # Errors
    ///
    /// Those of the work, or when letters cannot be put back.
    pub(super) async fn while_hidden<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let done = tokio::select! {
            done = work => done,
            never = self.keep_hidden() => match never {},
            never = self.heed_ctrl_c() => match never {},
        };
        let put_back = self.put_back().await;
        let done = done?;
        put_back?;
        Ok(done)
    }

    async fn keep_hidden(&self) -> Infallible {
        loop {
            tokio::time::sleep(self.bounds.renewal / 4).await;
            self.renew().await;
        }
    }

    async fn heed_ctrl_c(&self) -> Infallible {
        if tokio::signal::ctrl_c().await.is_ok() {
            self.stop();
        }
        future::pending().await
    }

    /// About how many letters there are now.
    ///
    /// # Errors
    ///
    /// When the queue does not answer.
    pub(super) async fn count(&self) -> anyhow::Result<Count> {
        let [visible, hidden] = depth(&self.client, self.url).await?.map(|count| usize::try_from(count).unwrap_or(0));
        Ok(Count { visible, all: visible + hidden })
    }

    /// Collects all that is in the queue at the start, a pass of bounded size at a time, and hands each pass to `handle`.
    /// Says about how many letters at the start it did not see.
    ///
    /// # Errors
    ///
    /// When the queue does not answer, and those of `handle`.
    pub(super) async fn in_passes(
        &self,
        told: impl Fn(usize, usize),
        mut handle: impl AsyncFnMut(Vec<Message>) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let count = self.count().await?;
        let mut seen = 0;
        while !self.is_stopped() {
            let expected = count.visible.saturating_sub(seen);
            let pass = self.collect(self.bounds.pass, expected, |found| told(seen + found, count.all)).await?;
            seen += pass.letters.len();
            handle(pass.letters).await?;
            // A further pass would find, beyond those that were there at the start, what died anew meanwhile.
            if pass.complete || seen >= count.visible {
                break;
            }
        }
        Ok(count.all.saturating_sub(seen))
    }

    /// Takes up to `most` letters that are not held yet out of sight, each once: until the queue has given as many as are
    /// `expected`, and then none.
    ///
    /// # Errors
    ///
    /// When the queue does not answer.
    pub(super) async fn collect(
        &self,
        most: usize,
        expected: usize,
        told: impl Fn(usize),
    ) -> anyhow::Result<Collected> {
        let (mut letters, mut bytes, mut quiet) = (Vec::new(), 0, 0);
        while letters.len() < most && bytes < PASS_BYTES && !self.is_stopped() {
            let known = letters.len();
            let calls = (0..CALLS).map(|call| (most - known).saturating_sub(call * BATCH).min(BATCH));
            let mut failed = None;
            for received in join_all(calls.filter(|letters| *letters > 0).map(|most| self.receive(most))).await {
                match received {
                    Ok((hidden_at, messages)) => {
                        for message in messages.into_iter().filter(|message| self.hold(message, hidden_at)) {
                            bytes += message.body().map_or(0, str::len);
                            letters.push(message);
                        }
                    }
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
            told(letters.len());
            if letters.len() > known {
                quiet = 0;
                continue;
            }
            quiet += 1;
            if letters.len() >= expected || quiet == QUIET_ROUNDS {
                return Ok(Collected { letters, complete: true });
            }
        }
        Ok(Collected { letters, complete: false })
    }

    async fn receive(&self, most: usize) -> anyhow::Result<(Instant, Vec<Message>)> {
        let hidden_at = Instant::now();
        let received = self
            .client
            .receive_message()
            .queue_url(self.url)
            .max_number_of_messages(i32::try_from(most).unwrap_or(1))
            .visibility_timeout(seconds(HIDDEN))
            // Asks all of SQS's servers; without waiting, some messages are missed.
            .wait_time_seconds(1)
            .message_attribute_names("reason")
            .message_system_attribute_names(Attribute::SentTimestamp)
            .message_system_attribute_names(Attribute::MessageGroupId)
            .send()
            .await
            .map_err(|error| anyhow!("the dead letters cannot be read: {}", cause(&error)))?;
        Ok((hidden_at, received.messages.unwrap_or_default()))
    }

    /// Takes note of a letter; whether it is a new one.
    fn hold(&self, message: &Message, hidden_at: Instant) -> bool {
        let (Some(id), Some(handle)) = (message.message_id(), message.receipt_handle()) else { return false };
        let held = Held { handle: handle.to_owned(), hidden_at };
        self.held.borrow_mut().insert(id.to_owned(), held).is_none()
    }

    /// Hides anew what would show soon. A failure is no loss: the letter comes again, and is known.
    async fn renew(&self) {
        let due = self.handles(|held| held.hidden_at.elapsed() >= self.bounds.renewal);
        let renewed = stream::iter(due.chunks(BATCH)).for_each_concurrent(CALLS, async |letters| {
            let hidden_at = Instant::now();
            let Ok(failed) = self.change_visibility(letters, HIDDEN).await else { return };
            for (id, _) in without(letters, &failed) {
                if let Some(held) = self.held.borrow_mut().get_mut(id) {
                    held.hidden_at = hidden_at;
                }
            }
        });
        renewed.await;
    }

    /// Shows everything that is held to other readers again.
    async fn put_back(&self) -> anyhow::Result<()> {
        let all = self.handles(|_| true);
        self.held.borrow_mut().clear();
        let back = stream::iter(all.chunks(BATCH)).map(async |letters| {
            match self.change_visibility(letters, Duration::ZERO).await {
                // A fault of the caller is one of the handle: the letter is not hidden any more.
                Ok(failed) => failed.into_iter().find(|failed| !failed.sender_fault()).map(|failed| reason(&failed)),
                Err(error) => Some(error),
            }
        });
        let failed: Vec<Option<String>> = back.buffer_unordered(CALLS).collect().await;
        failed.into_iter().flatten().next().map_or(Ok(()), |reason| {
            Err(anyhow!("dead letters could not be put back at once; they show again within a minute: {reason}"))
        })
    }

    /// The ids and handles of letters that are held.
    fn handles(&self, which: impl Fn(&Held) -> bool) -> Vec<(String, String)> {
        let held = self.held.borrow();
        held.iter().filter(|(_, held)| which(held)).map(|(id, held)| (id.clone(), held.handle.clone())).collect()
    }

    /// Lets letters stay hidden for so long from now on. What SQS did not do comes back, named by its index.
    async fn change_visibility(
        &self,
        letters: &[(String, String)],
        hidden: Duration,
    ) -> Result<Vec<BatchResultErrorEntry>, String> {
        let entries = letters.iter().enumerate().filter_map(|(index, (_, handle))| {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(index.to_string());
            entry.receipt_handle(handle).visibility_timeout(seconds(hidden)).build().ok()
        });
        let request = self.client.change_message_visibility_batch().queue_url(self.url);
        let changed = request.set_entries(Some(entries.collect())).send().await;
        changed.map(|changed| changed.failed).map_err(|error| cause(&error))
    }

    /// Queues messages again where the letters come from; returns the places in `messages` of those that SQS does not take,
    /// with its reason.
    ///
    /// # Errors
    ///
    /// When the queue does not answer.
    pub(super) async fn queue_again(&self, messages: &[Outgoing]) -> anyhow::Result<HashMap<usize, String>> {
        let entries = messages.iter().enumerate().filter_map(|(index, message)| {
            let entry = SendMessageBatchRequestEntry::builder().id(index.to_string()).message_body(&message.body);
            entry.set_message_group_id(message.group.clone()).build().ok()
        });
        let request = self.client.send_message_batch().queue_url(self.source);
        let queued = request.set_entries(Some(entries.collect())).send().await;
        let queued = queued.map_err(|error| anyhow!("messages could not be queued again: {}", cause(&error)))?;
        let failed = queued.failed.iter();
        failed.map(|failed| Ok((failed.id().parse().context("SQS names no entry")?, reason(failed)))).collect()
    }

    /// Deletes letters that are held.
    ///
    /// # Errors
    ///
    /// When the queue does not answer, or does not delete all of them.
    pub(super) async fn delete(&self, ids: &[String]) -> anyhow::Result<()> {
        for ids in ids.chunks(BATCH) {
            let handle = |id: &String| Some((id.clone(), self.held.borrow().get(id)?.handle.clone()));
            let letters: Vec<(String, String)> = ids.iter().filter_map(handle).collect();
            let entries = letters.iter().enumerate().filter_map(|(index, (_, handle))| {
                let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string());
                entry.receipt_handle(handle).build().ok()
            });
            let request = self.client.delete_message_batch().queue_url(self.url);
            let deleted = request.set_entries(Some(entries.collect())).send().await;
            let not_deleted = |reason| anyhow!("dead letters could not be deleted: {reason}");
            let failed = deleted.map_err(|error| not_deleted(cause(&error)))?.failed;
            for (id, _) in without(&letters, &failed) {
                self.held.borrow_mut().remove(id);
            }
            if let Some(failed) = failed.first() {
                return Err(not_deleted(reason(failed)));
            }
        }
        Ok(())
    }
}

/// Those of a batch that did not fail: entries are named by their index.
fn without<'a, T>(batch: &'a [T], failed: &[BatchResultErrorEntry]) -> impl Iterator<Item = &'a T> + use<'a, T> {
    let failed: Vec<usize> = failed.iter().filter_map(|failed| failed.id().parse().ok()).collect();
    batch.iter().enumerate().filter(move |(index, _)| !failed.contains(index)).map(|(_, entry)| entry)
}

fn reason(failed: &BatchResultErrorEntry) -> String {
    format!("{}: {}", failed.code(), failed.message().unwrap_or("SQS gives no reason"))
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}
