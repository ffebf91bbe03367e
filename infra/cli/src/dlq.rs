//! `hoopoe dlq`: the dead-letter queues, where a message stands that could not be handled.
//!
//! | module | what it does |
//! |---|---|
//! | [`letters`] | takes letters out of a queue's sight and puts them back |
//! | [`redrive`] | gives dead letters another chance |
//! | [`server_clock`] | tells the time as SQS has it |

mod letters;
mod redrive;
mod server_clock;
#[cfg(test)]
mod sqs_tests;
#[cfg(test)]
mod stand_in;

use std::fmt;

use anyhow::bail;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName as Attribute};
use clap::{Args, Subcommand, ValueEnum};
use hoopoe_message::{BotId, Channel, Conversation, MessageId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::progress::{self, Step};
use crate::stack::Stack;
use crate::{Global, output};
use letters::DeadLetters;

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

/// Lists dead letters, or gives them another chance.
#[derive(Args, Debug)]
pub(crate) struct Dlq {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// List dead letters with their reasons; never what a person wrote.
    ///
    /// The oldest of those that were found come first. Nobody else sees the letters for as long as it takes.
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
    /// The message as the functions' logs name it: by a digest of the platform's id.
    message: Option<String>,
    /// `None` when SQS moved it here after too many attempts, which leaves no reason.
    reason: Option<String>,
}

/// The part of both kinds of message that may be shown.
#[derive(Deserialize)]
struct Address {
    conversation: Conversation,
    id: Option<MessageId>,
}

impl Dlq {
    /// Runs the subcommand.
    ///
    /// # Errors
    ///
    /// When the stack or a queue cannot be read.
    pub(crate) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let stack = Stack::find(global).await?;
        match self.command {
            Command::List { queue, limit } => {
                let client = Client::new(stack.config());
                let mut found = Vec::new();
                for queue in Queue::chosen(queue) {
                    found.extend(list(&DeadLetters::of(&client, &stack, queue)?, queue, limit).await?);
                }
                print(&found, global.json, "no dead letters")
            }
            Command::Redrive { queue, unknown } => {
                let mut redriven = Vec::new();
                for queue in Queue::chosen(queue) {
                    redriven.push(redrive::run(&stack, queue, unknown).await?);
                    if redriven.last().is_some_and(|redriven| redriven.stopped) {
                        break;
                    }
                }
                print(&redriven, global.json, "")
            }
        }
    }
}

/// Looks at up to `limit` letters, and says how many more there are.
async fn list(letters: &DeadLetters<'_>, queue: Queue, limit: usize) -> anyhow::Result<Vec<DeadLetter>> {
    let count = letters.count().await?;
    let step = Step::start("Read", format_args!("reading {queue} dead letters"));
    let told = |found| step.doing(format_args!("reading {queue} dead letters: {found} of about {}", count.all));
    let mut found = letters.while_hidden(letters.collect(limit, count.visible, told)).await?.letters;
    drop(step);
    if letters.is_stopped() {
        bail!("stopped by Ctrl-C; every dead letter is back in its place");
    }
    found.sort_by_key(sent);
    if let Some(more) = more(queue, count.all, found.len(), limit) {
        progress::line("More", more);
    }
    Ok(found.iter().map(|message| DeadLetter::of(queue, message)).collect())
}

/// What to say of letters that are not listed; `None` if there are none.
fn more(queue: Queue, all: usize, listed: usize, limit: usize) -> Option<String> {
    let more = all.checked_sub(listed).filter(|more| *more > 0)?;
    Some(if listed >= limit {
        format!("about {more} more {queue} dead letters; `hoopoe dlq list {queue} --limit {all}` lists them too")
    } else {
        format!(
            "about {more} more {queue} dead letters: another command holds them, or SQS counts late; list again in a minute"
        )
    })
}

/// Deletes the dead letters of a bot.
///
/// # Errors
///
/// When a queue does not answer.
pub(crate) async fn forget(stack: &Stack, channel: Channel, bot: &BotId) -> anyhow::Result<()> {
    let client = Client::new(stack.config());
    let of_bot = |letter: &Message| {
        address(letter).is_some_and(|Address { conversation: Conversation { channel: c, bot: b, .. }, .. }| {
            c == channel && b == *bot
        })
    };
    for queue in Queue::chosen(None) {
        let letters = DeadLetters::of(&client, stack, queue)?;
        let delete = async |pass: Vec<Message>| {
            let ids = pass.into_iter().filter(of_bot).filter_map(|letter| letter.message_id);
            letters.delete(&ids.collect::<Vec<_>>()).await
        };
        letters.while_hidden(letters.in_passes(|_, _| (), delete)).await?;
    }
    Ok(())
}

impl DeadLetter {
    fn of(queue: Queue, message: &Message) -> Self {
        let reason = message.message_attributes().and_then(|all| all.get("reason")?.string_value());
        let address = address(message);
        Self {
            queue,
            id: message.message_id().unwrap_or("").to_owned(),
            sent: output::time(sent(message)),
            conversation: address.as_ref().map(|address| address.conversation.to_string()),
            message: address.and_then(|address| address.id).map(|id| id.to_string()),
            reason: reason.map(ToOwned::to_owned),
        }
    }
}

fn sent(message: &Message) -> Timestamp {
    let sent = message.attributes().and_then(|all| all.get(&Attribute::SentTimestamp));
    Timestamp::from_millis(sent.and_then(|millis| millis.parse().ok()).unwrap_or(0))
}

fn address(message: &Message) -> Option<Address> {
    serde_json::from_str(message.body()?).ok()
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
        write!(f, "{} {:<8} {} {conversation}", self.sent, self.queue, self.id)?;
        if let Some(message) = &self.message {
            write!(f, " message {message}")?;
        }
        write!(f, ": {reason}")
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
