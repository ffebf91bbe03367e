//! Send records: which replies went out, so that each goes out once and in order.
//!
//! One item a conversation: `last` (the highest number settled), `hold` (milliseconds until which a failing reply
//! holds back the ones after it), and for each of the last replies `m:<id>`, a map of
//!
//! - `state`: `sending`, `waiting` (refused, or not begun for want of a turn, and tried again), `sent` or `dead`;
//! - `number`, `attempt` (from 1; 0 where none was made yet), `part` (the next part of a long reply);
//! - `until`, for `sending`: when the function that sends must have ended;
//! - `in_doubt`, if it is so: the platform may have the next part already.
//!
//! A reply is begun by a conditional update before anything is sent, and settled by another after. A record that says
//! `sending` after its `until` is a send of unknown outcome: it is repeated only on platforms that drop a repeated
//! send themselves.
//!
//! A reply that is `dead` stands in the dead-letter queue. The operator's command gives it a new life there
//! ([`Sends::revive`]) before it queues the reply again: without that, the record would let nobody send it.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementRequest, ReturnValue, ReturnValuesOnConditionCheckFailure,
};
use aws_types::SdkConfig;
use hoopoe_message::{Conversation, MessageId, Reply, Timestamp};

use crate::StoreError;
use crate::item::{Item, number, read_number, read_text, text};
use crate::joined::{Joined, quoted, statement};

/// How long send records are kept: as long as claims, so that whatever a platform still repeats is known.
pub const LIFETIME: Duration = crate::claims::LIFETIME;

/// How many replies of a conversation are remembered.
pub const MAX_REPLIES: u64 = 64;

/// With more replies to forget, a statement might not fit into DynamoDB's 8 KB.
const MAX_JOINED_OLD: usize = 8;

const REPLY: &str = "m:";

/// The Sends table.
#[derive(Debug)]
pub struct Sends {
    client: Client,
    joined: Joined,
    table: String,
    /// How long a reply waits for the one before it.
    gap: Duration,
}

/// What to do with a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Send it, from this part on; the record says so.
    Send(Attempt),
    /// It was sent, or given up, before: nothing to do.
    Settled,
    /// Its turn comes later: the one before it is on its way, or another function is at it.
    Wait(Duration),
    /// It was begun by a function that died: perhaps it was sent.
    Unknown(Attempt),
}

/// A begun send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Counted from 1.
    pub attempt: u32,
    /// How many parts of the reply were sent before.
    pub part: usize,
    /// Whether the platform may have the next part already: a send of it had no known outcome.
    pub in_doubt: bool,
    /// Whether a reply of the conversation was settled before.
    settled_before: bool,
    /// Replies to forget when this one is settled, because there are too many.
    old: Vec<String>,
}

impl Attempt {
    fn new(record: &Record, item: &Item) -> Self {
        Self {
            attempt: record.attempt,
            part: record.part,
            in_doubt: record.in_doubt,
            settled_before: item.contains_key("last"),
            old: old_replies(item),
        }
    }
}

/// How a send ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// All parts went out.
    Sent,
    /// It stands in the dead-letter queue.
    Dead,
}

/// What a redrive may do with a reply in the dead-letter queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revival {
    /// It may be queued again: nothing keeps it from being sent.
    Ready,
    /// It was sent meanwhile and must not be queued again.
    Sent,
    /// A function is sending it at this moment.
    UnderWay,
    /// The platform may have it.
    InDoubt,
}

