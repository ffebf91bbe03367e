//! Sessions: what the bot remembers of a conversation until it goes quiet.
//!
//! One item a conversation: `version`, `expires_at`, and `state`, the session as JSON. A write names the version it
//! read, so that of two functions that handle the same conversation at once one wins and the other starts again from
//! what the first wrote. A session is bounded in turns and in bytes.

use std::collections::VecDeque;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, BatchStatementRequest, KeysAndAttributes};
use aws_types::SdkConfig;
use hoopoe_message::{Conversation, InboundMessage, Language, MessageId, Reply, Timestamp};
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::item::{Item, number, read_number, read_text, text};
use crate::joined::{Joined, quoted, statement};

/// How many turns a session keeps.
pub const MAX_TURNS: usize = 8;
/// How many bytes a session's turns may take as JSON; the oldest go first.
pub const MAX_BYTES: usize = 16 * 1024;
/// How many handled ids a session keeps.
pub const MAX_HANDLED: usize = 32;
/// DynamoDB's limit for one `BatchGetItem`.
const MAX_BATCH: usize = 100;

/// What the bot remembers of a conversation.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// How often it was written; 0 for one that is not in the table. Kept beside the state, not in it.
    #[serde(skip)]
    version: u64,
    /// The highest number handled.
    last: u64,
    /// The number of the last message that got a reply.
    answered: Option<u64>,
    /// The language the person chose with `/lang`.
    pub chosen_language: Option<Language>,
    /// The language of the last message that showed one; before there is any, the language that the platform states.
    pub spoken_language: Option<Language>,
    /// Whether the person was told that the bot reads text only.
    pub told_text_only: bool,
    handled: VecDeque<MessageId>,
    turns: VecDeque<Turn>,
}

/// One message and its reply. It is kept to send the reply again when the function died before it was queued, and
/// for what a next message refers to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    id: MessageId,
    number: u64,
    after: Option<u64>,
    /// What the person said.
    pub question: String,
    /// What the bot replied.
    pub answer: String,
    /// The quick replies it offered.
    pub suggestions: Vec<String>,
}

/// Where a message stands in its conversation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// It is its turn.
    Next,
    /// One before it is still on its way.
    Early,
    /// It was handled; the turn says with which reply, where it had one that is still remembered.
    Handled(Option<&'a Turn>),
}

impl Session {
    /// Where `message` stands. One that is early is waited for no longer than `gap` after it came: what is missing
    /// before it failed before the queue.
    ///
    /// Without a session nobody knows what was handled. Then the message before this one counts as handled once it is
    /// `gap` old, and as on its way until then.
    #[must_use]
    pub fn place(&self, message: &InboundMessage, gap: Duration, now: Timestamp) -> Place<'_> {
        if self.handled.contains(&message.id) {
            return Place::Handled(self.turns.iter().find(|turn| turn.id == message.id));
        }
        let waited_for =
            if self.version == 0 && self.last == 0 { message.previous_at } else { Some(message.received_at) };
        let next = message.number <= self.last + 1 || waited_for.is_none_or(|since| now.since(since) >= gap);
        if next { Place::Next } else { Place::Early }
    }

    /// Takes note of a handled message that got no reply.
    pub fn record_silent(&mut self, message: &InboundMessage) {
        self.handled.push_back(message.id.clone());
        while self.handled.len() > MAX_HANDLED {
            self.handled.pop_front();
        }
        self.last = self.last.max(message.number);
    }

    /// Takes note of a handled message and its reply, and returns the reply to queue.
    pub fn record(
        &mut self,
        message: &InboundMessage,
        question: String,
        answer: String,
        suggestions: Vec<String>,
        now: Timestamp,
    ) -> Reply {
        self.record_silent(message);
        let after = self.answered.filter(|answered| *answered < message.number);
        let turn = Turn { id: message.id.clone(), number: message.number, after, question, answer, suggestions };
        let reply = turn.reply(message, now);
        self.answered = Some(self.answered.unwrap_or(0).max(message.number));
        self.turns.push_back(turn);
        while self.turns.len() > 1 && (self.turns.len() > MAX_TURNS || self.turn_bytes() > MAX_BYTES) {
            self.turns.pop_front();
        }
        reply
    }

    /// Forgets what was said and chosen; what was handled stays known.
    pub fn forget(&mut self) {
        self.turns.clear();
        self.chosen_language = None;
        self.spoken_language = None;
        self.told_text_only = false;
    }

    /// The last turn, if there is one.
    #[must_use]
    pub fn last_turn(&self) -> Option<&Turn> {
        self.turns.back()
    }

    /// The last turns, oldest first.
    pub fn turns(&self) -> impl Iterator<Item = &Turn> {
        self.turns.iter()
    }

    fn turn_bytes(&self) -> usize {
        let texts = |turn: &Turn| {
            turn.question.len() + turn.answer.len() + turn.suggestions.iter().map(String::len).sum::<usize>()
        };
        self.turns.iter().map(|turn| 160 + texts(turn)).sum()
    }
}

