//! Changing the secret token of a webhook, which needs nobody: it is invented, and Telegram is told it with `setWebhook`.
//!
//! [`renew`] makes the keys with another secret token. Once those are stored beside the ones in force, so that updates
//! are taken with either, [`SendKeys::webhook_info`] tells where Telegram posts and [`SendKeys::set_webhook`] has it send
//! the new token there. Updates that are on their way still carry the old one.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::receive::SECRET_TOKEN;
use super::{SendKeys, Telegram, WebhookKeys};
use crate::contract::rejection::{Rejection, Retry};
use crate::contract::rotation::ChosenKey;
use crate::contract::sender::{ApiRequest, Sender};
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

/// The secret token of the webhook.
pub(super) struct SecretToken;

/// The secret token in stored webhook keys.
fn secret_token(webhook: &[u8]) -> Option<SecretString> {
    Some(serde_json::from_slice::<WebhookKeys>(webhook).ok()?.secret_token)
}

fn send_keys(send: &[u8]) -> Option<SendKeys> {
    serde_json::from_slice(send).ok()
}

impl ChosenKey for SecretToken {
    fn renew(&self, webhook: &[u8], random: &str) -> Option<SecretString> {
        renew(webhook, random)
    }

    fn ask_url(&self, send: &[u8]) -> Option<ApiRequest> {
        send_keys(send)?.webhook_info().ok()
    }

    fn read_url(&self, status: StatusCode, body: &[u8]) -> Result<Option<String>, Rejection> {
        Ok(Some(read_webhook_info(status, body)?.url).filter(|url| !url.is_empty()))
    }

    fn set(&self, send: &[u8], url: &str, webhook: &[u8]) -> Option<ApiRequest> {
        send_keys(send)?.set_webhook(url, &secret_token(webhook)?).ok()
    }

    fn read_set(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), Rejection> {
        Telegram::outcome(status, headers, body)
    }

    /// An update of which the bot knows no kind.
    fn probe(&self, url: &str, webhook: &[u8]) -> Option<http::Request<String>> {
        let mut token = HeaderValue::from_str(secret_token(webhook)?.expose_secret()).ok()?;
        token.set_sensitive(true);
        let request = http::Request::post(url).header(SECRET_TOKEN, token).header(CONTENT_TYPE, "application/json");
        request.body(r#"{"update_id":0}"#.to_owned()).ok()
    }
}
