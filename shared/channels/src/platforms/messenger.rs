//! Messenger, by the Messenger Platform: a Facebook Page that answers.
//!
//! | module | what is in it |
//! |---|---|
//! | `receive` | the URL check and the signed notifications of a webhook, as messages |
//! | `send` | a reply as calls of the Send API, and what Messenger says to them |
//! | `settings` | [`Settings`] of a Page |
//! | `counterpart` | Messenger's side, for tests |
//!
//! Documents are named by their title and `…` below
//! <https://developers.facebook.com/documentation/business-messaging/messenger-platform/>; what all of Meta shares is
//! in `meta`.
//!
//! A reply's address is the person's page-scoped id (PSID).

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

use crate::platforms::meta;
use crate::{Platform, ReplyAddress};

/// The Messenger channel.
pub struct Messenger;

impl Platform for Messenger {
    const CHANNEL: Channel = Channel::Messenger;

    type Settings = Settings;

    type Address = Address;
}

/// Where a reply goes: the person's page-scoped id. It travels through the queues as it is.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(String);

impl ReplyAddress for Address {
    fn encode(self) -> String {
        self.0
    }

    fn decode(text: &str) -> Option<Self> {
        meta::is_number(text).then(|| Self(text.to_owned()))
    }
}
