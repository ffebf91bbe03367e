//! The receiving side of a platform.

use std::fmt;
use std::ops::Range;

use hoopoe_message::{Content, Conversation, Language, MessageId, Timestamp};
use http::{HeaderMap, Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::{Platform, ReplyAddress};

/// A platform that posts what people say to a URL.
pub trait Webhook: Platform {
    /// The largest body that is read before it is verified: what the platform may post at most. Most post a few kilobytes.
    const MAX_BODY: usize = 64 * 1024;

    /// What verifies a request, stored under the name `webhook`.
    type Keys: DeserializeOwned + Send + Sync + 'static;

    /// Verifies the request over its raw bytes, in constant time, and only then reads it.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] says which answer a forged, stale or malformed request gets.
    fn receive(keys: &Self::Keys, request: &Request<'_>, now: Timestamp) -> Result<Received, Refusal>;

    /// Where the platform publishes the keys it signs with; `None` where it shares a secret with the bot.
    fn published_keys(_keys: &Self::Keys) -> Option<&str> {
        None
    }
}

/// An HTTP request as it came, with the body's raw bytes.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// GET or POST.
    pub method: &'a Method,
    /// What follows `?` in the URL, still encoded; empty without one.
    pub query: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The body, transport encoding removed and nothing else.
    pub body: &'a [u8],
    /// The keys that the platform publishes, where it signs with such ([`Webhook::published_keys`]); else none.
    pub published: &'a [PublishedKey],
}

/// A public key of a platform, from its JSON Web Key Set (RFC 7517).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedKey {
    /// Its name, `kid`.
    pub id: String,
    /// The RSA modulus, most significant byte first.
    pub modulus: Vec<u8>,
    /// The RSA exponent, most significant byte first.
    pub exponent: Vec<u8>,
    /// What else the platform says of it, such as for which channels it is good.
    pub endorsements: Vec<String>,
}

impl Request<'_> {
    /// A header's value, where it is there and readable.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What a verified request turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Messages and events for the bot, in order.
    pub messages: Vec<Incoming>,
    /// How many other events the request told of, which the bot has nothing to do with: edits, receipts, what bots say.
    pub ignored: usize,
    /// What the platform expects once the messages are queued. The same for a duplicate and for what is ignored.
    pub answer: Response,
}

impl Received {
    /// The platform only asks, and expects this answer: it checks the URL, or that the bot lives.
    #[must_use]
    pub const fn question(answer: Response) -> Self {
        Self { messages: Vec::new(), ignored: 0, answer }
    }

    /// One message for the bot, or an event that is none of its business; an empty 200 is expected.
    #[must_use]
    pub fn one(message: Option<Incoming>) -> Self {
        let ignored = usize::from(message.is_none());
        Self { messages: message.into_iter().collect(), ignored, answer: Response::ok("") }
    }

    /// Several events, of which some are for the bot; an empty 200 is expected.
    #[must_use]
    pub fn many(events: impl IntoIterator<Item = Option<Incoming>>) -> Self {
        let mut received = Self { messages: Vec::new(), ignored: 0, answer: Response::ok("") };
        for event in events {
            match event {
                Some(message) => received.messages.push(message),
                None => received.ignored += 1,
            }
        }
        received
    }

    /// The same with another answer.
    #[must_use]
    pub fn answered(self, answer: Response) -> Self {
        Self { answer, ..self }
    }
}

/// A message as the platform told it, before it is claimed and numbered.
#[derive(Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The platform's id of the event; `message_id` makes it.
    pub id: MessageId,
    /// The chat, and in a group the member, it belongs to; `chat` makes it.
    pub chat: String,
    /// Where the reply has to go: the [`Platform::Address`], encoded.
    pub address: String,
    /// When it happened, as the platform says; the same each time the platform repeats it. `None` if it does not say.
    pub sent_at: Option<Timestamp>,
    /// The person's language as the platform or the client states it; `None` if it states none.
    pub language: Option<Language>,
    /// What it says.
    pub content: Content,
}

impl Incoming {
    /// A message of which neither the time nor a language is told.
    pub(crate) fn new<P: Platform>(id: MessageId, chat: String, address: P::Address, content: Content) -> Self {
        Self { id, chat, address: address.encode(), sent_at: None, language: None, content }
    }

