//! Sessions: what the bot remembers of a conversation until it goes quiet.
//!
//! One item a conversation: `version`, `expires_at`, and `state`, the session as JSON. A write names the version it
//! read, so that of two functions that handle the same conversation at once one wins and the other starts again from
//! what the first wrote. What the bot offered is kept by its ids in the pack, not by its words, and the item stays below
//! the kilobyte that DynamoDB bills as one write, however long the conversation gets.
//!
//! A message is known by its number. What the session calls handled has its reply in the outbound queue, because the
//! reply is queued before the session is written. What it does not know is answered, perhaps for a second time: the
//! record of the send drops the second reply.

mod gathering;

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, BatchStatementRequest, KeysAndAttributes};
use aws_types::SdkConfig;
use hoopoe_message::{Conversation, InboundMessage, Language, Timestamp};
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::item::{Item, number, read_number, read_text, text};
use crate::joined::{Joined, quoted, statement};
use crate::numbers::Numbers;
use gathering::Gathered;
pub use gathering::Gathering;

/// How many bytes the ids of what was offered may take; the last ones go first.
const MAX_OFFERED: usize = 240;
/// How many ranges of passed-over numbers are told apart.
const MAX_MISSED: usize = 6;
/// DynamoDB's limit for one `BatchGetItem`.
const MAX_BATCH: usize = 100;
/// How often what a read left unprocessed is asked for again, with pauses of this length and its multiples.
const MAX_READS: u32 = 4;
const READ_PAUSE: Duration = Duration::from_millis(50);

/// What the bot remembers of a conversation.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
#[serde(default)]
pub struct Session {
    /// How often it was written; 0 for one that is not in the table. Kept beside the state, not in it.
    #[serde(skip)]
    version: u64,
    /// Whether one that has expired is still in the table.
    #[serde(skip)]
    follows: bool,
    /// The highest number handled; 0 where none is known.
    last: u64,
    /// Numbers below `last` that are not known as handled.
    missed: Numbers,
    /// When a message was last handled.
    moved_at: Timestamp,
    /// The number of the last message that got a reply, or will get it.
    answered: Option<u64>,
    /// The number of the last message whose reply comes later, and until when it may come.
    pending: Option<(u64, Timestamp)>,
    /// The last one of these that later messages may be answered together with.
    #[serde(skip_serializing_if = "Option::is_none")]
    gathered: Option<Gathered>,
    /// The language the person chose with `/lang`.
    pub chosen_language: Option<Language>,
    /// The language of the last message that showed one; before there is any, the language that the platform states.
    pub spoken_language: Option<Language>,
    /// Whether the person was told that the bot reads text only.
    pub told_text_only: bool,
    /// The ids of the intents that the last reply offered, in their order.
    offered: Vec<String>,
    /// Two empty lists: without them the functions of the release before could not read what this one writes.
    #[serde(skip_deserializing)]
    handled: [(); 0],
    #[serde(skip_deserializing)]
    turns: [(); 0],
}

/// What only the release before wrote of a session.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Before {
    handled: Vec<String>,
    turns: Vec<BeforeTurn>,
}

#[derive(Deserialize)]
struct BeforeTurn {
    number: u64,
}

/// A message that waits for others looks again after a second, so within this time it was let go.
const COMES_BACK: Duration = Duration::from_secs(2);

/// Where a message stands in its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is its turn.
    Next,
    /// One before it is still on its way.
    Early,
    /// It was handled, and its reply, where it has one, is queued.
    Handled,
}

/// How a reply stands to the ones before it in its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The number of the message whose reply comes before it.
    pub after: Option<u64>,
    /// Whether none between `after` and this one may still get a reply.
    pub complete: bool,
    /// Until when a reply before this one may still be in the making.
    pub pending_until: Option<Timestamp>,
}

impl Session {
    /// Where a message stands. One that is early is waited for until it has `waited` for `gap`, counted from when it was
    /// first taken out of the queue, and from when the conversation last moved: those that waited for the same message come
    /// back in any order. What is missing before it then failed before the queue. Where more than one may be missing, one
    /// of them may be waiting for the others, and is let go first: it has two seconds for that.
    ///
    /// A session lasts for `lifetime` after each message. So where there is none, and the message before this one came
    /// within that time, that one is still on its way; and where it is older, it was handled.
    #[must_use]
    pub fn place(
        &self,
        message: &InboundMessage,
        waited: Duration,
        gap: Duration,
        lifetime: Duration,
        now: Timestamp,
    ) -> Place {
        if message.number <= self.last {
            return if self.missed.contains(message.number) { Place::Next } else { Place::Handled };
        }
        let follows = if self.last == 0 {
            message.previous_at.is_none_or(|previous| now.since(previous) >= lifetime)
        } else {
            message.number == self.last + 1
        };
        // The first number of a conversation is the time of its claim.
        let is_second = message.previous_at.is_some_and(|first| message.number == first.as_millis() + 1);
        let one_is_missing = if self.last == 0 { is_second } else { message.number == self.last + 2 };
        let patience = if one_is_missing { gap } else { gap + COMES_BACK };
        if follows || waited.min(now.since(self.moved_at)) >= patience { Place::Next } else { Place::Early }
    }

