//! `hoopoe keys`: the versions of the bots' secrets, from their first day to their last.

mod list;
mod open;
mod verify;

use std::io::{IsTerminal, Read};
use std::num::NonZeroU32;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use hoopoe_channels::{Settings, StoredKeys, with_platform};
use hoopoe_keyring::{History, KeyName, KeyringError, Move, Purpose, Quota, State};
use hoopoe_message::{BotId, Channel, Timestamp};
use hoopoe_rotation::platforms::Tested;
use hoopoe_rotation::rotation::{Ledger, Tables, in_force, promote};
use hoopoe_rotation::{HttpPlatforms, Platforms, http, is_automatic, rotate, sweep};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::confirm::Confirm;
use crate::progress::Step;
use crate::stack::Stack;
use crate::{Global, bots, commands, output, settings};

pub(crate) use open::{operator, tables};

const EXAMPLES: &str = "\
A secret lives as pending -> current -> previous -> destroyed. While a rotation is on, two versions are accepted.

Examples:
  hoopoe keys list                                         what there is, and how old; never a value
  hoopoe keys rotate telegram                              a new webhook secret, without a person
  hoopoe keys add slack --bot shop < slack.json            store new settings as pending ...
  hoopoe keys rotate slack --bot shop                      ... try them and put them in force
  hoopoe keys verify slack --bot shop                      which versions the platform accepts and uses
  hoopoe keys revoke slack --purpose send --version 3      refuse a version everywhere
  hoopoe keys quota line --per-second 20 --per-day 5000    what goes beyond waits in the queue
  hoopoe keys audit --since 7d                             who moved which key";

/// Rotate, revoke and audit the bots' secrets.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum KeysCommand {
    /// List the keys: their versions, states and ages; never a value.
    List(list::List),
    /// Store a bot's new settings, read from standard input, as pending versions.
    ///
    /// Only what differs from the version in force is stored. Webhooks are accepted with either version from then on;
    /// `rotate` puts the new one in force.
    Add(Named),
    /// Put new keys in force: pending ones, or where the platform lets us, ones that are made here.
    ///
    /// Telegram's webhook secret and the web chat's signing key are made, set and tried without a person. For other
    /// keys `add` comes first; without it this says what to do in the platform's console.
    Rotate(Rotate),
    /// Ask the platform whether it accepts the live versions, and show how often each was used.
    Verify(Named),
    /// Refuse a version everywhere, within the time that functions keep keys (5 minutes).
    #[command(disable_version_flag = true)]
    Revoke(Versioned),
    /// Delete a version's value for good. The version in force has to be revoked first.
    #[command(disable_version_flag = true)]
    Destroy(Versioned),
    /// Set how often a bot's send key may be used: calls to the platform a second, and a day.
    ///
    /// What comes above that waits in the queue and is not lost. Without a quota of its own a key has the tier standard.
    #[command(after_help = quota_help())]
    Quota(QuotaCommand),
    /// Show who moved which key, when and from where.
    Audit(list::AuditCommand),
    /// Make the operator's own credential, which is shown once and kept as a hash.
    Operator(OperatorCommand),
}

/// Which bot.
#[derive(Args)]
pub(crate) struct Named {
    /// The platform.
    pub(crate) channel: Channel,
    /// The bot's name in URLs and lists.
    #[arg(long, default_value_t)]
    pub(crate) bot: BotId,
}

/// Which keys, and how.
#[derive(Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    named: Named,
    /// Put pending keys in force although the platform did not say that it accepts them.
    #[arg(long)]
    untested: bool,
}

/// Which version.
#[derive(Args)]
pub(crate) struct Versioned {
    #[command(flatten)]
    named: Named,
    /// Which of the bot's two keys: webhook or send.
    #[arg(long)]
    purpose: Purpose,
    /// The version's number in `hoopoe keys list`.
    #[arg(long)]
    version: u64,
    #[command(flatten)]
    confirm: Confirm,
}

