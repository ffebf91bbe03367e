//! The callbacks of events ("配置事件推送方式", development/configure-stream-push, and "HTTP回调概述",
//! development/http-callback-overview): the envelope of WeCom in JSON, `{"encrypt": …}`, with the signature in the
//! query.
//!
//! The receiver in the envelope is the application's AppKey where the event was subscribed to in the console, and the
//! organisation's CorpId where it was through the API; both of DingTalk's own pages say so, and the comment of its
//! library (open-dingtalk/DingTalk-Callback-Crypto).
//!
//! DingTalk expects the word `success` in such an envelope within 2.5 seconds (1.5 on the older page), for every event
//! and for `check_url`, with which it tries the URL.
//!
//! A group of which a robot becomes or stops being a member is told of only where it came as a 酷应用. Events about
//! people name the group and the members; DingTalk has none about following or blocking a robot in private.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hoopoe_message::{ChannelEvent, Content, Timestamp};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::receive::{FRESH_SECONDS, WebhookKeys};
use super::{Address, Dingtalk, is_id, scalar};
use crate::contract::webhook::{Incoming, Received, Refusal, Request, Response, chat, fresh, message_id, parameter};
use crate::crypto::envelope::{self, Key, Unopened};
use crate::crypto::signature::hmac_sha256;

/// The body is read before its signature can be checked.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Milliseconds and seconds both occur as `timestamp`: the samples of DingTalk's documents have seconds, what it really
/// posts has milliseconds. In seconds this is the year 5138.
const MILLISECONDS_FROM: u64 = 100_000_000_000;

/// How many members of one event are told apart; more than can be chosen at once in the app.
const MAX_MEMBERS: usize = 50;

/// Whether a query carries the signature of an event. It is called `msg_signature` or `signature`, and DingTalk's own
/// sample looks for them in this order.
pub(super) fn is_signed(query: &str) -> bool {
    signature(query).is_some()
}

/// A parameter of the query that is there and can be read.
fn given(query: &str, name: &str) -> Option<String> {
    parameter(query, name).ok().flatten()
}

fn signature(query: &str) -> Option<String> {
    given(query, "msg_signature").or_else(|| given(query, "signature"))
}

/// Verifies the signature, then the age, and only then decrypts and reads.
pub(super) fn receive(keys: &WebhookKeys, request: &Request<'_>, now: Timestamp) -> Result<Received, Refusal> {
    let (Some(token), Some(encoding_aes_key)) = (&keys.token, &keys.encoding_aes_key) else {
        return Err(Refusal::Forged("the settings have no token and encoding_aes_key, which events need"));
    };
    let (token, encoding_aes_key) = (token.expose_secret(), encoding_aes_key.expose_secret());
    if token.is_empty() {
        return Err(Refusal::Forged("no token is configured"));
    }
    let missing = Refusal::Forged("a parameter of the signature is missing");
    let parts = (signature(request.query), given(request.query, "timestamp"), given(request.query, "nonce"));
    let (Some(signature), Some(timestamp), Some(nonce)) = parts else { return Err(missing) };
    if request.body.len() > MAX_BODY_BYTES {
        return Err(Refusal::Malformed("the event is larger than 64 KiB"));
    }
    let Sealed { encrypt } =
        serde_json::from_slice(request.body).map_err(|_| Refusal::Malformed("the body has no encrypt"))?;
    if !envelope::verify(token, &timestamp, &nonce, &encrypt, &signature) {
        return Err(Refusal::Forged("the signature is wrong"));
    }
    let told: u64 = timestamp.parse().map_err(|_| Refusal::Malformed("the timestamp is no number"))?;
    fresh(if told < MILLISECONDS_FROM { told } else { told / 1000 }, now, FRESH_SECONDS)?;
    let key = Key::decode(encoding_aes_key)
        .map_err(|_| Refusal::Forged("the encoding_aes_key that is configured is none"))?;
    let (event, receiver) = open(keys, &key, &encrypt)?;
    let event: Event = serde_json::from_slice(&event).map_err(|_| Refusal::Malformed("not an event"))?;
    let random = Random::of(encoding_aes_key, &signature);
    let answer = success(token, &key, receiver, &timestamp, &random);
    if event.kind == "check_url" {
        return Ok(Received::question(answer));
    }
    Ok(Received::many(event.read(keys)?).answered(answer))
}

/// The event, and to which of our names it was addressed.
fn open<'a>(keys: &'a WebhookKeys, key: &Key, ciphertext: &str) -> Result<(Vec<u8>, &'a str), Refusal> {
    let mut last = Unopened::Receiver;
    for receiver in std::iter::once(&keys.app_key).chain(&keys.corp_id) {
        match envelope::open(key, ciphertext, receiver) {
            Ok(event) => return Ok((event, receiver)),
            Err(error) => last = error,
        }
    }
    Err(last.refusal("the envelope is addressed to neither the app_key nor the corp_id"))
}

