//! The documents in which the service publishes its signing keys ("Authentication with the Bot Connector API",
//! azure/rest-api/bot-framework-rest-connector-authentication, "Get the OpenID metadata document" and "Get the list of
//! valid signing keys").
//!
//! [`Webhook::published_keys`](crate::Webhook::published_keys) names the first document, [`jwks_url`] finds the second
//! in it, [`read_keys`] reads that one. Who fetches them keeps the keys for a day, and on
//! [`Refusal::UnknownKey`](crate::Refusal::UnknownKey) fetches them again, but not more often than once an hour: anybody
//! can name an unknown key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use crate::PublishedKey;

/// The largest document that is read. A list of keys is far smaller, even with the certificate of each.
pub const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// The most keys that are kept.
const MAX_KEYS: usize = 64;

/// The longest name, of a key or of an endorsement.
const MAX_NAME_BYTES: usize = 128;

/// The most endorsements that are kept of a key; a real one has about twenty.
const MAX_ENDORSEMENTS: usize = 128;

/// The sizes of a modulus, from 2048 bits to 8192.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// The longest exponent; the usual one, 65537, has 3.
const MAX_EXPONENT_BYTES: usize = 8;

/// Why a document gives no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Larger than [`MAX_DOCUMENT_BYTES`].
    #[error("the document is larger than 256 KiB")]
    Size,
    /// Not the JSON it has to be.
    #[error("the document is not the JSON it has to be")]
    Json,
    /// It refers to keys that cannot be fetched safely.
    #[error("the address of the keys is not an https address")]
    Address,
    /// No key in it can verify anything.
    #[error("the document has no RSA key to verify with")]
    Empty,
}

/// The address of the keys, from the OpenID metadata that was fetched from `metadata_url`.
///
/// It has to be one of HTTPS. Where the metadata itself came without, as from a server on this machine, the keys may
/// come from the same server.
///
/// # Errors
///
/// Where the document is none, or the address is not to be trusted.
pub fn jwks_url(metadata: &[u8], metadata_url: &str) -> Result<String, Unreadable> {
    #[derive(Deserialize)]
    struct Metadata {
        jwks_uri: String,
    }
    let Metadata { jwks_uri } = json(metadata)?;
    let sound = jwks_uri.len() <= 2048 && jwks_uri.bytes().all(|byte| byte.is_ascii_graphic());
    let uri: http::Uri = jwks_uri.parse().ok().filter(|_| sound).ok_or(Unreadable::Address)?;
    let from: http::Uri = metadata_url.parse().map_err(|_| Unreadable::Address)?;
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
    let safe =
        uri.scheme_str() == Some("https") || uri.scheme() == from.scheme() && uri.authority() == from.authority();
    if authority.is_some() && safe { Ok(jwks_uri) } else { Err(Unreadable::Address) }
}

/// The keys of a JSON Web Key Set (RFC 7517) that can verify RS256. Others are left out, and so is what cannot be one.
///
/// # Errors
///
/// Where the document is none, or has no such key.
pub fn read_keys(jwks: &[u8]) -> Result<Vec<PublishedKey>, Unreadable> {
    #[derive(Deserialize)]
    struct KeySet {
        keys: Vec<Value>,
    }
    let KeySet { keys } = json(jwks)?;
    let keys: Vec<PublishedKey> = keys.into_iter().filter_map(read_key).take(MAX_KEYS).collect();
    if keys.is_empty() { Err(Unreadable::Empty) } else { Ok(keys) }
}

fn read_key(key: Value) -> Option<PublishedKey> {
    /// RFC 7517, 4 and RFC 7518, 6.3.1; the endorsements are Microsoft's own.
    #[derive(Deserialize)]
    struct Key {
        kty: String,
        #[serde(rename = "use")]
        purpose: Option<String>,
        alg: Option<String>,
        kid: String,
        n: String,
        e: String,
        endorsements: Option<Vec<String>>,
    }
    let key: Key = serde_json::from_value(key).ok()?;
    let verifies = key.kty == "RSA"
        && key.purpose.is_none_or(|purpose| purpose == "sig")
        && key.alg.is_none_or(|algorithm| algorithm == "RS256");
    let named = (1..=MAX_NAME_BYTES).contains(&key.kid.len());
    let modulus = number(&key.n).filter(|bytes| MODULUS_BYTES.contains(&bytes.len()))?;
    let exponent = number(&key.e).filter(|bytes| (1..=MAX_EXPONENT_BYTES).contains(&bytes.len()))?;
    let endorsements = key.endorsements.unwrap_or_default();
    // A key with endorsements is good for nothing else, so they are kept or the key is not.
    let endorsed =
        endorsements.len() <= MAX_ENDORSEMENTS && endorsements.iter().all(|name| name.len() <= MAX_NAME_BYTES);
    (verifies && named && endorsed).then_some(PublishedKey { id: key.kid, modulus, exponent, endorsements })
}

/// A number in base64url, most significant byte first, without zeros before it.
fn number(text: &str) -> Option<Vec<u8>> {
    let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    Some(bytes)
}

fn json<'a, T: Deserialize<'a>>(document: &'a [u8]) -> Result<T, Unreadable> {
    if document.len() > MAX_DOCUMENT_BYTES {
        return Err(Unreadable::Size);
    }
    serde_json::from_slice(document).map_err(|_| Unreadable::Json)
}
