//! Setting up an Azure Bot.

use hoopoe_message::CommandSpec;

use super::cloud::Cloud;
use super::receive::WebhookKeys;
use super::send::SendKeys;
use crate::contract::settings::{self, Fields, InvalidSettings, StoredKeys, is_visible};
use crate::text::enumerated;

/// The settings of a bot.
#[derive(Debug)]
pub struct Settings {
    webhook: WebhookKeys,
    send: SendKeys,
}

impl settings::Settings for Settings {
    const FIELDS: &'static str = r#"{"app_id", "app_password"} and optionally "tenant_id", "cloud", "api_base""#;

    const ROTATION: &'static str = "\
1. app_password is what we send with. Nothing stored here proves what Teams posts: Microsoft signs
   it with keys that it publishes and changes by itself.
2. Several client secrets may be valid at once. Open the Azure portal > App registrations > the app
   with app_id > Certificates & secrets > New client secret, and copy its Value as app_password.
3. hoopoe keys add teams --bot <bot> < settings.json    (all fields, not the new ones alone)
4. hoopoe keys rotate teams --bot <bot>    (tests the new version, then puts it in force)
5. Delete the old client secret on the page of 2.
";

    /// `app_id`, the bot's Microsoft App ID, and `app_password`, the value of a client secret of it; `tenant_id` where
    /// the bot is a single-tenant one, which all are that were made since August 2025: it then answers people of this
    /// tenant alone. Optionally `cloud` (`public` unless it is `usgov` or `usgovdod`) and `api_base`, a server that
    /// stands for all of Microsoft's, for tests.
    fn parse(json: &str) -> Result<Self, InvalidSettings> {
        let mut fields = Fields::read(json, &["app_id", "app_password", "tenant_id", "cloud", "api_base"])?;
        let app_id = fields.required(
            "app_id",
            "has to be the Microsoft App ID, such as 0f8fad5b-d9cb-469f-a165-70867728950e",
            is_guid,
        )?;
        let app_password = fields.required(
            "app_password",
            "has to be the Value of a client secret, up to 256 letters, digits and signs",
            |password| is_visible(password, 1..=256),
        )?;
        let tenant_id = fields.optional(
            "tenant_id",
            "has to be the Directory (tenant) ID, such as 7c9e6679-7425-40de-944b-e07fc1f90ae7",
            is_guid,
        )?;
        let cloud = fields
            .optional("cloud", "has to be public, usgov or usgovdod", |name| Cloud::named(name).is_some())?
            .and_then(|name| Cloud::named(&name))
            .unwrap_or_default();
        let api_base = fields.base_url("api_base")?;
        let lower = |id: String| id.to_ascii_lowercase();
        let (app_id, tenant_id) = (lower(app_id), tenant_id.map(lower));
        let webhook = WebhookKeys {
            app_id: app_id.clone(),
            tenant_id: tenant_id.clone(),
            cloud,
            openid_url: api_base.as_ref().map(|base| format!("{base}/v1/.well-known/openidconfiguration")),
            api_base: api_base.clone(),
        };
        let send = SendKeys { app_id, app_password: app_password.into(), tenant_id, cloud, api_base };
        Ok(Self { webhook, send })
    }

    fn keys(&self) -> StoredKeys {
        StoredKeys::new(&self.webhook, &self.send)
    }

    fn console_steps(&self, webhook_url: &str) -> String {
        let portal = match self.send.cloud {
            Cloud::Public => "https://portal.azure.com",
            Cloud::UsGov | Cloud::UsGovDod => "https://portal.azure.us",
        };
        format!(
            "\
1. Open {portal} > the Azure Bot with the Microsoft App ID
   {app_id} > Settings > Configuration, enter as Messaging endpoint
   {webhook_url}
   and press Apply.
2. Settings > Channels > Microsoft Teams: agree to the terms, choose the Teams of your cloud, press Apply.
3. Open https://dev.teams.microsoft.com/apps > the app > App features > Bot > Enter a bot ID, enter the Microsoft App ID,
   choose the scopes Personal, Team and Group Chat, and press Save. Under Commands add
   {commands} for each scope.
4. Leave Permissions without ChannelMessage.Read.Group and ChatMessage.Read.Chat: with them Teams sends every message
   of a chat, and at times leaves out the mention by which the bot knows that it is meant.
5. Publish > Publish to org, or download the app package and upload it in Teams under Apps > Manage your apps.
6. In Teams open the app, press Add, and ask something.
",
            app_id = self.send.app_id,
            commands = enumerated(CommandSpec::told().flat_map(CommandSpec::usages)),
        )
    }
}

/// Whether a text is a GUID in its usual form.
fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
