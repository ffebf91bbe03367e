use hoopoe_message::{BotId, Channel, Conversation, MessageId};
use proptest::prelude::*;

use super::*;
use crate::item::size;

const GAP: Duration = Duration::from_secs(2);

fn reply(number: u64, after: Option<u64>) -> Reply {
    Reply {
        id: MessageId::try_from(format!("e{number}")).expect("a valid id"),
        conversation: Conversation { channel: Channel::Telegram, bot: BotId::default(), chat: "7".into() },
        address: String::new(),
        number,
        after,
        complete: true,
        pending_until: None,
        received_at: Timestamp::from_secs(100),
        created_at: Timestamp::from_secs(100),
        text: "hello".into(),
        suggestions: vec![],
        decision: None,
    }
}

/// At this second, by this function, after so many milliseconds of waiting.
fn by(owner: u32, second: u64, waited: u64) -> Beginning {
    Beginning {
        owner,
        deadline: Timestamp::from_secs(second + 30),
        repeatable_until: None,
        waited: Duration::from_millis(waited),
        gap: GAP,
        now: Timestamp::from_secs(second),
    }
}

impl Ledger {
    fn begun(&mut self, reply: &Reply, by: &Beginning) -> Begin {
        match self.begin(reply, by) {
            Change::Keep(begin) | Change::Write(begin) => begin,
        }
    }

    fn revived(&mut self, reply: &Reply, even_in_doubt: bool, second: u64) -> Revival {
        match self.revive(reply, even_in_doubt, Timestamp::from_secs(second)) {
            Change::Keep(revival) | Change::Write(revival) => revival,
        }
    }

    /// With a reply sent.
    fn sent(mut self, number: u64, after: Option<u64>) -> Self {
        let reply = reply(number, after);
        assert!(matches!(self.begun(&reply, &by(1, 100, 10_000)), Begin::Send(_)), "{number}");
        self.settle(&reply, None, Timestamp::default());
        self
    }

    fn item(&self) -> Item {
        let values = self.values().into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        values.collect()
    }
}

#[test]
fn what_is_sent_stays_sent_however_many_come_after_it() {
    let mut ledger = (2..=10_000).fold(Ledger::default().sent(1, None), |ledger, n| ledger.sent(n, Some(n - 1)));
    for number in [1, 2, 5000, 10_000] {
        assert_eq!(ledger.begun(&reply(number, None), &by(2, 1_000_000, 0)), Begin::Settled);
    }
    assert_eq!((ledger.open.len(), &ledger.rest), (0, &Rest::default()));
}

#[test]
fn a_reply_waits_for_the_one_before_it_from_when_it_was_first_seen() {
    let mut ledger = Ledger::default().sent(1, None);
    let third = Reply { complete: false, ..reply(3, Some(2)) };
    assert!(matches!(ledger.begun(&third, &by(2, 900, 1999)), Begin::Wait(_)), "it was created long ago");
    assert!(matches!(ledger.begun(&third, &by(2, 900, 2000)), Begin::Send(_)), "the one before it does not come");
    ledger.settle(&third, None, Timestamp::default());
    let mut ledger = ledger.sent(2, None);
    assert_eq!(ledger.begun(&reply(2, None), &by(2, 901, 0)), Begin::Settled, "it is sent once all the same");
    assert!(ledger.rest.missed.is_empty());
}

#[test]
fn a_reply_in_the_making_is_waited_for_until_its_end() {
    let mut ledger = Ledger::default().sent(1, None);
    let next = Reply { pending_until: Some(Timestamp::from_secs(160)), ..reply(3, Some(2)) };
    assert!(matches!(ledger.begun(&next, &by(2, 161, 60_000)), Begin::Wait(_)));
    assert!(matches!(ledger.begun(&next, &by(2, 162, 60_000)), Begin::Send(_)));
}

#[test]
fn a_send_under_way_is_left_alone_until_its_function_must_be_gone_and_is_then_in_doubt() {
    let mut ledger = Ledger::default();
    assert!(matches!(ledger.begun(&reply(1, None), &by(1, 100, 0)), Begin::Send(_)));
    assert_eq!(ledger.begun(&reply(1, None), &by(2, 110, 0)), Begin::Wait(Duration::from_secs(20)));
    let Begin::Unknown(attempt) = ledger.begun(&reply(1, None), &by(2, 130, 0)) else { panic!("its function died") };
    assert!(attempt.in_doubt);
    assert!(matches!(ledger.begun(&reply(1, None), &by(3, 131, 0)), Begin::Wait(_)), "one function acts on it");
}

