//! Slack apps, by the Events API, slash commands, buttons and the Web API (<https://docs.slack.dev>).
//!
//! | module | what is in it |
//! |---|---|
//! | `receive` | a request verified by its signature; which of the three kinds it is |
//! | `events` | an event of the Events API as a message |
//! | `interaction` | a slash command or the press of a button as a message |
//! | `text` | Slack's escaping of texts, undone and done |
//! | `send` | a reply as `chat.postMessage` calls or for a `response_url`, and what Slack says to them |
//! | `settings` | [`Settings`] of an app, and its manifest |
//! | `counterpart` | Slack's side, for tests |

#[cfg(feature = "counterpart")]
mod counterpart;
mod events;
mod interaction;
mod receive;
mod send;
mod settings;
mod text;

use hoopoe_message::Channel;
use serde::{Deserialize, Serialize};

pub use receive::WebhookKeys;
pub use send::SendKeys;
pub use settings::Settings;

use crate::{Platform, ReplyAddress};

/// The Slack channel.
pub struct Slack;

impl Platform for Slack {
    const CHANNEL: Channel = Channel::Slack;

    type Settings = Settings;

    type Address = Address;
}

/// What the `action_id`s of the bot's own buttons begin with; a number follows, for they have to differ in a message.
const SUGGESTION: &str = "hoopoe_suggestion_";

/// Where a reply goes, as it travels through the queues.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// The channel, private channel or direct message.
    channel: String,
    /// The `ts` of the message whose thread it goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thread: Option<String>,
    /// The person who alone sees it, where it answers a slash command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    only: Option<Only>,
}

/// The receiver of an ephemeral message.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Only {
    user: String,
    /// Takes a few messages for a short time, also where the bot is no member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response_url: Option<String>,
}

impl ReplyAddress for Address {}
