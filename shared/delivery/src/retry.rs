//! When a reply that did not go out is tried again: one function of what happened to it.
//!
//! What the platform answers counts, and it is asked again after growing pauses. All else, a limit or a service of ours
//! that does not answer, is no refusal: it is waited for by age. Each wait has an end, after which the reply stands in the
//! dead-letter queue with the reason.

use std::time::Duration;

use hoopoe_channels::Retry;

/// A platform that refuses a reply is asked again for at least so long, and so often.
const REFUSED_FOR: Duration = Duration::from_secs(3600);
const REFUSED_AT_LEAST: u32 = 6;

/// The longest pause between two refusals.
const MAX_REFUSED_PAUSE: Duration = Duration::from_secs(300);

/// The first pause where the platform refuses the bot's secret: whoever changes a secret in a platform's console needs a
/// moment to store the new one here.
const BAD_CREDENTIAL_PAUSE: Duration = Duration::from_secs(8);

/// A reply that waits, for its bot's quota or for what a platform asked, is given up after so long: whoever asked has
/// gone. It is less than the queue's retention of four days, so that none is dropped without a word.
const WAITS_FOR: Duration = Duration::from_secs(3 * 24 * 3600);

/// A platform that asks for the same short pause again and again is asked less often with time: after this part of the
/// reply's age at the earliest. So a pause of a second costs a reply a thousand requests in three days, and not a quarter
/// of a million.
const PART_OF_AGE: u32 = 120;

/// A reply that waits looks again after this at the latest: its quota may be a larger one by then.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

/// What only an operator can change, such as a permission or a table that is missing, is waited for so long.
const OPERATOR_HAS: Duration = Duration::from_secs(3600);

/// The longest pause before a service of ours is asked again.
const MAX_WAIT_PAUSE: Duration = Duration::from_secs(900);

const SECOND: Duration = Duration::from_secs(1);

/// Why a reply did not go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The platform refused it, and said what may help.
    Refused(Retry),
    /// The platform may have it; whether it drops a second one itself.
    Unknown {
        /// It does.
        repeatable: bool,
    },
    /// It was not begun: its turn within the bot's quota comes after so long.
    Throttled(Duration),
    /// It was not begun: a service of ours did not answer.
    Unready,
    /// It was not begun, and will not be until the operator has changed something.
    Misconfigured,
    /// It was not begun, because the function's time is over.
    OutOfTime,
}

/// What happened to a reply so far.
#[derive(Clone, Copy, Debug)]
pub struct History {
    /// How often the platform has refused it, this time included.
    pub refusals: u32,
    /// How long ago it was queued.
    pub age: Duration,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is tried again after this pause.
    Again(Duration),
    /// It is given up.
    GiveUp,
}

