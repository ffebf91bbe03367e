//! What there is, and what was done.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use hoopoe_keyring::{Entry, KeyName, State, Stored, Version};
use hoopoe_message::{BotId, Channel, Timestamp};
use serde_json::{Value, json};

use super::open::{audit, tables};
use crate::stack::Stack;
use crate::{Global, bots, commands, logs, output};

/// Which keys.
#[derive(Args)]
pub(crate) struct List {
    /// Only this platform's.
    channel: Option<Channel>,
    /// Only this bot's.
    #[arg(long)]
    bot: Option<BotId>,
    /// Also the versions that were destroyed.
    #[arg(long)]
    all: bool,
}

/// Which records.
#[derive(Args)]
pub(crate) struct AuditCommand {
    /// Only this platform's keys.
    channel: Option<Channel>,
    /// How far back, such as 12h or 30d.
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = logs::duration)]
    since: Duration,
}

impl List {
    pub(super) async fn run(&self, stack: &Stack, global: &Global) -> anyhow::Result<()> {
        let now = Timestamp::now();
        let mut stored = tables(stack).await?.vault.list().await?;
        if let Some(bot) = &self.bot
            && !stored
                .iter()
                .any(|Stored { key, .. }| self.channel.is_none_or(|one| one == key.channel) && key.bot == *bot)
        {
            bail!("{}", bots::missing(&stored, self.channel, bot));
        }
        stored.retain(|Stored { key, .. }| {
            self.channel.is_none_or(|channel| key.channel == channel)
                && self.bot.as_ref().is_none_or(|bot| key.bot == *bot)
        });
        let width = stored.iter().map(|stored| stored.key.to_string().len()).max().unwrap_or_default();
        let mut rows = Vec::new();
        for stored in &stored {
            for version in stored.history.versions() {
                if version.state == State::Destroyed && !self.all {
                    continue;
                }
                let live = stored.history.live().any(|live| live.number == version.number);
                rows.push(row(&stored.key, version, live));
                if !global.json {
                    output::line(line(&stored.key, width, version, live, now))?;
                }
            }
        }
        if global.json {
            output::json(&rows)
        } else if rows.is_empty() {
            output::line(commands::complete(
                "There are no keys. `hoopoe channel add --help` shows how a bot is connected.",
            ))
        } else {
            Ok(())
        }
    }
}

fn row(key: &KeyName, version: &Version, live: bool) -> Value {
    json!({
        "channel": key.channel, "bot": key.bot, "purpose": key.purpose.as_str(), "version": version.number,
        "state": version.state.as_str(), "live": live, "watched": version.watched,
        "created_at": version.created_at.as_secs(), "since": version.since.as_secs(),
    })
}

fn line(key: &KeyName, width: usize, version: &Version, live: bool, now: Timestamp) -> String {
    let note = match (version.state, live) {
        (State::Current, _) if version.watched => ", watched",
        (State::Previous, true) => ", still accepted",
        (State::Previous, false) => ", kept",
        _ => "",
    };
    let state = format!("{}{note}", version.state);
    let stored = age(now.since(version.created_at));
    let since = match version.since == version.created_at {
        true => String::new(),
        false => format!(", in this state for {}", age(now.since(version.since))),
    };
    let (key, number) = (key.to_string(), version.number);
    format!("{key:<width$}  version {number:<4} {state:<25} stored {stored} ago{since}")
}

fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

impl AuditCommand {
    pub(super) async fn run(&self, stack: &Stack, global: &Global) -> anyhow::Result<()> {
        let now = Timestamp::now();
        let mut entries = audit(stack).await?.read(now).await?;
        entries.retain(|entry| {
            let channel = entry.key.split('/').next().unwrap_or_default();
            now.since(entry.at) <= self.since && self.channel.is_none_or(|only| only.as_str() == channel)
        });
        if global.json {
            let rows: Vec<_> = entries.iter().map(record).collect();
            return output::json(&rows);
        }
        for entry in &entries {
            let Entry { at, key, action, version, actor } = entry;
            output::line(format_args!(
                "{}  {key:<28} version {version:<4} {action:<16} {} ({})",
                output::time(*at),
                actor.who,
                actor.origin
            ))?;
        }
        if entries.is_empty() { output::line("No key was moved in this time.") } else { Ok(()) }
    }
}

fn record(entry: &Entry) -> Value {
    let Entry { at, key, action, version, actor } = entry;
    json!({
        "at": at.as_millis(), "key": key, "version": version, "action": action, "who": actor.who, "from": actor.origin,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_how_old_a_version_is_and_for_how_long_it_is_what_it_is() {
        let key = KeyName { channel: Channel::Slack, bot: BotId::default(), purpose: hoopoe_keyring::Purpose::Send };
        let row = |created_at, since, watched| {
            let [created_at, since] = [created_at, since].map(Timestamp::from_secs);
            let version = Version { number: 2, state: State::Current, created_at, since, watched, noticed: 0 };
            line(&key, 16, &version, true, Timestamp::from_secs(1_000_000))
        };
        let new = row(1_000_000 - 300, 1_000_000 - 300, false);
        assert_eq!(new, "slack/main/send   version 2    current                   stored 5 min ago");
        let promoted = row(1_000_000 - 7200, 1_000_000 - 30, true);
        assert!(promoted.ends_with("current, watched          stored 2 h ago, in this state for 30 s"), "{promoted}");
    }
}
