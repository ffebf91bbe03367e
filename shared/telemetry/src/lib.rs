//! What a function tells its operator: structured logs and metrics, both on standard output, where Lambda hands them
//! to CloudWatch Logs.
//!
//! | item | what it does |
//! |---|---|
//! | [`init`] | sets up the log: one JSON object a line, `info` and above |
//! | [`metric`] | one count in CloudWatch's embedded metric format, so that a metric costs no call |
//!
//! Neither ever holds a person's words, a chat's id or a secret: a message is named by its platform id.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::Level;

/// Sets up the log. Call it once, first thing in `main`.
///
/// Lambda stamps each line with its own time, so lines carry none.
pub fn init() {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .without_time()
        .with_max_level(Level::INFO)
        .init();
}

/// Counts something: a metric `name` in the namespace `Hoopoe`, with one dimension.
///
/// The format is documented by AWS under "Specification: Embedded metric format".
pub fn metric(name: &'static str, count: u64, dimension: (&'static str, &str)) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (key, value) = dimension;
    let line = serde_json::json!({
        "_aws": {
            "Timestamp": u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            "CloudWatchMetrics": [{
                "Namespace": "Hoopoe",
                "Dimensions": [[key]],
                "Metrics": [{"Name": name, "Unit": "Count"}],
            }],
        },
        key: value,
        name: count,
    });
    // A function without a standard output has nowhere to say so.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
