//! Setting up a bot: its settings, and the calls that tell Telegram where to post.

use hoopoe_message::{COMMANDS, CommandSpec};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::receive::WebhookKeys;
use super::rotation::ALLOWED_UPDATES;
use super::send::SendKeys;
use super::{API_BASE, Telegram};
use crate::contract::rejection::{Rejection, Retry};
use crate::contract::sender::{ApiRequest, Sender};
use crate::contract::settings::{self, Fields, InvalidSettings, StoredKeys};
use crate::contract::setup::{Setup, SetupCall};

/// The settings of a bot.
#[derive(Debug)]
pub struct Settings {
    webhook: WebhookKeys,
    send: SendKeys,
}

impl settings::Settings for Settings {
    const FIELDS: &'static str =
        r#"{"bot_token", "secret_token"} and optionally "bot_username", "group_prefix", "api_base""#;

    const ROTATION: &'static str = "\
1. secret_token comes with each update and is checked here; bot_token is what we send with.
2. secret_token is renewed without you. For one of your own: invent it, do 4, 5 with the same
   bot_token, and 6.
3. bot_token: tell @BotFather /revoke and choose the bot. The old one ends at once, and its webhook
   with it. Telegram keeps updates for a day, and replies are tried again from the queue; do 4 to 6
   without a pause.
4. hoopoe keys add telegram --bot <bot> < settings.json    (all fields, not the new ones alone)
5. curl https://api.telegram.org/bot<bot_token>/setWebhook \\
     --data-urlencode 'url=<the webhook URL>' --data-urlencode 'secret_token=<secret_token>' \\
     --data-urlencode 'allowed_updates=[\"message\",\"my_chat_member\"]'
6. hoopoe keys rotate telegram --bot <bot>    (tests the new version, then puts it in force)
";

    /// `bot_token` from @BotFather; `secret_token`, an invented one; optionally `bot_username` (else
    /// [`Settings::get_me`] tells it), `group_prefix`, by which a group may call it where its privacy mode is off, and
    /// `api_base`, another server of the Bot API.
    fn parse(json: &str) -> Result<Self, InvalidSettings> {
        let mut fields =
            Fields::read(json, &["bot_token", "secret_token", "bot_username", "group_prefix", "api_base"])?;
        let bot_token = fields.required(
            "bot_token",
            "has to be the token @BotFather gave: the bot's number, a colon, then letters, digits, _ and -",
            |token| bot_id(token).is_some(),
        )?;
        let secret_token = fields.invented("secret_token")?;
        let bot_username =
            fields.optional("bot_username", "has to be the bot's username, with or without @", is_username)?;
        let group_prefix = fields.group_prefix()?;
        let api_base = fields.base_url("api_base")?;
        Ok(Self {
            webhook: WebhookKeys {
                secret_token: secret_token.into(),
                bot_id: bot_id(&bot_token).expect("checked above"),
                bot_username: bot_username.map(|name| name.trim_start_matches('@').to_owned()),
                group_prefix,
            },
            send: SendKeys { bot_token: bot_token.into(), api_base },
        })
    }

    const SETUPS: &'static [Setup] = &[Setup::Webhook];

    fn setup_calls(&self, setup: Setup, webhook_url: &str) -> Result<Vec<SetupCall<Self>>, InvalidSettings> {
        let mut calls = Vec::new();
        if setup == Setup::Webhook {
            if !self.has_username() {
                calls.push(SetupCall {
                    doing: "asking whose token it is",
                    about: "getMe",
                    request: self.get_me(),
                    read: |settings: &mut Self, status, _, body| {
                        let name = Self::read_me(status, body)?;
                        let done = format!("the bot is @{name}");
                        settings.set_username(name);
                        Ok(done)
                    },
                });
            }
            calls.push(SetupCall {
                doing: "setting the webhook",
                about: "setWebhook",
                request: self.set_webhook(webhook_url),
                read: |_, status, headers, body| {
                    Telegram::outcome(status, headers, body).map(|()| "the webhook is set".to_owned())
                },
            });
        }
        Ok(calls)
    }

    fn keys(&self) -> StoredKeys {
        StoredKeys::new(&self.webhook, &self.send)
    }

