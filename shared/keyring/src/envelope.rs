//! Encrypting and decrypting a secret under KMS.
//!
//! KMS encrypts up to 4,096 bytes itself. What is longer is sealed with AES-256-GCM under a data key that KMS makes for
//! it and encrypts (envelope encryption); the data key's ciphertext stands beside what it sealed. Either way the
//! encryption context has to be the same for decrypting: KMS holds it for the ciphertext, GCM's associated data for the
//! sealed part, which else could be put beside another data key.

use std::collections::HashMap;

use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::{Zeroize, Zeroizing};

use crate::KeyringError;

/// What KMS encrypts in one call:
/// <https://docs.aws.amazon.com/kms/latest/APIReference/API_Encrypt.html>.
const MAX_DIRECT: usize = 4096;

/// A secret as it stands in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// By KMS: of the secret, or of the data key.
    pub(crate) ciphertext: Blob,
    /// By the data key: nonce, ciphertext and tag; `None` where the secret is short enough for KMS.
    pub(crate) sealed: Option<Blob>,
}

type Context = HashMap<String, String>;

/// Encrypts a secret.
pub(crate) async fn encrypt(
    kms: &aws_sdk_kms::Client,
    key_id: &str,
    context: Context,
    secret: &[u8],
) -> Result<Sealed, KeyringError> {
    const DOING: &str = "encrypting a key";
    if secret.len() <= MAX_DIRECT {
        let request = kms.encrypt().key_id(key_id).plaintext(Blob::new(secret)).set_encryption_context(Some(context));
        let output = request.send().await.map_err(|error| KeyringError::call(DOING, &error))?;
        let ciphertext = output.ciphertext_blob.ok_or(KeyringError::Empty(DOING))?;
        return Ok(Sealed { ciphertext, sealed: None });
    }
    let associated = associated(&context);
    let request =
        kms.generate_data_key().key_id(key_id).key_spec(DataKeySpec::Aes256).set_encryption_context(Some(context));
    let output = request.send().await.map_err(|error| KeyringError::call("making a data key", &error))?;
    let (Some(ciphertext), Some(plaintext)) = (output.ciphertext_blob, output.plaintext) else {
        return Err(KeyringError::Empty("making a data key"));
    };
    let data_key = Zeroizing::new(plaintext.into_inner());
    let sealed = seal(&data_key, &associated, secret).ok_or(KeyringError::Empty("sealing a key"))?;
    Ok(Sealed { ciphertext, sealed: Some(Blob::new(sealed)) })
}

/// Decrypts a secret.
pub(crate) async fn decrypt(
    kms: &aws_sdk_kms::Client,
    context: Context,
    secret: Sealed,
) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    const DOING: &str = "decrypting a key";
    let associated = associated(&context);
    let request = kms.decrypt().ciphertext_blob(secret.ciphertext).set_encryption_context(Some(context));
    let output = request.send().await.map_err(|error| KeyringError::call(DOING, &error))?;
    let plaintext = Zeroizing::new(output.plaintext.ok_or(KeyringError::Empty(DOING))?.into_inner());
    match secret.sealed {
        None => Ok(plaintext),
        Some(sealed) => open(&plaintext, &associated, sealed.into_inner()).ok_or(KeyringError::Empty(DOING)),
    }
}

/// The context in one form, whatever the order of its parts.
fn associated(context: &Context) -> Vec<u8> {
    let mut parts: Vec<_> = context.iter().collect();
    parts.sort();
    // None of the parts contains a line break: channels, bots and purposes are of letters, digits and - alone.
    parts.iter().flat_map(|(name, value)| format!("{name}={value}\n").into_bytes()).collect()
}

/// `None` where the key is none of AES-256, or the system has no random numbers.
fn seal(data_key: &[u8], associated: &[u8], secret: &[u8]) -> Option<Vec<u8>> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, data_key).ok()?);
    // A data key seals one secret, so any nonce would do; this one costs nothing.
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).ok()?;
    let mut text = secret.to_vec();
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(associated), &mut text)
        .inspect_err(|_| text.zeroize())
        .ok()?;
    Some([&nonce[..], &text, tag.as_ref()].concat())
}

/// `None` where it was not sealed with this key for this place.
fn open(data_key: &[u8], associated: &[u8], mut sealed: Vec<u8>) -> Option<Zeroizing<Vec<u8>>> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, data_key).ok()?);
    let nonce = Nonce::try_assume_unique_for_key(sealed.get(..NONCE_LEN)?).ok()?;
    let secret = key.open_within(nonce, Aad::from(associated), &mut sealed, NONCE_LEN..).ok()?.len();
    sealed.truncate(secret);
    Some(Zeroizing::new(sealed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    #[test]
    fn what_is_sealed_opens_with_its_key_and_its_place_only() {
        let secret = b"s".repeat(9000);
        let sealed = seal(&KEY, b"bot=main", &secret).expect("sealed");
        assert!(!sealed.windows(16).any(|window| window == &secret[..16]), "it is not readable");
        assert_eq!(open(&KEY, b"bot=main", sealed.clone()).expect("opened").as_slice(), secret);
        assert_eq!(open(&KEY, b"bot=other", sealed.clone()), None);
        assert_eq!(open(&[8; 32], b"bot=main", sealed.clone()), None);
        for at in [0, NONCE_LEN, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(open(&KEY, b"bot=main", changed), None, "byte {at}");
        }
        assert_eq!(open(&KEY, b"bot=main", sealed[..NONCE_LEN].to_vec()), None);
        assert_eq!(open(&KEY, b"bot=main", Vec::new()), None);
    }

    #[test]
    fn a_context_has_one_form() {
        let context = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let (one, other) = (context(&[("a", "1"), ("b", "2")]), context(&[("b", "2"), ("a", "1")]));
        assert_eq!(associated(&one), associated(&other));
        assert_ne!(associated(&one), associated(&context(&[("a", "1"), ("b", "3")])));
    }
}
