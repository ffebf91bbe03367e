//! Claims against a table in memory: sizes, costs, and what must hold whatever happens to the table.

mod table;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::future::join_all;
use hoopoe_message::{Channel, Conversation, MessageId, Timestamp};
use hoopoe_store::claims::{CLOCKS, LIFETIME};
use hoopoe_store::{Claim, Claims, Event};
use proptest::prelude::*;
use serde_json::json;
use table::{Item, Table, number, size};

/// Several events at once, as a platform posts them.
const AT_ONCE: usize = 8;

const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// With the longest key there is.
fn conversation() -> Conversation {
    let bot = "b".repeat(32).parse().expect("a bot");
    Conversation { channel: Channel::Messenger, bot, chat: "c".repeat(Conversation::MAX_CHAT_BYTES) }
}

fn claims(table: &Table) -> Claims {
    Claims::new(&table.config(), "claims".into())
}

/// An id of 100 bytes.
fn id(event: usize) -> MessageId {
    MessageId::try_from(format!("{event:0100}")).expect("a valid id")
}

async fn claim(claims: &Claims, event: usize, sent_at: Option<Timestamp>, now: Timestamp) -> Claim {
    let claimed = claims.claim(&conversation(), &[Event { id: &id(event), sent_at }], now).await;
    claimed.expect("the table answers")[0]
}

fn item(table: &Table) -> Item {
    table.state().items[&conversation().to_string()].clone()
}

#[tokio::test]
async fn numbers_begin_with_the_time_and_follow_each_other() {
    let table = Table::default();
    let claims = claims(&table);
    let now = |seconds| START.plus(Duration::from_secs(seconds));
    let first = claim(&claims, 1, Some(START), START).await;
    assert_eq!(first, Claim { number: START.as_millis(), previous_at: None, duplicate: false });
    let second = claim(&claims, 2, Some(now(5)), now(5)).await;
    assert_eq!(second, Claim { number: START.as_millis() + 1, previous_at: Some(START), duplicate: false });
    let again = claim(&claims, 1, Some(START), now(9)).await;
    assert_eq!(again, Claim { number: first.number, previous_at: None, duplicate: true });
    let again = claim(&claims, 2, Some(now(5)), now(9)).await;
    assert_eq!(again, Claim { number: second.number, previous_at: Some(now(5)), duplicate: true });
    // The item is deleted, early or late, and the numbers go on.
    table.state().items.clear();
    let third = claim(&claims, 3, None, now(10)).await;
    assert!(third.number > second.number && third.previous_at.is_none());
}

/// 10,000 messages within six days, in a conversation with the longest key. So that the test is quick, only the first
/// come one by one.
#[tokio::test]
async fn items_are_small_writes_cost_one_unit_and_what_is_repeated_within_8_days_is_known() {
    const ONE_BY_ONE: usize = 1_600;
    const EVENTS: usize = 10_000;
    let table = Table::default();
    let claims = claims(&table);
    let at = |event: usize| START.plus(Duration::from_secs(event as u64 * 50));
    let number = |event: usize| START.as_millis() + event as u64;
    for event in 0..ONE_BY_ONE {
        let claimed = claim(&claims, event, Some(at(event)), at(event)).await;
        assert_eq!((claimed.number, claimed.duplicate), (number(event), false));
    }
    let units = table.state().write_units;
    let reads = table.state().reads;
    assert!(units * 10 <= ONE_BY_ONE * 11, "{units}");
    // A fifth of them came within five minutes of a move.
    assert!(reads * 4 <= ONE_BY_ONE, "{reads}");
    for first in (ONE_BY_ONE..EVENTS).step_by(AT_ONCE) {
        let ids: Vec<MessageId> = (first..first + AT_ONCE).map(id).collect();
        let events: Vec<Event<'_>> =
            ids.iter().zip(first..).map(|(id, event)| Event { id, sent_at: Some(at(event)) }).collect();
        let claimed = claims.claim(&conversation(), &events, at(first + AT_ONCE - 1)).await.expect("the table answers");
        let claimed: Vec<(u64, bool)> = claimed.into_iter().map(|claim| (claim.number, claim.duplicate)).collect();
        let expected: Vec<(u64, bool)> = (first..first + AT_ONCE).map(|event| (number(event), false)).collect();
        assert_eq!(claimed, expected);
    }
    assert!(table.state().largest <= 1024, "{}", table.state().largest);
    let now = START.plus(LIFETIME);
    for event in (0..EVENTS).step_by(397).chain(EVENTS - 20..EVENTS) {
        let claimed = claim(&claims, event, Some(at(event)), now).await;
        assert_eq!((claimed.number, claimed.duplicate), (number(event), true));
    }
    // None of these repetitions took a number.
    assert_eq!(claim(&claims, EVENTS, Some(now), now).await.number, number(EVENTS));
}