impl Sends {
    /// The table of this name.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String, gap: Duration) -> Self {
        let client = Client::new(config);
        Self { joined: Joined::new(client.clone()), client, table, gap }
    }

    /// Begins a reply, or says why not. `deadline` is when Lambda ends this function. Replies that are begun at the same
    /// time are recorded together, and so are those that are settled.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer; nothing may be sent then.
    pub async fn begin(&self, reply: &Reply, deadline: Timestamp, now: Timestamp) -> Result<Begin, StoreError> {
        // In the common case the reply is new and its turn has come: one call.
        let fresh = Record::first(reply, deadline);
        if let Some(item) = self.joined.write(self.begin_statement(reply, &fresh, now)).await {
            return Ok(Begin::Send(Attempt::new(&fresh, &item)));
        }
        let mut condition = "attribute_not_exists(#record)".to_owned();
        let mut begin = self.put(reply, &fresh, now);
        if let Some(after) = reply.after {
            condition.push_str(" AND #last >= :after");
            begin =
                begin.expression_attribute_names("#last", "last").expression_attribute_values(":after", number(after));
        }
        match self.conditional(begin.condition_expression(condition)).await? {
            Ok(item) => Ok(Begin::Send(Attempt::new(&fresh, &item))),
            Err(item) => self.begin_again(reply, &item, deadline, now).await,
        }
    }

    /// The reply is known, or the one before it is not settled.
    async fn begin_again(
        &self,
        reply: &Reply,
        item: &Item,
        deadline: Timestamp,
        now: Timestamp,
    ) -> Result<Begin, StoreError> {
        let known = Record::read(item, &reply.id)?;
        let (next, condition) = match decide(reply, known, item, self.gap, now) {
            Next::Settled => return Ok(Begin::Settled),
            Next::Wait(pause) => return Ok(Begin::Wait(pause)),
            Next::Unknown(record) => return Ok(Begin::Unknown(Attempt::new(&record, item))),
            Next::First => (Record::first(reply, deadline), "attribute_not_exists(#record)"),
            Next::Again(record) => {
                let again = Record { state: State::Sending, attempt: record.attempt + 1, until: deadline, ..record };
                (again, "#record.#state = :waiting")
            }
        };
        let mut put = self.put(reply, &next, now).condition_expression(condition);
        if condition.contains("#state") {
            put = put
                .expression_attribute_names("#state", "state")
                .expression_attribute_values(":waiting", text(State::Waiting.as_str()));
        }
        Ok(match self.conditional(put).await? {
            Ok(item) => Begin::Send(Attempt::new(&next, &item)),
            // Another function began it between the two calls.
            Err(_) => Begin::Wait(Duration::from_secs(1)),
        })
    }

    /// Takes note that a reply was sent or given up: the ones after it may go.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer.
    pub async fn settle(
        &self,
        reply: &Reply,
        attempt: &Attempt,
        settled: Settled,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let state = match settled {
            Settled::Sent => State::Sent,
            Settled::Dead => State::Dead,
        };
        let record = Record::after(attempt, state, reply, now);
        if attempt.old.len() <= MAX_JOINED_OLD
            && self.joined.write(self.settle_statement(reply, &record, attempt, now)).await.is_some()
        {
            return Ok(());
        }
        let mut expression = "SET #record = :record, #expires = :expires, #last = :number".to_owned();
        let mut update = self.update(reply, &record, now).expression_attribute_values(":number", number(reply.number));
        if !attempt.old.is_empty() {
            expression.push(' ');
            expression.push_str(&crate::claims::remove(attempt.old.len()));
            for (index, name) in attempt.old.iter().enumerate() {
                update = update.expression_attribute_names(format!("#{index}"), name);
            }
        }
        update = update
            .update_expression(expression)
            .expression_attribute_names("#last", "last")
            .condition_expression("attribute_not_exists(#last) OR #last < :number");
        if self.conditional(update).await?.is_err() {
            // A later reply overtook this one: its number stays the last.
            self.conditional(self.put(reply, &record, now)).await.map(drop)?;
        }
        Ok(())
    }

    /// The first attempt as a statement. A reply that follows none is mostly its conversation's first one.
    fn begin_statement(&self, reply: &Reply, record: &Record, now: Timestamp) -> BatchStatementRequest {
        let (table, attribute) = (quoted(&self.table), attribute(&reply.id));
        let conversation = text(reply.conversation.to_string());
        let expires = number(now.plus(LIFETIME).as_secs());
        let Some(after) = reply.after else {
            let name = attribute.replace('\'', "''");
            let insert = format!("INSERT INTO {table} VALUE {{'conversation': ?, '{name}': ?, 'expires_at': ?}}");
            return statement(insert, vec![conversation, record.write(), expires]);
        };
        let name = quoted(&attribute);
        let update = format!(
            r#"UPDATE {table} SET {name} = ? SET "expires_at" = ? WHERE "conversation" = ? AND {name} IS MISSING AND "last" >= ? RETURNING ALL NEW *"#
        );
        statement(update, vec![record.write(), expires, conversation, number(after)])
    }

    /// The end of an attempt as a statement, where no later reply was settled meanwhile.
    fn settle_statement(
        &self,
        reply: &Reply,
        record: &Record,
        attempt: &Attempt,
        now: Timestamp,
    ) -> BatchStatementRequest {
        let (table, name) = (quoted(&self.table), quoted(&attribute(&reply.id)));
        let mut update = format!(r#"UPDATE {table} SET {name} = ? SET "expires_at" = ? SET "last" = ?"#);
        for name in &attempt.old {
            update.push_str(" REMOVE ");
            update.push_str(&quoted(name));
        }
        let (last, expires) = (number(reply.number), number(now.plus(LIFETIME).as_secs()));
        let mut values = vec![record.write(), expires, last.clone(), text(reply.conversation.to_string())];
        update.push_str(r#" WHERE "conversation" = ? AND "last" "#);
        if attempt.settled_before {
            update.push_str("< ?");
            values.push(last);
        } else {
            update.push_str("IS MISSING");
        }
        statement(update, values)
    }

    /// Takes note that a reply was refused, or had no turn, and is tried again after `pause`; the ones after it wait. Where it
    /// had no turn, `attempt` is the one before.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer.
    pub async fn postpone(
        &self,
        reply: &Reply,
        attempt: &Attempt,
        pause: Duration,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let record = Record::after(attempt, State::Waiting, reply, now);
        let update = self
            .update(reply, &record, now)
            .update_expression("SET #record = :record, #expires = :expires, #hold = :hold")
            .expression_attribute_names("#hold", "hold")
            .expression_attribute_values(":hold", number(now.plus(pause + self.gap).as_millis()));
        self.conditional(update).await.map(drop)
    }

    /// Gives a reply that was given up a new life: its attempts count from the beginning, and the parts that went out are
    /// not sent again. To be called before the reply is queued again. Called twice, it changes nothing more, and neither
    /// does it while a function has begun the reply anew.
    ///
    /// A reply that the platform may have is revived only with `even_in_doubt`.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer; the reply must stay where it is then.
    pub async fn revive(&self, reply: &Reply, even_in_doubt: bool, now: Timestamp) -> Result<Revival, StoreError> {
        let key = text(reply.conversation.to_string());
        let read = self.client.get_item().table_name(&self.table).key("conversation", key).consistent_read(true);
        let read = read.send().await.map_err(|error| StoreError::call("reading a send record", &error))?;
        let item = read.item.unwrap_or_default();
        let known = Record::read(&item, &reply.id)?;
        let (revival, before) = may_revive(reply, known, &item, even_in_doubt, now);
        let Some(before) = before else { return Ok(revival) };
        let after = Record { state: State::Waiting, attempt: 0, until: now, in_doubt: false, ..before };
        let update = self
            .put(reply, &after, now)
            .condition_expression("#record.#state = :state AND #record.#until = :until")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#until", "until")
            .expression_attribute_values(":state", text(before.state.as_str()))
            .expression_attribute_values(":until", number(before.until.as_millis()));
        // Somebody else changed it since it was read: a redrive at the same time, or a function that begins it.
        Ok(if self.conditional(update).await?.is_ok() { revival } else { Revival::UnderWay })
    }

    fn put(&self, reply: &Reply, record: &Record, now: Timestamp) -> UpdateItemFluentBuilder {
        self.update(reply, record, now).update_expression("SET #record = :record, #expires = :expires")
    }

    fn update(&self, reply: &Reply, record: &Record, now: Timestamp) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .key("conversation", text(reply.conversation.to_string()))
            .expression_attribute_names("#record", attribute(&reply.id))
            .expression_attribute_values(":record", record.write())
            .expression_attribute_names("#expires", "expires_at")
            .expression_attribute_values(":expires", number(now.plus(LIFETIME).as_secs()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    /// The item after the update, or, where the condition did not hold, as it is.
    async fn conditional(&self, update: UpdateItemFluentBuilder) -> Result<Result<Item, Item>, StoreError> {
        match update.send().await {
            Ok(output) => Ok(Ok(output.attributes.unwrap_or_default())),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    Ok(Err(failed.item().cloned().unwrap_or_default()))
                }
                _ => Err(StoreError::call("recording a send", &error)),
            },
        }
    }
}

fn attribute(id: &MessageId) -> String {
    format!("{REPLY}{id}")
}

/// The attributes of replies more than [`MAX_REPLIES`] before the last.
fn old_replies(item: &Item) -> Vec<String> {
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
enum State {
    Sending,
    Waiting,
    Sent,
    Dead,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Dead => "dead",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    state: State,
    number: u64,
    attempt: u32,
    part: usize,
    until: Timestamp,
    in_doubt: bool,
}

impl Record {
    /// The first attempt at a reply.
    const fn first(reply: &Reply, deadline: Timestamp) -> Self {
        let number = reply.number;
        Self { state: State::Sending, number, attempt: 1, part: 0, until: deadline, in_doubt: false }
    }

    /// What an attempt came to.
    const fn after(attempt: &Attempt, state: State, reply: &Reply, now: Timestamp) -> Self {
        let Attempt { attempt, part, in_doubt, .. } = *attempt;
        Self { state, number: reply.number, attempt, part, until: now, in_doubt }
    }

    fn read(item: &Item, id: &MessageId) -> Result<Option<Self>, StoreError> {
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

    fn write(&self) -> AttributeValue {
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

enum Next {
    First,
    Again(Record),
    Settled,
    Wait(Duration),
    Unknown(Record),
}

/// What to do with a reply that is known, or whose predecessor is not settled.
fn decide(reply: &Reply, known: Option<Record>, item: &Item, gap: Duration, now: Timestamp) -> Next {
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
fn may_revive(
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

/// The conversations of a batch of replies, each with its replies in order.
#[must_use]
pub fn by_conversation<T>(replies: Vec<(Reply, T)>) -> Vec<Vec<(Reply, T)>> {
    let mut groups: Vec<(Conversation, Vec<(Reply, T)>)> = Vec::new();
    for (reply, rest) in replies {
        match groups.iter_mut().find(|(conversation, _)| *conversation == reply.conversation) {
            Some((_, group)) => group.push((reply, rest)),
            None => groups.push((reply.conversation.clone(), vec![(reply, rest)])),
        }
    }
    for (_, group) in &mut groups {
        group.sort_by_key(|(reply, _)| reply.number);
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hoopoe_message::{BotId, Channel};

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
