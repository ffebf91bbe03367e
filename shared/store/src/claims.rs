//! Claims: the first thing that happens to a verified message.
//!
//! One conditional update of the conversation's item remembers the event and gives it the conversation's next number. A
//! platform that repeats an event finds its claim, and the message is queued again under the number that it already has:
//! whether the first attempt died before or after it reached the queue, nothing is lost, and inference and deliver know
//! the number and drop what they have handled.
//!
//! # Numbers
//!
//! The first number of a conversation is the time of its claim in milliseconds since the epoch, and each further one is
//! one more. So numbers never restart: whenever DynamoDB deletes the item, the next number is higher than all before.
//!
//! # Items
//!
//! | attribute | what it holds |
//! |---|---|
//! | `next` | the last number given |
//! | `at` | when it was given, in milliseconds since the epoch |
//! | `moved_at` | no claim in the archive was made after this; missing while the archive is empty |
//! | a digest of 11 characters | the number of this event: base64url of the first 8 bytes of the SHA-256 of its id |
//! | `m:<event id>` | the same, as the releases before this one wrote it; read, and moved with the others |
//!
//! Both kinds of items stay below 1 KB, so each write costs one unit. The item of a conversation holds its newest events.
//! Those before them stand in the archive, one item for each 32 numbers; they are moved there together. Where an event
//! may stand in the archive, the archive is read as well: where the platform says that the event happened before
//! `moved_at`, give or take [`CLOCKS`], and where it does not say when.

mod archive;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use aws_types::SdkConfig;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hoopoe_message::{Conversation, MessageId, Timestamp};
use sha2::{Digest, Sha256};

use crate::StoreError;
use crate::item::{Item, number, read_number, text};

/// How long a claim is kept, by time and not by the number of later messages: platforms repeat an event for up to 7 days
/// (WhatsApp, Messenger).
pub const LIFETIME: Duration = Duration::from_secs(8 * 24 * 3600);

/// How far the platform's clock and ours may be apart.
pub const CLOCKS: Duration = Duration::from_secs(5 * 60);

/// How many events one update claims at most: with them the item still fits into 1 KB.
const AT_ONCE: usize = 8;

/// How many numbers an item of the archive is for.
const SLOT: u64 = 32;

/// How many of the newest events stay in the conversation's item when those before them are moved: what is repeated at
/// once is found without the archive.
const KEPT: u64 = 4;

/// Length of a digest; no other attribute's name is as long.
const DIGEST: usize = 11;

/// Before the id of an event in the form of earlier releases.
const EARLIER: &str = "m:";

/// The Claims table.
#[derive(Clone, Debug)]
pub struct Claims {
    client: Client,
    table: String,
}

/// An event to claim.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The platform's id of it.
    pub id: &'a MessageId,
    /// When it happened, by the platform; `None` where the platform does not say.
    pub sent_at: Option<Timestamp>,
}

/// A message's place in its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The conversation's numbers follow each other without gaps, and none is given twice. The first is the time of its
    /// claim in milliseconds since the epoch.
    pub number: u64,
    /// When the message before was claimed, or later; `None` for the first.
    pub previous_at: Option<Timestamp>,
    /// The event was claimed before.
    pub duplicate: bool,
}

/// An event that has no claim yet, as far as is known.
struct Open<'a> {
    digest: &'a str,
    earlier: String,
    sent_at: Option<Timestamp>,
}

/// That events were moved to the archive: `moved_at` before, and now.
struct Moved {
    from: Option<Timestamp>,
    to: Timestamp,
}

/// What became of an attempt to claim events.
enum Attempt {
    /// All have a number now. The item as it was before, empty for the first.
    Taken(Item),
    /// None was claimed, for one of them is claimed already or may stand in the archive. The item as it is.
    Held(Item),
}

