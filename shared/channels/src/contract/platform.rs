//! The contract of a platform, and the list of those that keep it.
//!
//! The contract has three parts: [`Platform`] names the channel and what an operator enters for it,
//! [`Webhook`](crate::Webhook) is what the platform posts, [`Sender`](crate::Sender) what it is sent. An implementation
//! is pure: bytes in, values out. Time, secrets and access tokens are arguments.

pub use hoopoe_message::{Channel, each_platform};

use crate::contract::address::ReplyAddress;
use crate::contract::rotation::Rotation;
use crate::contract::settings::Settings;

/// A chat platform.
pub trait Platform {
    /// Which one.
    const CHANNEL: Channel;

    /// What an operator enters.
    type Settings: Settings;

    /// Where a reply has to go.
    type Address: ReplyAddress;

    /// How its webhook key is renewed without a person; `None` if only a person can, in the platform's console.
    fn rotation() -> Option<Rotation> {
        None
    }
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
/// What works on any platform is written once, with this. The list is [`each_platform`].
#[macro_export]
macro_rules! with_platform {
    ($channel:expr, $platform:ident => $body:expr, webchat => $webchat:expr) => {
        $crate::contract::platform::each_platform! { $crate::match_platform! { $channel, $platform => $body, $webchat } }
    };
}

/// What [`with_platform`] becomes.
#[doc(hidden)]
#[macro_export]
macro_rules! match_platform {
    (
        [$channel:expr, $platform:ident => $body:expr, $webchat:expr]
        $($variant:ident = $module:ident, $display:literal;)+
    ) => {
        match $channel {
            $(
                $crate::contract::platform::Channel::$variant => {
                    type $platform = $crate::$module::$variant;
                    $body
                }
            )+
            $crate::contract::platform::Channel::Webchat => $webchat,
        }
    };
}
