//! What each platform's protocol says, as pure functions: bytes in, values out. No clock, network or environment.
//!
//! | module | what is in it |
//! |---|---|
//! | [`platform`] | [`Platform`]: the contract of a platform, and the list of them |
//! | [`webhook`] | [`Webhook`]: the contract of the receiving side, with [`Request`], [`Received`] and [`Refusal`] |
//! | [`sender`] | [`Sender`]: the contract of the sending side, with [`Part`] and [`Outcome`] |
//! | [`echo`] | [`Echo`]: what a refusal repeats of the request, which is cut out of it |
//! | [`settings`] | [`Settings`]: what an operator enters for a bot, and the keys it becomes |
//! | [`wecom`] | WeCom (企业微信) |
//! | [`wechat`] | WeChat official accounts (微信公众号) |
//! | [`dingtalk`] | DingTalk (钉钉) |
//! | [`feishu`] | Feishu (飞书) and Lark |
//! | [`qq`] | QQ official bots (QQ 机器人) |
//! | [`telegram`] | Telegram |
//! | [`slack`] | Slack |
//! | [`discord`] | Discord |
//! | [`whatsapp`] | WhatsApp Cloud API |
//! | [`messenger`] | Messenger |
//! | [`line`](mod@line) | LINE |
//! | [`teams`] | Microsoft Teams |
//! | [`webchat`] | the bot's own web page |
//! | [`signature`] | HMAC-SHA256 and Ed25519 over a request's bytes |
//! | [`envelope`] | the AES envelope of WeCom, which other Chinese platforms share |
//! | `group` | what is for the bot where several people talk |
//! | `meta` | what WhatsApp and Messenger share |
//! | [`split`] | cutting a long reply at a platform's limit |
//!
//! The feature `counterpart` adds the other side of each platform, for tests and `hoopoe channel selftest`.
//!
//! A platform is one module here that implements [`Platform`] on a unit struct, and one thin function under
//! `functions/`.

#[cfg(feature = "counterpart")]
pub mod counterpart;
pub mod dingtalk;
pub mod discord;
pub mod echo;
pub mod envelope;
pub mod feishu;
mod group;
pub mod line;
pub mod messenger;
mod meta;
pub mod platform;
pub mod qq;
pub mod sender;
pub mod settings;
pub mod signature;
pub mod slack;
pub mod split;
pub mod teams;
pub mod telegram;
pub mod webchat;
pub mod webhook;
pub mod wechat;
pub mod wecom;
pub mod whatsapp;
mod xml;

pub use echo::Echo;
pub use platform::Platform;
pub use sender::{AccessToken, ApiRequest, Outcome, Part, Retry, Sender, Unrenderable};
pub use settings::{InvalidSettings, Settings, StoredKeys};
pub use webhook::{Incoming, PublishedKey, Received, Refusal, Request, Response, Webhook};