#[tokio::test]
async fn many_events_at_once_fit_into_an_item_too() {
    let table = Table::default();
    let claims = claims(&table);
    let mut before = None;
    for first in (0..200 * AT_ONCE).step_by(AT_ONCE) {
        let now = START.plus(Duration::from_secs(first as u64));
        let ids: Vec<MessageId> = (first..first + AT_ONCE).map(id).collect();
        let events: Vec<Event<'_>> = ids.iter().map(|id| Event { id, sent_at: Some(now) }).collect();
        for claim in claims.claim(&conversation(), &events, now).await.expect("the table answers") {
            assert!(!claim.duplicate && before.is_none_or(|before| claim.number == before + 1));
            before = Some(claim.number);
        }
    }
    assert!(table.state().largest <= 1024, "{}", table.state().largest);
}

/// The client repeats a call that took effect: it finds its own claim.
#[tokio::test]
async fn a_lost_answer_costs_no_number_and_is_no_duplicate() {
    let table = Table::default();
    let claims = claims(&table);
    table.state().losing = 1;
    let first = claim(&claims, 1, Some(START), START).await;
    assert_eq!(first, Claim { number: START.as_millis(), previous_at: None, duplicate: false });
    for event in 2..60 {
        // The client has a budget for repetitions.
        table.state().losing = usize::from(event % 3 == 0);
        let now = START.plus(Duration::from_secs(event as u64));
        let claimed = claim(&claims, event, Some(now), now).await;
        assert_eq!((claimed.number, claimed.duplicate), (first.number + event as u64 - 1, false), "{event}");
    }
}

/// What the releases before wrote: `m:<event id>` and numbers from 1.
#[tokio::test]
async fn events_of_earlier_releases_stay_claimed_and_their_items_shrink() {
    let table = Table::default();
    let claims = claims(&table);
    let key = conversation().to_string();
    let mut earlier: Item = (373..=500)
        .map(|number: usize| (format!("m:{}", id(number).as_str()), json!({"N": number.to_string()})))
        .collect();
    earlier.insert("conversation".into(), json!({"S": key}));
    earlier.insert("next".into(), json!({"N": "500"}));
    earlier.insert("at".into(), json!({"N": START.as_millis().to_string()}));
    assert!(size(&earlier) > 10_000);
    table.state().items.insert(key, earlier);
    let now = START.plus(Duration::from_secs(3600));
    let again = claim(&claims, 500, Some(START), now).await;
    assert_eq!(again, Claim { number: 500, previous_at: Some(START), duplicate: true });
    let next = claim(&claims, 501, Some(now), now).await;
    assert_eq!(next, Claim { number: 501, previous_at: Some(START), duplicate: false });
    assert!(size(&item(&table)) < 3_000, "{}", size(&item(&table)));
    for event in 502..530 {
        claim(&claims, event, Some(now), now).await;
    }
    assert!(size(&item(&table)) < 1_024, "{}", size(&item(&table)));
    for event in 373..530 {
        let claimed = claim(&claims, event, Some(START), now.plus(Duration::from_secs(60))).await;
        assert_eq!((claimed.number, claimed.duplicate), (event as u64, true));
    }
}

#[tokio::test]
async fn the_archive_is_read_for_events_alone_that_may_stand_there() {
    let table = Table::default();
    let claims = claims(&table);
    let at = |event: usize| START.plus(Duration::from_secs(event as u64 * 3600));
    for event in 0..150 {
        claim(&claims, event, Some(at(event)), at(event)).await;
    }
    let moved_at = Timestamp::from_millis(number(&item(&table)["moved_at"]));
    let (now, later) = (at(150), Duration::from_secs(1));
    let reads = || table.state().reads;
    assert_eq!(reads(), 0);
    claim(&claims, 1_000, Some(moved_at.plus(CLOCKS).plus(later)), now).await;
    assert_eq!(reads(), 0, "it happened after the last move");
    claim(&claims, 1_001, Some(moved_at), now).await;
    assert_eq!(reads(), 1, "it may stand in the newest slot");
    claim(&claims, 1_002, None, now).await;
    assert!(reads() > 2, "nobody knows when it happened");
    let again = claim(&claims, 0, Some(now.plus(CLOCKS).plus(later)), now).await;
    assert!(again.duplicate, "what is said to happen later than now may have happened at any time");
}

