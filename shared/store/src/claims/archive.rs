//! The archive of a conversation's claims: an item for each [`SLOT`] numbers, under a key of its own.
//!
//! | attribute | what it holds |
//! |---|---|
//! | `conversation` | `<channel>/<bot>+<slot>/<chat>`, which is no conversation's key: a bot's name has no `+` |
//! | a digest | the number of this event |
//! | `before_at` | no claim in an earlier slot was made after this; missing in the first slot |
//!
//! A slot is moved once all its numbers are given: first its item is written, then the events leave the conversation's
//! item. Both steps can be done twice, and by two functions at once: what they write of a slot is the same.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::time::Duration;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{KeysAndAttributes, ReturnValue};
use hoopoe_message::{Conversation, Timestamp};

use super::{
    CLOCKS, Claim, Claims, EARLIER, KEPT, LIFETIME, Moved, Open, SLOT, digest, earliest, moved_at, numbers, remove,
};
use crate::StoreError;
use crate::item::{Item, number, read_number, text};

/// How many items are read for an event that the platform does not date: some 2,000 messages. Only the web chat has such
/// events, and its page repeats a message before it sends the next.
const UNDATED: u64 = 64;

/// How many items are read with one call.
const AT_ONCE: u64 = 64;

impl Claims {
    /// Moves the events of full slots to the archive, and says when it did. `before` is the conversation's item without the
    /// claims `made` now.
    pub(super) async fn make_room(
        &self,
        conversation: &Conversation,
        before: &Item,
        made: &HashMap<&str, Claim>,
        now: Timestamp,
    ) -> Result<Option<Moved>, StoreError> {
        let made = made.iter().map(|(digest, claim)| (claim.number, *digest));
        let events: Vec<(u64, &str)> = numbers(before).chain(made).collect();
        let last = events.iter().map(|(number, _)| *number).max().unwrap_or(0);
        let end = (last + 1).saturating_sub(KEPT) / SLOT;
        let mut slots: BTreeMap<u64, Vec<(u64, &str)>> = BTreeMap::new();
        for (number, name) in events {
            if number / SLOT < end {
                slots.entry(number / SLOT).or_default().push((number, name));
            }
        }
        if slots.is_empty() {
            return Ok(None);
        }
        let from = moved_at(before);
        // No two moves of a conversation are at the same time, so each can be told from the one before.
        let to = from.map_or(now, |from| now.max(from.plus(Duration::from_millis(1))));
        let mut before_at = from;
        for (slot, events) in &slots {
            self.put_slot(conversation, *slot, events, before_at, to).await?;
            before_at = Some(to);
        }
        self.remove(conversation, slots.into_values().flatten().map(|(_, name)| name), to).await
    }

    async fn put_slot(
        &self,
        conversation: &Conversation,
        slot: u64,
        events: &[(u64, &str)],
        before_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut sets = "SET #expires = :expires".to_owned();
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("conversation", text(key(conversation, slot)))
            .expression_attribute_names("#expires", "expires_at")
            .expression_attribute_values(":expires", number(now.plus(LIFETIME).as_secs()));
        if let Some(before_at) = before_at {
            sets.push_str(", #before = :before");
            update = update
                .expression_attribute_names("#before", "before_at")
                .expression_attribute_values(":before", number(before_at.as_millis()));
        }
        for (index, (value, name)) in events.iter().enumerate() {
            let digest = name.strip_prefix(EARLIER).map_or_else(|| (*name).to_owned(), digest);
            sets.push_str(&format!(", #e{index} = :e{index}"));
            update = update
                .expression_attribute_names(format!("#e{index}"), digest)
                .expression_attribute_values(format!(":e{index}"), number(*value));
        }
        let put = update.update_expression(sets).send().await;
        put.map_err(|error| StoreError::call("moving claims to the archive", &error))?;
        Ok(())
    }

