//! The arithmetic of a rate: slots on one schedule that all functions share.

use std::collections::VecDeque;

use super::Quota;

/// Microseconds: a time since the Unix epoch, or a span.
pub(super) type Micros = u64;

/// After silence the schedule begins this far in the past: half a second's worth of slots, and one, is free at once.
pub(super) const BURST: Micros = 500_000;

/// A slot may be used from its time on, and until so much later.
pub(super) const LIFE: Micros = 1_000_000;

/// What is reserved ahead is reckoned from the calls of the last second.
const RECENT: Micros = 1_000_000;

/// What one function knows about a key's schedule.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// The slots it has reserved and not used: from `next` on, each `step` after the one before, up to `end`.
    next: Micros,
    end: Micros,
    step: Micros,
    /// The table's `next_at` when this function last heard of it. It never goes back.
    known: Micros,
    /// When the calls of the last second were let go.
    recent: VecDeque<Micros>,
}

/// What a caller gets from the slots at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This slot is the caller's.
    Slot(Micros),
    /// The next slot comes at this time, which is later than the caller waits.
    Later(Micros),
    /// There is none: ask the table.
    Nothing,
}

/// Which of two conditional updates reserves slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guess {
    /// After silence: where `next_at` is `floor` or before, or there is none, it becomes `floor + span`.
    Idle,
    /// Otherwise: where it is after `floor` and not after `last`, it grows by `span`.
    Busy,
}

/// A reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) guess: Guess,
    /// Before this no slot begins.
    pub(super) floor: Micros,
    /// The latest `next_at` with which the first slot comes in time.
    pub(super) last: Micros,
    /// How far the slots reach.
    pub(super) span: Micros,
    step: Micros,
}

impl Rate {
    /// Takes the next slot at hand, if it comes by `until`.
    pub(super) fn take(&mut self, now: Micros, until: Micros) -> Found {
        let earliest = now.saturating_sub(LIFE);
        if self.next < earliest && self.next < self.end {
            self.next += (earliest - self.next).div_ceil(self.step) * self.step;
        }
        if self.next >= self.end {
            return Found::Nothing;
        }
        if self.next > until {
            return Found::Later(self.next);
        }
        let slot = self.next;
        self.next += self.step;
        self.recent.push_back(now);
        Found::Slot(slot)
    }

    /// What to reserve for `waiting` callers, of whom this one waits until `until`; or, as an error, the time of the next
    /// slot, where that is later. Nothing is reserved then.
    ///
    /// As many slots as callers are there now and can wait for theirs, and as many as there were in the last second: the
    /// callers of the next one find theirs here.
    pub(super) fn ask(&mut self, quota: Quota, now: Micros, until: Micros, waiting: usize) -> Result<Ask, Micros> {
        while self.recent.front().is_some_and(|used| used + RECENT < now) {
            self.recent.pop_front();
        }
        let (step, floor) = (quota.step(), now.saturating_sub(BURST));
        let first = self.known.max(floor);
        if first > until {
            return Err(first);
        }
        let count = (waiting as u64).clamp(1, (until - first) / step + 1) + self.recent.len() as u64;
        let guess = if self.known > floor { Guess::Busy } else { Guess::Idle };
        Ok(Ask { guess, floor, last: until, span: count * step, step })
    }

    /// The table did as asked, and now says `next_at`.
    pub(super) fn granted(&mut self, ask: &Ask, next_at: Micros) {
        self.known = next_at;
        (self.next, self.end, self.step) = (next_at.saturating_sub(ask.span), next_at, ask.step);
    }

    /// The condition did not hold: the table says `next_at`.
    pub(super) fn refused(&mut self, next_at: Micros) {
        self.known = next_at;
    }
}

