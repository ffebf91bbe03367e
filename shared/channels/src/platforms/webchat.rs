//! The bot's own web page: session tokens and the JSON of its API.
//!
//! | module | what is in it |
//! |---|---|
//! | [`token`] | [`SigningKey`]: mints and verifies the token that names a [`SessionId`] |
//! | [`api`] | the bodies of requests and answers, shared by the function and its clients |
//! | [`appearance`] | [`Appearance`](appearance::Appearance): name, logo and colour of the page, from `page.json` |
//!
//! This channel has no platform behind it, so it implements neither [`Webhook`](crate::Webhook) nor
//! [`Sender`](crate::Sender): `functions/webchat` takes messages through its own routes, and `functions/deliver`
//! writes replies to the transcript that the page reads.

pub mod api;
pub mod appearance;
pub mod token;

use serde::Deserialize;

pub use token::{InvalidToken, SessionId, SigningKey};

/// What verifies a request of the page, stored under the name `webhook`: `{"signing_key": "<64 hex digits>"}`.
#[derive(Debug, Deserialize)]
pub struct Keys {
    /// Signs the session tokens of one bot.
    pub signing_key: SigningKey,
}
