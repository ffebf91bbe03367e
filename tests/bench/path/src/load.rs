//! Messages in at a given rate, whatever comes out: open loop, so that a slow answer does not slow the next question.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::platform::{chat_of, event};
use crate::world::{Books, World};

/// A rate over time, in messages a second.
#[derive(Clone, Copy)]
pub(crate) enum Rate {
    Steady(f64),
    /// Ten times as many for a while in the middle.
    Burst {
        base: f64,
        from: f64,
        to: f64,
    },
    /// A day in so many seconds: nearly nobody at both ends, nearly twice the mean in the middle.
    Day {
        mean: f64,
        seconds: f64,
    },
}

impl Rate {
    fn at(self, second: f64) -> f64 {
        match self {
            Self::Steady(rate) => rate,
            Self::Burst { base, from, to } => {
                if (from..to).contains(&second) {
                    10.0 * base
                } else {
                    base
                }
            }
            Self::Day { mean, seconds } => mean * (1.0 - 0.9 * (std::f64::consts::TAU * second / seconds).cos()),
        }
    }

    fn most(self) -> f64 {
        match self {
            Self::Steady(rate) => rate,
            Self::Burst { base, .. } => 10.0 * base,
            Self::Day { mean, .. } => 1.9 * mean,
        }
    }

    /// Times of a Poisson process with this rate, thinned from one with its highest.
    fn arrivals(self, seconds: f64) -> Vec<f64> {
        let (mut arrivals, mut at) = (Vec::new(), 0.0);
        loop {
            at -= (1.0 - fastrand::f64()).ln() / self.most();
            if at >= seconds {
                return arrivals;
            }
            if fastrand::f64() * self.most() < self.at(at) {
                arrivals.push(at);
            }
        }
    }
}

/// A load.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) rate: Rate,
    /// Before anything is measured: environments start, keys are read, connections open.
    pub(crate) warm_up: f64,
    pub(crate) seconds: f64,
    /// People who write; each as often as another.
    pub(crate) people: i64,
}

/// One moment: the second, the busy environments of each function, and the messages in the queues.
pub(crate) type Sample = (f64, [usize; 3], usize);

/// What came of one load.
pub(crate) struct Outcome {
    /// Messages of the measured part.
    pub(crate) messages: usize,
    /// From the request to the platform's receipt of the answer, sorted, in milliseconds.
    pub(crate) times: Vec<f64>,
    /// The same to the platform's own answer.
    pub(crate) with_platform: Vec<f64>,
    /// From the request to the webhook's answer.
    pub(crate) webhook: Vec<f64>,
    pub(crate) lost: usize,
    pub(crate) twice: usize,
    pub(crate) out_of_order: usize,
    /// Requests that the webhook did not answer with 200 at first.
    pub(crate) refused: usize,
    pub(crate) dead: usize,
    /// What was called and used, over all messages with the warm-up's.
    pub(crate) books: Books,
    pub(crate) all_messages: usize,
    /// Every quarter of a second.
    pub(crate) timeline: Vec<Sample>,
    pub(crate) environments: [usize; 3],
    /// The share of both processors that the stand-ins took.
    pub(crate) own_share: f64,
    pub(crate) elapsed: Duration,
}

#[derive(Clone, Copy)]
struct Asked {
    at: Instant,
    acknowledged: Option<Instant>,
    refused: bool,
}

/// How long answers are waited for after the last message.
const PATIENCE: Duration = Duration::from_secs(90);

