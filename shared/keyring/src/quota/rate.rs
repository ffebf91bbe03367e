//! The arithmetic of a rate: slots on one schedule that all functions share, and each function's share beside it.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use super::Quota;

/// Microseconds: a time since the Unix epoch, or a span.
pub(super) type Micros = u64;

/// After silence the schedule begins this far in the past: half a second's worth of slots, and one, is free at once.
pub(super) const BURST: Micros = 500_000;

/// A slot may be used from its time on, and until so much later.
pub(super) const LIFE: Micros = 1_000_000;

/// What is reserved ahead is reckoned from the calls of the last second.
const RECENT: Micros = 1_000_000;

/// After silence a function may use so much of its share at once.
const OWN_BURST: Micros = 1_000_000;

/// How a key's rate is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Division {
    /// Between two slots of the schedule that all functions share.
    step: Micros,
    /// Between two calls that a function makes by its share; `None` if it has none.
    own_step: Option<Micros>,
}

impl Division {
    /// Half of the rate, divided among `functions` in whole calls a second; what is left is shared.
    pub(super) const fn of(quota: Quota, functions: Option<NonZeroU32>) -> Self {
        let rate = quota.per_second.get();
        let (functions, own) = match functions {
            Some(functions) => (functions.get(), rate / 2 / functions.get()),
            None => (0, 0),
        };
        let own_step = if own == 0 { None } else { Some(step(own)) };
        Self { step: step(rate - own * functions), own_step }
    }
}

/// The time between two of so many calls a second, rounded up: never more calls than said.
const fn step(per_second: u32) -> Micros {
    1_000_000_u64.div_ceil(per_second as u64)
}

