//! What the item of a conversation's sends says, and what follows from it: pure functions over its values.

pub(super) mod before;

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use hoopoe_message::{Reply, Timestamp};
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
const MAX_LEFT: usize = 4;

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
    /// Replies that were begun and whose entry made room for others: the number, and the next part, which the platform may
    /// have. They still stand in the queue.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left: Vec<(u64, usize)>,
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

/// How a reply stands that is not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It may be begun.
    New,
    Sent,
    /// It was given up, with so many parts sent, and perhaps the next one.
    Dead {
        part: usize,
        in_doubt: bool,
    },
    /// It was begun and not settled, with so many parts sent, and perhaps the next one.
    Left {
        part: usize,
    },
    /// What became of it is not known any more.
    Forgotten,
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
        match self.standing(number) {
            Standing::Sent | Standing::Dead { .. } => return Change::Keep(Begin::Settled),
            Standing::Forgotten => return Change::Write(self.doubt(number, 0, by)),
            Standing::Left { part } => {
                self.rest.left.retain(|(left, _)| *left != number);
                return Change::Write(self.doubt(number, part, by));
            }
            Standing::New => {}
        }
        if let Some(pause) = held_back {
            return Change::Keep(Begin::Wait(pause));
        }
        let (entry, attempt) = Entry::first(number, by);
        self.make_room(number, by.now);
        self.open.push(entry);
        Change::Write(Begin::Send(attempt))
    }

    /// Begins a reply again of which the platform may have the part at which it begins.
    fn doubt(&mut self, number: u64, part: usize, by: &Beginning) -> Begin {
        let entry = Entry { part, in_doubt: true, repeatable_until: None, ..Entry::first(number, by).0 };
        self.make_room(number, by.now);
        self.open.push(entry);
        Begin::Unknown(entry.attempt())
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
                if now < entry.until {
                    return Change::Keep(());
                }
                // Its function has ended.
                entry.state = State::Waiting;
                entry.in_doubt = true;
            }
            entry.until = until;
            return Change::Write(());
        }
        if matches!(self.standing(number), Standing::Sent | Standing::Dead { .. } | Standing::Left { .. }) {
            return Change::Keep(());
        }
        self.make_room(number, now);
        if self.open.len() >= MAX_OPEN {
            return Change::Keep(());
        }
        self.open.push(Entry::waiting(number, 0, until));
        Change::Write(())
    }

    /// How a reply stands that has no entry.
    fn standing(&self, number: u64) -> Standing {
        if self.rest.dead.contains(number) {
            return Standing::Dead { part: 0, in_doubt: false };
        }
        if let Some(&(_, part, in_doubt)) = self.rest.dead_in_part.iter().find(|(dead, ..)| *dead == number) {
            return Standing::Dead { part, in_doubt };
        }
        if let Some(&(_, part)) = self.rest.left.iter().find(|(left, _)| *left == number) {
            return Standing::Left { part };
        }
        let passed = self.last.is_some_and(|last| number <= last) && !self.rest.missed.contains(number);
        match (passed, number < self.rest.known_from) {
            (false, _) => Standing::New,
            (true, false) => Standing::Sent,
            (true, true) => Standing::Forgotten,
        }
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
        if part > 0 || in_doubt || state == State::Sending {
            self.rest.left.push((number, part));
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
        self.rest.left.retain(|(left, _)| *left != number);
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
                    *entry = Entry::waiting(number, entry.part, now);
                    Change::Write(Revival::Ready)
                }
                // Revived before by a command that ended before it could delete the letter.
                _ => Change::Keep(Revival::Ready),
            };
        }
        let (part, in_doubt) = match self.standing(number) {
            Standing::Sent => return Change::Keep(Revival::Sent),
            Standing::Dead { part, in_doubt } => (part, in_doubt),
            Standing::Left { part } => (part, true),
            Standing::Forgotten => (0, true),
            // Never begun, or revived before; or its record has expired.
            Standing::New if now.since(reply.created_at) < LIFETIME || even_in_doubt => {
                return Change::Keep(Revival::Ready);
            }
            Standing::New => (0, true),
        };
        if in_doubt && !even_in_doubt {
            return Change::Keep(Revival::InDoubt);
        }
        self.rest.dead.remove(number);
        self.rest.dead_in_part.retain(|(dead, ..)| *dead != number);
        self.rest.left.retain(|(left, _)| *left != number);
        if part == 0 {
            // As one that was passed over: it can be begun, and needs no entry for that.
            self.rest.missed.insert(number, number);
        } else {
            self.make_room(number, now);
            self.open.push(Entry::waiting(number, part, now));
        }
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

    /// One that nobody has begun, from a part on.
    const fn waiting(number: u64, part: usize, until: Timestamp) -> Self {
        let state = State::Waiting;
        Self { number, state, refusals: 0, part, until, owner: NOBODY, in_doubt: false, repeatable_until: None }
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
    /// Drops the oldest of what is too much, and takes note from where on all is known.
    fn bound(&mut self) {
        while self.dead_in_part.len() > MAX_DEAD_IN_PART {
            let (dropped, ..) = self.dead_in_part.remove(0);
            self.known_from = self.known_from.max(dropped + 1);
        }
        while self.left.len() > MAX_LEFT {
            let (dropped, _) = self.left.remove(0);
            self.known_from = self.known_from.max(dropped + 1);
        }
        for numbers in [&mut self.missed, &mut self.dead] {
            if let Some(dropped) = numbers.drop_oldest(MAX_RANGES) {
                self.known_from = self.known_from.max(dropped + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests;
