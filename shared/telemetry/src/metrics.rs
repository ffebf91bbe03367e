//! Everything that functions count or time. `infra/metrics.md` is rendered from this list.
//!
//! One that is `alarmed` is a metric in CloudWatch too, in the namespace `Hoopoe` with the dimension `Stack`, because an
//! alarm of `template.yaml` reads it. It costs 0.30 USD for a month in which it has a value every hour, and nothing while it
//! has none; so these count what goes wrong.

use crate::{Description, Metric, Unit};

macro_rules! metrics {
    ($($(#[doc = $meaning:literal])+ $constant:ident = $name:literal, $unit:ident by [$($field:literal),+] $($alarmed:ident)?;)+) => {
        $(
            $(#[doc = $meaning])+
            pub const $constant: Metric<{ [$($field),+].len() }> = Metric {
                name: $name,
                unit: Unit::$unit,
                fields: [$($field),+],
                alarmed: metrics!(@ $($alarmed)?),
            };
        )+

        /// All of them.
        pub const ALL: &[Description] = &[$(
            Description {
                name: $name,
                unit: Unit::$unit,
                fields: &[$($field),+],
                alarmed: metrics!(@ $($alarmed)?),
                meaning: concat!($($meaning),+),
            },
        )+];
    };
    (@ alarmed) => { true };
    (@) => { false };
}

metrics! {
    /// Messages that a webhook took in.
    RECEIVED = "Received", Count by ["Channel"];
    /// Messages that a platform posted again, and that are known.
    DUPLICATES = "Duplicates", Count by ["Channel"];
    /// Events of a platform that are no message to the bot.
    IGNORED = "Ignored", Count by ["Channel"];
    /// Requests that a webhook could not handle; the platform posts them again.
    WEBHOOK_FAILURES = "WebhookFailures", Count by ["Channel"] alarmed;
    /// Messages in the queue that cannot be read; they are dead letters.
    POISON_MESSAGES = "PoisonMessages", Count by ["Queue"];
    /// Messages that came from the queue again after they were handled.
    REPEATED_MESSAGES = "RepeatedMessages", Count by ["Channel"];
    /// Sessions that another function wrote first; their messages are handled again at once.
    SESSION_CONFLICTS = "SessionConflicts", Count by ["Channel"];
    /// Questions that got the answer of an intent.
    ANSWERED = "Answered", Count by ["Pack", "Intent"];
    /// Questions to which the nearest intents were offered.
    SUGGESTED = "Suggested", Count by ["Pack"];
    /// Questions to which the bot knows nothing.
    FALLBACKS = "Fallbacks", Count by ["Pack"];
    /// Replies that the platform took.
    SENT = "Sent", Count by ["Channel"];
    /// From the message at the webhook to its reply at the platform.
    ANSWER_TIME = "AnswerTime", Milliseconds by ["Channel"];
    /// Sends that are tried again because the platform or an AWS service failed.
    RETRIES = "Retries", Count by ["Channel"];
    /// Sends that wait because the platform asked for a pause, or the bot's quota is used up.
    THROTTLED = "Throttled", Count by ["Channel"];
    /// Replies that came from the queue again after they were sent or given up.
    REPEATED_REPLIES = "RepeatedReplies", Count by ["Channel"];
    /// Replies that were given up; they are dead letters.
    DEAD_REPLIES = "DeadReplies", Count by ["Channel"];
    /// Replies of WeChat that came after the platform had stopped waiting; they are given with the next message.
    LATE_REPLIES = "LateReplies", Count by ["Channel"];
    /// Secrets of a bot that the platform did not accept.
    CREDENTIALS_REFUSED = "CredentialsRefused", Count by ["Function"] alarmed;
}

/// Those that an alarm reads.
pub fn alarmed() -> impl Iterator<Item = &'static Description> {
    ALL.iter().filter(|metric| metric.alarmed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn no_name_stands_for_two() {
        let names: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn the_page_says_the_same() {
        let mut page = String::from(
            "# What functions count\n\nRendered from [`shared/telemetry`](../shared/telemetry/src/metrics.rs); a test holds it. Each is a \
             line in the function's log, with its\nfields. Those with an alarm are metrics in CloudWatch too, in the namespace \
             `Hoopoe` with the dimension `Stack`.\n\n| name | unit | fields | alarm | meaning |\n|---|---|---|---|---|\n",
        );
        for metric in ALL {
            let Description { name, unit, fields, alarmed, meaning } = metric;
            let alarm = if *alarmed { "yes" } else { "no" };
            writeln!(page, "| {name} | {} | {} | {alarm} | {} |", unit.as_str(), fields.join(", "), meaning.trim())
                .expect("a text takes it");
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/metrics.md");
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(found == page, "infra/metrics.md should be:\n\n{page}");
    }
}
