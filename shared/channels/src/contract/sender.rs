//! The sending side of a platform.

use std::fmt;
use std::time::Duration;

use hoopoe_message::{Reply, Timestamp};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::Platform;

/// A platform's reason for a refusal is cut to this length.
pub(crate) const MAX_REASON_BYTES: usize = 200;

/// A platform that takes replies through an HTTP API.
pub trait Sender: Platform {
    /// What authorises a send, stored under the name `send`.
    type Keys: DeserializeOwned + Send + Sync + 'static;

    /// The reply as requests, in the order in which they must be sent: one, or more where the text exceeds the
    /// platform's limit.
    ///
    /// How many there are depends on the reply alone: a reply that was sent in part is continued at the next part,
    /// perhaps by another function. `now` decides only by which way a part goes, where a way closes with time.
    ///
    /// # Errors
    ///
    /// Where the reply's address was not written by this channel, or the keys make no valid request.
    fn render(keys: &Self::Keys, reply: &Reply, now: Timestamp) -> Result<Vec<Part>, Unrenderable>;

    /// Whether this bot may not send by itself: its replies are left for the webhook function, which gives them in
    /// answer to the platform's requests.
    fn is_passive(_keys: &Self::Keys) -> bool {
        false
    }

    /// Reads the platform's answer to a send.
    ///
    /// # Errors
    ///
    /// Why the platform does not have the message, or may not have it.
    fn outcome(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), Rejection>;

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
    fn read_token(_status: StatusCode, _body: &[u8]) -> Result<AccessToken, Rejection> {
        Err(Rejection::refused("this platform uses no access token", Retry::Never))
    }

    /// The cheapest request that tells whether the platform accepts the stored secret, and that nobody hears of; `None`
    /// where nothing is sent with a stored secret. Where there are access tokens it is the request for one.
    ///
    /// # Errors
    ///
    /// Where the keys make no valid request.
    fn check_request(keys: &Self::Keys) -> Option<http::Result<ApiRequest>> {
        if Self::is_passive(keys) { None } else { Self::token_request(keys) }
    }

    /// Reads the answer to [`Sender::check_request`].
    ///
    /// # Errors
    ///
    /// If the platform does not accept the secret, or its answer tells nothing about it.
    fn read_check(status: StatusCode, _headers: &HeaderMap, body: &[u8]) -> Result<(), CheckRejection> {
        Self::read_token(status, body)?;
        Ok(())
    }
}

/// One message of a reply.
#[derive(Debug)]
pub struct Part {
    /// The request that sends it.
    pub request: ApiRequest,
    /// The same words in another form or by another way, sent once where the answer to `request` is
    /// [`Retry::Fallback`]: as plain text where the platform does not take the formatted message, or through another
    /// API where the first way is closed.
    pub fallback: Option<ApiRequest>,
    /// For how long the platform drops a second `request`, so that it may be repeated after its outcome stayed unknown;
    /// `None` where it does not.
    pub repeatable_for: Option<Duration>,
    /// The same of `fallback`.
    pub fallback_repeatable_for: Option<Duration>,
}

impl Part {
    /// A part without a fallback, which must not be repeated when its outcome is unknown.
    #[must_use]
    pub const fn once(request: ApiRequest) -> Self {
        Self { request, fallback: None, repeatable_for: None, fallback_repeatable_for: None }
    }
}

/// A request to a platform's API, but for the access token it may need.
///
/// Telegram and WeCom want their secrets in the URL, and the body holds what a person is told; so the [`fmt::Debug`]
/// form shows nothing but the method, and [`ApiRequest::into_http`] is the only way to the rest.
#[derive(Clone)]
pub struct ApiRequest {
    request: http::Request<String>,
    token: TokenPlace,
}

