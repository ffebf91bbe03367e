//! Session tokens: who may read and continue a conversation.
//!
//! A token is `<session>.<expires>.<tag>`: 16 random bytes in base64url, the end of its life in seconds since the
//! Unix epoch, and HMAC-SHA256 in base64url over both and the bot's name. It says nothing about a person, and whoever
//! holds it holds the conversation, as with any bearer token (RFC 6750).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hoopoe_message::{BotId, Timestamp};
use secrecy::{ExposeSecret as _, SecretBox, SecretString};
use serde::Deserialize;
use sha2::Sha256;

use super::api::Session;

/// How long a token is valid.
pub const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Longer than any token this module mints.
const MAX_BYTES: usize = 128;

/// Separates this use of the key from any other.
const DOMAIN: &[u8] = b"hoopoe webchat session v1";

/// Names a conversation of the page: 16 random bytes in base64url.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId(String);

impl SessionId {
    /// The session that these random bytes name.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The id as text, 22 bytes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Leaves the id out: it names a person's conversation.
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(…)")
    }
}

impl FromStr for SessionId {
    type Err = InvalidToken;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        match URL_SAFE_NO_PAD.decode(id) {
            Ok(bytes) if bytes.len() == 16 => Ok(Self(id.to_owned())),
            _ => Err(InvalidToken::Malformed),
        }
    }
}

/// The key under which a bot's session tokens are signed: 32 bytes, written as 64 hex digits.
#[derive(Debug, Deserialize)]
#[serde(try_from = "SecretString")]
pub struct SigningKey(SecretBox<[u8; 32]>);

impl SigningKey {
    /// A token for `session` that is valid from now for [`LIFETIME`].
    #[must_use]
    pub fn mint(&self, bot: &BotId, session: &SessionId, now: Timestamp) -> Session {
        let expires = now.plus(LIFETIME).as_secs();
        let payload = format!("{}.{expires}", session.as_str());
        let tag = URL_SAFE_NO_PAD.encode(self.authenticator(bot, &payload).finalize().into_bytes());
        Session { token: format!("{payload}.{tag}"), expires_at: Timestamp::from_secs(expires) }
    }

    /// The session a token names, once its tag has been verified in constant time.
    ///
    /// # Errors
    ///
    /// Where it was not minted under this key for this bot, or its time is over.
    pub fn verify(&self, bot: &BotId, token: &str, now: Timestamp) -> Result<SessionId, InvalidToken> {
        if token.len() > MAX_BYTES {
            return Err(InvalidToken::Malformed);
        }
        let (payload, tag) = token.rsplit_once('.').ok_or(InvalidToken::Malformed)?;
        let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| InvalidToken::Malformed)?;
        self.authenticator(bot, payload).verify_slice(&tag).map_err(|_| InvalidToken::Forged)?;

        let (session, expires) = payload.split_once('.').ok_or(InvalidToken::Malformed)?;
        let expires = expires.parse().map(Timestamp::from_secs).map_err(|_| InvalidToken::Malformed)?;
        if now >= expires {
            return Err(InvalidToken::Expired);
        }
        session.parse()
    }

    fn authenticator(&self, bot: &BotId, payload: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::new_from_slice(self.0.expose_secret()).expect("HMAC takes a key of any length");
        for part in [DOMAIN, bot.as_str().as_bytes(), payload.as_bytes()] {
            mac.update(part);
            mac.update(b"\0");
        }
        mac
    }
}

impl TryFrom<SecretString> for SigningKey {
    type Error = InvalidSigningKey;

    fn try_from(digits: SecretString) -> Result<Self, Self::Error> {
        SecretBox::try_init_with(|| {
            let mut key = [0; 32];
            hex::decode_to_slice(digits.expose_secret(), &mut key).map(|()| key).map_err(|_| InvalidSigningKey)
        })
        .map(Self)
    }
}

