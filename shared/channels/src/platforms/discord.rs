//! Discord applications, by their interactions endpoint: slash commands and buttons.
//!
//! | module | what is in it |
//! |---|---|
//! | `receive` | an interaction, verified by its signature, as a message |
//! | `send` | a reply through the interaction's own webhook, and what Discord says to it |
//! | `button` | quick replies as buttons, and their presses as text |
//! | `markdown` | a text so that Discord shows it as it is |
//! | `settings` | [`Settings`] of an application |
//! | `commands` | the call that registers the slash commands |
//! | `counterpart` | Discord's side, for tests |
//!
//! Documents are named by their title and path below <https://docs.discord.com/developers/>.

mod button;
mod commands;
#[cfg(feature = "counterpart")]
mod counterpart;
mod markdown;
mod receive;
mod send;
mod settings;

pub use receive::WebhookKeys;
pub use send::SendKeys;
pub use settings::Settings;

use hoopoe_message::Channel;
use serde::{Deserialize, Serialize};

use crate::{Platform, ReplyAddress};

/// The Discord channel.
pub struct Discord;

impl Platform for Discord {
    const CHANNEL: Channel = Channel::Discord;

    type Settings = Settings;

    type Address = Address;
}

/// Discord's own server, with the version of the API that is spoken here.
const API_BASE: &str = "https://discord.com/api/v10";

/// Where a reply goes, as it travels through the queues.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// The interaction's token. Whoever has it may write in the bot's name, for 15 minutes.
    token: String,
}

impl ReplyAddress for Address {
    fn is_valid(&self) -> bool {
        is_interaction_token(&self.token)
    }
}

/// Whether a text can be the token of an interaction. It becomes part of a URL.
fn is_interaction_token(text: &str) -> bool {
    (1..=1024).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'='))
}

/// Whether a text can be an id, a "snowflake" ("API Reference", `reference#snowflakes`).
fn is_snowflake(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}
