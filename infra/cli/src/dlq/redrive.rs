//! Moving dead letters back to the queue they come from.
//!
//! A letter is queued before it is deleted, so one that is interrupted may be in both places: its next redrive, and the
//! functions, know what was handled. Before a reply is queued, its send record is told that it begins anew
//! ([`Sends::revive`]); after it was given up, the record would let nobody send it.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, anyhow};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName as Attribute};
use hoopoe_aws::cause;
use hoopoe_message::{Conversation, InboundMessage, Reply, Timestamp, wire};
use hoopoe_store::{Revival, Sends};
use serde::Serialize;

use super::{DeadLetters, Queue};
use crate::progress::Step;
use crate::stack::Stack;

/// What became of the letters of a queue.
#[derive(Debug, Serialize)]
pub(super) struct Redriven {
    queue: Queue,
    /// Queued again.
    moved: usize,
    /// Deleted, because the reply was sent meanwhile.
    sent_before: usize,
    /// Left, because the platform may have the reply.
    unknown: usize,
    /// Left, because a function is sending the reply at this moment.
    under_way: usize,
    /// Left, because they came back while this went on.
    came_back: usize,
}

/// What a letter holds.
enum Body {
    Message(InboundMessage),
    Reply(Reply),
    /// Neither. The function buries it again and says why.
    Unreadable,
}

/// Moves every letter that is there now back to the queue it comes from. Ctrl-C stops between two letters.
///
/// # Errors
///
/// When a queue or the table of send records does not answer; says what was done before that.
pub(super) async fn run(client: &Client, stack: &Stack, queue: Queue, unknown: bool) -> anyhow::Result<Redriven> {
    let step = Step::start("Redrive", format_args!("moving {queue} dead letters back"));
    // Nothing is begun here, so nothing waits for a gap.
    let sends = Sends::new(stack.config(), stack.output("SendsTableName")?.to_owned(), Duration::ZERO);
    let mut redrive = Redrive {
        letters: DeadLetters::of(client, stack, queue)?,
        sends,
        unknown,
        seen: HashSet::new(),
        left: Vec::new(),
        done: Redriven { queue, moved: 0, sent_before: 0, unknown: 0, under_way: 0, came_back: 0 },
    };
    let moved = redrive.all(&step).await;
    let put_back = redrive.letters.put_back(&redrive.left).await;
    let done = redrive.done;
    moved.and(put_back).with_context(|| format!("stopped before the end ({done})"))?;
    Ok(done)
}

struct Redrive<'a> {
    letters: DeadLetters<'a>,
    sends: Sends,
    unknown: bool,
    /// What was looked at: a letter that is left, or comes back, is not moved again.
    seen: HashSet<String>,
    /// Letters to put back in the end; until then they stay hidden, or they would come again and again.
    left: Vec<Message>,
    done: Redriven,
}

impl Redrive<'_> {
    async fn all(&mut self, step: &Step) -> anyhow::Result<()> {
        let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
        loop {
            let batch = tokio::select! {
                batch = self.letters.receive(10) => batch?,
                _ = &mut stop => return Ok(()),
            };
            let mut letters: Vec<(Body, Message)> =
                batch.into_iter().map(|message| (self.read(&message), message)).collect();
            // The replies of a conversation in their order, as far as they came together.
            letters.sort_by_cached_key(|(body, _)| body.place());
            let mut anything_new = false;
            for (body, message) in letters {
                if !self.seen.insert(body.identity(&message)) {
                    // One that is left comes again after a minute; another with the same content died anew.
                    let known = self.left.iter_mut().find(|left| left.message_id == message.message_id);
                    match known {
                        Some(left) => *left = message,
                        None => {
                            self.done.came_back += 1;
                            self.left.push(message);
                        }
                    }
                    continue;
                }
                anything_new = true;
                self.one(body, message).await?;
                step.doing(format_args!("moving {} dead letters back: {}", self.done.queue, self.done));
            }
            if !anything_new {
                return Ok(());
            }
        }
    }

    fn read(&self, message: &Message) -> Body {
        let body = message.body().unwrap_or_default();
        match self.done.queue {
            Queue::Inbound => wire::decode(body).map_or(Body::Unreadable, Body::Message),
            Queue::Outbound => wire::decode(body).map_or(Body::Unreadable, Body::Reply),
        }
    }

    async fn one(&mut self, body: Body, message: Message) -> anyhow::Result<()> {
        let now = Timestamp::now();
        let mut text = message.body().context("SQS gave a message without a body")?.to_owned();
        let group = group(&body, &message);
        if let Body::Reply(mut reply) = body {
            match self.sends.revive(&reply, self.unknown, now).await? {
                Revival::Ready => {}
                Revival::Sent => {
                    self.letters.delete(&message).await?;
                    self.done.sent_before += 1;
                    return Ok(());
                }
                Revival::InDoubt => {
                    self.done.unknown += 1;
                    self.left.push(message);
                    return Ok(());
                }
                Revival::UnderWay => {
                    self.done.under_way += 1;
                    self.left.push(message);
                    return Ok(());
                }
            }
            // How long it may wait for its bot's quota counts from now.
            reply.created_at = now;
            text = wire::encode(&reply);
        }
        self.letters
            .client
            .send_message()
            .queue_url(self.letters.source)
            .message_body(text)
            .set_message_group_id(group)
            .send()
            .await
            .map_err(|error| anyhow!("a message could not be queued again: {}", cause(&error)))?;
        self.done.moved += 1;
        self.letters.delete(&message).await
    }
}

