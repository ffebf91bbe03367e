//! The platforms, each in a module of its own: what it posts (`receive`), what it is sent (`send`), what an operator enters
//! (`settings`), and its other side for tests (`counterpart`). `meta` is what WhatsApp and Messenger share.

pub mod dingtalk;
pub mod discord;
pub mod feishu;
pub mod line;
pub mod messenger;
mod meta;
pub mod qq;
pub mod slack;
pub mod teams;
pub mod telegram;
pub mod webchat;
pub mod wechat;
pub mod wecom;
pub mod whatsapp;

use hoopoe_message::Channel;

use crate::contract::rotation::Rotation;
use crate::{Platform, with_platform};

/// How the webhook keys of a channel are renewed without a person; `None` if only a person can.
#[must_use]
pub fn rotation(channel: Channel) -> Option<Rotation> {
    with_platform!(channel, P => P::rotation(), webchat => Some(Rotation::Own(&webchat::OwnSigningKey)))
}
