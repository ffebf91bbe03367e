//! The real engines in the world: what a webhook does behind its signature, `shared/dialogue` with answers that echo, and
//! `shared/delivery` with a platform of the world.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use hoopoe_aws::Environment as Variables;
use hoopoe_channels::telegram::Telegram;
use hoopoe_channels::{Incoming, Platform as _};
use hoopoe_delivery::Delivery;
use hoopoe_delivery::http::{ANSWER, Answer, Broken, Http};
use hoopoe_dialogue::{Author, Dialogue, Pending, PendingTurn, Responder, Response};
use hoopoe_message::{BotId, Content, InboundMessage, MessageId, Timestamp};
use hoopoe_queue::{Consumer, QueueSender};
use hoopoe_store::{Session, Turns, turns};
use hoopoe_webhook::Intake;
use http::Request;
use serde_json::json;

use crate::environment::Environment;
use crate::function::{Handler, Invocation};
use crate::history::World;
use crate::kms;
use crate::ledger::{Tag, tags_in};
use crate::platform::{self, Platform};

/// The bot's name.
const BOT: &str = "main";
/// Calls a second that the bot may make: more than it needs.
const QUOTA: u32 = 1000;
/// A part of a reply is so long that a message of the platform has room for no more.
const LONG: usize = 4090;

/// How many functions that send run at the same time.
const DELIVER_CONCURRENCY: u32 = 3;

/// The variables that `template.yaml` sets, which the functions read from the process.
#[must_use]
pub fn variables(endpoint: &str, deliver_concurrency: u32) -> Vec<(&'static str, String)> {
    let queue = |name: &str| format!("{endpoint}/000000000000/{name}");
    vec![
        ("CLAIMS_TABLE", "claims".to_owned()),
        ("SESSIONS_TABLE", "sessions".to_owned()),
        ("SENDS_TABLE", "sends".to_owned()),
        ("TRANSCRIPTS_TABLE", "transcripts".to_owned()),
        ("TOKENS_TABLE", "tokens".to_owned()),
        ("KEYS_TABLE", "keys".to_owned()),
        ("USAGE_TABLE", "usage".to_owned()),
        ("KMS_KEY", "alias/hoopoe".to_owned()),
        ("KEY_CACHE_SECONDS", "300".to_owned()),
        ("SESSION_TTL_SECONDS", "1800".to_owned()),
        ("ORDER_GAP_MILLISECONDS", "2000".to_owned()),
        ("DELIVER_CONCURRENCY", deliver_concurrency.to_string()),
        ("INBOUND_QUEUE_URL", queue("inbound")),
        ("INBOUND_DLQ_URL", queue("inbound-dlq")),
        ("OUTBOUND_QUEUE_URL", queue("outbound")),
        ("OUTBOUND_DLQ_URL", queue("outbound-dlq")),
    ]
}

/// Those of the functions in this world, one of which answers later.
#[must_use]
pub fn own_variables() -> Vec<(&'static str, String)> {
    let endpoint = "https://sqs.us-east-1.amazonaws.com";
    let mut variables = variables(endpoint, DELIVER_CONCURRENCY);
    variables.push(("PENDING_QUEUE_URL", format!("{endpoint}/000000000000/pending")));
    variables
}

/// Connects a bot, sets the functions up, and lets people write.
pub fn scenario(world: &Rc<World>) {
    let platform = Platform::of::<Telegram>();
    connect(world, &platform);
    let webhook = world.function("webhook", Duration::from_secs(10), 100, Rc::new(webhook));
    let inference = world.function("inference", Duration::from_secs(30), 3, Rc::new(inference));
    let start = move |environment: &Environment| deliver(environment, platform.clone());
    let deliver = world.function("deliver", Duration::from_secs(30), DELIVER_CONCURRENCY as usize, Rc::new(start));
    let generate = world.function("generate", Duration::from_secs(90), 3, Rc::new(generate));
    world.map("inbound", &inference);
    world.map("pending", &generate);
    world.map("outbound", &deliver);
    let dice = &world.cloud.dice;
    for conversation in 1..=3 {
        let mut at = Duration::ZERO;
        for message in 1..=u32::try_from(1 + dice.below(6)).expect("a few") {
            at += dice.up_to(Duration::from_secs(10));
            let parts = if dice.chance(0.2) { 2 } else { 1 };
            let (of, webhook, tag) = (Rc::clone(world), Rc::clone(&webhook), Tag::message(conversation, message));
            // The reply has as many parts as the message asks for, and one in four takes its time.
            let later = if dice.chance(0.25) { " later" } else { "" };
            let event = format!("{tag} {parts}{later}");
            world.at(at, async move { of.deliver(&webhook, tag, parts, event).await });
        }
    }
}

