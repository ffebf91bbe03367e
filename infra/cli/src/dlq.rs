//! `hoopoe dlq`: the dead-letter queues, where a message stands that could not be handled.
//!
//! | module | what it does |
//! |---|---|
//! | [`redrive`] | gives dead letters another chance |

mod redrive;

use std::fmt;

use anyhow::{Context, anyhow};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, Message, MessageSystemAttributeName as Attribute};
use clap::{Args, Subcommand, ValueEnum};
use hoopoe_aws::cause;
use hoopoe_message::{BotId, Channel, Conversation, Timestamp};
use serde::{Deserialize, Serialize};

use crate::stack::Stack;
use crate::{Global, output};

const LIST_EXAMPLES: &str = "\
Examples:
  hoopoe dlq list
  hoopoe dlq list outbound --json
";

const REDRIVE_EXAMPLES: &str = "\
Examples:
  hoopoe dlq redrive outbound             after the platform works again
  hoopoe dlq redrive outbound --unknown   also what the platform may have already: people may read it twice
  hoopoe dlq redrive --stack hoopoe
";

/// Seconds a message that was received here stays hidden from others, should this command be ended before it puts the
/// message back.
const HIDDEN: i32 = 60;

/// Lists dead letters, or gives them another chance.
#[derive(Args, Debug)]
pub(crate) struct Dlq {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// List dead letters with their reasons; never what a person wrote.
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// One of the two; both by default.
        queue: Option<Queue>,
        /// The most to list of each queue.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Move dead letters back to the queue they come from, where they are handled again.
    ///
    /// A reply is tried as often as a new one, from the first part that the platform did not take. What was answered or
    /// sent meanwhile is not said twice.
    #[command(after_help = REDRIVE_EXAMPLES)]
    Redrive {
        /// One of the two; both by default.
        queue: Option<Queue>,
        /// Also send replies whose outcome is unknown. The platform may have them, and people may read them twice.
        #[arg(long)]
        unknown: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Queue {
    /// Messages that inference could not answer.
    Inbound,
    /// Replies that could not be sent.
    Outbound,
}

impl Queue {
    fn chosen(one: Option<Self>) -> impl Iterator<Item = Self> {
        [Self::Inbound, Self::Outbound].into_iter().filter(move |queue| one.is_none_or(|one| one == *queue))
    }

    /// The word in the names of the stack's outputs.
    const fn output(self) -> &'static str {
        match self {
            Self::Inbound => "Inbound",
            Self::Outbound => "Outbound",
        }
    }
}

/// A message in a dead-letter queue.
#[derive(Debug, Serialize)]
struct DeadLetter {
    queue: Queue,
    id: String,
    /// When it was first queued, or moved here by a function: RFC 3339, in UTC.
    sent: String,
    /// `None` for a body that cannot be read.
    conversation: Option<String>,
    /// `None` when SQS moved it here after too many attempts, which leaves no reason.
    reason: Option<String>,
}

/// The part of both kinds of message that may be shown.
#[derive(Deserialize)]
struct Address {
    conversation: Conversation,
}

impl Dlq {
    /// Runs the subcommand.
    ///
    /// # Errors
    ///
    /// When the stack or a queue cannot be read.
    pub(crate) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let stack = Stack::find(global).await?;
        let client = Client::new(stack.config());
        match self.command {
            Command::List { queue, limit } => {
                let mut found = Vec::new();
                for queue in Queue::chosen(queue) {
                    let letters = DeadLetters::of(&client, &stack, queue)?.list(limit).await?;
                    found.extend(letters.iter().map(|message| DeadLetter::of(queue, message)));
                }
                print(&found, global.json, "no dead letters")
            }
            Command::Redrive { queue, unknown } => {
                let mut redriven = Vec::new();
                for queue in Queue::chosen(queue) {
                    redriven.push(redrive::run(&client, &stack, queue, unknown).await?);
                }
                print(&redriven, global.json, "")
            }
        }
    }
}

/// Deletes the dead letters of a bot.
///
/// # Errors
///
/// When a queue does not answer.
pub(crate) async fn forget(stack: &Stack, channel: Channel, bot: &BotId) -> anyhow::Result<()> {
    let client = Client::new(stack.config());
    for queue in Queue::chosen(None) {
        let letters = DeadLetters::of(&client, stack, queue)?;
        let mut others = Vec::new();
        loop {
            let batch = letters.receive(10).await?;
            if batch.is_empty() {
                break;
            }
            for message in batch {
                if conversation(&message).is_some_and(|found| found.channel == channel && found.bot == *bot) {
                    letters.delete(&message).await?;
                } else {
                    others.push(message);
                }
            }
        }
        letters.put_back(&others).await?;
    }
    Ok(())
}

/// A dead-letter queue and the queue it belongs to.
struct DeadLetters<'a> {
    client: &'a Client,
    url: &'a str,
    source: &'a str,
}

impl<'a> DeadLetters<'a> {
    fn of(client: &'a Client, stack: &'a Stack, queue: Queue) -> anyhow::Result<Self> {
        Ok(Self {
            client,
            url: stack.output(&format!("{}DeadLettersUrl", queue.output()))?,
            source: stack.output(&format!("{}QueueUrl", queue.output()))?,
        })
    }

