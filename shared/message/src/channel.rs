//! The platforms Hoopoe speaks with, and the bots an operator runs on them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A chat platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// WeCom (企业微信) self-built applications.
    Wecom,
    /// WeChat official accounts (微信公众号).
    Wechat,
    /// DingTalk (钉钉) robots.
    Dingtalk,
    /// Feishu (飞书) and Lark bots.
    Feishu,
    /// QQ official bots (QQ 机器人).
    Qq,
    /// Telegram bots.
    Telegram,
    /// Slack apps.
    Slack,
    /// Discord applications.
    Discord,
    /// WhatsApp Cloud API.
    Whatsapp,
    /// Facebook Messenger pages.
    Messenger,
    /// LINE official accounts.
    Line,
    /// Microsoft Teams bots.
    Teams,
    /// The page that `functions/webchat` serves.
    Webchat,
}

impl Channel {
    /// Every channel, in the order in which they are listed to people.
    pub const ALL: [Self; 13] = [
        Self::Wecom,
        Self::Wechat,
        Self::Dingtalk,
        Self::Feishu,
        Self::Qq,
        Self::Telegram,
        Self::Slack,
        Self::Discord,
        Self::Whatsapp,
        Self::Messenger,
        Self::Line,
        Self::Teams,
        Self::Webchat,
    ];

    /// The name used in URLs, table keys, encryption contexts and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wecom => "wecom",
            Self::Wechat => "wechat",
            Self::Dingtalk => "dingtalk",
            Self::Feishu => "feishu",
            Self::Qq => "qq",
            Self::Telegram => "telegram",
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::Whatsapp => "whatsapp",
            Self::Messenger => "messenger",
            Self::Line => "line",
            Self::Teams => "teams",
            Self::Webchat => "webchat",
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Channel {
    type Err = UnknownChannel;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|channel| channel.as_str() == name).ok_or_else(|| UnknownChannel(name.into()))
    }
}

/// The name is not that of a channel.
#[derive(Debug, thiserror::Error)]
#[error("there is no channel \"{0}\"; the channels are {names}", names = Channel::ALL.map(Channel::as_str).join(", "))]
pub struct UnknownChannel(String);

/// Names one bot of an operator on a channel: 1 to 32 of `a-z`, `0-9` and `-`. `main` unless chosen otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BotId(String);

impl BotId {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for BotId {
    fn default() -> Self {
        Self("main".into())
    }
}

impl fmt::Display for BotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for BotId {
    type Err = InvalidBotId;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=32).contains(&name.len()) && name.bytes().all(legal) {
            Ok(Self(name.into()))
        } else {
            Err(InvalidBotId)
        }
    }
}

impl TryFrom<String> for BotId {
    type Error = InvalidBotId;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl From<BotId> for String {
    fn from(bot: BotId) -> Self {
        bot.0
    }
}

/// The name does not fit [`BotId`].
#[derive(Debug, thiserror::Error)]
#[error("a bot's name is 1 to 32 characters of a-z, 0-9 and '-'")]
pub struct InvalidBotId;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_found_by_its_name_and_nothing_else() {
        for channel in Channel::ALL {
            assert_eq!(channel.as_str().parse::<Channel>().expect("its own name"), channel);
            assert_eq!(serde_json::to_value(channel).expect("a name"), channel.as_str());
        }
        assert!("Telegram".parse::<Channel>().is_err());
    }

    #[test]
    fn a_bot_id_cannot_leave_its_place_in_a_path_or_key() {
        assert!("main".parse::<BotId>().is_ok());
        for bad in ["", "a/b", "Main", "a b", "..", "ü", &"a".repeat(33)] {
            assert!(bad.parse::<BotId>().is_err(), "{bad:?}");
        }
    }
}
