//! `hoopoe logs`: what the functions say, one line each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use aws_sdk_cloudwatchlogs::types::FilteredLogEvent;
use clap::Args;
use hoopoe_aws::cause;
use hoopoe_message::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::stack::Stack;
use crate::{Global, output};

const EXAMPLES: &str = "\
Examples:
  hoopoe logs                            all functions, the last ten minutes
  hoopoe logs inference --since 2h
  hoopoe logs deliver --follow           until Ctrl-C
  hoopoe logs --json | jq 'select(.level == \"ERROR\")'
  hoopoe logs --stack hoopoe --profile production
";

/// How often `--follow` asks. CloudWatch allows five calls a second for an account.
const PERIOD: Duration = Duration::from_secs(2);
/// How late CloudWatch may show an event: so far back each question of `--follow` begins.
const LATENESS: Duration = Duration::from_secs(30);

/// Shows what the functions log.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Logs {
    /// A function, such as telegram, inference or deliver; all of them by default.
    function: Option<String>,
    /// Keep showing what comes.
    #[arg(long, short)]
    follow: bool,
    /// How far to look back, such as 30s, 10m, 2h or 1d.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    since: Duration,
    /// Show the lines of Lambda itself and the counts too.
    #[arg(long)]
    all: bool,
}

/// A line of a function's log.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry {
    /// RFC 3339, in UTC.
    time: String,
    function: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<String>,
    message: String,
    /// What else a structured line holds.
    #[serde(skip_serializing_if = "Map::is_empty")]
    fields: Map<String, Value>,
    #[serde(skip)]
    origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Function,
    /// Start, end and report of an invocation.
    Lambda {
        failed: bool,
    },
    /// What `hoopoe_telemetry` counts: a structured line that says nothing, perhaps a metric too.
    Count,
}

impl Logs {
    /// Runs the subcommand; with `--follow`, until Ctrl-C.
    ///
    /// # Errors
    ///
    /// When the stack or its logs cannot be read.
    pub(crate) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let stack = Stack::find(global).await?;
        let mut functions = stack.functions();
        if let Some(wanted) = &self.function {
            functions.retain(|short, _| short == wanted);
            if functions.is_empty() {
                let known: Vec<&str> = stack.functions().into_keys().collect();
                bail!("there is no function {wanted}; there are {}", known.join(", "));
            }
        }
        let mut tail = Tail::from(Timestamp::now().as_millis().saturating_sub(millis(self.since)));
        loop {
            for entry in tail.next(&stack, &functions).await? {
                if self.all || entry.origin == Origin::Function {
                    print(&entry, global.json)?;
                }
            }
            if !self.follow {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => (),
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
        }
    }
}

/// Where reading has come to, and what was shown of the time that is asked for again.
struct Tail {
    from: u64,
    seen: BTreeSet<(u64, String)>,
}

impl Tail {
    const fn from(from: u64) -> Self {
        Self { from, seen: BTreeSet::new() }
    }

    /// What is new, in the order of time.
    async fn next(&mut self, stack: &Stack, functions: &BTreeMap<&str, &str>) -> anyhow::Result<Vec<Entry>> {
        let asked = Timestamp::now().as_millis();
        let mut events = Vec::new();
        for (short, name) in functions {
            events.extend(fetch(stack, name, self.from, None).await?.into_iter().map(|event| (*short, event)));
        }
        events.sort_by_key(|(_, event)| event.timestamp);
        let new = events.into_iter().filter(|(short, event)| self.seen.insert(identity(short, event)));
        let new = new.map(|(short, event)| Entry::of(short, &event)).collect();
        self.from = self.from.max(asked.saturating_sub(millis(LATENESS)));
        self.seen = self.seen.split_off(&(self.from, String::new()));
        Ok(new)
    }
}

/// Tells events apart, also where the emulator gives them no id.
fn identity(function: &str, event: &FilteredLogEvent) -> (u64, String) {
    let id = match event.event_id() {
        Some(id) => id.to_owned(),
        None => format!("{function} {} {}", event.log_stream_name().unwrap_or(""), event.message().unwrap_or("")),
    };
    (u64::try_from(event.timestamp.unwrap_or(0)).unwrap_or(0), id)
}

/// The errors of a function in the last `period`: lines of level `ERROR`, and invocations that Lambda reports as failed.
///
/// # Errors
///
/// When the logs cannot be read.
pub(crate) async fn errors(stack: &Stack, short: &str, name: &str, period: Duration) -> anyhow::Result<Vec<Entry>> {
    // The emulator lets everything through here, so what comes is looked at again.
    let pattern = r#"{ ($.level = "ERROR") || ($.type = "platform.report" && $.record.status != "success") }"#;
    let from = Timestamp::now().as_millis().saturating_sub(millis(period));
    let events = fetch(stack, name, from, Some(pattern)).await?;
    Ok(events.iter().map(|event| Entry::of(short, event)).filter(Entry::is_error).collect())
}

async fn fetch(stack: &Stack, name: &str, from: u64, pattern: Option<&str>) -> anyhow::Result<Vec<FilteredLogEvent>> {
    let group = format!("/aws/lambda/{name}");
    let client = aws_sdk_cloudwatchlogs::Client::new(stack.config());
    let mut pages = client
        .filter_log_events()
        .log_group_name(&group)
        .start_time(i64::try_from(from).context("a time in the far future")?)
        .set_filter_pattern(pattern.map(Into::into))
        .into_paginator()
        .send();
    let mut events = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| anyhow!("the log {group} cannot be read: {}", cause(&error)))?;
        events.extend(page.events.unwrap_or_default());
    }
    Ok(events)
}

