//! The checks find each fault that is planted in the smallest engine, and nothing in the engine without one.

use world::checks::Finding;
use world::echo::{Planted, bounds, scenario};
use world::history::{Outcome, play};
use world::weather::Weather;

/// Enough for each planted fault to meet the weather that shows it.
const SEEDS: u64 = 60;

fn history(seed: u64, weather: Weather, planted: Planted, traced: bool) -> Outcome {
    play(seed, weather, traced, &bounds(), |world| scenario(world, planted))
}

/// The first finding of this kind, in the weather of many seeds.
fn found(planted: Planted, is: fn(&Finding) -> bool) -> bool {
    (0..SEEDS).any(|seed| history(seed, Weather::storm(seed), planted, false).verdict.findings.iter().any(is))
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let calm = history(1, Weather::calm(), Planted::Nothing, false).verdict;
    assert!(calm.findings.is_empty() && calm.unavoidable.is_empty(), "{calm:?}");
    assert_eq!(calm.counts[0], calm.counts[1], "each has one reply");
    assert_eq!(calm.counts[2], 0);
    for seed in 0..SEEDS {
        let verdict = history(seed, Weather::storm(seed), Planted::Nothing, false).verdict;
        assert!(verdict.findings.is_empty(), "seed {seed}: {:?}", verdict.findings);
    }
}

#[test]
fn one_seed_is_one_history() {
    for seed in 0..5 {
        let lines = || history(seed, Weather::storm(seed), Planted::Nothing, true).trace;
        let (first, second) = (lines(), lines());
        assert!(!first.is_empty());
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn a_forgotten_message_is_found() {
    assert!(found(Planted::Forgets, |finding| matches!(finding, Finding::Lost(_))));
}

#[test]
fn a_reply_that_is_sent_twice_is_found() {
    assert!(found(Planted::Doubles, |finding| matches!(finding, Finding::Twice(_))));
}

#[test]
fn an_unknown_outcome_that_is_repeated_is_found() {
    assert!(found(Planted::Repeats, |finding| matches!(finding, Finding::Twice(_))));
}

#[test]
fn replies_out_of_order_are_found() {
    assert!(found(Planted::Reorders, |finding| matches!(finding, Finding::OutOfOrder(..))));
}

#[test]
fn a_reply_to_somebody_else_is_found() {
    assert!(found(Planted::Strays, |finding| matches!(finding, Finding::Astray(_))));
}

#[test]
fn a_dead_letter_without_a_reason_is_found() {
    assert!(found(Planted::BuriesSilently, |finding| matches!(finding, Finding::NoReason(_))));
}

#[test]
fn a_doubt_where_nothing_was_sent_is_found() {
    assert!(found(Planted::Doubts, |finding| matches!(finding, Finding::FalseDoubt(_))));
}

#[test]
fn a_call_that_the_real_one_refuses_is_found() {
    assert!(found(Planted::Overlaps, |finding| matches!(finding, Finding::Invalid(what) if what.contains("overlap"))));
}

#[test]
fn an_item_that_grows_is_found() {
    assert!(found(Planted::Grows, |finding| matches!(finding, Finding::Dear { .. })));
}
