//! How bad it gets: the probability of each fault, drawn by the seed, and how many faults a history may have.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;

/// The probabilities of all faults, from 0 to 1, each at the point where it may happen.
#[derive(Clone, Debug)]
pub struct Weather {
    /// A call is refused for want of capacity, and not carried out.
    pub throttled: f64,
    /// A call is answered 500; half of these were carried out.
    pub failed: f64,
    /// The connection breaks before a call is carried out.
    pub unreached: f64,
    /// A call is carried out and its answer is lost.
    pub lost: f64,
    /// A call takes up to a second longer.
    pub slow: f64,
    /// A call hangs for longer than an attempt may take; half of these are carried out.
    pub hanging: f64,
    /// A call hangs, and is carried out only after its caller has given up.
    pub straggling: f64,
    /// The first connection that a thawed environment uses is broken.
    pub stale: f64,
    /// A part of a batch, or the rest of a page, is left undone.
    pub partial: f64,
    /// A message is delivered once more, whatever became of it.
    pub repeated: f64,
    /// A message is delivered up to [`late_by`](Self::late_by) late.
    pub late: f64,
    /// The longest that a late message takes.
    pub late_by: Duration,
    /// Messages are received in any order; at 0, in that of their arrival.
    pub shuffled: f64,
    /// Deleting a handled message has no effect.
    pub undeleted: f64,
    /// A function is killed at one of its calls.
    pub killed: f64,
    /// What a function answered is not heard: its whole batch comes again.
    pub unheard: f64,
    /// An invocation is throttled: its batch comes again.
    pub crowded: f64,
    /// An invocation gets a new environment though one is free.
    pub cold: f64,
    /// A platform takes a message and answers late: up to 20 s.
    pub platform_late: f64,
    /// A platform never answers; half of these requests were taken.
    pub platform_silent: f64,
    /// A platform answers 429 with a `Retry-After`.
    pub platform_busy: f64,
    /// A platform refuses with an error of its own, such as 500.
    pub platform_failed: f64,
    /// A gateway before the platform answers 502 or 504; half of these requests were taken.
    pub platform_gateway: f64,
    /// A platform takes a message and says in its own words that it did not: no sender can know.
    pub platform_lies: f64,
    /// A platform does not accept a credential that is good.
    pub platform_denies: f64,
    /// A platform refuses a message for good.
    pub platform_refuses: f64,
    /// A platform does not hear a webhook's answer, and repeats the event.
    pub platform_deaf: f64,
    /// How far an environment's clock may be off, both ways.
    pub skew: Duration,
    /// Calls a second that the bot may make.
    pub quota: u32,
    /// How many of a hundred expired items are deleted at once; the others stay up to 48 hours.
    pub deleted_at_once: u8,
    /// How many faults a history has at most, so that each history ends.
    pub budget: u32,
}

/// More calls a second than any history has.
pub const PLENTY: u32 = 1000;

impl Weather {
    /// No fault at all: only the usual latencies.
    #[must_use]
    pub const fn calm() -> Self {
        Self {
            throttled: 0.0,
            failed: 0.0,
            unreached: 0.0,
            lost: 0.0,
            slow: 0.0,
            hanging: 0.0,
            straggling: 0.0,
            stale: 0.0,
            partial: 0.0,
            repeated: 0.0,
            late: 0.0,
            late_by: Duration::ZERO,
            shuffled: 0.0,
            undeleted: 0.0,
            killed: 0.0,
            unheard: 0.0,
            crowded: 0.0,
            cold: 0.0,
            platform_late: 0.0,
            platform_silent: 0.0,
            platform_busy: 0.0,
            platform_failed: 0.0,
            platform_gateway: 0.0,
            platform_lies: 0.0,
            platform_denies: 0.0,
            platform_refuses: 0.0,
            platform_deaf: 0.0,
            skew: Duration::ZERO,
            quota: PLENTY,
            deleted_at_once: 50,
            budget: 0,
        }
    }