impl Entry {
    fn of(function: &str, event: &FilteredLogEvent) -> Self {
        let at = Timestamp::from_millis(u64::try_from(event.timestamp.unwrap_or(0)).unwrap_or(0));
        Self::read(function, at, event.message().unwrap_or("").trim_end())
    }

    fn read(function: &str, at: Timestamp, text: &str) -> Self {
        let mut fields = match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        let origin = Origin::of(text, &fields);
        let mut take = |name: &str| match fields.remove(name) {
            Some(Value::String(value)) => Some(value),
            _ => None,
        };
        let level = take("level");
        let message = take("message").or_else(|| take("type"));
        take("timestamp");
        let message = match message {
            Some(message) => message,
            None if fields.is_empty() => text.to_owned(),
            None => "".to_owned(),
        };
        Self { time: output::time(at), function: function.to_owned(), level, message, fields, origin }
    }

    fn is_error(&self) -> bool {
        self.level.as_deref() == Some("ERROR") || self.origin == Origin::Lambda { failed: true }
    }
}

impl Origin {
    fn of(text: &str, fields: &Map<String, Value>) -> Self {
        const WORDS: [&str; 4] = ["START RequestId:", "END RequestId:", "REPORT RequestId:", "INIT_START "];
        let kind = fields.get("type").and_then(Value::as_str).unwrap_or("");
        if kind.starts_with("platform.") {
            let status = fields.get("record").and_then(|record| record.get("status")).and_then(Value::as_str);
            Self::Lambda { failed: kind == "platform.report" && status.is_some_and(|status| status != "success") }
        } else if WORDS.iter().any(|word| text.starts_with(word)) {
            Self::Lambda { failed: false }
        } else if !fields.is_empty() && !["level", "message"].iter().any(|name| fields.contains_key(*name)) {
            Self::Count
        } else {
            Self::Function
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = self.level.as_deref().unwrap_or("");
        write!(f, "{} {:<9} {level:<5} {}", self.time, self.function, self.message)?;
        self.fields.iter().try_for_each(|(name, value)| match value {
            Value::String(value) => write!(f, " {name}={value}"),
            value => write!(f, " {name}={value}"),
        })
    }
}

/// One line, also as JSON, so that a program can read one after the other.
fn print(entry: &Entry, json: bool) -> anyhow::Result<()> {
    if json { output::line(serde_json::to_string(entry)?) } else { output::line(entry) }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Reads `30s`, `10m`, `2h`, `1d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time; write it like 30s, 10m, 2h or 1d");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 24 * 3600,
        _ => return Err(wrong()),
    };
    let count: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(u64::from(count) * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Entry {
        Entry::read("inference", Timestamp::from_millis(1_700_000_000_000), text)
    }

    #[test]
    fn a_structured_line_is_shown_flat() {
        let line = entry(r#"{"level":"WARN","message":"moved","record":"1f","reason":"poison"}"#);
        assert_eq!(line.origin, Origin::Function);
        assert_eq!(line.to_string(), "2023-11-14T22:13:20.000Z inference WARN  moved reason=poison record=1f");
    }

    #[test]
    fn any_other_line_is_shown_as_it_is() {
        let line = entry("thread 'main' panicked at src/main.rs:1");
        assert_eq!(line.origin, Origin::Function);
        assert_eq!(
            line.to_string(),
            "2023-11-14T22:13:20.000Z inference       thread 'main' panicked at src/main.rs:1"
        );
    }

    #[test]
    fn lines_of_lambda_and_counts_are_told_apart() {
        for text in ["START RequestId: 1 Version: $LATEST", r#"{"type":"platform.start","record":{"requestId":"1"}}"#] {
            assert_eq!(entry(text).origin, Origin::Lambda { failed: false }, "{text}");
        }
        for text in [
            r#"{"_aws":{"Timestamp":1},"Stack":"hoopoe","WebhookFailures":1}"#,
            r#"{"Sent":1,"Channel":"telegram"}"#,
            r#"{"Channel":"telegram","AnswerTime":412}"#,
        ] {
            assert_eq!(entry(text).origin, Origin::Count, "{text}");
        }
        let refused = r#"{"level":"WARN","message":"a request was refused","Refused":1,"Reason":"forged"}"#;
        assert_eq!(entry(refused).origin, Origin::Function);
    }

    #[test]
    fn errors_are_those_of_the_function_and_failed_invocations() {
        assert!(entry(r#"{"level":"ERROR","message":"no"}"#).is_error());
        assert!(entry(r#"{"type":"platform.report","record":{"status":"timeout"}}"#).is_error());
        for text in [
            r#"{"level":"INFO","message":"an ERROR in words"}"#,
            r#"{"type":"platform.report","record":{"status":"success"}}"#,
            "REPORT RequestId: 1 Duration: 3 ms",
        ] {
            assert!(!entry(text).is_error(), "{text}");
        }
    }

    #[test]
    fn times_are_read() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(duration("1d"), Ok(Duration::from_secs(86_400)));
        for text in ["", "m", "10", "-1m", "1.5h", "十m", "10分"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
