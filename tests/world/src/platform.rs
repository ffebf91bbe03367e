//! The platforms: what they take and show to people, and how badly they tell about it.
//!
//! What a request means, and how it is answered where all is well, is known by each channel's
//! [`Counterpart`]; here the weather comes in, and the memory of what was said.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hoopoe_channels::contract::counterpart::{Answer, Counterpart};
use hoopoe_channels::{Incoming, Request as Posted, Settings, StoredKeys, Webhook};
use hoopoe_message::{Channel, Timestamp};
use http::{Request, Response, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value as Json, json};

use crate::cloud::short;
use crate::environment::Environment;
use crate::hoopoe::INSTEAD;
use crate::ledger::{Said, Tag, tags_in};

/// How long a platform takes where nothing is wrong.
const USUAL: Duration = Duration::from_millis(300);
/// How late a late answer is at most.
const LATE: Duration = Duration::from_secs(20);
/// What a busy platform asks for at most, in seconds.
const PAUSE: usize = 60;
/// For how long a repeated send is known: "持有相同uuid的请求1小时内至多成功执行一次" (Feishu), and the others' are longer.
const KNOWN: u64 = 3_600_000;

/// Ids of people and of messages in requests: eight digits, so that they are found whatever stands around them.
const PERSON: u32 = 70_000_000;
const MESSAGE: u32 = 80_000_000;
/// Messages of a conversation.
const MESSAGES: u32 = 10_000;

/// What a webhook makes of a request, or why it refuses it.
type Read = Result<Vec<Incoming>, String>;

/// What came instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// There was no connection: the request did not go out.
    Unreached,
    /// The connection broke after the request went out.
    Reset,
    /// There was no answer in time.
    TimedOut,
}

/// A platform.
#[derive(Clone)]
pub struct Platform(Arc<Inner>);

struct Inner {
    channel: Channel,
    answer: fn(&Request<Vec<u8>>) -> Answer,
    message: fn(u32, u32, &str, &str, Timestamp) -> Vec<u8>,
    posts: fn(&[u8], &str, Timestamp) -> Request<Vec<u8>>,
    receive: fn(&str, &Request<Vec<u8>>, Timestamp) -> Read,
    settings: fn(&str) -> Json,
    keys: fn(&str) -> StoredKeys,
    /// When each send with a key of its own was taken.
    taken: Mutex<BTreeMap<String, u64>>,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Unreached,
    Late(Duration),
    Silent { taken: bool, reset: bool },
    Busy(usize),
    Failed,
    Gateway { status: u16, taken: bool },
    Lies,
    Denies,
    Refuses,
}

impl Platform {
    /// The platform of a channel.
    #[must_use]
    pub fn of<P: Counterpart>() -> Self {
        Self(Arc::new(Inner {
            channel: P::CHANNEL,
            answer: P::answer,
            message: P::message,
            posts: P::posts,
            receive: receive::<P>,
            settings: P::settings,
            keys: |settings| P::Settings::parse(settings).expect("its own settings").keys(),
            taken: Mutex::default(),
        }))
    }

