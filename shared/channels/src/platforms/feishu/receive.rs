//! What Feishu posts to a request URL ("事件概述", `ukTMukTMukTM/uUTNz4SN1MjL1UzM`; "将事件发送至开发者服务器",
//! "接收事件", and "接收回调", `uAjLw4CM/ukTMukTMukTM/event-subscription-guide/callback-subscription/receive-and-handle-callbacks`).
//!
//! | what | when | answer |
//! |---|---|---|
//! | `url_verification` | the URL is saved in the console | the `challenge`, within a second |
//! | an event of version 2.0 | something happened | 200 within 3 seconds, or it comes again after 15 s, 5 min, 1 h and 6 h |
//! | `card.action.trigger` | a button of a card was pressed | JSON within 3 seconds; it never comes again |
//!
//! Answered: messages (`message` tells which); being added to a group or removed from one; a person's first look into
//! the private chat; people who join a group or leave it. Everything else is acknowledged and left: recalls, receipts,
//! reactions, changes of groups, and all events of version 1.0.

use hoopoe_message::{ChannelEvent, Content, Timestamp};
use http::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use super::cipher::{self, Unopened};
use super::message::Message;
use super::{Address, Feishu, SAY, is_id};
use crate::contract::settings::exposed;
use crate::contract::webhook::{
    Incoming, Moment, Received, Refusal, Request, Response, Webhook, chat, fresh, message_id,
};

/// How far a request's timestamp may lie from now, in seconds.
///
/// Feishu documents no limit, and not whether a repeated event is signed anew; the last repeat comes "约为 7.1 小时"
/// after the first. Any replay inside this window meets the claim of the first delivery, which lives far longer, so a
/// narrower one would gain nothing and could turn away what was missed in an outage.
const FRESH_SECONDS: u64 = 8 * 3600;

/// What a check of the URL, which alone may come unsigned, is well below.
const MAX_UNSIGNED_BYTES: usize = 4096;

/// The most members taken from one event about several who left; more would be too many for one request.
const MAX_LEAVING: usize = 32;

/// What verifies and opens a request, and what tells that a group's message is for this bot.
#[derive(Debug, Deserialize, Serialize)]
pub struct WebhookKeys {
    /// Without it any bot that is mentioned passes for this one.
    #[serde(default)]
    pub(super) bot_open_id: Option<String>,
    #[serde(serialize_with = "exposed")]
    pub(super) encrypt_key: SecretString,
    #[serde(default)]
    pub(super) group_prefix: Option<String>,
    #[serde(serialize_with = "exposed")]
    pub(super) verification_token: SecretString,
}

impl Webhook for Feishu {
    /// A text of a message may have 150 KB, and is sealed and in base64.
    const MAX_BODY: usize = 256 * 1024;

    type Keys = WebhookKeys;

    fn receive(keys: &WebhookKeys, request: &Request<'_>, now: Timestamp) -> Result<Received, Refusal> {
        if request.method != Method::POST {
            return Err(Refusal::Method);
        }
        if keys.encrypt_key.expose_secret().is_empty() || keys.verification_token.expose_secret().is_empty() {
            return Err(Refusal::Forged("no Encrypt Key or no Verification Token is configured"));
        }
        let Some(signature) = Signature::of(request)? else { return unsigned(keys, request.body) };
        signature.verify(keys, request.body, now)?;
        let posted = Posted::open(keys, request.body)?;
        match posted.challenge() {
            Some(challenge) => Ok(challenge),
            None => posted.read(keys),
        }
    }
}

/// The three headers of a signed request.
struct Signature<'a> {
    timestamp: &'a str,
    nonce: &'a str,
    signature: &'a str,
}

impl<'a> Signature<'a> {
    /// `None` where not one of the headers is there.
    fn of(request: &'a Request<'_>) -> Result<Option<Self>, Refusal> {
        let names = ["x-lark-request-timestamp", "x-lark-request-nonce", "x-lark-signature"];
        if names.iter().all(|name| !request.headers.contains_key(*name)) {
            return Ok(None);
        }
        let [timestamp, nonce, signature] = names.map(|name| {
            let value = request.header(name).filter(|value| !value.is_empty());
            value.ok_or(Refusal::Forged("a header of the signature is missing"))
        });
        Ok(Some(Self { timestamp: timestamp?, nonce: nonce?, signature: signature? }))
    }

    fn verify(&self, keys: &WebhookKeys, body: &[u8], now: Timestamp) -> Result<(), Refusal> {
        if !cipher::verify(keys.encrypt_key.expose_secret(), self.timestamp, self.nonce, body, self.signature) {
            return Err(Refusal::Forged("the signature is wrong"));
        }
        let told = self.timestamp.parse().map_err(|_| Refusal::Malformed("the timestamp is no number"))?;
        fresh(told, now, FRESH_SECONDS)
    }
}

