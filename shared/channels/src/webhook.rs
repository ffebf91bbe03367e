//! The receiving side of a platform.

use hoopoe_message::{Channel, Content, MessageId, Timestamp};
use http::{HeaderMap, Method, StatusCode};
use serde::de::DeserializeOwned;

/// A platform that posts what people say to a URL.
pub trait Webhook {
    /// Which platform.
    const CHANNEL: Channel;

    /// What verifies a request, stored under the name `webhook`.
    type Keys: DeserializeOwned + Send + Sync + 'static;

    /// Verifies the request over its raw bytes, in constant time, and only then reads it.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] says which answer a forged, stale or malformed request gets.
    fn receive(keys: &Self::Keys, request: &Request<'_>, now: Timestamp) -> Result<Received, Refusal>;

    /// What the platform expects once its messages are queued; the same for a duplicate and for what is ignored.
    fn acknowledgement() -> Response {
        Response::ok("")
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
}

/// What a verified request turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// The platform checks the URL and expects this answer.
    Challenge(Response),
    /// Messages and events for the bot; none where the platform told of something that does not concern it.
    Messages(Vec<Incoming>),
}

/// A message as the platform told it, before it is claimed and numbered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The platform's id of the event.
    pub id: MessageId,
    /// The chat (and member) it belongs to, at most
    /// [`MAX_CHAT_BYTES`](hoopoe_message::Conversation::MAX_CHAT_BYTES) bytes.
    pub chat: String,
    /// Where the reply has to go, for the channel's own [`Sender`](crate::Sender).
    pub address: String,
    /// What it says.
    pub content: Content,
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
}

/// Why a request is not accepted. The text names the fault for the operator's log and never a secret or the body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not signed by the platform: 401.
    #[error("the request is not authentic: {0}")]
    Forged(&'static str),
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
            Self::Forged(_) | Self::Stale(_) => StatusCode::UNAUTHORIZED,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// One word for metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Forged(_) => "forged",
            Self::Stale(_) => "stale",
            Self::Malformed(_) => "malformed",
            Self::Method => "method",
        }
    }
}
