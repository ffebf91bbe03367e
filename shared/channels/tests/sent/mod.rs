//! Replies, their requests in a form that snapshots can show, and what becomes of them.

use std::collections::BTreeMap;

use hoopoe_channels::{ApiRequest, CheckRejection, Part, Rejection, Retry, Sender};
use hoopoe_message::{BotId, Conversation, MessageId, Reply, Timestamp};
use http::{HeaderMap, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};

/// When the replies are written and sent.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);

/// A reply to a message of a chat.
pub(crate) fn reply<P: Sender>(chat: &str, id: &str, address: &str, text: &str, suggestions: &[&str]) -> Reply {
    Reply {
        id: MessageId::try_from(id.to_owned()).expect("a valid id"),
        conversation: Conversation { channel: P::CHANNEL, bot: BotId::default(), chat: chat.into() },
        address: address.into(),
        number: 1,
        after: None,
        complete: false,
        pending_until: None,
        received_at: NOW,
        created_at: NOW,
        text: text.into(),
        suggestions: suggestions.iter().map(|text| (*text).to_owned()).collect(),
        decision: None,
    }
}

/// A request as the platform gets it.
pub(crate) fn request(request: http::Result<ApiRequest>, token: Option<&SecretString>) -> Value {
    let request = request.expect("a valid URL").into_http(token).expect("a valid token");
    let headers: BTreeMap<_, _> =
        request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().expect("ASCII"))).collect();
    let body = serde_json::from_str::<Value>(request.body()).unwrap_or_else(|_| request.body().as_str().into());
    json!({ "method": request.method().as_str(), "url": request.uri().to_string(), "headers": headers, "body": body })
}

/// The parts of a reply as the platform gets them.
pub(crate) fn parts(parts: Vec<Part>, token: Option<&SecretString>) -> Vec<Value> {
    let shown = |part: Part| {
        let mut shown = request(Ok(part.request), token);
        shown["repeatable"] = part.repeatable_for.is_some().into();
        if let Some(fallback) = part.fallback {
            shown["fallback"] = request(Ok(fallback), token);
        }
        shown
    };
    parts.into_iter().map(shown).collect()
}

/// What becomes of a send that is answered so.
pub(crate) fn outcome<P: Sender>(status: u16, headers: &HeaderMap, body: &str) -> Result<(), Rejection> {
    P::outcome(StatusCode::from_u16(status).expect("a status"), headers, body.as_bytes())
}

/// The outcome of a send that the platform does not have.
pub(crate) fn refused(reason: &str, retry: Retry) -> Result<(), Rejection> {
    Err(Rejection::Refused { reason: reason.into(), retry })
}

/// The outcome of a send that the platform may have.
#[allow(dead_code, reason = "not every platform's test has one")]
pub(crate) fn unknown(reason: &str) -> Result<(), Rejection> {
    Err(Rejection::Unknown { reason: reason.into() })
}

/// Whether the platform accepts the secret, by what it answers to the check; `None` if that does not tell.
#[allow(dead_code, reason = "not every platform has a check of its own")]
pub(crate) fn checked<P: Sender>(status: StatusCode, body: &str) -> Option<bool> {
    match P::read_check(status, &HeaderMap::new(), body.as_bytes()) {
        Ok(()) => Some(true),
        Err(CheckRejection::BadCredential { .. }) => Some(false),
        Err(CheckRejection::Inconclusive { .. }) => None,
    }
}
