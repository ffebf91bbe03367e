//! Send records: which replies went out, so that each goes out once and in order.
//!
//! One item a conversation, which says of every number whether its reply is settled, however many there were: all up to
//! `last` are, but for the exceptions. It stays below the kilobyte that DynamoDB bills as one write:
//!
//! - `last`, the highest number settled;
//! - `open`, JSON: the replies that are being sent or will be tried again, with who sends them, since when and which part;
//!   it is missing where there is none, which is mostly so;
//! - `at`, when something was last begun, settled or put off;
//! - `rest`, JSON: numbers up to `last` that were passed over, or whose reply was given up.
//!
//! A reply is begun by a conditional write right before anything is sent, and settled by another after. Whoever begins
//! it draws a number, `owner`, by which the client's repetition of a write whose answer was lost finds its own. An entry
//! that says `sending` after its time is a send of unknown outcome: it is repeated only where the platform drops a
//! repeated send itself.
//!
//! What the values say, and what follows from it, is in `sends/ledger.rs`. A write names the values it read; where they
//! have changed, what stands there now is read and decided upon again.
//!
//! A reply that was given up stands in the dead-letter queue. The operator's command gives it a new life there
//! ([`Sends::revive`]) before it queues the reply again: without that, the record would let nobody send it.

mod ledger;

use std::fmt;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementRequest, ReturnValue, ReturnValuesOnConditionCheckFailure,
};
use aws_types::SdkConfig;
use hoopoe_message::{Conversation, Reply, Timestamp};

use crate::StoreError;
use crate::item::{Conditional, Item, conditional, number, text};
use crate::joined::{Joined, quoted, statement};
use ledger::{Beginning, Change, Entry, Ledger, State, before};

/// How long send records are kept: as long as claims, so that whatever a platform still repeats is known.
pub const LIFETIME: Duration = crate::claims::LIFETIME;

/// How often a write is tried whose values somebody else changes meanwhile. Few others are at a conversation's item.
const TRIES: u32 = 8;

/// The Sends table.
#[derive(Debug)]
pub struct Sends {
    client: Client,
    joined: Joined,
    table: String,
    /// How long a reply waits for the one before it.
    gap: Duration,
}

/// When, and as what, a reply is begun.
#[derive(Clone, Copy, Debug)]
pub struct Departure {
    /// When Lambda ends this function.
    pub deadline: Timestamp,
    /// How long ago the reply was first taken out of its queue.
    pub waited: Duration,
    /// Until when the platform drops a second sending of the first part; `None` where it does not.
    pub repeatable_until: Option<Timestamp>,
    /// Who begins it: a number drawn at random, the same where a call is made again because it failed.
    pub owner: u32,
}

/// What to do with a reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Begin {
    /// Send it, from this part on; the record says so.
    Send(Attempt),
    /// It was sent, or given up, before: nothing to do.
    Settled,
    /// Its turn comes later: the one before it is on its way, or another function is at it.
    Wait(Duration),
    /// The platform may have the part that comes next.
    Unknown(Attempt),
}

/// A begun send.
#[derive(Clone, PartialEq)]
pub struct Attempt {
    /// How often the platform has refused it.
    pub refusals: u32,
    /// How many parts of the reply were sent before.
    pub part: usize,
    /// Whether the platform may have the next part already: a send of it had no known outcome.
    pub in_doubt: bool,
    /// Until when the platform drops a second sending of the next part, in the way in which it was begun.
    pub repeatable_until: Option<Timestamp>,
    /// Who began it.
    owner: u32,
    /// The record says that the next part leaves.
    marked: bool,
    /// The item as it was last seen: the next write names its values.
    item: Item,
}

/// Leaves the item out: its key names a person.
impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("refusals", &self.refusals)
            .field("part", &self.part)
            .field("in_doubt", &self.in_doubt)
            .finish_non_exhaustive()
    }
}

impl Attempt {
    /// Takes note that a part went out: there is no doubt about it.
    pub fn next_part(&mut self) {
        self.part += 1;
        self.in_doubt = false;
        self.marked = false;
    }

