//! What WeChat sends to a server URL ("消息与事件推送介绍", `oplatform/developers/dev/push`; "接收普通消息" and
//! "接收事件推送", `offiaccount/Message_Management/`).
//!
//! A GET checks the URL and wants its `echostr` back. A POST brings one message or event and wants `success` within
//! 5 seconds, or it comes again, up to three times in all. How it is signed depends on the account's 消息加解密方式
//! ("消息加解密说明", `subscription/guide/dev/push/encryption.html`):
//!
//! - 安全模式, with an EncodingAESKey: `msg_signature` covers the sealed message. Nothing else is accepted then, so
//!   兼容模式 (both forms in one body) is read as this.
//! - 明文模式, without one: `signature` covers only the token and the request's timestamp and nonce, **not the body**.
//!   Whoever has seen one request can sign any message with it until it is stale. Safe mode is the one to choose.

use hoopoe_message::{ChannelEvent, Content, Timestamp};
use http::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::{Address, Wechat, is_id};
use crate::contract::webhook::{
    Incoming, Moment, Received, Refusal, Request, Response, Webhook, chat, message_id, signed_parameter,
};
use crate::crypto::envelope::{self, Key};
use crate::text::xml;

/// How far the timestamp of a sealed message may lie from now, in seconds.
///
/// WeChat documents no limit, and its tries come within 15 seconds. Any replay inside this window meets the claim of
/// the first delivery, which lives far longer, so a narrower one would gain nothing and lose messages to a relay's slow
/// clock.
const SEALED_FRESH_SECONDS: u64 = 3600;

/// The same for a request whose signature does not cover the body: the shorter, the less an overheard one is good for.
const PLAIN_FRESH_SECONDS: u64 = 300;

/// What takes the place of a sticker that is not WeChat's own, in a message of the type `text`. Not documented; what
/// accounts report.
const STICKER: &str = "【收到不支持的消息类型，暂无法显示】";

/// What verifies and opens a message, and signs the answer to it.
#[derive(Debug, Deserialize)]
pub struct WebhookKeys {
    pub(super) app_id: String,
    pub(super) token: SecretString,
    /// Of 安全模式; without one, 明文模式.
    #[serde(default, deserialize_with = "key")]
    pub(super) encoding_aes_key: Option<Key>,
    #[serde(default)]
    pub(super) passive: bool,
}

/// A key that is none must not pass for the absence of one.
fn key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Key>, D::Error> {
    let key = Option::<SecretString>::deserialize(deserializer)?;
    key.map(|key| Key::decode(key.expose_secret()).map_err(D::Error::custom)).transpose()
}

impl Webhook for Wechat {
    type Keys = WebhookKeys;

    fn receive(keys: &WebhookKeys, request: &Request<'_>, now: Timestamp) -> Result<Received, Refusal> {
        if request.method == Method::GET {
            // In each mode: `echostr` is never sealed.
            verify_plain(keys, request.query, now)?;
            challenge(signed_parameter(request.query, "echostr")?)
        } else if request.method == Method::POST {
            let told = match &keys.encoding_aes_key {
                Some(key) => read(&open(keys, key, request, now)?)?,
                None => {
                    verify_plain(keys, request.query, now)?;
                    read(request.body)?
                }
            };
            Ok(Received::one(told).answered(Response::ok("success")))
        } else {
            Err(Refusal::Method)
        }
    }
}

fn verify_plain(keys: &WebhookKeys, query: &str, now: Timestamp) -> Result<(), Refusal> {
    // It is the signature of a sealed message but for the ciphertext, and nothing adds nothing.
    envelope::verify_query(&keys.token, query, "signature", "", now, PLAIN_FRESH_SECONDS)
}

/// Verifies a sealed message, and only then decrypts it.
fn open(keys: &WebhookKeys, key: &Key, request: &Request<'_>, now: Timestamp) -> Result<Vec<u8>, Refusal> {
    let [ciphertext] = xml::children(request.body, ["Encrypt"]).map_err(Refusal::Malformed)?;
    let ciphertext = ciphertext.filter(|text| !text.is_empty());
    let ciphertext = ciphertext.ok_or(Refusal::Forged("it is not encrypted; choose 安全模式 in WeChat's console"))?;
    envelope::verify_query(&keys.token, request.query, "msg_signature", &ciphertext, now, SEALED_FRESH_SECONDS)?;
    envelope::open(key, &ciphertext, &keys.app_id)
        .map_err(|error| error.refusal("the envelope is addressed to another AppID"))
}

/// The answer to the URL check: the text as it came. It is a long number; as the signature does not cover it, nothing
/// else is sent back.
fn challenge(echo: String) -> Result<Received, Refusal> {
    let random = echo.len() <= 128 && echo.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if random {
        Ok(Received::question(Response::ok(echo)))
    } else {
        Err(Refusal::Malformed("echostr is something else than a random string"))
    }
}

/// Reads a message; `None` where it does not concern the bot.
fn read(message: &[u8]) -> Result<Option<Incoming>, Refusal> {
    let names = ["ToUserName", "FromUserName", "CreateTime", "MsgType", "MsgId", "Content", "Event", "Encrypt"];
    let [account, user, created, kind, id, text, event, sealed] =
        xml::children(message, names).map_err(Refusal::Malformed)?;
    let kind = kind.ok_or(if sealed.is_some() {
        // As with a wrong key: other keys of the account may open it.
        Refusal::Forged("it is encrypted, and no encoding_aes_key is configured")
    } else {
        Refusal::Malformed("the message has no MsgType")
    })?;
    let content = match (kind.as_str(), event.as_deref()) {
        ("text", _) => match text.unwrap_or_default().trim() {
            STICKER => Content::Unsupported,
            // A press of an entry of our msgmenu among them: the entry's words, with `bizmsgmenuid`.
            text => Content::text(text),
        },
        ("image" | "voice" | "video" | "shortvideo" | "location" | "link", _) => Content::Unsupported,
        // With or without `EventKey`: a person who followed by scanning a code is welcomed as any other.
        ("event", Some("subscribe")) => Content::Event(ChannelEvent::Joined),
        ("event", Some("unsubscribe")) => Content::Event(ChannelEvent::Left),
        ("event", None) => return Err(Refusal::Malformed("the event has no Event")),
        _ => return Ok(None),
    };
    let user = user.filter(|id| is_id(id)).ok_or(Refusal::Malformed("the message has no FromUserName"))?;
    let account = account.filter(|id| is_id(id)).ok_or(Refusal::Malformed("the message has no ToUserName"))?;
    let sent_at = created.and_then(|seconds| seconds.trim().parse().ok());
    let sent_at: u64 = sent_at.ok_or(Refusal::Malformed("the message has no CreateTime"))?;
    // Events have no id; WeChat recommends these for telling a repeated one.
    let id = event.filter(|_| kind == "event").map(|event| format!("{user}:{sent_at}:{event}")).or(id);
    let id = message_id(&id.ok_or(Refusal::Malformed("the message has no MsgId"))?)?;
    let chat = chat(&[&user]);
    let address = Address { user, account, sent_at };
    Ok(Some(Incoming::new::<Wechat>(id, chat, address, content).at(Moment::of_number(sent_at).0)))
}
