//! The two tables of which a bill is made: what is counted, and what it costs.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

const COUNTS: &str = include_str!("counts.toml");
const PRICES: &str = include_str!("prices.toml");

/// What is billed, by its name in `prices.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Meter {
    LambdaRequest,
    LambdaGbSecondX86,
    LambdaGbSecondArm,
    DynamodbWrite,
    DynamodbRead,
    DynamodbGbMonth,
    DynamodbRecoveryGbMonth,
    SqsRequest,
    SqsFairRequest,
    KmsRequest,
    KmsKeyMonth,
    LogGb,
    LogGbMonth,
    MetricHour,
    AlarmMonth,
    OutGb,
    S3GbMonth,
    ScheduleRun,
    SnsMail,
    LlmInputToken,
    LlmOutputToken,
    T3MediumHour,
    C7iLargeHour,
    DiskGbMonth,
    PublicAddressHour,
}

impl Meter {
    /// The service whose bill it stands on, and what is counted.
    pub(super) const fn label(self) -> (&'static str, &'static str) {
        match self {
            Self::LambdaRequest => ("Lambda", "requests"),
            Self::LambdaGbSecondX86 | Self::LambdaGbSecondArm => ("Lambda", "GB-seconds"),
            Self::DynamodbWrite => ("DynamoDB", "write units"),
            Self::DynamodbRead => ("DynamoDB", "read units"),
            Self::DynamodbGbMonth => ("DynamoDB", "GB kept"),
            Self::DynamodbRecoveryGbMonth => ("DynamoDB", "GB for recovery"),
            Self::SqsRequest => ("SQS", "requests"),
            Self::SqsFairRequest => ("SQS", "of them in a group"),
            Self::KmsRequest => ("KMS", "requests"),
            Self::KmsKeyMonth => ("KMS", "keys"),
            Self::LogGb => ("CloudWatch", "GB of logs"),
            Self::LogGbMonth => ("CloudWatch", "GB of logs kept"),
            Self::MetricHour => ("CloudWatch", "metric-hours"),
            Self::AlarmMonth => ("CloudWatch", "alarms"),
            Self::OutGb => ("Data out", "GB"),
            Self::S3GbMonth => ("S3", "GB of bundles"),
            Self::ScheduleRun => ("EventBridge", "scheduled runs"),
            Self::SnsMail => ("SNS", "mails"),
            Self::LlmInputToken => ("Bedrock", "input tokens"),
            Self::LlmOutputToken => ("Bedrock", "output tokens"),
            Self::T3MediumHour | Self::C7iLargeHour => ("EC2", "hours"),
            Self::DiskGbMonth => ("EC2", "GB of disk"),
            Self::PublicAddressHour => ("EC2", "hours of an address"),
        }
    }
}

/// What is used. `counts.toml` says what each field means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Counts {
    pub(super) origin: String,
    pub(super) traffic: Traffic,
    pub(super) conversation: Conversation,
    pub(super) mapping: Mapping,
    pub(super) functions: BTreeMap<Function, Runs>,
    pub(super) python: BTreeMap<Function, Runs>,
    pub(super) calls: Vec<Call>,
    pub(super) logs: Vec<Log>,
    pub(super) metrics: Vec<Metric>,
    pub(super) kept: Kept,
    pub(super) out: Out,
    pub(super) llm: Llm,
    pub(super) server: Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Function {
    Webhook,
    Inference,
    Deliver,
    Rotate,
}

