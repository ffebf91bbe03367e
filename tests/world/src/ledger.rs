//! Who was told what: the messages that were acknowledged, what the platforms were told, and what the weather did to it.
//!
//! A message and each part of its reply carry a [`Tag`], which goes through everything unchanged.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The mark of a message and of the parts of its reply: `Q3N12P1Z` is part 1 of the reply to message 12 of conversation 3,
/// and part 0 the message itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    /// The conversation.
    pub conversation: u32,
    /// The message, in the order in which the person wrote.
    pub message: u32,
    /// The part of the reply, from 1; 0 in the message.
    pub part: u32,
}

impl Tag {
    /// The mark of a message.
    #[must_use]
    pub const fn message(conversation: u32, message: u32) -> Self {
        Self { conversation, message, part: 0 }
    }

    /// The mark of a part of its reply.
    #[must_use]
    pub const fn reply(self, part: u32) -> Self {
        Self { part, ..self }
    }

    const fn question(self) -> Self {
        self.reply(0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Q{}N{}P{}Z", self.conversation, self.message, self.part)
    }
}

/// The tags in a text, each once, in order.
#[must_use]
pub fn tags_in(text: &str) -> Vec<Tag> {
    let number = |text: &str, before: char, after: char| -> Option<(u32, usize)> {
        let digits = text.strip_prefix(before)?;
        let end = digits.find(|c: char| !c.is_ascii_digit())?;
        digits[end..].starts_with(after).then_some((digits[..end].parse().ok()?, end + 1))
    };
    let mut tags = Vec::new();
    for (start, _) in text.match_indices('Q') {
        let rest = &text[start..];
        let tag = number(rest, 'Q', 'N').and_then(|(conversation, at)| {
            let (message, next) = number(&rest[at..], 'N', 'P')?;
            let (part, _) = number(&rest[at + next..], 'P', 'Z')?;
            Some(Tag { conversation, message, part })
        });
        if let Some(tag) = tag
            && !tags.contains(&tag)
        {
            tags.push(tag);
        }
    }
    tags
}

/// Something that a person was shown.
#[derive(Clone, Debug)]
pub struct Said {
    /// Milliseconds since the history began.
    pub at: u64,
    /// Which part of which reply it was.
    pub tag: Tag,
    /// To whom, where the request says it in a way that can be read.
    pub to: Option<u32>,
    /// Why the sender could not know, where the platform's own words were that it had not taken it.
    pub excuse: Option<&'static str>,
}

/// What became of a message of a person.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// When the platform delivered it for the first time, in milliseconds since the history began.
    pub delivered: u64,
    /// When the platform was first told that it has arrived.
    pub acknowledged: Option<u64>,
    /// How many parts its reply has; none where it gets no reply.
    pub parts: u32,
}

/// Everything that was asked and said.
#[derive(Debug, Default)]
pub struct Ledger {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    asked: BTreeMap<Tag, Asked>,
    said: Vec<Said>,
    held: BTreeMap<Tag, BTreeMap<&'static str, Duration>>,
    uncertain: BTreeMap<Tag, BTreeSet<&'static str>>,
    permitted: BTreeSet<Tag>,
    joining: BTreeSet<Tag>,
    stood_in: BTreeSet<Tag>,
    requests: Vec<u64>,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A platform delivers a message, whose reply will have so many parts.
    pub fn deliver(&self, tag: Tag, parts: u32, at: u64) {
        self.lock().asked.entry(tag).or_insert(Asked { delivered: at, acknowledged: None, parts });
    }

    /// A platform is told that the message has arrived.
    pub fn acknowledge(&self, tag: Tag, at: u64) {
        if let Some(asked) = self.lock().asked.get_mut(&tag) {
            asked.acknowledged.get_or_insert(at);
        }
    }

    /// A person is shown something.
    pub fn say(&self, said: Said) {
        self.lock().said.push(said);
    }

    /// The weather held messages or replies back for so long.
    pub fn hold(&self, tags: &[Tag], time: Duration, cause: &'static str) {
        let mut state = self.lock();
        for tag in tags {
            *state.held.entry(tag.question()).or_default().entry(cause).or_default() += time;
        }
    }

    /// The weather left the sender without knowing what became of these.
    pub fn doubt(&self, tags: &[Tag], cause: &'static str) {
        let mut state = self.lock();
        for tag in tags {
            state.uncertain.entry(tag.question()).or_default().insert(cause);
        }
    }

    /// A message may be answered together with an earlier one.
    pub fn may_join(&self, tag: Tag) {
        self.lock().joining.insert(tag);
    }

    /// Something stood in for the answer to these.
    pub fn stand_in(&self, tags: &[Tag]) {
        self.lock().stood_in.extend(tags.iter().map(|tag| tag.question()));
    }

    /// Whether something stood in for the answer to a message of the conversation which this one may have joined. It need not
    /// be an earlier one: those that come together are numbered in any order.
    #[must_use]
    pub fn is_stood_in_for(&self, tag: Tag) -> bool {
        let state = self.lock();
        let conversation = Tag::message(tag.conversation, 0)..Tag::message(tag.conversation + 1, 0);
        state.joining.contains(&tag.question()) && state.stood_in.range(conversation).next().is_some()
    }

    /// A platform is asked to show something.
    pub fn request(&self, at: u64) {
        self.lock().requests.push(at);
    }

    /// When platforms were asked to show something, in milliseconds since the history began.
    #[must_use]
    pub fn requests(&self) -> Vec<u64> {
        self.lock().requests.clone()
    }

    /// An operator lets these be sent although people may have them.
    pub fn permit(&self, tags: &[Tag]) {
        self.lock().permitted.extend(tags.iter().map(|tag| tag.question()));
    }

    /// Whether a reply may be said twice, because an operator wanted it so.
    #[must_use]
    pub fn is_permitted(&self, tag: Tag) -> bool {
        self.lock().permitted.contains(&tag.question())
    }

    /// The messages, by their tags.
    #[must_use]
    pub fn asked(&self) -> BTreeMap<Tag, Asked> {
        self.lock().asked.clone()
    }

    /// What people were shown, in order.
    #[must_use]
    pub fn said(&self) -> Vec<Said> {
        self.lock().said.clone()
    }

    /// For how long the weather held a message and its reply back, and why most of all.
    #[must_use]
    pub fn held(&self, tag: Tag) -> (Duration, &'static str) {
        let state = self.lock();
        let Some(held) = state.held.get(&tag.question()) else { return (Duration::ZERO, "nothing") };
        let cause = held.iter().max_by_key(|(_, time)| **time).map_or("nothing", |(cause, _)| cause);
        (held.values().sum(), cause)
    }

    /// Whether the weather left the sender of a reply in doubt.
    #[must_use]
    pub fn is_doubtful(&self, tag: Tag) -> bool {
        self.lock().uncertain.contains_key(&tag.question())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_found_in_any_text() {
        let tag = Tag::message(3, 12);
        assert_eq!(tags_in(&format!("QQ{tag}\\n{} QN1P1Z Q1N Q{tag}", tag.reply(2))), [tag, tag.reply(2)]);
        assert!(tags_in("Q1N2P3 Q1N2PZ").is_empty());
    }
}