    /// Takes events out of the conversation's item; they stand in the archive.
    async fn remove(
        &self,
        conversation: &Conversation,
        names: impl Iterator<Item = &str>,
        to: Timestamp,
    ) -> Result<Option<Moved>, StoreError> {
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("conversation", text(conversation.to_string()))
            .condition_expression("attribute_not_exists(#moved) OR #moved < :to")
            .expression_attribute_names("#moved", "moved_at")
            .expression_attribute_values(":to", number(to.as_millis()))
            .return_values(ReturnValue::AllOld);
        let mut count = 0;
        for name in names {
            update = update.expression_attribute_names(format!("#{count}"), name);
            count += 1;
        }
        let changed = update.update_expression(format!("SET #moved = :to {}", remove(count))).send().await;
        match changed {
            Ok(before) => Ok(Some(Moved { from: moved_at(&before.attributes.unwrap_or_default()), to })),
            // Another function has moved them.
            Err(error)
                if matches!(error.as_service_error(), Some(UpdateItemError::ConditionalCheckFailedException(_))) =>
            {
                Ok(None)
            }
            Err(error) => Err(StoreError::call("moving claims to the archive", &error)),
        }
    }

    /// The numbers of those of the events that stand in the archive, by digest. `item` is the conversation's.
    pub(super) async fn search<'a>(
        &self,
        conversation: &Conversation,
        item: &Item,
        open: &[Open<'a>],
        now: Timestamp,
    ) -> Result<HashMap<&'a str, u64>, StoreError> {
        let mut found = HashMap::new();
        let Some(moved_at) = moved_at(item) else { return Ok(found) };
        // What was claimed before this is forgotten.
        let horizon = Timestamp::from_millis(now.as_millis().saturating_sub(LIFETIME.as_secs() * 1000));
        let sought: Vec<&Open<'a>> =
            open.iter().filter(|open| open.sent_at.is_none_or(|sent| sent <= moved_at.plus(CLOCKS))).collect();
        if sought.is_empty() || moved_at < horizon {
            return Ok(found);
        }
        let dated = sought.iter().filter_map(|open| open.sent_at).min();
        let undated = sought.iter().any(|open| open.sent_at.is_none());
        let floor = dated.filter(|_| !undated).map_or(horizon, |sent| earliest(sent).max(horizon));
        let oldest = numbers(item).map(|(number, _)| number).min().or_else(|| read_number(item, "next")).unwrap_or(0);
        let mut end = oldest / SLOT;
        let lowest = if dated.is_none() { end.saturating_sub(UNDATED) } else { 0 };
        let mut width = 1;
        while end > lowest {
            let start = end.saturating_sub(width).max(lowest);
            let slots = self.read_slots(conversation, start..end).await?;
            for slot in (start..end).rev() {
                let Some(item) = slots.get(&key(conversation, slot)) else { return Ok(found) };
                for open in &sought {
                    if let Some(number) = read_number(item, open.digest) {
                        found.insert(open.digest, number);
                    }
                }
                let before_at = read_number(item, "before_at").map(Timestamp::from_millis);
                if before_at.is_none_or(|before_at| before_at < floor) {
                    return Ok(found);
                }
            }
            end = start;
            width = (width * 8).min(AT_ONCE);
        }
        Ok(found)
    }

    /// The items of these slots, by key.
    async fn read_slots(
        &self,
        conversation: &Conversation,
        slots: Range<u64>,
    ) -> Result<HashMap<String, Item>, StoreError> {
        const OPERATION: &str = "reading archived claims";
        let keys = slots.map(|slot| HashMap::from([("conversation".to_owned(), text(key(conversation, slot)))]));
        let wanted = KeysAndAttributes::builder()
            .set_keys(Some(keys.collect()))
            .consistent_read(true)
            .build()
            .map_err(|_| StoreError::Shape { operation: OPERATION, what: "no slots" })?;
        let read = self.client.batch_get_item().request_items(&self.table, wanted).send().await;
        let read = read.map_err(|error| StoreError::call(OPERATION, &error))?;
        if read.unprocessed_keys.is_some_and(|keys| !keys.is_empty()) {
            return Err(StoreError::busy(OPERATION, "DynamoDB did not read all items"));
        }
        let items = read.responses.unwrap_or_default().remove(&self.table).unwrap_or_default();
        Ok(items.into_iter().filter_map(|item| Some((item.get("conversation")?.as_s().ok()?.clone(), item))).collect())
    }
}

fn key(conversation: &Conversation, slot: u64) -> String {
    format!("{}/{}+{slot}/{}", conversation.channel, conversation.bot, conversation.chat)
}