/// A request without a signature: only the check of the URL may be one, and it proves itself by what it holds.
///
/// The refusal is the same whatever is wrong. Different ones would tell a stranger what is inside a ciphertext he
/// overheard (padding oracle).
fn unsigned(keys: &WebhookKeys, body: &[u8]) -> Result<Received, Refusal> {
    let posted = if body.len() <= MAX_UNSIGNED_BYTES { Posted::open(keys, body).ok() } else { None };
    posted.and_then(|posted| posted.challenge()).ok_or(Refusal::Forged("the signature is missing"))
}

/// What a request holds once it is opened.
#[derive(Deserialize)]
struct Posted {
    #[serde(rename = "type")]
    kind: Option<String>,
    challenge: Option<String>,
    /// In a check of the URL and in events of version 1.0; those of version 2.0 have it in the header.
    token: Option<String>,
    header: Option<Header>,
    #[serde(default)]
    event: Value,
}

#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    event_id: String,
    event_type: String,
    #[serde(default)]
    create_time: Moment,
    token: Option<String>,
}

impl Posted {
    /// Decrypts a body and checks that what is inside knows the Verification Token.
    fn open(keys: &WebhookKeys, body: &[u8]) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        struct Sealed {
            encrypt: String,
        }
        let sealed: Sealed =
            serde_json::from_slice(body).map_err(|_| Refusal::Malformed("the body is no JSON with an encrypt"))?;
        let opened = cipher::open(keys.encrypt_key.expose_secret(), &sealed.encrypt).map_err(|error| match error {
            Unopened::Encoding => Refusal::Malformed("the ciphertext is not base64 of whole blocks"),
            Unopened::Key => Refusal::Forged("the body does not open with the Encrypt Key that is configured"),
        })?;
        let posted: Self =
            serde_json::from_slice(&opened).map_err(|_| Refusal::Malformed("what is encrypted is no event"))?;
        let token = posted.header.as_ref().map_or(&posted.token, |header| &header.token);
        let token = token.as_ref().ok_or(Refusal::Forged("the verification token is missing"))?;
        let known = token.as_bytes().ct_eq(keys.verification_token.expose_secret().as_bytes());
        if known.into() { Ok(posted) } else { Err(Refusal::Forged("the verification token is another app's")) }
    }

    /// The answer, where this is the check of the URL.
    fn challenge(&self) -> Option<Received> {
        let asked = self.kind.as_deref() == Some("url_verification") && self.header.is_none();
        let challenge = self.challenge.as_ref().filter(|_| asked)?;
        Some(Received::question(Response::json(&json!({ "challenge": challenge }))))
    }

    fn read(self, keys: &WebhookKeys) -> Result<Received, Refusal> {
        let Some(header) = self.header else { return Ok(Received::one(None)) };
        let event = Event { id: header.event_id, created_at: header.create_time.0, body: self.event };
        match header.event_type.as_str() {
            "im.message.receive_v1" => event.message(keys),
            "card.action.trigger" => event.press(),
            "im.chat.member.bot.added_v1" => event.bot(ChannelEvent::Joined),
            "im.chat.member.bot.deleted_v1" => event.bot(ChannelEvent::Left),
            "im.chat.access_event.bot_p2p_chat_entered_v1" => event.entered(),
            "im.chat.member.user.added_v1" => event.arrivals(),
            "im.chat.member.user.deleted_v1" => event.departures(),
            _ => Ok(Received::one(None)),
        }
    }
}

/// A person, by the one of several ids that is always there.
#[derive(Deserialize)]
pub(super) struct Person {
    pub(super) open_id: Option<String>,
}

/// An event of version 2.0, by its id.
struct Event {
    id: String,
    created_at: Option<Timestamp>,
    body: Value,
}

impl Event {
    /// "接收消息", `uAjLw4CM/ukTMukTMukTM/reference/im-v1/message/events/receive`. Repeats are to be told by the
    /// message's id, "不要依赖event_id".
    fn message(self, keys: &WebhookKeys) -> Result<Received, Refusal> {
        #[derive(Deserialize)]
        struct Body {
            sender: Sender,
            message: Message,
        }
        #[derive(Deserialize)]
        struct Sender {
            sender_id: Option<Person>,
            sender_type: String,
        }
        let Body { sender, message } = body(self.body)?;
        if sender.sender_type != "user" {
            return Ok(Received::one(None));
        }
        let Some(content) = message.content(keys)? else { return Ok(Received::one(None)) };
        let sender = id(sender.sender_id.and_then(|sender| sender.open_id))?;
        let room = id(Some(message.chat_id))?;
        let message_id = id(Some(message.message_id))?;
        let address = Address {
            chat: room.clone(),
            message: Some(message_id.clone()),
            thread: message.thread_id.is_some_and(|thread| !thread.is_empty()),
        };
        // The event may be a later one than the first of this message.
        let sent_at = [message.create_time.0, self.created_at].into_iter().flatten().min();
        incoming(&message_id, sent_at, &room, &sender, address, content).map(|message| Received::one(Some(message)))
    }

