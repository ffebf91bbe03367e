//! What DingTalk posts to a robot in HTTP mode ("消息发送与接收类型", development/robot-message-type, and "机器人接收消息",
//! dingstart/robot-receive-message). The sample there returns nothing: an empty 200.
//!
//! Two kinds of request come to the one URL, each with a proof of its own: a robot's messages carry it in the header
//! `sign`, the callbacks of events in the query; see `event`.
//!
//! Answered: what is said in private, and what mentions the robot in a group, which is all that DingTalk delivers.

use hoopoe_message::{Content, Timestamp};
use http::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Address, Dingtalk, Session, event, is_dingtalks, is_id, scalar};
use crate::contract::settings::{exposed, exposed_if_any};
use crate::contract::webhook::{Incoming, Moment, Received, Refusal, Request, Webhook, chat, fresh, message_id};
use crate::crypto::signature::verify_hmac_base64;
use crate::text::group;

/// "timestamp 与系统当前时间戳如果相差1小时以上，则认为是非法的请求".
pub(super) const FRESH_SECONDS: u64 = 3600;

/// Far above what DingTalk posts.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// What verifies a robot's messages, and, with `token` and `encoding_aes_key`, the callbacks of events.
#[derive(Debug, Deserialize, Serialize)]
pub struct WebhookKeys {
    #[serde(default)]
    pub(super) api_base: Option<String>,
    pub(super) app_key: String,
    #[serde(serialize_with = "exposed")]
    pub(super) app_secret: SecretString,
    #[serde(default)]
    pub(super) corp_id: Option<String>,
    #[serde(default, serialize_with = "exposed_if_any")]
    pub(super) encoding_aes_key: Option<SecretString>,
    pub(super) robot_code: String,
    #[serde(default, serialize_with = "exposed_if_any")]
    pub(super) token: Option<SecretString>,
}

impl Webhook for Dingtalk {
    type Keys = WebhookKeys;

    fn receive(keys: &WebhookKeys, request: &Request<'_>, now: Timestamp) -> Result<Received, Refusal> {
        if request.method != Method::POST {
            return Err(Refusal::Method);
        }
        if request.headers.contains_key("sign") {
            verify(keys, request, now)?;
            if request.body.len() > MAX_BODY_BYTES {
                return Err(Refusal::Malformed("the message is larger than 256 KiB"));
            }
            let message: RobotMessage =
                serde_json::from_slice(request.body).map_err(|_| Refusal::Malformed("not a robot's message"))?;
            message.is_for(keys)?;
            Ok(Received::one(message.read(keys)?))
        } else if event::is_signed(request.query) {
            event::receive(keys, request, now)
        } else {
            Err(Refusal::Forged("it has neither the signature of a robot's message nor that of an event"))
        }
    }
}

