//! The other side of each platform: what it would post, and how its API would answer. Only with the feature
//! `counterpart`, for tests and `hoopoe channel selftest`; never in a function.
//!
//! A counterpart signs with the secrets of an invented bot, so nothing of it reaches a real platform. It checks what
//! the bot sends as the platform would: a request without the access token is refused.

use hoopoe_message::Timestamp;
use http::StatusCode;
use serde_json::Value;

use crate::{PublishedKey, Sender, Webhook};

/// A platform seen from the outside.
pub trait Counterpart: Webhook + Sender {
    /// Whether the platform's proof covers the body. Where it does not, the proof is a secret that comes along.
    const SIGNS_BODY: bool;

    /// Whether the platform's proof covers the time.
    const SIGNS_TIME: bool;

    /// The settings of the invented bot, as an operator enters them, with the platform's API at `api_base`.
    fn settings(api_base: &str) -> Value;

    /// What the platform tells when `person` says something to the bot in private.
    ///
    /// `person` is a number that is valid as the platform's id of a person once it is written in the platform's way;
    /// `message` tells one message from another.
    fn message(person: u32, message: u32, text: &str, api_base: &str, now: Timestamp) -> Vec<u8>;

    /// How it posts what it tells: sealed where it seals, and signed as of `now`. Of the URI only the query counts.
    fn posts(told: &[u8], api_base: &str, now: Timestamp) -> http::Request<Vec<u8>>;

    /// What it posts when `person` says something to the bot in private.
    fn says(person: u32, message: u32, text: &str, api_base: &str, now: Timestamp) -> http::Request<Vec<u8>> {
        Self::posts(&Self::message(person, message, text, api_base, now), api_base, now)
    }

    /// The keys that it publishes, where it signs with such.
    fn published() -> Vec<PublishedKey> {
        Vec::new()
    }

    /// How the platform's API answers a request of the bot: to a send that it was taken, to a request for an access
    /// token with one, to a check whether the secret is the invented bot's. The URI is the path and query below `api_base`.
    fn answer(request: &http::Request<Vec<u8>>) -> Answer;
}

/// An answer of the platform's API.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The JSON body.
    pub body: Value,
    /// What a person reads of the request; `None` where it sends nothing, or is refused.
    pub shown: Option<Shown>,
}

/// What a person reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The words.
    pub text: String,
    /// The words on the buttons.
    pub buttons: Vec<String>,
}

impl Answer {
    /// The send is taken.
    #[must_use]
    pub fn taken(body: Value, text: impl Into<String>, buttons: Vec<String>) -> Self {
        Self { status: StatusCode::OK, body, shown: Some(Shown { text: text.into(), buttons }) }
    }

    /// Something else than a send is answered.
    #[must_use]
    pub const fn told(body: Value) -> Self {
        Self { status: StatusCode::OK, body, shown: None }
    }

    /// The request is refused.
    #[must_use]
    pub const fn refused(status: StatusCode, body: Value) -> Self {
        Self { status, body, shown: None }
    }
}

/// A text of a JSON body; empty where there is none.
pub(crate) fn text_at<'a>(body: &'a Value, pointer: &str) -> &'a str {
    body.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The JSON body of a request; `null` where it is none.
pub(crate) fn json_of(request: &http::Request<Vec<u8>>) -> Value {
    serde_json::from_slice(request.body()).unwrap_or_default()
}

/// Whether a header is there with exactly this value.
pub(crate) fn has_header(request: &http::Request<Vec<u8>>, name: &str, value: &str) -> bool {
    request.headers().get(name).is_some_and(|given| given == value)
}
