//! What happens in a history of the real functions: people write on a platform, some of them leave, and in the end an
//! operator gives the dead letters another chance.

use std::rc::Rc;
use std::time::Duration;

use hoopoe_channels::feishu::Feishu;
use hoopoe_channels::line::Line;
use hoopoe_channels::telegram::Telegram;
use hoopoe_channels::wecom::Wecom;
use hoopoe_message::{InboundMessage, Reply, wire};
use hoopoe_queue::QueueSender;
use hoopoe_store::{Revival, Sends};

use crate::environment::Environment;
use crate::history::World;
use crate::hoopoe::{Functions, Manner};
use crate::ledger::{Tag, tags_in};
use crate::platform::Platform;
use crate::sqs::Message;
use crate::upgrade;
use crate::weather::PLENTY;

/// Conversations of a history, and messages of each at most.
const CONVERSATIONS: u32 = 3;
const MESSAGES: usize = 6;
/// How long people take between two messages at most, and those who test a quota.
const PAUSE: Duration = Duration::from_secs(10);
const BURST: Duration = Duration::from_millis(300);
/// Somebody leaves within this time, or after his session has ended.
const SOON: Duration = Duration::from_secs(10);
const LATE: Duration = Duration::from_secs(3 * 3600);

/// Connects a bot of a platform, and lets people write.
pub fn play(world: &Rc<World>) {
    let functions = Functions::of(world, platform(world));
    let dice = &world.cloud.dice;
    let crowded = dice.weather().quota < PLENTY;
    for conversation in 1..=CONVERSATIONS {
        let most = if crowded { MESSAGES } else { 1 + dice.below(MESSAGES) };
        let messages = u32::try_from(most).expect("a few");
        let mut at = Duration::ZERO;
        let old = if conversation == 1 && dice.chance(0.1) { upgrade::MESSAGES } else { 0 };
        if old > 0 {
            upgrade::conversation(world, functions.platform(), conversation);
            // The platform has not heard that it was taken in.
            let again = u32::try_from(dice.below(old as usize)).expect("a few") + 1;
            write(world, &functions, dice.up_to(PAUSE), Tag::message(conversation, again), 1);
        }
        let messages = old + messages;
        for message in old + 1..=messages {
            at += dice.up_to(if crowded { BURST } else { PAUSE });
            let parts = if dice.chance(0.2) { 2 } else { 1 };
            write(world, &functions, at, Tag::message(conversation, message), parts);
        }
        if dice.chance(0.3) {
            at += dice.up_to(if dice.chance(0.5) { SOON } else { LATE });
            leave(world, &functions, at, Tag::message(conversation, messages + 1));
            if dice.chance(0.5) {
                at += dice.up_to(if dice.chance(0.5) { SOON } else { LATE });
                write(world, &functions, at, Tag::message(conversation, messages + 2), 1);
            }
        }
    }
    let operator = Rc::clone(world);
    world.afterwards(async move { redrive(&operator).await });
}

/// Half of the histories are on Telegram. Feishu and LINE's pushes may be repeated; WeCom's and Feishu's tokens expire.
fn platform(world: &World) -> Platform {
    match world.cloud.dice.below(6) {
        0 => Platform::of::<Feishu>(),
        1 => Platform::of::<Wecom>(),
        2 => Platform::of::<Line>(),
        _ => Platform::of::<Telegram>(),
    }
}

/// One reply in four takes its time, and half of these let others join.
fn write(world: &Rc<World>, functions: &Functions, at: Duration, tag: Tag, parts: u32) {
    let manner = match world.cloud.dice.below(8) {
        0 => Manner::Later,
        1 => Manner::Gathering,
        2..5 => Manner::Joining,
        _ => Manner::AtOnce,
    };
    if manner == Manner::Joining {
        world.cloud.ledger.may_join(tag);
    }
    let (of, functions) = (Rc::clone(world), functions.clone());
    world.at(at, async move { functions.write(&of, tag, parts, manner).await });
}

fn leave(world: &Rc<World>, functions: &Functions, at: Duration, tag: Tag) {
    let (of, functions) = (Rc::clone(world), functions.clone());
    world.at(at, async move { functions.leave(&of, tag).await });
}

/// Gives dead letters another chance, as `hoopoe dlq redrive` does: those of a conversation in the order of their numbers,
/// each queued before it is deleted. Half of the operators also send what the platform may have. Now and then one is
/// interrupted, and begins again.
async fn redrive(world: &Rc<World>) {
    let cloud = &world.cloud;
    let unknown = cloud.dice.chance(0.5);
    let skew = i64::try_from(cloud.dice.up_to(cloud.dice.weather().skew).as_millis()).unwrap_or_default();
    let operator = Environment::new(cloud, "operator".to_owned(), skew);
    for _ in 0..3 {
        let mut interrupted = false;
        for (dead, queue) in [("inbound-dlq", "inbound"), ("outbound-dlq", "outbound")] {
            let sender = QueueSender::new(
                &operator.config(),
                format!("https://sqs.us-east-1.amazonaws.com/000000000000/{queue}"),
            );
            let mut letters = cloud.sqs.messages(dead);
            letters.sort_by_key(number);
            for letter in letters {
                if !again(&operator, &sender, &letter, unknown).await {
                    continue;
                }
                if cloud.dice.fault(cloud.dice.weather().killed) {
                    cloud.trace.note("operator", || "FAULT is interrupted before a letter is deleted".to_owned());
                    interrupted = true;
                    break;
                }
                cloud.sqs.remove(dead, &letter.id);
            }
        }
        if !interrupted {
            return;
        }
    }
}

/// Whether a letter is to be deleted: it is queued again, or was sent meanwhile.
async fn again(operator: &Environment, sender: &QueueSender, letter: &Message, unknown: bool) -> bool {
    let cloud = operator.cloud();
    let tags = tags_in(&letter.body);
    cloud.trace.note("operator", || format!("looks at the letter of {}", crate::cloud::short(&letter.body)));
    cloud.ledger.hold(&tags, LATE, "it stood in a dead-letter queue");
    let now = operator.clock().now();
    if let Ok(mut reply) = wire::decode::<Reply>(&letter.body) {
        let sends = Sends::new(&operator.config(), "sends".to_owned(), Duration::ZERO);
        return match sends.revive(&reply, unknown, now).await {
            Ok(Revival::Sent) => true,
            Ok(Revival::Ready) => {
                if unknown {
                    cloud.ledger.permit(&tags);
                }
                reply.created_at = now;
                sender.send(&reply.conversation, &reply).await.is_ok()
            }
            Ok(Revival::InDoubt | Revival::UnderWay) | Err(_) => false,
        };
    }
    match wire::decode::<InboundMessage>(&letter.body) {
        Ok(message) => sender.send(&message.conversation, &message).await.is_ok(),
        Err(_) => false,
    }
}

fn number(letter: &Message) -> u64 {
    let reply = wire::decode::<Reply>(&letter.body).map(|reply| reply.number);
    reply.or_else(|_| wire::decode::<InboundMessage>(&letter.body).map(|message| message.number)).unwrap_or(0)
}
