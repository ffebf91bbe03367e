//! LINE official accounts, by the Messaging API (<https://developers.line.biz/en/reference/messaging-api/>).
//!
//! | module | what is in it |
//! |---|---|
//! | `receive` | a webhook's events, verified by their signature, as messages |
//! | `send` | a reply by its reply token or as a push message, and what LINE says to it |
//! | `settings` | [`Settings`] of a bot, and the call that sets its webhook URL |
//! | `counterpart` | LINE's side, for tests |

#[cfg(feature = "counterpart")]
mod counterpart;
mod receive;
mod send;
mod settings;

use hoopoe_message::Channel;
use serde::{Deserialize, Serialize};

pub use receive::WebhookKeys;
pub use send::SendKeys;
pub use settings::Settings;

use crate::{Platform, ReplyAddress};

/// The LINE channel.
pub struct Line;

impl Platform for Line {
    const CHANNEL: Channel = Channel::Line;

    type Settings = Settings;

    type Address = Address;
}

/// LINE's own server ("Domain name" in the reference).
const API_BASE: &str = "https://api.line.me";

/// Where a reply goes, as it travels through the queues.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// The person, group or multi-person chat, for a push message.
    to: String,
    /// Whether several people talk there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    group: bool,
    /// Answers the event without touching the account's quota, once and for about a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply_token: Option<String>,
    /// The message to quote, in a group: it shows whom the reply is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quote_token: Option<String>,
}

impl ReplyAddress for Address {}
