//! Claims: the first thing that happens to a verified message.
//!
//! One conditional update of the conversation's item remembers the event's id and gives the message the
//! conversation's next number. A platform that retries finds its claim, and the message is queued again under the
//! number it already has: whether the first attempt died before or after it reached the queue, nothing is lost, and
//! inference and deliver know the number and drop what they have handled.
//!
//! The item holds `next` (the last number given), `at` (when), and `m:<event id>` = number for the last events.
//! More than [`MAX_EVENTS`] of them are thinned to half: a duplicate that comes after so many later messages of the
//! same conversation gets a new number and is answered at most once all the same, by its send record.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use aws_types::SdkConfig;
use hoopoe_message::{Conversation, MessageId, Timestamp};

use crate::StoreError;
use crate::item::{Item, number, read_number, text};

/// How long a claim is kept: platforms retry for up to 7 days (WhatsApp), Feishu for 7 h.
pub const LIFETIME: Duration = Duration::from_secs(8 * 24 * 3600);

/// How many events of a conversation are remembered.
pub const MAX_EVENTS: usize = 128;

const EVENT: &str = "m:";

/// The Claims table.
#[derive(Clone, Debug)]
pub struct Claims {
    client: Client,
    table: String,
}

/// A message's place in its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Counted from 1.
    pub number: u64,
    /// When the message before was claimed; `None` for the first.
    pub previous_at: Option<Timestamp>,
    /// The event was claimed before.
    pub duplicate: bool,
}

impl Claims {
    /// The table of this name.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String) -> Self {
        Self { client: Client::new(config), table }
    }

    /// Claims an event, or finds the claim it already has.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer; nothing may be queued then.
    pub async fn claim(
        &self,
        conversation: &Conversation,
        id: &MessageId,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let event = format!("{EVENT}{id}");
        let claimed = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("conversation", text(conversation.to_string()))
            .update_expression(
                "SET #next = if_not_exists(#next, :zero) + :one, #event = if_not_exists(#next, :zero) + :one, \
                 #at = :now, #expires = :expires",
            )
            .condition_expression("attribute_not_exists(#event)")
            .expression_attribute_names("#next", "next")
            .expression_attribute_names("#event", &event)
            .expression_attribute_names("#at", "at")
            .expression_attribute_names("#expires", "expires_at")
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":now", number(now.as_millis()))
            .expression_attribute_values(":expires", number(now.plus(LIFETIME).as_secs()))
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match claimed {
            Ok(output) => {
                let before = output.attributes.unwrap_or_default();
                let claim = Claim {
                    number: read_number(&before, "next").unwrap_or(0) + 1,
                    previous_at: read_number(&before, "at").map(Timestamp::from_millis),
                    duplicate: false,
                };
                // A failure leaves a large item, which the next claim thins.
                let _ = self.thin(conversation, &before).await;
                Ok(claim)
            }
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    let item = failed.item().ok_or(Self::shape("the item of a claim"))?;
                    Ok(Claim {
                        number: read_number(item, &event).ok_or(Self::shape("the number of a claim"))?,
                        previous_at: read_number(item, "at").map(Timestamp::from_millis),
                        duplicate: true,
                    })
                }
                _ => Err(StoreError::call("claiming a message", &error)),
            },
        }
    }

    /// Forgets the older half of the events once there are [`MAX_EVENTS`], so that the item stays small.
    async fn thin(&self, conversation: &Conversation, item: &Item) -> Result<(), StoreError> {
        let old = old_events(item);
        if old.is_empty() {
            return Ok(());
        }
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("conversation", text(conversation.to_string()))
            .update_expression(remove(old.len()));
        for (index, event) in old.into_iter().enumerate() {
            update = update.expression_attribute_names(format!("#{index}"), event);
        }
        update.send().await.map_err(|error| StoreError::call("thinning claims", &error))?;
        Ok(())
    }

    const fn shape(what: &'static str) -> StoreError {
        StoreError::Shape { operation: "claiming a message", what }
    }
}

/// The older half of the events where there are too many of them.
fn old_events(item: &Item) -> Vec<&str> {
    let mut events: Vec<(u64, &str)> = item
        .keys()
        .filter(|name| name.starts_with(EVENT))
        .filter_map(|name| Some((read_number(item, name)?, name.as_str())))
        .collect();
    if events.len() < MAX_EVENTS {
        return Vec::new();
    }
    events.sort_unstable();
    events.truncate(MAX_EVENTS / 2);
    events.into_iter().map(|(_, name)| name).collect()
}

/// `REMOVE #0, #1, …`.
pub(crate) fn remove(count: usize) -> String {
    let names: Vec<String> = (0..count).map(|index| format!("#{index}")).collect();
    format!("REMOVE {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_item_is_thinned_and_the_oldest_go() {
        let item = |events: usize| -> Item {
            (1..=events as u64)
                .map(|n| (format!("{EVENT}{n}"), number(n)))
                .chain([("next".into(), number(9))])
                .collect()
        };
        assert!(old_events(&item(MAX_EVENTS - 1)).is_empty());
        let full = item(MAX_EVENTS);
        let old = old_events(&full);
        assert_eq!(old.len(), MAX_EVENTS / 2);
        assert!(old.contains(&"m:1") && old.contains(&"m:64") && !old.contains(&"m:65"));
    }
}
