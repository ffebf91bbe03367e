//! WeCom (企业微信) self-built applications.
//!
//! | module | what is in it |
//! |---|---|
//! | `receive` | the URL check and the encrypted messages of a callback |
//! | `send` | a reply as 发送应用消息 calls, access tokens, and what WeCom says to both |
//! | `settings` | [`Settings`] of an application |
//! | `counterpart` | WeCom's side, for tests |
//!
//! Documents are named by their title and `path/…` below <https://developer.work.weixin.qq.com/document/>.

#[cfg(feature = "counterpart")]
mod counterpart;
mod receive;
mod send;
mod settings;

pub use receive::WebhookKeys;
pub use send::SendKeys;
pub use settings::Settings;

use hoopoe_message::Channel;
use serde::{Deserialize, Serialize};

use crate::{Platform, ReplyAddress};

/// The WeCom channel.
pub struct Wecom;

impl Platform for Wecom {
    const CHANNEL: Channel = Channel::Wecom;

    type Settings = Settings;

    type Address = Address;
}

/// Where a reply goes: the member's userid. It travels through the queues as it is.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(String);

impl ReplyAddress for Address {
    fn encode(self) -> String {
        self.0
    }

    fn decode(text: &str) -> Option<Self> {
        is_user_id(text).then(|| Self(text.to_owned()))
    }
}

/// Whether a text can be a member's UserID: 1 to 64 bytes ("创建成员"). The send API reads `|` as the end of
/// an id and `@all` as everybody, so neither may pass for one.
fn is_user_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && !text.starts_with('@')
        && !text.chars().any(|c| c == '|' || c.is_whitespace() || c.is_control())
}
