//! Lambda: functions with their environments, and the mappings that feed them from a queue.

use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use hoopoe_message::Timestamp;
use serde_json::{Value as Json, json};

use crate::cloud::Cloud;
use crate::environment::Environment;
use crate::ledger::{Tag, tags_in};
use crate::sqs::{Received, record};

/// A call at which a function is killed is one of its first so many.
const DOOM: usize = 12;

/// "Batch size: the maximum is 10 for standard queues without a batching window."
const BATCH: usize = 10;

/// One invocation.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The event, as Lambda's runtime API gives it.
    pub event: String,
    /// When it is ended, by Lambda's clock.
    pub deadline: Timestamp,
}

/// What handles the events of one environment: JSON in, JSON out.
pub type Handler = Rc<dyn Fn(Invocation) -> LocalBoxFuture<'static, Result<String, String>>>;

/// Starts a function in a fresh environment, as its `main` does.
pub type Start = Rc<dyn Fn(&Environment) -> Handler>;

/// How an invocation ended where it did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The function reported an error.
    Failed(String),
    /// It panicked.
    Panicked,
    /// It was killed.
    Killed,
    /// Its time was over.
    TimedOut,
    /// There was no concurrency left.
    Throttled,
}

/// A function.
pub struct Function {
    name: &'static str,
    timeout: Duration,
    concurrency: usize,
    start: Start,
    cloud: Arc<Cloud>,
    free: RefCell<Vec<(Environment, Handler)>>,
    started: Cell<usize>,
    running: Cell<usize>,
}

impl Function {
    /// A function of which so many run at the same time at most.
    #[must_use]
    pub fn new(
        cloud: &Arc<Cloud>,
        name: &'static str,
        timeout: Duration,
        concurrency: usize,
        start: Start,
    ) -> Rc<Self> {
        Rc::new(Self {
            name,
            timeout,
            concurrency,
            start,
            cloud: Arc::clone(cloud),
            free: RefCell::default(),
            started: Cell::new(0),
            running: Cell::new(0),
        })
    }

    /// Hands an event to an environment.
    ///
    /// # Errors
    ///
    /// Where there is no answer.
    pub async fn invoke(&self, event: String) -> Result<String, Ended> {
        if self.running.get() >= self.concurrency {
            return Err(Ended::Throttled);
        }
        let _busy = self.cloud.busy();
        self.cloud.invoke();
        self.running.set(self.running.get() + 1);
        let ended = self.run(event).await;
        self.running.set(self.running.get() - 1);
        ended
    }

    async fn run(&self, event: String) -> Result<String, Ended> {
        let (dice, weather) = (&self.cloud.dice, self.cloud.dice.weather());
        let (environment, handler) = self.environment().await;
        let doom = dice
            .fault(weather.killed)
            .then(|| (u32::try_from(1 + dice.below(DOOM)).expect("a dozen fits"), dice.chance(0.5)));
        let tags = tags_in(&event);
        environment.begin(tags.clone(), doom);
        self.cloud.trace.note(environment.name(), || format!("invoked with {}", names(&tags)));
        let deadline = Timestamp::from_millis(self.cloud.clock.millis()).plus(self.timeout);
        let work = AssertUnwindSafe(handler(Invocation { event, deadline })).catch_unwind();
        let ended = tokio::select! {
            biased;
            () = environment.killed() => Err(Ended::Killed),
            () = tokio::time::sleep(self.timeout) => Err(Ended::TimedOut),
            ended = work => match ended {
                Ok(answer) => answer.map_err(Ended::Failed),
                Err(_) => Err(Ended::Panicked),
            },
        };
        let what = match &ended {
            Ok(answer) => format!("answers {answer}"),
            Err(ended) => format!("FAULT {ended:?}"),
        };
        self.cloud.trace.note(environment.name(), || what);
        match ended {
            Err(Ended::Killed | Ended::TimedOut | Ended::Panicked) => {
                environment.kill();
                self.cloud.ledger.doubt(&tags, "the function ended while it was at it");
            }
            _ => self.free.borrow_mut().push((environment, handler)),
        }
        ended
    }

