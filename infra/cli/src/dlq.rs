//! `hoopoe dlq`: the dead-letter queues, where a message stands that could not be handled.

use std::fmt;

use anyhow::{Context, anyhow};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::primitives::{DateTime, DateTimeFormat};
use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, Message, MessageSystemAttributeName as Attribute};
use clap::{Args, Subcommand, ValueEnum};
use hoopoe_aws::cause;
use hoopoe_message::{Conversation, Timestamp};
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
  hoopoe dlq redrive --stack hoopoe
";

/// Seconds a message that was received here stays hidden from others, should this command be ended before it puts the
/// message back.
const HIDDEN: i32 = 30;

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
    /// Move dead letters back to the queue they come from. A message that was handled before is not handled again.
    #[command(after_help = REDRIVE_EXAMPLES)]
    Redrive {
        /// One of the two; both by default.
        queue: Option<Queue>,
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

#[derive(Debug, Serialize)]
struct Redriven {
    queue: Queue,
    moved: usize,
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
            Command::Redrive { queue } => {
                let mut redriven = Vec::new();
                for queue in Queue::chosen(queue) {
                    let moved = DeadLetters::of(&client, &stack, queue)?.redrive().await?;
                    redriven.push(Redriven { queue, moved });
                }
                print(&redriven, global.json, "")
            }
        }
    }
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

    /// Moves every message that is there now back to the source, each sent before it is deleted. Ctrl-C stops between
    /// messages.
    async fn redrive(&self) -> anyhow::Result<usize> {
        let begun = Timestamp::now().as_millis();
        let mut moved = 0;
        let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
        loop {
            let batch = tokio::select! {
                batch = self.receive(10) => batch?,
                _ = &mut stop => return Ok(moved),
            };
            // One that came back while this went on has had its chance.
            let (again, old): (Vec<_>, Vec<_>) = batch.into_iter().partition(|message| sent(message) > begun);
            self.put_back(&again).await?;
            if old.is_empty() {
                return Ok(moved);
            }
            for message in old {
                self.give_another_chance(&message).await?;
                moved += 1;
            }
        }
    }

    async fn give_another_chance(&self, message: &Message) -> anyhow::Result<()> {
        let body = message.body().context("SQS gave a message without a body")?;
        let handle = message.receipt_handle().context("SQS gave a message without a receipt handle")?;
        self.client
            .send_message()
            .queue_url(self.source)
            .message_body(body)
            .set_message_group_id(group(message))
            .send()
            .await
            .map_err(|error| anyhow!("a message could not be queued again: {}", cause(&error)))?;
        self.client
            .delete_message()
            .queue_url(self.url)
            .receipt_handle(handle)
            .send()
            .await
            .map_err(|error| anyhow!("a message that was queued again is still a dead letter: {}", cause(&error)))?;
        Ok(())
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
            sent: DateTime::from_millis(i64::try_from(sent(message)).unwrap_or(0))
                .fmt(DateTimeFormat::DateTime)
                .unwrap_or_default(),
            conversation: conversation(message),
            reason: reason.map(ToOwned::to_owned),
        }
    }
}

/// Milliseconds since the epoch.
fn sent(message: &Message) -> u64 {
    let sent = message.attributes().and_then(|all| all.get(&Attribute::SentTimestamp));
    sent.and_then(|millis| millis.parse().ok()).unwrap_or(0)
}

fn conversation(message: &Message) -> Option<String> {
    let address: Address = serde_json::from_str(message.body()?).ok()?;
    Some(address.conversation.to_string())
}

/// The message group it had, or would get: it only keeps one conversation from delaying the others.
fn group(message: &Message) -> Option<String> {
    let had = message.attributes().and_then(|all| all.get(&Attribute::MessageGroupId)).cloned();
    had.or_else(|| conversation(message).filter(|key| key.bytes().all(|byte| byte.is_ascii_graphic())))
}

fn print<T: Serialize + fmt::Display>(rows: &[T], json: bool, nothing: &str) -> anyhow::Result<()> {
    if json {
        output::json(rows)
    } else if rows.is_empty() {
        output::line(nothing)
    } else {
        rows.iter().try_for_each(output::line)
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

impl fmt::Display for Redriven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<8} {} moved back", self.queue, self.moved)
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
        assert_eq!(row, "2023-11-14T22:13:20Z outbound 9f telegram/main/42: blocked by the user");
    }

    #[test]
    fn a_body_that_cannot_be_read_is_a_row_all_the_same() {
        let row = DeadLetter::of(Queue::Inbound, &message("{\"v\":1 my secret words", None)).to_string();
        assert!(row.contains("unreadable: too many attempts"), "{row}");
        assert!(!row.contains("secret"), "{row}");
    }

    #[test]
    fn a_message_keeps_its_group_or_gets_that_of_its_conversation() {
        assert_eq!(group(&message(BODY, None)).as_deref(), Some("telegram/main/42"));
        assert_eq!(group(&message(&BODY.replace("42", "四二"), None)), None);
        let mut grouped = message(BODY, None);
        grouped.attributes.get_or_insert_default().insert(Attribute::MessageGroupId, "g".into());
        assert_eq!(group(&grouped).as_deref(), Some("g"));
    }
}