/// Runs a load through a world.
pub(crate) async fn run(world: &Arc<World>, load: Load, questions: &Arc<Vec<String>>) -> Result<Outcome> {
    let whole = load.warm_up + load.seconds;
    // The warm-up runs at the rate of the load's beginning.
    let mut arrivals: Vec<f64> = Rate::Steady(load.rate.at(0.0).max(2.0)).arrivals(load.warm_up);
    arrivals.extend(load.rate.arrivals(load.seconds).into_iter().map(|at| at + load.warm_up));
    let asked: Arc<Mutex<HashMap<(i64, i64), Asked>>> = Arc::default();
    let (before, own) = (world.books(), own_time());
    let began = Instant::now();
    let timeline = Arc::new(Mutex::new(Vec::new()));
    let watch = {
        let (world, timeline) = (Arc::clone(world), Arc::clone(&timeline));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(250)).await;
                let busy = world.functions().map(|function| function.busy());
                let sample = (began.elapsed().as_secs_f64(), busy, world.backlog());
                timeline.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
            }
        })
    };
    for (message, at) in arrivals.iter().enumerate() {
        let due = began + Duration::from_secs_f64(*at);
        tokio::time::sleep_until(due.into()).await;
        let message = i64::try_from(message)? + 1;
        let person = fastrand::i64(1..=load.people);
        let text = &questions[fastrand::usize(..questions.len())];
        let event = event(person, message, text);
        let (world, asked) = (Arc::clone(world), Arc::clone(&asked));
        tokio::spawn(async move {
            let at = Instant::now();
            let mut entry = Asked { at, acknowledged: None, refused: false };
            let key = (chat_of(person), message);
            asked.lock().unwrap_or_else(PoisonError::into_inner).insert(key, entry);
            // As Telegram does: what was not taken is posted again.
            for pause in [1, 2, 4, 8] {
                let answered = world.webhook.invoke(event.clone().into()).await;
                let answered =
                    answered.ok().and_then(|answer| serde_json::from_slice::<serde_json::Value>(&answer).ok());
                if answered.is_some_and(|answer| answer["statusCode"] == 200) {
                    entry.acknowledged = Some(Instant::now());
                    break;
                }
                entry.refused = true;
                tokio::time::sleep(Duration::from_secs(pause)).await;
            }
            asked.lock().unwrap_or_else(PoisonError::into_inner).insert(key, entry);
        });
    }
    let ended = began + Duration::from_secs_f64(whole);
    tokio::time::sleep_until(ended.into()).await;
    while world.platform.count() < arrivals.len() && ended.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The last send is still to be recorded, and what is sent twice would come now.
    while world.backlog() > 0 && ended.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    watch.abort();
    let elapsed = began.elapsed();
    let own_share = (own_time() - own).as_secs_f64() / elapsed.as_secs_f64() / 2.0;
    world.check()?;
    let books = world.books().since(&before);
    let asked = std::mem::take(&mut *asked.lock().unwrap_or_else(PoisonError::into_inner));
    let received = world.platform.take();

    let mut answers: HashMap<(i64, i64), Vec<_>> = HashMap::new();
    for answer in &received {
        answers.entry((answer.chat, answer.replies_to)).or_default().push(answer);
    }
    let measured_from = began + Duration::from_secs_f64(load.warm_up);
    let milliseconds = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1000.0;
    let (mut times, mut with_platform, mut webhook) = (Vec::new(), Vec::new(), Vec::new());
    let (mut lost, mut twice, mut messages) = (0, 0, 0);
    for (key, asked) in &asked {
        let answers = answers.get(key).map_or(&[][..], Vec::as_slice);
        lost += usize::from(answers.is_empty());
        twice += usize::from(answers.len() > 1);
        if asked.at < measured_from {
            continue;
        }
        messages += 1;
        if let Some(answer) = answers.first() {
            times.push(milliseconds(asked.at, answer.at));
            with_platform.push(milliseconds(asked.at, answer.answered));
        }
        webhook.extend(asked.acknowledged.map(|at| milliseconds(asked.at, at)));
    }
    if answers.keys().any(|key| !asked.contains_key(key)) {
        bail!("the platform received an answer to a message that nobody wrote");
    }
    for times in [&mut times, &mut with_platform, &mut webhook] {
        times.sort_by(f64::total_cmp);
    }
    let timeline = std::mem::take(&mut *timeline.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Outcome {
        messages,
        times,
        with_platform,
        webhook,
        lost,
        twice,
        out_of_order: out_of_order(&asked, &answers),
        refused: asked.values().filter(|asked| asked.refused).count(),
        dead: world.dead(),
        books,
        all_messages: asked.len(),
        timeline,
        environments: world.functions().map(|function| function.environments()),
        own_share,
        elapsed,
    })
}

/// Pairs of messages in a chat of which the second was written after the first was acknowledged, and answered before it.
fn out_of_order(
    asked: &HashMap<(i64, i64), Asked>,
    answers: &HashMap<(i64, i64), Vec<&crate::platform::Received>>,
) -> usize {
    let mut chats: HashMap<i64, Vec<(Asked, Instant)>> = HashMap::new();
    for (key, asked) in asked {
        if let Some(answer) = answers.get(key).and_then(|answers| answers.first()) {
            chats.entry(key.0).or_default().push((*asked, answer.at));
        }
    }
    let mut wrong = 0;
    for chat in chats.values_mut() {
        chat.sort_by_key(|(asked, _)| asked.at);
        for (at, (first, answered)) in chat.iter().enumerate() {
            let Some(acknowledged) = first.acknowledged else { continue };
            wrong += chat[at + 1..].iter().filter(|(later, to)| later.at > acknowledged && to < answered).count();
        }
    }
    wrong
}

fn own_time() -> Duration {
    crate::lambda::processor_time(std::process::id())
}

/// A quantile of sorted numbers.
pub(crate) fn quantile(sorted: &[f64], at: f64) -> f64 {
    if sorted.is_empty() {
        return f64::NAN;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and the length")]
    let index = ((sorted.len() as f64 * at).ceil() as usize).clamp(1, sorted.len()) - 1;
    sorted[index]
}

pub(crate) fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_come_at_their_rate() {
        for (rate, expected) in [
            (Rate::Steady(100.0), 10_000.0),
            (Rate::Burst { base: 100.0, from: 40.0, to: 50.0 }, 19_000.0),
            (Rate::Day { mean: 100.0, seconds: 100.0 }, 10_000.0),
        ] {
            let arrivals = rate.arrivals(100.0);
            assert!((arrivals.len() as f64 / expected - 1.0).abs() < 0.06, "{} of {expected}", arrivals.len());
            assert!(arrivals.is_sorted());
        }
    }

    #[test]
    fn quantiles_are_of_the_sorted_numbers() {
        let numbers: Vec<f64> = (1..=1000).map(f64::from).collect();
        assert_eq!(
            (quantile(&numbers, 0.5), quantile(&numbers, 0.99), quantile(&numbers, 1.0)),
            (500.0, 990.0, 1000.0)
        );
    }
}
