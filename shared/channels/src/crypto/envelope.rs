//! The signed and encrypted envelope of WeCom, which WeChat and DingTalk use with other names for its parts.
//!
//! 企业微信开发者中心, "加解密方案说明" (<https://developer.work.weixin.qq.com/document/path/91144>):
//!
//! - the signature is the SHA-1, in lower-case hex, of token, timestamp, nonce and ciphertext, sorted and joined;
//! - the key is the base64 of 32 bytes without its last `=`, and the initial vector is its first 16 bytes;
//! - the plaintext is 16 random bytes, the message's length as four bytes, most significant first, the message, and
//!   the receiver (in WeCom the corporation's id), padded as PKCS#7 does but to a multiple of **32** bytes;
//! - the cipher is AES-256-CBC, and the ciphertext travels as base64.
//!
//! [`open`] does not check the signature: call [`verify`] first.

use std::fmt;

use aes::Aes256;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hoopoe_message::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::contract::webhook::{Refusal, fresh, signed_parameter};

/// What precedes the message: random bytes and its length.
const HEADER: usize = 16 + 4;
/// The padding fills the plaintext up to a multiple of this.
const PADDED_TO: usize = 32;

/// 43 characters hold 258 bits, and many keys in use (the platform's own sample among them) have the spare two set.
const KEY_ENCODING: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// An AES key as an operator knows it: `EncodingAESKey`.
pub struct Key(Zeroizing<[u8; 32]>);

impl Key {
    /// Decodes the 43 characters of an `EncodingAESKey`.
    ///
    /// # Errors
    ///
    /// Where they are not the base64 of 32 bytes.
    pub fn decode(encoding_aes_key: &str) -> Result<Self, InvalidKey> {
        let bytes = Zeroizing::new(KEY_ENCODING.decode(encoding_aes_key).map_err(|_| InvalidKey)?);
        let mut key = Zeroizing::new([0; 32]);
        if bytes.len() != key.len() {
            return Err(InvalidKey);
        }
        key.copy_from_slice(&bytes);
        Ok(Self(key))
    }