#[test]
fn a_begin_whose_answer_was_lost_finds_itself() {
    let mut ledger = Ledger::default();
    ledger.begun(&reply(1, None), &by(1, 100, 0));
    assert!(matches!(ledger.begun(&reply(1, None), &by(1, 101, 0)), Begin::Send(_)));
}

#[test]
fn what_is_tried_again_holds_back_the_ones_after_it_and_its_own_copies() {
    let mut ledger = Ledger::default().sent(1, None);
    ledger.begun(&reply(2, Some(1)), &by(1, 100, 0));
    let entry = ledger.mine(2, 1).expect("it is begun");
    *entry = Entry { state: State::Waiting, until: Timestamp::from_secs(160), refusals: 1, ..*entry };
    for (number, after) in [(2, Some(1)), (3, Some(2)), (4, None)] {
        let begun = ledger.begun(&reply(number, after), &by(2, 110, 60_000));
        assert_eq!(begun, Begin::Wait(Duration::from_secs(50)), "{number}");
    }
    assert!(matches!(ledger.begun(&reply(2, Some(1)), &by(2, 160, 0)), Begin::Send(Attempt { refusals: 1, .. })));
    // Nobody came back for it: SQS has moved it to the dead-letter queue.
    let gone = Timestamp::from_secs(190).plus(SENDING_STALE).as_secs();
    assert!(matches!(ledger.begun(&reply(3, Some(2)), &by(3, gone, 60_000)), Begin::Send(_)));
}

/// The parts of a long answer may take a while each, and no reply stands between them.
#[test]
fn what_is_being_sent_holds_back_the_ones_after_it_however_long_it_takes() {
    let mut ledger = Ledger::default().sent(1, None);
    ledger.begun(&reply(2, Some(1)), &by(1, 100, 0));
    for (number, after) in [(3, Some(2)), (4, None)] {
        assert!(matches!(ledger.begun(&reply(number, after), &by(2, 129, 29_000)), Begin::Wait(_)), "{number}");
    }
    ledger.settle(&reply(2, Some(1)), None, Timestamp::from_secs(129));
    assert!(matches!(ledger.begun(&reply(3, Some(2)), &by(2, 129, 29_000)), Begin::Send(_)));
}

#[test]
fn a_reply_that_is_held_holds_back_the_ones_after_it() {
    let mut ledger = Ledger::default().sent(1, None);
    let until = Timestamp::from_secs(160);
    assert!(matches!(ledger.hold(2, until, Timestamp::from_secs(100)), Change::Write(())));
    assert_eq!(ledger.begun(&reply(3, Some(2)), &by(1, 110, 60_000)), Begin::Wait(Duration::from_secs(50)));
    assert!(matches!(ledger.begun(&reply(2, Some(1)), &by(1, 160, 0)), Begin::Send(_)));
    assert!(matches!(ledger.hold(1, until, Timestamp::from_secs(100)), Change::Keep(())), "it is sent");
}

#[test]
fn a_dead_reply_gets_a_new_life_once() {
    let mut ledger = Ledger::default();
    ledger.begun(&reply(1, None), &by(1, 100, 0));
    ledger.settle(&reply(1, None), Some((0, false)), Timestamp::default());
    let mut ledger = ledger.sent(2, Some(1));
    assert_eq!(ledger.begun(&reply(1, None), &by(2, 110, 0)), Begin::Settled, "a copy in the queue");
    assert_eq!(ledger.revived(&reply(1, None), false, 120), Revival::Ready);
    // The command ended before it queued the reply, or queued it and could not remove the letter.
    assert_eq!(ledger.revived(&reply(1, None), false, 121), Revival::Ready);
    assert!(matches!(ledger.begun(&reply(1, None), &by(2, 122, 0)), Begin::Send(_)));
    assert_eq!(ledger.revived(&reply(1, None), true, 123), Revival::UnderWay);
    ledger.settle(&reply(1, None), None, Timestamp::default());
    assert_eq!(ledger.revived(&reply(1, None), true, 124), Revival::Sent);
}

#[test]
fn what_the_platform_may_have_is_revived_on_request_only_and_goes_on_at_its_part() {
    let mut ledger = Ledger::default();
    ledger.begun(&reply(1, None), &by(1, 100, 0));
    ledger.settle(&reply(1, None), Some((2, true)), Timestamp::default());
    assert_eq!(ledger.revived(&reply(1, None), false, 120), Revival::InDoubt);
    assert_eq!(ledger.revived(&reply(1, None), true, 120), Revival::Ready);
    let begun = ledger.begun(&reply(1, None), &by(2, 121, 0));
    assert!(matches!(begun, Begin::Send(Attempt { part: 2, in_doubt: false, .. })), "{begun:?}");
}