/// Where a request carries the platform's access token.
#[derive(Clone, Debug)]
enum TokenPlace {
    /// It needs none.
    Nowhere,
    /// In a header, after this scheme.
    Header(HeaderName, &'static str),
    /// In a parameter of the query.
    Query(&'static str),
}

impl ApiRequest {
    /// GET.
    ///
    /// # Errors
    ///
    /// Where the URL is none.
    pub fn get(url: &str) -> http::Result<Self> {
        Self::new(Method::GET, url, None, String::new())
    }

    /// A request with a JSON body, mostly a POST.
    ///
    /// # Errors
    ///
    /// Where the URL is none.
    pub fn json(method: Method, url: &str, body: String) -> http::Result<Self> {
        Self::new(method, url, Some("application/json"), body)
    }

    /// POST of a JSON body.
    ///
    /// # Errors
    ///
    /// Where the URL is none.
    pub fn post_json(url: &str, body: String) -> http::Result<Self> {
        Self::json(Method::POST, url, body)
    }

    /// POST of a form.
    ///
    /// # Errors
    ///
    /// Where the URL is none.
    pub fn post_form(url: &str, fields: &[(&str, &str)]) -> http::Result<Self> {
        let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        Self::new(Method::POST, url, Some("application/x-www-form-urlencoded"), fields.join("&"))
    }

    fn new(method: Method, url: &str, content_type: Option<&'static str>, body: String) -> http::Result<Self> {
        let mut request = http::Request::builder().method(method).uri(url);
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        Ok(Self { request: request.body(body)?, token: TokenPlace::Nowhere })
    }

    /// With a header.
    ///
    /// # Errors
    ///
    /// Where the value is none of a header.
    pub fn header(mut self, name: &'static str, value: &str) -> http::Result<Self> {
        self.request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_str(value)?);
        Ok(self)
    }

    /// With a secret of the keys as `Authorization: <scheme> <secret>`.
    ///
    /// # Errors
    ///
    /// Where the secret is no value of a header.
    pub fn authorized(mut self, scheme: &'static str, secret: &SecretString) -> http::Result<Self> {
        self.request.headers_mut().insert(AUTHORIZATION, secret_value(scheme, secret)?);
        Ok(self)
    }

    /// Sent with the access token as `Authorization: <scheme> <token>`.
    #[must_use]
    pub fn with_token(mut self, scheme: &'static str) -> Self {
        self.token = TokenPlace::Header(AUTHORIZATION, scheme);
        self
    }

    /// Sent with the access token alone in a header.
    #[must_use]
    pub fn with_token_header(mut self, name: &'static str) -> Self {
        self.token = TokenPlace::Header(HeaderName::from_static(name), "");
        self
    }

    /// Sent with the access token in a parameter of the query.
    #[must_use]
    pub fn with_token_parameter(mut self, name: &'static str) -> Self {
        self.token = TokenPlace::Query(name);
        self
    }

    /// Whether [`ApiRequest::into_http`] needs a token.
    #[must_use]
    pub const fn needs_token(&self) -> bool {
        !matches!(self.token, TokenPlace::Nowhere)
    }

    /// The request, for an HTTP client. It must not be logged, and neither must an error that quotes its URL.
    ///
    /// # Errors
    ///
    /// Where the token is missing, or makes no valid request.
    pub fn into_http(mut self, token: Option<&SecretString>) -> http::Result<http::Request<String>> {
        let token = token.map_or("", ExposeSecret::expose_secret);
        match self.token {
            TokenPlace::Nowhere => {}
            TokenPlace::Header(name, scheme) => {
                self.request.headers_mut().insert(name, secret_value(scheme, &token.into())?);
            }
            TokenPlace::Query(name) => {
                let uri = self.request.uri();
                let joint = if uri.query().is_some() { '&' } else { '?' };
                let uri = format!("{uri}{joint}{name}={}", utf8_percent_encode(token, NON_ALPHANUMERIC));
                *self.request.uri_mut() = uri.parse()?;
            }
        }
        Ok(self.request)
    }
}

fn secret_value(scheme: &str, secret: &SecretString) -> http::Result<HeaderValue> {
    let secret = secret.expose_secret();
    let value = if scheme.is_empty() { secret.to_owned() } else { format!("{scheme} {secret}") };
    let mut value = HeaderValue::try_from(value)?;
    value.set_sensitive(true);
    Ok(value)
}

impl fmt::Debug for ApiRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiRequest({} …)", self.request.method())
    }
}

