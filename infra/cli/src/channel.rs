//! `hoopoe channel`: connects bots, lists them, disconnects them.

mod setup;

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use hoopoe_channels::{Platform, Settings, Setup, with_platform};
use hoopoe_keyring::{KeyName, KeyringError, Move, Purpose};
use hoopoe_message::{BotId, Channel};
use hoopoe_rotation::rotation::{Tables, own_key};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::confirm::Confirm;
use crate::keys::{self, Named};
use crate::selftest::Selftest;
use crate::{Global, bots, commands, output, settings, stack};

/// Connect bots to chat platforms.
#[derive(Subcommand)]
pub(crate) enum ChannelCommand {
    /// Store a bot's settings and print its webhook URL and what is left to do in the platform's console.
    ///
    /// The settings are read from standard input as one JSON object. For a bot that is connected already they take over
    /// at once, and those before them are accepted until the new ones have proved themselves.
    #[command(after_help = settings_help())]
    Add(Add),
    Selftest(Selftest),
    /// List the connected bots with their webhook URLs; never a secret.
    List,
    /// Remove a bot's secrets. Running functions may use them for five more minutes.
    Remove(Remove),
}

/// What `remove` takes.
#[derive(Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    confirm: Confirm,
}

/// What `add` takes.
#[derive(Args)]
pub(crate) struct Add {
    #[command(flatten)]
    named: Named,
    /// Another server of the platform's API, such as a private deployment's or a stand-in's.
    #[arg(long, value_name = "URL")]
    api_base: Option<String>,
    /// Telegram and LINE: tell the platform the webhook URL; of Telegram also ask the bot's username.
    #[arg(long)]
    set_webhook: bool,
    /// Discord: register the bot's slash commands, with the "bot_token" of the settings, which is not stored.
    #[arg(long)]
    register_commands: bool,
}

impl ChannelCommand {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// When settings are not accepted, or the stack or the platform refuses.
    pub(crate) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let stack = stack::Stack::find(global).await?;
        match self {
            Self::Add(add) => add.run(&stack, global).await,
            Self::Selftest(selftest) => selftest.run(&stack, global).await,
            Self::List => list(&stack, global).await,
            Self::Remove(remove) => remove.run(&stack, global).await,
        }
    }
}

impl Remove {
    async fn run(self, stack: &stack::Stack, global: &Global) -> anyhow::Result<()> {
        let Self { named: Named { channel, bot }, confirm } = self;
        let tables = keys::tables(stack).await?;
        bots::require(&tables.vault, channel, &bot).await?;
        let what = format_args!(
            "This deletes all keys of the bot \"{bot}\" on {channel}. It answers nobody then, and messages on their way to \
             it are not answered either.",
        );
        confirm.ask(what, &format!("{channel}/{bot}"))?;
        remove(&tables, channel, &bot).await?;
        if global.json {
            output::json(&json!({"removed": {"channel": channel, "bot": bot}}))
        } else {
            output::line(format_args!(
                "Removed the bot \"{bot}\" from {channel}. Its webhook refuses requests within 5 minutes."
            ))
        }
    }
}

impl Add {
    async fn run(self, stack: &stack::Stack, global: &Global) -> anyhow::Result<()> {
        let Named { channel, bot } = &self.named;
        let url = stack.webhook(*channel, bot.as_str())?;
        let steps = with_platform!(
            channel,
            P => self.connect::<P>(stack, &url).await?,
            webchat => {
                self.offered(&[])?;
                add_webchat(stack, bot).await?;
                format!("1. Open {url}\n")
            }
        );
        if global.json {
            output::json(&json!({"channel": channel, "bot": bot, "webhook": url, "steps": steps}))
        } else {
            output::line(format_args!("Connected the bot \"{bot}\" on {channel}. Its URL:\n\n  {url}\n\n{steps}"))
        }
    }

    /// Does in the platform's console what the options ask for, and stores the settings.
    async fn connect<P: Platform>(&self, stack: &stack::Stack, url: &str) -> anyhow::Result<String> {
        self.offered(P::Settings::SETUPS)?;
        let mut settings = settings::read::<P>(self.api_base.as_deref())?;
        for setup in self.setups() {
            setup::run::<P>(&mut settings, setup, url).await?;
        }
        keys::store(stack, &self.named, &settings.keys(), keys::Stored::InForce).await?;
        Ok(settings.console_steps(url))
    }