/// A conversation whose functions died again and again: nobody came back for the first, and it had to make room.
#[test]
fn a_reply_whose_entry_made_room_is_sent_on_request() {
    let mut ledger = Ledger::default();
    ledger.begun(&reply(1, None), &by(1, 100, 0));
    for number in 2..=5 {
        let later = 100 + 1000 * number;
        assert!(matches!(ledger.begun(&reply(number, None), &by(1, later, 0)), Begin::Send(_)), "{number}");
    }
    assert_eq!(ledger.revived(&reply(1, None), false, 6000), Revival::InDoubt);
    assert_eq!(ledger.revived(&reply(1, None), true, 6000), Revival::Ready);
    assert!(matches!(ledger.begun(&reply(1, None), &by(2, 6001, 0)), Begin::Send(_)));
}

/// It is not settled: it may still stand in the queue, and nobody else has made a dead letter of it.
#[test]
fn a_reply_whose_entry_made_room_is_in_doubt_when_it_comes_after_all() {
    let mut ledger = Ledger::default();
    ledger.begun(&reply(1, None), &by(1, 100, 0));
    for number in 2..=5 {
        let later = 100 + 1000 * number;
        assert!(matches!(ledger.begun(&reply(number, None), &by(1, later, 0)), Begin::Send(_)), "{number}");
    }
    assert!(matches!(ledger.begun(&reply(1, None), &by(2, 6000, 0)), Begin::Unknown(_)));
    ledger.settle(&reply(1, None), Some((0, true)), Timestamp::from_secs(6001));
    assert_eq!(ledger.begun(&reply(1, None), &by(3, 6002, 0)), Begin::Settled);
}

/// Its function was ended, and then it waits for its bot's quota: those after it wait too, however long that is.
#[test]
fn a_reply_in_doubt_that_waits_holds_back_those_after_it() {
    let mut ledger = Ledger::default();
    ledger.begun(&reply(1, None), &by(1, 100, 0));
    assert!(matches!(ledger.hold(1, Timestamp::from_secs(120), Timestamp::from_secs(110)), Change::Keep(())));
    assert!(matches!(ledger.hold(1, Timestamp::from_secs(500), Timestamp::from_secs(200)), Change::Write(())));
    let next = reply(2, Some(1));
    assert!(matches!(ledger.clone().begun(&next, &by(2, 450, 300_000)), Begin::Wait(_)));
    assert!(matches!(ledger.begun(&reply(1, None), &by(2, 500, 0)), Begin::Unknown(_)));
}

/// A hundred replies of one conversation, after the platform's outage.
#[test]
fn many_dead_replies_get_a_new_life_in_one_kilobyte() {
    let mut ledger = Ledger::default();
    for number in 1..=100 {
        ledger.begun(&reply(number, None), &by(1, 100, 0));
        ledger.settle(&reply(number, None), Some((0, false)), Timestamp::from_secs(100));
    }
    for number in 1..=100 {
        assert_eq!(ledger.revived(&reply(number, None), false, 200), Revival::Ready);
        assert!(size(&ledger.item()) < 900, "{ledger:?}");
    }
    assert!(
        (1..=100).all(|number| matches!(ledger.clone().begun(&reply(number, None), &by(2, 201, 0)), Begin::Send(_)))
    );
}

#[test]
fn a_function_that_died_each_time_leaves_a_doubt() {
    let mut ledger = Ledger::default();
    ledger.begun(&reply(1, None), &by(1, 100, 0));
    assert_eq!(ledger.revived(&reply(1, None), false, 131), Revival::InDoubt);
    assert_eq!(ledger.revived(&reply(1, None), true, 131), Revival::Ready);
}

#[test]
fn a_reply_without_a_record_is_in_doubt_where_there_may_have_been_one() {
    let days = |days: u64| 100 + days * 24 * 3600;
    assert_eq!(Ledger::default().revived(&reply(1, None), false, days(1)), Revival::Ready);
    assert_eq!(Ledger::default().revived(&reply(1, None), false, days(8)), Revival::InDoubt);
    assert_eq!(Ledger::default().revived(&reply(1, None), true, days(8)), Revival::Ready);
}

