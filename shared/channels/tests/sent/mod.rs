//! Requests in a form that snapshots can show.

use std::collections::BTreeMap;

use hoopoe_channels::{ApiRequest, Part};
use secrecy::SecretString;
use serde_json::{Value, json};

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
        shown["idempotent"] = part.idempotent.into();
        if let Some(fallback) = part.fallback {
            shown["fallback"] = request(Ok(fallback), token);
        }
        shown
    };
    parts.into_iter().map(shown).collect()
}