    /// Looks at up to `limit` messages and puts them back.
    async fn list(&self, limit: usize) -> anyhow::Result<Vec<Message>> {
        let mut found = Vec::new();
        while found.len() < limit {
            let batch = self.receive(limit - found.len()).await?;
            if batch.is_empty() {
                break;
            }
            found.extend(batch);
        }
        self.put_back(&found).await?;
        Ok(found)
    }

    async fn receive(&self, most: usize) -> anyhow::Result<Vec<Message>> {
        let received = self
            .client
            .receive_message()
            .queue_url(self.url)
            .max_number_of_messages(i32::try_from(most.min(10)).unwrap_or(10))
            .visibility_timeout(HIDDEN)
            // Asks all of SQS's servers; without waiting, some messages are missed.
            .wait_time_seconds(1)
            .message_attribute_names("reason")
            .message_system_attribute_names(Attribute::SentTimestamp)
            .message_system_attribute_names(Attribute::MessageGroupId)
            .send()
            .await
            .map_err(|error| anyhow!("the dead letters cannot be read: {}", cause(&error)))?;
        Ok(received.messages.unwrap_or_default())
    }

    async fn delete(&self, message: &Message) -> anyhow::Result<()> {
        let handle = message.receipt_handle().context("SQS gave a message without a receipt handle")?;
        let deleted = self.client.delete_message().queue_url(self.url).receipt_handle(handle).send().await;
        deleted.map_err(|error| anyhow!("a dead letter could not be deleted: {}", cause(&error)))?;
        Ok(())
    }

    async fn put_back(&self, messages: &[Message]) -> anyhow::Result<()> {
        for batch in messages.chunks(10) {
            let entries = batch.iter().enumerate().filter_map(|(index, message)| {
                ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(message.receipt_handle()?)
                    .visibility_timeout(0)
                    .build()
                    .ok()
            });
            self.client
                .change_message_visibility_batch()
                .queue_url(self.url)
                .set_entries(Some(entries.collect()))
                .send()
                .await
                .map_err(|error| anyhow!("messages could not be put back: {}", cause(&error)))?;
        }
        Ok(())
    }
}

impl DeadLetter {
    fn of(queue: Queue, message: &Message) -> Self {
        let reason = message.message_attributes().and_then(|all| all.get("reason")?.string_value());
        Self {
            queue,
            id: message.message_id().unwrap_or("").to_owned(),
            sent: output::time(sent(message)),
            conversation: conversation(message).map(|conversation| conversation.to_string()),
            reason: reason.map(ToOwned::to_owned),
        }
    }
}

fn sent(message: &Message) -> Timestamp {
    let sent = message.attributes().and_then(|all| all.get(&Attribute::SentTimestamp));
    Timestamp::from_millis(sent.and_then(|millis| millis.parse().ok()).unwrap_or(0))
}

fn conversation(message: &Message) -> Option<Conversation> {
    let address: Address = serde_json::from_str(message.body()?).ok()?;
    Some(address.conversation)
}

fn print<T: Serialize + fmt::Display>(rows: &[T], json: bool, nothing: &str) -> anyhow::Result<()> {
    if json {
        output::json(rows)
    } else if rows.is_empty() {
        output::line(nothing)
    } else {
        rows.iter().try_for_each(|row| output::result(row, false))
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        })
    }
}

impl fmt::Display for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let conversation = self.conversation.as_deref().unwrap_or("unreadable");
        let reason = self.reason.as_deref().unwrap_or("too many attempts; the function's log says more");
        write!(f, "{} {:<8} {} {conversation}: {reason}", self.sent, self.queue, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_sqs::types::MessageAttributeValue;

    fn message(body: &str, reason: Option<&str>) -> Message {
        let reason = reason.map(|reason| {
            MessageAttributeValue::builder().data_type("String").string_value(reason).build().expect("has a type")
        });
        Message::builder()
            .message_id("9f")
            .body(body)
            .attributes(Attribute::SentTimestamp, "1700000000000")
            .set_message_attributes(reason.map(|reason| [("reason".to_owned(), reason)].into()))
            .build()
    }

    const BODY: &str =
        r#"{"v":1,"conversation":{"channel":"telegram","bot":"main","chat":"42"},"content":"my secret words"}"#;

    #[test]
    fn a_row_says_where_and_why_and_never_what() {
        let row = DeadLetter::of(Queue::Outbound, &message(BODY, Some("blocked by the user"))).to_string();
        assert_eq!(row, "2023-11-14T22:13:20.000Z outbound 9f telegram/main/42: blocked by the user");
    }

    #[test]
    fn a_body_that_cannot_be_read_is_a_row_all_the_same() {
        let row = DeadLetter::of(Queue::Inbound, &message("{\"v\":1 my secret words", None)).to_string();
        assert!(row.contains("unreadable: too many attempts"), "{row}");
        assert!(!row.contains("secret"), "{row}");
    }
}