/// Several functions claim the same events at the same time.
#[tokio::test]
async fn of_functions_side_by_side_each_gets_the_same_numbers() {
    for seed in 0..6 {
        fastrand::seed(seed);
        let table = Table::default();
        table.state().delay = 12;
        let claims = claims(&table);
        let ids: Vec<MessageId> = (0..150).map(id).collect();
        let events: Vec<Event<'_>> = ids.iter().map(|id| Event { id, sent_at: Some(START) }).collect();
        let function = async |width: usize| {
            let mut numbers = Vec::new();
            for (step, events) in (0..).zip(events.chunks(width)) {
                let now = START.plus(Duration::from_millis(step));
                let claimed = claims.claim(&conversation(), events, now).await.expect("the table answers");
                numbers.extend(claimed.into_iter().map(|claim| claim.number));
            }
            numbers
        };
        let numbers = join_all([1, 3, AT_ONCE, 150, 2, 40, 150].map(function)).await;
        let mut first = numbers[0].clone();
        assert!(numbers.iter().all(|numbers| *numbers == first), "{numbers:?}");
        first.dedup();
        assert!(first.len() == ids.len() && first.is_sorted(), "{first:?}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Events that were not claimed yet, each so many seconds before its claim by the platform's clock.
    New(Vec<i64>),
    /// Events that were claimed, by their place among all.
    Repeat(Vec<prop::sample::Index>),
    /// Time passes.
    Wait(u64),
    /// DynamoDB deletes expired items.
    Expire,
    /// The answers to the next writes are lost.
    Lose(usize),
}

fn a_step() -> impl Strategy<Value = Step> {
    let minutes = CLOCKS.as_secs() as i64;
    let age = prop_oneof![8 => 0..5_i64, 1 => -minutes..minutes, 1 => 0..200_000_i64];
    prop_oneof![
        6 => prop::collection::vec(age, 1..=2 * AT_ONCE).prop_map(Step::New),
        4 => prop::collection::vec(any::<prop::sample::Index>(), 1..=2 * AT_ONCE).prop_map(Step::Repeat),
        3 => (0..2_000_u64).prop_map(Step::Wait),
        1 => (0..200_000_u64).prop_map(Step::Wait),
        1 => Just(Step::Expire),
        1 => (1..4_usize).prop_map(Step::Lose),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn an_event_has_one_number_and_a_number_one_event(
        dated in prop::bool::weighted(0.8),
        steps in prop::collection::vec(a_step(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(run(dated, steps))?;
    }
}

async fn run(dated: bool, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let table = Table::default();
    let claims = claims(&table);
    let (mut now, mut lost) = (START, false);
    let mut given: HashSet<u64> = HashSet::new();
    // When each event happened; and its number, with the time of its claim.
    let mut sent: Vec<Timestamp> = Vec::new();
    let mut model: HashMap<usize, (u64, Timestamp)> = HashMap::new();
    for step in steps {
        let chosen: Vec<usize> = match step {
            Step::New(ages) => {
                let first = sent.len();
                let ago = |age: i64| now.as_millis().checked_add_signed(-age * 1000).map(Timestamp::from_millis);
                sent.extend(ages.into_iter().filter_map(ago));
                (first..sent.len()).collect()
            }
            Step::Repeat(places) if !sent.is_empty() => {
                places.into_iter().map(|place| place.index(sent.len())).collect()
            }
            Step::Repeat(_) => continue,
            Step::Wait(seconds) => {
                now = now.plus(Duration::from_secs(seconds));
                continue;
            }
            Step::Expire => {
                table.state().items.retain(|_, item| number(&item["expires_at"]) >= now.as_secs());
                continue;
            }
            Step::Lose(answers) => {
                table.state().losing = answers;
                lost = true;
                continue;
            }
        };
        // One after the other, a millisecond each: no conversation is faster for long.
        now = now.plus(Duration::from_millis(chosen.len() as u64));
        let ids: Vec<MessageId> = chosen.iter().map(|event| id(*event)).collect();
        let sent_at = |event: &usize| dated.then(|| sent[*event]);
        let events: Vec<Event<'_>> =
            ids.iter().zip(&chosen).map(|(id, event)| Event { id, sent_at: sent_at(event) }).collect();
        let claimed = match claims.claim(&conversation(), &events, now).await {
            Ok(claimed) => claimed,
            // The platform repeats what got no answer.
            Err(_) => claims.claim(&conversation(), &events, now).await.expect("the table answers"),
        };
        for (event, claim) in chosen.into_iter().zip(claimed) {
            if let Some((number, at)) = model.get(&event).copied() {
                if now.since(at) < LIFETIME {
                    prop_assert_eq!(claim.number, number, "event {}", event);
                }
                if claim.number == number {
                    continue;
                }
            }
            prop_assert!(given.insert(claim.number), "{} a second time", claim.number);
            model.insert(event, (claim.number, now));
        }
        // A move that failed is made up for by a later claim; until then the item is larger.
        prop_assert!(lost || table.state().largest <= 1024, "{}", table.state().largest);
    }
    Ok(())
}
