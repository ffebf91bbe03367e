//! Webhook keys that are renewed without a person.

use hoopoe_message::{BotId, Timestamp};
use http::{HeaderMap, StatusCode};
use secrecy::SecretString;

use crate::contract::rejection::Rejection;
use crate::contract::sender::ApiRequest;

/// How a channel's webhook key is renewed without a person.
#[derive(Clone, Copy)]
pub enum Rotation {
    /// Nobody but the bot's own functions knows the key.
    Own(&'static dyn OwnKey),
    /// The bot chooses the key and tells the platform, which its send keys allow.
    Chosen(&'static dyn ChosenKey),
}

/// A key that nobody but the bot's own functions knows.
pub trait OwnKey: Sync {
    /// New webhook keys, from 32 random bytes as hexadecimal digits.
    fn renew(&self, random: &str) -> SecretString;

    /// Whether the functions accept what is signed with the stored webhook keys.
    fn works(&self, webhook: &[u8], bot: &BotId, now: Timestamp) -> bool;
}

/// A key that the bot chooses and the platform is told. `None` stands for stored keys that are not the platform's.
pub trait ChosenKey: Sync {
    /// The stored webhook keys with a new secret, made of 32 random bytes as hexadecimal digits, and all else as it was.
    fn renew(&self, webhook: &[u8], random: &str) -> Option<SecretString>;

    /// Asks the platform where it posts what people say to the bot.
    fn ask_url(&self, send: &[u8]) -> Option<ApiRequest>;

    /// Reads the answer to [`ask_url`](Self::ask_url); `None` if the platform posts nowhere.
    ///
    /// # Errors
    ///
    /// What the platform says instead.
    fn read_url(&self, status: StatusCode, body: &[u8]) -> Result<Option<String>, Rejection>;

    /// Has the platform use the secret of these webhook keys from now on.
    fn set(&self, send: &[u8], url: &str, webhook: &[u8]) -> Option<ApiRequest>;

    /// Reads the answer to [`set`](Self::set).
    ///
    /// # Errors
    ///
    /// What the platform says instead.
    fn read_set(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), Rejection>;

    /// What the platform posts to the URL with the secret of these webhook keys, where it has nothing to tell.
    fn probe(&self, url: &str, webhook: &[u8]) -> Option<http::Request<String>>;
}
