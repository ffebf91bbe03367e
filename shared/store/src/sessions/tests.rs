use hoopoe_message::{BotId, Channel, Content, MessageId};
use proptest::prelude::*;

use super::*;
use crate::item::size;

const GAP: Duration = Duration::from_secs(2);
const LIFETIME: Duration = Duration::from_secs(1800);

fn message(number: u64) -> InboundMessage {
    InboundMessage {
        id: MessageId::try_from(format!("event-{number}")).expect("a valid id"),
        conversation: Conversation { channel: Channel::Telegram, bot: BotId::default(), chat: "7".into() },
        address: String::new(),
        number,
        received_at: at(10_000),
        previous_at: (number > 1).then(|| at(9_900)),
        language: None,
        content: Content::text("hello"),
    }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn place(session: &Session, number: u64, waited: u64) -> Place {
    session.place(&message(number), Duration::from_millis(waited), GAP, LIFETIME, at(10_100))
}

#[test]
fn without_a_session_a_young_predecessor_is_waited_for_and_an_old_one_was_handled() {
    let session = Session::default();
    assert_eq!(place(&session, 1, 0), Place::Next);
    assert_eq!(place(&session, 2, 0), Place::Early);
    assert_eq!(place(&session, 2, 3999), Place::Early);
    assert_eq!(place(&session, 2, 4000), Place::Next);
    let later = at(9_900).plus(LIFETIME);
    assert_eq!(session.place(&message(2), Duration::ZERO, GAP, LIFETIME, later), Place::Next);
}

#[test]
fn a_gap_counts_from_when_the_later_message_was_first_seen() {
    let mut session = Session::default();
    session.answer(&message(1), at(0));
    // It stood in the queue for long, and so does the one before it.
    let late = at(60_000);
    assert_eq!(session.place(&message(3), Duration::ZERO, GAP, LIFETIME, late), Place::Early);
    assert_eq!(session.place(&message(3), GAP, GAP, LIFETIME, late), Place::Next);
}

#[test]
fn a_straggler_is_answered_once_and_waits_for_nobody() {
    let mut session = Session::default();
    session.answer(&message(1), at(0));
    let over = session.answer(&message(3), at(0));
    assert_eq!(over, Order { after: Some(1), complete: false, pending_until: None });
    assert_eq!(place(&session, 2, 0), Place::Next);
    assert_eq!(session.answer(&message(2), at(0)).after, None, "it must not wait for the one that overtook it");
    assert_eq!(place(&session, 2, 0), Place::Handled);
    let next = session.answer(&message(4), at(0));
    assert_eq!(next, Order { after: Some(3), complete: true, pending_until: None });
}

#[test]
fn a_message_without_a_reply_leaves_no_gap() {
    let mut session = Session::default();
    session.answer(&message(1), at(0));
    session.pass(&message(2), at(0));
    let next = session.answer(&message(3), at(0));
    assert_eq!(next, Order { after: Some(1), complete: true, pending_until: None });
}

#[test]
fn what_was_before_a_session_is_left_to_the_record_of_the_send() {
    let mut session = Session::default();
    let first = session.answer(&message(500), at(0));
    assert_eq!(first, Order { after: None, complete: false, pending_until: None });
    assert_eq!((place(&session, 499, 0), place(&session, 500, 0)), (Place::Next, Place::Handled));
}

#[test]
fn replies_name_the_one_in_the_making_until_its_end() {
    let mut session = Session::default();
    session.answer(&message(1), at(0));
    session.expect_reply(&message(1), at(5_000));
    assert_eq!(session.answer(&message(2), at(4_999)).pending_until, Some(at(5_000)));
    assert_eq!(session.answer(&message(3), at(5_000)).pending_until, None);
}

#[test]
fn a_straggler_waits_for_a_reply_in_the_making() {
    let mut session = Session::default();
    session.answer(&message(1), at(0));
    session.expect_reply(&message(1), at(5_000));
    session.answer(&message(3), at(0));
    let straggler = session.answer(&message(2), at(0));
    assert_eq!((straggler.after, straggler.pending_until), (Some(1), Some(at(5_000))));
}

#[test]
fn messages_join_until_one_is_answered_on_its_own() {
    let mut session = Session::default();
    assert!(session.gathering(&message(1)).is_none());
    session.answer(&message(1), at(0));
    assert!(session.gather(&message(1)));
    assert!(session.gathering(&message(1)).is_none(), "itself");
    assert_eq!(session.gathering(&message(2)).map(Gathering::turn), Some(1));
    session.pass(&message(2), at(0));
    session.answer(&message(4), at(0));
    assert!(session.gathering(&message(5)).is_none(), "it would be answered before the fourth");
    // The third may have joined, by a function that ended before it could write the session.
    assert_eq!(session.gathering(&message(3)).map(Gathering::turn), Some(1));
    assert!(!session.gather(&message(4)), "the third would not find the turn that it may have joined");
    session.pass(&message(3), at(0));
    assert!(session.gather(&message(4)));
}

#[test]
fn an_expired_item_is_no_session() {
    let state = serde_json::to_string(&Session::default()).expect("a session");
    let item = Item::from([
        ("expires_at".to_owned(), number(100)),
        ("version".to_owned(), number(3)),
        ("state".to_owned(), text(state)),
    ]);
    let over = live_session(&item, Timestamp::from_secs(100)).expect("readable");
    assert_eq!(over, Session { follows: true, ..Session::default() });
    let live = live_session(&item, Timestamp::from_secs(99)).expect("readable");
    assert_eq!(live.version, 3);
}

#[test]
fn the_session_of_the_release_before_is_read() {
    let state = r#"{"last":9,"answered":9,"chosen_language":"zh","spoken_language":null,"told_text_only":true,
        "handled":["e7","e8","e9"],"turns":[
        {"id":"e7","number":7,"after":6,"question":"q","answer":"a","suggestions":["s"]},
        {"id":"e9","number":9,"after":7,"question":"q","answer":"a","suggestions":[]}]}"#;
    let session = read_state(state).expect("a session");
    assert_eq!(session.chosen_language, "zh".parse().ok());
    let places: Vec<Place> = (7..=10).map(|number| place(&session, number, 0)).collect();
    assert_eq!(places, [Place::Handled, Place::Next, Place::Handled, Place::Next]);
    let written = serde_json::to_string(&session).expect("a session");
    assert!(written.contains(r#""handled":[],"turns":[]"#), "the release before requires them: {written}");
    assert!(read_state(&written).expect("its own") == session);
}

proptest! {
    /// The longest key there is, numbers of today's size, and whatever happened.
    #[test]
    fn an_item_is_one_write_unit(skips in proptest::collection::vec(1..5_u64, 1..200), intents in proptest::collection::vec("[a-z_]{1,60}", 0..4)) {
        let mut session = Session { version: u64::from(u32::MAX), ..Session::default() };
        let mut next = 1_764_000_000_000_u64;
        for skip in skips {
            next += skip;
            let order = session.answer(&message(next), at(0));
            prop_assert!(order.after.is_none_or(|after| after < next));
            session.expect_reply(&message(next), at(next));
            session.gather(&message(next));
            session.stop_gathering(&message(next + 1));
        }
        session.offer(intents);
        session.chosen_language = "zh".parse().ok();
        session.spoken_language = "en".parse().ok();
        let state = serde_json::to_string(&session).expect("a session");
        let read = read_state(&state).expect("its own");
        prop_assert_eq!(&read, &Session { version: 0, ..session.clone() });
        let name = format!("whatsapp/{}/{}", "b".repeat(32), "c".repeat(Conversation::MAX_CHAT_BYTES));
        let item = Item::from([
            ("conversation".to_owned(), text(name)),
            ("version".to_owned(), number(session.version)),
            ("expires_at".to_owned(), number(1_764_000_000)),
            ("state".to_owned(), text(state)),
        ]);
        prop_assert!(size(&item) <= 1024, "{} bytes", size(&item));
    }
}
