//! One history: a seed, a world, and what happens in it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::task::{JoinHandle, LocalSet};

use crate::checks::{Bounds, Finding, Verdict, check};
use crate::cloud::Cloud;
use crate::function::{Function, Start, feed};
use crate::ledger::Tag;
use crate::sqs::Setup;
use crate::trace::Line;
use crate::weather::{Dice, Weather};

/// What both work queues of `template.yaml` have in common.
const VISIBILITY: Duration = Duration::from_secs(180);
const RETENTION: Duration = Duration::from_secs(345_600);
const RETENTION_OF_LETTERS: Duration = Duration::from_secs(1_209_600);

/// The queues of `template.yaml`, and that of turns which are answered later: name, dead-letter queue, receives.
const QUEUES: [(&str, &str, u32); 3] =
    [("inbound", "inbound-dlq", 10), ("outbound", "outbound-dlq", 20), ("pending", "pending-dlq", 20)];

/// A history that goes on for longer does not end, nor does one with more invocations: the longest that do end have some
/// hundred.
const LONGEST: Duration = Duration::from_secs(8 * 24 * 3600);
const MOST_INVOCATIONS: usize = 2000;

/// The pauses after which a platform repeats an event that was not acknowledged, again and again.
const REPEATS: [u64; 6] = [1, 2, 5, 10, 30, 60];
/// A platform gives an event up after so many repeats.
const MOST_REPEATS: usize = 50;

/// The world of one history.
pub struct World {
    /// The services.
    pub cloud: Arc<Cloud>,
    tasks: RefCell<Vec<JoinHandle<()>>>,
    afterwards: RefCell<Option<LocalBoxFuture<'static, ()>>>,
}

/// The end of a history.
#[derive(Debug)]
pub struct Outcome {
    /// What came of it.
    pub verdict: Verdict,
    /// What happened, where a trace was wanted.
    pub trace: Vec<Line>,
    /// How long it was, by its own clock.
    pub took: Duration,
}

/// Plays a history from its beginning to its end. `play` sets the functions up and says what happens; the history ends
/// when nothing is left to do.
///
/// # Panics
///
/// Where the runtime cannot be made, or where something panics that happens at a time of its own ([`World::at`]).
pub fn play(seed: u64, weather: Weather, traced: bool, bounds: &Bounds, play: impl FnOnce(&Rc<World>)) -> Outcome {
    // The jitter of the SDK and of the functions.
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing from the system");
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let letters = QUEUES.map(|(_, letters, _)| {
            (
                letters,
                Setup { visibility: Duration::from_secs(30), dead_letters: None, retention: RETENTION_OF_LETTERS },
            )
        });
        let work = QUEUES.map(|(name, letters, most)| {
            (name, Setup { visibility: VISIBILITY, dead_letters: Some((letters, most)), retention: RETENTION })
        });
        let cloud = Arc::new(Cloud::new(work.into_iter().chain(letters), Dice::new(weather, seed), seed, traced));
        let world =
            Rc::new(World { cloud: Arc::clone(&cloud), tasks: RefCell::default(), afterwards: RefCell::default() });
        play(&world);
        let ended = tokio::time::timeout(LONGEST, world.whole()).await;
        for task in world.tasks.take().into_iter().filter(JoinHandle::is_finished) {
            if let Err(error) = task.await
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
        let mut verdict = check(&cloud, bounds);
        if ended != Ok(true) {
            verdict.findings.insert(0, Finding::Endless);
        }
        let took = Duration::from_millis(cloud.clock.elapsed());
        Outcome { verdict, trace: cloud.trace.lines(), took }
    })
}

impl World {
    /// A function of which so many run at the same time.
    #[must_use]
    pub fn function(&self, name: &'static str, timeout: Duration, concurrency: usize, start: Start) -> Rc<Function> {
        Function::new(&self.cloud, name, timeout, concurrency, start)
    }

    /// Feeds a function from a queue.
    pub fn map(&self, queue: &'static str, function: &Rc<Function>) {
        tokio::task::spawn_local(feed(Arc::clone(&self.cloud), queue, VISIBILITY, Rc::clone(function)));
    }

    /// Does something at a time of the history.
    pub fn at(&self, time: Duration, what: impl Future<Output = ()> + 'static) {
        let busy = self.cloud.busy();
        let task = tokio::task::spawn_local(async move {
            // Held to the end, also to that by a panic.
            let _busy = busy;
            tokio::time::sleep(time).await;
            what.await;
        });
        self.tasks.borrow_mut().push(task);
    }

    /// A platform delivers an event to a webhook, and repeats it until it is acknowledged. `parts` are those of the reply.
    pub async fn deliver(&self, webhook: &Function, tag: Tag, parts: u32, event: String) {
        let (cloud, dice) = (&self.cloud, &self.cloud.dice);
        cloud.trace.note("person", || format!("writes {tag}"));
        cloud.ledger.deliver(tag, parts, cloud.clock.elapsed());
        for repeat in 0..MOST_REPEATS {
            let answered = webhook.invoke(event.clone()).await;
            let pause = Duration::from_secs(REPEATS[repeat.min(REPEATS.len() - 1)]);
            if answered.is_ok() {
                cloud.ledger.acknowledge(tag, cloud.clock.elapsed());
                if !dice.fault(dice.weather().platform_deaf) {
                    return;
                }
                cloud.trace.note("platform", || format!("FAULT does not hear that {tag} has arrived"));
            } else {
                cloud.ledger.hold(&[tag], pause, "the webhook did not answer");
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Does something once everything has come to its end.
    pub fn afterwards(&self, what: impl Future<Output = ()> + 'static) {
        *self.afterwards.borrow_mut() = Some(what.boxed_local());
    }

    /// Comes back when nothing is left to do, also of what was to be done afterwards; whether it ever will.
    async fn whole(&self) -> bool {
        if !self.end().await {
            return false;
        }
        let afterwards = self.afterwards.take();
        match afterwards {
            Some(what) => {
                what.await;
                self.end().await
            }
            None => true,
        }
    }

    /// Comes back when nothing is left to do; whether it ever will.
    async fn end(&self) -> bool {
        loop {
            let changed = self.cloud.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.cloud.is_idle() && QUEUES.iter().all(|(queue, ..)| self.cloud.sqs.is_empty(queue)) {
                return true;
            }
            if self.cloud.invocations() > MOST_INVOCATIONS {
                return false;
            }
            changed.await;
        }
    }
}
