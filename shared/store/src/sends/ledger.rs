//! What the item of a conversation's sends says, and what follows from it: pure functions over its values.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use hoopoe_message::{MessageId, Reply, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Attempt, Begin, LIFETIME, Revival, json};
use crate::StoreError;
use crate::item::{Item, number, read_number, read_text, text};
use crate::numbers::Numbers;

/// A reply that waits and was not taken up again for so long after its time holds nobody back any more: SQS has
/// dead-lettered it.
const WAITING_STALE: Duration = Duration::from_secs(600);

/// The same of one that was being sent. Where its function was ended, SQS hands it out again within the queue's visibility
/// timeout of three minutes, and it is settled; where it was sent and that could not be recorded, nobody comes.
const SENDING_STALE: Duration = Duration::from_secs(200);

/// The owner of an entry that nobody has begun.
const NOBODY: u32 = 0;

/// How many entries and ranges an item may hold, so that it stays within a kilobyte. Of the entries one is mostly there,
/// and as many as here only where functions are ended again and again.
const MAX_OPEN: usize = 4;
const MAX_RANGES: usize = 4;
const MAX_DEAD_IN_PART: usize = 4;

/// The sends of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    /// The highest number settled; `None` before the first.
    pub(super) last: Option<u64>,
    /// Replies that are being sent, or will be tried again.
    pub(super) open: Vec<Entry>,
    pub(super) rest: Rest,
    /// When a reply was last begun, settled or put off; not when one was held.
    pub(super) at: Timestamp,
}

/// What is seldom there: all of it is about numbers up to `last`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Rest {
    /// Numbers that were passed over: a reply to one of them is not settled.
    #[serde(skip_serializing_if = "Numbers::is_empty")]
    missed: Numbers,
    /// Numbers of replies that were given up, and of which the platform has nothing.
    #[serde(skip_serializing_if = "Numbers::is_empty")]
    dead: Numbers,
    /// Replies that were given up, and of which the platform has, or may have, a part: the number, the next part, and
    /// whether the platform may have that one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dead_in_part: Vec<(u64, usize, bool)>,
    /// Of numbers below this one it is not known any more what was passed over or given up.
    #[serde(skip_serializing_if = "is_zero")]
    known_from: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A reply that is not settled yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub(super) struct Entry {
    pub(super) number: u64,
    pub(super) state: State,
    /// How often the platform has answered with a refusal.
    pub(super) refusals: u32,
    /// The next part of a long reply.
    pub(super) part: usize,
    /// When the function that sends must have ended, or when it is tried again.
    pub(super) until: Timestamp,
    /// Who sends it: drawn at random for each begin.
    pub(super) owner: u32,
    /// The platform may have the next part already.
    pub(super) in_doubt: bool,
    /// Until when the platform drops a second sending of the part, in the way in which it was begun.
    pub(super) repeatable_until: Option<Timestamp>,
}

/// An entry without its names, which would be most of it.
type Written = (u64, State, u32, usize, Timestamp, u32, bool, Option<Timestamp>);

impl From<Written> for Entry {
    fn from((number, state, refusals, part, until, owner, in_doubt, repeatable_until): Written) -> Self {
        Self { number, state, refusals, part, until, owner, in_doubt, repeatable_until }
    }
}

impl From<Entry> for Written {
    fn from(entry: Entry) -> Self {
        let Entry { number, state, refusals, part, until, owner, in_doubt, repeatable_until } = entry;
        (number, state, refusals, part, until, owner, in_doubt, repeatable_until)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    #[serde(rename = "s")]
    Sending,
    #[serde(rename = "w")]
    Waiting,
}

/// Who begins a reply, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning {
    pub(super) owner: u32,
    /// When this function ends.
    pub(super) deadline: Timestamp,
    /// Until when the platform drops a second sending of the part.
    pub(super) repeatable_until: Option<Timestamp>,
    /// How long the reply has waited since it was first taken out of the queue.
    pub(super) waited: Duration,
    /// How long it waits for the one before it.
    pub(super) gap: Duration,
    pub(super) now: Timestamp,
}

