//! Setting up an official account: its settings, and the call that tells LINE where to post.

use http::{HeaderMap, Method, StatusCode};
use serde_json::json;

use super::receive::WebhookKeys;
use super::send::{Answer, SendKeys};
use crate::contract::rejection::{Rejection, Retry};
use crate::contract::sender::ApiRequest;
use crate::contract::settings::{self, Fields, InvalidSettings, StoredKeys};
use crate::contract::setup::{Setup, SetupCall};

/// The settings of a Messaging API channel.
#[derive(Debug)]
pub struct Settings {
    webhook: WebhookKeys,
    send: SendKeys,
}

impl settings::Settings for Settings {
    const FIELDS: &'static str =
        r#"{"channel_secret", "channel_access_token"} and optionally "bot_user_id", "group_prefix", "api_base""#;

    const ROTATION: &'static str = "\
1. channel_secret signs what LINE posts, and is checked here; channel_access_token is what we send
   with.
2. channel_secret: Basic settings > Channel secret > Issue. The old one ends at once. With Webhook
   redelivery on, LINE posts again what is refused meanwhile; do 4 and 5 without a pause.
3. channel_access_token: Messaging API > Channel access token > Reissue, and let the old one be
   valid for 24 hours more; do 4 and 5 within these.
4. hoopoe keys add line --bot <bot> < settings.json    (all fields, not the new ones alone)
5. hoopoe keys rotate line --bot <bot>    (tests the new version, then puts it in force)
";

    /// `channel_secret` (the console's Basic settings tab) and `channel_access_token` (its Messaging API tab);
    /// optionally `bot_user_id`, with which events for another bot are refused, `group_prefix`, a word that calls the
    /// bot in groups beside its mention, and `api_base`, another server.
    fn parse(json: &str) -> Result<Self, InvalidSettings> {
        let known = ["channel_secret", "channel_access_token", "bot_user_id", "group_prefix", "api_base"];
        let mut fields = Fields::read(json, &known)?;
        let channel_secret = fields.required(
            "channel_secret",
            "has to be the Channel secret, up to 128 letters and digits",
            |secret| (1..=128).contains(&secret.len()) && secret.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        )?;
        let channel_access_token = fields.required(
            "channel_access_token",
            "has to be the long-lived Channel access token, in one line",
            |token| (1..=4096).contains(&token.len()) && token.bytes().all(is_token_byte),
        )?;
        let bot_user_id =
            fields.optional("bot_user_id", "has to be the bot's user ID: U and 32 of 0-9 and a-f", is_user_id)?;
        let group_prefix = fields.group_prefix()?;
        let api_base = fields.base_url("api_base")?;
        Ok(Self {
            webhook: WebhookKeys {
                channel_secret: channel_secret.into(),
                bot_user_id,
                group_prefix: group_prefix.clone(),
            },
            send: SendKeys { channel_access_token: channel_access_token.into(), group_prefix, api_base },
        })
    }

    const SETUPS: &'static [Setup] = &[Setup::Webhook];

    fn setup_calls(&self, setup: Setup, webhook_url: &str) -> Result<Vec<SetupCall<Self>>, InvalidSettings> {
        let call = || SetupCall {
            doing: "setting the webhook",
            about: "the webhook",
            request: self.set_webhook(webhook_url),
            read: |_: &mut Self, status, _: &HeaderMap, body: &[u8]| {
                Self::read_webhook(status, body).map(|()| "the webhook is set".to_owned())
            },
        };
        Ok((setup == Setup::Webhook).then(call).into_iter().collect())
    }

    fn keys(&self) -> StoredKeys {
        StoredKeys::new(&self.webhook, &self.send)
    }

    fn console_steps(&self, webhook_url: &str) -> String {
        let called = match &self.send.group_prefix {
            Some(prefix) => format!("mention it, or begin with {prefix}"),
            None => "mention it".to_owned(),
        };
        format!(
            "\
1. Open https://developers.line.biz/console/ > your provider > the channel > Messaging API. If the webhook was not set
   for you, press Edit under Webhook URL, enter
     {webhook_url}
   and press Update.
2. There, switch on Use webhook and Webhook redelivery, then press Verify: it has to say Success.
3. For groups, enable Allow bot to join group chats on the same page.
4. Press Edit beside Auto-reply messages and beside Greeting messages, which opens the LINE Official Account Manager, and
   switch both off: else LINE answers as well.
5. Scan the QR code of the Messaging API page with LINE, add the account as a friend, and ask something. In a group,
   {called}.
"
        )
    }
}

impl Settings {
    /// Tells LINE where to post: <https://developers.line.biz/en/reference/messaging-api/#set-webhook-endpoint-url>.
    /// [`Settings::read_webhook`] reads the answer. That the webhook is used at all is a switch in the console.
    ///
    /// # Errors
    ///
    /// Where the settings make no valid request.
    pub fn set_webhook(&self, webhook_url: &str) -> http::Result<ApiRequest> {
        let body = json!({ "endpoint": webhook_url }).to_string();
        ApiRequest::json(Method::PUT, &self.send.url("channel/webhook/endpoint"), body)?
            .authorized("Bearer", &self.send.channel_access_token)
    }

    /// Reads the answer to [`Settings::set_webhook`].
    ///
    /// # Errors
    ///
    /// What LINE says instead.
    pub fn read_webhook(status: StatusCode, body: &[u8]) -> Result<(), Rejection> {
        let answer: Answer =
            serde_json::from_slice(body).map_err(|_| Rejection::of_status(status, "the Messaging API"))?;
        let (retry, hint) = match status.as_u16() {
            200..300 => return Ok(()),
            400 => (Retry::Never, " (LINE takes https:// addresses of up to 500 characters)"),
            401 => (Retry::Never, " (the channel access token is not valid)"),
            _ => (Retry::of_status(status, &HeaderMap::new()), ""),
        };
        Err(Rejection::refused(format!("{} {}{hint}", status.as_u16(), answer.words()), retry))
    }
}

/// The characters of a bearer token (RFC 6750, 2.1).
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
}

/// "`U[0-9a-f]{32}`" ("Request body", <https://developers.line.biz/en/reference/messaging-api/#request-body>).
fn is_user_id(id: &str) -> bool {
    let digits = id.strip_prefix('U').unwrap_or_default();
    digits.len() == 32 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
