//! Turns whose answer comes later: who writes it, and what was written.
//!
//! One item a turn, `<conversation>#<number>` in the Sessions table:
//!
//! - `answer`, JSON: what is said. It is stored before it is sent, and the first one stays: whoever comes later, the
//!   author who took too long or the text that stands in for him, gets what stands there.
//! - `until` and `owner`, once somebody has begun to write: another waits until then, so that nothing is paid twice.
//! - `j:<number>`, JSON: a later message of the conversation, which is answered together with this one. Messages join
//!   until somebody has begun.

use std::fmt;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use aws_types::SdkConfig;
use hoopoe_message::{Conversation, Decision, InboundMessage, Timestamp, wire};
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::item::{Conditional, Item, conditional, number, read_number, read_text, text};
use crate::sessions::Gathering;

/// How long a turn is kept: as long as its message may come again.
pub const LIFETIME: Duration = crate::claims::LIFETIME;

const WRITING: &str = "beginning a turn";
const ANSWERING: &str = "storing an answer";
const JOINING: &str = "joining a turn";

const JOINED: &str = "j:";

/// The turns in the Sessions table.
#[derive(Clone, Debug)]
pub struct Turns {
    client: Client,
    table: String,
}

/// What is said.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The words.
    pub text: String,
    /// Quick replies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suggestions: Vec<String>,
    /// How the bot came to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// Leaves the words out: what the bot says tells what was asked.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({} bytes)", self.text.len())
    }
}

/// Whether a function may write the answer of a turn.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// It may, until the time that it named. These messages have joined, in their order, and no other can.
    Yes(Vec<InboundMessage>),
    /// Another function writes it, for so long at most.
    Wait(Duration),
    /// It is written.
    Written(Answer),
}

impl Turns {
    /// The Sessions table of this name.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String) -> Self {
        Self { client: Client::new(config), table }
    }

    /// Begins to write the answer of message `of`, until a time.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer; nothing may be written then.
    pub async fn begin(
        &self,
        conversation: &Conversation,
        of: u64,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Write, StoreError> {
        let owner = fastrand::u32(1..);
        let begin = self
            .update(conversation, of, now)
            .update_expression("SET #until = :until, #owner = :owner, #expires = :expires")
            .condition_expression("attribute_not_exists(#answer) AND (attribute_not_exists(#until) OR #until <= :now)")
            .expression_attribute_names("#until", "until")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":until", number(until.as_millis()))
            .expression_attribute_values(":owner", number(owner.into()))
            .expression_attribute_values(":now", number(now.as_millis()))
            .return_values(ReturnValue::AllNew);
        let item = match conditional(begin, WRITING).await? {
            Conditional::Made(item) => return Ok(Write::Yes(joined(&item)?)),
            Conditional::Failed(item) => item,
        };
        if let Some(answer) = answer(&item)? {
            return Ok(Write::Written(answer));
        }
        // The answer to this call was lost, and the client made it again.
        if read_number(&item, "owner") == Some(owner.into()) {
            return Ok(Write::Yes(joined(&item)?));
        }
        let until = Timestamp::from_millis(read_number(&item, "until").unwrap_or(0));
        Ok(Write::Wait(until.since(now)))
    }

    /// Stores the answer of message `of`, and returns the one that is said: this one, unless another was stored before.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer; nothing may be said then.
    pub async fn answer(
        &self,
        conversation: &Conversation,
        of: u64,
        written: Answer,
        now: Timestamp,
    ) -> Result<Answer, StoreError> {
        let json = serde_json::to_string(&written).expect("words and numbers serialise");
        let store = self
            .update(conversation, of, now)
            .update_expression("SET #answer = :answer, #expires = :expires")
            .condition_expression("attribute_not_exists(#answer)")
            .expression_attribute_values(":answer", text(json));
        match conditional(store, ANSWERING).await? {
            Conditional::Made(_) => Ok(written),
            Conditional::Failed(item) => {
                answer(&item)?.ok_or(StoreError::Shape { operation: ANSWERING, what: "answer" })
            }
        }
    }

    /// Lets another function begin at once, because this one could not write the answer.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer; another function begins later then.
    pub async fn release(&self, conversation: &Conversation, of: u64, now: Timestamp) -> Result<(), StoreError> {
        let release = self
            .update(conversation, of, now)
            .update_expression("SET #until = :now, #expires = :expires")
            .condition_expression("attribute_not_exists(#answer)")
            .expression_attribute_names("#until", "until")
            .expression_attribute_values(":now", number(now.as_millis()));
        conditional(release, WRITING).await.map(drop)
    }

    /// Lets a message be answered together with message `of`; whether it is. It is not where the answer of that one was
    /// begun before. Asked again, it says the same.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer; it is not known then whether it has joined.
    pub async fn join(&self, of: Gathering, message: &InboundMessage, now: Timestamp) -> Result<bool, StoreError> {
        let join = self
            .update(&message.conversation, of.turn(), now)
            .update_expression("SET #joined = :joined, #expires = :expires")
            .condition_expression(
                "attribute_exists(#joined) OR (attribute_not_exists(#answer) AND attribute_not_exists(#until))",
            )
            .expression_attribute_names("#joined", format!("{JOINED}{}", message.number))
            .expression_attribute_names("#until", "until")
            .expression_attribute_values(":joined", text(wire::encode(message)));
        Ok(matches!(conditional(join, JOINING).await?, Conditional::Made(_)))
    }

    fn update(&self, conversation: &Conversation, of: u64, now: Timestamp) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .key("conversation", text(format!("{conversation}#{of}")))
            .expression_attribute_names("#answer", "answer")
            .expression_attribute_names("#expires", "expires_at")
            .expression_attribute_values(":expires", number(now.plus(LIFETIME).as_secs()))
            .return_values(ReturnValue::None)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }
}

fn answer(item: &Item) -> Result<Option<Answer>, StoreError> {
    let Some(json) = read_text(item, "answer") else { return Ok(None) };
    serde_json::from_str(json).map(Some).map_err(|_| StoreError::Shape { operation: ANSWERING, what: "answer" })
}

/// The messages that have joined a turn, in their order.
fn joined(item: &Item) -> Result<Vec<InboundMessage>, StoreError> {
    let shape = || StoreError::Shape { operation: JOINING, what: "a message that joined" };
    let messages = item.iter().filter(|(name, _)| name.starts_with(JOINED));
    let mut messages = messages
        .map(|(_, value)| wire::decode(value.as_s().map_err(|_| shape())?).map_err(|_| shape()))
        .collect::<Result<Vec<InboundMessage>, _>>()?;
    messages.sort_by_key(|message| message.number);
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_not_in_its_debug_form() {
        let answer = Answer { text: "the words".into(), suggestions: vec!["the choice".into()], decision: None };
        assert_eq!(format!("{:?}", Write::Written(answer)), "Written(Answer(9 bytes))");
    }
}
