//! The platforms Hoopoe speaks with, and the bots an operator runs on them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The list of platforms: the variant of [`Channel`], the name of its module and its folders, and its name for people, in
/// the order in which they are listed to people. A platform that is added here is known everywhere.
///
/// `each_platform! { name! { arguments } }` calls the macro `name` with its arguments in brackets, and the list behind them.
#[macro_export]
macro_rules! each_platform {
    ($($macro:ident)::+ ! { $($arguments:tt)* }) => {
        $($macro)::+! {
            [$($arguments)*]
            Wecom = wecom, "WeCom 企业微信";
            Wechat = wechat, "WeChat 公众号";
            Dingtalk = dingtalk, "DingTalk 钉钉";
            Feishu = feishu, "Feishu 飞书, Lark";
            Qq = qq, "QQ bot";
            Telegram = telegram, "Telegram";
            Slack = slack, "Slack";
            Discord = discord, "Discord";
            Whatsapp = whatsapp, "WhatsApp";
            Messenger = messenger, "Messenger";
            Line = line, "LINE";
            Teams = teams, "Microsoft Teams";
        }
    };
}

macro_rules! channels {
    ([] $($variant:ident = $name:ident, $display:literal;)+) => {
        /// Where people talk to a bot: on a chat platform, or on the page that `functions/webchat` serves.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum Channel {
            $(
                #[doc = $display]
                $variant,
            )+
            /// The bot's own page.
            Webchat,
        }

        impl Channel {
            /// Every channel, in the order in which they are listed to people.
            pub const ALL: [Self; [$(stringify!($name),)+ "webchat"].len()] = [$(Self::$variant,)+ Self::Webchat];

            /// The name used in URLs, table keys, encryption contexts, folders and on the command line.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($name),)+
                    Self::Webchat => "webchat",
                }
            }

            /// The name for people.
            #[must_use]
            pub const fn display_name(self) -> &'static str {
                match self {
                    $(Self::$variant => $display,)+
                    Self::Webchat => "Web chat",
                }
            }
        }
    };
}

each_platform! { channels! {} }

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
