//! What most platforms sign with: HMAC-SHA256 and Ed25519 over the request's raw bytes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use hoopoe_message::Timestamp;
#[cfg(feature = "counterpart")]
use ring::signature::Ed25519KeyPair;
use ring::signature::{ED25519, UnparsedPublicKey};
use sha2::Sha256;

use crate::contract::webhook::{Refusal, Request, fresh};

const WRONG: Refusal = Refusal::Forged("the signature is wrong");

/// The HMAC-SHA256 of the parts, one after the other.
#[must_use]
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    mac(key, parts).finalize().into_bytes().into()
}

/// Checks an HMAC-SHA256 that is given in hexadecimal digits, in constant time.
///
/// # Errors
///
/// Where it is wrong, or the key is empty: nothing is authentic without a secret.
pub(crate) fn verify_hmac_hex(key: &[u8], parts: &[&[u8]], given: &str) -> Result<(), Refusal> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(given, &mut bytes).map_err(|_| WRONG)?;
    verify_hmac(key, parts, &bytes)
}

/// Checks an HMAC-SHA256 that is given in base64, in constant time.
///
/// # Errors
///
/// As [`verify_hmac_hex`].
pub(crate) fn verify_hmac_base64(key: &[u8], parts: &[&[u8]], given: &str) -> Result<(), Refusal> {
    // Longer than any signature is not decoded at all.
    let bytes = if given.len() <= 64 { STANDARD.decode(given).map_err(|_| WRONG)? } else { Vec::new() };
    verify_hmac(key, parts, &bytes)
}

fn verify_hmac(key: &[u8], parts: &[&[u8]], given: &[u8]) -> Result<(), Refusal> {
    if key.is_empty() {
        return Err(Refusal::Forged("no secret is configured"));
    }
    mac(key, parts).verify_slice(given).map_err(|_| WRONG)
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("an HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac
}

/// The headers of requests that are signed with Ed25519, by Discord and by QQ.
pub(crate) const ED25519_SIGNATURE: &str = "x-signature-ed25519";
pub(crate) const ED25519_TIMESTAMP: &str = "x-signature-timestamp";

/// Verifies a request that is signed with Ed25519 over its timestamp and body: the signature, then the age, give or
/// take `window` seconds.
///
/// # Errors
///
/// Where it is forged or stale.
pub(crate) fn verify_ed25519_request(
    public_key: &[u8; 32],
    request: &Request<'_>,
    now: Timestamp,
    window: u64,
) -> Result<(), Refusal> {
    let signature = request.header(ED25519_SIGNATURE).ok_or(Refusal::Forged("the signature is missing"))?;
    let timestamp = request.header(ED25519_TIMESTAMP).ok_or(Refusal::Forged("the timestamp is missing"))?;
    verify_ed25519(public_key, &[timestamp.as_bytes(), request.body].concat(), signature)?;
    let told = timestamp.parse().map_err(|_| Refusal::Malformed("the timestamp is no number"))?;
    fresh(told, now, window)
}

/// What would be posted so.
#[cfg(feature = "counterpart")]
pub(crate) fn posted_ed25519(pair: &Ed25519KeyPair, told: &[u8], now: Timestamp) -> http::Request<Vec<u8>> {
    let timestamp = now.as_secs().to_string();
    let signature = hex::encode(pair.sign(&[timestamp.as_bytes(), told].concat()));
    http::Request::builder()
        .method(http::Method::POST)
        .header(http::header::CONTENT_TYPE, "application/json")
        .header(ED25519_TIMESTAMP, timestamp)
        .header(ED25519_SIGNATURE, signature)
        .body(told.to_vec())
        .expect("a valid request")
}

/// Checks an Ed25519 signature (RFC 8032) over the message, given in hexadecimal digits.
///
/// # Errors
///
/// Where it is wrong.
pub(crate) fn verify_ed25519(public_key: &[u8; 32], message: &[u8], given: &str) -> Result<(), Refusal> {
    let mut signature = [0; 64];
    hex::decode_to_slice(given, &mut signature).map_err(|_| WRONG)?;
    UnparsedPublicKey::new(&ED25519, public_key).verify(message, &signature).map_err(|_| WRONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2.
    #[test]
    fn hmac_is_the_published_one() {
        let hex = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let parts: [&[u8]; 2] = [b"what do ya want ", b"for nothing?"];
        assert_eq!(verify_hmac_hex(b"Jefe", &parts, hex), Ok(()));
        assert_eq!(verify_hmac_base64(b"Jefe", &parts, &STANDARD.encode(hmac_sha256(b"Jefe", &parts))), Ok(()));
        for wrong in ["", "5b", &hex.replace('5', "6"), &format!("{hex}00"), "zz"] {
            assert!(verify_hmac_hex(b"Jefe", &parts, wrong).is_err(), "{wrong}");
            assert!(verify_hmac_base64(b"Jefe", &parts, wrong).is_err(), "{wrong}");
        }
        assert!(verify_hmac_hex(b"", &parts, &hex::encode(hmac_sha256(b"", &parts))).is_err());
    }

    /// RFC 8032, 7.1, test 2.
    #[test]
    fn ed25519_is_the_published_one() {
        let mut key = [0; 32];
        hex::decode_to_slice("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", &mut key)
            .expect("hex");
        let signature = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        assert_eq!(verify_ed25519(&key, &[0x72], signature), Ok(()));
        assert!(verify_ed25519(&key, &[0x73], signature).is_err());
        assert!(verify_ed25519(&key, &[0x72], &signature[2..]).is_err());
        assert!(verify_ed25519(&key, &[0x72], "").is_err());
    }
}
