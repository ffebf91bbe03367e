//! The services behind one door: what each call does, and what is counted on the way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value as Json, json};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::clock::Clock;
use crate::dynamodb::{Done, DynamoDb, Expiry, Moment};
use crate::kms;
use crate::ledger::{Ledger, tags_in};
use crate::sqs::{Setup, Sqs};
use crate::trace::Trace;
use crate::weather::Dice;

/// "DynamoDB automatically deletes expired items within a few days", "typically within 48 hours".
const LONGEST_EXPIRED: u64 = 48 * 3600;

/// AWS, as one history sees it.
#[derive(Debug)]
pub struct Cloud {
    /// The true time.
    pub clock: Clock,
    /// What is left to chance.
    pub dice: Dice,
    /// What happened.
    pub trace: Trace,
    /// The tables.
    pub dynamodb: DynamoDb,
    /// The queues.
    pub sqs: Sqs,
    /// Who was told what.
    pub ledger: Ledger,
    changed: Notify,
    busy: AtomicUsize,
    invocations: AtomicUsize,
    writes: Mutex<Vec<Write>>,
    invalid: Mutex<Vec<String>>,
}

/// An item that was written, or whose condition did not hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Into which table.
    pub table: &'static str,
    /// By which operation.
    pub operation: String,
    /// Its write units.
    pub units: f64,
}

/// What the writes of one kind cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Units {
    /// Items written, and items whose condition did not hold.
    pub writes: u64,
    /// Write units of all of them.
    pub sum: f64,
    /// Write units of the dearest.
    pub most: f64,
}

/// The answer to a call.
#[derive(Debug)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// The JSON body.
    pub body: Vec<u8>,
    /// What came of it, for the trace.
    pub words: String,
}

impl Cloud {
    /// Empty tables and these queues. To be called inside of a runtime whose time is paused.
    #[must_use]
    pub fn new(queues: impl IntoIterator<Item = (&'static str, Setup)>, dice: Dice, seed: u64, traced: bool) -> Self {
        let clock = Clock::start();
        let random = fastrand::Rng::with_seed(seed ^ 0x7474_6c00);
        let at_once = dice.weather().deleted_at_once;
        Self {
            clock,
            dice,
            trace: Trace::new(clock, traced),
            dynamodb: DynamoDb::new(Expiry::Random { random, at_once, longest: LONGEST_EXPIRED }),
            sqs: Sqs::new(queues),
            ledger: Ledger::default(),
            changed: Notify::new(),
            busy: AtomicUsize::new(0),
            invocations: AtomicUsize::new(0),
            writes: Mutex::default(),
            invalid: Mutex::default(),
        }
    }

    /// Comes back when something has changed that a queue's poller or the end of a history may wait for.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Tells that something has changed.
    pub fn tell(&self) {
        self.changed.notify_waiters();
    }

    /// As long as the guard lives, the history goes on.
    #[must_use]
    pub fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Counts an invocation.
    pub(crate) fn invoke(&self) {
        self.invocations.fetch_add(1, Ordering::Relaxed);
    }

    /// How many invocations there were.
    #[must_use]
    pub fn invocations(&self) -> usize {
        self.invocations.load(Ordering::Relaxed)
    }

    /// Whether nobody is at work.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0
    }

    /// What was written, by table and operation.
    #[must_use]
    pub fn written(&self) -> BTreeMap<(&'static str, String), Units> {
        let mut written: BTreeMap<_, Units> = BTreeMap::new();
        for Write { table, operation, units } in self.writes(0) {
            let sum = written.entry((table, operation)).or_default();
            *sum = Units { writes: sum.writes + 1, sum: sum.sum + units, most: sum.most.max(units) };
        }
        written
    }

    /// What was written, in its order, without so many of the first.
    #[must_use]
    pub fn writes(&self, without: usize) -> Vec<Write> {
        lock(&self.writes)[without..].to_vec()
    }

    /// Calls that the services refused for what they are: none is expected.
    #[must_use]
    pub fn invalid(&self) -> Vec<String> {
        lock(&self.invalid).clone()
    }

    /// Takes note of a call or request that nobody should make.
    pub fn refuse(&self, what: String) {
        lock(&self.invalid).push(what);
    }

    /// Carries a call out.
    pub fn apply(&self, target: &str, body: &[u8]) -> Answered {
        let (service, operation) = target.split_once('.').unwrap_or_default();
        let answered = match service {
            "DynamoDB_20120810" => self.dynamodb(operation, body),
            "AmazonSQS" => self.sqs(operation, body),
            "TrentService" => kms::call(operation, body)
                .map(|(status, body)| (status, body.to_string().into_bytes()))
                .map_err(|error| ("ValidationException", error)),
            _ => Err(("ValidationException", format!("{target} is no call of the functions"))),
        };
        let (status, body) = answered.unwrap_or_else(|(code, error)| {
            self.refuse(format!("{operation} was refused: {error}"));
            (400, json!({"__type": code, "message": error}).to_string().into_bytes())
        });
        let words = if self.trace.is_wanted() { outcome(status, &body) } else { String::new() };
        Answered { status, body, words }
    }

    fn dynamodb(&self, operation: &str, body: &[u8]) -> Result<(u16, Vec<u8>), (&'static str, String)> {
        let mut leaves = || self.dice.fault(self.dice.weather().partial);
        let mut moment = Moment { now: self.clock.millis() / 1000, leaves: &mut leaves };
        let done = self.dynamodb.call_at(operation, body, &mut moment);
        let Done { table, status, body, write_units, invalid, .. } =
            done.map_err(|error| ("ValidationException", error))?;
        let writes = write_units.into_iter().map(|units| Write { table, operation: operation.to_owned(), units });
        lock(&self.writes).extend(writes);
        if let Some(invalid) = invalid {
            self.refuse(invalid);
        }
        Ok((status, body))
    }