/// Which quota.
#[derive(Args)]
pub(crate) struct QuotaCommand {
    #[command(flatten)]
    named: Named,
    /// A tier; see below.
    #[arg(long, value_name = "NAME", value_parser = tier, conflicts_with_all = ["per_second", "per_day"])]
    tier: Option<Quota>,
    /// Calls a second.
    #[arg(long, value_name = "CALLS", required_unless_present = "tier")]
    per_second: Option<NonZeroU32>,
    /// Calls a day (UTC); without it, any number.
    #[arg(long, value_name = "CALLS")]
    per_day: Option<u64>,
}

/// What about the operator's credential.
#[derive(Args)]
pub(crate) struct OperatorCommand {
    /// Make a new one in place of the one there is.
    #[arg(long, conflicts_with = "check")]
    replace: bool,
    /// Say whether the credential on standard input is the operator's.
    #[arg(long)]
    check: bool,
}

impl KeysCommand {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// When the stack does not answer, or a key's life does not allow it.
    pub(crate) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let stack = Stack::find(global).await?;
        match self {
            Self::List(list) => list.run(&stack, global).await,
            Self::Add(named) => named.add(&stack, global).await,
            Self::Rotate(rotate) => rotate.run(&stack, global).await,
            Self::Verify(named) => verify::run(&named.channel, &named.bot, &stack, global).await,
            Self::Revoke(versioned) => versioned.revoke(&stack, global).await,
            Self::Destroy(versioned) => versioned.destroy(&stack, global).await,
            Self::Quota(quota) => quota.run(&stack, global).await,
            Self::Audit(audit) => audit.run(&stack, global).await,
            Self::Operator(command) => command.run(&stack, global).await,
        }
    }
}

impl Named {
    fn key(&self, purpose: Purpose) -> KeyName {
        KeyName { channel: self.channel, bot: self.bot.clone(), purpose }
    }

    async fn add(&self, stack: &Stack, global: &Global) -> anyhow::Result<()> {
        let Self { channel, bot } = self;
        let keys = with_platform!(
            channel,
            P => settings::read::<P>(None)?.keys(),
            webchat => bail!("the web chat's signing key is made here: `hoopoe keys rotate webchat --bot {bot}`")
        );
        bots::require(&tables(stack).await?.vault, *channel, bot).await?;
        let stored = store(stack, self, &keys, Stored::Pending).await?;
        if stored.is_empty() {
            bail!("nothing was stored: the settings are those in force");
        }
        if global.json {
            return output::json(&json!({"channel": channel, "bot": bot, "stored": stored}));
        }
        for line in &stored {
            output::line(format_args!("Stored {line}."))?;
        }
        output::line(format_args!(
            "Once the platform uses the new settings: hoopoe keys rotate {channel} --bot {bot}\n\n{}",
            sweep::steps(*channel, bot)
        ))
    }
}

/// How settings are stored beside those in force.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// To be put in force by `rotate`.
    Pending,
    /// In force at once.
    InForce,
}

/// Stores what differs from the versions in force, and says what that was.
///
/// # Errors
///
/// When the stack refuses, or a rotation is on already.
pub(crate) async fn store(stack: &Stack, named: &Named, keys: &StoredKeys, how: Stored) -> anyhow::Result<Vec<String>> {
    let tables = tables(stack).await?;
    let mut stored = Vec::new();
    // What sends first: a webhook that verifies already must be able to reply.
    for (purpose, secret) in [(Purpose::Send, &keys.send), (Purpose::Webhook, &keys.webhook)] {
        let (key, secret) = (named.key(purpose), secret.expose_secret().as_bytes());
        let known = tables.vault.history(&key).await?.current().is_some();
        if known && in_force(&tables, &key).await?.as_slice() == secret {
            continue;
        }
        let version = match how {
            Stored::Pending => tables.vault.add(&key, secret).await?,
            Stored::InForce => tables.vault.replace(&key, secret).await?,
        };
        stored.push(format!("version {} of {key} as {}", version.number, version.state));
    }
    Ok(stored)
}

