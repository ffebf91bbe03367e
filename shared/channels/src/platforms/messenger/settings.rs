//! Setting up a Page.

use super::receive::WebhookKeys;
use super::send::SendKeys;
use crate::contract::settings::{self, Fields, InvalidSettings, StoredKeys};
use crate::platforms::meta::{self, API_BASE};

/// The settings of a Page.
#[derive(Debug)]
pub struct Settings {
    webhook: WebhookKeys,
    send: SendKeys,
}

impl settings::Settings for Settings {
    const FIELDS: &'static str =
        r#"{"app_secret", "verify_token", "page_access_token", "page_id"} and optionally "api_base""#;

    const ROTATION: &'static str = "\
1. app_secret signs what Meta posts, and is checked here; verify_token is checked when the URL is;
   page_access_token is what we send with.
2. page_access_token: several may be valid at once. Messenger API Settings > Generate access tokens
   > the Page > Generate, then do 5 and 6.
3. verify_token: invent one, do 5, enter it under Configure webhooks and press Verify and save, do
   6.
4. app_secret: App settings > Basic > App secret > Reset. Take it that Meta signs with the new one
   at once; it posts again what is refused meanwhile; do 5 and 6 without a pause.
5. hoopoe keys add messenger --bot <bot> < settings.json    (all fields, not the new ones alone)
6. hoopoe keys rotate messenger --bot <bot>    (tests the new version, then puts it in force)
";

    /// `app_secret` (App settings > Basic), `verify_token`, an invented one, `page_access_token` and `page_id`
    /// (Messenger API Settings); optionally `api_base`, the Graph API with its version.
    fn parse(json: &str) -> Result<Self, InvalidSettings> {
        let mut fields =
            Fields::read(json, &["app_secret", "verify_token", "page_access_token", "page_id", "api_base"])?;
        let (app_secret, verify_token) = meta::webhook_secrets(&mut fields)?;
        let page_access_token = meta::access_token(&mut fields, "page_access_token")?;
        let page_id = fields.digits("page_id", "has to be the Page's id, which is a number", meta::MAX_DIGITS)?;
        let api_base = fields.base_url("api_base")?;
        let webhook = WebhookKeys { app_secret, verify_token, page_id: page_id.clone() };
        Ok(Self { webhook, send: SendKeys { page_access_token, page_id, api_base } })
    }

    fn keys(&self) -> StoredKeys {
        StoredKeys::new(&self.webhook, &self.send)
    }

    fn console_steps(&self, webhook_url: &str) -> String {
        let base = self.send.api_base.as_deref().unwrap_or(API_BASE);
        format!(
            "\
1. Open https://developers.facebook.com/apps > the app > Use cases > Engage with customers on Messenger from Meta >
   Customize > Messenger API Settings (in older apps Messenger > Settings).
2. Under Configure webhooks, enter as Callback URL {webhook_url}
   and as Verify token the same verify_token as here, then press Verify and save: Meta checks the URL at once.
3. Under Generate access tokens, at the Page {id}, add the subscriptions messages and
   messaging_postbacks. The bot reads nothing else.
4. Give the Page a Get Started button, whose press is the bot's /start:
     curl -X POST {base}/me/messenger_profile -H 'Authorization: Bearer <page_access_token>' \\
       -H 'Content-Type: application/json' -d '{{\"get_started\":{{\"payload\":\"GET_STARTED\"}}}}'
5. Publish the app. Until App Review grants it advanced access to pages_messaging, it hears and answers only people who
   have a role in the app.
6. Open https://m.me/{id} and write.
",
            id = self.send.page_id,
        )
    }
}