/// Whether a slot may be used now.
pub(super) const fn is_usable(slot: Micros, now: Micros) -> bool {
    slot <= now && now <= slot + LIFE
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::num::NonZeroU32;

    const SECOND: Micros = 1_000_000;
    const START: Micros = 1_700_000_000 * SECOND;

    fn quota(per_second: u32) -> Quota {
        Quota { per_second: NonZeroU32::new(per_second).expect("not zero"), per_day: None }
    }

    /// The item in the table, and its two updates as DynamoDB does them.
    #[derive(Default)]
    struct Item {
        next_at: Micros,
        writes: usize,
    }

    impl Item {
        fn update(&mut self, ask: &Ask) -> Result<Micros, Micros> {
            self.writes += 1;
            let (holds, from) = match ask.guess {
                Guess::Idle => (self.next_at <= ask.floor, ask.floor),
                Guess::Busy => (self.next_at > ask.floor && self.next_at <= ask.last, self.next_at),
            };
            if !holds {
                return Err(self.next_at);
            }
            self.next_at = from + ask.span;
            Ok(self.next_at)
        }
    }

    /// One caller's way to a slot.
    fn reserve(
        rate: &mut Rate,
        item: &mut Item,
        quota: Quota,
        now: Micros,
        patience: Micros,
        waiting: usize,
    ) -> Result<Micros, Micros> {
        let until = now + patience;
        for _ in 0..5 {
            match rate.take(now, until) {
                Found::Slot(slot) => return Ok(slot),
                Found::Later(slot) => return Err(slot),
                Found::Nothing => {}
            }
            let ask = rate.ask(quota, now, until, waiting)?;
            match item.update(&ask) {
                Ok(next_at) => rate.granted(&ask, next_at),
                Err(next_at) => rate.refused(next_at),
            }
        }
        panic!("the second guess is right when nobody interferes");
    }

    #[test]
    fn a_lone_call_goes_at_once_and_reserves_one_slot() {
        let (mut rate, mut item) = (Rate::default(), Item::default());
        for call in 0..5 {
            let now = START + call * 3 * SECOND;
            let slot = reserve(&mut rate, &mut item, quota(10), now, 0, 1).expect("a slot");
            assert!(is_usable(slot, now));
            assert_eq!(item.next_at, now - BURST + SECOND / 10, "one slot and no more");
        }
        assert_eq!(item.writes, 5);
    }

    #[test]
    fn ten_that_come_together_cost_one_write_and_wait_less_than_half_a_second() {
        let (mut rate, mut item) = (Rate::default(), Item::default());
        let slots: Vec<_> = (0..10)
            .map(|call| reserve(&mut rate, &mut item, quota(10), START, SECOND, 10 - call).expect("a slot"))
            .collect();
        assert_eq!(item.writes, 1);
        assert_eq!(slots.iter().filter(|slot| **slot <= START).count(), 6);
        assert_eq!(slots.last(), Some(&(START + 400_000)));
    }

    #[test]
    fn a_busy_function_pays_about_a_write_a_second() {
        let (mut rate, mut item, mut calls) = (Rate::default(), Item::default(), 0);
        let mut now = START;
        while now < START + 60 * SECOND {
            let slot = reserve(&mut rate, &mut item, quota(10), now, SECOND, 1).expect("nobody else is there");
            now = now.max(slot) + 1000;
            calls += 1;
        }
        assert!((600..=606).contains(&calls), "{calls}");
        assert!(item.writes <= 60, "{} writes for {calls} calls", item.writes);
    }

    #[test]
    fn fifty_functions_that_always_have_callers_use_most_of_the_rate() {
        for per_second in [10, 50] {
            let (mut item, mut calls, mut asks) = (Item::default(), 0_u64, 0);
            let mut functions: Vec<Rate> = (0..50).map(|_| Rate::default()).collect();
            // Who asks next, and when.
            let mut next: BTreeSet<(Micros, usize)> =
                (0..50).map(|function| (START + function as u64, function)).collect();
            while let Some((now, function)) = next.pop_first().filter(|(now, _)| *now < START + 60 * SECOND) {
                asks += 1;
                let again = match reserve(&mut functions[function], &mut item, quota(per_second), now, SECOND, 1) {
                    Ok(slot) => {
                        calls += 1;
                        slot.max(now) + 1000
                    }
                    Err(later) => later.max(now + 1),
                };
                next.insert((again, function));
            }
            let rate = calls as f64 / 60.0 / f64::from(per_second);
            assert!((0.8..=1.02).contains(&rate), "{rate} of {per_second} calls a second");
            // One, and a second one where the first guessed wrong whether the key was idle.
            assert!(item.writes <= 2 * asks, "{} writes for {asks} asks", item.writes);
            assert!(item.writes as u64 <= 8 * calls, "{} writes for {calls} calls", item.writes);
        }
    }

    #[test]
    fn who_cannot_wait_is_told_when_and_takes_nothing() {
        let (mut rate, mut item) = (Rate::default(), Item { next_at: START + 20 * SECOND, writes: 0 });
        for writes in [1, 1, 1] {
            let later = reserve(&mut rate, &mut item, quota(10), START, SECOND, 1);
            assert_eq!(later, Err(START + 20 * SECOND));
            assert_eq!(item.next_at, START + 20 * SECOND);
            assert_eq!(item.writes, writes, "what is known is not asked again");
        }
    }

    #[test]
    fn a_schedule_that_was_deleted_begins_anew() {
        let (mut rate, mut item) = (Rate::default(), Item::default());
        for _ in 0..8 {
            reserve(&mut rate, &mut item, quota(10), START, SECOND, 1).expect("a slot");
        }
        item.next_at = 0;
        reserve(&mut rate, &mut item, quota(10), START + 200_000, SECOND, 1).expect("a slot");
    }

    /// What happens in the model: at a function, after a while.
    #[derive(Clone, Debug)]
    struct Event {
        function: usize,
        /// Since the event before.
        after: Micros,
        /// How many callers come together, and how long they wait.
        callers: usize,
        patience: Micros,
        /// How long after its slot came a caller goes on.
        late: Micros,
        /// The function ends, and what it had reserved is lost.
        ends: bool,
    }

    fn event(functions: usize) -> impl Strategy<Value = Event> {
        let late = prop_oneof![4 => 0..20_000_u64, 1 => 0..2 * SECOND];
        let after = prop_oneof![4 => 0..50_000_u64, 1 => 0..2 * SECOND];
        (0..functions, after, 1..15_usize, 0..2 * SECOND, late, prop::bool::weighted(0.02)).prop_map(
            |(function, after, callers, patience, late, ends)| Event { function, after, callers, patience, late, ends },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
        /// The bound in the module's documentation.
        #[test]
        fn no_window_holds_more_calls_than_the_bound(
            per_second in 1..60_u32,
            skews in prop::collection::vec(0..200_000_u64, 20),
            events in prop::collection::vec(event(20), 1..400),
        ) {
            let (mut item, mut now, mut calls) = (Item::default(), START, Vec::new());
            let mut functions: Vec<Rate> = skews.iter().map(|_| Rate::default()).collect();
            let quota = quota(per_second);
            for event in events {
                now += event.after;
                if event.ends {
                    functions[event.function] = Rate::default();
                }
                // Clocks are up to 100 ms before or after the true time.
                let clock = |time: Micros| time + skews[event.function] - 100_000;
                for caller in 0..event.callers {
                    let waiting = event.callers - caller;
                    let rate = &mut functions[event.function];
                    if let Ok(slot) = reserve(rate, &mut item, quota, clock(now), event.patience, waiting) {
                        prop_assert!(slot <= clock(now) + event.patience);
                        let goes = now + slot.saturating_sub(clock(now)) + event.late;
                        if is_usable(slot, clock(goes)) {
                            calls.push(goes);
                        }
                    }
                }
            }
            calls.sort_unstable();
            for window in [0, SECOND / 10, SECOND, 10 * SECOND] {
                let bound = (window + LIFE + 200_000) / quota.step() + 1;
                let most = calls.iter().enumerate().map(|(at, call)| {
                    calls[at..].iter().take_while(|later| **later <= call + window).count() as u64
                });
                let most = most.max().unwrap_or(0);
                prop_assert!(most <= bound, "{most} calls in {window} µs, and the bound is {bound}");
            }
        }
    }
}
