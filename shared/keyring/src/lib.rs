//! Secrets, each a KMS ciphertext in the Keys table, bound to where it belongs.
//!
//! | item | what it is |
//! |---|---|
//! | [`Keyring`] | what functions use: reads, decrypts, and keeps the typed secret for five minutes |
//! | [`Vault`] | what the operator's command uses: encrypts and stores new versions, lists and removes them |
//! | [`Tokens`] | access tokens of platforms, fetched by one function and shared by all |
//! | [`Purpose`] | what a secret is for: verifying webhooks or sending |
//!
//! The item `<channel>/<bot>/<purpose>`, `version` holds one ciphertext. Its KMS encryption context is
//! `{channel, bot, name}`: a ciphertext copied to another place does not decrypt, and a function's role may decrypt
//! its own channel and purpose only. The newest version is the one in force.

mod keyring;
mod tokens;
mod vault;

use std::collections::HashMap;
use std::fmt;

use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use hoopoe_message::{BotId, Channel};

pub use keyring::Keyring;
pub use tokens::{TokenError, Tokens};
pub use vault::{Stored, Vault};

/// What a secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Verifying what a platform posts: read by that channel's webhook function alone.
    Webhook,
    /// Sending to a platform: read by `deliver` alone.
    Send,
}

impl Purpose {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Webhook, Self::Send];

    /// The name in table keys and encryption contexts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Send => "send",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a secret cannot be had. No variant ever holds one.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The bot has no such secret.
    #[error(
        "the bot \"{bot}\" has no {purpose} key on {channel}: add it with `hoopoe channel add {channel} --bot {bot}`"
    )]
    Missing {
        /// The channel.
        channel: Channel,
        /// The bot.
        bot: BotId,
        /// What for.
        purpose: Purpose,
    },
    /// The secret is there, but not of the shape this version reads.
    #[error("the {purpose} key of {channel} is of an unknown shape: add it again with `hoopoe channel add {channel}`")]
    Shape {
        /// The channel.
        channel: Channel,
        /// What for.
        purpose: Purpose,
    },
    /// An access token came back from KMS as something else.
    #[error("the access token of {channel} in the Tokens table is none")]
    Token {
        /// The channel.
        channel: Channel,
    },
    /// DynamoDB or KMS did not do what was asked.
    #[error("{operation} failed: {cause}")]
    Call {
        /// What was being done.
        operation: &'static str,
        /// The service's code and words.
        cause: String,
    },
}

impl KeyringError {
    fn call<E, R>(operation: &'static str, error: &SdkError<E, R>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
        R: fmt::Debug,
    {
        Self::Call { operation, cause: hoopoe_aws::cause(error) }
    }
}

/// The partition key of a secret.
fn key(channel: Channel, bot: &BotId, purpose: Purpose) -> String {
    format!("{channel}/{bot}/{purpose}")
}

/// What the ciphertext is bound to.
fn encryption_context(channel: Channel, bot: &BotId, purpose: Purpose) -> HashMap<String, String> {
    HashMap::from([
        ("channel".to_owned(), channel.to_string()),
        ("bot".to_owned(), bot.to_string()),
        ("name".to_owned(), purpose.to_string()),
    ])
}
