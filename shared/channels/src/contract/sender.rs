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
use crate::contract::rejection::{CheckRejection, Rejection, Retry};

/// The `User-Agent` of requests to platforms, with this version: it tells a platform's support who called. Discord's says
/// what Discord asks for instead.
pub const USER_AGENT: &str = concat!("hoopoe/", env!("CARGO_PKG_VERSION"));

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
}
