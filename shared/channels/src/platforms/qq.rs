//! QQ official bots (QQ 机器人): private chats, groups, and guilds (频道).
//!
//! | module | what is in it |
//! |---|---|
//! | `receive` | a callback's signature, the URL check, and the events |
//! | `text` | what a text is written like in each kind of room, and the tags taken out of it |
//! | `send` | a reply as messages, access tokens, and what QQ says to both |
//! | `settings` | [`Settings`] of a bot |
//! | `counterpart` | QQ's side, for tests |
//!
//! Documents are named by their title and path below <https://bot.q.qq.com/wiki/develop/api-v2/>.

#[cfg(feature = "counterpart")]
mod counterpart;
mod receive;
mod send;
mod settings;
mod text;

pub use receive::WebhookKeys;
pub use send::SendKeys;
pub use settings::Settings;

use hoopoe_message::Channel;
use ring::signature::Ed25519KeyPair;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{Platform, ReplyAddress};

/// The QQ channel.
pub struct Qq;

impl Platform for Qq {
    const CHANNEL: Channel = Channel::Qq;

    type Settings = Settings;

    type Address = Address;
}

/// The key pair of a bot: QQ and the bot make it from the same secret, which is repeated until it fills the seed
/// ("安全和授权", `dev-prepare/interface-framework/sign.html`). `None` without a secret.
fn key_pair(app_secret: &str) -> Option<Ed25519KeyPair> {
    let seed: Zeroizing<Vec<u8>> = Zeroizing::new(app_secret.bytes().cycle().take(32).collect());
    Ed25519KeyPair::from_seed_unchecked(&seed).ok()
}

/// Where a reply goes, as it travels through the queues.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    room: Room,
    answers: Answers,
}

/// A place where people talk with the bot, with the id that the send API knows it by.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Room {
    /// A person's private chat (单聊): the `user_openid`.
    User(String),
    /// A group (群聊): the `group_openid`.
    Group(String),
    /// A text channel of a guild (文字子频道): the `channel_id`.
    Channel(String),
    /// A private chat that began in a guild (频道私信): the `guild_id` it has for itself.
    Direct(String),
}

/// What a reply answers. QQ takes hardly a message that answers nothing.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answers {
    /// A message, by its id.
    Message(String),
    /// An event, by its id.
    Event(String),
}

impl ReplyAddress for Address {
    fn is_valid(&self) -> bool {
        self.room.is_valid()
    }
}

/// Whether a text can be an id of a person or a room. It becomes part of a URL.
fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}