/// What one function knows about a key's schedule.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// When the next call by its share may go; `None` before the function's first call. A function that is new may have
    /// taken the place of one that just used its share, so it has to earn one first.
    own_at: Option<Micros>,
    /// Before this the platform takes nothing.
    paused_until: Micros,
    /// The slots it has reserved and not used: from `next` on, each `step` after the one before, up to `end`.
    next: Micros,
    end: Micros,
    step: Micros,
    /// The table's `next_at` when this function last heard of it, or the end of a pause. It never goes back.
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

    /// Whether a call may go now by this function's share.
    pub(super) fn take_own(&mut self, division: Division, now: Micros) -> bool {
        let Some(step) = division.own_step else { return false };
        let earned = self.paused_until + step;
        let Some(next) = self.own_at else {
            self.own_at = Some(earned.max(now + step));
            return false;
        };
        let next = next.max(earned).max((now + step).saturating_sub(OWN_BURST));
        if next > now {
            return false;
        }
        self.own_at = Some(next + step);
        true
    }

    /// Takes note that the platform takes nothing before `until`: what was reserved until then is lost.
    pub(super) fn pause(&mut self, until: Micros) {
        self.paused_until = self.paused_until.max(until);
        self.known = self.known.max(until);
        if self.next < until {
            self.end = self.next;
        }
    }

    /// Until when this function knows of a pause.
    pub(super) const fn paused_until(&self) -> Micros {
        self.paused_until
    }

    /// What to reserve for `waiting` callers, of whom this one waits until `until`; or, as an error, the time of the next
    /// slot, where that is later. Nothing is reserved then.
    ///
    /// As many slots as callers are there now and can wait for theirs, and as many as there were in the last second: the
    /// callers of the next one find theirs here.
    pub(super) fn ask(
        &mut self,
        division: Division,
        now: Micros,
        until: Micros,
        waiting: usize,
    ) -> Result<Ask, Micros> {
        while self.recent.front().is_some_and(|used| used + RECENT < now) {
            self.recent.pop_front();
        }
        let (step, floor) = (division.step, now.saturating_sub(BURST));
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

    /// The condition did not hold: the table says `next_at`, and until when the platform takes nothing.
    pub(super) fn refused(&mut self, next_at: Micros, paused_until: Micros) {
        self.known = next_at;
        self.pause(paused_until);
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

    /// A rate that functions share, each without a share of its own.
    fn shared(per_second: u32) -> Division {
        Division::of(quota(per_second), None)
    }

    /// A rate that is divided among so many functions.
    fn divided(per_second: u32, functions: u32) -> Division {
        Division::of(quota(per_second), NonZeroU32::new(functions))
    }

    fn quota(per_second: u32) -> Quota {
        Quota { per_second: NonZeroU32::new(per_second).expect("not zero"), per_day: None }
    }

    /// The item in the table, and its two updates as DynamoDB does them.
    #[derive(Default)]
    struct Item {
        next_at: Micros,
        paused_until: Micros,
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

    /// One caller's way to a slot, and whether it goes at once by the function's share.
    fn turn(
        rate: &mut Rate,
        item: &mut Item,
        division: Division,
        now: Micros,
        patience: Micros,
        waiting: usize,
    ) -> Result<(Micros, bool), Micros> {
        let until = now + patience;
        for _ in 0..5 {
            if let Found::Slot(slot) = rate.take(now, now) {
                return Ok((slot, false));
            }
            if rate.take_own(division, now) {
                return Ok((now, true));
            }
            match rate.take(now, until) {
                Found::Slot(slot) => return Ok((slot, false)),
                Found::Later(slot) => return Err(slot),
                Found::Nothing => {}
            }
            let ask = rate.ask(division, now, until, waiting)?;
            match item.update(&ask) {
                Ok(next_at) => rate.granted(&ask, next_at),
                Err(next_at) => rate.refused(next_at, item.paused_until),
            }
        }
        panic!("the second guess is right when nobody interferes");
    }

    fn reserve(
        rate: &mut Rate,
        item: &mut Item,
        division: Division,
        now: Micros,
        patience: Micros,
        waiting: usize,
    ) -> Result<Micros, Micros> {
        turn(rate, item, division, now, patience, waiting).map(|(slot, _)| slot)
    }

    #[test]
    fn a_lone_call_goes_at_once_and_reserves_one_slot() {
        let (mut rate, mut item) = (Rate::default(), Item::default());
        for call in 0..5 {
            let now = START + call * 3 * SECOND;
            let slot = reserve(&mut rate, &mut item, shared(10), now, 0, 1).expect("a slot");
            assert!(is_usable(slot, now));
            assert_eq!(item.next_at, now - BURST + SECOND / 10, "one slot and no more");
        }
        assert_eq!(item.writes, 5);
    }

    #[test]
    fn ten_that_come_together_cost_one_write_and_wait_less_than_half_a_second() {
        let (mut rate, mut item) = (Rate::default(), Item::default());
        let slots: Vec<_> = (0..10)
            .map(|call| reserve(&mut rate, &mut item, shared(10), START, SECOND, 10 - call).expect("a slot"))
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
            let slot = reserve(&mut rate, &mut item, shared(10), now, SECOND, 1).expect("nobody else is there");
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
                let again = match reserve(&mut functions[function], &mut item, shared(per_second), now, SECOND, 1) {
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
        let (mut rate, mut item) = (Rate::default(), Item { next_at: START + 20 * SECOND, ..Item::default() });
        for writes in [1, 1, 1] {
            let later = reserve(&mut rate, &mut item, shared(10), START, SECOND, 1);
            assert_eq!(later, Err(START + 20 * SECOND));
            assert_eq!(item.next_at, START + 20 * SECOND);
            assert_eq!(item.writes, writes, "what is known is not asked again");
        }
    }

    #[test]
    fn a_schedule_that_was_deleted_begins_anew() {
        let (mut rate, mut item) = (Rate::default(), Item::default());
        for _ in 0..8 {
            reserve(&mut rate, &mut item, shared(10), START, SECOND, 1).expect("a slot");
        }
        item.next_at = 0;
        reserve(&mut rate, &mut item, shared(10), START + 200_000, SECOND, 1).expect("a slot");
    }

    #[test]
    fn slots_are_never_nearer_than_the_rate_says() {
        for per_second in [1, 3, 7, 10, 50, 999_999, 1_000_000, u32::MAX] {
            for functions in [0, 1, 2, 3, 1000, u32::MAX] {
                let Division { step, own_step } = divided(per_second, functions);
                let own = own_step.map_or(0, |_| u64::from(per_second / 2 / functions));
                let rest = u64::from(per_second) - own * u64::from(functions);
                assert!(step >= 1 && step * rest >= 1_000_000, "{per_second} among {functions}");
                assert!(own_step.is_none_or(|step| step * own >= 1_000_000), "{per_second} among {functions}");
            }
        }
        assert_eq!(divided(10, 3), Division { step: step(7), own_step: Some(SECOND) });
        assert_eq!(divided(5, 3), shared(5), "less than a call a second each");
        assert_eq!(divided(10, 0), shared(10), "nobody knows how many");
    }

    #[test]
    fn a_function_uses_its_share_without_asking() {
        let (mut rate, mut item) = (Rate::default(), Item::default());
        for call in 0..100 {
            let now = START + call * SECOND * 11 / 10;
            assert!(reserve(&mut rate, &mut item, divided(10, 3), now, 0, 1).is_ok_and(|slot| is_usable(slot, now)));
        }
        assert_eq!(item.writes, 1, "that of a function that is new");
        // What is beyond its share is asked for.
        let now = START + 120 * SECOND;
        for _ in 0..3 {
            reserve(&mut rate, &mut item, divided(10, 3), now, 0, 1).expect("a slot");
        }
        assert_eq!(item.writes, 3);
    }

    #[test]
    fn after_silence_a_share_is_that_of_a_second() {
        let (mut rate, division) = (Rate::default(), divided(50, 5));
        assert!(!rate.take_own(division, START), "a new function has to earn one");
        for now in [START + 10 * SECOND, START + 3600 * SECOND] {
            assert_eq!((0..100).filter(|_| rate.take_own(division, now)).count(), 5);
        }
    }

    #[test]
    fn a_pause_ends_no_earlier_for_whoever_knows_of_it() {
        let (division, mut item) = (divided(10, 3), Item::default());
        let mut functions: Vec<Rate> = (0..3).map(|_| Rate::default()).collect();
        // All of them have a share, and one has slots in reserve.
        for rate in &mut functions {
            reserve(rate, &mut item, division, START, SECOND, 3).expect("a slot");
        }
        let (now, until) = (START + 5 * SECOND, START + 65 * SECOND);
        functions[0].pause(until);
        (item.next_at, item.paused_until) = (until, until);
        let later = |rate: &mut Rate, item: &mut Item, now| reserve(rate, item, division, now, SECOND, 1);
        assert_eq!(later(&mut functions[0], &mut item, now), Err(until), "it knows without asking");
        let writes = item.writes;
        // Another one has its share for a call, then asks, and then knows it too.
        assert_eq!(later(&mut functions[1], &mut item, now), Ok(now));
        assert_eq!(later(&mut functions[1], &mut item, now), Err(until));
        assert_eq!(later(&mut functions[1], &mut item, now + 10 * SECOND), Err(until), "of its share too");
        assert_eq!(later(&mut Rate::default(), &mut item, now), Err(until), "a new one asks first");
        assert_eq!(item.writes, writes + 2);
        // Afterwards the rate is what it was, from its beginning.
        let calls =
            (0..30).filter(|call| later(&mut functions[call % 2], &mut item, until).is_ok_and(|at| at <= until));
        assert_eq!(calls.count(), 1);
        let soon = until + 2 * SECOND;
        let calls = (0..60).filter(|call| later(&mut functions[call % 2], &mut item, soon).is_ok_and(|at| at <= soon));
        assert!(calls.count() >= 5);
    }

    #[test]
    fn what_was_reserved_before_a_pause_is_lost() {
        let (mut rate, mut item) = (Rate::default(), Item::default());
        reserve(&mut rate, &mut item, shared(10), START, SECOND, 10).expect("a slot");
        rate.pause(START + 60 * SECOND);
        assert_eq!(rate.take(START, START + SECOND), Found::Nothing);
        rate.pause(START + 30 * SECOND);
        assert_eq!(rate.paused_until(), START + 60 * SECOND, "it never becomes shorter");
        assert_eq!(reserve(&mut rate, &mut item, shared(10), START, SECOND, 1), Err(START + 60 * SECOND));
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
        /// The function ends, and what it had reserved is lost. One with such a clock takes its place.
        ends: Option<Micros>,
    }

    fn event(functions: usize) -> impl Strategy<Value = Event> {
        let late = prop_oneof![4 => 0..20_000_u64, 1 => 0..2 * SECOND];
        let after = prop_oneof![4 => 0..50_000_u64, 1 => 0..2 * SECOND];
        let ends = prop::option::weighted(0.05, 0..200_000_u64);
        (0..functions, after, 1..15_usize, 0..2 * SECOND, late, ends).prop_map(
            |(function, after, callers, patience, late, ends)| Event { function, after, callers, patience, late, ends },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
        /// The bound in the module's documentation.
        #[test]
        fn no_window_holds_more_calls_than_the_bound(
            per_second in 1..200_u32,
            // Of none it is not known how many there are.
            known in 0..12_u32,
            skews in prop::collection::vec(0..200_000_u64, 20),
            events in prop::collection::vec(event(20), 1..400),
        ) {
            let (mut item, mut now, mut calls) = (Item::default(), START, Vec::new());
            let division = divided(per_second, known);
            // As many at the same time as are known, or any number of them.
            let count = if known == 0 { skews.len() } else { known as usize };
            let mut functions: Vec<(Rate, Micros)> =
                skews.into_iter().take(count).map(|skew| (Rate::default(), skew)).collect();
            for event in events {
                now += event.after;
                let (rate, skew) = &mut functions[event.function % count];
                if let Some(other) = event.ends {
                    (*rate, *skew) = (Rate::default(), other);
                }
                // Clocks are up to 100 ms before or after the true time.
                let clock = |time: Micros| time + *skew - 100_000;
                for caller in 0..event.callers {
                    let waiting = event.callers - caller;
                    match turn(rate, &mut item, division, clock(now), event.patience, waiting) {
                        Ok((_, true)) => calls.push(now),
                        Ok((slot, false)) => {
                            prop_assert!(slot <= clock(now) + event.patience);
                            let goes = now + slot.saturating_sub(clock(now)) + event.late;
                            if is_usable(slot, clock(goes)) {
                                calls.push(goes);
                            }
                        }
                        Err(_) => {}
                    }
                }
            }
            calls.sort_unstable();
            for window in [0, SECOND / 10, SECOND, 10 * SECOND] {
                let bound = (window + LIFE + 200_000) * u64::from(per_second) / SECOND + 1;
                let most = calls.iter().enumerate().map(|(at, call)| {
                    calls[at..].iter().take_while(|later| **later <= call + window).count() as u64
                });
                let most = most.max().unwrap_or(0);
                prop_assert!(most <= bound, "{most} calls in {window} µs, and the bound is {bound}");
            }
        }
    }
}