/// What a change of the ledger comes to, without or with something to write.
pub(super) enum Change<T> {
    Keep(T),
    Write(T),
}

impl Ledger {
    /// Reads the item; one that is missing is empty.
    pub(super) fn read(item: &Item) -> Result<Self, StoreError> {
        let shape = |what| StoreError::Shape { operation: "reading a send record", what };
        let last = match item.get("last") {
            Some(_) => Some(read_number(item, "last").ok_or_else(|| shape("last"))?),
            None => None,
        };
        let open = read_text(item, "open").map_or(Ok(Vec::new()), serde_json::from_str).map_err(|_| shape("open"))?;
        let rest =
            read_text(item, "rest").map_or(Ok(Rest::default()), serde_json::from_str).map_err(|_| shape("rest"))?;
        let at = Timestamp::from_millis(read_number(item, "at").unwrap_or(0));
        let mut ledger = Self { last, open, rest, at };
        before::read(item, &mut ledger)?;
        Ok(ledger)
    }

    /// The attributes that say the same, each with its name; `None` for one that is not there then.
    pub(super) fn values(&self) -> [(&'static str, Option<AttributeValue>); 4] {
        [
            ("last", self.last.map(number)),
            ("open", (!self.open.is_empty()).then(|| text(json(&self.open)))),
            ("rest", (self.rest != Rest::default()).then(|| text(json(&self.rest)))),
            ("at", (self.at != Timestamp::default()).then(|| number(self.at.as_millis()))),
        ]
    }

    /// Begins a reply, or says why not.
    pub(super) fn begin(&mut self, reply: &Reply, by: &Beginning) -> Change<Begin> {
        let change = self.decide(reply, by);
        if matches!(change, Change::Write(_)) {
            self.at = by.now;
        }
        change
    }

    fn decide(&mut self, reply: &Reply, by: &Beginning) -> Change<Begin> {
        let number = reply.number;
        let held_back = self.held_back(reply, by);
        if let Some(entry) = self.open.iter_mut().find(|entry| entry.number == number) {
            if let (Some(pause), true) = (held_back, entry.was_only_held()) {
                return Change::Keep(Begin::Wait(pause));
            }
            return match entry.state {
                // The write that began it took effect and its answer was lost.
                State::Sending if entry.owner == by.owner => Change::Keep(match entry.in_doubt {
                    false => Begin::Send(entry.attempt()),
                    true => Begin::Unknown(entry.attempt()),
                }),
                _ if by.now < entry.until => Change::Keep(Begin::Wait(entry.until.since(by.now))),
                State::Waiting if !entry.in_doubt => {
                    entry.go_on(by);
                    Change::Write(Begin::Send(entry.attempt()))
                }
                State::Waiting | State::Sending => {
                    let begun_as = entry.repeatable_until;
                    entry.go_on(by);
                    entry.in_doubt = true;
                    entry.repeatable_until = begun_as;
                    Change::Write(Begin::Unknown(entry.attempt()))
                }
            };
        }
        if self.rest.gave_up(number) {
            return Change::Keep(Begin::Settled);
        }
        if self.last.is_some_and(|last| number <= last) && !self.rest.missed.contains(number) {
            if number >= self.rest.known_from {
                return Change::Keep(Begin::Settled);
            }
            let entry = Entry { in_doubt: true, repeatable_until: None, ..Entry::first(number, by).0 };
            self.open.push(entry);
            return Change::Write(Begin::Unknown(entry.attempt()));
        }
        if let Some(pause) = held_back {
            return Change::Keep(Begin::Wait(pause));
        }
        let (entry, attempt) = Entry::first(number, by);
        self.make_room(number, by.now);
        self.open.push(entry);
        Change::Write(Begin::Send(attempt))
    }

    /// How long a reply that is new waits for those before it, before it looks again; `None` where its turn has come.
    fn held_back(&self, reply: &Reply, by: &Beginning) -> Option<Duration> {
        const LOOK_AGAIN: Duration = Duration::from_secs(1);
        const SELDOM: Duration = Duration::from_secs(10);
        // One that waits is recorded, if there is room, and may then look seldom: nobody passes it.
        let room = self.open.len() < MAX_OPEN
            || self.open.iter().any(|entry| entry.number == reply.number || entry.is_stale(by.now))
            || self.droppable(reply.number).is_some();
        let look = if room { (by.waited / 2).min(SELDOM) } else { LOOK_AGAIN };
        let before = self.open.iter().filter(|entry| entry.number < reply.number && !entry.is_stale(by.now));
        // One that is being sent mostly ends long before its function must have; one that waits is not sent before its time.
        let pauses = before.map(|entry| match entry.state {
            State::Sending => look,
            State::Waiting => entry.until.since(by.now),
        });
        if let Some(pause) = pauses.max() {
            return Some(pause.max(LOOK_AGAIN));
        }
        if !room {
            return Some(LOOK_AGAIN);
        }
        let after = reply.after?;
        if self.last.is_some_and(|last| after <= last) {
            return None;
        }
        // It may be in the making: it is waited for as long as it may take, and then as for any other.
        let in_the_making = reply.pending_until.map_or(Duration::ZERO, |until| until.plus(by.gap).since(by.now));
        // Those that waited for the same one come back in any order: from then on each has the whole gap again.
        let idle = by.now.since(self.at);
        let left = by.gap.saturating_sub(by.waited.min(idle)).max(in_the_making);
        (!left.is_zero()).then(|| left.min((by.waited / 4).clamp(LOOK_AGAIN, SELDOM / 2)))
    }

    /// The place of the entry that can be dropped for an earlier reply: the last one that only says that it waits.
    fn droppable(&self, number: u64) -> Option<usize> {
        let waits = |entry: &Entry| entry.was_only_held() && self.last.is_none_or(|last| last < entry.number);
        let later = self.open.iter().enumerate().filter(|(_, entry)| entry.number > number && waits(entry));
        later.max_by_key(|(_, entry)| entry.number).map(|(place, _)| place)
    }

    /// Takes note that a reply which nobody sends waits until a time.
    pub(super) fn hold(&mut self, number: u64, until: Timestamp, now: Timestamp) -> Change<()> {
        if let Some(entry) = self.open.iter_mut().find(|entry| entry.number == number) {
            if entry.state == State::Sending {
                return Change::Keep(());
            }
            entry.until = until;
            return Change::Write(());
        }
        if self.is_settled(number) {
            return Change::Keep(());
        }
        self.make_room(number, now);
        if self.open.len() >= MAX_OPEN {
            return Change::Keep(());
        }
        self.open.push(Entry { until, ..Entry::revived(number, 0, now) });
        Change::Write(())
    }

    fn is_settled(&self, number: u64) -> bool {
        let known = self.last.is_some_and(|last| number <= last);
        self.rest.gave_up(number) || known && !self.rest.missed.contains(number) && number >= self.rest.known_from
    }

    /// Drops an entry that holds nobody back any more, if there are too many. Its reply can still be begun, unless the
    /// platform has a part of it.
    fn make_room(&mut self, number: u64, now: Timestamp) {
        if self.open.len() < MAX_OPEN {
            return;
        }
        let Some(stale) = self.open.iter().position(|entry| entry.is_stale(now)) else {
            if let Some(held) = self.droppable(number) {
                self.open.remove(held);
            }
            return;
        };
        let Entry { number, state, part, in_doubt, .. } = self.open.remove(stale);
        let in_doubt = in_doubt || state == State::Sending;
        if part > 0 || in_doubt {
            self.rest.dead_in_part.push((number, part, in_doubt));
        } else if self.last.is_some_and(|last| number <= last) {
            self.rest.missed.insert(number, number);
        }
        self.rest.bound();
    }

    /// The entry of a reply that this function has begun; `None` where it is settled or another function's.
    pub(super) fn mine(&mut self, number: u64, owner: u32) -> Option<&mut Entry> {
        self.open.iter_mut().find(|entry| entry.number == number && entry.owner == owner)
    }

    /// Takes note that a reply was sent, or given up with these parts sent.
    pub(super) fn settle(&mut self, reply: &Reply, given_up: Option<(usize, bool)>, now: Timestamp) {
        let number = reply.number;
        self.at = now;
        self.open.retain(|entry| entry.number != number);
        self.rest.missed.remove(number);
        match self.last {
            Some(last) if number <= last => {}
            last => {
                let known = last.map_or(0, |last| last + 1);
                let follows = match reply.after {
                    Some(after) => last.is_some_and(|last| after <= last),
                    None => last.is_none(),
                };
                if known < number && !(reply.complete && follows) {
                    self.rest.missed.insert(known, number - 1);
                }
                self.last = Some(number);
            }
        }
        match given_up {
            Some((0, false)) => self.rest.dead.insert(number, number),
            Some((part, in_doubt)) => self.rest.dead_in_part.push((number, part, in_doubt)),
            None => {}
        }
        self.rest.bound();
    }

    /// Gives a reply that was given up a new life, with `even_in_doubt` also one that the platform may have.
    pub(super) fn revive(&mut self, reply: &Reply, even_in_doubt: bool, now: Timestamp) -> Change<Revival> {
        let number = reply.number;
        if let Some(entry) = self.open.iter_mut().find(|entry| entry.number == number) {
            return match entry.state {
                State::Sending if now < entry.until => Change::Keep(Revival::UnderWay),
                _ if entry.in_doubt || entry.state == State::Sending => {
                    if !even_in_doubt {
                        return Change::Keep(Revival::InDoubt);
                    }
                    *entry = Entry::revived(number, entry.part, now);
                    Change::Write(Revival::Ready)
                }
                // Revived before by a command that ended before it could delete the letter.
                _ => Change::Keep(Revival::Ready),
            };
        }
        let in_part = self.rest.dead_in_part.iter().find(|(dead, ..)| *dead == number).copied();
        let known = self.last.is_some_and(|last| number <= last);
        let (part, in_doubt) = match in_part {
            Some((_, part, in_doubt)) => (part, in_doubt),
            None if self.rest.dead.contains(number) => (0, false),
            None if self.rest.missed.contains(number) && number >= self.rest.known_from => (0, false),
            None if known && number >= self.rest.known_from => return Change::Keep(Revival::Sent),
            // Its record was dropped, by its age or for others.
            None => (0, known || now.since(reply.created_at) >= LIFETIME),
        };
        if in_doubt && !even_in_doubt {
            return Change::Keep(Revival::InDoubt);
        }
        if !known {
            return Change::Keep(Revival::Ready);
        }
        self.rest.dead.remove(number);
        self.rest.dead_in_part.retain(|(dead, ..)| *dead != number);
        self.make_room(number, now);
        self.open.push(Entry::revived(number, part, now));
        self.rest.bound();
        Change::Write(Revival::Ready)
    }
}

impl Entry {
    /// Whether nobody has begun it yet: it only says that its reply waits for those before it.
    const fn was_only_held(&self) -> bool {
        matches!(self.state, State::Waiting) && self.owner == NOBODY
    }

