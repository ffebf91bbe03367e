//! DingTalk (钉钉) robots of an organisation's own applications (企业内部应用机器人), in HTTP mode.
//!
//! | module | what is in it |
//! |---|---|
//! | `receive` | which of two kinds a request is, and the messages of a robot |
//! | `event` | the encrypted callbacks of events |
//! | `send` | a reply through the session's webhook or the robot's API, and what DingTalk says to both |
//! | `settings` | [`Settings`] of a robot |
//! | `counterpart` | DingTalk's side, for tests |
//!
//! Documents are named by their title and what follows <https://open.dingtalk.com/document/>.

#[cfg(feature = "counterpart")]
mod counterpart;
mod event;
mod receive;
mod send;
mod settings;

pub use receive::WebhookKeys;
pub use send::SendKeys;
pub use settings::Settings;

use hoopoe_message::{Channel, Timestamp};
use http::Uri;
use http::uri::Scheme;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::{Platform, ReplyAddress};

/// The DingTalk channel.
pub struct Dingtalk;

impl Platform for Dingtalk {
    const CHANNEL: Channel = Channel::Dingtalk;

    type Settings = Settings;

    type Address = Address;
}

/// Where a reply goes, as it travels through the queues.
///
/// It has no `Debug`: who knows the session's webhook can post to the chat until it expires.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// The person's userId: whom a private reply is for, and whom one in a group mentions. Somebody of another
    /// organisation has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// The group's openConversationId; `None` in private.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    /// The 酷应用 by which the robot came into the group, where an event told it: the API wants it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cool_app: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<Session>,
}

impl ReplyAddress for Address {
    fn is_valid(&self) -> bool {
        [&self.user, &self.group, &self.cool_app].into_iter().flatten().all(|id| is_id(id))
    }
}

/// The webhook that comes with a message and takes replies to it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Session {
    url: String,
    /// In milliseconds since 1970.
    until: u64,
}

impl Session {
    fn is_open(&self, now: Timestamp) -> bool {
        now.as_millis() < self.until
    }
}

/// The hosts of DingTalk's two APIs. Session webhooks are on the first of them.
const HOSTS: [&str; 2] = ["oapi.dingtalk.com", "api.dingtalk.com"];

/// Whether replies may be posted to a session's webhook: only over HTTPS to DingTalk itself, or below the API's address
/// that the operator configured.
///
/// The address stands in a message's body, which DingTalk's signature does not cover. Whoever gets hold of one pair of
/// signed headers could otherwise have the bot post what it says, from its own network, to any host.
fn is_dingtalks(url: &str, api_base: Option<&str>) -> bool {
    const MAX_BYTES: usize = 1024;
    if url.len() > MAX_BYTES || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return false;
    }
    let below = api_base.and_then(|base| url.strip_prefix(base)).is_some_and(|rest| {
        rest.starts_with('/') && !rest.contains("..") && !rest.to_ascii_lowercase().contains("%2e")
    });
    below
        || url.parse::<Uri>().is_ok_and(|uri| {
            uri.scheme() == Some(&Scheme::HTTPS)
                && uri.authority().is_some_and(|authority| HOSTS.contains(&authority.as_str()))
        })
}

/// Whether a text can be an id of DingTalk. Its ids are opaque; the longest in its documents is below 60 bytes.
fn is_id(text: &str) -> bool {
    (1..=256).contains(&text.len()) && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// A text, number or truth value as text: DingTalk's documents and samples disagree on which of them some fields are.
/// `None` for an empty text and anything else.
fn scalar<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) if !text.is_empty() => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dingtalk_and_the_configured_server_get_replies() {
        let base = Some("http://127.0.0.1:9000/ding");
        for url in [
            "https://oapi.dingtalk.com/robot/sendBySession?session=0a1b",
            "https://api.dingtalk.com/v1.0/robot/sendBySession?session=0a1b",
        ] {
            assert!(is_dingtalks(url, None) && is_dingtalks(url, base), "{url}");
        }
        let own = "http://127.0.0.1:9000/ding/robot/sendBySession?session=0a1b";
        assert!(is_dingtalks(own, base) && !is_dingtalks(own, None));
        for url in [
            "",
            "oapi.dingtalk.com/robot/sendBySession",
            "/robot/sendBySession",
            "http://oapi.dingtalk.com/robot/sendBySession",
            "ftp://oapi.dingtalk.com/robot/sendBySession",
            "https://oapi.dingtalk.com.evil.example/robot/sendBySession",
            "https://evil.example/oapi.dingtalk.com",
            "https://evil.example?oapi.dingtalk.com",
            "https://evil.example#@oapi.dingtalk.com/",
            "https://oapi.dingtalk.com@evil.example/",
            "https://user@oapi.dingtalk.com/",
            "https://oapi.dingtalk.com:8443/",
            "https://oapi.dingtalk.com\\@evil.example/",
            "https://xoapi.dingtalk.com/",
            "https://169.254.169.254/latest/meta-data",
            "https://oapi.dingtalk.com/a b",
            "https://oapi.dingtalk.com/\u{e9}",
            "http://127.0.0.1:9000/dingo",
            "http://127.0.0.1:9000/ding@evil.example/",
            "http://127.0.0.1:9000/ding/../admin",
            "http://127.0.0.1:9000/ding/%2E%2e/admin",
            "http://127.0.0.1:90001/ding/x",
            &format!("https://oapi.dingtalk.com/{}", "x".repeat(1024)),
        ] {
            assert!(!is_dingtalks(url, base), "{url}");
        }
    }
}
