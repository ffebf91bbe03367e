//! What a message costs in DynamoDB's write units, counted: a long conversation with the real intake, dialogue and
//! delivery, on each channel, with ids as long as that channel's.

mod ids;

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hoopoe_aws::Environment as Variables;
use hoopoe_channels::webchat::SessionId;
use hoopoe_channels::webchat::api::{Post, Said};
use hoopoe_channels::{Incoming, with_platform};
use hoopoe_dialogue::{Dialogue, Responder, Response};
use hoopoe_message::{BotId, Content, Conversation, InboundMessage, Language, MessageId, Timestamp};
use hoopoe_store::{Session, Transcripts, turns};
use hoopoe_webhook::Intake;
use serde_json::{Value as Json, json};

use crate::cloud::{Cloud, Write};
use crate::dynamodb::{Item, size};
use crate::echo::bounds;
use crate::environment::Environment;
use crate::function::{Handler, Invocation};
use crate::history::{World, play};
use crate::hoopoe::{connect, deliver};
use crate::ledger::{Tag, tags_in};
use crate::platform::Platform;
use crate::sqs::record;
use crate::weather::Weather;

pub use ids::{ALL, Ids};

/// The messages of a conversation whose write units are told one by one.
pub const MESSAGES: [u32; 4] = [1, 10, 140, 1000];
/// The write units that a message may cost, moves to the archive of claims apart.
pub const LIMIT: f64 = 4.0;
/// The write units that a message may cost on average, with those moves.
pub const AVERAGE_LIMIT: f64 = 4.1;

/// Longer than a message is on its way through a queue.
const QUEUED: Duration = Duration::from_millis(50);
/// How long a function that sends may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Calls a second that a bot may make unless its operator says otherwise.
const QUOTA: u32 = 10;
/// Ids of intents: as many and as long as a session keeps of what a reply offers.
const OFFERED: [(char, usize); 3] = [('a', 77), ('b', 77), ('c', 77)];

/// How people talk.
#[derive(Clone, Copy, Debug)]
pub struct Talk {
    /// How many people write at the same time, each in a conversation of their own: their messages share each batch.
    pub people: u32,
    /// How many messages each of them writes.
    pub messages: u32,
    /// How long they wait from one to the next.
    pub pace: Duration,
}

/// The write units of one message.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Units {
    /// Its claim.
    pub claim: f64,
    /// The session.
    pub session: f64,
    /// The begin of its reply.
    pub begin: f64,
    /// The end of its reply.
    pub settle: f64,
    /// What moves claims to the archive, once in 32 messages.
    pub moves: f64,
    /// What goes to other tables: transcripts, access tokens, quotas.
    pub beside: f64,
}

impl Units {
    /// What each message costs.
    #[must_use]
    pub fn each(&self) -> f64 {
        self.claim + self.session + self.begin + self.settle
    }

    /// The share of each of so many people.
    fn each_of(self, people: u32) -> Self {
        let share = |units: f64| units / f64::from(people);
        let Self { claim, session, begin, settle, moves, beside } = self;
        Self {
            claim: share(claim),
            session: share(session),
            begin: share(begin),
            settle: share(settle),
            moves: share(moves),
            beside: share(beside),
        }
    }
}

/// What was counted in one conversation, or on average in those of several people.
#[derive(Clone, Debug)]
pub struct Counted {
    /// The length of the conversation's key in bytes.
    pub key: usize,
    /// The units of each message, in order.
    pub messages: Vec<Units>,
    /// The size of the largest item of claims, sessions and sends in bytes.
    pub largest: [usize; 3],
}

impl Counted {
    /// What a message costs on average, with the moves to the archive.
    #[must_use]
    pub fn average(&self) -> f64 {
        self.messages.iter().map(|units| units.each() + units.moves).sum::<f64>() / self.messages.len() as f64
    }

    /// What a message costs on average in other tables.
    #[must_use]
    pub fn beside(&self) -> f64 {
        self.messages.iter().map(|units| units.beside).sum::<f64>() / self.messages.len() as f64
    }
}

