//! Setting up an application.

use secrecy::SecretString;

use super::is_snowflake;
use super::receive::WebhookKeys;
use super::send::SendKeys;
use crate::contract::settings::{self, Fields, InvalidSettings, StoredKeys, is_visible};
use crate::contract::setup::{Setup, SetupCall};

/// The settings of an application.
#[derive(Debug)]
pub struct Settings {
    webhook: WebhookKeys,
    /// For [`Settings::register_commands`] alone, and not among the keys to store.
    pub(super) bot_token: Option<SecretString>,
    pub(super) send: SendKeys,
}

impl settings::Settings for Settings {
    const FIELDS: &'static str = r#"{"application_id", "public_key"} and optionally "bot_token", "api_base""#;

    const ROTATION: &'static str = "\
1. public_key is no secret: Discord signs what it posts with the key behind it, made with the
   application, and offers no other. It is checked here. What we send with is in each interaction,
   so nothing is stored for sending.
2. bot_token: Bot > Reset Token, at any time. It is not stored; give the new one with the next
   --register-commands.
3. Should General Information ever show another Public Key, enter it as public_key and do, without a
   pause:
   hoopoe keys add discord --bot <bot> < settings.json    (all fields, not the new ones alone)
   hoopoe keys rotate discord --bot <bot>    (tests the new version, then puts it in force)
";

    const HAS_SECRETS: bool = false;

    /// `application_id` and `public_key` (General Information); optionally `bot_token` (Bot), to register the commands,
    /// and `api_base`, another server of the API.
    fn parse(json: &str) -> Result<Self, InvalidSettings> {
        let mut fields = Fields::read(json, &["application_id", "public_key", "bot_token", "api_base"])?;
        let application_id =
            fields.required("application_id", "has to be the Application ID in quotes, 17 to 20 digits", |id| {
                id.len() >= 17 && is_snowflake(id)
            })?;
        let public_key = fields.required("public_key", "has to be the Public Key, 64 hexadecimal digits", |key| {
            key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit())
        })?;
        let bot_token =
            fields.optional("bot_token", "has to be the token of the Bot page, without \"Bot \"", |token| {
                is_visible(token, 1..=256)
            })?;
        let api_base = fields.base_url("api_base")?;
        Ok(Self {
            webhook: WebhookKeys { application_id: application_id.clone(), public_key: public_key.into() },
            bot_token: bot_token.map(Into::into),
            send: SendKeys { application_id, api_base },
        })
    }

    const SETUPS: &'static [Setup] = &[Setup::Commands];

    fn setup_calls(&self, setup: Setup, _webhook_url: &str) -> Result<Vec<SetupCall<Self>>, InvalidSettings> {
        if setup != Setup::Commands {
            return Ok(Vec::new());
        }
        if !self.has_bot_token() {
            return Err(InvalidSettings::Missing("bot_token"));
        }
        Ok(vec![SetupCall {
            doing: "registering the commands",
            about: "the commands",
            request: self.register_commands(),
            read: |_, status, _, body| {
                Self::read_commands(status, body).map(|count| format!("{count} commands are registered"))
            },
        }])
    }

    fn keys(&self) -> StoredKeys {
        StoredKeys::new(&self.webhook, &self.send)
    }

    fn console_steps(&self, webhook_url: &str) -> String {
        format!(
            "\
1. Open https://discord.com/developers/applications/{id}/information, enter as Interactions Endpoint URL
     {webhook_url}
   and press Save Changes: Discord checks the URL at once, with a good signature and a bad one.
2. If the commands were not registered for you, do this again with the bot_token of the Bot page in the settings and
   --register-commands. The token is used once and not stored.
3. Under Installation choose where the bot may be installed; for Guild Install add the scope bot besides
   applications.commands, so that people can also write to it in private.
4. Open https://discord.com/oauth2/authorize?client_id={id}&scope=bot+applications.commands&permissions=0
   and add the bot to a server.
5. In a channel there, or in private with the bot, type /ask.
",
            id = self.send.application_id,
        )
    }
}

impl Settings {
    /// Whether the commands can be registered.
    #[must_use]
    pub const fn has_bot_token(&self) -> bool {
        self.bot_token.is_some()
    }
}
