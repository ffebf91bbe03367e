//! Slash commands ("Implementing slash commands", <https://docs.slack.dev/interactivity/implementing-slash-commands>)
//! and presses of the bot's buttons ("block_actions payload",
//! <https://docs.slack.dev/reference/interaction-payloads/block_actions-payload>).
//!
//! Both come as forms and carry a `response_url`, which posts to where they were made. A slash command works in every
//! channel, so its answer is for its author's eyes: nobody else saw what was asked, and the bot may be a guest there.

use std::borrow::Cow;
use std::collections::HashMap;

use hoopoe_message::{CommandSpec, Content, MessageId};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::receive::WebhookKeys;
use super::{Address, Only, SUGGESTION, Slack, text};
use crate::contract::webhook::{Incoming, Moment, Received, Refusal, chat, message_id};

/// Where Slack's `response_url`s are.
const HOOKS: &str = "https://hooks.slack.com/";

/// A `response_url` has about 80; what is far longer is none.
const MAX_URL_BYTES: usize = 512;

type Form = HashMap<String, String>;

/// Reads the body of a verified request.
pub(super) fn read(keys: &WebhookKeys, body: &[u8]) -> Result<Received, Refusal> {
    let form = form(body)?;
    if let Some(payload) = form.get("payload") {
        let interaction = serde_json::from_str(payload).map_err(|_| Refusal::Malformed("not an interaction"))?;
        match interaction {
            Interaction::BlockActions(press) => read_press(keys, *press),
            Interaction::Other => Ok(Received::one(None)),
        }
    } else if form.contains_key("command") {
        read_command(keys, &form)
    } else if form.contains_key("ssl_check") {
        // Slack only looks at the certificate of the URL, and says so.
        Ok(Received::one(None))
    } else {
        Err(Refusal::Malformed("neither a command nor an interaction"))
    }
}

fn form(body: &[u8]) -> Result<Form, Refusal> {
    let malformed = |_| Refusal::Malformed("not a form of UTF-8");
    let decoded = |text: &str| -> Result<String, Refusal> {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8().map(Cow::into_owned).map_err(malformed)
    };
    let pairs = std::str::from_utf8(body).map_err(malformed)?.split('&');
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(name)?, decoded(value)?))
        })
        .collect()
}

fn read_command(keys: &WebhookKeys, form: &Form) -> Result<Received, Refusal> {
    keys.check_app(form.get("api_app_id").map(String::as_str))?;
    let field = |name| form.get(name).filter(|value| !value.is_empty()).ok_or(Refusal::Malformed("a field is missing"));
    let (channel, user) = (field("channel_id")?, field("user_id")?);
    let id = message_id(field("trigger_id")?)?;
    // The manifest asks for unescaped texts; where the app has it otherwise, this undoes it.
    let words = text::heard(form.get("text").map_or("", String::as_str), None).words;
    let response_url = form.get("response_url").filter(|url| keys.is_response_url(url)).cloned();
    let only = Some(Only { user: user.clone(), response_url });
    let address = Address { channel: channel.clone(), thread: None, only };
    let content = Content::text(&command(&words));
    // Slack does not say when, and does not repeat it.
    Ok(Received::one(Some(Incoming::new::<Slack>(id, chat(&[channel, user]), address, content))))
}

/// What `/hoopoe <words>` says: `help`, `new` and `lang zh` steer the bot where nothing follows them, else it is a
/// question that happens to begin so.
fn command(words: &str) -> Cow<'_, str> {
    let steering = match words.split_whitespace().collect::<Vec<_>>()[..] {
        [] => return "/help".into(),
        [name] => CommandSpec::named(name),
        [name, _] => CommandSpec::named(name).filter(|command| command.argument.is_some()),
        _ => None,
    };
    if steering.is_some() { format!("/{words}").into() } else { words.into() }
}