/// Counts conversations of this channel. The process has the variables of the functions ([`crate::hoopoe::own_variables`]).
///
/// # Panics
///
/// Where a message does not get its reply.
#[must_use]
pub fn count(ids: Ids, talk: Talk) -> Counted {
    let counted = Rc::new(RefCell::new(None));
    let within = Rc::clone(&counted);
    let weather = Weather { quota: QUOTA, ..Weather::calm() };
    let outcome = play(1, weather, false, &bounds(), move |world| {
        let scene = Scene::new(world, ids, talk);
        world.at(Duration::ZERO, async move { *within.borrow_mut() = Some(Box::pin(scene.talk()).await) });
    });
    assert!(outcome.verdict.findings.is_empty(), "{}: {:?}", ids.channel, outcome.verdict.findings);
    counted.take().expect("it was played to its end")
}

/// What the functions of one channel are made of.
struct Scene {
    cloud: Arc<Cloud>,
    ids: Ids,
    bot: BotId,
    talk: Talk,
    /// `None` for the web chat.
    platform: Option<Platform>,
    environment: Environment,
    intake: Intake,
    dialogue: Dialogue<Offers>,
    deliver: Handler,
    transcripts: Transcripts,
}

impl Scene {
    fn new(world: &World, ids: Ids, talk: Talk) -> Self {
        let platform = with_platform!(ids.channel, P => Some(Platform::of::<P>()), webchat => None);
        if let Some(platform) = &platform {
            connect(&world.cloud, platform, ids.bot);
        }
        let environment = Environment::new(&world.cloud, "units-1".to_owned(), 0);
        let config = environment.config();
        let queue = "https://sqs.us-east-1.amazonaws.com/0/inbound".to_owned();
        // The web chat's replies go to no platform.
        let asked = platform.clone().unwrap_or_else(Platform::of::<hoopoe_channels::telegram::Telegram>);
        Self {
            cloud: Arc::clone(&world.cloud),
            ids,
            bot: ids.bot.parse().expect("a name"),
            talk,
            platform,
            intake: Intake::of(ids.channel, &config, "claims".to_owned(), queue),
            dialogue: Dialogue::new(Variables, &config, Offers).expect("the variables are set"),
            deliver: deliver(&environment, asked),
            transcripts: Transcripts::new(&config, "transcripts".to_owned()),
            environment,
        }
    }

    async fn talk(&self) -> Counted {
        let key = self.conversation(1).to_string().len();
        let mut counted = Counted { key, messages: Vec::new(), largest: [0; 3] };
        for message in 1..=self.talk.messages {
            counted.messages.push(Box::pin(self.message(message)).await);
            for (largest, table) in counted.largest.iter_mut().zip(["claims", "sessions", "sends"]) {
                *largest = self.items(table).iter().map(size).chain([*largest]).max().unwrap_or(0);
            }
            tokio::time::sleep(self.talk.pace).await;
        }
        counted
    }

    /// One message of each person, to its end.
    async fn message(&self, message: u32) -> Units {
        let mut units = Units::default();
        for person in 1..=self.talk.people {
            let archived = self.archived();
            let claimed = self.writes(self.hear(Tag::message(person, message))).await;
            let (claims, others): (Vec<_>, Vec<_>) = claimed.into_iter().partition(|write| write.table == "claims");
            // A move writes items of the archive and then the conversation's, and it comes after the claim.
            let moves = match self.archived() - archived {
                0 => 0,
                items => items + 1,
            };
            let (claims, moves) = claims.split_at(claims.len() - moves);
            units.claim += sum(claims);
            units.moves += sum(moves);
            units.beside += sum(&others);
        }
        units.session = sum(&Box::pin(self.writes(self.answer())).await);
        let sent = self.writes(self.send()).await;
        let (sends, others): (Vec<_>, Vec<_>) = sent.into_iter().partition(|write| write.table == "sends");
        // The settled marks are the last writes; a begin may take more than one.
        let (begins, settled) = sends.split_at(sends.len().saturating_sub(self.talk.people as usize));
        units.begin = sum(begins);
        units.settle = sum(settled);
        units.beside += sum(&others);
        if self.platform.is_none() {
            let left = others.iter().filter(|write| write.table == "transcripts").count();
            assert_eq!(left, self.talk.people as usize, "replies that the page can fetch");
        }
        units.each_of(self.talk.people)
    }

    /// How many items the archive of claims has.
    fn archived(&self) -> usize {
        self.items("claims").iter().filter(|item| !item.contains_key("next")).count()
    }

    fn items(&self, table: &str) -> Vec<Item> {
        self.cloud.dynamodb.items(table, self.cloud.clock.millis() / 1000)
    }

