//! HTTP answers.

use hoopoe_channels::Response as ChannelResponse;
use lambda_http::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use lambda_http::http::{HeaderValue, StatusCode};
use lambda_http::{Body, Response};

/// An answer with a body of this media type, not to be cached.
#[must_use]
pub fn with_body(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What a channel wants answered.
#[must_use]
pub fn from_channel(response: ChannelResponse) -> Response<Body> {
    with_body(response.status, response.content_type, response.body)
}

/// A refusal or failure as `{"error": "<kind>", "message": "<sentence>"}`.
#[must_use]
pub fn refusal(status: StatusCode, kind: &str, message: &str) -> Response<Body> {
    let body = serde_json::json!({"error": kind, "message": message}).to_string();
    with_body(status, "application/json", body)
}