    /// One that is free, or a fresh one.
    async fn environment(&self) -> (Environment, Handler) {
        let dice = &self.cloud.dice;
        let free = self.free.borrow().len();
        if free > 0 && !dice.chance(dice.weather().cold) {
            let (environment, handler) = self.free.borrow_mut().swap_remove(dice.below(free));
            environment.thaw();
            return (environment, handler);
        }
        self.started.set(self.started.get() + 1);
        let skew = i64::try_from(dice.up_to(2 * dice.weather().skew).as_millis()).unwrap_or_default();
        let ahead = skew - i64::try_from(dice.weather().skew.as_millis()).unwrap_or_default();
        let environment = Environment::new(&self.cloud, format!("{}-{}", self.name, self.started.get()), ahead);
        tokio::time::sleep(Duration::from_millis(20) + dice.up_to(Duration::from_millis(80))).await;
        let handler = (self.start)(&environment);
        (environment, handler)
    }
}

fn names(tags: &[Tag]) -> String {
    tags.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Feeds a function from a queue, as an event source mapping does, until the history ends.
pub async fn feed(cloud: Arc<Cloud>, queue: &'static str, visibility: Duration, function: Rc<Function>) {
    loop {
        let changed = cloud.changed();
        tokio::pin!(changed);
        // From here on no change is missed.
        changed.as_mut().enable();
        if function.running.get() < function.concurrency {
            let most = 1 + cloud.dice.below(BATCH);
            let batch = cloud.sqs.receive(queue, most, cloud.clock.millis(), &cloud.dice);
            if !batch.is_empty() {
                let (cloud, function, busy) = (Arc::clone(&cloud), Rc::clone(&function), cloud.busy());
                tokio::task::spawn_local(async move {
                    handle(&cloud, queue, visibility, &function, batch).await;
                    drop(busy);
                });
                // The invocation begins before more is received.
                tokio::task::yield_now().await;
                continue;
            }
            if let Some(visible) = cloud.sqs.next_visible(queue) {
                let _ = tokio::time::timeout_at(cloud.clock.instant(visible), changed).await;
                continue;
            }
        }
        changed.await;
    }
}

/// One batch: what the function does not name as failed leaves the queue.
async fn handle(cloud: &Cloud, queue: &'static str, visibility: Duration, function: &Function, batch: Vec<Received>) {
    let (dice, weather) = (&cloud.dice, cloud.dice.weather());
    let records: Vec<Json> = batch.iter().map(|received| record(queue, received)).collect();
    let event = json!({ "Records": records }).to_string();
    let tags = tags_in(&event);
    let ended = if dice.fault(weather.crowded) { Err(Ended::Throttled) } else { function.invoke(event).await };
    let failed = match ended {
        Ok(_) if dice.fault(weather.unheard) => {
            cloud.trace.note("lambda", || format!("FAULT the answer about {} is not heard", names(&tags)));
            None
        }
        Ok(answer) => failures(&answer, &batch),
        Err(ended) => {
            cloud.trace.note("lambda", || format!("{} come again: {ended:?}", names(&tags)));
            None
        }
    };
    let Some(failed) = failed else {
        cloud.ledger.hold(&tags, visibility, "the function ended, or its answer was not heard");
        return;
    };
    let done = batch.iter().filter(|received| !failed.contains(&received.message.id));
    let mut receipts = Vec::new();
    for received in done {
        if dice.fault(weather.undeleted) {
            cloud.trace.note("sqs", || format!("FAULT {} is not deleted", received.message.id));
        } else {
            receipts.push(received.receipt.clone());
        }
    }
    cloud.sqs.delete(queue, &receipts);
}

/// The records that stay; `None` for all. "If batchItemFailures has an invalid itemIdentifier, the batch is a complete
/// failure", and so it is where the answer is not of this shape.
fn failures(answer: &str, batch: &[Received]) -> Option<Vec<String>> {
    let answer: Json = serde_json::from_str(answer).ok()?;
    let failures = match &answer["batchItemFailures"] {
        Json::Null => return Some(Vec::new()),
        Json::Array(failures) => failures,
        _ => return None,
    };
    failures
        .iter()
        .map(|failure| {
            let id = failure["itemIdentifier"].as_str()?;
            batch.iter().any(|received| received.message.id == id).then(|| id.to_owned())
        })
        .collect()
}
