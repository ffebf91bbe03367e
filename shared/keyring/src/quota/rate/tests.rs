//! The arithmetic of a rate, against a table that does what it is asked.

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
        let mut next: BTreeSet<(Micros, usize)> = (0..50).map(|function| (START + function as u64, function)).collect();
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
    let calls = (0..30).filter(|call| later(&mut functions[call % 2], &mut item, until).is_ok_and(|at| at <= until));
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
        // The calls by the shares of functions that follow each other.
        let mut own = vec![Vec::new(); skews.len()];
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
                    Ok((_, true)) => {
                        calls.push(now);
                        own[event.function % count].push(now);
                    }
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
        let most = |calls: &[Micros], window: Micros| {
            let within = |at: usize| calls[at..].iter().take_while(|later| **later <= calls[at] + window).count();
            (0..calls.len()).map(within).max().unwrap_or(0) as u64
        };
        let share = division.own_step.map_or(0, |_| u64::from(per_second / 2 / known));
        for window in [0, SECOND / 10, SECOND, 10 * SECOND] {
            let (most_of_all, bound) =
                (most(&calls, window), (window + LIFE + 200_000) * u64::from(per_second) / SECOND + 1);
            prop_assert!(most_of_all <= bound, "{most_of_all} calls in {window} µs, and the bound is {bound}");
            for calls in &own {
                let (most, bound) = (most(calls, window), share * (window + SECOND) / SECOND);
                prop_assert!(most <= bound, "{most} by a share in {window} µs, and the bound is {bound}");
            }
        }
    }
}
