//! The arithmetic of a daily budget.

use super::rate::Micros;

/// A day; days begin at midnight UTC.
const DAY: Micros = 24 * 3600 * 1_000_000;

/// A function takes at most this part of a budget ahead.
const SHARE: u64 = 100;

/// What one function knows about a key's budget of the day.
#[derive(Debug, Default)]
pub(super) struct Day {
    /// Days since the epoch.
    day: u64,
    /// Units it has taken from the table and not used.
    left: u64,
    /// The table's `used` when this function last heard of it. It never goes back.
    used: u64,
}

/// What a caller gets from the units at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The units are the caller's.
    Units,
    /// So many units are to be taken from the table first: where `used` is `last` or less, it grows by `units`.
    Ask { day: u64, units: u64, last: u64 },
    /// The day has not enough left. The next one begins at this time.
    Exhausted { until: Micros },
}

impl Day {
    /// Takes units of a budget of `per_day`, for one of `waiting` callers.
    ///
    /// What is taken ahead is for the callers that are there, and at most a hundredth of the budget.
    pub(super) fn take(&mut self, now: Micros, per_day: u64, units: u64, waiting: usize) -> Found {
        let day = now / DAY;
        if self.day != day {
            *self = Self { day, left: 0, used: 0 };
        }
        if let Some(left) = self.left.checked_sub(units) {
            self.left = left;
            return Found::Units;
        }
        let (need, room) = (units - self.left, per_day.saturating_sub(self.used));
        if need > room {
            return Found::Exhausted { until: (day + 1) * DAY };
        }
        let ahead = units.saturating_mul(waiting as u64).min(per_day / SHARE);
        let units = ahead.max(need).min(room);
        Found::Ask { day, units, last: per_day - units }
    }

    /// The table gave the units, and now says `used`.
    pub(super) fn granted(&mut self, day: u64, units: u64, used: u64) {
        if self.day == day {
            self.left += units;
            self.used = used;
        }
    }

    /// The condition did not hold: the table says `used`.
    pub(super) fn refused(&mut self, day: u64, used: u64) {
        if self.day == day {
            self.used = used;
        }
    }

    /// The caller does not go after all: the next one here gets its units.
    pub(super) fn give_back(&mut self, now: Micros, units: u64) {
        if self.day == now / DAY {
            self.left += units;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const NOON: Micros = 20_000 * DAY + DAY / 2;

    #[test]
    fn what_is_taken_ahead_is_a_hundredth_at_most() {
        let mut day = Day::default();
        let asked = |found| match found {
            Found::Ask { units, .. } => units,
            other => panic!("{other:?}"),
        };
        assert_eq!(asked(day.take(NOON, 1000, 1, 1)), 1, "a lone call takes what it needs");
        assert_eq!(asked(day.take(NOON, 1000, 1, 50)), 10);
        assert_eq!(asked(day.take(NOON, 1000, 300, 50)), 300, "a call of many units takes them");
        assert_eq!(day.take(NOON, 1000, 1001, 1), Found::Exhausted { until: 20_001 * DAY });
    }

    #[test]
    fn a_new_day_has_a_new_budget() {
        let mut day = Day::default();
        assert!(matches!(day.take(NOON, 5, 1, 1), Found::Ask { .. }));
        day.refused(20_000, 5);
        assert_eq!(day.take(NOON, 5, 1, 1), Found::Exhausted { until: 20_001 * DAY });
        assert!(matches!(day.take(NOON + DAY, 5, 1, 1), Found::Ask { day: 20_001, units: 1, last: 4 }));
        day.granted(20_000, 1, 5);
        assert_eq!(day.left, 0, "what was taken of yesterday's budget is gone");
    }

    #[test]
    fn what_is_given_back_is_used_first() {
        let mut day = Day::default();
        day.take(NOON, 5, 1, 1);
        day.granted(20_000, 1, 5);
        assert_eq!(day.take(NOON, 5, 1, 1), Found::Units);
        day.give_back(NOON, 1);
        assert_eq!(day.take(NOON, 5, 1, 1), Found::Units);
        assert!(matches!(day.take(NOON, 5, 1, 1), Found::Exhausted { .. }));
    }

    proptest! {
        #[test]
        fn no_day_ever_uses_more_than_its_budget(
            per_day in 0..500_u64,
            calls in prop::collection::vec((0..10_usize, 1..20_u64, 1..20_usize, 0..DAY / 20, any::<bool>()), 1..300),
        ) {
            let mut functions: Vec<Day> = (0..10).map(|_| Day::default()).collect();
            let (mut table, mut spent) = (HashMap::<u64, u64>::new(), HashMap::<u64, u64>::new());
            let mut now = NOON;
            for (function, units, waiting, after, goes) in calls {
                now += after;
                let day = &mut functions[function];
                loop {
                    match day.take(now, per_day, units, waiting) {
                        Found::Units if goes => {
                            *spent.entry(now / DAY).or_default() += units;
                            break;
                        }
                        Found::Units => break day.give_back(now, units),
                        Found::Ask { day: date, units, last } => {
                            let used = table.entry(date).or_default();
                            if *used <= last {
                                *used += units;
                                day.granted(date, units, *used);
                            } else {
                                day.refused(date, *used);
                            }
                        }
                        Found::Exhausted { until } => {
                            prop_assert!(until > now && until <= now + DAY);
                            break;
                        }
                    }
                }
            }
            prop_assert!(spent.values().all(|used| *used <= per_day), "{spent:?} of {per_day}");
        }
    }
}