#[test]
fn what_the_release_before_wrote_is_read() {
    assert_eq!(before::attribute(&reply(6, None).id), "m:e6");
    let record = |state: &str, of: u64, part: u64| {
        AttributeValue::M(
            [
                ("state".to_owned(), text(state)),
                ("number".to_owned(), number(of)),
                ("attempt".to_owned(), number(1)),
                ("part".to_owned(), number(part)),
                ("until".to_owned(), number(130_000)),
            ]
            .into(),
        )
    };
    let item: Item = [
        ("last".to_owned(), number(9)),
        ("m:e6".to_owned(), record("dead", 6, 0)),
        ("m:e7".to_owned(), record("sent", 7, 1)),
        ("m:e9".to_owned(), record("sent", 9, 1)),
        ("m:e10".to_owned(), record("sending", 10, 1)),
    ]
    .into();
    let ledger = Ledger::read(&item).expect("readable");
    let begun = |number: u64| ledger.clone().begun(&reply(number, Some(9)), &by(1, 110, 0));
    assert_eq!((begun(6), begun(7), begun(9)), (Begin::Settled, Begin::Settled, Begin::Settled));
    assert!(matches!(begun(8), Begin::Send(_)), "it was passed over");
    assert!(matches!(begun(10), Begin::Wait(_)), "another function sends it");
    assert_eq!(before::names(&item).count(), 4);
    let written = Ledger::read(&ledger.item()).expect("readable");
    assert_eq!(written, ledger);
}

/// What may happen to a reply.
#[derive(Clone, Copy, Debug)]
enum Event {
    Send,
    Refuse,
    GiveUp,
    Die,
    Hold,
    Revive,
}

fn event() -> impl Strategy<Value = (Event, u64, u64)> {
    let event = prop_oneof![
        6 => Just(Event::Send), 2 => Just(Event::Refuse), 1 => Just(Event::GiveUp), 1 => Just(Event::Die),
        1 => Just(Event::Hold), 1 => Just(Event::Revive),
    ];
    (event, 0..6_u64, 0..900_u64)
}

proptest! {
    /// Whatever happens, no reply leaves twice without a doubt or an operator, and the item is one write unit.
    #[test]
    fn nothing_is_said_twice_and_an_item_is_one_write_unit(events in proptest::collection::vec(event(), 1..300)) {
        let (mut ledger, mut said) = (Ledger::default(), std::collections::BTreeMap::<u64, u32>::new());
        let (mut newest, mut now, mut owner) = (1_764_000_000_000_u64, 100, 0);
        for (event, back, later) in events {
            now += later;
            owner += 1;
            newest += u64::from(back == 0);
            let number = newest - back;
            let reply = Reply { complete: false, ..reply(number, (back == 0).then(|| number - 1)) };
            let by = by(owner, now, 60_000);
            let times = said.entry(number).or_default();
            match event {
                Event::Hold => {
                    let _ = ledger.hold(number, Timestamp::from_secs(now + 60), by.now);
                }
                Event::Revive => {
                    if ledger.revived(&reply, false, now) == Revival::Sent {
                        prop_assert!(*times > 0, "{} was never said", number);
                    }
                }
                _ => match ledger.begun(&reply, &by) {
                    Begin::Send(attempt) => {
                        prop_assert!(!attempt.in_doubt);
                        match event {
                            Event::Send => {
                                prop_assert_eq!(*times, 0, "{} is said twice", number);
                                *times += 1;
                                ledger.settle(&reply, None, Timestamp::default());
                            }
                            Event::GiveUp => ledger.settle(&reply, Some((attempt.part, false)), Timestamp::default()),
                            Event::Die => *times += 1,
                            _ => {
                                let entry = ledger.mine(number, owner).expect("it is begun");
                                *entry = Entry { state: State::Waiting, until: Timestamp::from_secs(now + 30), ..*entry };
                            }
                        }
                    }
                    Begin::Unknown(attempt) => ledger.settle(&reply, Some((attempt.part, true)), Timestamp::default()),
                    Begin::Settled | Begin::Wait(_) => {}
                },
            }
            let mut item = ledger.item();
            prop_assert_eq!(&Ledger::read(&item).expect("its own"), &ledger);
            let name = format!("whatsapp/{}/{}", "b".repeat(32), "c".repeat(Conversation::MAX_CHAT_BYTES));
            item.insert("conversation".to_owned(), text(name));
            item.insert("expires_at".to_owned(), crate::item::number(1_764_000_000));
            prop_assert!(size(&item) <= 1024, "{} bytes: {:?}", size(&item), ledger);
        }
    }
}