    /// "卡片回传交互", `uAjLw4CM/ukzMukzMukzM/feishu-cards/card-callback-communication`. The answer shows the person
    /// what was understood, because a press leaves no message of its own.
    fn press(self) -> Result<Received, Refusal> {
        #[derive(Deserialize)]
        struct Body {
            operator: Person,
            action: Action,
            context: Context,
        }
        #[derive(Deserialize)]
        struct Action {
            #[serde(default)]
            value: Value,
        }
        #[derive(Deserialize)]
        struct Context {
            open_message_id: Option<String>,
            open_chat_id: Option<String>,
        }
        let Body { operator, action, context } = body(self.body)?;
        let Some(words) =
            action.value.get(SAY).and_then(Value::as_str).map(str::trim).filter(|words| !words.is_empty())
        else {
            return Ok(Received::one(None).answered(Response::json(&json!({}))));
        };
        let (room, card) = (id(context.open_chat_id)?, id(context.open_message_id)?);
        let address = Address { chat: room.clone(), message: Some(card), thread: false };
        let message =
            incoming(&self.id, self.created_at, &room, &id(operator.open_id)?, address, Content::text(words))?;
        let toast = json!({ "toast": { "type": "info", "content": words } });
        Ok(Received::one(Some(message)).answered(Response::json(&toast)))
    }

    /// "机器人进群", `uAjLw4CM/ukTMukTMukTM/reference/im-v1/chat-member-bot/events/added`, and "机器人被移出群".
    fn bot(self, happened: ChannelEvent) -> Result<Received, Refusal> {
        let Chat { chat_id, operator_id, .. } = body(self.body)?;
        let operator = id(operator_id.and_then(|operator| operator.open_id))?;
        let happened = self::happened((&self.id, self.created_at), &id(Some(chat_id))?, &operator, happened)?;
        Ok(Received::one(Some(happened)))
    }

    /// "用户进入与机器人的会话": each time a person opens the private chat, which is too often for a welcome. Only the
    /// first time there is no message in it.
    fn entered(self) -> Result<Received, Refusal> {
        let Chat { chat_id, operator_id, last_message_id, .. } = body(self.body)?;
        if last_message_id.is_some_and(|id| !id.is_empty()) {
            return Ok(Received::one(None));
        }
        let person = id(operator_id.and_then(|operator| operator.open_id))?;
        let joined = happened((&self.id, self.created_at), &id(Some(chat_id))?, &person, ChannelEvent::Joined)?;
        Ok(Received::one(Some(joined)))
    }

    /// "用户进群", `uAjLw4CM/ukTMukTMukTM/reference/im-v1/chat-member-user/events/added`: one welcome for all who came
    /// at once.
    fn arrivals(self) -> Result<Received, Refusal> {
        let Chat { chat_id, users, .. } = body(self.body)?;
        let room = id(Some(chat_id))?;
        let first = users.into_iter().find_map(|user| user.user_id?.open_id);
        let event = (self.id.as_str(), self.created_at);
        let joined = first.map(|person| happened(event, &room, &id(Some(person))?, ChannelEvent::Joined));
        Ok(Received::one(joined.transpose()?))
    }

    /// "用户出群", `uAjLw4CM/ukTMukTMukTM/reference/im-v1/chat-member-user/events/deleted`.
    fn departures(self) -> Result<Received, Refusal> {
        let Chat { chat_id, users, .. } = body(self.body)?;
        let room = id(Some(chat_id))?;
        let people = users.into_iter().filter_map(|user| user.user_id?.open_id).take(MAX_LEAVING);
        let event = (self.id.as_str(), self.created_at);
        let left = people.map(|person| happened(event, &room, &id(Some(person))?, ChannelEvent::Left).map(Some));
        let left: Vec<_> = left.collect::<Result<_, _>>()?;
        Ok(if left.is_empty() { Received::one(None) } else { Received::many(left) })
    }
}

/// What the events about a chat say, each a part of it.
#[derive(Deserialize)]
struct Chat {
    chat_id: String,
    operator_id: Option<Person>,
    last_message_id: Option<String>,
    #[serde(default)]
    users: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    user_id: Option<Person>,
}

fn body<T: DeserializeOwned>(event: Value) -> Result<T, Refusal> {
    serde_json::from_value(event).map_err(|_| Refusal::Malformed("the event is not what its type documents"))
}

fn id(id: Option<String>) -> Result<String, Refusal> {
    id.filter(|id| is_id(id)).ok_or(Refusal::Malformed("the event has no valid id of a chat, person or message"))
}

/// `event`: its id, and when it was created.
fn happened(
    event: (&str, Option<Timestamp>),
    room: &str,
    person: &str,
    happened: ChannelEvent,
) -> Result<Incoming, Refusal> {
    let address = Address { chat: room.to_owned(), message: None, thread: false };
    incoming(event.0, event.1, room, person, address, Content::Event(happened))
}

/// A conversation is one person in one chat also where the chat is private: a pressed button does not tell which kind
/// of chat it stands in.
fn incoming(
    id: &str,
    sent_at: Option<Timestamp>,
    room: &str,
    person: &str,
    address: Address,
    content: Content,
) -> Result<Incoming, Refusal> {
    Ok(Incoming::new::<Feishu>(message_id(id)?, chat(&[room, person]), address, content).at(sent_at))
}