    /// The same message, sent at a time.
    pub(crate) fn at(self, sent_at: Option<Timestamp>) -> Self {
        Self { sent_at, ..self }
    }
}

/// Leaves out whose it is and where the reply goes: the one names a person, the other may be the right to answer.
impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("id", &self.id).field("content", &self.content).finish_non_exhaustive()
    }
}

/// The chat of an [`Incoming`]: the platform's ids joined by `:`, or, where that is longer than a key may be, a digest of
/// them.
pub(crate) fn chat(ids: &[&str]) -> String {
    let joined = ids.join(":");
    if joined.len() <= Conversation::MAX_CHAT_BYTES { joined } else { hex::encode(Sha256::digest(&joined)) }
}

/// The platform's id of an event as a [`MessageId`]; a digest of it where it is longer than one may be.
///
/// # Errors
///
/// Where it is empty or holds control characters.
pub(crate) fn message_id(id: &str) -> Result<MessageId, Refusal> {
    let id = if id.len() <= MessageId::MAX_BYTES { id.to_owned() } else { hex::encode(Sha256::digest(id)) };
    MessageId::try_from(id).map_err(|_| Refusal::Malformed("an event has no valid id"))
}

/// A moment as platforms write it: seconds, milliseconds or microseconds since the epoch, as a number or as text, also
/// with a fraction behind; or as RFC 3339 has it. `None` where it is something else: no event is refused for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) Option<Timestamp>);

impl Moment {
    /// Tells the unit by the size: in each of them, what is a moment of the years 1973 to 5138 is none in the others.
    pub(crate) fn of_number(number: u64) -> Self {
        Self(match number {
            100_000_000..100_000_000_000 => Some(Timestamp::from_secs(number)),
            100_000_000_000..100_000_000_000_000 => Some(Timestamp::from_millis(number)),
            100_000_000_000_000..100_000_000_000_000_000 => Some(Timestamp::from_millis(number / 1000)),
            _ => None,
        })
    }

    pub(crate) fn of_text(text: &str) -> Self {
        let whole = text.split_once('.').map_or(text, |(whole, _)| whole).trim();
        if let Ok(number) = whole.parse() {
            return Self::of_number(number);
        }
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok();
        let millis = moment.and_then(|moment| u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok());
        Self(millis.map(Timestamp::from_millis))
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::Number(number) => number.as_u64().map_or(Self(None), Self::of_number),
            Value::String(text) => Self::of_text(&text),
            _ => Self(None),
        })
    }
}

/// Whether a request that was signed at `told`, in seconds, is of now, give or take `window` seconds.
///
/// # Errors
///
/// Where it is not.
pub(crate) fn fresh(told: u64, now: Timestamp, window: u64) -> Result<(), Refusal> {
    let away = now.as_secs().abs_diff(told);
    if away <= window { Ok(()) } else { Err(Refusal::Stale(away)) }
}

/// What the parameters of a platform's own requests are well below.
const MAX_QUERY_BYTES: usize = 4096;

/// A parameter of the query, percent-decoded; `None` if it is missing, empty or not UTF-8.
///
/// # Errors
///
/// If the query is too large.
pub(crate) fn parameter(query: &str, name: &str) -> Result<Option<String>, Refusal> {
    Ok(encoded_parameter(query, name)?.and_then(decoded))
}

/// A parameter of the query by which a request is signed.
///
/// # Errors
///
/// If it is missing, empty or not UTF-8, or the query is too large.
pub(crate) fn signed_parameter(query: &str, name: &str) -> Result<String, Refusal> {
    let value = encoded_parameter(query, name)?.ok_or(Refusal::Forged("a parameter of the signature is missing"))?;
    decoded(value).ok_or(Refusal::Malformed("the query is not UTF-8"))
}

fn encoded_parameter<'a>(query: &'a str, name: &str) -> Result<Option<&'a str>, Refusal> {
    if query.len() > MAX_QUERY_BYTES {
        return Err(Refusal::Malformed("the query is larger than 4 KiB"));
    }
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    Ok(pairs.find(|(key, value)| *key == name && !value.is_empty()).map(|(_, value)| value))
}

/// A `+` stays one: WeCom and WeChat encode the `+` of base64 as `%2B` and never send a space.
fn decoded(value: &str) -> Option<String> {
    Some(percent_decode_str(value).decode_utf8().ok()?.into_owned())
}