impl Turn {
    /// The reply of this turn, for the message it answered.
    #[must_use]
    pub fn reply(&self, message: &InboundMessage, now: Timestamp) -> Reply {
        Reply {
            id: self.id.clone(),
            conversation: message.conversation.clone(),
            address: message.address.clone(),
            number: self.number,
            after: self.after,
            received_at: message.received_at,
            created_at: now,
            text: self.answer.clone(),
            suggestions: self.suggestions.clone(),
            decision: None,
        }
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

    /// The sessions of these conversations, in their order; an empty one where there is none or it has expired.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer, or an item is not a session.
    pub async fn read(&self, conversations: &[&Conversation], now: Timestamp) -> Result<Vec<Session>, StoreError> {
        const OPERATION: &str = "reading sessions";
        let names: Vec<String> = conversations.iter().map(ToString::to_string).collect();
        let mut sessions = vec![Session::default(); names.len()];
        let mut wanted: VecDeque<Item> =
            names.iter().map(|name| Item::from([("conversation".to_owned(), text(name))])).collect();
        while !wanted.is_empty() {
            let keys = wanted.drain(..wanted.len().min(MAX_BATCH)).collect();
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
            for item in output.responses.unwrap_or_default().into_values().flatten() {
                let at = read_text(&item, "conversation").and_then(|name| names.iter().position(|n| n == name));
                if let (Some(at), Some(session)) = (at, live_session(&item, now)?) {
                    sessions[at] = session;
                }
            }
            wanted.extend(output.unprocessed_keys.unwrap_or_default().into_values().flat_map(|left| left.keys));
        }
        Ok(sessions)
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

    /// The write of `item` as a statement. One of a session that was not in the table fails where an expired one stands,
    /// which the single call replaces.
    fn statement(
        &self,
        session: &Session,
        item: &[(&str, AttributeValue); 4],
        now: Timestamp,
    ) -> BatchStatementRequest {
        let table = quoted(&self.table);
        let [conversation, version, expires, state] = item.each_ref().map(|(_, value)| value.clone());
        if session.version == 0 {
            let insert =
                format!("INSERT INTO {table} VALUE {{'conversation': ?, 'version': ?, 'expires_at': ?, 'state': ?}}");
            return statement(insert, vec![conversation, version, expires, state]);
        }
        let update = format!(
            r#"UPDATE {table} SET "version" = ? SET "expires_at" = ? SET "state" = ? WHERE "conversation" = ? AND "version" = ? AND "expires_at" > ?"#
        );
        let condition = [conversation, number(session.version), number(now.as_secs())];
        statement(update, [version, expires, state].into_iter().chain(condition).collect())
    }

    /// Removes a session that was read: the person left.
    ///
    /// # Errors
    ///
    /// [`WriteError::Conflict`] when it was written by somebody else since it was read.
    pub async fn remove(&self, conversation: &Conversation, session: &Session) -> Result<(), WriteError> {
        let removed = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key("conversation", text(conversation.to_string()))
            .condition_expression("attribute_not_exists(#version) OR #version = :version")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":version", number(session.version))
            .send()
            .await;
        match removed {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => Err(WriteError::Conflict),
                _ => Err(StoreError::call("removing a session", &error).into()),
            },
        }
    }
}

