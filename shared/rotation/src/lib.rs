//! Rotating keys: by itself where the platform lets us, and by telling the operator where it does not.
//!
//! | module | what is in it |
//! |---|---|
//! | [`rotation`] | [`rotate`]: the four steps of one key's rotation: create, set, test, finish |
//! | [`sweep`](mod@sweep) | [`sweep`](fn@sweep): what is due of all keys, for the scheduled function |
//! | [`judge`] | whether a version that took over has proved itself |
//! | [`platforms`] | [`Platforms`]: the platforms' side of it, over HTTP |
//! | [`http`] | the HTTP client, and one call of a platform's API |
//!
//! A rotation may be killed between any two steps, be run twice at once, or go on a week later: each step finds out what
//! is done already, and at every moment the version that the platform knows is one of those that are accepted.
//! `tests/crashes.rs` tries that with a crash at every step. An operator may be told the same twice: by two runs at
//! once, or by one that died between telling and noting it.

pub mod http;
pub mod judge;
pub mod platforms;
pub mod rotation;
pub mod sweep;

pub use platforms::{HttpPlatforms, Platforms};
pub use rotation::{Ledger, RotationError, is_automatic, rotate};
pub use sweep::{Notice, Notify, Policy, Swept, sweep};
