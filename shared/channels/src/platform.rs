//! The contract of a platform, and the list of those that keep it.
//!
//! The contract has three parts: [`Platform`] names the channel and what an operator enters for it,
//! [`Webhook`](crate::Webhook) is what the platform posts, [`Sender`](crate::Sender) what it is sent. An implementation
//! is pure: bytes in, values out. Time, secrets and access tokens are arguments.

pub use hoopoe_message::Channel;

use crate::settings::Settings;

/// A chat platform.
pub trait Platform {
    /// Which one.
    const CHANNEL: Channel;

    /// What an operator enters.
    type Settings: Settings;
}

/// Evaluates an expression in which a name stands for the [`Platform`] of a channel:
///
/// ```
/// use hoopoe_channels::{Platform, Settings, with_platform};
/// use hoopoe_message::Channel;
///
/// let fields =
///     |channel| with_platform!(channel, P => <P as Platform>::Settings::FIELDS, webchat => "nothing");
/// assert!(fields(Channel::Wecom).contains("corp_id"));
/// ```
///
/// This is the list of platforms: what works on any of them is written once, with this.
#[macro_export]
macro_rules! with_platform {
    ($channel:expr, $platform:ident => $body:expr, webchat => $webchat:expr) => {
        match $channel {
            $crate::platform::Channel::Wecom => {
                type $platform = $crate::wecom::Wecom;
                $body
            }
            $crate::platform::Channel::Wechat => {
                type $platform = $crate::wechat::Wechat;
                $body
            }
            $crate::platform::Channel::Dingtalk => {
                type $platform = $crate::dingtalk::Dingtalk;
                $body
            }
            $crate::platform::Channel::Feishu => {
                type $platform = $crate::feishu::Feishu;
                $body
            }
            $crate::platform::Channel::Qq => {
                type $platform = $crate::qq::Qq;
                $body
            }
            $crate::platform::Channel::Telegram => {
                type $platform = $crate::telegram::Telegram;
                $body
            }
            $crate::platform::Channel::Slack => {
                type $platform = $crate::slack::Slack;
                $body
            }
            $crate::platform::Channel::Discord => {
                type $platform = $crate::discord::Discord;
                $body
            }
            $crate::platform::Channel::Whatsapp => {
                type $platform = $crate::whatsapp::Whatsapp;
                $body
            }
            $crate::platform::Channel::Messenger => {
                type $platform = $crate::messenger::Messenger;
                $body
            }
            $crate::platform::Channel::Line => {
                type $platform = $crate::line::Line;
                $body
            }
            $crate::platform::Channel::Teams => {
                type $platform = $crate::teams::Teams;
                $body
            }
            $crate::platform::Channel::Webchat => $webchat,
        }
    };
}
