//! Requests in a form that snapshots can show.

use std::collections::BTreeMap;

use hoopoe_channels::ApiRequest;
use serde_json::{Value, json};

/// A request as the platform gets it.
pub(crate) fn request(request: http::Result<ApiRequest>) -> Value {
    let request = request.expect("a valid URL").into_http();
    let headers: BTreeMap<_, _> =
        request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().expect("ASCII"))).collect();
    json!({
        "method": request.method().as_str(),
        "url": request.uri().to_string(),
        "headers": headers,
        "body": serde_json::from_str::<Value>(request.body()).unwrap_or_default(),
    })
}
