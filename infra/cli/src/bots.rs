//! Which bots there are: a command that names another one says so.

use std::collections::BTreeSet;

use anyhow::bail;
use hoopoe_keyring::{KeyName, Purpose, State, Stored, Vault};
use hoopoe_message::{BotId, Channel};

/// Refuses a bot that is not connected.
///
/// # Errors
///
/// Names the bots there are; or if the stack does not answer.
pub(crate) async fn require(vault: &Vault, channel: Channel, bot: &BotId) -> anyhow::Result<()> {
    for purpose in Purpose::ALL {
        let history = vault.history(&KeyName { channel, bot: bot.clone(), purpose }).await?;
        if history.versions().iter().any(|version| version.state != State::Destroyed) {
            return Ok(());
        }
    }
    bail!("{}", missing(&vault.list().await?, Some(channel), bot))
}

/// That there is no such bot, on a channel or on any, and which there are instead.
pub(crate) fn missing(stored: &[Stored], channel: Option<Channel>, bot: &BotId) -> String {
    let there = stored.iter().filter(|stored| channel.is_none_or(|channel| stored.key.channel == channel));
    let names: BTreeSet<String> = there
        .map(|Stored { key, .. }| match channel {
            Some(_) => key.bot.to_string(),
            None => format!("{}/{}", key.channel, key.bot),
        })
        .collect();
    let place = channel.map_or_else(String::new, |channel| format!(" on {channel}"));
    if names.is_empty() {
        let channel = channel.unwrap_or(Channel::Telegram);
        return format!(
            "there is no bot \"{bot}\"{place}, nor any other; `hoopoe channel add {channel} --bot {bot}` connects it"
        );
    }
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    format!("there is no bot \"{bot}\"{place}; there are: {names}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use hoopoe_keyring::History;

    #[test]
    fn a_bot_that_is_not_there_is_answered_with_those_that_are() {
        let stored = |channel, bot: &str, purpose| Stored {
            key: KeyName { channel, bot: bot.parse().expect("a name"), purpose },
            history: History::default(),
        };
        let all = [
            stored(Channel::Telegram, "main", Purpose::Send),
            stored(Channel::Telegram, "main", Purpose::Webhook),
            stored(Channel::Telegram, "shop", Purpose::Send),
            stored(Channel::Webchat, "main", Purpose::Webhook),
        ];
        let bot: BotId = "nosuch".parse().expect("a name");
        let said = missing(&all, Some(Channel::Telegram), &bot);
        assert_eq!(said, "there is no bot \"nosuch\" on telegram; there are: main, shop");
        let said = missing(&all, None, &bot);
        assert_eq!(said, "there is no bot \"nosuch\"; there are: telegram/main, telegram/shop, webchat/main");
        let said = missing(&all, Some(Channel::Line), &bot);
        assert!(said.contains("`hoopoe channel add line --bot nosuch` connects it"), "{said}");
    }
}
