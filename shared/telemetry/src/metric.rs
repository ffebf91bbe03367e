//! One thing that functions count or time.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// The variable that says to which stack the function belongs; `template.yaml` sets it.
const STACK: &str = "STACK";

/// Something that is counted or timed, with `FIELDS` words beside each value. [`metrics`](crate::metrics) has them all.
#[derive(Debug)]
pub struct Metric<const FIELDS: usize> {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) fields: [&'static str; FIELDS],
    pub(crate) alarmed: bool,
}

/// What the values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// How often it happened.
    Count,
    /// How long it took.
    Milliseconds,
}

/// What a metric is, for people and for the tests of the template.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Its name in the log and in CloudWatch.
    pub name: &'static str,
    /// What its values are.
    pub unit: Unit,
    /// The fields beside each value, which are no dimensions.
    pub fields: &'static [&'static str],
    /// Whether it is a metric in CloudWatch too, in the namespace `Hoopoe` with the dimension `Stack`.
    pub alarmed: bool,
    /// A sentence.
    pub meaning: &'static str,
}

impl<const FIELDS: usize> Metric<FIELDS> {
    /// Counts something, with a word for each field.
    pub fn add(&self, count: u64, words: [&str; FIELDS]) {
        self.print(count, words);
    }

    /// Records how long something took.
    pub fn record(&self, duration: Duration, words: [&str; FIELDS]) {
        self.print(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), words);
    }

    fn print(&self, value: u64, words: [&str; FIELDS]) {
        let line = if self.alarmed {
            self.embedded(value, words, &std::env::var(STACK).unwrap_or_default(), SystemTime::now())
        } else {
            self.line(value, words)
        };
        // A function without a standard output has nowhere to say so.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }

    /// The value and its fields.
    fn line(&self, value: u64, words: [&str; FIELDS]) -> Value {
        let mut line = json!({ self.name: value });
        for (field, word) in self.fields.iter().zip(words) {
            line[*field] = word.into();
        }
        line
    }

    /// The same as a metric, in the format that AWS documents under "Specification: Embedded metric format".
    fn embedded(&self, value: u64, words: [&str; FIELDS], stack: &str, now: SystemTime) -> Value {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut line = self.line(value, words);
        // CloudWatch drops a metric whose dimension is empty.
        line["Stack"] = if stack.is_empty() { "none" } else { stack }.into();
        line["_aws"] = json!({
            "Timestamp": u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            "CloudWatchMetrics": [{
                "Namespace": "Hoopoe",
                "Dimensions": [["Stack"]],
                "Metrics": [{"Name": self.name, "Unit": self.unit.as_str()}],
            }],
        });
        line
    }
}

impl Unit {
    /// As CloudWatch calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Milliseconds => "Milliseconds",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{ANSWERED, SENT, WEBHOOK_FAILURES};

    /// What a message costs in the log depends on these lines, and queries on their fields.
    #[test]
    fn a_count_is_a_short_line_with_its_fields() {
        assert_eq!(SENT.line(1, ["telegram"]).to_string(), r#"{"Channel":"telegram","Sent":1}"#);
        let both = ANSWERED.line(1, ["shop", "opening_hours"]);
        assert_eq!(both, json!({"Answered": 1, "Pack": "shop", "Intent": "opening_hours"}));
    }

    /// One series for each stack, whatever the fields say: `Dimensions` names none of them.
    #[test]
    fn a_metric_has_the_stack_as_its_only_dimension() {
        let now = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let line = WEBHOOK_FAILURES.embedded(1, ["slack"], "shop-prod", now);
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
        assert_eq!(WEBHOOK_FAILURES.embedded(1, ["slack"], "", now)["Stack"], "none");
    }
}