/// What has to be unpredictable in an answer.
struct Random {
    /// What precedes the message in the envelope.
    salt: [u8; 16],
    nonce: String,
}

impl Random {
    /// Derived from the request instead of drawn: nothing here has a source of randomness, and a request that comes
    /// again has to get the same answer.
    ///
    /// That is sound. Without the AES key nobody can tell an HMAC under it from random bytes, so nobody can predict the
    /// first block; and each request has another signature, so no two of them get the same. The envelope encrypts
    /// under a fixed initial vector, and the salt is all that keeps two answers, which say the same, from being equal.
    fn of(encoding_aes_key: &str, signature: &str) -> Self {
        let digest = hmac_sha256(encoding_aes_key.as_bytes(), &[b"dingtalk answer\n", signature.as_bytes()]);
        let mut salt = [0; 16];
        // Characters, as DingTalk's own libraries draw them: 96 bits.
        URL_SAFE_NO_PAD.encode_slice(&digest[..12], &mut salt).expect("12 bytes are 16 characters");
        // 16 characters, of which one version of DingTalk's library makes a rule.
        Self { salt, nonce: hex::encode(&digest[12..20]) }
    }
}

fn success(token: &str, key: &Key, receiver: &str, timestamp: &str, random: &Random) -> Response {
    let sealed = envelope::seal(key, random.salt, b"success", receiver);
    Response::json(&json!({
        "msg_signature": envelope::sign(token, timestamp, &random.nonce, &sealed),
        "timeStamp": timestamp,
        "nonce": random.nonce,
        "encrypt": sealed,
    }))
}

#[derive(Deserialize)]
struct Sealed {
    encrypt: String,
}

/// "群会话添加人员" (development/group-session-add-persons), "群会话用户主动退群"
/// (development/group-session-users-actively-withdraw-from-the-group), "群内卸载酷应用事件"
/// (development/uninstall-cool-app-event-in-group) and their like.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "EventType")]
    kind: String,
    #[serde(default, deserialize_with = "scalar")]
    event_id: Option<String>,
    #[serde(rename = "BizId", default, deserialize_with = "scalar")]
    biz_id: Option<String>,
    #[serde(default, deserialize_with = "scalar")]
    open_conversation_id: Option<String>,
    #[serde(default, deserialize_with = "scalar")]
    robot_code: Option<String>,
    #[serde(default, deserialize_with = "scalar")]
    cool_app_code: Option<String>,
    /// Who did it.
    #[serde(default, deserialize_with = "scalar")]
    operator: Option<String>,
    /// To whom.
    #[serde(rename = "userId", default)]
    members: Value,
}

impl Event {
    /// What happened to conversations of the bot; `None` where it is none of its business.
    fn read(&self, keys: &WebhookKeys) -> Result<Vec<Option<Incoming>>, Refusal> {
        let (happened, people) = match self.kind.as_str() {
            "im_cool_app_install" | "im_cool_app_uninstall"
                if self.robot_code.as_ref().is_some_and(|code| *code != keys.robot_code) =>
            {
                return Ok(vec![None]);
            }
            "im_cool_app_install" => (ChannelEvent::Joined, self.operator()),
            "im_cool_app_uninstall" => (ChannelEvent::Left, self.operator()),
            // One welcome is enough for all who were added at once.
            "chat_add_member" => (ChannelEvent::Joined, self.members().into_iter().take(1).collect()),
            "chat_remove_member" => (ChannelEvent::Left, self.members()),
            // The one who left.
            "chat_quit" => (ChannelEvent::Left, self.operator()),
            _ => return Ok(vec![None]),
        };
        let Some(group) = self.open_conversation_id.as_ref().filter(|id| is_id(id)) else { return Ok(vec![None]) };
        if people.is_empty() {
            return Ok(vec![None]);
        }
        let id = self.event_id.as_ref().or(self.biz_id.as_ref());
        let id = message_id(id.ok_or(Refusal::Malformed("the event has no eventId"))?)?;
        let cool_app = self.cool_app_code.as_ref().filter(|code| is_id(code)).cloned();
        let address = Address { group: Some(group.clone()), cool_app, ..Address::default() };
        // The events about groups do not say when they happened.
        let event = Incoming::new::<Dingtalk>(id, String::new(), address, Content::Event(happened));
        let of = |person: &str| Incoming { chat: chat(&[group, person]), ..event.clone() };
        Ok(people.into_iter().map(|person| Some(of(person))).collect())
    }

    fn operator(&self) -> Vec<&str> {
        self.operator.as_deref().filter(|id| is_id(id)).into_iter().collect()
    }

    /// The members it names, each once.
    fn members(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        let named = self.members.as_array().into_iter().flatten().filter_map(Value::as_str);
        named.filter(|id| is_id(id) && seen.insert(*id)).take(MAX_MEMBERS).collect()
    }
}