/// The session of an item; `None` when it has expired, however long the item stays in the table.
fn live_session(item: &Item, now: Timestamp) -> Result<Option<Session>, StoreError> {
    let shape = |what| StoreError::Shape { operation: "reading sessions", what };
    let expires = read_number(item, "expires_at").ok_or_else(|| shape("expires_at"))?;
    if expires <= now.as_secs() {
        return Ok(None);
    }
    let state = read_text(item, "state").ok_or_else(|| shape("state"))?;
    let mut session: Session = serde_json::from_str(state).map_err(|_| shape("state"))?;
    session.version = read_number(item, "version").ok_or_else(|| shape("version"))?;
    Ok(Some(session))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hoopoe_message::{BotId, Channel, Content};
    use proptest::prelude::*;

    const GAP: Duration = Duration::from_secs(2);

    fn message(number: u64, received_at: u64) -> InboundMessage {
        InboundMessage {
            id: MessageId::try_from(format!("event-{number}")).expect("a valid id"),
            conversation: Conversation { channel: Channel::Telegram, bot: BotId::default(), chat: "7".into() },
            address: String::new(),
            number,
            received_at: Timestamp::from_millis(received_at),
            previous_at: (number > 1).then(|| Timestamp::from_millis(received_at - 100)),
            language: None,
            content: Content::text("hello"),
        }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn without_a_session_a_young_predecessor_is_waited_for() {
        let session = Session::default();
        assert!(session.place(&message(1, 10_000), GAP, at(10_000)) == Place::Next);
        assert!(session.place(&message(2, 10_000), GAP, at(10_010)) == Place::Early);
        assert!(session.place(&message(2, 10_000), GAP, at(11_900)) == Place::Next);
    }

    #[test]
    fn a_gap_is_passed_over_and_a_straggler_is_still_answered() {
        let mut session = Session::default();
        session.record(&message(1, 10_000), "q".into(), "a".into(), vec![], at(10_000));
        assert!(session.place(&message(3, 10_100), GAP, at(10_200)) == Place::Early);
        assert!(session.place(&message(3, 10_100), GAP, at(12_100)) == Place::Next);
        let reply = session.record(&message(3, 10_100), "q".into(), "a".into(), vec![], at(12_100));
        assert_eq!(reply.after, Some(1));
        assert!(session.place(&message(2, 10_050), GAP, at(12_200)) == Place::Next);
        let late = session.record(&message(2, 10_050), "q".into(), "a".into(), vec![], at(12_200));
        assert_eq!(late.after, None, "it must not wait for the one that overtook it");
    }

    #[test]
    fn a_handled_message_gives_its_reply_again() {
        let mut session = Session::default();
        let first = message(1, 10_000);
        let reply = session.record(&first, "q".into(), "the answer".into(), vec!["more".into()], at(10_000));
        let Place::Handled(Some(turn)) = session.place(&first, GAP, at(10_500)) else { panic!("it is known") };
        assert_eq!(turn.reply(&first, at(10_000)), reply);
        session.forget();
        assert!(session.place(&first, GAP, at(10_500)) == Place::Handled(None));
    }

    #[test]
    fn an_expired_item_is_no_session() {
        let state = serde_json::to_string(&Session::default()).expect("a session");
        let item = Item::from([
            ("expires_at".to_owned(), number(100)),
            ("version".to_owned(), number(3)),
            ("state".to_owned(), text(state)),
        ]);
        assert!(live_session(&item, Timestamp::from_secs(100)).expect("readable").is_none());
        let live = live_session(&item, Timestamp::from_secs(99)).expect("readable").expect("live");
        assert_eq!(live.version, 3);
    }

    proptest! {
        #[test]
        fn a_session_stays_bounded(lengths in proptest::collection::vec(0..2000_usize, 1..60)) {
            let mut session = Session::default();
            for (index, length) in lengths.iter().enumerate() {
                let number = index as u64 + 1;
                let words = "字".repeat(*length);
                session.record(&message(number, 10_000 * number), words.clone(), words, vec![], at(0));
            }
            prop_assert!(session.turns.len() <= MAX_TURNS && session.handled.len() <= MAX_HANDLED);
            prop_assert!(session.turns.len() == 1 || session.turn_bytes() <= MAX_BYTES);
            prop_assert_eq!(session.last, lengths.len() as u64);
            let state = serde_json::to_string(&session).expect("a session");
            prop_assert!(serde_json::from_str::<Session>(&state).expect("its own") == session);
        }
    }
}
