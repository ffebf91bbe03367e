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
    /// back in any order. What is missing before it then failed before the queue.
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
        if follows || waited.min(now.since(self.moved_at)) >= gap { Place::Next } else { Place::Early }
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
                            sessions[at] = live_session(&item, now).map(Option::unwrap_or_default);
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
}

/// The session of an item; `None` when it has expired, however long the item stays in the table.
fn live_session(item: &Item, now: Timestamp) -> Result<Option<Session>, StoreError> {
    let shape = |what| StoreError::Shape { operation: "reading sessions", what };
    let expires = read_number(item, "expires_at").ok_or_else(|| shape("expires_at"))?;
    if expires <= now.as_secs() {
        return Ok(None);
    }
    let state = read_text(item, "state").ok_or_else(|| shape("state"))?;
    let mut session: Session = read_state(state).map_err(|_| shape("state"))?;
    session.version = read_number(item, "version").ok_or_else(|| shape("version"))?;
    Ok(Some(session))
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
mod tests {
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
        assert_eq!(place(&session, 2, 2000), Place::Next);
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
}