    fn is_stale(&self, now: Timestamp) -> bool {
        let stale = match self.state {
            State::Sending => SENDING_STALE,
            State::Waiting => WAITING_STALE,
        };
        now >= self.until.plus(stale)
    }

    /// The first attempt at a reply.
    pub(super) fn first(number: u64, by: &Beginning) -> (Self, Attempt) {
        let Beginning { owner, deadline, repeatable_until, .. } = *by;
        let state = State::Sending;
        let entry =
            Self { number, state, refusals: 0, part: 0, until: deadline, owner, in_doubt: false, repeatable_until };
        (entry, entry.attempt())
    }

    /// This entry with what an attempt says.
    pub(super) const fn with(&self, attempt: &Attempt) -> Self {
        let Attempt { refusals, part, in_doubt, repeatable_until, .. } = *attempt;
        Self { refusals, part, in_doubt, repeatable_until, ..*self }
    }

    const fn revived(number: u64, part: usize, now: Timestamp) -> Self {
        let state = State::Waiting;
        Self { number, state, refusals: 0, part, until: now, owner: NOBODY, in_doubt: false, repeatable_until: None }
    }

    const fn go_on(&mut self, by: &Beginning) {
        self.state = State::Sending;
        self.owner = by.owner;
        self.until = by.deadline;
        self.repeatable_until = by.repeatable_until;
    }