/// The proof covers the time and nothing else: it is the HMAC of the header `timestamp`, a line feed and the secret,
/// keyed with the same secret. So the body is believed only as far as [`RobotMessage::is_for`] and [`is_dingtalks`] go.
fn verify(keys: &WebhookKeys, request: &Request<'_>, now: Timestamp) -> Result<(), Refusal> {
    let timestamp = request.header("timestamp").ok_or(Refusal::Forged("the timestamp is missing"))?;
    let sign = request.header("sign").ok_or(Refusal::Forged("the signature is not text"))?;
    let secret = keys.app_secret.expose_secret().as_bytes();
    verify_hmac_base64(secret, &[timestamp.as_bytes(), b"\n", secret], sign)?;
    let millis: u64 = timestamp.parse().map_err(|_| Refusal::Malformed("the timestamp is no number"))?;
    fresh(millis / 1000, now, FRESH_SECONDS)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RobotMessage {
    #[serde(default, deserialize_with = "scalar")]
    robot_code: Option<String>,
    #[serde(default, deserialize_with = "scalar")]
    chatbot_corp_id: Option<String>,
    #[serde(default, deserialize_with = "scalar")]
    chatbot_user_id: Option<String>,
    #[serde(default, deserialize_with = "scalar")]
    msg_id: Option<String>,
    #[serde(default)]
    create_at: Moment,
    #[serde(rename = "msgtype", default, deserialize_with = "scalar")]
    kind: Option<String>,
    /// 1: private, 2: a group.
    #[serde(default, deserialize_with = "scalar")]
    conversation_type: Option<String>,
    #[serde(default, deserialize_with = "scalar")]
    conversation_id: Option<String>,
    #[serde(default, deserialize_with = "scalar")]
    is_in_at_list: Option<String>,
    /// The userId. It comes only once the robot is published, and of the robot's own organisation only.
    #[serde(default, deserialize_with = "scalar")]
    sender_staff_id: Option<String>,
    /// An encrypted id, which everybody has.
    #[serde(default, deserialize_with = "scalar")]
    sender_id: Option<String>,
    #[serde(default, deserialize_with = "scalar")]
    session_webhook: Option<String>,
    #[serde(default, deserialize_with = "scalar")]
    session_webhook_expired_time: Option<String>,
    #[serde(default)]
    text: Value,
    #[serde(default)]
    content: Value,
}

impl RobotMessage {
    /// Whether it names the robot that is configured. One page of the documents shows messages without `robotCode`;
    /// then the organisation has to be the configured one.
    fn is_for(&self, keys: &WebhookKeys) -> Result<(), Refusal> {
        let robot = self.robot_code.as_ref().map(|code| *code == keys.robot_code);
        let corporation = keys.corp_id.as_ref().zip(self.chatbot_corp_id.as_ref()).map(|(ours, its)| ours == its);
        match (robot, corporation) {
            (Some(false), _) => Err(Refusal::Forged("the message is for another robot")),
            (_, Some(false)) => Err(Refusal::Forged("the message is for a robot of another organisation")),
            (None, None) => Err(Refusal::Forged("the message names neither the robot nor a configured organisation")),
            (Some(true), _) | (None, Some(true)) => Ok(()),
        }
    }

    /// What it says to the robot; `None` where it says nothing, or cannot be answered.
    fn read(self, keys: &WebhookKeys) -> Result<Option<Incoming>, Refusal> {
        let group = match self.conversation_type.as_deref() {
            Some("1") => false,
            Some("2") => true,
            _ => return Ok(None),
        };
        let user = self.sender_staff_id.as_ref().filter(|id| is_id(id));
        let Some(person) = user.or(self.sender_id.as_ref()) else { return Ok(None) };
        let echo = self.sender_id.is_some() && self.sender_id == self.chatbot_user_id;
        if echo || (group && self.is_in_at_list.as_deref() != Some("true")) {
            return Ok(None);
        }
        let Some(content) = self.says() else { return Ok(None) };
        let room = self
            .conversation_id
            .as_ref()
            .filter(|id| is_id(id))
            .ok_or(Refusal::Malformed("the message has no conversationId"))?;
        let session = self.session(keys);
        if !group && user.is_none() && session.is_none() {
            return Ok(None);
        }
        let address = Address { user: user.cloned(), group: group.then(|| room.clone()), cool_app: None, session };
        let chat = if group { chat(&[room, person]) } else { chat(&[room]) };
        let id = message_id(&self.msg_id.ok_or(Refusal::Malformed("the message has no msgId"))?)?;
        Ok(Some(Incoming::new::<Dingtalk>(id, chat, address, content).at(self.create_at.0)))
    }

    fn session(&self, keys: &WebhookKeys) -> Option<Session> {
        let url = self.session_webhook.as_ref().filter(|url| is_dingtalks(url, keys.api_base.as_deref()))?;
        let until = self.session_webhook_expired_time.as_ref()?.parse().ok()?;
        Some(Session { url: url.clone(), until })
    }

    /// The words, from which DingTalk has taken the mentions out; a message of an organisation whose quota is used up
    /// comes without (error 20001).
    fn says(&self) -> Option<Content> {
        match self.kind.as_deref()? {
            "text" => {
                let words = self.text.get("content").or(Some(&self.content)).and_then(Value::as_str)?;
                Some(group::said(words, false))
            }
            "richText" => {
                let parts = self.content.get("richText").and_then(Value::as_array)?;
                let words = |part: &Value| part.get("text").and_then(Value::as_str).unwrap_or("\n").to_owned();
                let whole: String = parts.iter().map(words).collect();
                Some(match whole.trim() {
                    "" => Content::Unsupported,
                    words => Content::text(words),
                })
            }
            "picture" | "audio" | "video" | "file" | "unknownMsgType" => Some(Content::Unsupported),
            _ => None,
        }
    }
}