    fn console_steps(&self, webhook_url: &str) -> String {
        let base = self.send.api_base.as_deref().unwrap_or(API_BASE);
        let bot = self
            .webhook
            .bot_username
            .as_ref()
            .map_or_else(|| "the bot".to_owned(), |name| format!("https://t.me/{name}"));
        let groups = match &self.webhook.group_prefix {
            None => "leave /setprivacy on Enable. The bot answers mentions, replies to it, and commands.".to_owned(),
            Some(prefix) => format!(
                "set /setprivacy to Disable, or Telegram keeps from it what only begins with {prefix}; then remove
   the bot from its groups and add it again. It answers mentions, replies to it, commands, and what begins with
   {prefix}."
            ),
        };
        format!(
            "\
1. If setWebhook was not called for you, call it with the same secrets:
     curl {base}/bot<bot_token>/setWebhook \\
       --data-urlencode 'url={webhook_url}' --data-urlencode 'secret_token=<secret_token>' \\
       --data-urlencode 'allowed_updates={allowed}'
2. In Telegram, tell @BotFather /setcommands and send:
{commands}
3. For groups: {groups}
4. Open {bot}, press Start, and ask something.
",
            allowed = json!(ALLOWED_UPDATES),
            commands = commands(),
        )
    }
}

/// The commands as @BotFather takes them, indented.
fn commands() -> String {
    let line = |command: &CommandSpec| {
        let usages =
            command.argument.as_ref().map_or_else(String::new, |_| format!(": {}", command.usages().join(" or ")));
        format!("     {} - {}{usages}", command.name, command.summary.en)
    };
    COMMANDS.iter().map(line).collect::<Vec<_>>().join("\n")
}

impl Settings {
    /// Whether the bot's username is known; without it the bot does not hear its name in groups.
    #[must_use]
    pub const fn has_username(&self) -> bool {
        self.webhook.bot_username.is_some()
    }

    /// Takes the username that [`Settings::read_me`] read.
    pub fn set_username(&mut self, username: String) {
        self.webhook.bot_username = Some(username);
    }

    /// Asks Telegram whose token it is: <https://core.telegram.org/bots/api#getme>.
    ///
    /// # Errors
    ///
    /// Where the settings make no valid URL.
    pub fn get_me(&self) -> http::Result<ApiRequest> {
        self.send.get_me()
    }

    /// Reads the answer to [`Settings::get_me`]: the bot's username.
    ///
    /// # Errors
    ///
    /// What Telegram says instead, mostly that the token is not valid.
    pub fn read_me(status: StatusCode, body: &[u8]) -> Result<String, Rejection> {
        #[derive(Deserialize)]
        struct Answer {
            result: Me,
        }
        #[derive(Deserialize)]
        struct Me {
            username: String,
        }
        Telegram::outcome(status, &HeaderMap::new(), body)?;
        match serde_json::from_slice::<Answer>(body) {
            Ok(answer) if is_username(&answer.result.username) => Ok(answer.result.username),
            _ => Err(Rejection::refused("getMe named no bot", Retry::Never)),
        }
    }

    /// Tells Telegram where to post and which secret to send along, as [`SendKeys::set_webhook`].
    ///
    /// # Errors
    ///
    /// Where the settings make no valid URL.
    pub fn set_webhook(&self, webhook_url: &str) -> http::Result<ApiRequest> {
        self.send.set_webhook(webhook_url, &self.webhook.secret_token)
    }
}

/// The bot's id, where the text has a token's form: the id, a colon, and a secret of no promised length. The Bot API's
/// server asks for the same (tdlib/telegram-bot-api, `ClientManager::send`): at most 80 bytes, an id below 2^54 that
/// does not start with 0. Whether the token is right, only getMe tells.
fn bot_id(token: &str) -> Option<i64> {
    let (id, secret) = token.split_once(':')?;
    let formed = token.len() <= 80
        && id.bytes().all(|byte| byte.is_ascii_digit())
        && !id.starts_with('0')
        && !secret.is_empty()
        && secret.bytes().all(is_token_byte);
    id.parse().ok().filter(|id| formed && *id < 1 << 54)
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn is_username(name: &str) -> bool {
    let name = name.strip_prefix('@').unwrap_or(name);
    (3..=32).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
