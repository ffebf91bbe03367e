//! What a received message says to the bot ("接收消息内容",
//! `uAjLw4CM/ukTMukTMukTM/im-v1/message/events/message_content`).
//!
//! In groups a message is for the bot where it mentions the bot, starts with the configured prefix, or is a command.
//! With the permission im:message.group_at_msg:readonly Feishu posts only messages that mention it, so prefix and
//! command need the permission im:message.group_msg. Whose message a reply (`parent_id`) answers, Feishu does not say;
//! a reply to the bot is heard where it mentions the bot.

use hoopoe_message::{Command, Content};
use serde::Deserialize;
use serde_json::Value;

use super::receive::{Person, WebhookKeys};
use crate::contract::webhook::{Moment, Refusal};
use crate::text::group;

/// The `message` of an event.
#[derive(Deserialize)]
pub(super) struct Message {
    pub(super) message_id: String,
    pub(super) chat_id: String,
    pub(super) thread_id: Option<String>,
    #[serde(default)]
    pub(super) create_time: Moment,
    chat_type: String,
    message_type: String,
    /// JSON again, whose shape `message_type` tells.
    #[serde(default)]
    content: String,
    #[serde(default)]
    mentions: Option<Vec<Mention>>,
}

/// Somebody who is mentioned; the content names him by the key.
#[derive(Deserialize)]
struct Mention {
    #[serde(default)]
    key: String,
    id: Option<Person>,
    #[serde(default)]
    name: Option<String>,
    /// `user` or `bot`; older deployments leave it out.
    mentioned_type: Option<String>,
}

/// The words of a message, and whether there is something else beside them.
struct Written {
    text: String,
    media: bool,
}

impl Message {
    /// What the message says to the bot; `None` where it says nothing, or not to the bot.
    pub(super) fn content(&self, keys: &WebhookKeys) -> Result<Option<Content>, Refusal> {
        let group = self.chat_type != "p2p";
        let read = match self.message_type.as_str() {
            "text" => plain,
            "post" => post,
            // Told by the chat itself, such as that somebody joined it.
            "system" => return Ok(None),
            // Nothing can be written beside the others, so in a group they mention nobody.
            _ => return Ok((!group).then_some(Content::Unsupported)),
        };
        let content = serde_json::from_str(&self.content)
            .map_err(|_| Refusal::Malformed("the content of the message is no JSON"))?;
        let Written { text, media } = read(&content);
        let mentions = self.mentions.as_deref().unwrap_or_default();
        let ours: Vec<bool> = mentions.iter().enumerate().map(|(at, mention)| mention.is_bot(keys, at)).collect();
        let text = named(&text, mentions, &ours);
        let text = text.trim();
        let prefix = keys.group_prefix.as_deref().filter(|_| group);
        let called = prefix.and_then(|prefix| group::without_prefix(text, prefix));
        let text = called.unwrap_or(text);
        if group && called.is_none() && !ours.contains(&true) && Command::parse(text).is_none() {
            return Ok(None);
        }
        Ok(Some(group::said(text, media)))
    }
}

impl Mention {
    /// Whether this is the bot, or passes for it where the settings do not say which one it is.
    fn is_bot(&self, keys: &WebhookKeys, place: usize) -> bool {
        let Some(own) = &keys.bot_open_id else {
            return match self.mentioned_type.as_deref() {
                Some(kind) => kind == "bot",
                None => place == 0 && self.key != "@_all",
            };
        };
        self.id.as_ref().and_then(|id| id.open_id.as_ref()) == Some(own)
    }
}

/// A text message.
fn plain(content: &Value) -> Written {
    Written { text: content["text"].as_str().unwrap_or_default().to_owned(), media: false }
}

/// A rich text: a title, and paragraphs of nodes.
fn post(content: &Value) -> Written {
    let mut media = false;
    let mut lines = vec![content["title"].as_str().unwrap_or_default().to_owned()];
    for paragraph in content["content"].as_array().into_iter().flatten() {
        let mut line = String::new();
        for node in paragraph.as_array().into_iter().flatten() {
            match node["tag"].as_str() {
                // Holds a mention's key, as a text does.
                Some("at") => line.push_str(node["user_id"].as_str().unwrap_or_default()),
                Some("img" | "media") => media = true,
                _ => line.push_str(node["text"].as_str().unwrap_or_default()),
            }
        }
        lines.push(line);
    }
    Written { text: lines.join("\n"), media }
}

/// The text with names for the keys of mentions (`@_user_1`), and without those that are ours.
fn named(text: &str, mentions: &[Mention], ours: &[bool]) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("@_") {
        result.push_str(&rest[..at]);
        rest = &rest[at..];
        // The longest, because `@_user_1` is also the beginning of `@_user_12`.
        let meant =
            mentions.iter().zip(ours).filter(|(mention, _)| !mention.key.is_empty() && rest.starts_with(&mention.key));
        match meant.max_by_key(|(mention, _)| mention.key.len()) {
            Some((mention, true)) => rest = rest[mention.key.len()..].trim_start_matches(' '),
            Some((mention, false)) => {
                result.push('@');
                result.push_str(mention.name.as_deref().unwrap_or_default());
                rest = &rest[mention.key.len()..];
            }
            None => {
                result.push_str("@_");
                rest = &rest["@_".len()..];
            }
        }
    }
    result + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mention(key: &str, name: &str) -> Mention {
        Mention { key: key.into(), id: None, name: Some(name.into()), mentioned_type: None }
    }

    #[test]
    fn keys_become_names_once_and_only_where_they_are_keys() {
        let mentions = [
            mention("@_user_1", "Bot"),
            mention("@_user_2", "@_user_1"),
            mention("@_user_12", "Ada"),
            mention("", "x"),
        ];
        let ours = [true, false, false, false];
        for (text, expected) in [
            ("@_user_1 hello", "hello"),
            ("hello @_user_1  there", "hello there"),
            ("@_user_1hello", "hello"),
            ("@_user_12, ask @_user_2", "@Ada, ask @@_user_1"),
            ("@_user_3 @_ @_all a@_b", "@_user_3 @_ @_all a@_b"),
            ("你好@_user_1", "你好"),
            ("", ""),
        ] {
            assert_eq!(named(text, &mentions, &ours), expected, "{text}");
        }
    }
}
