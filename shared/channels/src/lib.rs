//! What each platform's protocol says, as pure functions: bytes in, values out. No clock, network or environment.
//!
//! | module | what is in it |
//! |---|---|
//! | [`contract`] | what a platform has to be able to do, and the values that go in and out |
//! | [`text`] | what the platforms share in reading and cutting text |
//! | [`crypto`] | signatures and envelopes that several platforms use |
//! | [`platforms`] | the platforms |
//!
//! The feature `counterpart` adds the other side of each platform, for tests and `hoopoe channel selftest`.
//!
//! A platform is one module of [`platforms`] that implements the [contract] on a unit struct, a line in the list
//! of channels ([`each_platform`](hoopoe_message::each_platform)), and one thin function under `functions/`.

pub mod contract;
pub mod crypto;
pub mod platforms;
pub mod text;

pub use contract::address::ReplyAddress;
pub use contract::echo::Echo;
pub use contract::platform::Platform;
pub use contract::rejection::{CheckRejection, Reason, Rejection, Retry};
pub use contract::rotation::Rotation;
pub use contract::sender::{AccessToken, ApiRequest, Part, Sender, USER_AGENT, Unrenderable};
pub use contract::settings::{InvalidSettings, Settings, StoredKeys};
pub use contract::setup::{Setup, SetupCall};
pub use contract::webhook::{Incoming, PublishedKey, Received, Refusal, Request, Response, Webhook};
pub use platforms::*;
