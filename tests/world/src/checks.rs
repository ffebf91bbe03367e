//! What has to be so at the end of each history.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::cloud::Cloud;
use crate::hoopoe::INSTEAD;
use crate::ledger::{Said, Tag, tags_in};
use crate::weather::PLENTY;

/// What a history is held to.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// The queues that must be empty.
    pub queues: Vec<&'static str>,
    /// The queues of dead letters.
    pub letters: Vec<&'static str>,
    /// For how long a message waits for the one before it. What the weather held back for longer may be overtaken.
    pub gap: Duration,
    /// The write units that one write to a table may cost.
    pub units: BTreeMap<&'static str, f64>,
    /// How a reason says that the platform may have the reply.
    pub doubt: &'static str,
}

/// Something that is not so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// A queue is not empty, though nothing happens any more.
    Waiting {
        /// The queue.
        queue: String,
        /// What is in it.
        body: String,
    },
    /// The queue dropped a message for its age.
    Dropped(String),
    /// A message was acknowledged and has neither a reply nor a dead letter.
    Lost(Tag),
    /// A part of a reply is missing, and there is no dead letter.
    Cut(Tag),
    /// Something was said twice.
    Twice(Tag),
    /// It was said, and yet there is a dead letter that does not leave it open.
    SaidAndDead(Tag),
    /// A dead letter leaves open whether it was said, though nothing was in doubt.
    FalseDoubt(Tag),
    /// A dead letter has no reason.
    NoReason(String),
    /// The second was said before the first, though the weather did not hold the first one back.
    OutOfOrder(Tag, Tag),
    /// A reply was said to somebody else.
    Astray(Tag),
    /// Something was said that answers no message.
    Unasked(Tag),
    /// A write costs more units than it may.
    Dear {
        /// The table and the operation.
        what: String,
        /// The units of the dearest write.
        units: String,
    },
    /// A service refused a call for what it is.
    Invalid(String),
    /// The platform was asked more often than the bot may.
    TooOften {
        /// So many calls.
        calls: usize,
        /// From this time on, in milliseconds since the history began.
        from: u64,
    },
    /// The history did not end.
    Endless,
}

/// What came of a history.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// What is not so.
    pub findings: Vec<Finding>,
    /// What could not be otherwise, by its cause.
    pub unavoidable: BTreeMap<&'static str, usize>,
    /// Messages that were acknowledged, parts that were said, and dead letters.
    pub counts: [usize; 3],
}

struct Letter {
    /// The message that it answers, or is.
    tag: Option<Tag>,
    /// The same, and those that are answered together with it.
    tags: Vec<Tag>,
    /// The parts of a reply.
    says: Vec<Tag>,
    reason: String,
    body: String,
}

/// Looks at the end of a history.
#[must_use]
pub fn check(cloud: &Cloud, bounds: &Bounds) -> Verdict {
    let mut verdict = Verdict::default();
    for queue in &bounds.queues {
        for message in cloud.sqs.messages(queue) {
            let body = crate::cloud::short(&message.body);
            verdict.findings.push(Finding::Waiting { queue: (*queue).to_owned(), body });
        }
    }
    verdict
        .findings
        .extend(cloud.sqs.dropped().iter().map(|message| Finding::Dropped(crate::cloud::short(&message.body))));
    verdict.findings.extend(cloud.invalid().into_iter().map(Finding::Invalid));
    for letter in bounds.letters.iter().flat_map(|queue| cloud.sqs.messages(queue)) {
        if letter.body.contains(INSTEAD) {
            cloud.ledger.stand_in(&tags_in(&letter.body));
        }
    }
    let messages = bounds.letters.iter().flat_map(|queue| cloud.sqs.messages(queue));
    let letters: Vec<Letter> = messages
        .map(|message| Letter {
            tags: tags_in(&message.body).iter().map(|tag| tag.reply(0)).collect(),
            says: tags_in(&message.body).into_iter().filter(|tag| tag.part > 0).collect(),
            tag: tags_in(&message.body).first().map(|tag| tag.reply(0)),
            reason: message.attributes.get("reason").cloned().unwrap_or_default(),
            body: message.body,
        })
        .collect();
    let said = cloud.ledger.said();
    replies(cloud, bounds, &said, &letters, &mut verdict);
    order(cloud, bounds, &said, &mut verdict);
    quota(cloud, &mut verdict);
    // The answer of a turn that comes later is stored whole: it costs what it is long.
    let is_answer = |table: &str, operation: &str| table == "sessions" && operation == "UpdateItem";
    for ((table, operation), units) in cloud.written().into_iter().filter(|((table, by), _)| !is_answer(table, by)) {
        if bounds.units.get(table).is_some_and(|most| units.most > *most) {
            let what = format!("{table} {operation}");
            verdict.findings.push(Finding::Dear { what, units: units.most.to_string() });
        }
    }
    verdict.counts[1..].copy_from_slice(&[said.len(), letters.len()]);
    verdict
}