impl Claims {
    /// The table of this name.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String) -> Self {
        Self { client: Client::new(config), table }
    }

    /// Claims events of a conversation in this order, or finds the claims that they already have; `now` is the present.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer; none of them may be queued then. The same call again finds what was claimed.
    pub async fn claim(
        &self,
        conversation: &Conversation,
        events: &[Event<'_>],
        now: Timestamp,
    ) -> Result<Vec<Claim>, StoreError> {
        let digests: Vec<String> = events.iter().map(|event| digest(event.id.as_str())).collect();
        let mut claims: HashMap<&str, Claim> = HashMap::with_capacity(events.len());
        let (mut open, mut seen) = (Vec::with_capacity(events.len()), HashSet::with_capacity(events.len()));
        for (digest, event) in digests.iter().zip(events) {
            // What is said to happen later than now has no time that could be relied upon.
            let sent_at = event.sent_at.filter(|sent_at| *sent_at <= now.plus(CLOCKS));
            if seen.insert(digest) {
                open.push(Open { digest, earlier: format!("{EARLIER}{}", event.id.as_str()), sent_at });
            }
        }
        // As of which `moved_at` the archive was searched for all that are open.
        let mut searched: Option<Option<Timestamp>> = None;
        while !open.is_empty() {
            let part = &open[..open.len().min(AT_ONCE)];
            // Several at once, or one of a while ago, may be a repetition. They get no numbers before the archive is
            // searched. A single new one gets its number at once, and the archive is searched afterwards: where it holds
            // the event all the same, the number stays unused.
            let dated = open.iter().filter_map(|open| open.sent_at).min();
            let doubtful = dated.filter(|sent_at| open.len() > 1 || sent_at.plus(CLOCKS) < now);
            let attempt = self.attempt(conversation, part, doubtful.filter(|_| searched.is_none()), now).await?;
            let (item, found, moved) = match attempt {
                Attempt::Taken(before) => {
                    let found = fresh(&before, part, now);
                    // A failure leaves a large item, which the next claim makes smaller.
                    let moved = self.make_room(conversation, &before, &found, now).await.unwrap_or_default();
                    (before, found, moved)
                }
                Attempt::Held(item) => {
                    let found = known(&item, part, now)?;
                    if searched.is_some() && found.is_empty() {
                        return Err(shape("the number of a claim"));
                    }
                    (item, found, None)
                }
            };
            let previous_at = read_number(&item, "at").map(Timestamp::from_millis);
            // What another function has claimed in the meantime; `make_room` may have moved it.
            claims.extend(
                standing(&item, &open).map(|(digest, number)| (digest, Claim { number, previous_at, duplicate: true })),
            );
            claims.extend(found);
            let moved_at = moved_at(&item);
            if searched != Some(moved_at) {
                // A claim in the archive is older than any other of the same event, so it counts.
                for (digest, number) in self.search(conversation, &item, &open, now).await? {
                    claims.insert(digest, Claim { number, previous_at, duplicate: true });
                }
                searched = Some(moved_at);
            }
            if let Some(Moved { from, to }) = moved
                && searched == Some(from)
            {
                searched = Some(Some(to));
            }
            open.retain(|open| !claims.contains_key(open.digest));
        }
        digests.iter().map(|digest| claims.get(digest.as_str()).copied().ok_or(shape("a claim"))).collect()
    }

    /// One conditional update. It claims nothing where an event that happened at `doubtful` may stand in the archive.
    async fn attempt(
        &self,
        conversation: &Conversation,
        open: &[Open<'_>],
        doubtful: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Attempt, StoreError> {
        let mut sets = String::new();
        let mut conditions = Vec::with_capacity(open.len() + 1);
        let mut update = self.client.update_item();
        for (index, event) in (1..).zip(open) {
            sets.push_str(&format!("#e{index} = if_not_exists(#next, :before) + :n{index}, "));
            conditions.push(format!("attribute_not_exists(#e{index}) AND attribute_not_exists(#m{index})"));
            update = update
                .expression_attribute_names(format!("#e{index}"), event.digest)
                .expression_attribute_names(format!("#m{index}"), &event.earlier)
                .expression_attribute_values(format!(":n{index}"), number(index));
        }
        if let Some(sent_at) = doubtful {
            conditions.push("(attribute_not_exists(#moved) OR #moved < :sent)".to_owned());
            update = update
                .expression_attribute_names("#moved", "moved_at")
                .expression_attribute_values(":sent", number(earliest(sent_at).as_millis()));
        }
        let claimed = update
            .table_name(&self.table)
            .key("conversation", text(conversation.to_string()))
            .update_expression(format!(
                "SET {sets}#next = if_not_exists(#next, :before) + :n{}, #at = :now, #expires = :expires",
                open.len()
            ))
            .condition_expression(conditions.join(" AND "))
            .expression_attribute_names("#next", "next")
            .expression_attribute_names("#at", "at")
            .expression_attribute_names("#expires", "expires_at")
            .expression_attribute_values(":before", number(before_first(now)))
            .expression_attribute_values(":now", number(now.as_millis()))
            .expression_attribute_values(":expires", number(now.plus(LIFETIME).as_secs()))
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match claimed {
            Ok(output) => Ok(Attempt::Taken(output.attributes.unwrap_or_default())),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    Ok(Attempt::Held(failed.item().cloned().ok_or(shape("the item of a claim"))?))
                }
                _ => Err(StoreError::call("claiming a message", &error)),
            },
        }
    }
}

