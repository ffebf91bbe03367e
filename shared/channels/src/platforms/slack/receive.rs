//! What Slack posts, all of it to one URL: events as JSON, slash commands and presses of buttons as forms.
//!
//! Slack waits three seconds for a 2xx. An event that got none comes again nearly at once, after a minute and after
//! five, with the same `event_id` and a header `X-Slack-Retry-Num` ("The Events API",
//! <https://docs.slack.dev/apis/events-api/>). The header alone says nothing about whether the first delivery arrived,
//! so it is not looked at: the claim of the `event_id` tells. Commands and presses are not sent again.

use hoopoe_message::Timestamp;
use http::Method;
use http::header::CONTENT_TYPE;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{Slack, events, interaction};
use crate::contract::settings::exposed;
use crate::contract::webhook::{Received, Refusal, Request, Webhook, fresh};
use crate::crypto::signature::verify_hmac_hex;

const SIGNATURE: &str = "x-slack-signature";
const TIMESTAMP: &str = "x-slack-request-timestamp";

/// How far a request's timestamp may lie from now: "five minutes" in "Verifying requests from Slack"
/// (<https://docs.slack.dev/authentication/verifying-requests-from-slack>), either way in Slack's own SDKs.
const FRESH_SECONDS: u64 = 300;

/// What verifies a request, and what tells that it is for this bot.
#[derive(Debug, Deserialize, Serialize)]
pub struct WebhookKeys {
    /// A `response_url` may be below this as well.
    #[serde(default)]
    pub(super) api_base: Option<String>,
    /// The only app that is meant, where the settings name one.
    #[serde(default)]
    pub(super) app_id: Option<String>,
    /// What a channel's messages for the bot may begin with.
    #[serde(default)]
    pub(super) group_prefix: Option<String>,
    #[serde(serialize_with = "exposed")]
    pub(super) signing_secret: SecretString,
}

impl WebhookKeys {
    /// Checks which app a request is for.
    pub(super) fn check_app(&self, given: Option<&str>) -> Result<(), Refusal> {
        let meant = self.app_id.as_deref().is_none_or(|app| given == Some(app));
        if meant { Ok(()) } else { Err(Refusal::Forged("the request is for another app")) }
    }
}

impl Webhook for Slack {
    /// A message may have 40,000 characters, which an event holds twice, as `text` and in `blocks`, and escaped where they
    /// are not ASCII: 12 bytes for a Chinese one.
    const MAX_BODY: usize = 512 * 1024;

    type Keys = WebhookKeys;

    fn receive(keys: &WebhookKeys, request: &Request<'_>, now: Timestamp) -> Result<Received, Refusal> {
        if request.method != Method::POST {
            return Err(Refusal::Method);
        }
        verify(keys, request, now)?;
        let content_type = request.header(CONTENT_TYPE.as_str()).unwrap_or_default();
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json" => events::read(keys, request.body),
            "application/x-www-form-urlencoded" => interaction::read(keys, request.body),
            _ => Err(Refusal::Malformed("neither JSON nor a form")),
        }
    }
}

/// The signature is `v0=` and the hexadecimal HMAC-SHA256 of `v0:`, the timestamp, `:` and the raw body, keyed with
/// the signing secret ("Verifying requests from Slack").
fn verify(keys: &WebhookKeys, request: &Request<'_>, now: Timestamp) -> Result<(), Refusal> {
    let signature = request.header(SIGNATURE).ok_or(Refusal::Forged("the signature is missing"))?;
    let timestamp = request.header(TIMESTAMP).ok_or(Refusal::Forged("the timestamp is missing"))?;
    let given = signature.strip_prefix("v0=").ok_or(Refusal::Forged("the signature is of another version"))?;
    let secret = keys.signing_secret.expose_secret().as_bytes();
    verify_hmac_hex(secret, &[b"v0:", timestamp.as_bytes(), b":", request.body], given)?;
    fresh(timestamp.parse().map_err(|_| Refusal::Malformed("the timestamp is no number"))?, now, FRESH_SECONDS)
}
