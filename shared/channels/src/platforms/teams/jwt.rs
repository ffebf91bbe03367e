//! The signed token that comes with every activity ("Authentication with the Bot Connector API",
//! azure/rest-api/bot-framework-rest-connector-authentication, "Authenticate requests from the Bot Connector service to
//! your bot"): a JSON Web Token (RFC 7519) in the compact form of RFC 7515, signed with RS256 (RFC 7518, 3.3).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hoopoe_message::Timestamp;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde::de::IgnoredAny;

use crate::contract::webhook::{PublishedKey, Refusal};

/// The largest token that is looked at. A real one has about 1 KiB.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The largest header of a token, decoded.
const MAX_HEADER_BYTES: usize = 1024;

/// How far the clocks may be apart, in seconds: "Industry-standard clock-skew is 5 minutes."
const SKEW_SECONDS: u64 = 5 * 60;

/// What a token has to say.
pub(super) struct Expected<'a> {
    /// Who speaks.
    pub(super) issuer: &'a str,
    /// To which application.
    pub(super) audience: &'a str,
}

/// A token that is signed by the service, for this bot, and for now.
#[derive(Debug)]
pub(super) struct Verified<'k> {
    /// The key that signed it.
    pub(super) key: &'k PublishedKey,
    /// The connector that it speaks for.
    pub(super) service_url: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    /// The thumbprint of the key's certificate, which the service uses as the key's name.
    x5t: Option<String>,
    /// What a recipient must understand or refuse (RFC 7515, 4.1.11). There is nothing here to understand.
    crit: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    /// One application; the service never lists several.
    aud: String,
    exp: u64,
    nbf: Option<u64>,
    /// The document writes `serviceUrl`; the service and Microsoft's SDKs (`SERVICE_URL_CLAIM` of PyPI
    /// botframework-connector, `ServiceUrlClaim` of npm botframework-connector, `JwtValidator` of npm
    /// @microsoft/teams.apps) write it in lower case.
    serviceurl: String,
}

/// Verifies the token of an `Authorization` header: first the signature over the bytes as they came, and only then
/// what they say.
///
/// # Errors
///
/// [`Refusal::Forged`] where it is no token of the service for this bot, [`Refusal::UnknownKey`] where it names a key
/// that is not published, [`Refusal::Stale`] where its time is over or not come.
pub(super) fn verify<'k>(
    authorization: &str,
    published: &'k [PublishedKey],
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<Verified<'k>, Refusal> {
    let token = authorization.strip_prefix("Bearer ").ok_or(Refusal::Forged("the header holds no bearer token"))?;
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Refusal::Forged("the token is larger than 8 KiB"));
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(Refusal::Forged("the token has not three parts"))?;
    let (header, payload) = signed.split_once('.').ok_or(Refusal::Forged("the token has not three parts"))?;
    if payload.contains('.') {
        return Err(Refusal::Forged("the token has not three parts"));
    }

    let key = key_of(header, published)?;
    let signature = decoded(signature)?;
    RsaPublicKeyComponents { n: &key.modulus, e: &key.exponent }
        .verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature)
        .map_err(|_| Refusal::Forged("the signature is wrong"))?;

    let claims: Claims = json(&decoded(payload)?)?;
    if claims.iss != expected.issuer {
        return Err(Refusal::Forged("the token is not of the Bot Connector service"));
    }
    // Both are GUIDs, whose case means nothing.
    if expected.audience.is_empty() || !claims.aud.eq_ignore_ascii_case(expected.audience) {
        return Err(Refusal::Forged("the token is for another bot"));
    }
    timely(&claims, now.as_secs())?;
    Ok(Verified { key, service_url: claims.serviceurl })
}

/// The published key that the header names.
fn key_of<'k>(header: &str, published: &'k [PublishedKey]) -> Result<&'k PublishedKey, Refusal> {
    let header = decoded(header)?;
    if header.len() > MAX_HEADER_BYTES {
        return Err(Refusal::Forged("the token's header is larger than 1 KiB"));
    }
    let header: Header = json(&header)?;
    // Nothing but this: with `none` there is no signature, and with HS256 the public key would be the secret.
    if header.alg != "RS256" {
        return Err(Refusal::Forged("the token is not signed with RS256"));
    }
    if header.typ.is_some_and(|kind| !kind.eq_ignore_ascii_case("JWT")) {
        return Err(Refusal::Forged("the token is no JWT"));
    }
    if header.crit.is_some() {
        return Err(Refusal::Forged("the token has critical extensions"));
    }
    let name = header.kid.or(header.x5t).ok_or(Refusal::Forged("the token names no key"))?;
    published.iter().find(|key| key.id == name).ok_or(Refusal::UnknownKey)
}

/// Whether the token is valid now, give or take the skew.
fn timely(claims: &Claims, now: u64) -> Result<(), Refusal> {
    if now >= claims.exp.saturating_add(SKEW_SECONDS) {
        return Err(Refusal::Stale(now - claims.exp));
    }
    match claims.nbf {
        Some(from) if from > now.saturating_add(SKEW_SECONDS) => Err(Refusal::Stale(from - now)),
        _ => Ok(()),
    }
}

/// Base64url without padding (RFC 7515, 2). Only one text is the encoding of given bytes: what else would decode to
/// the same is refused.
fn decoded(part: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Forged("the token is not in base64url"))
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|_| Refusal::Forged("the token lacks what a token of the service says"))
}