    /// Which it is.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.0.channel
    }

    /// Where its API is.
    #[must_use]
    pub fn api_base(&self) -> String {
        format!("https://{}.example", self.0.channel)
    }

    /// The settings of the connected bot, as an operator enters them.
    #[must_use]
    pub fn settings(&self) -> Json {
        (self.0.settings)(&self.api_base())
    }

    /// The keys of the connected bot, as they are stored.
    #[must_use]
    pub fn keys(&self) -> StoredKeys {
        (self.0.keys)(&self.settings().to_string())
    }

    /// What a webhook makes of what this platform posts by `now`, because the person of a conversation has written at
    /// `written`; the text carries the tag.
    ///
    /// # Errors
    ///
    /// When the webhook refuses it.
    pub fn posts(&self, tag: Tag, text: &str, written: Timestamp, now: Timestamp) -> Read {
        let message = MESSAGE + tag.conversation * MESSAGES + tag.message;
        let text = format!("{text} {tag}");
        let told = (self.0.message)(PERSON + tag.conversation, message, &text, &self.api_base(), written);
        let posted = (self.0.posts)(&told, &self.api_base(), now);
        (self.0.receive)(self.keys().webhook.expose_secret(), &posted, now)
    }

    /// So long is a text of which one message of the platform has room for no more.
    #[must_use]
    pub fn long(&self) -> usize {
        match self.0.channel {
            Channel::Wecom => 2040,
            Channel::Feishu => 3990,
            _ => 4090,
        }
    }

    /// Where the bot's API is asked, without the path.
    #[must_use]
    pub fn is_at(&self, host: &str) -> bool {
        host.strip_suffix(".example").is_some_and(|channel| channel == self.0.channel.as_str())
    }

    /// The person's number on the platform.
    #[must_use]
    pub const fn person(conversation: u32) -> u32 {
        PERSON + conversation
    }

    /// Answers a request of a function, which waits for `patience` at most.
    ///
    /// # Errors
    ///
    /// Where no answer comes.
    pub async fn exchange(
        &self,
        environment: &Environment,
        request: Request<Vec<u8>>,
        patience: Duration,
    ) -> Result<Response<Vec<u8>>, Broken> {
        environment.gate(true).await;
        let answered = tokio::time::timeout(patience, self.answer(environment, &request)).await;
        let answered = answered.unwrap_or(Err(Broken::TimedOut));
        if matches!(answered, Err(Broken::TimedOut)) {
            environment
                .cloud()
                .trace
                .note(environment.name(), || format!("has waited for {} long enough", self.0.channel));
        }
        environment.gate(false).await;
        answered
    }

    async fn answer(&self, environment: &Environment, request: &Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Broken> {
        let cloud = environment.cloud();
        let path = Request::builder()
            .method(request.method().clone())
            .uri(request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str));
        let mut asked = path.body(request.body().clone()).expect("a request that came");
        asked.headers_mut().clone_from(request.headers());
        let answer = (self.0.answer)(&asked);
        let text = answer.shown.as_ref().map(|shown| shown.text.clone()).unwrap_or_default();
        let tags = tags_in(&text);
        let note = |what: &str| {
            let words = if text.is_empty() { request.uri().path().to_owned() } else { short(&text) };
            cloud.trace.note(environment.name(), || format!("{} {words} → {what}", self.0.channel));
        };
        if answer.shown.is_some() {
            cloud.ledger.request(cloud.clock.elapsed());
        }
        tokio::time::sleep(cloud.dice.up_to(USUAL)).await;
        let fault = self.draw(environment);
        let hold = |time| cloud.ledger.hold(&environment.tags(), time, "a platform refused, or was late");
        let take = |excuse| {
            if answer.shown.is_some() {
                self.show(environment, &asked, &tags, excuse);
                if text.contains(INSTEAD) {
                    cloud.ledger.stand_in(&tags);
                }
            }
        };
        let doubt = || cloud.ledger.doubt(&tags, "the platform did not answer");
        let Some(fault) = fault else {
            take(None);
            note(answer.status.as_str());
            return Ok(response(answer.status, &answer.body));
        };
        match fault {
            Fault::Unreached => {
                hold(Duration::from_secs(5));
                note("FAULT not reached");
                Err(Broken::Unreached)
            }
            Fault::Late(time) => {
                hold(time);
                doubt();
                take(None);
                note(&format!("taken, FAULT answers {time:?} late"));
                tokio::time::sleep(time).await;
                Ok(response(answer.status, &answer.body))
            }
            Fault::Silent { taken, reset } => {
                hold(LATE);
                doubt();
                if taken {
                    take(None);
                }
                note(&format!("FAULT never answers, taken: {taken}, connection reset: {reset}"));
                if reset { Err(Broken::Reset) } else { std::future::pending().await }
            }
            Fault::Gateway { status, taken } => {
                hold(Duration::from_secs(10));
                doubt();
                if taken {
                    take(None);
                }
                note(&format!("FAULT the gateway answers {status}, taken: {taken}"));
                let mut response = Response::new(b"<html>Bad Gateway</html>".to_vec());
                *response.status_mut() = StatusCode::from_u16(status).expect("a status");
                Ok(response)
            }
            Fault::Busy(seconds) => {
                hold(Duration::from_secs(seconds as u64 * 2));
                note(&format!("FAULT 429, {seconds} s"));
                Ok(self.busy(seconds))
            }
            Fault::Failed => {
                hold(Duration::from_secs(10));
                if self.is_vague() {
                    doubt();
                }
                note("FAULT 500");
                Ok(self.failed())
            }
            Fault::Lies => {
                hold(Duration::from_secs(10));
                take(Some("the platform said that it had not taken it"));
                if self.is_vague() {
                    doubt();
                }
                note("taken, FAULT says 500");
                Ok(self.failed())
            }
            Fault::Denies => {
                hold(Duration::from_secs(60));
                note("FAULT does not know the credential");
                Ok(self.denied())
            }
            Fault::Refuses => {
                note("FAULT refuses for good");
                Ok(self.refused())
            }
        }
    }

    fn draw(&self, environment: &Environment) -> Option<Fault> {
        let (dice, weather) = (&environment.cloud().dice, environment.cloud().dice.weather());
        let happens = [
            (weather.unreached, 0),
            (weather.platform_late, 1),
            (weather.platform_silent, 2),
            (weather.platform_busy, 3),
            (weather.platform_failed, 4),
            (weather.platform_gateway, 5),
            (weather.platform_lies, 6),
            (weather.platform_denies, 7),
            (weather.platform_refuses, 8),
        ];
        let (_, which) = happens.into_iter().find(|(probability, _)| dice.fault(*probability))?;
        Some(match which {
            0 => Fault::Unreached,
            1 => Fault::Late(dice.up_to(LATE)),
            2 => Fault::Silent { taken: dice.chance(0.5), reset: dice.chance(0.5) },
            3 => Fault::Busy(1 + dice.below(PAUSE)),
            4 => Fault::Failed,
            5 => Fault::Gateway { status: if dice.chance(0.5) { 502 } else { 504 }, taken: dice.chance(0.5) },
            6 => Fault::Lies,
            7 => Fault::Denies,
            _ => Fault::Refuses,
        })
    }

    /// Shows it to the person, unless it is known by its key.
    fn show(&self, environment: &Environment, request: &Request<Vec<u8>>, tags: &[Tag], excuse: Option<&'static str>) {
        let cloud = environment.cloud();
        let now = cloud.clock.elapsed();
        if let Some(key) = self.key(request) {
            let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
            if taken.get(&key).is_some_and(|at| now < at + KNOWN) {
                return;
            }
            taken.insert(key, now);
        }
        for tag in tags {
            cloud.ledger.say(Said { at: now, tag: *tag, to: person(request), excuse });
        }
    }

    /// By which the platform knows a repeated send.
    fn key(&self, request: &Request<Vec<u8>>) -> Option<String> {
        let body: Json = serde_json::from_slice(request.body()).unwrap_or_default();
        match self.0.channel {
            Channel::Feishu => body["uuid"].as_str().map(str::to_owned),
            Channel::Discord => body["nonce"].as_str().map(str::to_owned),
            Channel::Line => match body["replyToken"].as_str() {
                Some(token) => Some(token.to_owned()),
                None => Some(request.headers().get("x-line-retry-key")?.to_str().ok()?.to_owned()),
            },
            _ => None,
        }
    }

    /// Whether its own error leaves open what became of the request: "the request may have been accepted" (LINE, "Retry
    /// failed API requests").
    fn is_vague(&self) -> bool {
        self.0.channel == Channel::Line
    }

    fn busy(&self, seconds: usize) -> Response<Vec<u8>> {
        let parameters = json!({ "retry_after": seconds });
        let body = match self.0.channel {
            Channel::Telegram => {
                json!({"ok": false, "error_code": 429, "description": "Too Many Requests", "parameters": parameters})
            }
            // "接口调用超过限制", for which WeCom says no time.
            Channel::Wecom => {
                return response(StatusCode::OK, &json!({"errcode": 45009, "errmsg": "api freq out of limit"}));
            }
            Channel::Feishu => json!({"code": 99_991_400, "msg": "request trigger frequency limit"}),
            _ => json!({ "message": "too many requests", "retry_after": seconds }),
        };
        let mut response = response(StatusCode::TOO_MANY_REQUESTS, &body);
        let value = seconds.to_string().try_into().expect("digits");
        let name = if self.0.channel == Channel::Feishu { "x-ogw-ratelimit-reset" } else { "retry-after" };
        response.headers_mut().insert(name, value);
        response
    }

    fn failed(&self) -> Response<Vec<u8>> {
        let error = StatusCode::INTERNAL_SERVER_ERROR;
        match self.0.channel {
            Channel::Telegram => {
                response(error, &json!({"ok": false, "error_code": 500, "description": "Internal Server Error"}))
            }
            // "系统繁忙"
            Channel::Wecom => response(StatusCode::OK, &json!({"errcode": -1, "errmsg": "system busy"})),
            Channel::Feishu => response(error, &json!({"code": 230_020, "msg": "internal error"})),
            _ => response(error, &json!({"message": "internal error"})),
        }
    }

    fn denied(&self) -> Response<Vec<u8>> {
        let status = StatusCode::UNAUTHORIZED;
        match self.0.channel {
            Channel::Telegram => {
                response(status, &json!({"ok": false, "error_code": 401, "description": "Unauthorized"}))
            }
            Channel::Wecom => response(StatusCode::OK, &json!({"errcode": 40_014, "errmsg": "invalid access_token"})),
            Channel::Feishu => {
                response(StatusCode::BAD_REQUEST, &json!({"code": 99_991_663, "msg": "token is invalid"}))
            }
            _ => response(status, &json!({"message": "unauthorized"})),
        }
    }

    /// The person does not want to hear from the bot, or may not.
    fn refused(&self) -> Response<Vec<u8>> {
        let status = StatusCode::FORBIDDEN;
        match self.0.channel {
            Channel::Telegram => {
                let words = "Forbidden: bot was blocked by the user";
                response(status, &json!({"ok": false, "error_code": 403, "description": words}))
            }
            Channel::Wecom => response(StatusCode::OK, &json!({"errcode": 48_002, "errmsg": "api forbidden"})),
            Channel::Feishu => {
                let words = "Bot has NO availability to this user";
                response(StatusCode::BAD_REQUEST, &json!({"code": 230_013, "msg": words}))
            }
            _ => response(status, &json!({"message": "not authorised to send messages"})),
        }
    }
}