    /// Takes note of a message that is handled now, and gets no reply.
    pub fn pass(&mut self, message: &InboundMessage, now: Timestamp) {
        self.moved_at = now;
        if message.number > self.last {
            let known = if self.last == 0 { 0 } else { self.last + 1 };
            if known < message.number {
                self.missed.insert(known, message.number - 1);
                self.missed.join_oldest(MAX_MISSED);
            }
            self.last = message.number;
        } else {
            self.missed.remove(message.number);
        }
    }

    /// Takes note of a message that is handled now, and says how its reply stands to those before it.
    pub fn answer(&mut self, message: &InboundMessage, now: Timestamp) -> Order {
        self.pass(message, now);
        self.stop_gathering(message);
        self.pending = self.pending.filter(|(_, until)| *until > now);
        let before = |number: &u64| *number < message.number;
        let pending = self.pending.map(|(number, _)| number);
        // A straggler waits for nobody but for what is in the making.
        let after = self.answered.filter(before).or(pending.filter(before));
        let complete = after.is_some_and(|after| !self.missed.touches(after + 1, message.number));
        let pending_until = self.pending.map(|(_, until)| until);
        self.answered = Some(self.answered.unwrap_or(0).max(message.number));
        Order { after, complete, pending_until }
    }

    /// Takes note that the reply to a message that was [answered](Self::answer) comes later, until `deadline`.
    pub fn expect_reply(&mut self, message: &InboundMessage, deadline: Timestamp) {
        self.pending = self.pending.max(Some((message.number, deadline)));
    }

    /// Takes note of the intents that the reply offers; those of the reply before are forgotten.
    pub fn offer(&mut self, intents: impl IntoIterator<Item = String>) {
        let mut bytes = 0;
        let fits = |intent: &String| {
            bytes += intent.len() + 3;
            bytes <= MAX_OFFERED
        };
        self.offered = intents.into_iter().take_while(fits).collect();
    }

    /// The ids of the intents that the last reply offered.
    #[must_use]
    pub fn offered(&self) -> &[String] {
        &self.offered
    }

    /// Forgets what was said and chosen; what was handled stays known.
    pub fn forget(&mut self) {
        self.offered.clear();
        self.chosen_language = None;
        self.spoken_language = None;
        self.told_text_only = false;
    }
}

/// The Sessions table.
#[derive(Debug)]
pub struct Sessions {
    client: Client,
    joined: Joined,
    table: String,
    lifetime: Duration,
}

