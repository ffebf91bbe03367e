//! What Slack is told: `chat.postMessage` (<https://docs.slack.dev/reference/methods/chat.postMessage>), and for one
//! person's eyes a `response_url` ("Handling user interaction",
//! <https://docs.slack.dev/interactivity/handling-user-interaction>) or `chat.postEphemeral`
//! (<https://docs.slack.dev/reference/methods/chat.postEphemeral>).
//!
//! The words are a `rich_text` block: its text elements show what they hold, while `mrkdwn` has no way to write a `*`
//! that stays one, and `plain_text` cannot be given a link that can be followed. Suggestions are buttons below; a
//! press shows nothing in the channel, but its answer comes where the button is.
//!
//! Beside blocks `text` is what notifications show. Alone, in the fallback for blocks that Slack refuses, it is the
//! message.

use std::time::Duration;

use hoopoe_message::{Reply, Timestamp};
use http::{HeaderMap, StatusCode};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::text::{self, Piece};
use super::{Address, Only, SUGGESTION, Slack};
use crate::contract::address::address_of;
use crate::contract::rejection::{CheckRejection, Rejection, Retry, SECOND, asked_pause, retry_after};
use crate::contract::sender::{ApiRequest, Part, Sender, Unrenderable, suggestions, with_numbered_suggestions};
use crate::contract::settings::exposed;
use crate::text::split::split;

/// Slack's own server of the Web API; GovSlack has another.
const API_BASE: &str = "https://slack.com/api";

/// Slack states no limit of a rich text. This is that of a section's text ("up to 3000 characters"), and far from
/// where all blocks of a message together are too long (about 13,000; slackapi/bolt-js issue 2509).
const MAX_TEXT_UTF16: usize = 3000;

/// A button's text and value ("Button element"), and how many buttons one block takes ("Actions block").
const MAX_LABEL: usize = 75;
const MAX_VALUE: usize = 2000;
const MAX_BUTTONS: usize = 25;

/// A `response_url` takes five messages within thirty minutes; one minute is left for the way.
const RESPONSES: usize = 5;
const RESPONSE_LIFETIME: Duration = Duration::from_secs(29 * 60);

/// What authorises a call.
#[derive(Debug, Deserialize, Serialize)]
pub struct SendKeys {
    #[serde(default)]
    pub(super) api_base: Option<String>,
    #[serde(serialize_with = "exposed")]
    pub(super) bot_token: SecretString,
}

impl SendKeys {
    fn call(&self, method: &str, body: &Value) -> http::Result<ApiRequest> {
        let url = format!("{}/{method}", self.api_base.as_deref().unwrap_or(API_BASE));
        post(&url, body)?.authorized("Bearer", &self.bot_token)
    }
}

/// Without the charset Slack takes the body all the same, and warns in each answer.
fn post(url: &str, body: &Value) -> http::Result<ApiRequest> {
    ApiRequest::post_json(url, body.to_string())?.header("content-type", "application/json; charset=utf-8")
}

impl Sender for Slack {
    type Keys = SendKeys;

    /// Slack documents no key that would make it drop a second message, so no part may be repeated.
    fn render(keys: &SendKeys, reply: &Reply, now: Timestamp) -> Result<Vec<Part>, Unrenderable> {
        let address = address_of::<Self>(reply)?;
        let in_time = now.since(reply.received_at) < RESPONSE_LIFETIME;
        let texts = split(&reply.text, MAX_TEXT_UTF16, char::len_utf16);
        let last = texts.len().saturating_sub(1);
        let parts = texts.iter().enumerate().map(|(at, text)| {
            let words = Words::of(reply, text, at == last);
            let (request, fallback) = match &address.only {
                None => (keys.message(&address, words.formatted())?, keys.message(&address, words.plain())?),
                Some(only) => {
                    let url = only.response_url.as_ref().filter(|_| in_time && at < RESPONSES);
                    let request = match url {
                        Some(url) => response(url, words.formatted())?,
                        None => keys.ephemeral(&address, only, words.formatted())?,
                    };
                    (request, keys.ephemeral(&address, only, words.plain())?)
                }
            };
            Ok(Part { request, fallback: Some(fallback), repeatable_for: None, fallback_repeatable_for: None })
        });
        parts.collect()
    }

    /// The Web API answers 200 and says in the body what is wrong; only a `response_url` that takes nothing more (404
    /// `used_url`, 410 `expired_url`) answers 4xx, and then there is the fallback.
    fn outcome(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), Rejection> {
        let answer = Answer::read(body);
        if status.is_success() && answer.ok {
            return Ok(());
        }
        let Some(error) = answer.error else {
            return Err(Rejection::of_status_or_fallback(status, headers, "Slack"));
        };
        let (retry, hint) = match error.as_str() {
            // "chat.postMessage generally allows posting one message per second per channel, while also maintaining a
            // workspace-wide limit" (https://docs.slack.dev/apis/web-api/rate-limits): the answer does not tell which of
            // them it was, and a busy channel must not stop the others.
            "ratelimited" | "rate_limited" => {
                let asked = asked_pause(headers, http::header::RETRY_AFTER.as_str());
                (Retry::After(asked.unwrap_or(SECOND)), "")
            }
            "message_limit_exceeded" => (retry_after(headers), ""),
            "fatal_error" | "internal_error" | "request_timeout" | "service_unavailable" | "team_added_to_org" => {
                (Retry::Backoff, "")
            }
            "invalid_blocks" | "invalid_blocks_format" | "msg_blocks_too_long" | "msg_too_long" => {
                (Retry::Fallback, "")
            }
            "invalid_auth" | "not_authed" | "token_revoked" | "account_inactive" => {
                (Retry::BadCredential, " (install the app to the workspace again and store its bot token)")
            }
            "token_expired" => (Retry::BadCredential, " (turn token rotation off and store the new bot token)"),
            "missing_scope" => (Retry::Never, " (give the app the scopes of its manifest and install it again)"),
            "not_in_channel" | "channel_not_found" | "no_permission" => {
                (Retry::Never, " (invite the bot to the channel; a channel of another workspace is out of its reach)")
            }
            "user_not_in_channel" => (Retry::Never, " (the person left the channel)"),
            "is_archived" | "channel_is_archived" => (Retry::Never, " (the channel is archived)"),
            "messages_tab_disabled" => (Retry::Never, " (turn the Messages Tab of App Home on)"),
            "restricted_action" => (Retry::Never, " (the workspace does not let the bot post there)"),
            _ => match Retry::of_status(status, headers) {
                Retry::Never if status.is_client_error() => (Retry::Fallback, ""),
                retry => (retry, ""),
            },
        };
        Err(Rejection::refused(format!("{error}{hint}"), retry))
    }

