//! What Meta's platforms share: the proof of a webhook, and the answers of the Graph API.
//!
//! - "Webhooks: Getting Started" (<https://developers.facebook.com/docs/graph-api/webhooks/getting-started>): a GET
//!   checks the URL; a POST is signed in `X-Hub-Signature-256` with the app secret, over the body as it travels. Meta
//!   writes what is not ASCII as `\uXXXX` there, so a body that was decoded and written anew has another signature.
//!   No time is signed. Any 200 will do as an answer.
//! - "Handle Errors" (<https://developers.facebook.com/docs/graph-api/guides/error-handling>): the codes that every
//!   API has.

use std::collections::HashMap;
use std::time::Duration;

use hoopoe_message::Reply;
use http::{HeaderMap, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use subtle::ConstantTimeEq;

use crate::contract::rejection::{CheckRejection, HOUR, Rejection, Retry, SECOND, asked_pause};
use crate::contract::sender::{ApiRequest, suggestions};
use crate::contract::settings::{Fields, InvalidSettings, is_visible};
use crate::contract::webhook::{Incoming, Received, Refusal, Request, Response, parameter};
use crate::crypto::signature::verify_hmac_hex;
use crate::text::split::split;

/// The Graph API of 29 July 2026. A version works for at least two years, and what calls it later is served by the
/// oldest one left ("Platform Versioning", <https://developers.facebook.com/docs/apps/versions>).
pub(crate) const API_BASE: &str = "https://graph.facebook.com/v26.0";

const SIGNATURE: &str = "x-hub-signature-256";

/// Answers the check of the URL, or reads a notification once it is known to be Meta's.
///
/// # Errors
///
/// As [`check`], [`verify`] and `read`.
pub(crate) fn receive<N: DeserializeOwned>(
    app_secret: &SecretString,
    verify_token: &SecretString,
    request: &Request<'_>,
    read: impl FnOnce(N) -> Result<Vec<Option<Incoming>>, Refusal>,
) -> Result<Received, Refusal> {
    match *request.method {
        Method::GET => check(verify_token, request.query),
        Method::POST => {
            verify(app_secret, request)?;
            let notification = serde_json::from_slice(request.body);
            read(notification.map_err(|_| Refusal::Malformed("not a notification of Meta"))?).map(Received::many)
        }
        _ => Err(Refusal::Method),
    }
}

/// Verifies that Meta posted the body.
///
/// # Errors
///
/// Where the signature is missing or wrong.
fn verify(app_secret: &SecretString, request: &Request<'_>) -> Result<(), Refusal> {
    let given = request.header(SIGNATURE).ok_or(Refusal::Forged("the signature is missing"))?;
    let digits = given.strip_prefix("sha256=").ok_or(Refusal::Forged("the signature is not one of SHA-256"))?;
    verify_hmac_hex(app_secret.expose_secret().as_bytes(), &[request.body], digits)
}

/// Answers the check of the URL: the challenge alone, to whom knows the verify token.
///
/// # Errors
///
/// Where the token is another one, or the challenge is more than the short number that Meta sends: nobody gets
/// anything else repeated.
fn check(verify_token: &SecretString, query: &str) -> Result<Received, Refusal> {
    let given = parameter(query, "hub.verify_token")?;
    let expected = verify_token.expose_secret().as_bytes();
    if expected.is_empty() {
        return Err(Refusal::Forged("no verify token is configured"));
    }
    let given = given.ok_or(Refusal::Forged("the verify token is missing"))?;
    if !bool::from(given.as_bytes().ct_eq(expected)) {
        return Err(Refusal::Forged("the verify token is wrong"));
    }
    if parameter(query, "hub.mode")?.as_deref() != Some("subscribe") {
        return Err(Refusal::Malformed("hub.mode is not subscribe"));
    }
    let short = |challenge: &String| {
        (1..=128).contains(&challenge.len()) && challenge.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let challenge = parameter(query, "hub.challenge")?.filter(short);
    let challenge = challenge.ok_or(Refusal::Malformed("hub.challenge is not a short number"))?;
    Ok(Received::question(Response::ok(challenge)))
}

/// Reads the Graph API's answer to a send. `own` knows the codes of one platform and the words that help with them;
/// where it has none, those of every API hold.
pub(crate) fn outcome(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    own: impl FnOnce(&Fault) -> Option<(Retry, &'static str)>,
) -> Result<(), Rejection> {
    let answer = serde_json::from_slice::<Answer>(body).unwrap_or_default();
    let Some(fault) = answer.error else {
        let taken = answer.messages.is_some() || answer.message_id.is_some();
        return if taken && status.is_success() { Ok(()) } else { Err(Rejection::of_status(status, "the Graph API")) };
    };
    let (retry, hint) = own(&fault).unwrap_or_else(|| fault.of_every_api(status, headers));
    // Too many calls: perhaps the answer tells how long.
    let asked = asked_pause(headers, http::header::RETRY_AFTER.as_str());
    let retry = match retry {
        Retry::Backoff | Retry::After(_) => asked.map_or(retry, Retry::After),
        Retry::BotAfter(_) => asked.or_else(|| regained(headers)).map_or(retry, Retry::BotAfter),
        retry => retry,
    };
    let Fault { code, subcode, .. } = fault;
    let code = if subcode == 0 { code.to_string() } else { format!("{code}/{subcode}") };
    let words = fault.words();
    let reason = if hint.is_empty() { format!("{code} {words}") } else { format!("{code}: {hint}; {words}") };
    Err(Rejection::refused(reason, retry))
}

/// The request for the id of a node, which anybody may read whose token is accepted there.
pub(crate) fn check_request(base: Option<&str>, node: &str, access_token: &SecretString) -> http::Result<ApiRequest> {
    let base = base.unwrap_or(API_BASE);
    ApiRequest::get(&format!("{base}/{node}?fields=id"))?.authorized("Bearer", access_token)
}

/// Reads the answer to [`check_request`].
pub(crate) fn read_check(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), CheckRejection> {
    #[derive(Deserialize)]
    struct Node {
        #[serde(rename = "id")]
        _id: IgnoredAny,
    }
    if status.is_success() && serde_json::from_slice::<Node>(body).is_ok() {
        return Ok(());
    }
    outcome(status, headers, body, |_| None)?;
    Err(CheckRejection::inconclusive("the Graph API named no id"))
}

#[derive(Default, Deserialize)]
struct Answer {
    error: Option<Fault>,
    /// What WhatsApp took.
    messages: Option<IgnoredAny>,
    /// What Messenger took.
    message_id: Option<IgnoredAny>,
}

/// An error of the Graph API.
#[derive(Deserialize)]
pub(crate) struct Fault {
    pub(crate) code: i64,
    /// 0 where there is none.
    #[serde(default, rename = "error_subcode")]
    pub(crate) subcode: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    is_transient: bool,
    /// WhatsApp explains itself here.
    error_data: Option<Value>,
}

impl Fault {
    fn words(&self) -> &str {
        let details = self.error_data.as_ref().and_then(|data| data.get("details")?.as_str());
        details.unwrap_or(&self.message)
    }

    fn of_every_api(&self, status: StatusCode, headers: &HeaderMap) -> (Retry, &'static str) {
        match (self.code, self.subcode) {
            (0 | 102 | 190, _) => (Retry::BadCredential, "the access token is not valid or has expired"),
            (3 | 10 | 200..=299, _) => (Retry::Never, "the access token lacks a permission"),
            (100, 33) => (Retry::Never, "the id in the settings is wrong, or the access token is not for it"),
            // What is wrong with the request may be the menu below the text.
            (100, _) => (Retry::Fallback, ""),
            (368, _) => (Retry::Never, "Meta blocked the account for a while"),
            // Too many calls of the app, of a user, of a Page, of a use case: "the number of calls it can make during a
            // rolling one hour window" ("Rate Limits", docs/graph-api/overview/rate-limiting), or 24 hours in some cases.
            (4 | 17 | 32 | 80_000..=80_014, _) => (Retry::BotAfter(HOUR), ""),
            // A limit of one API: of Messenger's "300 calls per second per Facebook Page", and one of each thread
            // ("Messenger Platform rate limits").
            (613, _) => (Retry::After(SECOND), ""),
            // The app is throttled, for an unknown time.
            (341, _) => (Retry::Backoff, ""),
            // Unknown and busy.
            (1 | 2, _) => (Retry::Backoff, ""),
            _ if self.is_transient => (Retry::Backoff, ""),
            _ => (Retry::of_status(status, headers), ""),
        }
    }
}

/// Tells of each use case how near it is to its limit ("Rate Limits", "Business Use Case Rate Limits", "Headers").
const USAGE: &str = "x-business-use-case-usage";

/// The longest of the times, "in minutes, until calls will no longer be throttled", that the headers tell.
fn regained(headers: &HeaderMap) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Usage {
        #[serde(default)]
        estimated_time_to_regain_access: u64,
    }
    let usage = serde_json::from_slice::<HashMap<String, Vec<Usage>>>(headers.get(USAGE)?.as_bytes()).ok()?;
    let minutes = usage.values().flatten().map(|usage| usage.estimated_time_to_regain_access).max()?;
    (minutes > 0).then(|| Duration::from_secs(minutes.saturating_mul(60)))
}

/// How long a text is for Meta, which counts "characters" and says nowhere what one is: no other way of counting
/// than in UTF-16 units gives more.
pub(crate) fn length(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// The suggestions, each once: Meta refuses two buttons that are the same.
pub(crate) fn offered(reply: &Reply) -> Vec<&str> {
    let mut offered: Vec<&str> = Vec::new();
    for text in suggestions(reply) {
        if !offered.contains(&text) {
            offered.push(text);
        }
    }
    offered
}

/// The text as a label of at most `limit`, which ends in `…` where it is cut.
pub(crate) fn label(text: &str, limit: usize) -> String {
    if length(text) <= limit {
        return text.to_owned();
    }
    let start = split(text, limit - 1, char::len_utf16).into_iter().next().unwrap_or_default();
    format!("{start}…")
}

/// What the press of a button says: the text behind it where it goes on as the label begins, as behind a [`label`];
/// else the label, which is what the person read.
pub(crate) fn pressed<'a>(label: &'a str, behind: &'a str) -> &'a str {
    if behind.starts_with(label.trim_end_matches('…')) { behind } else { label }
}

/// The app secret and the verify token of a settings object.
///
/// # Errors
///
/// Where one is missing or breaks its rule.
pub(crate) fn webhook_secrets(fields: &mut Fields) -> Result<(SecretString, SecretString), InvalidSettings> {
    let app_secret = fields.required(
        "app_secret",
        "has to be the App secret of the App Dashboard, letters and digits",
        |secret| (16..=128).contains(&secret.len()) && secret.bytes().all(|byte| byte.is_ascii_alphanumeric()),
    )?;
    Ok((app_secret.into(), fields.invented("verify_token")?.into()))
}

/// An access token of a settings object.
///
/// # Errors
///
/// Where it is missing or can be none.
pub(crate) fn access_token(fields: &mut Fields, field: &'static str) -> Result<SecretString, InvalidSettings> {
    let rule = "has to be the access token as Meta shows it, one line without spaces";
    Ok(fields.required(field, rule, |token| is_visible(token, 1..=1024))?.into())
}

/// The most digits of an id.
pub(crate) const MAX_DIGITS: usize = 32;

/// Whether a text is an id made of digits.
pub(crate) fn is_number(id: &str) -> bool {
    (1..=MAX_DIGITS).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit())
}

/// What Meta would tell: with `\uXXXX` for what is not ASCII.
#[cfg(feature = "counterpart")]
pub(crate) fn told(notification: &Value) -> Vec<u8> {
    let mut body = String::new();
    for character in notification.to_string().chars() {
        if character.is_ascii() {
            body.push(character);
        } else {
            let mut units = [0; 2];
            body.extend(character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    body.into_bytes()
}

/// What Meta would post: signed.
#[cfg(feature = "counterpart")]
pub(crate) fn posted(app_secret: &str, told: &[u8]) -> http::Request<Vec<u8>> {
    let signature = crate::crypto::signature::hmac_sha256(app_secret.as_bytes(), &[told]);
    http::Request::builder()
        .method(Method::POST)
        .header(http::header::CONTENT_TYPE, "application/json")
        .header(SIGNATURE, format!("sha256={}", hex::encode(signature)))
        .body(told.to_vec())
        .expect("a valid request")
}

/// How the Graph API answers a request for the id's messages, and for the id of `node`: `taken` has the answer to a
/// message that keeps the documents' rules.
#[cfg(feature = "counterpart")]
pub(crate) fn answered(
    request: &http::Request<Vec<u8>>,
    access_token: &str,
    id: &str,
    node: &str,
    taken: impl FnOnce(&Value) -> Option<crate::contract::counterpart::Answer>,
) -> crate::contract::counterpart::Answer {
    if !crate::contract::counterpart::has_header(request, "authorization", &format!("Bearer {access_token}")) {
        return refused(StatusCode::UNAUTHORIZED, 190, "Invalid OAuth access token.");
    }
    if request.method() == Method::GET && *request.uri() == *format!("/{node}?fields=id") {
        return crate::contract::counterpart::Answer::told(serde_json::json!({ "id": id }));
    }
    if request.method() != Method::POST || request.uri().path() != format!("/{id}/messages") {
        return refused(StatusCode::BAD_REQUEST, 100, "Unsupported request");
    }
    taken(&crate::contract::counterpart::json_of(request))
        .unwrap_or_else(|| refused(StatusCode::BAD_REQUEST, 100, "(#100) Invalid parameter"))
}

#[cfg(feature = "counterpart")]
fn refused(status: StatusCode, code: u32, message: &str) -> crate::contract::counterpart::Answer {
    let error = serde_json::json!({
        "message": message,
        "type": "OAuthException",
        "code": code,
        "fbtrace_id": "counterpart",
    });
    crate::contract::counterpart::Answer::refused(status, serde_json::json!({ "error": error }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_cut_and_leads_back_to_its_text() {
        for text in [
            "Opening hours",
            "How do I change the e-mail address of my account?",
            "请问退货的运费应该由谁来承担呢谢谢",
            "…",
        ] {
            let label = label(text, 20);
            assert!((1..=20).contains(&length(&label)), "{label}");
            assert_eq!(pressed(&label, text), text);
        }
        assert_eq!(label("How do I change the e-mail address?", 20), "How do I change the…");
        assert_eq!(label(&"🐦".repeat(20), 20), format!("{}…", "🐦".repeat(9)));
    }

    #[test]
    fn a_button_of_somebody_else_says_its_label() {
        assert_eq!(pressed("Track my parcel", "TRACK_PARCEL"), "Track my parcel");
        assert_eq!(pressed("Red", ""), "Red");
        assert_eq!(pressed("", "Red"), "Red");
    }
}
