//! What QQ posts to a callback URL ("事件订阅与通知", `dev-prepare/interface-framework/event-emit.html`).
//!
//! Answered: private messages, group and channel messages that mention the bot, and being added or removed. Everything
//! else is acknowledged and left: who allows the bot to speak first (`…_MSG_RECEIVE`, `…_MSG_REJECT`), deletions,
//! reactions, members, and what bots say.

use hoopoe_message::{ChannelEvent, Content, MessageId, Timestamp};
use http::Method;
use ring::signature::{Ed25519KeyPair, KeyPair};
use secrecy::{ExposeSecret, SecretString};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::text::Said;
use super::{Address, Answers, Qq, Room, is_id, key_pair};
use crate::contract::settings::exposed;
use crate::contract::webhook::{Incoming, Moment, Received, Refusal, Request, Response, Webhook, chat, message_id};
use crate::crypto::signature::{ED25519_SIGNATURE, verify_ed25519, verify_ed25519_request};
use crate::text::group;

/// How far a request's timestamp may lie from now, in seconds.
///
/// QQ documents no limit. Any replay inside this window meets the claim of the first delivery, which lives far longer,
/// and a message that is older can no longer be answered anyway: QQ takes replies for an hour.
const FRESH_SECONDS: u64 = 3600;

/// What the body of a URL check is well below.
const MAX_URL_CHECK_BYTES: usize = 1024;

/// The kinds of request.
mod op {
    pub(super) const DISPATCH: u64 = 0;
    pub(super) const HEARTBEAT: u64 = 1;
    pub(super) const HEARTBEAT_ACK: u64 = 11;
    pub(super) const CALLBACK_ACK: u64 = 12;
    pub(super) const URL_CHECK: u64 = 13;
}

/// What verifies a callback and answers the URL check. QQ has one secret for this and for access tokens.
#[derive(Debug, Deserialize, Serialize)]
pub struct WebhookKeys {
    #[serde(serialize_with = "exposed")]
    pub(super) app_secret: SecretString,
}

impl Webhook for Qq {
    type Keys = WebhookKeys;

    fn receive(keys: &WebhookKeys, request: &Request<'_>, now: Timestamp) -> Result<Received, Refusal> {
        if request.method != Method::POST {
            return Err(Refusal::Method);
        }
        let pair = key_pair(keys.app_secret.expose_secret()).ok_or(Refusal::Forged("no secret is configured"))?;
        if let Err(refusal) = verify_ed25519_request(&public_key(&pair), request, now, FRESH_SECONDS) {
            return early_url_check(&pair, request).ok_or(refusal);
        }
        let payload: Payload = serde_json::from_slice(request.body).map_err(|_| Refusal::Malformed("not a Payload"))?;
        match payload.op {
            op::DISPATCH => Ok(Received::one(read(payload)?).answered(acknowledged(op::CALLBACK_ACK, 0))),
            op::HEARTBEAT => {
                let answer = acknowledged(op::HEARTBEAT_ACK, payload.d.as_u64().unwrap_or_default());
                Ok(Received::question(answer))
            }
            op::URL_CHECK => {
                let check = UrlCheck::of(&payload).ok_or(Refusal::Malformed("not a URL check"))?;
                Ok(check.answer(&pair))
            }
            _ => Ok(Received::one(None).answered(acknowledged(op::CALLBACK_ACK, 0))),
        }
    }
}

/// Anything but `d: 0` makes QQ send it again (tencent-connect/botgo, `interaction/webhook/webhook.go`).
fn acknowledged(op: u64, d: u64) -> Response {
    Response::json(&json!({ "op": op, "d": d }))
}

fn public_key(pair: &Ed25519KeyPair) -> [u8; 32] {
    pair.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes")
}

/// The URL check where it is not signed like everything else. The document shows it without a signature;
/// tencent-connect/bot-docs, issue 245, with one over what the bot is to sign.
///
/// Whoever asks gets something signed with the key that also signs events. [`UrlCheck`] holds nothing that could be
/// one: behind its digits there is no `{`.
fn early_url_check(pair: &Ed25519KeyPair, request: &Request<'_>) -> Option<Received> {
    if request.body.len() > MAX_URL_CHECK_BYTES {
        return None;
    }
    let payload: Payload = serde_json::from_slice(request.body).ok()?;
    let check = UrlCheck::of(&payload).filter(|_| payload.op == op::URL_CHECK)?;
    if let Some(signature) = request.headers.get(ED25519_SIGNATURE) {
        verify_ed25519(&public_key(pair), check.signed().as_bytes(), signature.to_str().ok()?).ok()?;
    }
    Some(check.answer(pair))
}

/// What is to be signed to show that the URL is the bot's.
struct UrlCheck {
    plain_token: String,
    event_ts: String,
}

impl UrlCheck {
    fn of(payload: &Payload) -> Option<Self> {
        let plain_token = payload.d.get("plain_token")?.as_str()?.to_owned();
        let event_ts = match payload.d.get("event_ts")? {
            Value::String(digits) => digits.clone(),
            number => number.as_u64()?.to_string(),
        };
        let formed = (1..=128).contains(&plain_token.len())
            && plain_token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-+/=.".contains(&byte))
            && (1..=20).contains(&event_ts.len())
            && event_ts.bytes().all(|byte| byte.is_ascii_digit());
        formed.then_some(Self { plain_token, event_ts })
    }

    fn signed(&self) -> String {
        format!("{}{}", self.event_ts, self.plain_token)
    }