/// The bytes of a range counted in UTF-16 code units; `None` where it is outside of the text or splits a character.
pub(crate) fn utf16_range(text: &str, offset: usize, length: usize) -> Option<Range<usize>> {
    let end = offset.checked_add(length)?;
    let mut start_byte = None;
    let mut units = 0;
    for (byte, character) in text.char_indices().map(|(byte, c)| (byte, Some(c))).chain([(text.len(), None)]) {
        if units == offset {
            start_byte = Some(byte);
        }
        if units == end {
            return Some(start_byte?..byte);
        }
        units += character.map_or(1, char::len_utf16);
    }
    None
}

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Response {
    /// 200 with a plain text.
    #[must_use]
    pub fn ok(body: impl Into<String>) -> Self {
        Self { status: StatusCode::OK, content_type: "text/plain; charset=utf-8", body: body.into() }
    }

    /// 200 with JSON.
    #[must_use]
    pub fn json(body: &Value) -> Self {
        Self { status: StatusCode::OK, content_type: "application/json", body: body.to_string() }
    }
}

/// Why a request is not accepted. The text names the fault for the operator's log and never a secret or the body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not signed by the platform: 401.
    #[error("the request is not authentic: {0}")]
    Forged(&'static str),
    /// Signed with a key that is not among [`Request::published`]; perhaps it is new. 401.
    #[error("the request is not authentic: it is signed with a key that the platform does not publish")]
    UnknownKey,
    /// Signed, but too long ago or in the future: 401.
    #[error("the request is stale: its timestamp is {0} s away from now")]
    Stale(u64),
    /// Authentic, but not what the platform documents: 400.
    #[error("the request is malformed: {0}")]
    Malformed(&'static str),
    /// Neither GET nor POST where the platform uses these: 405.
    #[error("the method is not allowed here")]
    Method,
}

impl Refusal {
    /// The status of the answer.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Forged(_) | Self::UnknownKey | Self::Stale(_) => StatusCode::UNAUTHORIZED,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// One word for metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Forged(_) | Self::UnknownKey => "forged",
            Self::Stale(_) => "stale",
            Self::Malformed(_) => "malformed",
            Self::Method => "method",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ids_become_digests_that_tell_them_apart() {
        assert_eq!(chat(&["-100", "7"]), "-100:7");
        let (long, other) = (chat(&[&"a".repeat(100), "7"]), chat(&[&"a".repeat(100), "8"]));
        assert!(long.len() <= Conversation::MAX_CHAT_BYTES && long != other);
        assert_eq!(message_id("42").expect("valid").as_str(), "42");
        assert!(message_id(&"x".repeat(500)).is_ok());
        assert!(message_id("").is_err() && message_id("a\nb").is_err());
    }

    #[test]
    fn moments_are_read_in_each_spelling() {
        let millis = Some(Timestamp::from_millis(1_790_000_000_123));
        let seconds = Some(Timestamp::from_secs(1_790_000_000));
        for (written, expected) in [
            ("1790000000", seconds),
            ("\"1790000000\"", seconds),
            ("\"1790000000.365743\"", seconds),
            ("1790000000123", millis),
            ("\"1790000000123456\"", millis),
            ("\"2026-09-21T14:13:20.1234567Z\"", millis),
            ("\"2026-09-21T22:13:20+08:00\"", seconds),
        ] {
            assert_eq!(serde_json::from_str::<Moment>(written).expect("any JSON").0, expected, "{written}");
        }
        for nothing in
            ["0", "-1", "1.5", "null", "\"\"", "\"yesterday\"", "{}", "[1790000000]", "true", "12345678901234567890"]
        {
            assert_eq!(serde_json::from_str::<Moment>(nothing).expect("any JSON").0, None, "{nothing}");
        }
    }

    #[test]
    fn ranges_are_counted_in_utf16_units() {
        let text = "🐦 @bot 你好";
        assert_eq!(utf16_range(text, 3, 4).map(|range| &text[range]), Some("@bot"));
        assert_eq!(utf16_range(text, 8, 2).map(|range| &text[range]), Some("你好"));
        assert_eq!(utf16_range(text, 10, 0).map(|range| &text[range]), Some(""));
        for (offset, length) in [(1, 2), (0, 1), (8, 3), (11, 0), (usize::MAX, 1)] {
            assert_eq!(utf16_range(text, offset, length), None, "{offset} {length}");
        }
    }
}