    /// Whether the record says that the next part leaves.
    #[must_use]
    pub const fn is_marked(&self) -> bool {
        self.marked
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

    /// Begins a reply, or says why not. Replies that are begun at the same time are recorded together, and so are those
    /// that are settled.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer; nothing may be sent then.
    pub async fn begin(&self, reply: &Reply, departure: Departure, now: Timestamp) -> Result<Begin, StoreError> {
        let by = self.beginning(departure, now);
        // In the common case nothing is open, the reply is new, and its turn has come: one call.
        let (entry, attempt) = Entry::first(reply.number, &by);
        let open = text(json(&[entry]));
        if let Some(mut item) = self.joined.write(self.begin_statement(reply, &open, now)).await {
            // An `INSERT` tells nothing back: what it wrote is all there is.
            item.entry("open".to_owned()).or_insert(open);
            item.entry("at".to_owned()).or_insert_with(|| number(now.as_millis()));
            return Ok(Begin::Send(Attempt { item, ..attempt }));
        }
        let mut condition = "attribute_not_exists(#open) AND attribute_not_exists(#before) AND ".to_owned();
        condition.push_str(match reply.after {
            Some(_) => "#last >= :after AND #last < :number",
            None => "(attribute_not_exists(#last) OR #last < :number)",
        });
        let mut begin = self
            .update(&reply.conversation, now)
            .update_expression("SET #open = :open, #at = :at, #expires = :expires")
            .condition_expression(condition)
            .expression_attribute_names("#open", "open")
            .expression_attribute_names("#at", "at")
            .expression_attribute_values(":at", number(now.as_millis()))
            .expression_attribute_names("#before", before::attribute(&reply.id))
            .expression_attribute_names("#last", "last")
            .expression_attribute_values(":open", open)
            .expression_attribute_values(":number", number(reply.number));
        if let Some(after) = reply.after {
            begin = begin.expression_attribute_values(":after", number(after));
        }
        let item = match conditional(begin, OPERATION).await? {
            Conditional::Made(item) => return Ok(Begin::Send(Attempt { item, ..attempt })),
            Conditional::Failed(item) => item,
        };
        let (mut begun, item) = self.amend(&reply.conversation, item, now, |ledger| ledger.begin(reply, &by)).await?;
        if let Begin::Send(attempt) | Begin::Unknown(attempt) = &mut begun {
            attempt.item = item;
        }
        Ok(begun)
    }

    /// How long a reply has to wait before it can be begun; `None` where [`begin`](Self::begin) is to say. It only reads, at
    /// a fifth of the price of a begin that is refused.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer.
    pub async fn waits(
        &self,
        reply: &Reply,
        departure: Departure,
        now: Timestamp,
    ) -> Result<Option<Duration>, StoreError> {
        let mut ledger = Ledger::read(&self.item_of(&reply.conversation).await?)?;
        Ok(match ledger.begin(reply, &self.beginning(departure, now)) {
            Change::Keep(Begin::Wait(pause)) => Some(pause),
            Change::Keep(_) | Change::Write(_) => None,
        })
    }

    fn beginning(&self, departure: Departure, now: Timestamp) -> Beginning {
        let Departure { deadline, waited, repeatable_until, owner } = departure;
        Beginning { owner, deadline, repeatable_until, waited, gap: self.gap, now }
    }

    /// Takes note that what an attempt says is so, before a further part of the reply leaves; whether it is still this
    /// function's to send.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer; nothing may be sent then.
    pub async fn mark(&self, reply: &Reply, attempt: &mut Attempt, now: Timestamp) -> Result<bool, StoreError> {
        let known = attempt.clone();
        attempt.marked = self
            .change_mine(reply, attempt, now, |entry| Entry { state: State::Sending, ..entry.with(&known) })
            .await?;
        Ok(attempt.marked)
    }

    /// Takes note that a reply is tried again after `pause`; the ones after it wait.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer.
    pub async fn postpone(
        &self,
        reply: &Reply,
        attempt: &mut Attempt,
        pause: Duration,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (known, until) = (attempt.clone(), now.plus(pause));
        let waiting = |entry: &Entry| Entry { state: State::Waiting, until, ..entry.with(&known) };
        self.change_mine(reply, attempt, now, waiting).await.map(drop)
    }

    /// Takes note that a reply which was not begun waits for `pause`, and the ones after it with it.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer.
    pub async fn hold(&self, reply: &Reply, pause: Duration, now: Timestamp) -> Result<(), StoreError> {
        let item = self.item_of(&reply.conversation).await?;
        let hold = |ledger: &mut Ledger| ledger.hold(reply.number, now.plus(pause), now);
        self.amend(&reply.conversation, item, now, hold).await.map(drop)
    }

    /// Changes the entry of a reply that this function has begun; whether there is one.
    async fn change_mine(
        &self,
        reply: &Reply,
        attempt: &mut Attempt,
        now: Timestamp,
        change: impl Fn(&Entry) -> Entry,
    ) -> Result<bool, StoreError> {
        let owner = attempt.owner;
        let seen = std::mem::take(&mut attempt.item);
        let changed = self.amend(&reply.conversation, seen, now, |ledger| match ledger.mine(reply.number, owner) {
            Some(entry) => {
                *entry = change(entry);
                ledger.at = now;
                Change::Write(true)
            }
            None => Change::Keep(false),
        });
        let (mine, item) = changed.await?;
        attempt.item = item;
        Ok(mine)
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
        let given_up = (settled == Settled::Dead).then_some((attempt.part, attempt.in_doubt));
        let settle = |ledger: &mut Ledger| match ledger.mine(reply.number, attempt.owner) {
            Some(_) => {
                ledger.settle(reply, given_up, now);
                Change::Write(())
            }
            // The write took effect and its answer was lost, or the reply is somebody else's by now.
            None => Change::Keep(()),
        };
        let mut ledger = Ledger::read(&attempt.item)?;
        if before::names(&attempt.item).next().is_none()
            && let Change::Write(()) = settle(&mut ledger)
            && self.joined.write(self.amend_statement(&reply.conversation, &attempt.item, &ledger, now)).await.is_some()
        {
            return Ok(());
        }
        self.amend(&reply.conversation, attempt.item.clone(), now, settle).await.map(drop)
    }

    /// Takes note that a reply which this function has not begun was given up: it stands in the dead-letter queue.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer.
    pub async fn give_up(&self, reply: &Reply, now: Timestamp) -> Result<(), StoreError> {
        let item = self.item_of(&reply.conversation).await?;
        let give_up = |ledger: &mut Ledger| {
            let (part, in_doubt) = ledger
                .open
                .iter()
                .find(|entry| entry.number == reply.number)
                .map_or((0, false), |entry| (entry.part, entry.in_doubt || entry.state == State::Sending));
            ledger.settle(reply, Some((part, in_doubt)), now);
            Change::Write(())
        };
        self.amend(&reply.conversation, item, now, give_up).await.map(drop)
    }

    /// Gives a reply that was given up a new life: its refusals count from the beginning, and the parts that went out are
    /// not sent again. To be called before the reply is queued again. Called twice, it changes nothing more, and neither
    /// does it while a function has begun the reply anew.
    ///
    /// A reply that the platform may have is revived only with `even_in_doubt`.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer; the reply must stay where it is then.
    pub async fn revive(&self, reply: &Reply, even_in_doubt: bool, now: Timestamp) -> Result<Revival, StoreError> {
        let item = self.item_of(&reply.conversation).await?;
        let revive = |ledger: &mut Ledger| ledger.revive(reply, even_in_doubt, now);
        Ok(self.amend(&reply.conversation, item, now, revive).await?.0)
    }

    /// Changes what an item says, beginning with the item as it was `seen`, and returns the item as it is then. Where
    /// somebody else changed it meanwhile, what stands there now is changed.
    async fn amend<T>(
        &self,
        conversation: &Conversation,
        seen: Item,
        now: Timestamp,
        change: impl Fn(&mut Ledger) -> Change<T>,
    ) -> Result<(T, Item), StoreError> {
        let mut item = seen;
        for _ in 0..TRIES {
            let mut ledger = Ledger::read(&item)?;
            let outcome = match change(&mut ledger) {
                Change::Keep(outcome) => return Ok((outcome, item)),
                Change::Write(outcome) => outcome,
            };
            match conditional(self.amendment(conversation, &item, &ledger, now), OPERATION).await? {
                Conditional::Made(after) => return Ok((outcome, after)),
                Conditional::Failed(other) => item = other,
            }
        }
        Err(StoreError::busy(OPERATION, "others change the item all the time"))
    }

    /// The write of a ledger over an item, if that still is as it was seen.
    fn amendment(
        &self,
        conversation: &Conversation,
        seen: &Item,
        ledger: &Ledger,
        now: Timestamp,
    ) -> UpdateItemFluentBuilder {
        let (mut set, mut remove) = ("SET #expires = :expires".to_owned(), Vec::new());
        let mut conditions = Vec::new();
        let mut update = self.update(conversation, now);
        for (name, value) in ledger.values() {
            let (place, before, after) = (format!("#{name}"), format!(":{name}_before"), format!(":{name}"));
            update = update.expression_attribute_names(&place, name);
            match seen.get(name) {
                Some(seen) => {
                    conditions.push(format!("{place} = {before}"));
                    update = update.expression_attribute_values(before, seen.clone());
                }
                None => conditions.push(format!("attribute_not_exists({place})")),
            }
            match value {
                Some(value) => {
                    set.push_str(&format!(", {place} = {after}"));
                    update = update.expression_attribute_values(after, value);
                }
                None => remove.push(place),
            }
        }
        for (index, name) in before::names(seen).enumerate() {
            let place = format!("#m{index}");
            update = update.expression_attribute_names(&place, name);
            remove.push(place);
        }
        if !remove.is_empty() {
            set.push_str(&format!(" REMOVE {}", remove.join(", ")));
        }
        update.update_expression(set).condition_expression(conditions.join(" AND "))
    }

    /// [`amendment`](Self::amendment) as a statement.
    fn amend_statement(
        &self,
        conversation: &Conversation,
        seen: &Item,
        ledger: &Ledger,
        now: Timestamp,
    ) -> BatchStatementRequest {
        let mut update = format!(r#"UPDATE {} SET "expires_at" = ?"#, quoted(&self.table));
        let mut values = vec![number(now.plus(LIFETIME).as_secs())];
        let mut conditions = r#" WHERE "conversation" = ?"#.to_owned();
        let mut compared = vec![text(conversation.to_string())];
        for (name, value) in ledger.values() {
            match value {
                Some(value) => {
                    update.push_str(&format!(r#" SET "{name}" = ?"#));
                    values.push(value);
                }
                None => update.push_str(&format!(r#" REMOVE "{name}""#)),
            }
            match seen.get(name) {
                Some(seen) => {
                    conditions.push_str(&format!(r#" AND "{name}" = ?"#));
                    compared.push(seen.clone());
                }
                None => conditions.push_str(&format!(r#" AND "{name}" IS MISSING"#)),
            }
        }
        values.append(&mut compared);
        statement(update + &conditions, values)
    }

    /// The common begin as a statement. The first reply of a conversation has no item to update; it is told by its number,
    /// which is the time of its claim.
    fn begin_statement(&self, reply: &Reply, open: &AttributeValue, now: Timestamp) -> BatchStatementRequest {
        let table = quoted(&self.table);
        let conversation = text(reply.conversation.to_string());
        let expires = number(now.plus(LIFETIME).as_secs());
        if reply.after.is_none() && reply.number == reply.received_at.as_millis() {
            let insert =
                format!("INSERT INTO {table} VALUE {{'conversation': ?, 'open': ?, 'at': ?, 'expires_at': ?}}");
            return statement(insert, vec![conversation, open.clone(), number(now.as_millis()), expires]);
        }
        let before = quoted(&before::attribute(&reply.id));
        let mut update = format!(
            r#"UPDATE {table} SET "open" = ? SET "at" = ? SET "expires_at" = ? WHERE "conversation" = ? AND "open" IS MISSING AND {before} IS MISSING AND "last" < ?"#
        );
        let mut values = vec![open.clone(), number(now.as_millis()), expires, conversation, number(reply.number)];
        if let Some(after) = reply.after {
            update.push_str(r#" AND "last" >= ?"#);
            values.push(number(after));
        }
        update.push_str(" RETURNING ALL NEW *");
        statement(update, values)
    }

    fn update(&self, conversation: &Conversation, now: Timestamp) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .key("conversation", text(conversation.to_string()))
            .expression_attribute_names("#expires", "expires_at")
            .expression_attribute_values(":expires", number(now.plus(LIFETIME).as_secs()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    async fn item_of(&self, conversation: &Conversation) -> Result<Item, StoreError> {
        let key = text(conversation.to_string());
        let read = self.client.get_item().table_name(&self.table).key("conversation", key).consistent_read(true);
        let read = read.send().await.map_err(|error| StoreError::call("reading a send record", &error))?;
        Ok(read.item.unwrap_or_default())
    }
}

const OPERATION: &str = "recording a send";

fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("numbers and words serialise")
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
