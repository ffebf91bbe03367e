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

use hoopoe_message::{BotId, Timestamp};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::contract::rotation::OwnKey;
use crate::contract::settings::secret_json;

pub use token::{InvalidToken, SessionId, SigningKey};

/// What verifies a request of the page, stored under the name `webhook`: `{"signing_key": "<64 hex digits>"}`.
#[derive(Debug, Deserialize)]
pub struct Keys {
    /// Signs the session tokens of one bot.
    pub signing_key: SigningKey,
}

/// The key that signs the session tokens: nobody else has to know it.
pub(crate) struct OwnSigningKey;

impl OwnKey for OwnSigningKey {
    fn renew(&self, random: &str) -> SecretString {
        #[derive(Serialize)]
        struct Stored<'a> {
            signing_key: &'a str,
        }
        secret_json(&Stored { signing_key: random }).expect("a text serialises")
    }

    fn works(&self, webhook: &[u8], bot: &BotId, now: Timestamp) -> bool {
        let Ok(Keys { signing_key }) = serde_json::from_slice(webhook) else { return false };
        let token = signing_key.mint(bot, &SessionId::from_random([0; 16]), now).token;
        signing_key.verify(bot, &token, now).is_ok()
    }
}
