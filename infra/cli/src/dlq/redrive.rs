//! Moving dead letters back to the queue they come from.
//!
//! All letters are collected first, so that those of a conversation are queued again in the order of their numbers, and
//! what dies anew meanwhile is not taken for a letter that was there: [`DeadLetters::in_passes`]. Conversations are
//! worked on side by side.
//!
//! A letter is queued before it is deleted, so one that is interrupted may be in both places: its next redrive, and the
//! functions, know what was handled. Before a reply is queued, its send record is told that it begins anew
//! ([`Sends::revive`]); after it was given up, the record would let nobody send it.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::mem;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName as Attribute};
use futures_util::future::join_all;
use hoopoe_message::{Conversation, InboundMessage, Reply, wire};
use hoopoe_store::{Revival, Sends};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::letters::{BATCH, BATCH_BYTES, DeadLetters, Outgoing};
use super::server_clock::ServerClock;
use super::{Queue, sent};
use crate::progress::Step;
use crate::stack::Stack;

/// How many conversations are worked on at a time.
const LANES: usize = 16;
/// A run ends after so many failures: the next letters would fail too.
const MAX_FAILURES: usize = 10;

/// What became of the letters of a queue.
#[derive(Debug, Serialize)]
pub(super) struct Redriven {
    queue: Queue,
    /// Queued again.
    pub(super) moved: usize,
    /// Deleted, because the reply was sent meanwhile.
    sent_before: usize,
    /// Left, because the platform may have the reply.
    unknown: usize,
    /// Left, because a function is sending the reply at this moment.
    under_way: usize,
    /// Left, because this run has handled the same message or reply already: it failed again, or the queue held it twice.
    pub(super) seen_before: usize,
    /// About how many SQS counted and did not give, because another command holds them, or its count was old.
    pub(super) not_given: usize,
    /// Ctrl-C ended the run, so others may be left that nobody looked at.
    pub(super) stopped: bool,
}

impl Redriven {
    const fn new(queue: Queue) -> Self {
        let (moved, sent_before, unknown, under_way, seen_before, not_given) = (0, 0, 0, 0, 0, 0);
        Self { queue, moved, sent_before, unknown, under_way, seen_before, not_given, stopped: false }
    }
}

/// What a letter holds.
enum Body {
    Message(InboundMessage),
    Reply(Reply),
    /// Neither. The function buries it again and says why.
    Unreadable,
}

/// Moves every letter that is there now back to the queue it comes from. Ctrl-C stops between two batches of ten.
///
/// # Errors
///
/// When a queue or the table of send records does not answer, or does not take something; says what was done before that.
pub(super) async fn run(stack: &Stack, queue: Queue, unknown: bool) -> anyhow::Result<Redriven> {
    let (client, clock) = ServerClock::with_client(stack.config());
    let step = Step::start("Redrive", format_args!("collecting {queue} dead letters"));
    let letters = DeadLetters::of(&client, stack, queue)?;
    // Nothing is begun here, so nothing waits for a gap.
    let sends = Sends::new(stack.config(), stack.output("SendsTableName")?.to_owned(), Duration::ZERO);
    Redrive::new(&letters, queue, sends, clock, unknown, &step).run().await
}

pub(super) struct Redrive<'a> {
    letters: &'a DeadLetters<'a>,
    queue: Queue,
    sends: Sends,
    clock: ServerClock,
    unknown: bool,
    /// Digests of what was looked at: what comes back has failed anew, and is not moved again.
    seen: HashSet<[u8; 32]>,
    so_far: RefCell<SoFar>,
    step: &'a Step,
}

/// What the lanes have done up to now.
struct SoFar {
    done: Redriven,
    failures: usize,
    first_failure: Option<anyhow::Error>,
}

impl<'a> Redrive<'a> {
    pub(super) fn new(
        letters: &'a DeadLetters<'a>,
        queue: Queue,
        sends: Sends,
        clock: ServerClock,
        unknown: bool,
        step: &'a Step,
    ) -> Self {
        let so_far = RefCell::new(SoFar { done: Redriven::new(queue), failures: 0, first_failure: None });
        Self { letters, queue, sends, clock, unknown, seen: HashSet::new(), so_far, step }
    }

