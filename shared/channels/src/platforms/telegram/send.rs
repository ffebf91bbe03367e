//! What Telegram is told: `sendMessage` (<https://core.telegram.org/bots/api#sendmessage>).
//!
//! The text goes without a parse mode: it arrives as it was written, and no character of it can make Telegram refuse
//! the message.
//!
//! Quick replies are a reply keyboard. A press sends the button's text as an ordinary message of the person, so the
//! chat shows what was asked and the bot needs no second way in. An inline keyboard would hold 64 bytes a button
//! (`callback_data`; 21 Chinese characters), need an `answerCallbackQuery` call for each press, and stay behind
//! under old messages.

use std::time::Duration;

use hoopoe_message::{Reply, Timestamp};
use http::{HeaderMap, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{API_BASE, Settings, Telegram};
use crate::contract::address::address_of;
use crate::contract::rejection::{CheckRejection, Rejection, Retry};
use crate::contract::sender::{ApiRequest, Part, Sender, Unrenderable, suggestions};
use crate::contract::settings::exposed;
use crate::text::split::split;

/// "1-4096 characters after entities parsing". Telegram counts entities in UTF-16 units and says nothing else about
/// what a character is; no other way of counting gives more.
const MAX_TEXT_UTF16: usize = 4096;

/// What authorises a call.
#[derive(Debug, Deserialize, Serialize)]
pub struct SendKeys {
    #[serde(default)]
    pub(super) api_base: Option<String>,
    #[serde(serialize_with = "exposed")]
    pub(super) bot_token: SecretString,
}

impl SendKeys {
    /// The URL of a method; the token is part of it ("Making requests",
    /// <https://core.telegram.org/bots/api#making-requests>).
    pub(super) fn url(&self, method: &str) -> String {
        let base = self.api_base.as_deref().unwrap_or(API_BASE);
        format!("{base}/bot{}/{method}", self.bot_token.expose_secret())
    }

    /// Whose token it is: <https://core.telegram.org/bots/api#getme>, "a simple method for testing your bot's
    /// authentication token".
    pub(super) fn get_me(&self) -> http::Result<ApiRequest> {
        ApiRequest::get(&self.url("getMe"))
    }
}

impl Sender for Telegram {
    type Keys = SendKeys;

    /// `sendMessage` takes no key that would make Telegram drop a second one, so no part may be repeated.
    fn render(keys: &SendKeys, reply: &Reply, _now: Timestamp) -> Result<Vec<Part>, Unrenderable> {
        let address = address_of::<Self>(reply)?;
        let url = keys.url("sendMessage");
        let texts = split(&reply.text, MAX_TEXT_UTF16, char::len_utf16);
        let last = texts.len().saturating_sub(1);
        let parts = texts.iter().enumerate().map(|(at, text)| {
            let message = SendMessage {
                chat_id: address.chat,
                message_thread_id: address.thread,
                text,
                reply_parameters: address
                    .reply_to
                    .map(|message_id| ReplyParameters { message_id, allow_sending_without_reply: true }),
                reply_markup: (at == last).then(|| Keyboard::of(reply, address.reply_to.is_some())),
            };
            let body = serde_json::to_string(&message).expect("text and numbers serialise");
            Ok(Part::once(ApiRequest::post_json(&url, body)?))
        });
        parts.collect()
    }

    fn outcome(status: StatusCode, _headers: &HeaderMap, body: &[u8]) -> Result<(), Rejection> {
        let answer: Answer = serde_json::from_slice(body).map_err(|_| Rejection::of_status(status, "the Bot API"))?;
        if answer.ok {
            return Ok(());
        }
        let code = answer.error_code.unwrap_or(status.as_u16());
        let parameters = answer.parameters.unwrap_or_default();
        let (retry, hint) = match code {
            // "In a single chat, avoid sending more than one message per second … In a group, bots are not be able to send
            // more than 20 messages per minute" (https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this).
            // The answer does not tell whether it is this or the limit of the bot, which is far above most bots' quotas.
            429 => {
                let pause = parameters.retry_after.map(Duration::from_secs);
                (pause.map_or(Retry::Backoff, Retry::After), "")
            }
            500.. => (Retry::Backoff, ""),
            // "The only way to receive error with code 401 is to provide a wrong bot token" (tdlib/telegram-bot-api,
            // issue 80). A token that has not even the form of one, or another path, is 404.
            401 => (Retry::BadCredential, " (the bot token is not valid)"),
            404 => (Retry::Never, " (the bot token is not valid)"),
            400 if parameters.migrate_to_chat_id.is_some() => {
                (Retry::Never, " (the group became a supergroup and has a new id; its next message is answered there)")
            }
            _ => (Retry::Never, ""),
        };
        Err(Rejection::refused(format!("{code} {}{hint}", answer.description.unwrap_or_default()), retry))
    }

    fn check_request(keys: &SendKeys) -> Option<http::Result<ApiRequest>> {
        Some(keys.get_me())
    }

    fn read_check(status: StatusCode, _headers: &HeaderMap, body: &[u8]) -> Result<(), CheckRejection> {
        Settings::read_me(status, body)?;
        Ok(())
    }
}

#[derive(Serialize)]
struct SendMessage<'a> {
    chat_id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_thread_id: Option<i64>,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_parameters: Option<ReplyParameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_markup: Option<Keyboard<'a>>,
}

#[derive(Serialize)]
struct ReplyParameters {
    message_id: i64,
    /// The person may have deleted the question meanwhile.
    allow_sending_without_reply: bool,
}

/// `selective` shows it to the author of the quoted message alone: in a group it is one person's conversation.
#[derive(Serialize)]
#[serde(untagged)]
enum Keyboard<'a> {
    /// <https://core.telegram.org/bots/api#replykeyboardmarkup>
    Shown { keyboard: Vec<[Button<'a>; 1]>, resize_keyboard: bool, one_time_keyboard: bool, selective: bool },
    /// <https://core.telegram.org/bots/api#replykeyboardremove>: suggestions belong to the last answer only.
    Removed { remove_keyboard: bool, selective: bool },
}

#[derive(Serialize)]
struct Button<'a> {
    text: &'a str,
}

impl<'a> Keyboard<'a> {
    fn of(reply: &'a Reply, selective: bool) -> Self {
        let keyboard: Vec<_> = suggestions(reply).map(|text| [Button { text }]).collect();
        if keyboard.is_empty() {
            Self::Removed { remove_keyboard: true, selective }
        } else {
            Self::Shown { keyboard, resize_keyboard: true, one_time_keyboard: true, selective }
        }
    }
}

/// What every call is answered with ("Making requests").
#[derive(Deserialize)]
struct Answer {
    ok: bool,
    error_code: Option<u16>,
    description: Option<String>,
    parameters: Option<ResponseParameters>,
}

/// <https://core.telegram.org/bots/api#responseparameters>
#[derive(Default, Deserialize)]
struct ResponseParameters {
    retry_after: Option<u64>,
    migrate_to_chat_id: Option<i64>,
}
