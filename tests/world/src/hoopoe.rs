//! The real engines in the world: what a webhook does with a request, `shared/dialogue` with answers that echo, and
//! `shared/delivery` with a platform of the world.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use hoopoe_aws::Environment as Variables;
use hoopoe_delivery::Delivery;
use hoopoe_delivery::http::{ANSWER, Answer, Broken, Http};
use hoopoe_dialogue::{Author, Dialogue, Pending, PendingTurn, Responder, Response};
use hoopoe_message::{BotId, ChannelEvent, Content, InboundMessage, MessageId, Timestamp};
use hoopoe_queue::{Consumer, QueueSender};
use hoopoe_store::{Session, Turns, turns};
use hoopoe_webhook::Intake;
use http::Request;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::cloud::Cloud;
use crate::environment::Environment;
use crate::function::{Function, Handler, Invocation, Start};
use crate::history::World;
use crate::kms;
use crate::ledger::{Tag, tags_in};
use crate::platform::{self, Platform};

/// The bot's name.
const BOT: &str = "main";
/// What is written in the place of a text by who leaves.
const LEFT: &str = "left";

/// How many functions that send run at the same time.
pub const DELIVER_CONCURRENCY: u32 = 3;

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

/// How a message is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// At once.
    AtOnce,
    /// Later.
    Later,
    /// Later, and those that come within a moment may be answered together with it.
    Gathering,
    /// Together with an earlier one if there is one, or else at once.
    Joining,
}

impl Manner {
    const fn word(self) -> &'static str {
        match self {
            Self::AtOnce => "at-once",
            Self::Later => "later",
            Self::Gathering => "gathering",
            Self::Joining => "joining",
        }
    }

    fn of(message: &InboundMessage) -> Self {
        let Content::Text(text) = &message.content else { return Self::AtOnce };
        let all = [Self::Later, Self::Gathering, Self::Joining];
        all.into_iter().find(|manner| text.contains(manner.word())).unwrap_or(Self::AtOnce)
    }
}

/// What a bot's functions are in this world.
#[derive(Clone)]
pub struct Functions {
    platform: Platform,
    webhook: Rc<Function>,
}

impl Functions {
    /// Connects a bot of a platform, and sets its functions up.
    #[must_use]
    pub fn of(world: &World, platform: Platform) -> Self {
        connect(&world.cloud, &platform, BOT);
        let start = |handler: fn(&Environment, Platform) -> Handler| -> Start {
            let platform = platform.clone();
            Rc::new(move |environment| handler(environment, platform.clone()))
        };
        let webhook = world.function("webhook", Duration::from_secs(10), 100, start(webhook));
        let inference = world.function("inference", Duration::from_secs(30), 3, start(inference));
        let concurrency = DELIVER_CONCURRENCY as usize;
        let deliver = world.function("deliver", Duration::from_secs(30), concurrency, start(deliver));
        let generate = world.function("generate", Duration::from_secs(90), 3, start(generate));
        world.map("inbound", &inference);
        world.map("pending", &generate);
        world.map("outbound", &deliver);
        Self { platform, webhook }
    }

    /// A person writes something whose reply has so many parts.
    pub async fn write(&self, world: &World, tag: Tag, parts: u32, manner: Manner) {
        let event = format!("{tag} {} {parts} {}", world.cloud.clock.millis(), manner.word());
        world.deliver(&self.webhook, tag, parts, event).await;
    }

    /// A person leaves.
    pub async fn leave(&self, world: &World, tag: Tag) {
        let event = format!("{tag} {} {LEFT}", world.cloud.clock.millis());
        world.deliver(&self.webhook, tag, 0, event).await;
    }

    /// Where the requests go.
    #[must_use]
    pub const fn platform(&self) -> &Platform {
        &self.platform
    }
}

/// Stores the keys and the quota of a bot, as `hoopoe channel add` does.
pub(crate) fn connect(cloud: &Cloud, platform: &Platform, bot: &str) {
    let (channel, quota) = (platform.channel(), cloud.dice.weather().quota);
    let keys = platform.keys();
    for (purpose, secret) in [("webhook", keys.webhook), ("send", keys.send)] {
        let context = json!({"channel": channel.as_str(), "bot": bot, "name": purpose});
        let key = format!("{channel}/{bot}/{purpose}");
        let ciphertext = kms::encrypt(&context, secret.expose_secret().as_bytes());
        let version = json!({
            "key": {"S": key}, "version": {"N": "1"}, "state": {"S": "current"}, "created_at": {"N": "1760000000"},
            "since": {"N": "1760000000"}, "watched": {"BOOL": false}, "noticed": {"N": "0"}, "ciphertext": {"B": ciphertext},
        });
        cloud.dynamodb.seed("keys", version);
        let quota = json!({"key": {"S": key}, "version": {"N": "0"}, "per_second": {"N": quota.to_string()}});
        cloud.dynamodb.seed("keys", quota);
    }
}