    /// Moves what is there.
    ///
    /// # Errors
    ///
    /// As [`run`].
    pub(super) async fn run(mut self) -> anyhow::Result<Redriven> {
        let letters = self.letters;
        let ended = letters.while_hidden(self.all()).await;
        let SoFar { mut done, failures, first_failure } = self.so_far.into_inner();
        done.stopped = letters.is_stopped();
        if let Some(error) = first_failure {
            return Err(error.context(format!("{failures} failures, whose letters are left ({done})")));
        }
        let missed = ended.with_context(|| format!("stopped before the end ({done})"))?;
        done.not_given = if done.stopped { 0 } else { missed };
        Ok(done)
    }

    /// Says about how many letters did not come.
    async fn all(&mut self) -> anyhow::Result<usize> {
        let (letters, queue, step) = (self.letters, self.queue, self.step);
        let told = |found, all| step.doing(format_args!("collecting {queue} dead letters: {found} of about {all}"));
        letters.in_passes(told, async |pass| self.pass(pass).await).await
    }

    /// Moves the letters of a pass, each conversation's in order.
    async fn pass(&mut self, pass: Vec<Message>) -> anyhow::Result<()> {
        let lanes = self.lanes(pass);
        let this = &*self;
        join_all(lanes.into_iter().map(|lane| this.lane(lane))).await.into_iter().collect::<anyhow::Result<()>>()?;
        ensure!(self.so_far.get_mut().failures < MAX_FAILURES, "too many failures");
        Ok(())
    }

    /// The letters that this run has not seen, dealt out by conversation.
    fn lanes(&mut self, pass: Vec<Message>) -> Vec<Vec<(Body, Message)>> {
        let mut letters: Vec<(Body, Message)> =
            pass.into_iter().map(|message| (self.read(&message), message)).collect();
        letters.sort_by_cached_key(|(body, message)| (body.place(), sent(message)));
        let mut lanes: Vec<Vec<(Body, Message)>> = (0..LANES).map(|_| Vec::new()).collect();
        let mut conversations = 0;
        for (body, message) in letters {
            if !self.seen.insert(body.identity(&message)) {
                self.so_far.get_mut().done.seen_before += 1;
                continue;
            }
            let same = |(before, _): &(Body, Message)| before.conversation() == body.conversation();
            if !lanes[conversations % LANES].last().is_some_and(same) {
                conversations += 1;
            }
            lanes[conversations % LANES].push((body, message));
        }
        lanes
    }

    fn read(&self, message: &Message) -> Body {
        let body = message.body().unwrap_or_default();
        match self.queue {
            Queue::Inbound => wire::decode(body).map_or(Body::Unreadable, Body::Message),
            Queue::Outbound => wire::decode(body).map_or(Body::Unreadable, Body::Reply),
        }
    }

    /// Moves letters one after the other. After a failure the rest of its conversation stays, and the others go on.
    async fn lane(&self, letters: Vec<(Body, Message)>) -> anyhow::Result<()> {
        let (mut batch, mut gone) = (Vec::new(), Vec::new());
        let mut broken: Option<Conversation> = None;
        for (body, message) in letters {
            if self.letters.is_stopped() || self.so_far.borrow().failures >= MAX_FAILURES {
                break;
            }
            let conversation = body.conversation().cloned();
            if conversation.is_some() && conversation == broken {
                continue;
            }
            let id = message.message_id().unwrap_or_default().to_owned();
            match self.prepare(body, message).await {
                Ok(Fate::Moves(outgoing)) => {
                    let bytes: usize = batch.iter().map(|before: &Outgoing| before.body.len()).sum();
                    if batch.len() == BATCH || bytes + outgoing.body.len() > BATCH_BYTES {
                        self.queue_again(mem::take(&mut batch)).await?;
                    }
                    batch.push(outgoing);
                }
                Ok(Fate::Goes) => gone.push(id),
                Ok(Fate::Stays) => {}
                Err(error) => {
                    self.failed(error);
                    broken = conversation;
                }
            }
            if gone.len() == BATCH {
                self.delete_sent(mem::take(&mut gone)).await?;
            }
        }
        self.queue_again(batch).await?;
        self.delete_sent(gone).await
    }