    /// What is written meanwhile.
    async fn writes(&self, what: impl Future<Output = ()>) -> Vec<Write> {
        let before = self.cloud.writes(0).len();
        what.await;
        self.cloud.writes(before)
    }

    /// The webhook takes a message in. The web chat's writes down what was said as well.
    async fn hear(&self, tag: Tag) {
        let now = self.environment.clock().now();
        let told = match &self.platform {
            Some(platform) => platform.posts(tag, "hello", now, now).expect("it is signed").pop().expect("a message"),
            None => posted(tag),
        };
        let told = Incoming {
            id: MessageId::try_from(padded(tag.message, self.ids.event)).expect("an id"),
            chat: self.conversation(tag.conversation).chat,
            // Not all counterparts tell the time at which they are asked.
            sent_at: told.sent_at.map(|_| now),
            ..told
        };
        let taken = self.intake.accept(&self.bot, told).await.expect("the weather is calm");
        if self.platform.is_some() {
            self.cloud.ledger.deliver(tag, 1, self.cloud.clock.elapsed());
            self.cloud.ledger.acknowledge(tag, self.cloud.clock.elapsed());
        } else {
            let number = taken.accepted.number;
            let written = self.transcripts.put_question(&taken.conversation, number, "hello", now).await;
            written.expect("the weather is calm");
        }
    }

    async fn answer(&self) {
        let (event, receipts) = self.receive("inbound").await;
        let batch = serde_json::from_value(event).expect("a batch");
        let response = self.dialogue.handle(batch).await;
        self.done("inbound", &json!(response), &receipts);
    }

    async fn send(&self) {
        let (event, receipts) = self.receive("outbound").await;
        let deadline = self.environment.clock().now().plus(TIMEOUT);
        let response = (self.deliver)(Invocation { event: event.to_string(), deadline }).await.expect("a response");
        self.done("outbound", &serde_json::from_str(&response).expect("JSON"), &receipts);
    }

    /// The event of what is in a queue, and its receipts.
    async fn receive(&self, queue: &'static str) -> (Json, Vec<String>) {
        tokio::time::sleep(QUEUED).await;
        let received = self.cloud.sqs.receive(queue, 10, self.cloud.clock.millis(), &self.cloud.dice);
        assert_eq!(received.len(), self.talk.people as usize, "{}: messages in {queue}", self.ids.channel);
        let records: Vec<Json> = received.iter().map(|received| record(queue, received)).collect();
        (json!({ "Records": records }), received.into_iter().map(|received| received.receipt).collect())
    }

    fn done(&self, queue: &'static str, response: &Json, receipts: &[String]) {
        assert_eq!(*response, json!({ "batchItemFailures": [] }), "{}: {queue}", self.ids.channel);
        self.cloud.sqs.delete(queue, receipts);
    }

    fn conversation(&self, person: u32) -> Conversation {
        Conversation { channel: self.ids.channel, bot: self.bot.clone(), chat: padded(person, self.ids.chat) }
    }
}

fn sum(writes: &[Write]) -> f64 {
    writes.iter().map(|write| write.units).sum()
}

/// An id of this length.
fn padded(number: u32, length: usize) -> String {
    format!("{number:0>length$}")
}

/// What the web chat's page posts.
fn posted(tag: Tag) -> Incoming {
    let id = MessageId::try_from(tag.to_string()).expect("an id");
    let post = Post { id, language: None, said: Said::Text(format!("hello {tag}")) };
    post.incoming(&SessionId::from_random([0; 16]))
}

/// Answers, and fills the session with all that it may keep of a person and of what it offers.
struct Offers;

impl Responder for Offers {
    type Read = ();
    type Error = Infallible;

    fn read(&self, _: &[&InboundMessage]) {}

    fn respond(
        &self,
        (): &(),
        _: usize,
        message: &InboundMessage,
        session: &mut Session,
        _: Timestamp,
    ) -> Result<Response, Infallible> {
        session.chosen_language = Language::of_locale("zh-CN");
        session.spoken_language = Language::of_locale("en-US");
        session.told_text_only = true;
        session.offer(OFFERED.map(|(letter, length)| letter.to_string().repeat(length)));
        let Content::Text(asked) = &message.content else { return Ok(Response::Nothing) };
        let text = tags_in(asked).iter().map(|tag| tag.reply(1).to_string()).collect();
        Ok(Response::Say(turns::Answer { text, suggestions: Vec::new(), decision: None }))
    }
}