    /// A storm of this seed. Each kind of fault is in about half of the storms, so that a fault that another one hides is
    /// seen alone too, and so that a history is small enough to read.
    #[must_use]
    pub fn storm(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed ^ 0x0077_6561_7468_6572);
        let storm = Self::of(&mut random);
        if random.u8(0..8) > 0 {
            return storm;
        }
        // Where the bot may make few calls, AWS is calm: what a slow call of AWS holds back is counted a moment earlier
        // than it leaves.
        let calm = Self::calm();
        Self {
            quota: 1 + u32::from(random.bool()),
            throttled: calm.throttled,
            failed: calm.failed,
            unreached: calm.unreached,
            lost: calm.lost,
            slow: calm.slow,
            hanging: calm.hanging,
            straggling: calm.straggling,
            stale: calm.stale,
            ..storm
        }
    }

    /// The same without the faults that it needs not for failing, each kind taken out if it fails without, and with as few
    /// of the others as it fails with.
    #[must_use]
    pub fn shrunk(self, fails: impl Fn(&Self) -> bool) -> Self {
        let mut least = self;
        for kind in 0..least.faults().len() {
            let mut without = least.clone();
            *without.faults()[kind].1 = 0.0;
            if without.to_string() != least.to_string() && fails(&without) {
                least = without;
            }
        }
        let fewer = (0..least.budget).map(|budget| Self { budget, ..least.clone() }).find(|fewer| fails(fewer));
        fewer.unwrap_or(least)
    }

    /// The probabilities of the faults that a history may do without, with their names.
    fn faults(&mut self) -> [(&'static str, &mut f64); 26] {
        [
            ("throttled", &mut self.throttled),
            ("failed", &mut self.failed),
            ("unreached", &mut self.unreached),
            ("lost", &mut self.lost),
            ("slow", &mut self.slow),
            ("hanging", &mut self.hanging),
            ("straggling", &mut self.straggling),
            ("stale", &mut self.stale),
            ("partial", &mut self.partial),
            ("repeated", &mut self.repeated),
            ("late", &mut self.late),
            ("shuffled", &mut self.shuffled),
            ("undeleted", &mut self.undeleted),
            ("killed", &mut self.killed),
            ("unheard", &mut self.unheard),
            ("crowded", &mut self.crowded),
            ("cold", &mut self.cold),
            ("platform_late", &mut self.platform_late),
            ("platform_silent", &mut self.platform_silent),
            ("platform_busy", &mut self.platform_busy),
            ("platform_failed", &mut self.platform_failed),
            ("platform_gateway", &mut self.platform_gateway),
            ("platform_lies", &mut self.platform_lies),
            ("platform_denies", &mut self.platform_denies),
            ("platform_refuses", &mut self.platform_refuses),
            ("platform_deaf", &mut self.platform_deaf),
        ]
    }

    fn of(random: &mut Rng) -> Self {
        let mut some = |most: f64| if random.bool() { most * random.f64() } else { 0.0 };
        Self {
            throttled: some(0.1),
            failed: some(0.1),
            unreached: some(0.05),
            lost: some(0.1),
            slow: some(0.1),
            hanging: some(0.05),
            straggling: some(0.05),
            stale: some(0.3),
            partial: some(0.3),
            repeated: some(0.3),
            late: some(0.3),
            late_by: Duration::from_secs_f64(0.1 + some(30.0)),
            shuffled: some(1.0),
            undeleted: some(0.2),
            killed: some(0.3),
            unheard: some(0.2),
            crowded: some(0.2),
            cold: some(1.0),
            platform_late: some(0.2),
            platform_silent: some(0.2),
            platform_busy: some(0.2),
            platform_failed: some(0.2),
            platform_gateway: some(0.2),
            platform_lies: some(0.05),
            platform_denies: some(0.05),
            platform_refuses: some(0.1),
            platform_deaf: some(0.3),
            skew: Duration::from_secs_f64(some(0.5)),
            quota: PLENTY,
            deleted_at_once: 50,
            budget: 1 + random.u32(0..12),
        }
    }
}

/// The faults that may happen.
impl fmt::Display for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut weather = self.clone();
        let names: Vec<&str> =
            weather.faults().into_iter().filter(|(_, probability)| **probability > 0.0).map(|(name, _)| name).collect();
        write!(f, "at most {} faults, of these kinds: {}", self.budget, names.join(", "))
    }
}

/// Draws faults and everything else that is left to chance, in the order of the calls: the same seed gives the same
/// history.
#[derive(Debug)]
pub struct Dice {
    weather: Weather,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: Rng,
    left: u32,
}

impl Dice {
    /// Dice of a seed.
    #[must_use]
    pub fn new(weather: Weather, seed: u64) -> Self {
        let state = State { random: Rng::with_seed(seed), left: weather.budget };
        Self { weather, state: Mutex::new(state) }
    }

    /// The probabilities.
    #[must_use]
    pub const fn weather(&self) -> &Weather {
        &self.weather
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a fault happens; it is taken from the budget.
    pub fn fault(&self, probability: f64) -> bool {
        // Nothing is drawn for what cannot happen, so that a kind of fault that is taken out leaves the others alone.
        if probability <= 0.0 {
            return false;
        }
        let mut state = self.lock();
        let happens = state.random.f64() < probability && state.left > 0;
        state.left -= u32::from(happens);
        happens
    }

    /// Whether something harmless happens, which may happen any number of times.
    pub fn chance(&self, probability: f64) -> bool {
        probability > 0.0 && self.lock().random.f64() < probability
    }

    /// A whole number below `bound`; 0 where there is none.
    pub fn below(&self, bound: usize) -> usize {
        if bound == 0 { 0 } else { self.lock().random.usize(0..bound) }
    }

    /// A time up to `longest`, in whole milliseconds.
    pub fn up_to(&self, longest: Duration) -> Duration {
        let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX - 1);
        Duration::from_millis(self.lock().random.u64(0..=longest))
    }

    /// How many faults may still happen.
    pub fn left(&self) -> u32 {
        self.lock().left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_end_with_the_budget() {
        let dice = Dice::new(Weather { budget: 3, ..Weather::calm() }, 1);
        let faults = (0..100).filter(|_| dice.fault(1.0)).count();
        assert_eq!((faults, dice.left()), (3, 0));
        assert!(dice.chance(1.0) && !dice.chance(0.0) && dice.below(0) == 0);
    }

    #[test]
    fn a_storm_shrinks_to_what_makes_it_fail() {
        let storm = Weather { killed: 0.2, lost: 0.1, late: 0.3, budget: 9, ..Weather::calm() };
        let least = storm.shrunk(|weather| weather.killed > 0.0 && weather.budget >= 3);
        assert_eq!(least.to_string(), "at most 3 faults, of these kinds: killed");
    }

    #[test]
    fn a_storm_is_that_of_its_seed() {
        let storm = |seed| format!("{:?}", Weather::storm(seed));
        assert_eq!(storm(7), storm(7));
        assert_ne!(storm(7), storm(8));
    }
}
