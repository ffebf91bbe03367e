//! Setting up an app: its settings, and the manifest that tells Slack the rest ("App manifest reference",
//! <https://docs.slack.dev/reference/app-manifest>).

use hoopoe_message::CommandSpec;

use super::receive::WebhookKeys;
use super::send::SendKeys;
use crate::contract::settings::{self, Fields, InvalidSettings, StoredKeys};

/// The settings of an app.
#[derive(Debug)]
pub struct Settings {
    webhook: WebhookKeys,
    send: SendKeys,
}

impl settings::Settings for Settings {
    const FIELDS: &'static str =
        r#"{"signing_secret", "bot_token"} and optionally "app_id", "group_prefix", "api_base""#;

    const ROTATION: &'static str = "\
1. signing_secret signs what Slack posts, and is checked here; bot_token is what we send with. Slack
   has one of each.
2. signing_secret: Basic Information > App Credentials > Signing Secret > Regenerate. Take it that
   Slack signs with the new one at once; it posts an event that was refused again after a minute and
   after five; commands and presses are lost.
3. bot_token: OAuth & Permissions > Revoke All OAuth Tokens, then Install App > Reinstall to
   Workspace. The old one ends at once, and the bot has to be invited to its channels again. Replies
   are tried again from the queue.
4. hoopoe keys add slack --bot <bot> < settings.json    (all fields, not the new ones alone)
5. hoopoe keys rotate slack --bot <bot>    (tests the new version, then puts it in force)
";

    /// `signing_secret` (Basic Information) and `bot_token` (OAuth & Permissions); optionally `app_id`, which is then
    /// the only app heard, `group_prefix`, what a channel's messages for the bot may begin with, and `api_base`, another
    /// server of the Web API.
    fn parse(json: &str) -> Result<Self, InvalidSettings> {
        let mut fields = Fields::read(json, &["signing_secret", "bot_token", "app_id", "group_prefix", "api_base"])?;
        let alphanumeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let signing_secret = fields.required(
            "signing_secret",
            "has to be the Signing Secret of the app's Basic Information page: 16 to 64 letters and digits",
            |secret| (16..=64).contains(&secret.len()) && alphanumeric(secret),
        )?;
        let bot_token = fields.required(
            "bot_token",
            "has to be the Bot User OAuth Token of the app's OAuth & Permissions page, which begins with xoxb-",
            |token| {
                let secret = token.strip_prefix("xoxb-").unwrap_or_default();
                (8..=255).contains(&secret.len()) && secret.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            },
        )?;
        let app_id = fields.optional(
            "app_id",
            "has to be the App ID of the Basic Information page, such as A0123ABCDEF",
            |id| (2..=32).contains(&id.len()) && id.starts_with('A') && alphanumeric(id),
        )?;
        let group_prefix = fields.group_prefix()?;
        let api_base = fields.base_url("api_base")?;
        Ok(Self {
            webhook: WebhookKeys {
                signing_secret: signing_secret.into(),
                app_id,
                group_prefix,
                api_base: api_base.clone(),
            },
            send: SendKeys { bot_token: bot_token.into(), api_base },
        })
    }

    fn keys(&self) -> StoredKeys {
        StoredKeys::new(&self.webhook, &self.send)
    }

    fn console_steps(&self, webhook_url: &str) -> String {
        let page = self.webhook.app_id.as_ref().map_or_else(String::new, |id| format!("/{id}"));
        format!(
            "\
1. Open https://api.slack.com/apps{page}{choose} Features > App Manifest > YAML. Replace all of it with the
   following, with names of your own where it says Hoopoe, and press Save Changes:

{manifest}
2. Above the manifest Slack says that the URL is not verified: press Click here to verify.
3. Settings > Install App > Reinstall to Workspace > Allow, for the permissions that are new. If the page then shows
   another Bot User OAuth Token than the one in the settings, store the settings again with it.
4. In Slack, open Apps > Hoopoe > Messages and ask something. In a channel, first /invite @Hoopoe.
",
            choose = if self.webhook.app_id.is_some() { ";" } else { ", choose the app;" },
            manifest = self.manifest(webhook_url),
        )
    }
}

impl Settings {
    /// The app as Slack is to have it, with no scope and no event that is not used: all messages of channels only
    /// where a prefix has to be found in them.
    fn manifest(&self, webhook_url: &str) -> String {
        let (history, messages) = if self.webhook.group_prefix.is_some() {
            (
                "      - channels:history\n      - groups:history\n      - mpim:history\n",
                "      - message.channels\n      - message.groups\n      - message.mpim\n",
            )
        } else {
            ("", "")
        };
        // Each with the first choice of what follows it.
        let commands: Vec<_> = CommandSpec::told()
            .filter_map(|command| Some(command.usages().first()?.trim_start_matches('/').to_owned()))
            .collect();
        let commands = commands.join(", ");
        format!(
            r#"display_information:
  name: Hoopoe
features:
  app_home:
    home_tab_enabled: false
    messages_tab_enabled: true
    messages_tab_read_only_enabled: false
  bot_user:
    display_name: Hoopoe
    always_online: true
  slash_commands:
    - command: /hoopoe
      url: "{webhook_url}"
      description: Ask a question that only you see answered
      usage_hint: "question, or {commands}"
      should_escape: false
oauth_config:
  scopes:
    bot:
      - app_mentions:read
      - channels:read
      - chat:write
      - commands
      - groups:read
      - im:history
{history}settings:
  event_subscriptions:
    request_url: "{webhook_url}"
    bot_events:
      - app_mention
      - channel_left
      - group_left
      - member_joined_channel
      - message.im
{messages}  interactivity:
    is_enabled: true
    request_url: "{webhook_url}"
  org_deploy_enabled: false
  socket_mode_enabled: false
  token_rotation_enabled: false
"#
        )
    }
}
