//! The vocabulary every other crate speaks: who said what where, what the bot replies, and how both travel
//! through the queues.
//!
//! | module | what is in it |
//! |---|---|
//! | [`channel`] | [`Channel`]: the platforms, and [`BotId`]: which bot of an operator |
//! | [`conversation`] | [`Conversation`]: the key under which sessions, claims and order are kept |
//! | [`inbound`] | [`InboundMessage`]: one verified, claimed and numbered message on its way to inference |
//! | [`reply`] | [`Reply`]: one answer on its way to a platform; [`Decision`]: how the bot came to it |
//! | [`command`] | [`COMMANDS`]: what people type to steer the bot; [`Command`]: what it is read as |
//! | [`language`] | [`Language`]: a two- or three-letter language code |
//! | [`time`] | [`Timestamp`]: milliseconds since the Unix epoch |
//! | [`wire`] | the versioned JSON form in which messages and replies stand in a queue |
//!
//! Nothing here does I/O, and no type knows a platform's payload or a Lambda event.

pub mod channel;
pub mod command;
pub mod conversation;
pub mod inbound;
pub mod language;
pub mod reply;
pub mod time;
pub mod wire;

pub use channel::{BotId, Channel};
pub use command::{COMMANDS, Command, CommandSpec};
pub use conversation::Conversation;
pub use inbound::{ChannelEvent, Content, InboundMessage, MessageId};
pub use language::Language;
pub use reply::{Decision, Reply};
pub use time::Timestamp;
