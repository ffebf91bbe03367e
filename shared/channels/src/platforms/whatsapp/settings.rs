//! Setting up a business phone number.

use super::receive::WebhookKeys;
use super::send::SendKeys;
use crate::contract::settings::{self, Fields, InvalidSettings, StoredKeys};
use crate::platforms::meta::{self, API_BASE};

/// The settings of a business phone number.
#[derive(Debug)]
pub struct Settings {
    webhook: WebhookKeys,
    send: SendKeys,
}

impl settings::Settings for Settings {
    const FIELDS: &'static str =
        r#"{"app_secret", "verify_token", "access_token", "phone_number_id"} and optionally "api_base""#;

    const ROTATION: &'static str = "\
1. app_secret signs what Meta posts, and is checked here; verify_token is checked when the URL is;
   access_token is what we send with.
2. access_token: several may be valid at once. Generate one for another system user (Business
   settings > System users), do 5 and 6, then revoke that of the first.
3. verify_token: invent one, do 5, enter it under Configuration and press Verify and save, do 6.
4. app_secret: App settings > Basic > App secret > Reset. Take it that Meta signs with the new one
   at once; it posts again what is refused meanwhile; do 5 and 6 without a pause.
5. hoopoe keys add whatsapp --bot <bot> < settings.json    (all fields, not the new ones alone)
6. hoopoe keys rotate whatsapp --bot <bot>    (tests the new version, then puts it in force)
";

    /// `app_secret` (App settings > Basic), `verify_token`, an invented one, `access_token` of a system user, and
    /// `phone_number_id` (API Setup); optionally `api_base`, the Graph API with its version.
    fn parse(json: &str) -> Result<Self, InvalidSettings> {
        let mut fields =
            Fields::read(json, &["app_secret", "verify_token", "access_token", "phone_number_id", "api_base"])?;
        let (app_secret, verify_token) = meta::webhook_secrets(&mut fields)?;
        let access_token = meta::access_token(&mut fields, "access_token")?;
        let rule = "has to be the Phone number ID under API Setup, which is not the phone number";
        let phone_number_id = fields.digits("phone_number_id", rule, meta::MAX_DIGITS)?;
        let api_base = fields.base_url("api_base")?;
        let webhook = WebhookKeys { app_secret, verify_token, phone_number_id: phone_number_id.clone() };
        Ok(Self { webhook, send: SendKeys { access_token, phone_number_id, api_base } })
    }

    fn keys(&self) -> StoredKeys {
        StoredKeys::new(&self.webhook, &self.send)
    }

    fn console_steps(&self, webhook_url: &str) -> String {
        let base = self.send.api_base.as_deref().unwrap_or(API_BASE);
        format!(
            "\
1. Open https://developers.facebook.com/apps > the app > Use cases > Connect with customers through WhatsApp >
   Customize > Configuration (in older apps WhatsApp > Configuration).
2. Enter as Callback URL {webhook_url}
   and as Verify token the same verify_token as here, then press Verify and save: Meta checks the URL at once.
3. Under Webhook fields, subscribe to messages. The bot reads no other field.
4. Subscribe the app to the account that the number {id} belongs to:
     curl -X POST {base}/<WhatsApp Business account ID>/subscribed_apps -H 'Authorization: Bearer <access_token>'
5. Publish the app: until then Meta posts nothing but the dashboard's own tests.
6. Write to the number from WhatsApp.
",
            id = self.send.phone_number_id,
        )
    }
}