    fn sqs(&self, operation: &str, body: &[u8]) -> Result<(u16, Vec<u8>), (&'static str, String)> {
        let called = self.sqs.call(operation, body, self.clock.millis(), &self.dice);
        self.tell();
        for (body, late) in self.sqs.take_delayed() {
            self.trace.note("sqs", || format!("a message is {late:?} late: {}", short(&body)));
            self.ledger.hold(&tags_in(&body), late, "the queue delivered late");
        }
        match called {
            Ok((_, answer)) => Ok((200, answer.to_string().into_bytes())),
            // A receipt that is over is nobody's fault: the message came twice.
            Err(refusal) if refusal.code == "MessageNotInflight" => {
                let body = json!({"__type": "com.amazonaws.sqs#MessageNotInflight", "message": refusal.message});
                Ok((400, body.to_string().into_bytes()))
            }
            Err(refusal) => Err((refusal.code, refusal.message)),
        }
    }
}

/// Somebody is at work.
#[derive(Debug)]
pub struct Busy(Arc<Cloud>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
        self.0.tell();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn outcome(status: u16, body: &[u8]) -> String {
    let body: Json = serde_json::from_slice(body).unwrap_or_default();
    let kind = body["__type"].as_str().map(|kind| kind.rsplit('#').next().unwrap_or(kind).to_owned());
    let mut words = match kind {
        None => "ok".to_owned(),
        Some(kind) => format!("{status} {kind} {}", body["message"].as_str().unwrap_or_default()),
    };
    let failed = body["Responses"].as_array().into_iter().flatten().filter_map(|one| one["Error"]["Code"].as_str());
    let failed = failed.chain(body["Failed"].as_array().into_iter().flatten().filter_map(|one| one["Code"].as_str()));
    for code in failed {
        words.push(' ');
        words.push_str(code);
    }
    words
}

/// A call in few words: the names and values in place of their placeholders.
#[must_use]
pub fn words(target: &str, body: &[u8]) -> String {
    let operation = target.split_once('.').map_or(target, |(_, operation)| operation);
    let body: Json = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| body[name].as_str().unwrap_or_default();
    let mut words = operation.to_owned();
    let mut add = |word: &str| {
        if !word.is_empty() {
            words.push(' ');
            words.push_str(word);
        }
    };
    add(text("TableName"));
    add(text("QueueUrl").rsplit('/').next().unwrap_or_default());
    for (_, value) in body["Key"].as_object().into_iter().flatten() {
        add(&plain(value));
    }
    for (name, before) in
        [("Item", ""), ("UpdateExpression", ""), ("ConditionExpression", "IF "), ("KeyConditionExpression", "")]
    {
        let expression = if name == "Item" && !body[name].is_null() {
            plain(&json!({"M": body[name]}))
        } else {
            resolved(&body, text(name))
        };
        if !expression.is_empty() {
            add(&format!("{before}{expression}"));
        }
    }
    for statement in body["Statements"].as_array().into_iter().flatten() {
        let mut values = statement["Parameters"].as_array().into_iter().flatten();
        let parts: Vec<&str> = statement["Statement"].as_str().unwrap_or_default().split('?').collect();
        let mut filled = String::new();
        for (at, part) in parts.iter().enumerate() {
            filled.push_str(part);
            if at + 1 < parts.len() {
                filled.push_str(&values.next().map(plain).unwrap_or_default());
            }
        }
        add(&format!("[{filled}]"));
    }
    for (table, wanted) in body["RequestItems"].as_object().into_iter().flatten() {
        add(table);
        for key in wanted["Keys"].as_array().into_iter().flatten() {
            add(&plain(&json!({"M": key})));
        }
    }
    let entries =
        body["Entries"].as_array().into_iter().flatten().map(|entry| entry["MessageBody"].as_str().unwrap_or_default());
    for message in entries.chain(body["MessageBody"].as_str()) {
        add(&short(message));
    }
    for name in ["ReceiptHandle", "VisibilityTimeout", "DelaySeconds"] {
        if !body[name].is_null() {
            add(&format!("{name}={}", body[name].to_string().trim_matches('"')));
        }
    }
    words
}

fn resolved(body: &Json, expression: &str) -> String {
    let mut resolved = String::new();
    for word in expression.split_inclusive([' ', ',', '(', ')', '.']) {
        let name = word.trim_end_matches([' ', ',', '(', ')', '.']);
        let known = match (&body["ExpressionAttributeNames"][name], &body["ExpressionAttributeValues"][name]) {
            (Json::String(name), _) => Some(name.clone()),
            (_, Json::Null) => None,
            (_, value) => Some(plain(value)),
        };
        match known {
            Some(known) => resolved.push_str(&format!("{known}{}", &word[name.len()..])),
            None => resolved.push_str(word),
        }
    }
    resolved
}

/// A DynamoDB value without its types.
fn plain(value: &Json) -> String {
    match value.as_object().and_then(|value| value.iter().next()) {
        Some((kind, Json::Object(map))) if kind == "M" => {
            let members: Vec<String> = map.iter().map(|(name, value)| format!("{name}: {}", plain(value))).collect();
            format!("{{{}}}", members.join(", "))
        }
        Some((_, Json::String(text))) => short(text),
        Some((_, other)) => other.to_string(),
        None => value.to_string(),
    }
}

/// The tags in a text, or else its beginning.
#[must_use]
pub fn short(text: &str) -> String {
    const MOST: usize = 60;
    let tags = tags_in(text);
    if !tags.is_empty() && text.len() > MOST {
        return tags.iter().map(ToString::to_string).collect::<Vec<_>>().join("+");
    }
    match text.char_indices().nth(MOST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