impl Function {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Inference => "inference",
            Self::Deliver => "deliver",
            Self::Rotate => "rotate",
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Traffic {
    pub(super) environment_seconds: f64,
    pub(super) key_cache_seconds: f64,
    pub(super) deliver_share: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mapping {
    pub(super) concurrency: f64,
    pub(super) batch_size: f64,
    pub(super) pollers: f64,
    pub(super) pollers_without_limit: f64,
    pub(super) poll_seconds: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Conversation {
    /// Numbers of messages in their conversation, for which calls may have units of their own.
    pub(super) messages: Vec<u32>,
}

/// How many units a call takes.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Units {
    /// For every message.
    Same(f64),
    /// For each number in [`Conversation::messages`].
    Each(Vec<f64>),
}

impl Units {
    /// For the message at an index of [`Conversation::messages`].
    pub(super) fn at(&self, index: usize) -> f64 {
        match self {
            Self::Same(units) => *units,
            Self::Each(units) => units.get(index).copied().unwrap_or(f64::NAN),
        }
    }

    /// The most, which the bill is for.
    pub(super) fn most(&self) -> f64 {
        match self {
            Self::Same(units) => *units,
            Self::Each(units) => units.iter().copied().fold(0.0, f64::max),
        }
    }
}

/// How often a function runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Trigger {
    Message,
    Batch,
    Hour,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Runs {
    pub(super) runs: Trigger,
    pub(super) memory_mb: f64,
    pub(super) fixed_ms: f64,
    pub(super) message_ms: f64,
    pub(super) cold_ms: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Per {
    Message,
    Batch,
    Poll,
    Key,
    Surplus,
    Hour,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    pub(super) function: Function,
    /// For the reader of the table.
    #[serde(rename = "what")]
    _what: String,
    pub(super) price: Meter,
    pub(super) per: Per,
    pub(super) units: Units,
    /// The file and the name in it that makes the call.
    pub(super) code: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    pub(super) function: Function,
    pub(super) platform_bytes: f64,
    pub(super) count_bytes: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metric {
    /// For the reader of the table.
    #[serde(rename = "name")]
    _name: String,
    pub(super) share: f64,
    pub(super) code: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    pub(super) message_bytes: f64,
    pub(super) days: f64,
    pub(super) idle_bytes: f64,
    pub(super) log_days: f64,
    pub(super) log_compressed: f64,
    pub(super) bundle_gb: f64,
    pub(super) fixed: Fixed,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fixed {
    pub(super) keys: f64,
    pub(super) alarms: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Out {
    pub(super) webhook_bytes: f64,
    pub(super) deliver_bytes: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Llm {
    pub(super) model: String,
    pub(super) input_tokens: f64,
    pub(super) output_tokens: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    pub(super) disk_gb: f64,
}

impl Counts {
    /// The table that comes with the command.
    pub(super) fn own() -> anyhow::Result<Self> {
        Self::parse(COUNTS).context("counts.toml")
    }

    /// A table of the same form.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let counts: Self = toml::from_str(text)?;
        for function in [Function::Webhook, Function::Inference, Function::Deliver, Function::Rotate] {
            for table in [&counts.functions, &counts.python] {
                table.get(&function).with_context(|| format!("there are no figures of {}", function.as_str()))?;
            }
        }
        let lengths = counts.conversation.messages.len();
        let wrong = |call: &&Call| matches!(&call.units, Units::Each(units) if units.len() != lengths);
        if let Some(call) = counts.calls.iter().find(wrong) {
            bail!("{} has not one number of units for each of the {lengths} lengths of a conversation", call.code);
        }
        if let Some(place) = counts.places().find(|place| !place.contains(": ")) {
            bail!("\"{place}\" is not a file and a name in it, with a colon between them");
        }
        Ok(counts)
    }

    /// The write units of a message, by its number in the conversation.
    pub(super) fn writes(&self) -> Vec<(u32, f64)> {
        let writes = |call: &&Call| call.price == Meter::DynamodbWrite && call.per == Per::Message;
        let at = |index| self.calls.iter().filter(writes).map(|call| call.units.at(index)).sum();
        self.conversation.messages.iter().enumerate().map(|(index, &number)| (number, at(index))).collect()
    }

    /// Where the calls are made, and the metrics.
    fn places(&self) -> impl Iterator<Item = &str> {
        let metrics = self.metrics.iter().map(|metric| metric.code.as_str());
        self.calls.iter().map(|call| call.code.as_str()).chain(metrics)
    }
}

/// What it costs.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Prices {
    pub(super) region: String,
    /// When they were looked up.
    pub(super) date: String,
    #[serde(flatten)]
    table: BTreeMap<Meter, Price>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Price {
    usd: f64,
    per: f64,
    /// So much of it costs nothing in any month of an account. No other free tier is in the bill: this one is for ever,
    /// and not a discount for use.
    #[serde(default)]
    free: f64,
    /// For the reader of the table, as is `seen`.
    #[serde(rename = "page")]
    _page: String,
    #[serde(rename = "seen")]
    _seen: String,
}

impl Prices {
    /// The table that comes with the command.
    pub(super) fn own() -> anyhow::Result<Self> {
        toml::from_str(PRICES).context("prices.toml")
    }

    /// What of so many units is billed.
    pub(super) fn billed(&self, meter: Meter, units: f64) -> f64 {
        (units - self.table.get(&meter).map_or(0.0, |price| price.free)).max(0.0)
    }

    /// US dollars for one.
    pub(super) fn usd(&self, meter: Meter) -> f64 {
        self.table.get(&meter).map_or(f64::NAN, |price| price.usd / price.per)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn everything_counted_has_a_price() {
        let (counts, prices) = (Counts::own().expect("a table"), Prices::own().expect("a table"));
        assert!(counts.calls.iter().all(|call| prices.usd(call.price).is_finite()));
        assert_eq!(prices.table.len(), 25, "a price for each meter");
    }

    /// A call's place is a file and a name in it, so that a count is looked at again when the code moves.
    #[test]
    fn every_call_is_where_the_table_says() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let counts = Counts::own().expect("a table");
        for place in counts.places() {
            let (file, names) = place.split_once(": ").expect("a file and a name");
            let text = std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            for name in names.split(", ").flat_map(|name| name.split("::")) {
                assert!(text.contains(name), "{file} has no {name}");
            }
        }
    }

    /// The template has what the table says that it has.
    #[test]
    fn the_template_is_as_counted() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let template = std::fs::read_to_string(root.join("template.yaml")).expect("the template");
        let counts = Counts::own().expect("a table");
        let number = |kind: &str| template.matches(&format!("Type: {kind}\n")).count() as f64;
        assert!((number("AWS::CloudWatch::Alarm") - counts.kept.fixed.alarms).abs() < 0.5);
        assert_eq!(
            counts.metrics.len(),
            hoopoe_telemetry::metrics::alarmed().count(),
            "the metrics that functions make"
        );
        assert!((number("AWS::KMS::Key") - counts.kept.fixed.keys).abs() < 0.5);
        for (parameter, default) in [
            ("WebhookMemory", counts.functions[&Function::Webhook].memory_mb),
            ("InferenceMemory", counts.functions[&Function::Inference].memory_mb),
            ("DeliverMemory", counts.functions[&Function::Deliver].memory_mb),
            ("LogRetentionDays", counts.kept.log_days),
            ("KeyCacheSeconds", counts.traffic.key_cache_seconds),
        ] {
            let expected = format!("  {parameter}:\n    Type: Number\n    Default: {default}\n");
            assert!(template.contains(&expected), "{parameter} is not {default}");
        }
        for parameter in ["InferenceConcurrency", "DeliverConcurrency"] {
            let expected =
                format!("  {parameter}:\n    Type: String\n    Default: \"{}\"\n", counts.mapping.concurrency);
            assert!(template.contains(&expected), "{parameter}");
        }
        let share =
            (f64::from(hoopoe_keyring::Quota::default().per_second.get()) / 2.0 / counts.mapping.concurrency).floor();
        assert!((share - counts.traffic.deliver_share).abs() < 0.5, "a function has {share} sends a second");
        assert_eq!(template.matches(&format!("BatchSize: {}\n", counts.mapping.batch_size)).count(), 2);
        assert_eq!(template.matches("Schedule: rate(1 hour)\n").count(), 1);
    }
}