/// The claims of events that have just got their numbers; `before` is the item as it was.
fn fresh<'a>(before: &Item, open: &[Open<'a>], now: Timestamp) -> HashMap<&'a str, Claim> {
    let last = read_number(before, "next").unwrap_or(before_first(now));
    let mut previous_at = read_number(before, "at").map(Timestamp::from_millis);
    (1..)
        .zip(open)
        .map(|(index, open)| {
            let claim = Claim { number: last + index, previous_at, duplicate: false };
            previous_at = Some(now);
            (open.digest, claim)
        })
        .collect()
}

/// The claims that stand in the item. The client repeats a call whose answer was lost, and finds its own claims: those
/// are no duplicates.
fn known<'a>(item: &Item, open: &[Open<'a>], now: Timestamp) -> Result<HashMap<&'a str, Claim>, StoreError> {
    let found: Vec<(&'a str, u64)> = standing(item, open).collect();
    let last = read_number(item, "next").ok_or(shape("the last number"))?;
    let at = read_number(item, "at").map(Timestamp::from_millis);
    let newest = found.iter().map(|(_, number)| *number).max();
    let own = found.len() == open.len() && at == Some(now) && newest == Some(last);
    let first = if item.contains_key("moved_at") { None } else { numbers(item).map(|(number, _)| number).min() };
    let claim = |number| Claim { number, previous_at: at.filter(|_| first != Some(number)), duplicate: !own };
    Ok(found.into_iter().map(|(digest, number)| (digest, claim(number))).collect())
}

/// The events that stand in the item, with their numbers.
fn standing<'a>(item: &Item, open: &[Open<'a>]) -> impl Iterator<Item = (&'a str, u64)> {
    open.iter().filter_map(|open| {
        let number = read_number(item, open.digest).or_else(|| read_number(item, &open.earlier))?;
        Some((open.digest, number))
    })
}

/// The name of an event's attribute.
fn digest(id: &str) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(id)[..8])
}

/// The events of an item: number and attribute.
fn numbers(item: &Item) -> impl Iterator<Item = (u64, &str)> {
    item.keys()
        .filter(|name| name.len() == DIGEST || name.starts_with(EARLIER))
        .filter_map(|name| Some((read_number(item, name)?, name.as_str())))
}

fn moved_at(item: &Item) -> Option<Timestamp> {
    read_number(item, "moved_at").map(Timestamp::from_millis)
}

/// What stands for the last number in a conversation without one.
fn before_first(now: Timestamp) -> u64 {
    now.as_millis().saturating_sub(1)
}

/// An event that the platform dates so was claimed at this moment or later.
fn earliest(sent_at: Timestamp) -> Timestamp {
    Timestamp::from_millis(sent_at.as_millis().saturating_sub(CLOCKS.as_secs() * 1000))
}

/// `REMOVE #0, #1, …`.
pub(crate) fn remove(count: usize) -> String {
    let names: Vec<String> = (0..count).map(|index| format!("#{index}")).collect();
    format!("REMOVE {}", names.join(", "))
}

const fn shape(what: &'static str) -> StoreError {
    StoreError::Shape { operation: "claiming a message", what }
}