/// What a webhook does: it reads what the platform posts, claims it and queues it.
fn webhook(environment: &Environment, platform: Platform) -> Handler {
    let queue = "https://sqs.us-east-1.amazonaws.com/0/inbound";
    let intake = Intake::of(platform.channel(), &environment.config(), "claims".to_owned(), queue.to_owned());
    let (intake, clock) = (Rc::new(intake), environment.clock());
    Rc::new(move |Invocation { event, .. }| {
        let (intake, platform) = (Rc::clone(&intake), platform.clone());
        Box::pin(async move {
            let tag = *tags_in(&event).first().ok_or("no tag")?;
            let mut words = event.splitn(3, ' ').skip(1);
            let written = words.next().and_then(|millis| millis.parse().ok()).ok_or("no time")?;
            let text = words.next().ok_or("no text")?;
            for mut incoming in platform.posts(tag, text, Timestamp::from_millis(written), clock.now())? {
                if text == LEFT {
                    // What has no words has its tag in its id.
                    incoming.id = MessageId::try_from(tag.to_string()).map_err(|error| error.to_string())?;
                    incoming.content = Content::Event(ChannelEvent::Left);
                }
                intake.accept(&bot(), incoming).await.map_err(|error| error.to_string())?;
            }
            Ok("200".to_owned())
        })
    })
}

/// The bot's name.
pub(crate) fn bot() -> BotId {
    BOT.parse().expect("a name")
}

fn inference(environment: &Environment, platform: Platform) -> Handler {
    let dialogue =
        Dialogue::new(Variables, &environment.config(), Echo { long: platform.long() }).expect("the variables are set");
    let dialogue = Rc::new(dialogue);
    Rc::new(move |Invocation { event, .. }| {
        let dialogue = Rc::clone(&dialogue);
        Box::pin(async move {
            let batch = serde_json::from_str(&event).map_err(|error| error.to_string())?;
            serde_json::to_string(&dialogue.handle(batch).await).map_err(|error| error.to_string())
        })
    })
}

/// What the function that sends does with a batch.
pub(crate) fn deliver(environment: &Environment, platform: Platform) -> Handler {
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

fn generate(environment: &Environment, platform: Platform) -> Handler {
    let config = environment.config();
    let queue = |name: &str| format!("https://sqs.us-east-1.amazonaws.com/0/{name}");
    let pending = Pending::new(
        &config,
        Consumer::new(&config, queue("pending"), queue("pending-dlq")),
        QueueSender::new(&config, queue("outbound")),
        Turns::new(&config, "sessions".to_owned()),
        Slow { environment: environment.clone(), long: platform.long() },
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
struct Slow {
    environment: Environment,
    long: usize,
}

impl Author for Slow {
    type Error = NoAnswer;

    async fn write(&self, turn: &PendingTurn, joined: &[InboundMessage]) -> Result<turns::Answer, NoAnswer> {
        let dice = &self.environment.cloud().dice;
        let longest = Duration::from_secs(if dice.chance(0.2) { 60 } else { 3 });
        let (takes, fails) = (Duration::from_millis(200) + dice.up_to(longest), dice.chance(0.1));
        tokio::time::sleep(takes).await;
        if fails {
            return Err(NoAnswer);
        }
        let texts = std::iter::once(&turn.message).chain(joined).filter_map(|message| said(message, self.long));
        let text = texts.collect::<Vec<_>>().join("\n\n");
        Ok(turns::Answer { text, suggestions: Vec::new(), decision: None })
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

/// How long it waits for others that are answered together with it.
const GATHERS: Duration = Duration::from_secs(5);

/// A word in what stands in for an answer that did not come. It also stands in for the answers to those that joined.
pub const INSTEAD: &str = "instead";

/// What is said to a message, in as many parts as it asks for, of which all but the last are so long; `None` where it asks
/// for nothing.
fn said(message: &InboundMessage, long: usize) -> Option<String> {
    let Content::Text(text) = &message.content else { return None };
    let tag = tags_in(text).first().copied()?;
    let parts: u32 = text.split(' ').next()?.parse().unwrap_or(1);
    let part = |part: u32| {
        let mut text = tag.reply(part).to_string();
        if part < parts {
            text.extend(std::iter::repeat_n(" and so on", (long - text.len()) / 10));
        }
        text
    };
    Some((1..=parts).map(part).collect::<Vec<_>>().join("\n\n"))
}

/// Says again what it was told, in as many parts as it is asked for, at once or later.
struct Echo {
    long: usize,
}

impl Responder for Echo {
    type Read = ();
    type Error = Infallible;

    fn read(&self, _: &[&InboundMessage]) {}

    fn respond(
        &self,
        (): &(),
        _: usize,
        message: &InboundMessage,
        session: &mut Session,
        now: Timestamp,
    ) -> Result<Response, Infallible> {
        let Some(text) = said(message, self.long) else {
            session.forget();
            return Ok(Response::Nothing);
        };
        let later = |gather| {
            // What stands in says as much as the answer would.
            Response::Later { deadline: now.plus(LATER), instead: format!("{text} {INSTEAD}"), gather }
        };
        Ok(match (Manner::of(message), session.gathering(message)) {
            (Manner::Later, _) => later(Duration::ZERO),
            (Manner::Gathering, _) => later(GATHERS),
            (Manner::Joining, Some(gathering)) => Response::Together(gathering),
            (Manner::Joining | Manner::AtOnce, _) => {
                Response::Say(turns::Answer { text, suggestions: Vec::new(), decision: None })
            }
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