    fn attempt(&self) -> Attempt {
        let Self { refusals, part, in_doubt, owner, repeatable_until, .. } = *self;
        Attempt { refusals, part, in_doubt, repeatable_until, owner, marked: true, item: Item::new() }
    }
}

impl Rest {
    fn gave_up(&self, number: u64) -> bool {
        self.dead.contains(number) || self.dead_in_part.iter().any(|(dead, ..)| *dead == number)
    }

    /// Drops the oldest of what is too much, and takes note from where on all is known.
    fn bound(&mut self) {
        while self.dead_in_part.len() > MAX_DEAD_IN_PART {
            let (dropped, ..) = self.dead_in_part.remove(0);
            self.known_from = self.known_from.max(dropped + 1);
        }
        for numbers in [&mut self.missed, &mut self.dead] {
            if let Some(dropped) = numbers.drop_oldest(MAX_RANGES) {
                self.known_from = self.known_from.max(dropped + 1);
            }
        }
    }
}

/// The items of the release before: for each of the last 64 replies an attribute `m:<id of the event>`, a map of `state`
/// (`sending`, `waiting`, `sent`, `dead`), `number`, `attempt`, `part`, `until` and perhaps `in_doubt`; and `hold`. They
/// are read until they expire, eight days after the last reply before the upgrade, and written anew at the next reply.
pub(super) mod before {
    use super::*;

