//! Why a platform did not do what was asked, and what may help.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

/// A platform's reason for a refusal is cut to this length.
pub(crate) const MAX_REASON_BYTES: usize = 200;

/// Why a request that the platform answered is not known to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The platform did not do it.
    Refused {
        /// The platform's code and words, bounded. They may repeat what was sent until an [`Echo`](crate::Echo) cuts
        /// that out.
        reason: String,
        /// What to do next.
        retry: Retry,
    },
    /// The platform may have done it: what answered is not the platform but a gateway before it, or the platform itself
    /// does not know.
    Unknown {
        /// What answered.
        reason: String,
    },
}

/// What may help after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Nothing: the person blocked the bot, the chat is gone, the request is wrong.
    Never,
    /// The same again later, after a growing pause.
    Backoff,
    /// The same again after the pause that the platform asks for or documents: a limit of one chat, person or way of
    /// sending, or one of which the answer does not tell whose it is.
    After(Duration),
    /// The same; the limit is the bot's, so that the platform takes nothing of it until then.
    BotAfter(Duration),
    /// The same again at once, with a new access token.
    NewToken,
    /// [`Part::fallback`](crate::Part::fallback) at once; nothing where the part has none.
    Fallback,
    /// The same with another version of the keys, if anything: the platform does not accept the bot's own stored secret.
    /// An access token that was got for the secret and is not accepted is [`Retry::NewToken`].
    BadCredential,
}

impl Rejection {
    /// A refusal; the reason is cut to 200 bytes.
    #[must_use]
    pub fn refused(reason: impl Into<String>, retry: Retry) -> Self {
        let mut reason = reason.into();
        reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
        Self::Refused { reason, retry }
    }

    /// A refusal by a status alone, whose body is not an answer of the platform's API: later helps where the server
    /// is at fault or too busy, else nothing does.
    #[must_use]
    pub fn of_status(status: StatusCode, platform: &str) -> Self {
        Self::of_status_but(status, platform, Retry::of_status(status, &HeaderMap::new()))
    }

    /// The same where another way may be open: what this one asks for is waited for, and what it refuses goes there.
    pub(crate) fn of_status_or_fallback(status: StatusCode, headers: &HeaderMap, platform: &str) -> Self {
        let retry = match Retry::of_status(status, headers) {
            Retry::Never if status.is_client_error() => Retry::Fallback,
            retry => retry,
        };
        Self::of_status_but(status, platform, retry)
    }

    fn of_status_but(status: StatusCode, platform: &str, retry: Retry) -> Self {
        let reason = format!("HTTP {}, and no answer of {platform}", status.as_u16());
        if is_of_gateway(status) { Self::Unknown { reason } } else { Self::refused(reason, retry) }
    }
}

/// Why a check did not find the stored secret accepted. There is no other way to ask, so nothing is told about what may
/// help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckRejection {
    /// The platform does not accept the secret.
    BadCredential {
        /// As in [`Rejection::Refused`].
        reason: String,
    },
    /// The answer tells nothing about the secret.
    Inconclusive {
        /// As in [`Rejection::Refused`].
        reason: String,
    },
}

impl CheckRejection {
    pub(crate) fn inconclusive(reason: impl Into<String>) -> Self {
        Self::Inconclusive { reason: reason.into() }
    }
}

impl From<Rejection> for CheckRejection {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Refused { reason, retry: Retry::BadCredential } => Self::BadCredential { reason },
            Rejection::Refused { reason, .. } | Rejection::Unknown { reason } => Self::Inconclusive { reason },
        }
    }
}

/// What carries the platform's words.
pub trait Reason {
    /// The words, bounded. They may repeat what was sent until an [`Echo`](crate::Echo) cuts that out.
    fn reason(&mut self) -> &mut String;
}

impl Reason for Rejection {
    fn reason(&mut self) -> &mut String {
        match self {
            Self::Refused { reason, .. } | Self::Unknown { reason } => reason,
        }
    }
}

impl Reason for CheckRejection {
    fn reason(&mut self) -> &mut String {
        match self {
            Self::BadCredential { reason } | Self::Inconclusive { reason } => reason,
        }
    }
}

/// Whether a status says that a gateway waited for the platform in vain, or lost it: 408, 502 and 504 (RFC 9110, 15.5.9,
/// 15.6.3 and 15.6.5), and those that Cloudflare has for it.
const fn is_of_gateway(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 502 | 504 | 520 | 522..=524)
}

impl Retry {
    /// What may help by the status alone: later, where the server is at fault; after the pause that the headers ask
    /// for, where it is too busy; else nothing.
    pub(crate) fn of_status(status: StatusCode, headers: &HeaderMap) -> Self {
        if status == StatusCode::TOO_MANY_REQUESTS {
            retry_after(headers)
        } else if status.is_server_error() {
            Self::Backoff
        } else {
            Self::Never
        }
    }
}

/// Windows of limits.
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// The pause that a `Retry-After` header asks for.
pub(crate) fn retry_after(headers: &HeaderMap) -> Retry {
    asked_pause(headers, http::header::RETRY_AFTER.as_str()).map_or(Retry::Backoff, Retry::After)
}

/// The pause that a header asks for in whole seconds, as `Retry-After` does (RFC 9110, 10.2.3; the form with a date is not
/// used by platforms).
pub(crate) fn asked_pause(headers: &HeaderMap, name: &str) -> Option<Duration> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_status_alone_says_whether_later_helps() {
        let pause = HeaderMap::from_iter([(http::header::RETRY_AFTER, HeaderValue::from_static("7"))]);
        for (status, retry, first_way) in [
            (StatusCode::OK, Retry::Never, Retry::Never),
            (StatusCode::NOT_FOUND, Retry::Never, Retry::Fallback),
            (StatusCode::TOO_MANY_REQUESTS, Retry::Backoff, Retry::After(Duration::from_secs(7))),
            (StatusCode::SERVICE_UNAVAILABLE, Retry::Backoff, Retry::Backoff),
        ] {
            let refused = |retry| Rejection::refused(format!("HTTP {}, and no answer of X", status.as_u16()), retry);
            assert_eq!(Rejection::of_status(status, "X"), refused(retry));
            assert_eq!(Rejection::of_status_or_fallback(status, &pause, "X"), refused(first_way));
        }
    }

    #[test]
    fn a_pause_is_read_in_seconds() {
        let asks = |value: &'static str| {
            retry_after(&HeaderMap::from_iter([(http::header::RETRY_AFTER, HeaderValue::from_static(value))]))
        };
        assert_eq!(asks("7"), Retry::After(Duration::from_secs(7)));
        assert_eq!(asks("soon"), Retry::Backoff);
        assert_eq!(retry_after(&HeaderMap::new()), Retry::Backoff);
    }
}
