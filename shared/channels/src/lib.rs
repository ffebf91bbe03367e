//! What each platform's protocol says, as pure functions: bytes in, values out. No clock, network or environment.
//!
//! | module | what is in it |
//! |---|---|
//! | [`webhook`] | [`Webhook`]: the contract of the receiving side, with [`Request`], [`Received`] and [`Refusal`] |
//! | [`sender`] | [`Sender`]: the contract of the sending side, with [`Outcome`] |
//! | [`settings`] | [`Settings`]: what an operator enters for a bot, and the keys it becomes |
//! | [`telegram`] | Telegram |
//! | [`wecom`] | WeCom (企业微信) |
//! | [`webchat`] | the bot's own web page |
//! | [`envelope`] | the AES envelope of WeCom, which other Chinese platforms share |
//! | [`split`] | cutting a long reply at a platform's limit |
//!
//! A platform is one module here that implements [`Webhook`] and [`Sender`] on a unit struct, and one thin function
//! under `functions/`.

pub mod envelope;
pub mod sender;
pub mod settings;
pub mod split;
pub mod telegram;
pub mod webchat;
pub mod webhook;
pub mod wecom;

pub use sender::{AccessToken, ApiRequest, Outcome, Retry, Sender};
pub use settings::{InvalidSettings, Settings, StoredKeys};
pub use webhook::{Incoming, Received, Refusal, Request, Response, Webhook};