    const REPLY: &str = "m:";
    const REMEMBERED: u64 = 64;

    pub(crate) fn attribute(id: &MessageId) -> String {
        format!("{REPLY}{}", id.as_str())
    }

    /// The attributes that an upgraded item does not have.
    pub(crate) fn names(item: &Item) -> impl Iterator<Item = &String> {
        item.keys().filter(|name| name.starts_with(REPLY) || *name == "hold")
    }

    /// Adds what an item says in the old way.
    pub(crate) fn read(item: &Item, ledger: &mut Ledger) -> Result<(), StoreError> {
        let shape = || StoreError::Shape { operation: "reading a send record", what: "a record of the release before" };
        if names(item).next().is_none() {
            return Ok(());
        }
        if !item.contains_key("rest")
            && let Some(last) = ledger.last
        {
            ledger.rest.missed.insert(last.saturating_sub(REMEMBERED), last);
        }
        let mut records = Vec::new();
        for (_, value) in item.iter().filter(|(name, _)| name.starts_with(REPLY)) {
            let record = value.as_m().map_err(|_| shape())?;
            records.push((read_number(record, "number").ok_or_else(shape)?, record));
        }
        records.sort_by_key(|(number, _)| *number);
        for (number, record) in records {
            ledger.rest.missed.remove(number);
            let part = read_number(record, "part").and_then(|part| usize::try_from(part).ok()).ok_or_else(shape)?;
            let until = Timestamp::from_millis(read_number(record, "until").ok_or_else(shape)?);
            let in_doubt = record.contains_key("in_doubt");
            let state = match read_text(record, "state") {
                Some("sent") => continue,
                Some("dead") if part == 0 && !in_doubt => {
                    ledger.rest.dead.insert(number, number);
                    continue;
                }
                Some("dead") => {
                    ledger.rest.dead_in_part.push((number, part, in_doubt));
                    continue;
                }
                Some("sending") => State::Sending,
                Some("waiting") => State::Waiting,
                _ => return Err(shape()),
            };
            let entry = Entry { number, state, refusals: 0, part, until, owner: 0, in_doubt, repeatable_until: None };
            ledger.open.push(entry);
        }
        ledger.rest.bound();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use hoopoe_message::{BotId, Channel, Conversation};
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
        let Begin::Unknown(attempt) = ledger.begun(&reply(1, None), &by(2, 130, 0)) else {
            panic!("its function died")
        };
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
}
