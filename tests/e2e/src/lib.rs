//! What the end-to-end tests share: the local stack, the two sides of a platform, and waiting.
//!
//! | module | what is in it |
//! |---|---|
//! | [`stack`] | [`Stack`]: the local stack that `hoopoe up` started, its queues and tables |
//! | [`telegram`] | [`TelegramBot`]: a bot with a stand-in for `api.telegram.org` that records what it received |
//! | [`wecom`] | [`WecomBot`]: the same for WeCom |
//! | [`platform`] | [`PlatformBot`](platform::PlatformBot): the same for any platform |
//! | [`wait`] | [`eventually`](wait::eventually): polling with a deadline |
//!
//! `make test` starts a stack of its own for them. Each test has a bot of its own, so they run side by side.

#![expect(clippy::missing_panics_doc, reason = "a test fails by panicking")]

pub mod platform;
pub mod stack;
pub mod telegram;
pub mod wait;
pub mod wecom;

pub use stack::Stack;
pub use telegram::TelegramBot;
pub use wecom::WecomBot;