fn read_press(keys: &WebhookKeys, press: Press) -> Result<Received, Refusal> {
    keys.check_app(press.api_app_id.as_deref())?;
    // One press, one action.
    let ours = press.actions.iter().find(|action| action.action_id.starts_with(SUGGESTION));
    let (Some(action), Some(user)) = (ours, &press.user) else { return Ok(Received::one(None)) };
    let id = match (&press.trigger_id, &action.action_ts) {
        (Some(trigger), _) => message_id(trigger)?,
        (None, Some(time)) => message_id(&format!("{time}:{}", action.action_id))?,
        (None, None) => return Err(Refusal::Malformed("a press has no id")),
    };
    let words = action.value.as_deref().map(text::unescape).unwrap_or_default();
    let sent_at = action.action_ts.as_deref().and_then(|time| Moment::of_text(time).0);
    Ok(Received::one(press.told(keys, id, &user.id, words.trim()).map(|message| message.at(sent_at))))
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Interaction {
    BlockActions(Box<Press>),
    /// Shortcuts and views, which the app has none of.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Press {
    api_app_id: Option<String>,
    trigger_id: Option<String>,
    user: Option<Named>,
    channel: Option<Named>,
    #[serde(default)]
    container: Container,
    /// Not there where it is ephemeral.
    message: Option<Pressed>,
    response_url: Option<String>,
    #[serde(default)]
    actions: Vec<Action>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

#[derive(Default, Deserialize)]
struct Container {
    #[serde(default)]
    is_ephemeral: bool,
}

/// The message that has the button.
#[derive(Deserialize)]
struct Pressed {
    ts: Option<String>,
    thread_ts: Option<String>,
}

#[derive(Deserialize)]
struct Action {
    action_id: String,
    value: Option<String>,
    action_ts: Option<String>,
}

impl Press {
    fn told(&self, keys: &WebhookKeys, id: MessageId, user: &str, words: &str) -> Option<Incoming> {
        let channel = self.channel.as_ref().map(|channel| channel.id.clone()).filter(|_| !words.is_empty())?;
        let chat = chat(&[&channel, user]);
        let (thread, only) = if self.container.is_ephemeral {
            let response_url = self.response_url.clone().filter(|url| keys.is_response_url(url));
            (None, Some(Only { user: user.to_owned(), response_url }))
        } else {
            // Ids of direct messages begin with D, and only these are answered beside a message.
            let pressed = self.message.as_ref();
            let begun = pressed.and_then(|message| message.ts.clone()).filter(|_| !channel.starts_with('D'));
            (pressed.and_then(|message| message.thread_ts.clone()).or(begun), None)
        };
        Some(Incoming::new::<Slack>(id, chat, Address { channel, thread, only }, Content::text(words)))
    }
}

impl WebhookKeys {
    /// Whether what a person is told may be posted there.
    fn is_response_url(&self, url: &str) -> bool {
        let below = |base: &str| url.strip_prefix(base).is_some_and(|rest| rest.starts_with('/'));
        url.len() <= MAX_URL_BYTES
            && url.parse::<http::Uri>().is_ok()
            && (url.starts_with(HOOKS) || self.api_base.as_deref().is_some_and(below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_steers_only_where_nothing_follows_it() {
        for (words, says) in [
            ("", "/help"),
            (" ", "/help"),
            ("help", "/help"),
            ("NEW", "/NEW"),
            ("lang zh", "/lang zh"),
            ("lang", "/lang"),
            ("/lang en", "/lang en"),
            ("help me with my order", "help me with my order"),
            ("new password", "new password"),
            ("lang zh please", "lang zh please"),
            ("where's my parcel?", "where's my parcel?"),
        ] {
            assert_eq!(command(words), says, "{words:?}");
        }
    }

    #[test]
    fn replies_go_to_slack_alone() {
        let keys = |api_base: Option<&str>| -> WebhookKeys {
            serde_json::from_value(serde_json::json!({ "signing_secret": "s", "api_base": api_base })).expect("keys")
        };
        let elsewhere = keys(Some("http://127.0.0.1:9000/api"));
        assert!(elsewhere.is_response_url("http://127.0.0.1:9000/api/commands/1"));
        assert!(elsewhere.is_response_url("https://hooks.slack.com/commands/T1/2/x"));
        for url in [
            "http://hooks.slack.com/commands/T1/2/x",
            "https://hooks.slack.com.evil.example/commands",
            "https://hooks.slack.com@evil.example/",
            "https://evil.example/?https://hooks.slack.com/",
            "http://127.0.0.1:9000/apis",
            "http://127.0.0.1:9000/api",
            "https://hooks.slack.com/a b",
            &format!("{HOOKS}{}", "x".repeat(MAX_URL_BYTES)),
            "",
        ] {
            assert!(!elsewhere.is_response_url(url), "{url}");
        }
        assert!(!keys(None).is_response_url("http://127.0.0.1:9000/api/commands/1"));
    }
}