    /// What the options ask for.
    fn setups(&self) -> impl Iterator<Item = Setup> {
        Setup::ALL.into_iter().filter(|setup| match setup {
            Setup::Webhook => self.set_webhook,
            Setup::Commands => self.register_commands,
        })
    }

    /// Checks that the platform's API offers what the options ask for.
    fn offered(&self, offered: &[Setup]) -> anyhow::Result<()> {
        let Some(setup) = self.setups().find(|setup| !offered.contains(setup)) else { return Ok(()) };
        let channel = self.named.channel;
        let (option, instead) = match setup {
            Setup::Webhook => ("--set-webhook", "is told its URL in its console"),
            Setup::Commands => ("--register-commands", "has no commands to register"),
        };
        let offers = |channel: &Channel| {
            with_platform!(channel, P => <P as Platform>::Settings::SETUPS, webchat => &[]).contains(&setup)
        };
        let channels: Vec<_> = Channel::ALL.into_iter().filter(offers).map(Channel::as_str).collect();
        bail!("{option} is for {}; {channel} {instead}", channels.join(" and "))
    }
}

/// Makes a signing key for a bot of the web chat.
///
/// # Errors
///
/// When the stack refuses it.
pub(crate) async fn add_webchat(stack: &stack::Stack, bot: &BotId) -> anyhow::Result<()> {
    let key = KeyName { channel: Channel::Webchat, bot: bot.clone(), purpose: Purpose::Webhook };
    let secret = own_key(Channel::Webchat).context("the system has no random numbers")?;
    keys::tables(stack).await?.vault.replace(&key, secret.expose_secret().as_bytes()).await?;
    Ok(())
}

/// Whether the stack has a bot of this name on a channel.
///
/// # Errors
///
/// When the stack does not answer.
pub(crate) async fn is_connected(stack: &stack::Stack, channel: Channel, bot: &BotId) -> anyhow::Result<bool> {
    let stored = keys::tables(stack).await?.vault.list().await?;
    Ok(stored.iter().any(|stored| stored.key.channel == channel && stored.key.bot == *bot))
}

/// Destroys a bot's keys, where it has any.
///
/// # Errors
///
/// When the stack does not answer; run it again to remove the rest.
pub(crate) async fn remove(tables: &Tables, channel: Channel, bot: &BotId) -> anyhow::Result<()> {
    for purpose in Purpose::ALL {
        match tables.vault.step(&KeyName { channel, bot: bot.clone(), purpose }, Move::Remove).await {
            Ok(_) | Err(KeyringError::Move { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// What `channel add --help` says of each platform.
fn settings_help() -> String {
    let mut help = "Settings:\n".to_owned();
    for channel in Channel::ALL {
        let fields = with_platform!(channel, P => <P as Platform>::Settings::FIELDS, webchat => "none: its signing key is made here");
        help.push_str(&format!("  {channel:<10} {fields}\n"));
    }
    help.push_str(
        "\nExamples:\n  hoopoe channel add telegram --set-webhook < telegram.json\n  \
         hoopoe channel add wecom --bot support --stack hoopoe --profile shop < wecom.json\n  \
         hoopoe channel add webchat --stack hoopoe",
    );
    help
}

async fn list(stack: &stack::Stack, global: &Global) -> anyhow::Result<()> {
    let mut bots: BTreeMap<(Channel, BotId), u64> = BTreeMap::new();
    for stored in keys::tables(stack).await?.vault.list().await? {
        let current = stored.history.current().map_or(0, |current| current.number);
        let version = bots.entry((stored.key.channel, stored.key.bot)).or_default();
        *version = current.max(*version);
    }
    let mut rows = Vec::with_capacity(bots.len());
    for ((channel, bot), version) in bots {
        // The keys of a channel that is no longer deployed are still there.
        let webhook = stack.webhook(channel, bot.as_str()).ok();
        rows.push(json!({"channel": channel, "bot": bot, "version": version, "webhook": webhook}));
        if !global.json {
            let webhook = webhook.as_deref().unwrap_or("not in this stack");
            output::line(format_args!("{channel:<10} {bot:<16} version {version:<4} {webhook}"))?;
        }
    }
    if global.json {
        output::json(&rows)
    } else if rows.is_empty() {
        output::line(commands::complete("No bot is connected. `hoopoe channel add --help` shows how."))
    } else {
        Ok(())
    }
}
