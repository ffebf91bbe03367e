//! What a function tells its operator: structured logs and counts, on standard output, where Lambda hands them to
//! CloudWatch Logs.
//!
//! | item | what it does |
//! |---|---|
//! | [`init`] | sets up the log: one JSON object a line, `info` and above |
//! | [`Fatal`] | what `main` ends with where a function cannot run: a sentence |
//! | [`count`], [`count_with`], [`duration`] | one line such as `{"Sent":1,"Channel":"telegram"}` |
//! | [`METRICS`] | the counts that are metrics in CloudWatch too |
//!
//! A count is a line in the log and no metric, because CloudWatch bills each metric by the month and a line by its bytes.
//! CloudWatch Logs Insights sums them up when somebody asks, over the log groups of the functions:
//!
//! ```text
//! stats sum(Sent), pct(AnswerTime, 99) by Channel
//! stats sum(Answered) as answered by Intent | sort answered desc
//! stats sum(Refused) by Reason, bin(1h)
//! ```
//!
//! Neither ever holds a person's words, a chat's id or a secret: a message is named by a digest of its
//! platform id.

use std::error::Error;
use std::fmt;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
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

/// The counts that are metrics in CloudWatch too, in the namespace `Hoopoe` with the dimension `Stack`: those that an alarm
/// of `template.yaml` reads. Each costs 0.30 USD for a month in which it has a value every hour, and nothing while it has
/// none; so these count what goes wrong.
pub const METRICS: [&str; 2] = ["CredentialsRefused", "WebhookFailures"];

/// The variable that says to which stack the function belongs; `template.yaml` sets it.
const STACK: &str = "STACK";

/// Counts something: a line in the log with a field beside it, and a metric where it is one of [`METRICS`].
pub fn count(name: &'static str, count: u64, field: (&'static str, &str)) {
    print(name, count, &[field]);
}

/// As [`count`], with two fields.
pub fn count_with(name: &'static str, count: u64, field: (&'static str, &str), other: (&'static str, &str)) {
    print(name, count, &[field, other]);
}

/// Says how long something took, in milliseconds.
pub fn duration(name: &'static str, duration: Duration, field: (&'static str, &str)) {
    print(name, u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &[field]);
}

fn print(name: &'static str, value: u64, fields: &[(&'static str, &str)]) {
    let line = if METRICS.contains(&name) {
        let stack = std::env::var(STACK).unwrap_or_default();
        metric(name, value, fields, &stack, SystemTime::now())
    } else {
        line(name, value, fields)
    };
    // A function without a standard output has nowhere to say so.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// A value and its fields.
fn line(name: &'static str, value: u64, fields: &[(&'static str, &str)]) -> Value {
    let mut line = json!({ name: value });
    for &(field, word) in fields {
        line[field] = word.into();
    }
    line
}

/// The same as a metric, in the format that AWS documents under "Specification: Embedded metric format".
fn metric(name: &'static str, value: u64, fields: &[(&'static str, &str)], stack: &str, now: SystemTime) -> Value {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut line = line(name, value, fields);
    // CloudWatch drops a metric whose dimension is empty.
    line["Stack"] = if stack.is_empty() { "none" } else { stack }.into();
    line["_aws"] = json!({
        "Timestamp": u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        "CloudWatchMetrics": [{
            "Namespace": "Hoopoe",
            "Dimensions": [["Stack"]],
            "Metrics": [{"Name": name, "Unit": "Count"}],
        }],
    });
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a message costs in the log hangs on these lines, and queries on their fields.
    #[test]
    fn a_count_is_a_short_line_with_its_fields() {
        assert_eq!(line("Sent", 1, &[("Channel", "telegram")]).to_string(), r#"{"Channel":"telegram","Sent":1}"#);
        let both = line("Answered", 1, &[("Pack", "shop"), ("Intent", "opening_hours")]);
        assert_eq!(both, json!({"Answered": 1, "Pack": "shop", "Intent": "opening_hours"}));
    }

    /// One series for each stack, whatever the fields say: `Dimensions` names none of them.
    #[test]
    fn a_metric_has_the_stack_as_its_only_dimension() {
        let now = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let line = metric("WebhookFailures", 1, &[("Channel", "slack")], "shop-prod", now);
        let expected = json!({
            "WebhookFailures": 1,
            "Channel": "slack",
            "Stack": "shop-prod",
            "_aws": {
                "Timestamp": 1_700_000_000_123_u64,
                "CloudWatchMetrics": [{
                    "Namespace": "Hoopoe",
                    "Dimensions": [["Stack"]],
                    "Metrics": [{"Name": "WebhookFailures", "Unit": "Count"}],
                }],
            },
        });
        assert_eq!(line, expected);
        assert_eq!(metric("WebhookFailures", 1, &[], "", now)["Stack"], "none");
    }
}
