//! Changing the secret token of a webhook, which needs nobody: it is invented, and Telegram is told it with `setWebhook`.
//!
//! [`renew`] makes the keys with another secret token. Once those are stored beside the ones in force, so that updates
//! are taken with either, [`SendKeys::webhook_info`] tells where Telegram posts and [`SendKeys::set_webhook`] has it send
//! the new token there. Updates that are on their way still carry the old one.

use http::{HeaderMap, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{SendKeys, Telegram, WebhookKeys};
use crate::contract::sender::{ApiRequest, Rejection, Retry, Sender};
use crate::contract::settings::{exposed, is_invented, secret_json};

/// What Telegram is asked to post; everything else would be acknowledged and dropped.
pub(super) const ALLOWED_UPDATES: [&str; 2] = ["message", "my_chat_member"];

/// How many updates Telegram may post at once, which is also its default. Each is one short invocation, and the
/// updates of one chat come one after the other anyway.
const MAX_CONNECTIONS: u8 = 40;

/// Where Telegram posts.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct WebhookInfo {
    /// The URL; empty where no webhook is set.
    pub url: String,
}

/// Stored webhook keys, all but the secret token as they are.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(serialize_with = "exposed")]
    secret_token: SecretString,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Stored webhook keys with another secret token, and all else as it was; `None` where these are no webhook keys of
/// Telegram, or `secret_token` is nothing that Telegram takes: 1 to 256 characters of A-Z, a-z, 0-9, _ and -.
#[must_use]
pub fn renew(webhook: &[u8], secret_token: &str) -> Option<SecretString> {
    serde_json::from_slice::<WebhookKeys>(webhook).ok().filter(|_| is_invented(secret_token))?;
    let stored: Stored = serde_json::from_slice(webhook).ok()?;
    let renewed = Stored { secret_token: secret_token.into(), ..stored };
    secret_json(&renewed).ok()
}

impl SendKeys {
    /// Asks Telegram where it posts: <https://core.telegram.org/bots/api#getwebhookinfo>. [`read_webhook_info`] reads
    /// the answer.
    ///
    /// # Errors
    ///
    /// Where the keys make no valid URL.
    pub fn webhook_info(&self) -> http::Result<ApiRequest> {
        ApiRequest::get(&self.url("getWebhookInfo"))
    }

    /// Tells Telegram where to post and which secret to send along: <https://core.telegram.org/bots/api#setwebhook>.
    /// [`Telegram::outcome`](Sender::outcome) reads the answer.
    ///
    /// # Errors
    ///
    /// Where the keys make no valid URL.
    pub fn set_webhook(&self, url: &str, secret_token: &SecretString) -> http::Result<ApiRequest> {
        let body = json!({
            "url": url,
            "secret_token": secret_token.expose_secret(),
            "allowed_updates": ALLOWED_UPDATES,
            "max_connections": MAX_CONNECTIONS,
        });
        ApiRequest::post_json(&self.url("setWebhook"), body.to_string())
    }
}

/// Reads the answer to [`SendKeys::webhook_info`].
///
/// # Errors
///
/// What Telegram says instead.
pub fn read_webhook_info(status: StatusCode, body: &[u8]) -> Result<WebhookInfo, Rejection> {
    #[derive(Deserialize)]
    struct Answer {
        result: WebhookInfo,
    }
    Telegram::outcome(status, &HeaderMap::new(), body)?;
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|_| Rejection::refused("getWebhookInfo named no webhook", Retry::Never))?;
    Ok(answer.result)
}
