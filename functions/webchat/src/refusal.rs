//! Why a request is refused.

use hoopoe_channels::webchat::InvalidToken;
use hoopoe_channels::webchat::api::{InvalidPost, MAX_BODY_BYTES, MAX_WAIT_SECONDS};
use hoopoe_keyring::KeyringError;
use hoopoe_webhook::{OutsideError, answer};
use lambda_http::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use lambda_http::http::{HeaderName, HeaderValue, StatusCode};
use lambda_http::{Body, Response};

use crate::backend::BackendError;

/// Why a request is refused. The sentences are for the client's developer; none quotes the request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Outside(#[from] OutsideError),
    #[error("there is nothing at this URL; the page is at /webchat/<bot>")]
    NoSuchUrl,
    #[error("this method is not allowed here, {0} is")]
    Method(&'static str),
    #[error("the body is larger than {MAX_BODY_BYTES} bytes")]
    TooLarge,
    #[error("the body must be application/json")]
    MediaType,
    #[error("only the bot's own page may call this from a browser")]
    CrossSite,
    #[error(transparent)]
    Token(#[from] InvalidToken),
    #[error(transparent)]
    Post(#[from] InvalidPost),
    #[error("`after` is a place in the conversation and `wait` a number of seconds up to {MAX_WAIT_SECONDS}")]
    Query,
    #[error("too many requests; the next one is answered in {0} s")]
    TooMany(u64),
    #[error(transparent)]
    Backend(BackendError),
    #[error("no random bytes: {0}")]
    Random(getrandom::Error),
}

impl From<BackendError> for Refusal {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::Token(token) => Self::Token(token),
            error => Self::Backend(error),
        }
    }
}

impl Refusal {
    /// A word for clients and metrics.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::NoSuchUrl | Self::Backend(BackendError::Keys(KeyringError::Missing(_))) => "not_found",
            Self::Outside(_) => "network",
            Self::Method(_) => "method",
            Self::TooLarge => "too_large",
            Self::MediaType => "media_type",
            Self::CrossSite => "cross_site",
            Self::Token(InvalidToken::Expired) => "expired",
            Self::Token(_) => "invalid_token",
            Self::Post(_) | Self::Query => "malformed",
            Self::TooMany(_) => "too_many",
            Self::Backend(_) | Self::Random(_) => "unavailable",
        }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchUrl | Self::Backend(BackendError::Keys(KeyringError::Missing(_))) => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Outside(_) | Self::CrossSite => StatusCode::FORBIDDEN,
            Self::Token(_) => StatusCode::UNAUTHORIZED,
            Self::Post(_) | Self::Query => StatusCode::BAD_REQUEST,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Backend(_) | Self::Random(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The answer. What failed inside stands in the log and not here.
    pub(crate) fn answer(&self) -> Response<Body> {
        let status = self.status();
        let message = match self {
            Self::Backend(BackendError::Keys(KeyringError::Missing(_))) => "there is no such bot".to_owned(),
            Self::Outside(_) => "requests are not taken from here".to_owned(),
            Self::Backend(_) | Self::Random(_) => "try again later".to_owned(),
            _ => self.to_string(),
        };
        let mut response = answer::refusal(status, self.kind(), &message);
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, value);
        }
        response
    }

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Method(allowed) => Some((ALLOW, HeaderValue::from_static(allowed))),
            Self::Token(_) => Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Self::TooMany(seconds) => Some((RETRY_AFTER, HeaderValue::from(*seconds))),
            _ => None,
        }
    }
}