/// The text is no [`SigningKey`].
#[derive(Debug, thiserror::Error)]
#[error("a signing key is 32 bytes, written as 64 hex digits")]
pub struct InvalidSigningKey;

/// Why a token opens no conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// Not of the shape of a token.
    #[error("this is no session token")]
    Malformed,
    /// Not minted under this key for this bot.
    #[error("the session token was not issued here")]
    Forged,
    /// Its time is over.
    #[error("the session has expired")]
    Expired,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn key(byte: u8) -> SigningKey {
        SigningKey::try_from(SecretString::from(hex::encode([byte; 32]))).expect("64 hex digits")
    }

    fn bot(name: &str) -> BotId {
        name.parse().expect("a bot's name")
    }

    #[test]
    fn a_token_opens_its_session_until_it_expires() {
        let session = SessionId::from_random([7; 16]);
        let minted = key(1).mint(&bot("main"), &session, NOW);
        assert_eq!(minted.expires_at, NOW.plus(LIFETIME));
        assert_eq!(key(1).verify(&bot("main"), &minted.token, NOW), Ok(session));
        let last = Timestamp::from_millis(minted.expires_at.as_millis() - 1);
        assert!(key(1).verify(&bot("main"), &minted.token, last).is_ok());
        for late in [minted.expires_at, minted.expires_at.plus(LIFETIME)] {
            assert_eq!(key(1).verify(&bot("main"), &minted.token, late), Err(InvalidToken::Expired));
        }
    }

    #[test]
    fn another_key_or_bot_does_not_open_it() {
        let token = key(1).mint(&bot("main"), &SessionId::from_random([7; 16]), NOW).token;
        assert_eq!(key(2).verify(&bot("main"), &token, NOW), Err(InvalidToken::Forged));
        assert_eq!(key(1).verify(&bot("main2"), &token, NOW), Err(InvalidToken::Forged));
    }

    #[test]
    fn a_longer_life_cannot_be_written_into_it() {
        let token = key(1).mint(&bot("main"), &SessionId::from_random([7; 16]), NOW).token;
        let parts: Vec<&str> = token.split('.').collect();
        let longer = format!("{}.{}.{}", parts[0], u64::MAX, parts[2]);
        assert_eq!(key(1).verify(&bot("main"), &longer, NOW), Err(InvalidToken::Forged));
    }

    #[test]
    fn a_key_is_read_from_hex_and_never_shown() {
        for bad in ["", "00", &"g".repeat(64), &"0".repeat(66)] {
            assert!(SigningKey::try_from(SecretString::from(bad)).is_err(), "{bad:?}");
        }
        assert!(!format!("{:?}", key(171)).contains("171"));
    }

    proptest! {
        #[test]
        fn any_session_survives_the_round_trip(bytes: [u8; 16], seed: u8) {
            let session = SessionId::from_random(bytes);
            let token = key(seed).mint(&bot("main"), &session, NOW).token;
            prop_assert!(token.len() <= MAX_BYTES);
            prop_assert_eq!(key(seed).verify(&bot("main"), &token, NOW), Ok(session));
        }

        #[test]
        fn no_text_is_taken_for_a_token(text in "\\PC*|[A-Za-z0-9_-]{22}\\.[0-9]{1,20}\\.[A-Za-z0-9_-]{43}") {
            prop_assert!(key(1).verify(&bot("main"), &text, NOW).is_err());
        }

        #[test]
        fn a_changed_character_closes_it(at in 0..76_usize, to in "[A-Za-z0-9_.-]") {
            let token = key(1).mint(&bot("main"), &SessionId::from_random([7; 16]), NOW).token;
            prop_assert_eq!(token.len(), 77);
            let mut changed = token.clone();
            changed.replace_range(at..=at, &to);
            prop_assume!(changed != token);
            prop_assert!(key(1).verify(&bot("main"), &changed, NOW).is_err());
        }
    }
}
