//! The sending side of a platform.

use std::fmt;
use std::time::Duration;

use hoopoe_message::{Channel, Reply};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use secrecy::SecretString;
use serde::de::DeserializeOwned;

/// A platform that takes replies through an HTTP API.
pub trait Sender {
    /// Which platform.
    const CHANNEL: Channel;

    /// Whether a send may be repeated after its outcome stayed unknown, because the platform drops the second one.
    const IDEMPOTENT: bool;

    /// What authorises a send, stored under the name `send`.
    type Keys: DeserializeOwned + Send + Sync + 'static;

    /// The reply as the platform's request bodies, in the order in which they must be sent: one, or more where the
    /// text exceeds the platform's limit.
    ///
    /// # Errors
    ///
    /// Where the reply's address was not written by this channel.
    fn render(keys: &Self::Keys, reply: &Reply) -> Result<Vec<String>, InvalidAddress>;

    /// The request that sends one body of [`Sender::render`]. `token` is what [`Sender::token_request`] led to.
    ///
    /// # Errors
    ///
    /// Where the keys make no valid URL or header.
    fn request(keys: &Self::Keys, token: Option<&SecretString>, body: String) -> http::Result<ApiRequest>;

    /// Reads the platform's answer to a send.
    fn outcome(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Outcome;

    /// The request for an access token, on platforms that use one.
    ///
    /// # Errors
    ///
    /// Where the keys make no valid URL.
    fn token_request(_keys: &Self::Keys) -> Option<http::Result<ApiRequest>> {
        None
    }

    /// Reads the answer to [`Sender::token_request`].
    ///
    /// # Errors
    ///
    /// The platform's reason for giving none.
    fn read_token(_status: StatusCode, _body: &[u8]) -> Result<AccessToken, Outcome> {
        Err(Outcome::refused("this platform uses no access token", Retry::Never))
    }
}

/// A request to a platform's API.
///
/// Telegram and WeCom want their secrets in the URL, and the body holds what a person is told; so the [`fmt::Debug`]
/// form shows nothing but the method, and [`ApiRequest::into_http`] is the only way to the rest.
pub struct ApiRequest(http::Request<String>);

impl ApiRequest {
    /// GET.
    ///
    /// # Errors
    ///
    /// Where the URL is none.
    pub fn get(url: &str) -> http::Result<Self> {
        http::Request::get(url).body(String::new()).map(Self)
    }

    /// POST of a JSON body.
    ///
    /// # Errors
    ///
    /// Where the URL is none.
    pub fn post_json(url: &str, body: String) -> http::Result<Self> {
        http::Request::post(url).header(CONTENT_TYPE, "application/json").body(body).map(Self)
    }

    /// The request, for an HTTP client. It must not be logged, and neither must an error that quotes its URL.
    #[must_use]
    pub fn into_http(self) -> http::Request<String> {
        self.0
    }
}

impl fmt::Debug for ApiRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiRequest({} …)", self.0.method())
    }
}

/// The reply's address is not one of this channel.
#[derive(Debug, thiserror::Error)]
#[error("the reply's address was not written by this channel")]
pub struct InvalidAddress;

/// A platform's access token.
#[derive(Debug)]
pub struct AccessToken {
    /// The token.
    pub secret: SecretString,
    /// How long the platform accepts it from now.
    pub lifetime: Duration,
}

/// What became of a send the platform answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The platform has it.
    Sent,
    /// The platform does not have it.
    Refused {
        /// The platform's code and words, bounded; never ours.
        reason: String,
        /// What to do next.
        retry: Retry,
    },
}

/// What may help after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Nothing: the person blocked the bot, the chat is gone, the request is wrong.
    Never,
    /// The same again later, after a growing pause.
    Backoff,
    /// The same again after the pause the platform asks for.
    After(Duration),
    /// The same again at once, with a new access token.
    NewToken,
}

impl Outcome {
    /// A refusal; the reason is cut to 200 bytes.
    #[must_use]
    pub fn refused(reason: impl Into<String>, retry: Retry) -> Self {
        let mut reason = reason.into();
        reason.truncate(reason.floor_char_boundary(200));
        Self::Refused { reason, retry }
    }
}