impl Rotate {
    async fn run(&self, stack: &Stack, global: &Global) -> anyhow::Result<()> {
        let Named { channel, bot } = &self.named;
        let tables = tables(stack).await?;
        bots::require(&tables.vault, *channel, bot).await?;
        let platforms = HttpPlatforms::new(http::client()?);
        let mut rotated = Vec::new();
        // What sends first, as with `store`.
        for purpose in [Purpose::Send, Purpose::Webhook] {
            let key = self.named.key(purpose);
            let history = tables.vault.history(&key).await?;
            let version = match history.pending() {
                _ if is_automatic(&key) && history.current().is_some() => {
                    let step =
                        Step::start("rotate", format_args!("creating, setting and trying a new version of {key}"));
                    let version = rotate(&tables, &platforms, &key).await?;
                    step.done(format_args!("version {version} of {key} is in force"));
                    version
                }
                Some(pending) => {
                    self.put_in_force(&tables, &platforms, &key, pending.number).await?;
                    pending.number
                }
                None => continue,
            };
            rotated.push((key, version));
        }
        if rotated.is_empty() {
            bail!("nothing is pending for {channel}/{bot}. What to do:\n\n{}", sweep::steps(*channel, bot));
        }
        if global.json {
            let rows: Vec<_> = rotated
                .iter()
                .map(|(key, version)| json!({"key": key.to_string(), "version": version, "state": State::Current.as_str()}))
                .collect();
            return output::json(&rows);
        }
        output::line(commands::complete(
            "The version before stays accepted while the new one is watched; `hoopoe keys list` shows both.",
        ))
    }

    async fn put_in_force(
        &self,
        tables: &Tables,
        platforms: &HttpPlatforms,
        key: &KeyName,
        version: u64,
    ) -> anyhow::Result<()> {
        let secret = tables.open(key, version).await?;
        let step = Step::start("rotate", format_args!("trying version {version} of {key}"));
        let tested = match platforms.test(key, &secret, None).await {
            Ok(Tested::Accepted) => "the platform accepts it",
            Ok(Tested::NotTestable) => "only the platform's next request can tell whether it is right",
            Err(_) if self.untested => "untested",
            Err(error) => {
                let KeyName { channel, bot, purpose } = key;
                return Err(error).with_context(|| {
                    format!(
                        "version {version} of {key} stays pending; `hoopoe keys rotate {channel} --bot {bot} --untested` \
                         puts it in force all the same, and \
                         `hoopoe keys destroy {channel} --bot {bot} --purpose {purpose} --version {version}` gives it up"
                    )
                });
            }
        };
        promote(tables, key, version).await?;
        step.done(format_args!("version {version} of {key} is in force ({tested})"));
        Ok(())
    }
}

impl Versioned {
    /// Makes the move once it is confirmed, and returns the key's versions after it. `what` says what it does.
    async fn step(&self, tables: &Tables, key: &KeyName, step: Move, what: &str) -> anyhow::Result<History> {
        bots::require(&tables.vault, key.channel, &key.bot).await?;
        let history = tables.vault.history(key).await?;
        // Asked about is only what can be done.
        let planned = history.plan(step, Timestamp::now());
        let changes = planned.map_err(|fault| KeyringError::Move { key: key.clone(), fault })?;
        let stops = history.current().is_some() && history.after(&changes).current().is_none();
        let stops = if stops { " No other version is live: the bot stands still after that." } else { "" };
        let what = format_args!("This {what} version {} of {key}.{stops}", self.version);
        self.confirm.ask(what, &format!("{}/{}", key.channel, key.bot))?;
        Ok(tables.vault.step(key, step).await?)
    }

