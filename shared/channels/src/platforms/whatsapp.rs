//! WhatsApp, by the Cloud API of the WhatsApp Business Platform.
//!
//! | module | what is in it |
//! |---|---|
//! | `receive` | the URL check and the signed notifications of a webhook, as messages |
//! | `send` | a reply as calls of `messages`, and what WhatsApp says to them |
//! | `markup` | text that WhatsApp would read as formatting, shown as it was written |
//! | `settings` | [`Settings`] of a business phone number |
//! | `counterpart` | WhatsApp's side, for tests |
//!
//! Documents are named by their title and `…` below
//! <https://developers.facebook.com/documentation/business-messaging/whatsapp/>; what all of Meta shares is in `meta`.

#[cfg(feature = "counterpart")]
mod counterpart;
mod markup;
mod receive;
mod send;
mod settings;

use hoopoe_message::Channel;
use serde::{Deserialize, Serialize};

pub use receive::WebhookKeys;
pub use send::SendKeys;
pub use settings::Settings;

use crate::{Platform, ReplyAddress};

/// The WhatsApp channel.
pub struct Whatsapp;

impl Platform for Whatsapp {
    const CHANNEL: Channel = Channel::Whatsapp;

    type Settings = Settings;

    type Address = Address;
}

/// Where a reply goes, as it travels through the queues.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Address {
    /// A person's phone number.
    Phone(String),
    /// A person's business-scoped user ID, where the phone number is hidden behind a username.
    User(String),
    /// A group.
    Group(String),
}

impl ReplyAddress for Address {}