/// Stores the keys and the quota of the bot, as `hoopoe channel add` does.
fn connect(world: &World, platform: &Platform) {
    let channel = platform.channel();
    let secret = platform.settings().to_string();
    for purpose in ["webhook", "send"] {
        let context = json!({"channel": channel.as_str(), "bot": BOT, "name": purpose});
        let key = format!("{channel}/{BOT}/{purpose}");
        let ciphertext = kms::encrypt(&context, secret.as_bytes());
        let version = json!({
            "key": {"S": key}, "version": {"N": "1"}, "state": {"S": "current"}, "created_at": {"N": "1760000000"},
            "since": {"N": "1760000000"}, "watched": {"BOOL": false}, "noticed": {"N": "0"}, "ciphertext": {"B": ciphertext},
        });
        world.cloud.dynamodb.seed("keys", version);
        let quota = json!({"key": {"S": key}, "version": {"N": "0"}, "per_second": {"N": QUOTA.to_string()}});
        world.cloud.dynamodb.seed("keys", quota);
    }
}

/// What a webhook does with a message that is verified: it claims and queues it.
fn webhook(environment: &Environment) -> Handler {
    let queue = "https://sqs.us-east-1.amazonaws.com/0/inbound";
    let intake = Intake::of(Telegram::CHANNEL, &environment.config(), "claims".to_owned(), queue.to_owned());
    let intake = Rc::new(intake);
    Rc::new(move |Invocation { event, .. }| {
        let intake = Rc::clone(&intake);
        Box::pin(async move {
            let tag = *tags_in(&event).first().ok_or("no tag")?;
            let person = Platform::person(tag.conversation);
            let incoming = Incoming {
                id: MessageId::try_from(tag.to_string()).map_err(|error| error.to_string())?,
                chat: person.to_string(),
                address: json!({ "chat": person }).to_string(),
                sent_at: None,
                language: None,
                content: Content::text(&event),
            };
            intake.accept(&bot(), incoming).await.map_err(|error| error.to_string())?;
            Ok("200".to_owned())
        })
    })
}

fn bot() -> BotId {
    BOT.parse().expect("a name")
}

fn inference(environment: &Environment) -> Handler {
    let dialogue = Dialogue::new(Variables, &environment.config(), Echo).expect("the variables are set");
    let dialogue = Rc::new(dialogue);
    Rc::new(move |Invocation { event, .. }| {
        let dialogue = Rc::clone(&dialogue);
        Box::pin(async move {
            let batch = serde_json::from_str(&event).map_err(|error| error.to_string())?;
            serde_json::to_string(&dialogue.handle(batch).await).map_err(|error| error.to_string())
        })
    })
}

fn deliver(environment: &Environment, platform: Platform) -> Handler {
    let http = Exchange { environment: environment.clone(), platform };
    let delivery = Delivery::new(Variables, &environment.config(), http).expect("the variables are set");
    let delivery = Rc::new(delivery);
    Rc::new(move |Invocation { event, deadline }| {
        let delivery = Rc::clone(&delivery);
        Box::pin(async move {
            let batch = serde_json::from_str(&event).map_err(|error| error.to_string())?;
            serde_json::to_string(&delivery.handle(batch, deadline).await).map_err(|error| error.to_string())
        })
    })
}