impl Body {
    fn address(&self) -> Option<(&Conversation, u64, &str)> {
        match self {
            Self::Message(message) => Some((&message.conversation, message.number, message.id.as_str())),
            Self::Reply(reply) => Some((&reply.conversation, reply.number, reply.id.as_str())),
            Self::Unreadable => None,
        }
    }

    fn place(&self) -> Option<(Conversation, u64)> {
        self.address().map(|(conversation, number, _)| (conversation.clone(), number))
    }

    /// Of a message or reply, its id: it is the same once it has died anew. Of what cannot be read, the words.
    fn identity(&self, message: &Message) -> String {
        match self.address() {
            Some((conversation, _, id)) => format!("{conversation} {id}"),
            None => message.body().unwrap_or_default().to_owned(),
        }
    }
}

/// The message group it had, or would get: it only keeps one conversation from delaying the others.
fn group(body: &Body, message: &Message) -> Option<String> {
    let had = message.attributes().and_then(|all| all.get(&Attribute::MessageGroupId)).cloned();
    let of_conversation = || body.address().map(|(conversation, ..)| conversation.to_string());
    had.or_else(|| of_conversation().filter(|key| key.bytes().all(|byte| byte.is_ascii_graphic())))
}

impl fmt::Display for Redriven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queue, moved, sent_before, unknown, under_way, came_back } = self;
        write!(f, "{queue:<8} {moved} moved back")?;
        if *sent_before > 0 {
            write!(f, ", {sent_before} deleted: sent meanwhile")?;
        }
        if *unknown > 0 {
            let advice = "`hoopoe dlq redrive outbound --unknown` sends such replies too";
            write!(f, ", {unknown} left: the platform may have them ({advice})")?;
        }
        if *under_way > 0 {
            write!(f, ", {under_way} left: being sent just now")?;
        }
        if *came_back > 0 {
            write!(f, ", {came_back} left: they failed again; `hoopoe dlq list` says why")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hoopoe_message::{BotId, Channel, MessageId};

    fn reply(chat: &str, number: u64) -> Reply {
        Reply {
            id: MessageId::try_from(format!("m{number}")).expect("an id"),
            conversation: Conversation { channel: Channel::Telegram, bot: BotId::default(), chat: chat.into() },
            address: String::new(),
            number,
            after: None,
            complete: false,
            pending_until: None,
            received_at: Timestamp::from_secs(1),
            created_at: Timestamp::from_secs(1),
            text: "hello".into(),
            suggestions: vec![],
            decision: None,
        }
    }

    fn message(body: &str) -> Message {
        Message::builder().message_id("9f").body(body).build()
    }

    #[test]
    fn a_letter_keeps_its_group_or_gets_that_of_its_conversation() {
        let group = |chat: &str, message: &Message| group(&Body::Reply(reply(chat, 1)), message);
        assert_eq!(group("42", &message("")).as_deref(), Some("telegram/main/42"));
        assert_eq!(group("四二", &message("")), None);
        let mut grouped = message("");
        grouped.attributes.get_or_insert_default().insert(Attribute::MessageGroupId, "g".into());
        assert_eq!(group("42", &grouped).as_deref(), Some("g"));
    }

    /// Its redriven copy has another time in it, and perhaps another order of fields.
    #[test]
    fn a_letter_is_known_again_once_it_has_died_anew() {
        let (first, again) = (reply("42", 1), Reply { created_at: Timestamp::from_secs(9), ..reply("42", 1) });
        let identity = |reply: &Reply| Body::Reply(reply.clone()).identity(&message(&wire::encode(reply)));
        assert_eq!(identity(&first), identity(&again));
        assert_ne!(identity(&first), identity(&reply("42", 2)));
        assert_ne!(Body::Unreadable.identity(&message("a")), Body::Unreadable.identity(&message("b")));
    }

    #[test]
    fn what_stays_is_said_with_the_reason() {
        let done =
            Redriven { queue: Queue::Outbound, moved: 3, sent_before: 1, unknown: 2, under_way: 1, came_back: 1 };
        let said = done.to_string();
        for part in ["3 moved back", "1 deleted: sent meanwhile", "2 left: the platform may have them", "--unknown"] {
            assert!(said.contains(part), "{said}");
        }
        let nothing =
            Redriven { queue: Queue::Inbound, moved: 0, sent_before: 0, unknown: 0, under_way: 0, came_back: 0 };
        assert_eq!(nothing.to_string(), "inbound  0 moved back");
    }
}
