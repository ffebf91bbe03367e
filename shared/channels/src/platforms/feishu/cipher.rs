//! How Feishu encrypts and signs what it posts, with the app's Encrypt Key ("将事件发送至开发者服务器",
//! `ukTMukTMukTM/uYDNxYjL2QTM24iN0EjN/event-subscription-configure-/choose-a-subscription-mode/send-notifications-to-developers-server`;
//! "接收事件", `…/event-subscription-configure-/encrypt-key-encryption-configuration-case`):
//!
//! - the key is the SHA-256 of the Encrypt Key, the cipher AES-256-CBC with PKCS#7 padding, and the ciphertext travels
//!   as the base64 of 16 random bytes, which are the initial vector, and the sealed message;
//! - the signature is the SHA-256, in lower-case hex, of timestamp, nonce, Encrypt Key, and the whole body as it came.
//!
//! A hash with the key in the middle can be extended: who knows one signed body can sign that body with padding and
//! more after it. So a body has to be one JSON object and nothing else, which such a body is not.

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

const BLOCK: usize = 16;

/// Why a ciphertext does not open. With a valid signature each of them means a wrong setting on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// It is not base64 of an initial vector and whole blocks.
    #[error("the ciphertext is not base64 of whole blocks")]
    Encoding,
    /// The plaintext has no valid padding: it was made with another key.
    #[error("the ciphertext does not open with this Encrypt Key")]
    Key,
}

/// The signature of a body.
#[must_use]
pub fn sign(encrypt_key: &str, timestamp: &str, nonce: &str, body: &[u8]) -> String {
    let mut hash = Sha256::new();
    for part in [timestamp.as_bytes(), nonce.as_bytes(), encrypt_key.as_bytes(), body] {
        hash.update(part);
    }
    hex::encode(hash.finalize())
}

/// Whether the signature is that of the body, compared in constant time.
#[must_use]
pub fn verify(encrypt_key: &str, timestamp: &str, nonce: &str, body: &[u8], signature: &str) -> bool {
    sign(encrypt_key, timestamp, nonce, body).as_bytes().ct_eq(signature.as_bytes()).into()
}

/// Encrypts a message as Feishu does. `random` has to be new and unpredictable for each.
#[must_use]
pub fn seal(encrypt_key: &str, random: [u8; BLOCK], message: &[u8]) -> String {
    let mut text = message.to_vec();
    text.resize((message.len() / BLOCK + 1) * BLOCK, 0);
    let cipher = cbc::Encryptor::<Aes256>::new((&*key(encrypt_key)).into(), &random.into());
    let sealed = cipher.encrypt_padded::<Pkcs7>(&mut text, message.len()).expect("there is room for the padding");
    STANDARD.encode([&random[..], sealed].concat())
}

/// Decrypts a ciphertext.
///
/// # Errors
///
/// Where it is damaged, or was made with another key. Which of both must not be told to one who signed nothing: it
/// would open, byte by byte, what he overheard.
pub fn open(encrypt_key: &str, ciphertext: &str) -> Result<Vec<u8>, Unopened> {
    let mut bytes = STANDARD.decode(ciphertext).map_err(|_| Unopened::Encoding)?;
    let (initial_vector, sealed) = bytes.split_first_chunk_mut::<BLOCK>().ok_or(Unopened::Encoding)?;
    if sealed.is_empty() || sealed.len() % BLOCK != 0 {
        return Err(Unopened::Encoding);
    }
    let cipher = cbc::Decryptor::<Aes256>::new((&*key(encrypt_key)).into(), &(*initial_vector).into());
    let opened = cipher.decrypt_padded::<Pkcs7>(sealed).map_err(|_| Unopened::Key)?;
    Ok(opened.to_vec())
}

fn key(encrypt_key: &str) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(Sha256::digest(encrypt_key).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_fault_has_its_name() {
        let sealed = seal("key", [9; 16], b"hello");
        assert_eq!(open("key", &sealed), Ok(b"hello".to_vec()));
        assert_eq!(open("other", &sealed), Err(Unopened::Key));
        for damaged in ["", "not base64", "c2hvcnQ=", &STANDARD.encode([0; 16]), &STANDARD.encode([0; 33])] {
            assert_eq!(open("key", damaged), Err(Unopened::Encoding), "{damaged}");
        }
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(message in proptest::collection::vec(any::<u8>(), 0..100), random: [u8; 16], key in ".{1,40}") {
            prop_assert_eq!(open(&key, &seal(&key, random, &message)), Ok(message));
        }

        #[test]
        fn arbitrary_ciphertext_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100), text in ".{0,80}") {
            let _ = open("key", &STANDARD.encode(&bytes));
            let _ = open("key", &text);
        }
    }
}