    fn initial_vector(&self) -> [u8; 16] {
        *self.0.first_chunk().expect("a key of 32 bytes has 16 first ones")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// The text is no `EncodingAESKey`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an EncodingAESKey is 43 characters of base64")]
pub struct InvalidKey;

/// Why an envelope does not open. With a valid signature each of them means a wrong setting on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// The ciphertext is not base64 of whole AES blocks.
    #[error("the ciphertext is not base64 of whole blocks")]
    Encoding,
    /// The plaintext has no valid padding, or its length field points outside of it: most likely another key.
    #[error("the envelope does not open with this EncodingAESKey")]
    Key,
    /// The receiver is another one.
    #[error("the envelope is addressed to another receiver")]
    Receiver,
}

impl Unopened {
    /// The refusal of a request whose signature was right; `elsewhere` says to whom it is addressed instead.
    pub(crate) const fn refusal(self, elsewhere: &'static str) -> Refusal {
        match self {
            Self::Encoding => Refusal::Malformed("the ciphertext is not base64 of whole blocks"),
            Self::Key => Refusal::Forged("the envelope does not open with the EncodingAESKey that is configured"),
            Self::Receiver => Refusal::Forged(elsewhere),
        }
    }
}

/// The signature of a ciphertext.
#[must_use]
pub fn sign(token: &str, timestamp: &str, nonce: &str, ciphertext: &str) -> String {
    let mut parts = [token, timestamp, nonce, ciphertext];
    parts.sort_unstable();
    let mut hash = Sha1::new();
    parts.iter().for_each(|part| hash.update(part));
    hex::encode(hash.finalize())
}

/// Whether the signature is that of the ciphertext, compared in constant time.
#[must_use]
pub fn verify(token: &str, timestamp: &str, nonce: &str, ciphertext: &str, signature: &str) -> bool {
    sign(token, timestamp, nonce, ciphertext).as_bytes().ct_eq(signature.as_bytes()).into()
}

/// Verifies a request that is signed in its query: the signature, which the query names so, then the age, give or take
/// `window` seconds.
///
/// # Errors
///
/// Where it is forged, stale, or lacks a parameter.
pub(crate) fn verify_query(
    token: &SecretString,
    query: &str,
    signature: &str,
    ciphertext: &str,
    now: Timestamp,
    window: u64,
) -> Result<(), Refusal> {
    let [signature, timestamp, nonce] =
        [signed_parameter(query, signature)?, signed_parameter(query, "timestamp")?, signed_parameter(query, "nonce")?];
    let token = token.expose_secret();
    if token.is_empty() {
        return Err(Refusal::Forged("no token is configured"));
    }
    if !verify(token, &timestamp, &nonce, ciphertext, &signature) {
        return Err(Refusal::Forged("the signature is wrong"));
    }
    let told = timestamp.parse().map_err(|_| Refusal::Malformed("the timestamp is no number"))?;
    fresh(told, now, window)
}

/// Encrypts a message as the platform does. `random` has to be new and unpredictable for each.
#[must_use]
pub fn seal(key: &Key, random: [u8; 16], message: &[u8], receiver: &str) -> String {
    let length = u32::try_from(message.len()).expect("a message is far below 4 GiB");
    let filled = HEADER + message.len() + receiver.len();
    let padding = PADDED_TO - filled % PADDED_TO;
    let mut text = Vec::with_capacity(filled + padding);
    text.extend_from_slice(&random);
    text.extend_from_slice(&length.to_be_bytes());
    text.extend_from_slice(message);
    text.extend_from_slice(receiver.as_bytes());
    text.resize(filled + padding, u8::try_from(padding).expect("1 to 32"));
    let whole = text.len();
    let cipher = cbc::Encryptor::<Aes256>::new((&*key.0).into(), &key.initial_vector().into());
    let sealed = cipher.encrypt_padded::<NoPadding>(&mut text, whole).expect("whole blocks need no padding");
    STANDARD.encode(sealed)
}

/// Decrypts the message of an envelope whose signature was verified.
///
/// # Errors
///
/// Where the ciphertext is damaged, was made with another key, or is for another receiver.
pub fn open(key: &Key, ciphertext: &str, receiver: &str) -> Result<Vec<u8>, Unopened> {
    let mut text = STANDARD.decode(ciphertext).map_err(|_| Unopened::Encoding)?;
    let cipher = cbc::Decryptor::<Aes256>::new((&*key.0).into(), &key.initial_vector().into());
    let opened = cipher.decrypt_padded::<NoPadding>(&mut text).map_err(|_| Unopened::Encoding)?;
    let filled = unpad(opened).ok_or(Unopened::Key)?;
    let (header, rest) = filled.split_first_chunk::<HEADER>().ok_or(Unopened::Key)?;
    let length = u32::from_be_bytes(*header.last_chunk().expect("a header ends in four bytes"));
    let length = usize::try_from(length).map_err(|_| Unopened::Key)?;
    let (message, addressee) = rest.split_at_checked(length).ok_or(Unopened::Key)?;
    if bool::from(addressee.ct_eq(receiver.as_bytes())) { Ok(message.to_vec()) } else { Err(Unopened::Receiver) }
}

/// Takes off PKCS#7 padding of 1 to 32 bytes, which an AES unpadder refuses beyond 16.
fn unpad(text: &[u8]) -> Option<&[u8]> {
    let last = *text.last()?;
    let (filled, padding) = text.split_at_checked(text.len().checked_sub(usize::from(last))?)?;
    let valid = (1..=PADDED_TO).contains(&padding.len()) && padding.iter().all(|byte| *byte == last);
    valid.then_some(filled)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> Key {
        Key::decode("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG").expect("43 characters")
    }

    #[test]
    fn a_key_is_43_characters_whatever_its_spare_bits() {
        assert!(Key::decode("jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C").is_ok(), "spare bits are set");
        for wrong in ["", "abc", &"a".repeat(42), &"a".repeat(44), &"?".repeat(43), &format!("{}=", "a".repeat(43))] {
            assert_eq!(Key::decode(wrong).expect_err(wrong), InvalidKey);
        }
        assert_eq!(format!("{:?}", key()), "Key(…)");
    }

    #[test]
    fn padding_is_1_to_32_equal_bytes() {
        assert_eq!(unpad(&[7, 1]), Some(&[7][..]));
        assert_eq!(unpad(&[32; 32]), Some(&[][..]));
        for wrong in [&[][..], &[0], &[33; 33], &[3, 2], &[2, 3, 3], &[9]] {
            assert_eq!(unpad(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn each_fault_has_its_name() {
        let sealed = seal(&key(), [9; 16], b"hello", "corp");
        let other = Key::decode(&"x".repeat(43)).expect("43 characters");
        assert_eq!(open(&key(), &sealed, "corporation"), Err(Unopened::Receiver));
        assert_eq!(open(&key(), &sealed, ""), Err(Unopened::Receiver));
        assert_eq!(open(&key(), &sealed[..sealed.len() - 4], "corp"), Err(Unopened::Encoding));
        assert_eq!(open(&key(), "not base64", "corp"), Err(Unopened::Encoding));
        assert_eq!(open(&key(), "", "corp"), Err(Unopened::Key));
        assert_eq!(open(&other, &sealed, "corp"), Err(Unopened::Key));
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(message in proptest::collection::vec(any::<u8>(), 0..200), random: [u8; 16], receiver in "[a-z]{0,40}") {
            let sealed = seal(&key(), random, &message, &receiver);
            prop_assert_eq!(open(&key(), &sealed, &receiver), Ok(message));
            prop_assert_eq!(STANDARD.decode(&sealed).expect("base64").len() % PADDED_TO, 0);
        }

        #[test]
        fn arbitrary_ciphertext_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,80}") {
            let _ = open(&key(), &STANDARD.encode(&bytes), "corp");
            let _ = open(&key(), &text, "corp");
            let _ = unpad(&bytes);
        }

        /// The signature joins its parts without separators, so this is about bytes, not about where one part ends.
        #[test]
        fn a_changed_byte_breaks_the_signature(at in 0_usize..4, which: prop::sample::Index, to in "[!-~]") {
            let parts = ["token", "1409659813", "1372623149", "c2VhbGVk"];
            let signature = sign(parts[0], parts[1], parts[2], parts[3]);
            let mut changed = parts.map(str::to_owned);
            let byte = which.index(parts[at].len());
            changed[at].replace_range(byte..=byte, &to);
            prop_assume!(changed[at] != parts[at]);
            prop_assert!(!verify(&changed[0], &changed[1], &changed[2], &changed[3], &signature));
        }
    }
}
