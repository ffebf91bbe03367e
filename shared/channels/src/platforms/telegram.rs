//! Telegram bots, by the Bot API (<https://core.telegram.org/bots/api>).
//!
//! | module | what is in it |
//! |---|---|
//! | `receive` | a webhook's `Update`, verified by its secret token, as messages |
//! | [`rotation`] | another secret token for a webhook, and the calls that put it in force |
//! | `send` | a reply as `sendMessage` calls, and what Telegram says to them |
//! | `settings` | [`Settings`] of a bot, and the calls that set it up |
//! | `counterpart` | Telegram's side, for tests |

#[cfg(feature = "counterpart")]
mod counterpart;
mod receive;
pub mod rotation;
mod send;
mod settings;

use hoopoe_message::Channel;
use serde::{Deserialize, Serialize};

pub use receive::WebhookKeys;
pub use send::SendKeys;
pub use settings::Settings;

use self::rotation::SecretToken;
use crate::contract::rotation::Rotation;
use crate::{Platform, ReplyAddress};

/// The Telegram channel.
pub struct Telegram;

impl Platform for Telegram {
    const CHANNEL: Channel = Channel::Telegram;

    type Settings = Settings;

    type Address = Address;

    fn rotation() -> Option<Rotation> {
        Some(Rotation::Chosen(&SecretToken))
    }
}

/// Telegram's own server of the Bot API; an operator may run another one.
const API_BASE: &str = "https://api.telegram.org";

/// Where a reply goes, as it travels through the queues.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// The chat; groups have negative ids.
    chat: i64,
    /// The topic, in a chat that has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thread: Option<i64>,
    /// The message to quote, in a group: it shows whom the reply is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply_to: Option<i64>,
}

impl ReplyAddress for Address {}