fn generate(environment: &Environment) -> Handler {
    let config = environment.config();
    let queue = |name: &str| format!("https://sqs.us-east-1.amazonaws.com/0/{name}");
    let pending = Pending::new(
        &config,
        Consumer::new(&config, queue("pending"), queue("pending-dlq")),
        QueueSender::new(&config, queue("outbound")),
        Turns::new(&config, "sessions".to_owned()),
        Slow(environment.clone()),
    );
    let pending = Rc::new(pending);
    Rc::new(move |Invocation { event, deadline }| {
        let pending = Rc::clone(&pending);
        Box::pin(async move {
            let batch = serde_json::from_str(&event).map_err(|error| error.to_string())?;
            serde_json::to_string(&pending.handle(batch, deadline).await).map_err(|error| error.to_string())
        })
    })
}

/// Writes answers in 0.2 to 60 s, and now and then none.
struct Slow(Environment);

impl Author for Slow {
    type Error = NoAnswer;

    async fn write(&self, turn: &PendingTurn) -> Result<turns::Answer, NoAnswer> {
        let dice = &self.0.cloud().dice;
        let longest = Duration::from_secs(if dice.chance(0.2) { 60 } else { 3 });
        let (takes, fails) = (Duration::from_millis(200) + dice.up_to(longest), dice.chance(0.1));
        tokio::time::sleep(takes).await;
        match said(&turn.message) {
            Some(text) if !fails => Ok(turns::Answer { text, suggestions: Vec::new(), decision: None }),
            _ => Err(NoAnswer),
        }
    }
}

/// The author has no answer.
#[derive(Debug)]
struct NoAnswer;

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no answer")
    }
}

impl std::error::Error for NoAnswer {}

/// How long an answer that is written later is waited for.
const LATER: Duration = Duration::from_secs(40);

/// What is said to a message; `None` where it asks for nothing.
fn said(message: &InboundMessage) -> Option<String> {
    let Content::Text(text) = &message.content else { return None };
    let tag = tags_in(text).first().copied()?;
    let parts: u32 = text.split(' ').nth(1)?.parse().unwrap_or(1);
    let part = |part: u32| {
        let mut text = tag.reply(part).to_string();
        if part < parts {
            text.extend(std::iter::repeat_n(" and so on", (LONG - text.len()) / 10));
        }
        text
    };
    Some((1..=parts).map(part).collect::<Vec<_>>().join("\n\n"))
}

/// Says again what it was told, in as many parts as it is asked for, at once or later.
struct Echo;

impl Responder for Echo {
    type Read = ();
    type Error = Infallible;

    fn read(&self, _: &[&InboundMessage]) {}

    fn respond(
        &self,
        (): &(),
        _: usize,
        message: &InboundMessage,
        _: &mut Session,
        now: Timestamp,
    ) -> Result<Response, Infallible> {
        let Some(text) = said(message) else { return Ok(Response::Nothing) };
        let later = matches!(&message.content, Content::Text(asked) if asked.ends_with(" later"));
        Ok(match later {
            // What stands in says as much as the answer would.
            true => Response::Later { deadline: now.plus(LATER), instead: text },
            false => Response::Say(turns::Answer { text, suggestions: Vec::new(), decision: None }),
        })
    }
}

/// The function's way to the platform.
#[derive(Clone)]
struct Exchange {
    environment: Environment,
    platform: Platform,
}

impl Http for Exchange {
    async fn exchange(&self, request: Request<String>) -> Result<Answer, Broken> {
        if !request.uri().host().is_some_and(|host| self.platform.is_at(host)) {
            self.environment.cloud().refuse(format!("a request to {:?}", request.uri().host()));
            return Err(Broken::NoConnection);
        }
        let request = request.map(String::into_bytes);
        match self.platform.exchange(&self.environment, request, ANSWER).await {
            Ok(answer) => {
                let (parts, body) = answer.into_parts();
                Ok(Answer { status: parts.status, headers: parts.headers, body })
            }
            Err(platform::Broken::Unreached) => Err(Broken::NoConnection),
            Err(platform::Broken::Reset) => Err(Broken::Broke),
            Err(platform::Broken::TimedOut) => Err(Broken::NoAnswer),
        }
    }
}