fn response(status: StatusCode, body: &Json) -> Response<Vec<u8>> {
    let mut response = Response::new(body.to_string().into_bytes());
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", "application/json".try_into().expect("a media type"));
    response
}

fn receive<P: Counterpart>(keys: &str, posted: &Request<Vec<u8>>, now: Timestamp) -> Read {
    let keys: <P as Webhook>::Keys = serde_json::from_str(keys).map_err(|error| error.to_string())?;
    let request = Posted {
        method: posted.method(),
        query: posted.uri().query().unwrap_or_default(),
        headers: posted.headers(),
        body: posted.body(),
        published: &P::published(),
    };
    let received = P::receive(&keys, &request, now).map_err(|refusal| refusal.to_string())?;
    Ok(received.messages)
}

/// Whose conversation a request is about, by the id of the person or of a message in it; `None` where it shows neither.
fn person(request: &Request<Vec<u8>>) -> Option<u32> {
    let whole = format!("{} {}", request.uri(), String::from_utf8_lossy(request.body()));
    // Not a part of a UUID or a digest, such as the key by which a repeated send is known.
    let words = whole.split(|c: char| !c.is_ascii_hexdigit() && c != '-').map(|word| word.trim_start_matches('-'));
    words.filter(|digits| digits.len() == 8).find_map(|digits| {
        let id: u32 = digits.parse().ok()?;
        match id {
            PERSON..MESSAGE => Some(id - PERSON),
            MESSAGE..90_000_000 => Some((id - MESSAGE) / MESSAGES),
            _ => None,
        }
    })
}
