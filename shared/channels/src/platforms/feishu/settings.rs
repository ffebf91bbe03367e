//! Setting up a custom app (企业自建应用).

use super::is_id;
use super::receive::WebhookKeys;
use super::send::SendKeys;
use crate::contract::settings::{self, Fields, InvalidSettings, StoredKeys, is_visible};

/// The settings of an app.
#[derive(Debug)]
pub struct Settings {
    webhook: WebhookKeys,
    send: SendKeys,
}

impl settings::Settings for Settings {
    const FIELDS: &'static str = r#"{"app_id", "app_secret", "verification_token", "encrypt_key"} and optionally "bot_open_id", "group_prefix", "api_base""#;

    const ROTATION: &'static str = "\
1. encrypt_key and verification_token prove what Feishu posts, and are checked here; app_secret is
   what we send with.
2. encrypt_key: choose a new one, do 5, enter it under 事件与回调 > 加密策略, do 6.
3. verification_token: reset it under 加密策略. Take it that Feishu posts with the new one at once;
   an event that was refused comes again after 15 s, 5 min, 1 h and 6 h; presses of buttons are
   lost. Do 5 and 6 without a pause.
4. app_secret: 凭证与基础信息 > App Secret > reset. There is one at a time, so take it that the old
   one ends at once. Replies meanwhile are tried again from the queue; do 5 and 6 without a pause.
5. hoopoe keys add feishu --bot <bot> < settings.json    (all fields, not the new ones alone)
6. hoopoe keys rotate feishu --bot <bot>    (tests the new version, then puts it in force)
";

    /// `app_id` and `app_secret` (凭证与基础信息), `verification_token` and `encrypt_key` (事件与回调 > 加密策略);
    /// optionally `bot_open_id`, which tells the bot from others in its groups, `group_prefix`, by which a group may
    /// address it, and `api_base`: `https://open.larksuite.com` for Lark, or the server of a private deployment.
    ///
    /// Feishu would also post without an Encrypt Key. Then nothing is signed, so that is not supported.
    fn parse(json: &str) -> Result<Self, InvalidSettings> {
        let mut fields = Fields::read(
            json,
            &["app_id", "app_secret", "verification_token", "encrypt_key", "bot_open_id", "group_prefix", "api_base"],
        )?;
        let secret = |text: &str| is_visible(text, 1..=128);
        let app_id = fields.required("app_id", "has to be the App ID, such as cli_a1b2c3d4e5f6a7b8", is_id)?;
        let app_secret = fields.required("app_secret", "has to be the App Secret", secret)?;
        let verification_token =
            fields.required("verification_token", "has to be the Verification Token of 加密策略", secret)?;
        let encrypt_key = fields.required(
            "encrypt_key",
            "has to be the Encrypt Key of 加密策略; if the console shows none, set one there",
            secret,
        )?;
        let bot_open_id = fields.optional("bot_open_id", "has to be the bot's open_id, such as ou_1a2b3c", |id| {
            id.starts_with("ou_") && is_id(id)
        })?;
        let group_prefix = fields.group_prefix()?;
        let api_base = fields.base_url("api_base")?;
        Ok(Self {
            webhook: WebhookKeys {
                verification_token: verification_token.into(),
                encrypt_key: encrypt_key.into(),
                bot_open_id,
                group_prefix,
            },
            send: SendKeys { app_id, app_secret: app_secret.into(), api_base },
        })
    }

    fn keys(&self) -> StoredKeys {
        StoredKeys::new(&self.webhook, &self.send)
    }

    fn console_steps(&self, webhook_url: &str) -> String {
        format!(
            "\
1. Open {base}/app > the application {app_id} > 应用能力 > 添加应用能力 > 机器人.
2. 开发配置 > 权限管理: grant
     im:message.p2p_msg:readonly             private messages
     im:message.group_at_msg:readonly        messages of groups that mention the bot
     im:message:send_as_bot                  replies
     im:chat.members:bot_access              being added to groups and removed
     im:chat.access_event.bot_p2p_chat:read  the first look into the private chat
3. 开发配置 > 事件与回调 > 加密策略: Encrypt Key and Verification Token have to be the ones stored here.
4. 事件与回调 > 事件配置 > 订阅方式 > 将事件发送至开发者服务器: enter as 请求地址
   {webhook_url}
   and press 保存. Feishu waits one second for the answer; if it complains, press 保存 once more.
   Then 添加事件:
     im.message.receive_v1                         接收消息
     im.chat.member.bot.added_v1                   机器人进群
     im.chat.member.bot.deleted_v1                 机器人被移出群
     im.chat.access_event.bot_p2p_chat_entered_v1  用户进入与机器人的会话
5. 事件与回调 > 回调配置 > 订阅方式 > 将回调发送至开发者服务器: the same URL, then 添加回调 > 卡片回传交互
   (card.action.trigger). Without it the buttons below an answer do nothing.
6. 应用发布 > 版本管理与发布 > 创建版本: choose under 可用范围 who may talk with the bot, and release it. Nothing of the
   above works before that.
7. Open the bot in the app and say 你好; in a group, add it under 设置 > 群机器人 and mention it.
",
            base = self.send.api_base(),
            app_id = self.send.app_id,
        )
    }
}
