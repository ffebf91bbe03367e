//! What a send record says, and what follows from it.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use hoopoe_message::{MessageId, Reply, Timestamp};

use super::{Attempt, LIFETIME, MAX_REPLIES, Revival};
use crate::StoreError;
use crate::item::{Item, number, read_number, read_text, text};

const REPLY: &str = "m:";

pub(super) fn attribute(id: &MessageId) -> String {
    format!("{REPLY}{id}")
}

/// The attributes of replies more than [`MAX_REPLIES`] before the last.
pub(super) fn old_replies(item: &Item) -> Vec<String> {
    let records =
        || item.iter().filter_map(|(name, value)| Some((name.strip_prefix(REPLY)?, name, value.as_m().ok()?)));
    let newest = records().filter_map(|(_, _, record)| read_number(record, "number")).max().unwrap_or(0);
    let mut old: Vec<String> = records()
        .filter(|(_, _, record)| read_number(record, "number").is_some_and(|number| number + MAX_REPLIES < newest))
        .map(|(_, name, _)| name.clone())
        .collect();
    // DynamoDB bounds an expression to 4 KB; the rest goes with the next reply.
    old.truncate(64);
    old
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Sending,
    Waiting,
    Sent,
    Dead,
}

impl State {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Dead => "dead",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) state: State,
    pub(super) number: u64,
    pub(super) attempt: u32,
    pub(super) part: usize,
    pub(super) until: Timestamp,
    pub(super) in_doubt: bool,
}

impl Record {
    /// The first attempt at a reply.
    pub(super) const fn first(reply: &Reply, deadline: Timestamp) -> Self {
        let number = reply.number;
        Self { state: State::Sending, number, attempt: 1, part: 0, until: deadline, in_doubt: false }
    }

    /// What an attempt came to.
    pub(super) const fn after(attempt: &Attempt, state: State, reply: &Reply, now: Timestamp) -> Self {
        let Attempt { attempt, part, in_doubt, .. } = *attempt;
        Self { state, number: reply.number, attempt, part, until: now, in_doubt }
    }

    pub(super) fn read(item: &Item, id: &MessageId) -> Result<Option<Self>, StoreError> {
        let Some(value) = item.get(&attribute(id)) else { return Ok(None) };
        let read = |map: &HashMap<String, AttributeValue>| {
            let state = read_text(map, "state")?;
            Some(Self {
                state: [State::Sending, State::Waiting, State::Sent, State::Dead]
                    .into_iter()
                    .find(|known| known.as_str() == state)?,
                number: read_number(map, "number")?,
                attempt: u32::try_from(read_number(map, "attempt")?).ok()?,
                part: usize::try_from(read_number(map, "part")?).ok()?,
                until: Timestamp::from_millis(read_number(map, "until")?),
                in_doubt: map.contains_key("in_doubt"),
            })
        };
        let record = value.as_m().ok().and_then(read);
        record.map(Some).ok_or(StoreError::Shape { operation: "reading a send record", what: "a record" })
    }

    pub(super) fn write(&self) -> AttributeValue {
        let mut record = HashMap::from([
            ("state".to_owned(), text(self.state.as_str())),
            ("number".to_owned(), number(self.number)),
            ("attempt".to_owned(), number(self.attempt.into())),
            ("part".to_owned(), number(self.part as u64)),
            ("until".to_owned(), number(self.until.as_millis())),
        ]);
        if self.in_doubt {
            record.insert("in_doubt".to_owned(), AttributeValue::Bool(true));
        }
        AttributeValue::M(record)
    }
}

pub(super) enum Next {
    First,
    Again(Record),
    Settled,
    Wait(Duration),
    Unknown(Record),
}