/// Why a reply makes no requests.
#[derive(Debug, thiserror::Error)]
pub enum Unrenderable {
    /// The address is not one of this channel.
    #[error("the reply's address was not written by this channel")]
    Address,
    /// The keys make no valid URL or header.
    #[error("the keys make no valid request: {0}")]
    Request(#[from] http::Error),
}

/// A platform's access token.
#[derive(Debug)]
pub struct AccessToken {
    /// The token.
    pub secret: SecretString,
    /// How long the platform accepts it from now.
    pub lifetime: Duration,
}

impl AccessToken {
    /// The token of an answer; `None` where the answer has none, an empty one, or one without its lifetime in seconds.
    pub(crate) fn of(secret: Option<SecretString>, seconds: Option<u64>) -> Option<Self> {
        let secret = secret.filter(|secret| !secret.expose_secret().is_empty())?;
        Some(Self { secret, lifetime: Duration::from_secs(seconds?) })
    }
}

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
    /// [`Part::fallback`] at once; nothing where the part has none.
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

/// A name for a part of a reply that is the same whenever and by whomever it is sent, for platforms that drop a second
/// request of the same name: a UUID of version 8 (RFC 9562, 5.8), from the conversation, the message it answers, and
/// the part's place.
pub(crate) fn idempotency_key(reply: &Reply, part: usize) -> String {
    let digest = Sha256::digest(format!("{}\n{}\n{part}", reply.conversation, reply.id.as_str()));
    let mut bytes = *digest.first_chunk::<16>().expect("a SHA-256 has 32 bytes");
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The suggestions that have words, which are all that a person can be shown.
pub(crate) fn suggestions(reply: &Reply) -> impl Iterator<Item = &str> {
    with_words(&reply.suggestions)
}

fn with_words(suggestions: &[String]) -> impl Iterator<Item = &str> {
    suggestions.iter().map(|text| text.trim()).filter(|text| !text.is_empty())
}

/// The reply's text with its suggestions as numbered lines below, for platforms without buttons: the person sends the
/// number.
pub(crate) fn with_numbered_suggestions(reply: &Reply) -> String {
    numbered(&reply.text, &reply.suggestions)
}

/// A text with suggestions as numbered lines below.
#[must_use]
pub fn numbered(text: &str, suggestions: &[String]) -> String {
    let mut whole = text.trim_end().to_owned();
    for (number, suggestion) in (1..).zip(with_words(suggestions)) {
        whole.push_str(if number == 1 { "\n\n" } else { "\n" });
        whole.push_str(&format!("{number}. {suggestion}"));
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_where_the_request_wants_it() {
        let token = SecretString::from("a b&c");
        let get = || ApiRequest::get("https://api.example/x?y=1").expect("a URL");
        let query = get().with_token_parameter("access_token").into_http(Some(&token)).expect("a request");
        assert_eq!(query.uri(), "https://api.example/x?y=1&access_token=a%20b%26c");
        let header = get().with_token("Bearer").into_http(Some(&token)).expect("a request");
        assert_eq!(header.headers()[AUTHORIZATION], "Bearer a b&c");
        let header = get().with_token_header("x-token").into_http(Some(&token)).expect("a request");
        assert_eq!(header.headers()["x-token"], "a b&c");
        assert!(header.headers()["x-token"].is_sensitive());
        assert!(!get().needs_token());
        assert!(get().with_token("QQBot").into_http(Some(&"a\nb".into())).is_err());
    }

    #[test]
    fn a_form_is_encoded() {
        let form = ApiRequest::post_form("https://api.example/", &[("a", "1&2"), ("b", "你")]).expect("a URL");
        assert_eq!(form.into_http(None).expect("a request").body(), "a=1%262&b=%E4%BD%A0");
    }

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