/// What happens next to a reply that did not go out. `chance`, from 0 to 1, spreads out those that failed together.
#[must_use]
pub fn next(kind: Kind, history: History, chance: f64) -> Next {
    let History { refusals, age } = history;
    let spread = |most: Duration| most.div_f64(2.0) + most.div_f64(2.0).mul_f64(chance);
    let again = |pause: Duration, end: bool| if end { Next::GiveUp } else { Next::Again(pause.max(SECOND)) };
    let refused_enough = age >= REFUSED_FOR && refusals >= REFUSED_AT_LEAST;
    let doubled = (SECOND * 2_u32.saturating_pow(refusals.clamp(1, 16))).min(MAX_REFUSED_PAUSE);
    // Up to as long again as it has waited: each looks a number of times that grows with the logarithm of its wait only.
    let by_age = spread((age / 2).clamp(SECOND * 2, MAX_WAIT_PAUSE));
    match kind {
        Kind::Refused(Retry::Never | Retry::Fallback) | Kind::Unknown { repeatable: false } => Next::GiveUp,
        Kind::Refused(Retry::After(pause) | Retry::BotAfter(pause)) => {
            let pause = pause.max(age / PART_OF_AGE).min(LOOK_AGAIN);
            again(pause + spread(pause.div_f64(10.0)), age >= WAITS_FOR)
        }
        Kind::Refused(Retry::BadCredential) => {
            again((age / 2).clamp(BAD_CREDENTIAL_PAUSE, MAX_REFUSED_PAUSE), age >= REFUSED_FOR)
        }
        Kind::Refused(Retry::Backoff | Retry::NewToken) | Kind::Unknown { repeatable: true } => {
            again(spread(doubled), refused_enough)
        }
        Kind::Throttled(pause) => again((pause + by_age).min(LOOK_AGAIN), age >= WAITS_FOR),
        Kind::Unready => again(by_age, age >= WAITS_FOR),
        Kind::Misconfigured => again(by_age, age >= OPERATOR_HAS),
        Kind::OutOfTime => again(SECOND, age >= WAITS_FOR),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(kind: Kind, refusals: u32, age: Duration) -> Next {
        next(kind, History { refusals, age }, 1.0)
    }

    fn seconds(seconds: u64) -> Next {
        Next::Again(Duration::from_secs(seconds))
    }

    #[test]
    fn what_happens_next_is_in_this_table() {
        let (refused, unknown) = (Kind::Refused, |repeatable| Kind::Unknown { repeatable });
        let after = |seconds| refused(Retry::After(Duration::from_secs(seconds)));
        let bot_after = |seconds| refused(Retry::BotAfter(Duration::from_secs(seconds)));
        let throttled = |seconds| Kind::Throttled(Duration::from_secs(seconds));
        for (kind, refusals, age, expected) in [
            (refused(Retry::Never), 1, Duration::ZERO, Next::GiveUp),
            (refused(Retry::Fallback), 1, Duration::ZERO, Next::GiveUp),
            (unknown(false), 0, Duration::ZERO, Next::GiveUp),
            (refused(Retry::Backoff), 1, Duration::ZERO, seconds(2)),
            (refused(Retry::Backoff), 2, SECOND * 2, seconds(4)),
            (refused(Retry::Backoff), 6, MINUTE * 2, seconds(64)),
            (refused(Retry::Backoff), 9, MINUTE * 20, seconds(300)),
            (refused(Retry::Backoff), 5, HOUR * 2, seconds(32)),
            (refused(Retry::Backoff), 12, HOUR, Next::GiveUp),
            (refused(Retry::NewToken), 12, HOUR, Next::GiveUp),
            (unknown(true), 1, Duration::ZERO, seconds(2)),
            (unknown(true), 12, HOUR, Next::GiveUp),
            (refused(Retry::BadCredential), 1, Duration::ZERO, seconds(8)),
            (refused(Retry::BadCredential), 0, MINUTE, seconds(30)),
            (refused(Retry::BadCredential), 0, HOUR, Next::GiveUp),
            (after(0), 1, Duration::ZERO, seconds(1)),
            (after(60), 30, HOUR * 2, seconds(66)),
            (after(86_400), 2, HOUR * 2, seconds(3960)),
            (after(60), 30, DAY, seconds(792)),
            (after(2), 30, MINUTE, Next::Again(Duration::from_millis(2200))),
            (after(60), 30, DAY * 3, Next::GiveUp),
            (bot_after(60), 1, Duration::ZERO, seconds(66)),
            (bot_after(60), 30, DAY * 3, Next::GiveUp),
            (throttled(1), 0, Duration::ZERO, seconds(3)),
            (throttled(60), 0, MINUTE, seconds(90)),
            (throttled(86_400), 0, HOUR, seconds(3600)),
            (throttled(60), 0, DAY * 3, Next::GiveUp),
            (Kind::Unready, 0, Duration::ZERO, seconds(2)),
            (Kind::Unready, 0, MINUTE, seconds(30)),
            (Kind::Unready, 0, DAY, seconds(900)),
            (Kind::Unready, 0, DAY * 3, Next::GiveUp),
            (Kind::Misconfigured, 0, MINUTE, seconds(30)),
            (Kind::Misconfigured, 0, HOUR, Next::GiveUp),
            (Kind::OutOfTime, 0, MINUTE, seconds(1)),
        ] {
            assert_eq!(at(kind, refusals, age), expected, "{kind:?}, {refusals} refusals, {age:?} old");
        }
    }

    /// A platform that is away for a minute, or for most of an hour, loses no reply.
    #[test]
    fn an_outage_of_less_than_an_hour_loses_nothing() {
        for chance in [0.0, 0.5, 1.0] {
            let (mut age, mut refusals) = (Duration::ZERO, 0);
            while age < HOUR {
                refusals += 1;
                match next(Kind::Refused(Retry::Backoff), History { refusals, age }, chance) {
                    Next::Again(pause) => age += pause,
                    Next::GiveUp => panic!("given up after {age:?}"),
                }
            }
            assert!(refusals < 40, "{refusals} requests in an hour");
        }
    }

    /// A limit of a minute, an hour or a day loses no reply, and costs few requests.
    #[test]
    fn the_window_of_a_limit_is_waited_for() {
        for (pause, window, most) in
            [(MINUTE, MINUTE, 2), (MINUTE, HOUR, 61), (MINUTE, DAY, 600), (HOUR, DAY, 25), (SECOND, DAY * 2, 1200)]
        {
            let (mut age, mut refusals) = (Duration::ZERO, 0);
            while age < window {
                refusals += 1;
                match next(Kind::Refused(Retry::BotAfter(pause)), History { refusals, age }, 0.0) {
                    Next::Again(pause) => age += pause,
                    Next::GiveUp => panic!("given up after {age:?}"),
                }
            }
            assert!(refusals <= most, "{refusals} requests in {window:?} by pauses of {pause:?}");
        }
    }

    proptest! {
        #[test]
        fn every_wait_has_an_end_and_a_pause_of_at_least_a_second(
            kind in prop_oneof![
                Just(Kind::Unready), Just(Kind::Misconfigured), Just(Kind::OutOfTime),
                (0..100_000_u64).prop_map(|seconds| Kind::Throttled(Duration::from_secs(seconds))),
                (0..100_000_u64).prop_map(|seconds| Kind::Refused(Retry::After(Duration::from_secs(seconds)))),
                (0..100_000_u64).prop_map(|seconds| Kind::Refused(Retry::BotAfter(Duration::from_secs(seconds)))),
                Just(Kind::Refused(Retry::Backoff)), Just(Kind::Refused(Retry::BadCredential)),
            ],
            refusals in 0..1000_u32, age in 0..400_000_u64, chance in 0.0..=1.0_f64,
        ) {
            match next(kind, History { refusals, age: Duration::from_secs(age) }, chance) {
                Next::Again(pause) => prop_assert!((SECOND..=LOOK_AGAIN + LOOK_AGAIN / 8).contains(&pause), "{pause:?}"),
                Next::GiveUp => {}
            }
            let old = History { refusals: 1000, age: Duration::from_secs(4 * 24 * 3600) };
            prop_assert_eq!(next(kind, old, chance), Next::GiveUp);
        }
    }
}
