//! Secrets, each a KMS ciphertext in the Keys table, bound to where it belongs.
//!
//! | module | what is in it |
//! |---|---|
//! | [`keyring`] | [`Keyring`], what functions use: the live versions of a secret, decrypted and typed, for five minutes |
//! | [`vault`] | [`Vault`], what the operator's command and `rotate` use: storing versions, moving them, reading them |
//! | [`lifecycle`] | the states of a version and the moves between them |
//! | [`uses`] | [`Uses`]: which version worked how often while a rotation is watched |
//! | [`audit`] | [`Audit`]: who moved which key, when and from where |
//! | [`operator`] | [`Operator`]: the operator's own credential, of which only a hash is kept |
//! | [`tokens`] | [`Tokens`]: access tokens of platforms, fetched by one function and shared by all |
//! | [`quota`] | [`Quotas`]: how often a key may be used, in a second and in a day, whichever function uses it |
//! | `envelope` | encrypting and decrypting under KMS |
//!
//! In the Keys table the item `<channel>/<bot>/<purpose>`, `version` holds one ciphertext and its [`State`]. The KMS
//! encryption context is `{channel, bot, name}`: a ciphertext copied to another place does not decrypt, and a function's
//! role may decrypt its own channel and purpose only. `version` 0 is no version: it holds the key's [`Quota`], where that
//! is not the default.

pub mod audit;
mod envelope;
pub mod keyring;
pub mod lifecycle;
pub mod operator;
pub mod quota;
pub mod tokens;
pub mod uses;
pub mod vault;

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use hoopoe_message::{BotId, Channel};

pub use audit::{Actor, Audit, Entry};
pub use keyring::{Keyring, Live, Place, Secret, Verified, VerifyError};
pub use lifecycle::{History, IllegalMove, Move, State, Version};
pub use operator::Operator;
pub use quota::{Quota, QuotaError, Quotas, Turn};
pub use tokens::{AccessToken, TokenError, Tokens};
pub use uses::{Use, Uses};
pub use vault::{Stored, Vault};

/// After a failure of DynamoDB or KMS the same answer is given for this long, so that a batch does not wait for each of
/// its messages.
const FAILURE_CACHED: Duration = Duration::from_secs(1);

/// What a secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

impl FromStr for Purpose {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == text).ok_or("a purpose is webhook or send")
    }
}

/// One secret of one bot, in all its versions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName {
    /// The channel it belongs to.
    pub channel: Channel,
    /// The bot it belongs to.
    pub bot: BotId,
    /// What it is for.
    pub purpose: Purpose,
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.channel, self.bot, self.purpose)
    }
}

impl KeyName {
    /// Reads `<channel>/<bot>/<purpose>`; `None` for what else may stand in the table.
    fn read(key: &str) -> Option<Self> {
        let mut parts = key.splitn(3, '/');
        Some(Self {
            channel: parts.next()?.parse().ok()?,
            bot: parts.next()?.parse().ok()?,
            purpose: parts.next()?.parse().ok()?,
        })
    }

    /// What the ciphertext is bound to.
    fn encryption_context(&self) -> HashMap<String, String> {
        encryption_context(self.channel, &self.bot, self.purpose.as_str())
    }
}

/// Why a secret cannot be had, or not be changed. No variant ever holds one.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeyringError {
    /// The bot has no such secret.
    #[error(
        "the bot \"{}\" has no {} key in force on {channel}: add it with `hoopoe channel add {channel} --bot {}`",
        .0.bot, .0.purpose, .0.bot, channel = .0.channel
    )]
    Missing(KeyName),
    /// The secret is there, but not of the shape this version reads.
    #[error(
        "the key {0} is of an unknown shape: add it again with `hoopoe channel add {channel} --bot {bot}`",
        channel = .0.channel, bot = .0.bot
    )]
    Shape(KeyName),
    /// An access token came back from KMS as something else.
    #[error("the access token of {channel} in the Tokens table cannot be read; a new one replaces it once it ends")]
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
    /// A service answered without what was asked for.
    #[error("{0} failed: the answer is not what KMS documents")]
    Empty(&'static str),
    /// The key's life does not allow this.
    #[error("{key}: {fault}{advice}", advice = advice(.key, .fault))]
    Move {
        /// The key.
        key: KeyName,
        /// Why.
        fault: IllegalMove,
    },
    /// Somebody else changed the key between reading and writing.
    #[error("{0} was changed by somebody else just now: look at it with `hoopoe keys list`, and try again")]
    Conflict(KeyName),
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

/// What to do about a move that is not possible, as a command that can be run as it stands.
fn advice(key: &KeyName, fault: &IllegalMove) -> String {
    let KeyName { channel, bot, purpose } = key;
    match fault {
        IllegalMove::Pending(version) => format!(
            "; `hoopoe keys rotate {channel} --bot {bot}` puts it in force, \
             `hoopoe keys destroy {channel} --bot {bot} --purpose {purpose} --version {version}` gives it up"
        ),
        IllegalMove::NothingPending => format!("; `hoopoe keys add {channel} --bot {bot}` stores one"),
        IllegalMove::NoSuchVersion(_) => {
            format!("; `hoopoe keys list {channel} --bot {bot} --all` shows those there are")
        }
        IllegalMove::State { number, state: State::Current } => format!(
            "; `hoopoe keys revoke {channel} --bot {bot} --purpose {purpose} --version {number}` comes first, and stops the \
             bot if no other version is live"
        ),
        IllegalMove::State { .. } | IllegalMove::NothingWatched | IllegalMove::NoKey => String::new(),
    }
}

fn encryption_context(channel: Channel, bot: &BotId, name: &str) -> HashMap<String, String> {
    HashMap::from([
        ("channel".to_owned(), channel.to_string()),
        ("bot".to_owned(), bot.to_string()),
        ("name".to_owned(), name.to_owned()),
    ])
}

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// Whether a transaction was canceled because a condition did not hold: somebody else was first. DynamoDB cancels for
/// throttling and for conflicts with other transactions as well, and then nothing is known of the item.
fn is_overtaken(error: &TransactWriteItemsError) -> bool {
    let TransactWriteItemsError::TransactionCanceledException(canceled) = error else { return false };
    canceled.cancellation_reasons().iter().any(|reason| reason.code() == Some("ConditionalCheckFailed"))
}

/// An attribute that is a number.
fn read_number(item: &HashMap<String, AttributeValue>, name: &str) -> Option<u64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_illegal_move_names_the_whole_command_that_helps() {
        let key = KeyName { channel: Channel::Slack, bot: "shop".parse().expect("a name"), purpose: Purpose::Send };
        let says = |fault| KeyringError::Move { key: key.clone(), fault }.to_string();
        let pending = says(IllegalMove::Pending(2));
        assert!(pending.contains("`hoopoe keys rotate slack --bot shop`"), "{pending}");
        assert!(pending.contains("`hoopoe keys destroy slack --bot shop --purpose send --version 2`"), "{pending}");
        assert!(says(IllegalMove::NothingPending).contains("`hoopoe keys add slack --bot shop`"));
        assert!(says(IllegalMove::NoSuchVersion(7)).contains("`hoopoe keys list slack --bot shop --all`"));
        let current = says(IllegalMove::State { number: 1, state: State::Current });
        assert!(current.contains("`hoopoe keys revoke slack --bot shop --purpose send --version 1` comes first"));
        assert_eq!(says(IllegalMove::NothingWatched), "slack/shop/send: no rotation is on");
    }
}
