//! What WeCom sends to a callback URL ("回调配置", path/90930; "消息格式", path/96467; "事件格式", path/90240).
//!
//! A GET checks the URL and wants the decrypted `echostr` back within a second. A POST brings one sealed message or
//! event and wants an empty 200 within 5 seconds, or it comes again, up to three times.

use hoopoe_message::{ChannelEvent, Content, Timestamp};
use http::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{Address, Wecom, is_user_id};
use crate::contract::settings::exposed;
use crate::contract::webhook::{
    Incoming, Moment, Received, Refusal, Request, Response, Webhook, message_id, signed_parameter,
};
use crate::crypto::envelope::{self, Key};
use crate::text::xml;

/// How far a request's timestamp may lie from now, in seconds.
///
/// WeCom documents no limit, only that timestamp and nonce are there against replays. Its retries come within the
/// minute. Any replay inside this window meets the claim of the first delivery, which lives far longer, so a narrower
/// one would gain nothing and lose messages to a relay's slow clock.
const FRESH_SECONDS: u64 = 3600;

/// What verifies and opens a callback.
#[derive(Debug, Deserialize, Serialize)]
pub struct WebhookKeys {
    pub(super) corp_id: String,
    #[serde(serialize_with = "exposed")]
    pub(super) encoding_aes_key: SecretString,
    #[serde(serialize_with = "exposed")]
    pub(super) token: SecretString,
}

impl Webhook for Wecom {
    type Keys = WebhookKeys;

    fn receive(keys: &WebhookKeys, request: &Request<'_>, now: Timestamp) -> Result<Received, Refusal> {
        if request.method == Method::GET {
            let ciphertext = signed_parameter(request.query, "echostr")?;
            challenge(open(keys, request.query, &ciphertext, now)?)
        } else if request.method == Method::POST {
            let [ciphertext] = xml::children(request.body, ["Encrypt"]).map_err(Refusal::Malformed)?;
            let ciphertext = ciphertext.ok_or(Refusal::Malformed("the body has no Encrypt"))?;
            let message = open(keys, request.query, &ciphertext, now)?;
            Ok(Received::one(read(&message)?))
        } else {
            Err(Refusal::Method)
        }
    }
}

/// Verifies the signature, then the age, and only then decrypts.
fn open(keys: &WebhookKeys, query: &str, ciphertext: &str, now: Timestamp) -> Result<Vec<u8>, Refusal> {
    envelope::verify_query(&keys.token, query, "msg_signature", ciphertext, now, FRESH_SECONDS)?;
    let key = Key::decode(keys.encoding_aes_key.expose_secret())
        .map_err(|_| Refusal::Forged("the EncodingAESKey that is configured is none"))?;
    envelope::open(&key, ciphertext, &keys.corp_id)
        .map_err(|error| error.refusal("the envelope is addressed to another corporation"))
}

/// The answer to the URL check: the text alone, without quotes or line break.
///
/// It is a short number. Anything else is a sealed message that somebody overheard and wants opened.
fn challenge(echo: Vec<u8>) -> Result<Received, Refusal> {
    let echo = String::from_utf8(echo).ok().filter(|echo| {
        echo.len() <= 128 && echo.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    });
    let echo = echo.ok_or(Refusal::Malformed("echostr holds something else than a random string"))?;
    Ok(Received::question(Response::ok(echo)))
}

/// Reads an opened message; `None` where it does not concern the bot.
fn read(message: &[u8]) -> Result<Option<Incoming>, Refusal> {
    let [sender, created, kind, id, text, event] =
        xml::children(message, ["FromUserName", "CreateTime", "MsgType", "MsgId", "Content", "Event"])
            .map_err(Refusal::Malformed)?;
    let kind = kind.ok_or(Refusal::Malformed("the message has no MsgType"))?;
    let sent_at = created.as_deref().and_then(|created| Moment::of_text(created).0);
    let (id, content) = match kind.as_str() {
        "text" => (id, Content::text(text.unwrap_or_default().trim())),
        "image" | "voice" | "video" | "location" | "link" | "file" => (id, Content::Unsupported),
        "event" => {
            let event = event.ok_or(Refusal::Malformed("the event has no Event"))?;
            let happened = match event.as_str() {
                "subscribe" => ChannelEvent::Joined,
                "unsubscribe" => ChannelEvent::Left,
                // `enter_agent` comes each time a member opens the application: too often for a welcome.
                _ => return Ok(None),
            };
            // Events have no id; the platform recommends these for telling a repeated one.
            let id = sender.as_ref().zip(created).map(|(sender, created)| format!("{sender}:{created}:{event}"));
            (id, Content::Event(happened))
        }
        _ => return Ok(None),
    };
    let sender = sender
        .filter(|sender| is_user_id(sender))
        .ok_or(Refusal::Malformed("the message has no FromUserName that is a member's"))?;
    let id = message_id(&id.ok_or(Refusal::Malformed("the message has no id"))?)?;
    Ok(Some(Incoming::new::<Wecom>(id, sender.clone(), Address(sender), content).at(sent_at)))
}
