//! Asking the platform which versions it accepts.

use hoopoe_keyring::{KeyName, Purpose};
use hoopoe_message::{BotId, Channel};
use hoopoe_rotation::platforms::Tested;
use hoopoe_rotation::rotation::{Ledger, needed_to_send};
use hoopoe_rotation::{HttpPlatforms, Platforms, http};
use serde_json::json;

use super::open::tables;
use crate::stack::Stack;
use crate::{Global, bots, output};

/// Tries each live version of a bot's keys and shows how often it was used.
///
/// # Errors
///
/// When the stack does not answer, or the platform refuses the version in force.
pub(super) async fn run(channel: &Channel, bot: &BotId, stack: &Stack, global: &Global) -> anyhow::Result<()> {
    let tables = tables(stack).await?;
    bots::require(&tables.vault, *channel, bot).await?;
    let platforms = HttpPlatforms::new(http::client()?);
    let mut rows = Vec::new();
    let mut refused = None;
    for purpose in Purpose::ALL {
        let key = KeyName { channel: *channel, bot: bot.clone(), purpose };
        let history = tables.history(&key).await?;
        let uses = tables.uses(&key).await?;
        let send = needed_to_send(&tables, &key).await?;
        for version in history.live() {
            let secret = tables.open(&key, version.number).await?;
            let tested = match platforms.test(&key, &secret, send.as_ref().map(|send| send.as_slice())).await {
                Ok(Tested::Accepted) => "accepted".to_owned(),
                Ok(Tested::NotTestable) => "not testable".to_owned(),
                Err(error) => {
                    if history.current() == Some(version) {
                        refused = Some(key.clone());
                    }
                    error.to_string()
                }
            };
            let used = uses.get(&version.number).copied().unwrap_or_default();
            if !global.json {
                output::line(format_args!(
                    "{:<28} version {:<4} {:<10} {tested}; while watched: accepted {} times, refused {}",
                    key.to_string(),
                    version.number,
                    version.state,
                    used.accepted,
                    used.refused
                ))?;
            }
            rows.push(json!({
                "key": key.to_string(), "version": version.number, "state": version.state.as_str(), "test": tested,
                "accepted": used.accepted, "refused": used.refused,
            }));
        }
    }
    if global.json {
        output::json(&rows)?;
    }
    anyhow::ensure!(
        !rows.is_empty(),
        "no version of the bot \"{bot}\" on {channel} is live; `hoopoe channel add {channel} --bot {bot}` stores new settings"
    );
    match refused {
        None => Ok(()),
        Some(key) => anyhow::bail!("the version of {key} in force does not work"),
    }
}
