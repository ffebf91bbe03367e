//! Which channels the local stack has: all of them, or what `up --channels` chose last.
//!
//! `channels.json` in the state folder names the chosen ones. The web chat is always among them: `hoopoe ask` and
//! `hoopoe chat` speak through it.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use hoopoe_message::Channel;
use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::progress::line;

/// The channels of a stack, in the order of [`Channel::ALL`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct StackChannels(Vec<Channel>);

impl FromStr for StackChannels {
    type Err = <Channel as FromStr>::Err;

    /// Reads names with commas between them, or `all`.
    fn from_str(list: &str) -> Result<Self, Self::Err> {
        if list == "all" {
            return Ok(Self::all());
        }
        let named: Vec<Channel> = list.split(',').map(|name| name.trim().parse()).collect::<Result<_, _>>()?;
        let is_one = |channel: &Channel| named.contains(channel) || *channel == Channel::Webchat;
        Ok(Self(Channel::ALL.into_iter().filter(is_one).collect()))
    }
}

impl StackChannels {
    fn all() -> Self {
        Self(Channel::ALL.to_vec())
    }

    /// Those that are `asked` for, else those chosen before, else all. Says which, unless it is all.
    pub(super) fn choose(asked: Option<Self>, state: &Path) -> anyhow::Result<Self> {
        let chosen = match asked {
            Some(asked) => asked,
            None => Self::remembered(state)?.unwrap_or_else(Self::all),
        };
        if chosen != Self::all() {
            line("Channels", format_args!("{} (`hoopoe up --channels all` adds the others)", chosen.names()));
        }
        Ok(chosen)
    }

    /// Makes them the channels of the stack until others are chosen.
    pub(super) fn remember(&self, state: &Path) -> anyhow::Result<()> {
        atomic::write(&record(state), &serde_json::to_vec(self)?)
    }

    /// Those of `functions` that the stack has: a function that is no channel's serves them all.
    pub(super) fn of(&self, functions: Vec<String>) -> Vec<String> {
        let is_left_out = |function: &String| function.parse().is_ok_and(|channel| !self.0.contains(&channel));
        functions.into_iter().filter(|function| !is_left_out(function)).collect()
    }

    /// Their names as the template's parameter Channels takes them.
    pub(super) fn names(&self) -> String {
        self.0.iter().map(|channel| channel.as_str()).collect::<Vec<_>>().join(",")
    }

    fn remembered(state: &Path) -> anyhow::Result<Option<Self>> {
        let path = record(state);
        match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json)
                .map(Some)
                .with_context(|| format!("{} is damaged; `hoopoe up --channels LIST` writes it anew", path.display())),
            Err(_) => Ok(None),
        }
    }
}

fn record(state: &Path) -> PathBuf {
    state.join("channels.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(list: &str) -> StackChannels {
        list.parse().expect("channels")
    }

    #[test]
    fn a_list_is_read_in_any_order_and_has_the_web_chat() {
        assert_eq!(channels("webchat,telegram").names(), "telegram,webchat");
        assert_eq!(channels("slack, wecom").names(), "wecom,slack,webchat");
        assert_eq!(channels("all"), StackChannels::all());
        let error = "telegram,telgram".parse::<StackChannels>().expect_err("a typing error").to_string();
        assert!(error.contains("there is no channel \"telgram\"; the channels are wecom"), "{error}");
    }

    #[test]
    fn functions_of_other_channels_are_left_out() {
        let functions = ["inference", "slack", "telegram", "webchat"].map(str::to_owned).to_vec();
        assert_eq!(channels("telegram").of(functions), ["inference", "telegram", "webchat"]);
    }

    #[test]
    fn the_channels_that_were_chosen_stay() {
        let state = tempfile::tempdir().expect("a scratch folder");
        let choose = |asked: Option<&str>| StackChannels::choose(asked.map(channels), state.path()).expect("chosen");
        assert_eq!(choose(None), StackChannels::all());
        choose(Some("telegram")).remember(state.path()).expect("written");
        assert_eq!(choose(None).names(), "telegram,webchat");
        choose(Some("all")).remember(state.path()).expect("written");
        assert_eq!(choose(None), StackChannels::all());
        fs::write(record(state.path()), "{").expect("written");
        let error = StackChannels::choose(None, state.path()).expect_err("damaged").to_string();
        assert!(error.contains("--channels LIST` writes it anew"), "{error}");
    }
}