    /// <https://docs.slack.dev/reference/methods/auth.test>, which needs no scope.
    fn check_request(keys: &SendKeys) -> Option<http::Result<ApiRequest>> {
        Some(keys.call("auth.test", &json!({})))
    }

    fn read_check(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), CheckRejection> {
        Ok(Self::outcome(status, headers, body)?)
    }
}

impl SendKeys {
    /// A message that everyone in the channel sees. `parse` is off unless asked for, so that `@here` stays a word.
    fn message(&self, address: &Address, words: Value) -> http::Result<ApiRequest> {
        let mut body = merged(
            words,
            json!({
                "channel": address.channel,
                "mrkdwn": false,
                "link_names": false,
                "unfurl_links": false,
                "unfurl_media": false,
            }),
        );
        if let Some(thread) = &address.thread {
            body["thread_ts"] = thread.as_str().into();
        }
        self.call("chat.postMessage", &body)
    }

    /// A message that one person sees. The method knows no `mrkdwn`: without blocks, a `*` may be taken for a sign.
    fn ephemeral(&self, address: &Address, only: &Only, words: Value) -> http::Result<ApiRequest> {
        let receiver = json!({ "channel": address.channel, "user": only.user, "link_names": false });
        self.call("chat.postEphemeral", &merged(words, receiver))
    }
}

/// A message for the person who used the command or pressed the button. The URL itself is what authorises it.
fn response(url: &str, words: Value) -> http::Result<ApiRequest> {
    let kind = json!({ "response_type": "ephemeral", "replace_original": false, "mrkdwn": false });
    post(url, &merged(words, kind))
}

fn merged(mut words: Value, more: Value) -> Value {
    if let (Value::Object(words), Value::Object(more)) = (&mut words, more) {
        words.extend(more);
    }
    words
}

/// What one part says.
struct Words<'a> {
    text: &'a str,
    /// The whole reply, in the part that has its suggestions.
    offering: Option<&'a Reply>,
}

impl<'a> Words<'a> {
    fn of(reply: &'a Reply, text: &'a str, last: bool) -> Self {
        Self { text, offering: Some(reply).filter(|_| last) }
    }

    fn formatted(&self) -> Value {
        let elements: Vec<_> = text::pieces(self.text)
            .into_iter()
            .map(|piece| match piece {
                Piece::Words(words) => json!({ "type": "text", "text": words }),
                Piece::Link(url) => json!({ "type": "link", "url": url }),
            })
            .collect();
        let section = json!({ "type": "rich_text_section", "elements": elements });
        let mut blocks = vec![json!({ "type": "rich_text", "elements": [section] })];
        let buttons: Vec<_> = self.offering.into_iter().flat_map(buttons).collect();
        if !buttons.is_empty() {
            blocks.push(json!({ "type": "actions", "elements": buttons }));
        }
        json!({ "text": text::escape(self.text), "blocks": blocks })
    }

    /// Without buttons the suggestions are numbered lines.
    fn plain(&self) -> Value {
        let whole = self.offering.map(|reply| Reply { text: self.text.to_owned(), ..reply.clone() });
        let text = whole.as_ref().map_or_else(|| self.text.to_owned(), with_numbered_suggestions);
        json!({ "text": text::escape(&text) })
    }
}

fn buttons(reply: &Reply) -> impl Iterator<Item = Value> {
    let offered = suggestions(reply).filter(|text| text.encode_utf16().count() <= MAX_VALUE).take(MAX_BUTTONS);
    offered.enumerate().map(|(number, text)| {
        json!({
            "type": "button",
            "action_id": format!("{SUGGESTION}{number}"),
            "text": { "type": "plain_text", "text": label(text), "emoji": false },
            "value": text,
        })
    })
}

/// The text as a button shows it; what is too long ends in `…`.
fn label(text: &str) -> String {
    let size = |text: &str| text.encode_utf16().count();
    let whole = text::escape(text);
    if size(&whole) <= MAX_LABEL {
        return whole;
    }
    let mut label = String::new();
    for character in text.chars().map(|character| text::escape(character.encode_utf8(&mut [0; 4]))) {
        if size(&label) + size(&character) >= MAX_LABEL {
            break;
        }
        label.push_str(&character);
    }
    label.push('…');
    label
}

/// What a call is answered with: JSON by the Web API, JSON or a bare word by a `response_url`.
#[derive(Default, Deserialize)]
struct Answer {
    ok: bool,
    error: Option<String>,
}

impl Answer {
    fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_else(|_| {
            let is_word = |word: &&str| {
                (1..=64).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            };
            match std::str::from_utf8(body).map(str::trim).ok().filter(is_word) {
                Some("ok") => Self { ok: true, error: None },
                word => Self { ok: false, error: word.map(str::to_owned) },
            }
        })
    }
}