/// Why a session was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another function wrote it since it was read: read it again.
    #[error("the session was written by another function meanwhile")]
    Conflict,
    /// DynamoDB did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Sessions {
    /// The table of this name; a session ends `lifetime` after its last message.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String, lifetime: Duration) -> Self {
        let client = Client::new(config);
        Self { joined: Joined::new(client.clone()), client, table, lifetime }
    }

    /// How long a session lasts after its last message.
    #[must_use]
    pub const fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// The sessions of these conversations, in their order; an empty one where there is none or it has expired. One that
    /// cannot be read fails alone.
    pub async fn read(&self, conversations: &[&Conversation], now: Timestamp) -> Vec<Result<Session, StoreError>> {
        const OPERATION: &str = "reading sessions";
        let names: Vec<String> = conversations.iter().map(ToString::to_string).collect();
        let mut sessions: Vec<Result<Session, StoreError>> = names.iter().map(|_| Ok(Session::default())).collect();
        let mut wanted: Vec<usize> = (0..names.len()).collect();
        for reads in 1.. {
            let mut left = Vec::new();
            for places in wanted.chunks(MAX_BATCH) {
                match self.read_batch(&names, places).await {
                    Ok((items, unprocessed)) => {
                        for (at, item) in items {
                            sessions[at] = live_session(&item, now);
                        }
                        left.extend(unprocessed);
                    }
                    Err(error) => places.iter().for_each(|&at| sessions[at] = Err(error.clone())),
                }
            }
            if left.is_empty() {
                break;
            }
            if reads == MAX_READS {
                let busy = StoreError::busy(OPERATION, "the table is busy");
                left.iter().for_each(|&at| sessions[at] = Err(busy.clone()));
                break;
            }
            tokio::time::sleep(READ_PAUSE * reads).await;
            wanted = left;
        }
        sessions
    }

    /// One `BatchGetItem`: the items that were found, and the places that DynamoDB left for another call.
    async fn read_batch(
        &self,
        names: &[String],
        places: &[usize],
    ) -> Result<(Vec<(usize, Item)>, Vec<usize>), StoreError> {
        const OPERATION: &str = "reading sessions";
        let keys = places.iter().map(|&at| Item::from([("conversation".to_owned(), text(&names[at]))])).collect();
        let request = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(true)
            .build()
            .map_err(|_| StoreError::Shape { operation: OPERATION, what: "a key" })?;
        let output = self
            .client
            .batch_get_item()
            .request_items(&self.table, request)
            .send()
            .await
            .map_err(|error| StoreError::call(OPERATION, &error))?;
        let place = |item: &Item| {
            let name = read_text(item, "conversation")?;
            places.iter().copied().find(|&at| names[at] == name)
        };
        let found = output.responses.unwrap_or_default().into_values().flatten();
        let found = found.filter_map(|item| Some((place(&item)?, item))).collect();
        let left = output.unprocessed_keys.unwrap_or_default().into_values().flat_map(|left| left.keys);
        Ok((found, left.filter_map(|key| place(&key)).collect()))
    }

    /// Writes a session that was read and changed; its time to live starts anew. Sessions that are written at the same
    /// time go out together.
    ///
    /// # Errors
    ///
    /// [`WriteError::Conflict`] when it was written by somebody else since it was read, or expired meanwhile.
    pub async fn write(
        &self,
        conversation: &Conversation,
        session: &Session,
        now: Timestamp,
    ) -> Result<(), WriteError> {
        let state = serde_json::to_string(session)
            .map_err(|_| StoreError::Shape { operation: "writing a session", what: "state" })?;
        let item = [
            ("conversation", text(conversation.to_string())),
            ("version", number(session.version + 1)),
            ("expires_at", number(now.plus(self.lifetime).as_secs())),
            ("state", text(state)),
        ];
        if self.joined.write(self.statement(session, &item, now)).await.is_some() {
            return Ok(());
        }
        let item = item.map(|(name, value)| (name.to_owned(), value));
        let mut put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item.into()))
            .expression_attribute_names("#expires", "expires_at")
            .expression_attribute_values(":now", number(now.as_secs()));
        put = if session.version == 0 {
            put.condition_expression("attribute_not_exists(#expires) OR #expires <= :now")
        } else {
            put.condition_expression("#version = :version AND #expires > :now")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":version", number(session.version))
        };
        match put.send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(_)) => Err(WriteError::Conflict),
                _ => Err(StoreError::call("writing a session", &error).into()),
            },
        }
    }

    /// The write of `item` as a statement. It also fails where an expired session was deleted since it was read; the single
    /// call does not mind.
    fn statement(
        &self,
        session: &Session,
        item: &[(&str, AttributeValue); 4],
        now: Timestamp,
    ) -> BatchStatementRequest {
        let table = quoted(&self.table);
        let [conversation, version, expires, state] = item.each_ref().map(|(_, value)| value.clone());
        if session.version == 0 && !session.follows {
            let insert =
                format!("INSERT INTO {table} VALUE {{'conversation': ?, 'version': ?, 'expires_at': ?, 'state': ?}}");
            return statement(insert, vec![conversation, version, expires, state]);
        }
        let mut update = format!(
            r#"UPDATE {table} SET "version" = ? SET "expires_at" = ? SET "state" = ? WHERE "conversation" = ? AND "#
        );
        let mut values = vec![version, expires, state, conversation];
        if session.version == 0 {
            update.push_str(r#""expires_at" <= ?"#);
        } else {
            update.push_str(r#""version" = ? AND "expires_at" > ?"#);
            values.push(number(session.version));
        }
        values.push(number(now.as_secs()));
        statement(update, values)
    }
}

/// The session of an item; an empty one when it has expired, however long the item stays in the table.
fn live_session(item: &Item, now: Timestamp) -> Result<Session, StoreError> {
    let shape = |what| StoreError::Shape { operation: "reading sessions", what };
    let expires = read_number(item, "expires_at").ok_or_else(|| shape("expires_at"))?;
    if expires <= now.as_secs() {
        return Ok(Session { follows: true, ..Session::default() });
    }
    let state = read_text(item, "state").ok_or_else(|| shape("state"))?;
    let mut session: Session = read_state(state).map_err(|_| shape("state"))?;
    session.version = read_number(item, "version").ok_or_else(|| shape("version"))?;
    Ok(session)
}

/// The session of its JSON. That of the release before names by their numbers only the messages that got the last few
/// replies: the others are answered again where they come again.
fn read_state(state: &str) -> Result<Session, serde_json::Error> {
    let mut session: Session = serde_json::from_str(state)?;
    let before: Before = serde_json::from_str(state)?;
    if !before.handled.is_empty() {
        session.missed.insert(0, session.last);
        before.turns.iter().for_each(|turn| session.missed.remove(turn.number));
        session.missed.join_oldest(MAX_MISSED);
    }
    Ok(session)
}

#[cfg(test)]
mod tests;
