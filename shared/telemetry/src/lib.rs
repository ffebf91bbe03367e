//! What a function tells its operator: structured logs and metrics, both on standard output, where Lambda hands them
//! to CloudWatch Logs.
//!
//! | item | what it does |
//! |---|---|
//! | [`init`] | sets up the log: one JSON object a line, `info` and above |
//! | [`Fatal`] | what `main` ends with where a function cannot run: a sentence |
//! | [`count`], [`duration`] | one metric in CloudWatch's embedded metric format, which costs no call |
//!
//! Neither ever holds a person's words, a chat's id or a secret: a message is named by its platform id.

use std::error::Error;
use std::fmt;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// Why a function cannot run.
///
/// What `main` returns is printed as `Debug` has it, and whoever deployed the function is to read the sentence: so that
/// is what both forms show.
pub struct Fatal(Box<dyn Error + Send + Sync>);

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Fatal {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Debug for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Counts something: a metric `name` in the namespace `Hoopoe`, with one dimension.
pub fn count(name: &'static str, count: u64, dimension: (&'static str, &str)) {
    metric(name, "Count", count, dimension, None);
}

/// As [`count`], with a field beside the metric. Each word of a dimension is a metric of its own, which CloudWatch bills
/// by the month; a field is only found in the log, by CloudWatch Logs Insights, and costs nothing.
pub fn count_with(name: &'static str, count: u64, dimension: (&'static str, &str), field: (&'static str, &str)) {
    metric(name, "Count", count, dimension, Some(field));
}

/// Measures how long something took, in milliseconds.
pub fn duration(name: &'static str, duration: Duration, dimension: (&'static str, &str)) {
    metric(name, "Milliseconds", u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), dimension, None);
}

/// One value in the format that AWS documents under "Specification: Embedded metric format".
fn metric(
    name: &'static str,
    unit: &'static str,
    value: u64,
    (key, word): (&'static str, &str),
    field: Option<(&'static str, &str)>,
) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut line = serde_json::json!({
        "_aws": {
            "Timestamp": u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            "CloudWatchMetrics": [{
                "Namespace": "Hoopoe",
                "Dimensions": [[key]],
                "Metrics": [{"Name": name, "Unit": unit}],
            }],
        },
        key: word,
        name: value,
    });
    if let Some((field, word)) = field {
        line[field] = word.into();
    }
    // A function without a standard output has nowhere to say so.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