/// Each message has one reply, or a dead letter with a true reason.
fn replies(cloud: &Cloud, bounds: &Bounds, said: &[Said], letters: &[Letter], verdict: &mut Verdict) {
    let asked = cloud.ledger.asked();
    let mut times: BTreeMap<Tag, Vec<&Said>> = BTreeMap::new();
    for one in said {
        times.entry(one.tag).or_default().push(one);
        let question = one.tag.reply(0);
        if one.to.is_some_and(|to| to != question.conversation) {
            verdict.findings.push(Finding::Astray(one.tag));
        }
        if asked.get(&question).is_none_or(|asked| one.tag.part == 0 || one.tag.part > asked.parts) {
            verdict.findings.push(Finding::Unasked(one.tag));
        }
    }
    for (tag, times) in &times {
        // Each time but the last must have been told as not taken: the sender could not know.
        for one in &times[..times.len() - 1] {
            match one.excuse {
                Some(cause) => *verdict.unavoidable.entry(cause).or_default() += 1,
                None if cloud.ledger.is_permitted(*tag) && cloud.ledger.is_doubtful(*tag) => {
                    *verdict.unavoidable.entry("an operator sent what the platform may have").or_default() += 1;
                }
                None => verdict.findings.push(Finding::Twice(*tag)),
            }
        }
    }
    for letter in letters {
        if letter.reason.is_empty() {
            verdict.findings.push(Finding::NoReason(crate::cloud::short(&letter.body)));
        }
        let Some(tag) = letter.tag else { continue };
        let in_doubt = letter.reason.contains(bounds.doubt);
        let parts = asked.get(&tag).map_or(1, |asked| asked.parts);
        let whole = match letter.says.is_empty() {
            true => parts > 0 && (1..=parts).all(|part| times.contains_key(&tag.reply(part))),
            false => letter.says.iter().all(|tag| times.contains_key(tag)),
        };
        if in_doubt && !letter.tags.iter().any(|tag| cloud.ledger.is_doubtful(*tag)) {
            verdict.findings.push(Finding::FalseDoubt(tag));
        }
        let excused = times.get(&tag.reply(parts)).into_iter().flatten().any(|one| one.excuse.is_some());
        if whole && !in_doubt && !excused {
            verdict.findings.push(Finding::SaidAndDead(tag));
        }
    }
    for (tag, asked) in &asked {
        if asked.acknowledged.is_none() {
            continue;
        }
        verdict.counts[0] += 1;
        if letters.iter().any(|letter| letter.tags.contains(tag)) || cloud.ledger.is_stood_in_for(*tag) {
            continue;
        }
        let there = (1..=asked.parts).filter(|part| times.contains_key(&tag.reply(*part))).count();
        if there < asked.parts as usize {
            verdict.findings.push(if there == 0 { Finding::Lost(*tag) } else { Finding::Cut(*tag) });
        }
    }
}

