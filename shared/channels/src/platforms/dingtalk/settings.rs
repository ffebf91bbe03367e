//! Setting up the robot of an organisation's own application (企业内部应用).

use super::receive::WebhookKeys;
use super::send::SendKeys;
use crate::contract::settings::{self, Fields, InvalidSettings, StoredKeys, is_visible};
use crate::crypto::envelope::Key;

/// The settings of a robot.
#[derive(Debug)]
pub struct Settings {
    webhook: WebhookKeys,
    send: SendKeys,
}

impl settings::Settings for Settings {
    const FIELDS: &'static str =
        r#"{"app_key", "app_secret", "robot_code"} and optionally "corp_id", "token", "encoding_aes_key", "api_base""#;

    const ROTATION: &'static str = "\
1. app_secret signs the messages that DingTalk posts, is checked here, and is also what we send
   with. token and encoding_aes_key sign and seal its events, and are checked here.
2. token, encoding_aes_key: choose new ones, do 4, enter them under 开发配置 > 事件订阅 and press
   保存 (DingTalk tries the URL at once), do 5.
3. app_secret: 凭证与基础信息 > Client Secret > reset. If the page offers it, let the old one expire
   later; else take it that it ends at once and that DingTalk does not post again what is refused
   meanwhile. Replies are tried again from the queue; do 4 and 5 without a pause.
4. hoopoe keys add dingtalk --bot <bot> < settings.json    (all fields, not the new ones alone)
5. hoopoe keys rotate dingtalk --bot <bot>    (tests the new version, then puts it in force)
";

    /// `app_key` and `app_secret` (凭证与基础信息: Client ID and Client Secret), `robot_code` (机器人); optionally `corp_id`,
    /// which a message then has to name as well, `token` and `encoding_aes_key` (事件订阅 > HTTP推送), without which events
    /// are refused, and `api_base`, another server of the API.
    fn parse(json: &str) -> Result<Self, InvalidSettings> {
        let mut fields = Fields::read(
            json,
            &["app_key", "app_secret", "robot_code", "corp_id", "token", "encoding_aes_key", "api_base"],
        )?;
        let app_key = fields.required(
            "app_key",
            "has to be the application's Client ID (AppKey), such as ding1a2b3c4d5e6f7g8h",
            is_name,
        )?;
        let app_secret =
            fields.required("app_secret", "has to be the application's Client Secret (AppSecret)", |secret| {
                is_visible(secret, 1..=128)
            })?;
        let robot_code = fields.required(
            "robot_code",
            "has to be the robot's RobotCode, which the page 机器人 shows once it is published",
            is_name,
        )?;
        let corp_id =
            fields.optional("corp_id", "has to be the organisation's CorpId, such as ding9f50b15bccd16741", is_name)?;
        let token = fields.optional("token", "has to be the 签名 token, 3 to 32 letters and digits", |token| {
            (3..=32).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })?;
        let encoding_aes_key =
            fields.optional("encoding_aes_key", "has to be the 加密 aes_key, 43 letters and digits", |key| {
                Key::decode(key).is_ok()
            })?;
        match (&token, &encoding_aes_key) {
            (Some(_), Some(_)) | (None, None) => {}
            (None, Some(_)) => return Err(InvalidSettings::Missing("token")),
            (Some(_), None) => return Err(InvalidSettings::Missing("encoding_aes_key")),
        }
        let api_base = fields.base_url("api_base")?;
        let send = SendKeys { app_key, app_secret: app_secret.into(), robot_code, api_base };
        let webhook = WebhookKeys {
            app_key: send.app_key.clone(),
            app_secret: send.app_secret.clone(),
            robot_code: send.robot_code.clone(),
            corp_id,
            token: token.map(Into::into),
            encoding_aes_key: encoding_aes_key.map(Into::into),
            api_base: send.api_base.clone(),
        };
        Ok(Self { webhook, send })
    }

    /// DingTalk signs with the same secret that gives access tokens, so it is in both.
    fn keys(&self) -> StoredKeys {
        StoredKeys::new(&self.webhook, &self.send)
    }

    fn console_steps(&self, webhook_url: &str) -> String {
        let events = if self.webhook.token.is_some() {
            "Open 开发配置 > 事件订阅 and choose HTTP推送. Enter the same aes_key and token as here, and as 请求网址
   the URL above, then press 保存: DingTalk tries the URL at once. Then switch on 群内安装酷应用事件 and
   群内卸载酷应用事件, and, to welcome new members of groups, 群会话添加人员."
        } else {
            "Leave 开发配置 > 事件订阅 alone: these settings have no token and encoding_aes_key, so events are refused.
   Nothing but a welcome in groups is missed."
        };
        format!(
            "\
1. Open https://open-dev.dingtalk.com > 应用开发 > 企业内部应用 > the application > 应用能力 > 机器人 and switch it on.
   Choose HTTP模式 under 消息接收模式, enter as 消息接收地址
   {webhook_url}
   and press 发布. The robot's RobotCode has to be {robot_code}.
2. Open 开发配置 > 权限管理 and give it 企业内机器人发送消息权限 (qyapi_robot_sendmsg), for replies that come late.
3. {events}
4. Open 应用发布 > 版本管理与发布, create a version with the right 可用范围 and publish it. Before that nobody but the
   developers finds the robot, and DingTalk does not say who writes.
5. In DingTalk search for the robot's name and say 你好. In an internal group (内部群) open 群设置 > 群管理 > 机器人 >
   添加机器人, then mention it with @.
",
            robot_code = self.send.robot_code,
        )
    }
}

/// Whether a text has the form of DingTalk's names for an application, a robot or an organisation.
fn is_name(text: &str) -> bool {
    settings::is_name(text, 1..=128)
}
