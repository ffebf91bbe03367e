//! Feishu (飞书) and Lark bots, which are custom apps (企业自建应用).
//!
//! | module | what is in it |
//! |---|---|
//! | [`cipher`] | the encryption and signature of what Feishu posts |
//! | `receive` | the check of the URL, events, and presses of buttons, as messages |
//! | `message` | what a received message says to the bot |
//! | `send` | a reply as 回复消息 and 发送消息 calls, access tokens, and what Feishu says to both |
//! | `settings` | [`Settings`] of an app |
//! | `counterpart` | Feishu's side, for tests |
//!
//! Lark is the same platform with other servers. Documents are named by their title and path below
//! <https://open.feishu.cn/document/>; the same paths below <https://open.larksuite.com/document/> are Lark's.

pub mod cipher;
#[cfg(feature = "counterpart")]
mod counterpart;
mod message;
mod receive;
mod send;
mod settings;

use hoopoe_message::Channel;
use serde::{Deserialize, Serialize};

pub use receive::WebhookKeys;
pub use send::SendKeys;
pub use settings::Settings;

use crate::{Platform, ReplyAddress};

/// The Feishu channel.
pub struct Feishu;

impl Platform for Feishu {
    const CHANNEL: Channel = Channel::Feishu;

    type Settings = Settings;

    type Address = Address;
}

/// Feishu's own server; Lark has <https://open.larksuite.com>, and private deployments have another.
const API_BASE: &str = "https://open.feishu.cn";

/// Where a reply goes, as it travels through the queues.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// The chat, private or a group.
    chat: String,
    /// The message to reply to; none where an event is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// Whether that message stands in a topic (话题).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    thread: bool,
}

impl ReplyAddress for Address {
    fn is_valid(&self) -> bool {
        is_id(&self.chat) && self.message.as_deref().is_none_or(is_id)
    }
}

/// Whether a text can be an id of Feishu, such as `om_dc13264520392913993dd051dba21dcf`.
fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// The text of a button's `value` that is said when it is pressed.
const SAY: &str = "say";