/// What to do with a reply that is known, or whose predecessor is not settled.
pub(super) fn decide(reply: &Reply, known: Option<Record>, item: &Item, gap: Duration, now: Timestamp) -> Next {
    match known {
        Some(record) => match record.state {
            State::Sent | State::Dead => Next::Settled,
            State::Waiting => Next::Again(record),
            State::Sending if now < record.until => Next::Wait(record.until.since(now)),
            State::Sending => Next::Unknown(Record { in_doubt: true, ..record }),
        },
        None => {
            let until = Timestamp::from_millis(read_number(item, "hold").unwrap_or(0)).max(reply.created_at.plus(gap));
            let left = until.since(now);
            // The one before it is not tried again sooner than a gap before `hold`, and may go out then.
            if now >= until { Next::First } else { Next::Wait(left.saturating_sub(gap).max(left.min(gap))) }
        }
    }
}

/// Whether a reply in the dead-letter queue may be queued again, and the record to change before that.
pub(super) fn may_revive(
    reply: &Reply,
    known: Option<Record>,
    item: &Item,
    even_in_doubt: bool,
    now: Timestamp,
) -> (Revival, Option<Record>) {
    match known {
        Some(Record { state: State::Sent, .. }) => (Revival::Sent, None),
        Some(Record { state: State::Sending, until, .. }) if now < until => (Revival::UnderWay, None),
        Some(record) => {
            let in_doubt = record.in_doubt || record.state == State::Sending;
            match (in_doubt && !even_in_doubt, record.state) {
                (true, _) => (Revival::InDoubt, None),
                (false, State::Waiting) => (Revival::Ready, None),
                (false, _) => (Revival::Ready, Some(record)),
            }
        }
        // A reply without a record was never begun, unless its record was dropped: by its age, or for later replies.
        None => {
            let last = read_number(item, "last").unwrap_or(0);
            let dropped = now.since(reply.created_at) >= LIFETIME || reply.number + MAX_REPLIES < last;
            (if dropped && !even_in_doubt { Revival::InDoubt } else { Revival::Ready }, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hoopoe_message::{BotId, Channel, Conversation};

    const GAP: Duration = Duration::from_secs(2);

    fn reply() -> Reply {
        Reply {
            id: MessageId::try_from("e2".to_owned()).expect("a valid id"),
            conversation: Conversation { channel: Channel::Telegram, bot: BotId::default(), chat: "7".into() },
            address: String::new(),
            number: 2,
            after: Some(1),
            received_at: Timestamp::from_secs(100),
            created_at: Timestamp::from_secs(100),
            text: "hello".into(),
            suggestions: vec![],
            decision: None,
        }
    }

    fn record(state: State, until: u64) -> Record {
        Record { state, number: 2, attempt: 2, part: 1, until: Timestamp::from_secs(until), in_doubt: false }
    }

    fn next(known: Option<Record>, item: &Item, now: u64) -> Next {
        decide(&reply(), known, item, GAP, Timestamp::from_secs(now))
    }

    #[test]
    fn a_record_is_read_as_written() {
        let item = Item::from([(attribute(&reply().id), record(State::Waiting, 7).write())]);
        assert_eq!(Record::read(&item, &reply().id).expect("readable"), Some(record(State::Waiting, 7)));
        let doubtful = Record { in_doubt: true, ..record(State::Dead, 7) };
        let item = Item::from([(attribute(&reply().id), doubtful.write())]);
        assert_eq!(Record::read(&item, &reply().id).expect("readable"), Some(doubtful));
        let broken = Item::from([(attribute(&reply().id), text("?"))]);
        assert!(Record::read(&broken, &reply().id).is_err());
    }

    #[test]
    fn what_is_settled_stays_settled_whatever_the_clock_says() {
        for now in [0, 100, 1_000_000] {
            assert!(matches!(next(Some(record(State::Sent, 100)), &Item::new(), now), Next::Settled));
            assert!(matches!(next(Some(record(State::Dead, 100)), &Item::new(), now), Next::Settled));
        }
    }

    #[test]
    fn a_send_under_way_is_left_alone_until_its_function_must_be_gone() {
        assert!(matches!(next(Some(record(State::Sending, 130)), &Item::new(), 110), Next::Wait(_)));
        assert!(matches!(next(Some(record(State::Sending, 130)), &Item::new(), 130), Next::Unknown(_)));
    }

    #[test]
    fn a_send_whose_function_died_is_in_doubt() {
        match next(Some(record(State::Sending, 130)), &Item::new(), 130) {
            Next::Unknown(record) => assert!(record.in_doubt),
            _ => panic!("its outcome is unknown"),
        }
    }

    fn revived(known: Option<Record>, item: &Item, even_in_doubt: bool, now: u64) -> (Revival, Option<Record>) {
        may_revive(&reply(), known, item, even_in_doubt, Timestamp::from_secs(now))
    }

    #[test]
    fn a_dead_reply_gets_a_new_life_once() {
        let dead = record(State::Dead, 110);
        assert_eq!(revived(Some(dead), &Item::new(), false, 120), (Revival::Ready, Some(dead)));
        // The command ended before it queued the reply, or queued it and could not remove the letter.
        assert_eq!(revived(Some(record(State::Waiting, 120)), &Item::new(), false, 130), (Revival::Ready, None));
        assert_eq!(revived(Some(record(State::Sent, 120)), &Item::new(), true, 130), (Revival::Sent, None));
        assert_eq!(revived(Some(record(State::Sending, 140)), &Item::new(), true, 130), (Revival::UnderWay, None));
    }

    #[test]
    fn what_the_platform_may_have_is_revived_on_request_only() {
        for doubtful in [
            Record { in_doubt: true, ..record(State::Dead, 110) },
            Record { in_doubt: true, ..record(State::Waiting, 110) },
            // Its function died, and died each time.
            record(State::Sending, 110),
        ] {
            assert_eq!(revived(Some(doubtful), &Item::new(), false, 120), (Revival::InDoubt, None), "{doubtful:?}");
            assert_eq!(revived(Some(doubtful), &Item::new(), true, 120).0, Revival::Ready, "{doubtful:?}");
        }
    }

    #[test]
    fn a_reply_without_a_record_is_in_doubt_where_there_may_have_been_one() {
        let days = |days: u64| 100 + days * 24 * 3600;
        let followed_by = |last: u64| Item::from([("last".to_owned(), number(last))]);
        assert_eq!(revived(None, &Item::new(), false, days(1)).0, Revival::Ready);
        assert_eq!(revived(None, &followed_by(MAX_REPLIES), false, days(1)).0, Revival::Ready);
        assert_eq!(revived(None, &Item::new(), false, days(8)).0, Revival::InDoubt);
        assert_eq!(revived(None, &followed_by(MAX_REPLIES + 3), false, days(1)).0, Revival::InDoubt);
        assert_eq!(revived(None, &followed_by(MAX_REPLIES + 3), true, days(8)).0, Revival::Ready);
    }

    #[test]
    fn a_reply_waits_for_the_one_before_it_and_longer_while_that_one_is_retried() {
        let held = Item::from([("hold".to_owned(), number(110_000))]);
        assert!(matches!(next(None, &Item::new(), 101), Next::Wait(_)));
        assert!(matches!(next(None, &Item::new(), 102), Next::First));
        assert!(matches!(next(None, &held, 105), Next::Wait(_)));
        assert!(matches!(next(None, &held, 110), Next::First));
        let pause = |now| match next(None, &held, now) {
            Next::Wait(pause) => pause.as_secs(),
            _ => panic!("it is held"),
        };
        assert_eq!(
            (pause(101), pause(107), pause(109)),
            (7, 2, 1),
            "it does not look before anything can have changed"
        );
    }

    #[test]
    fn old_replies_are_forgotten_and_recent_ones_are_not() {
        let item: Item =
            (1..=70).map(|n| (format!("{REPLY}{n}"), Record { number: n, ..record(State::Sent, 1) }.write())).collect();
        let mut old = old_replies(&item);
        old.sort();
        assert_eq!(old, ["m:1", "m:2", "m:3", "m:4", "m:5"]);
    }
}