/// Replies are in the order of the messages: of two messages of which the first was acknowledged before the second was
/// delivered, the first is answered first, with all its parts.
fn order(cloud: &Cloud, bounds: &Bounds, said: &[Said], verdict: &mut Verdict) {
    let asked = cloud.ledger.asked();
    let mut first: BTreeMap<Tag, usize> = BTreeMap::new();
    for (at, one) in said.iter().enumerate() {
        first.entry(one.tag).or_insert(at);
    }
    let (mut before, mut overtaken): (Option<(Tag, usize)>, BTreeSet<Tag>) = (None, BTreeSet::new());
    // In the order of conversation, message and part; the places must grow within a conversation.
    for (tag, at) in &first {
        if let Some((other, place)) = before
            && other.conversation == tag.conversation
            && *at < place
        {
            let follows = |first: &Tag, second: &Tag| {
                let told = asked.get(&first.reply(0)).and_then(|asked| asked.acknowledged);
                let came = asked.get(&second.reply(0)).map(|asked| asked.delivered);
                first.reply(0) == second.reply(0) || matches!((told, came), (Some(told), Some(came)) if told <= came)
            };
            let (held, cause) = cloud.ledger.held(other);
            // One that is overtaken by many is told once.
            if follows(&other, tag) && overtaken.insert(other) {
                if held >= bounds.gap && other.message != tag.message {
                    *verdict.unavoidable.entry(cause).or_default() += 1;
                } else {
                    verdict.findings.push(Finding::OutOfOrder(other, *tag));
                }
            }
        }
        if before.is_none_or(|(other, place)| other.conversation != tag.conversation || *at > place) {
            before = Some((*tag, *at));
        }
    }
}

/// What the keyring's `quota` bounds: calls in any window, without shares, which so small a quota does not have.
fn quota(cloud: &Cloud, verdict: &mut Verdict) {
    const WINDOW: u64 = 5000;
    /// From the call that is let go to its request.
    const LEAVES: f64 = 0.1;
    let weather = cloud.dice.weather();
    if weather.quota >= PLENTY {
        return;
    }
    let seconds = 5.0 + 1.0 + 2.0 * weather.skew.as_secs_f64() + LEAVES;
    let most = f64::from(weather.quota) * seconds + 1.0;
    let requests = cloud.ledger.requests();
    for (at, from) in requests.iter().enumerate() {
        let calls = requests[at..].iter().take_while(|time| **time < from + WINDOW).count();
        if f64::from(u32::try_from(calls).expect("a few")) > most {
            verdict.findings.push(Finding::TooOften { calls, from: *from });
            return;
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { queue, body } => write!(f, "{body} still stands in the queue {queue}"),
            Self::Dropped(body) => write!(f, "{body} was dropped by its queue for its age"),
            Self::Lost(tag) => write!(f, "{tag} was acknowledged and has neither a reply nor a dead letter"),
            Self::Cut(tag) => write!(f, "a part of the reply to {tag} is missing, without a dead letter"),
            Self::Twice(tag) => write!(f, "{tag} was said twice"),
            Self::SaidAndDead(tag) => write!(f, "{tag} was answered, and its dead letter does not say that it may be"),
            Self::FalseDoubt(tag) => {
                write!(f, "the dead letter of {tag} says that it may have been sent, and nothing was in doubt")
            }
            Self::NoReason(body) => write!(f, "the dead letter {body} has no reason"),
            Self::OutOfOrder(first, second) => write!(f, "{second} was said before {first}"),
            Self::Astray(tag) => write!(f, "{tag} was said to somebody else"),
            Self::Unasked(tag) => write!(f, "{tag} answers no message"),
            Self::Dear { what, units } => write!(f, "a write costs too much: {what}, {units} units"),
            Self::Invalid(what) => write!(f, "refused: {what}"),
            Self::TooOften { calls, from } => write!(f, "{calls} calls within 5 s from {from} ms on"),
            Self::Endless => write!(f, "the history does not end"),
        }
    }
}
