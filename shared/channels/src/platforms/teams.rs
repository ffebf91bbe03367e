//! Microsoft Teams bots, by the Bot Connector service of Azure Bot.
//!
//! | module | what is in it |
//! |---|---|
//! | `receive` | a posted `Activity`, verified, as a message |
//! | `jwt` | the signed token that comes with an activity |
//! | `words` | what a message says, without its mentions and markup |
//! | [`published`] | the documents in which the service publishes its keys |
//! | `cloud` | the clouds of Microsoft, and where a reply may go |
//! | `send` | a reply as activities, access tokens, and what Teams says to both |
//! | `settings` | [`Settings`] of a bot |
//! | `counterpart` | the service's side, for tests |
//!
//! Documents are named by their title and `azure/…` or `platform/…` below <https://learn.microsoft.com/azure/bot-service/>
//! and <https://learn.microsoft.com/microsoftteams/platform/>.

mod cloud;
#[cfg(feature = "counterpart")]
mod counterpart;
mod jwt;
pub mod published;
mod receive;
mod send;
mod settings;
mod words;

use hoopoe_message::Channel;
use serde::{Deserialize, Serialize};

pub use receive::WebhookKeys;
pub use send::SendKeys;
pub use settings::Settings;

use crate::{Platform, ReplyAddress};

/// The Microsoft Teams channel.
pub struct Teams;

impl Platform for Teams {
    const CHANNEL: Channel = Channel::Teams;

    type Settings = Settings;

    type Address = Address;
}

/// Where a reply goes, as it travels through the queues.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// The connector that posted the message, without a slash at the end.
    service: String,
    /// The conversation; in a team's channel it names the thread as well (`…;messageid=…`).
    conversation: String,
    /// The message to answer; none where something happened that is no message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply_to: Option<String>,
}

impl ReplyAddress for Address {}