    async fn revoke(&self, stack: &Stack, global: &Global) -> anyhow::Result<()> {
        let key = self.named.key(self.purpose);
        let tables = tables(stack).await?;
        let history = self.step(&tables, &key, Move::Revoke(self.version), "ends").await?;
        if global.json {
            let current = history.current().map(|current| current.number);
            return output::json(
                &json!({"revoked": {"key": key.to_string(), "version": self.version}, "current": current}),
            );
        }
        let then = match history.current() {
            Some(current) => format!("Version {} is in force.", current.number),
            None => commands::complete(&format!(
                "No version is in force: the bot stands still until `hoopoe channel add {} --bot {}` stores new settings.",
                key.channel, key.bot
            )),
        };
        output::line(format_args!(
            "Revoked version {} of {key}. Every function refuses it within 5 minutes. {then}",
            self.version
        ))
    }

    async fn destroy(&self, stack: &Stack, global: &Global) -> anyhow::Result<()> {
        let key = self.named.key(self.purpose);
        let tables = tables(stack).await?;
        self.step(&tables, &key, Move::Destroy(self.version), "deletes for good").await?;
        if global.json {
            return output::json(&json!({"destroyed": {"key": key.to_string(), "version": self.version}}));
        }
        output::line(format_args!(
            "Destroyed version {} of {key}. Backups of the table hold its ciphertext for 35 days more.",
            self.version
        ))
    }
}

fn tier(name: &str) -> Result<Quota, String> {
    let known = || Quota::TIERS.map(|(name, _)| name).join(", ");
    Quota::tier(name).ok_or_else(|| format!("there is no tier of this name; there are {}", known()))
}

/// What `quota --help` says of the tiers.
fn quota_help() -> String {
    let day = |quota: Quota| quota.per_day.map_or("any number".to_owned(), |units| units.to_string());
    let tiers =
        Quota::TIERS.map(|(name, quota)| format!("  {name:<10} {} a second, {} a day\n", quota.per_second, day(quota)));
    format!(
        "Tiers:\n{}\nExamples:\n  hoopoe keys quota telegram --tier high\n  \
         hoopoe keys quota line --bot shop --per-second 20 --per-day 5000",
        tiers.concat()
    )
}

impl QuotaCommand {
    async fn run(&self, stack: &Stack, global: &Global) -> anyhow::Result<()> {
        let key = self.named.key(Purpose::Send);
        let chosen = self.per_second.map(|per_second| Quota { per_second, per_day: self.per_day });
        let quota = self.tier.or(chosen).context("either a tier or calls a second have to be given")?;
        let tables = tables(stack).await?;
        bots::require(&tables.vault, key.channel, &key.bot).await?;
        if tables.vault.history(&key).await?.current().is_none() {
            bail!("the bot \"{}\" on {} has no key to send with, so there is nothing to limit", key.bot, key.channel);
        }
        tables.vault.set_quota(&key, quota).await?;
        if global.json {
            return output::json(&json!({"key": key.to_string(), "quota": quota}));
        }
        let day = quota.per_day.map_or("any number".to_owned(), |units| units.to_string());
        output::line(format_args!(
            "{key} may be used {} times a second and {day} a day. Running functions hold to that within 5 minutes.",
            quota.per_second
        ))
    }
}

impl OperatorCommand {
    async fn run(&self, stack: &Stack, global: &Global) -> anyhow::Result<()> {
        let operator = operator(stack).await?;
        if self.check {
            let mut input = String::new();
            let mut stdin = std::io::stdin().lock();
            if stdin.is_terminal() {
                eprintln!("Paste the credential, then press Ctrl-D:");
            }
            stdin.by_ref().take(1024).read_to_string(&mut input).context("the credential cannot be read")?;
            let credential = SecretString::from(input.trim());
            if !operator.verify(&credential).await? {
                bail!("this is not the operator's credential");
            }
            return output::line("This is the operator's credential.");
        }
        match operator.create(self.replace).await? {
            Some(credential) if global.json => output::json(&json!({"credential": credential.expose_secret()})),
            Some(credential) => output::line(format_args!(
                "The operator's credential, which is shown this once:\n\n  {}",
                credential.expose_secret()
            )),
            None => bail!("there is one already; --replace makes a new one and ends the old one"),
        }
    }
}