    fn answer(&self, pair: &Ed25519KeyPair) -> Received {
        let signature = hex::encode(pair.sign(self.signed().as_bytes()));
        Received::question(Response::json(&json!({ "plain_token": self.plain_token, "signature": signature })))
    }
}

#[derive(Deserialize)]
struct Payload {
    op: u64,
    id: Option<String>,
    /// The kind of the event.
    t: Option<String>,
    #[serde(default)]
    d: Value,
}

/// Reads an event; `None` where it does not concern the bot.
fn read(payload: Payload) -> Result<Option<Incoming>, Refusal> {
    match payload.t.as_deref().unwrap_or_default() {
        "C2C_MESSAGE_CREATE" => read_message(Kind::Private, details(payload.d)?),
        "GROUP_AT_MESSAGE_CREATE" => read_message(Kind::Group, details(payload.d)?),
        // Where the bot may hear everything in a group, this comes instead.
        "GROUP_MESSAGE_CREATE" => {
            let message: Message = details(payload.d)?;
            let mentioned = message.mentions.iter().flatten().any(|mention| mention.is_you == Some(true));
            if mentioned { read_message(Kind::Group, message) } else { Ok(None) }
        }
        "AT_MESSAGE_CREATE" => read_message(Kind::Channel, details(payload.d)?),
        "DIRECT_MESSAGE_CREATE" => read_message(Kind::Direct, details(payload.d)?),
        "FRIEND_ADD" => read_change(ChannelEvent::Joined, payload.id, details(payload.d)?),
        "FRIEND_DEL" => read_change(ChannelEvent::Left, payload.id, details(payload.d)?),
        "GROUP_ADD_ROBOT" => read_change(ChannelEvent::Joined, payload.id, details(payload.d)?),
        "GROUP_DEL_ROBOT" => read_change(ChannelEvent::Left, payload.id, details(payload.d)?),
        _ => Ok(None),
    }
}

fn details<T: DeserializeOwned>(d: Value) -> Result<T, Refusal> {
    serde_json::from_value(d).map_err(|_| Refusal::Malformed("an event is not what its kind documents"))
}

/// Where a message was said.
enum Kind {
    Private,
    Group,
    Channel,
    Direct,
}

/// "事件" (`server-inter/message/send-receive/event.html`).
#[derive(Deserialize)]
struct Message {
    id: String,
    #[serde(default)]
    timestamp: Moment,
    author: Author,
    content: Option<String>,
    attachments: Option<Vec<IgnoredAny>>,
    mentions: Option<Vec<Mention>>,
    group_openid: Option<String>,
    channel_id: Option<String>,
    guild_id: Option<String>,
}

#[derive(Deserialize)]
struct Author {
    /// In guilds.
    id: Option<String>,
    user_openid: Option<String>,
    member_openid: Option<String>,
    bot: Option<bool>,
}

#[derive(Deserialize)]
struct Mention {
    is_you: Option<bool>,
}

fn read_message(kind: Kind, message: Message) -> Result<Option<Incoming>, Refusal> {
    let Message { id, timestamp, author, content, attachments, group_openid, channel_id, guild_id, .. } = message;
    if author.bot == Some(true) {
        return Ok(None);
    }
    let (person, room) = match kind {
        Kind::Private => (author.user_openid.clone(), author.user_openid.map(Room::User)),
        Kind::Group => (author.member_openid, group_openid.map(Room::Group)),
        Kind::Channel => (author.id, channel_id.map(Room::Channel)),
        Kind::Direct => (author.id, guild_id.map(Room::Direct)),
    };
    let (person, room) = person.zip(room).ok_or(Refusal::Malformed("a message names no author or room"))?;
    let said = Said::of(content.as_deref().unwrap_or_default(), &room);
    let seen = said.faces || attachments.is_some_and(|attachments| !attachments.is_empty());
    let content = group::said(&said.text, seen || matches!(kind, Kind::Private | Kind::Direct));
    let address = Address { room, answers: Answers::Message(id.clone()) };
    incoming((message_id(&id)?, timestamp), &person, address, content).map(Some)
}

/// "事件" (`server-inter/user/manage/event.html`, `server-inter/group/manage/event.html`).
#[derive(Deserialize)]
struct Change {
    openid: Option<String>,
    group_openid: Option<String>,
    #[serde(default)]
    timestamp: Moment,
    /// Who added or removed the bot.
    op_member_openid: Option<String>,
}

fn read_change(event: ChannelEvent, id: Option<String>, change: Change) -> Result<Option<Incoming>, Refusal> {
    let id = id.ok_or(Refusal::Malformed("an event has no id"))?;
    let (person, room) = match (change.openid, change.group_openid, change.op_member_openid) {
        (_, Some(group), Some(member)) => (member, Room::Group(group)),
        (Some(person), None, _) => (person.clone(), Room::User(person)),
        _ => return Err(Refusal::Malformed("an event names no person or group")),
    };
    let address = Address { room, answers: Answers::Event(id.clone()) };
    incoming((message_id(&id)?, change.timestamp), &person, address, Content::Event(event)).map(Some)
}

/// In a group or channel a conversation is one member's.
fn incoming(
    (id, Moment(sent_at)): (MessageId, Moment),
    person: &str,
    address: Address,
    content: Content,
) -> Result<Incoming, Refusal> {
    let (room, chat) = match &address.room {
        Room::User(user) => (user, chat(&[user])),
        Room::Group(room) | Room::Channel(room) | Room::Direct(room) => (room, chat(&[room, person])),
    };
    if !is_id(room) || !is_id(person) {
        return Err(Refusal::Malformed("the id of a person or room is none"));
    }
    Ok(Incoming::new::<Qq>(id, chat, address, content).at(sent_at))
}
