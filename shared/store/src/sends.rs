//! Send records: which replies went out, so that each goes out once and in order.
//!
//! What a record says, and what follows from it, is in `sends/record.rs`.
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

mod record;

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{BatchStatementRequest, ReturnValue, ReturnValuesOnConditionCheckFailure};
use aws_types::SdkConfig;
use hoopoe_message::{Conversation, Reply, Timestamp};

use crate::StoreError;
use crate::item::{Item, number, text};
use crate::joined::{Joined, quoted, statement};
use record::{Next, Record, State, attribute, decide, may_revive, old_replies};

/// How long send records are kept: as long as claims, so that whatever a platform still repeats is known.
pub const LIFETIME: Duration = crate::claims::LIFETIME;

/// How many replies of a conversation are remembered.
pub const MAX_REPLIES: u64 = 64;

/// With more replies to forget, a statement might not fit into DynamoDB's 8 KB.
const MAX_JOINED_OLD: usize = 8;

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