    /// What is to become of a letter. A reply that moves is revived.
    async fn prepare(&self, body: Body, message: Message) -> anyhow::Result<Fate> {
        let group = group(&body, &message);
        let letter = message.message_id.context("SQS gave a message without an id")?;
        let mut text = message.body.context("SQS gave a message without a body")?;
        if let Body::Reply(mut reply) = body {
            let now = self.clock.now();
            let revival = self.sends.revive(&reply, self.unknown, now).await?;
            let done = &mut self.so_far.borrow_mut().done;
            match revival {
                Revival::Ready => {}
                Revival::Sent => return Ok(Fate::Goes),
                Revival::InDoubt => {
                    done.unknown += 1;
                    return Ok(Fate::Stays);
                }
                Revival::UnderWay => {
                    done.under_way += 1;
                    return Ok(Fate::Stays);
                }
            }
            // How long it may wait for its bot's quota counts from now.
            reply.created_at = now;
            text = wire::encode(&reply);
        }
        Ok(Fate::Moves(Outgoing { letter, body: text, group }))
    }

    async fn queue_again(&self, batch: Vec<Outgoing>) -> anyhow::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let refused = self.letters.queue_again(&batch).await?;
        let queued = batch.into_iter().enumerate().filter(|(index, _)| !refused.contains_key(index));
        let queued: Vec<String> = queued.map(|(_, message)| message.letter).collect();
        self.so_far.borrow_mut().done.moved += queued.len();
        for reason in refused.into_values() {
            self.failed(anyhow!("a message could not be queued again: {reason}"));
        }
        self.letters.delete(&queued).await?;
        self.tell();
        Ok(())
    }

    async fn delete_sent(&self, letters: Vec<String>) -> anyhow::Result<()> {
        self.letters.delete(&letters).await?;
        self.so_far.borrow_mut().done.sent_before += letters.len();
        self.tell();
        Ok(())
    }

    fn failed(&self, error: anyhow::Error) {
        let mut so_far = self.so_far.borrow_mut();
        so_far.failures += 1;
        so_far.first_failure.get_or_insert(error);
    }

    fn tell(&self) {
        self.step.doing(format_args!("moving {} dead letters back: {}", self.queue, self.so_far.borrow().done));
    }
}

/// What is to become of a letter.
enum Fate {
    Moves(Outgoing),
    /// It is deleted.
    Goes,
    Stays,
}

impl Body {
    fn address(&self) -> Option<(&Conversation, u64, &str)> {
        match self {
            Self::Message(message) => Some((&message.conversation, message.number, message.id.as_str())),
            Self::Reply(reply) => Some((&reply.conversation, reply.number, reply.id.as_str())),
            Self::Unreadable => None,
        }
    }

    fn conversation(&self) -> Option<&Conversation> {
        self.address().map(|(conversation, ..)| conversation)
    }

    fn place(&self) -> Option<(Conversation, u64)> {
        self.address().map(|(conversation, number, _)| (conversation.clone(), number))
    }

    /// A digest: of a message or reply, of its id, which is the same once it has died anew; of what cannot be read, of the
    /// words.
    fn identity(&self, message: &Message) -> [u8; 32] {
        let identity = match self.address() {
            Some((conversation, _, id)) => format!("{conversation} {id}"),
            None => message.body().unwrap_or_default().to_owned(),
        };
        Sha256::digest(identity).into()
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
        let Self { queue, moved, sent_before, unknown, under_way, seen_before, not_given, stopped } = self;
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
        if *seen_before > 0 {
            let cause = "they failed again, or are copies of letters handled just now";
            write!(f, ", {seen_before} left: {cause}; `hoopoe dlq list` shows them")?;
        }
        if *not_given > 0 {
            write!(
                f,
                ", about {not_given} left: another command holds them, or SQS counts late; try again in a minute"
            )?;
        }
        if *stopped {
            f.write_str("; stopped by Ctrl-C, so others may be left")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hoopoe_message::{BotId, Channel, MessageId, Timestamp};

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
        let counts = Redriven { moved: 3, sent_before: 1, unknown: 2, ..Redriven::new(Queue::Outbound) };
        let said = Redriven { under_way: 1, seen_before: 4, not_given: 5, stopped: true, ..counts }.to_string();
        for part in [
            "3 moved back",
            "1 deleted: sent meanwhile",
            "2 left: the platform may have them",
            "--unknown",
            "1 left: being sent just now",
            "4 left: they failed again, or are copies",
            "about 5 left: another command holds them",
            "stopped by Ctrl-C",
        ] {
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(Redriven::new(Queue::Inbound).to_string(), "inbound  0 moved back");
    }
}
