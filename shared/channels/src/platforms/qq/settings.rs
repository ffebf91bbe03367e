//! Setting up a bot.

use hoopoe_message::COMMANDS;
use secrecy::SecretString;

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
    const FIELDS: &'static str = r#"{"app_id", "app_secret"} and optionally "token_url", "api_base""#;

    const ROTATION: &'static str = "\
1. app_secret makes the key that QQ signs its events with, is checked here, and is also what we send
   with.
2. Open https://q.qq.com/ > 机器人 > the bot > 开发 > 开发设置 > AppSecret > 查看 and confirm that a
   new one is made. There is one at a time, so take it that the old one ends at once. QQ posts again
   what is refused meanwhile, and replies are tried again from the queue; do 3 and 4 without a
   pause.
3. hoopoe keys add qq --bot <bot> < settings.json    (all fields, not the new ones alone)
4. hoopoe keys rotate qq --bot <bot>    (tests the new version, then puts it in force)
";

    /// `app_id` and `app_secret` (开发设置); optionally `api_base`, another server of the API, and `token_url` where
    /// access tokens come from elsewhere than its `/app/getAppAccessToken`.
    fn parse(json: &str) -> Result<Self, InvalidSettings> {
        let mut fields = Fields::read(json, &["app_id", "app_secret", "token_url", "api_base"])?;
        let app_id = fields.digits("app_id", "has to be the bot's AppID, a number such as 102000001", 20)?;
        let app_secret: SecretString = fields
            .required("app_secret", "has to be the bot's AppSecret, 8 to 128 letters and digits", |secret| {
                is_visible(secret, 8..=128)
            })?
            .into();
        let token_url = fields.base_url("token_url")?;
        let api_base = fields.base_url("api_base")?;
        let webhook = WebhookKeys { app_secret: app_secret.clone() };
        Ok(Self { webhook, send: SendKeys { app_id, app_secret, token_url, api_base } })
    }

    /// Both hold the secret: QQ signs events with the one that tokens are got for.
    fn keys(&self) -> StoredKeys {
        StoredKeys::new(&self.webhook, &self.send)
    }

    fn console_steps(&self, webhook_url: &str) -> String {
        format!(
            "\
1. Open https://q.qq.com/ > 机器人 > the bot {app_id} > 开发 > 开发设置 > IP白名单 and list the address from which
   functions/deliver reaches the internet. Without it every reply is refused with code 40023002.
2. Open 开发 > 回调配置, enter as 请求地址 {webhook_url}
   and leave the field: QQ checks the URL at once. Then press 确定配置.
3. On the same page choose under 添加事件:
     单聊事件: C2C_MESSAGE_CREATE, FRIEND_ADD, FRIEND_DEL
     群事件: GROUP_AT_MESSAGE_CREATE, GROUP_ADD_ROBOT, GROUP_DEL_ROBOT
     频道事件, where the bot is in guilds: AT_MESSAGE_CREATE, DIRECT_MESSAGE_CREATE
   Leave MESSAGE_CREATE and INTERACTION_CREATE out. From now on QQ closes the bot's WebSocket connections.
4. Where replies hold web addresses, list their domains under 开发设置 > 消息URL配置, or QQ refuses such replies.
5. Optionally, add {commands} under 功能配置 > 指令, which QQ then suggests.
6. Until the bot is published, choose who may use it under 开发 > 沙箱配置.
7. In QQ, open the bot's card, press 发消息, and say 你好.
",
            app_id = self.send.app_id,
            commands = enumerated(COMMANDS.iter().map(|command| format!("/{}", command.name))),
        )
    }
}
