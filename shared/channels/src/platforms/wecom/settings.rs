//! Setting up a self-built application (自建应用).

use serde_json::Value;

use super::receive::WebhookKeys;
use super::send::SendKeys;
use crate::contract::settings::{self, Fields, InvalidSettings, StoredKeys, is_name, is_visible};
use crate::crypto::envelope::Key;

/// The settings of an application.
#[derive(Debug)]
pub struct Settings {
    webhook: WebhookKeys,
    send: SendKeys,
}

impl settings::Settings for Settings {
    const FIELDS: &'static str =
        r#"{"corp_id", "agent_id", "secret", "token", "encoding_aes_key"} and optionally "token_url", "api_base""#;

    const ROTATION: &'static str = "\
1. token and encoding_aes_key sign and seal what WeCom posts, and are checked here; secret is what
   we send with.
2. token, encoding_aes_key: press 随机获取 for both under 接收消息 > 设置API接收, do 4 with them,
   press 保存 (WeCom checks the URL with them at once), do 5.
3. secret: the application's page > Secret > 查看 > 重新获取. There is one at a time, so take it
   that the old one ends at once. Replies meanwhile are tried again from the queue; do 4 and 5
   without a pause.
4. hoopoe keys add wecom --bot <bot> < settings.json    (all fields, not the new ones alone)
5. hoopoe keys rotate wecom --bot <bot>    (tests the new version, then puts it in force)
";

    /// `corp_id` (我的企业), `agent_id` and `secret` (the application's page), `token` and `encoding_aes_key` (its
    /// 接收消息 page); optionally `api_base`, the server of a private deployment, and `token_url` where access tokens
    /// come from elsewhere than its `/cgi-bin/gettoken`.
    fn parse(json: &str) -> Result<Self, InvalidSettings> {
        let mut fields = Fields::read(
            json,
            &["corp_id", "agent_id", "secret", "token", "encoding_aes_key", "token_url", "api_base"],
        )?;
        let corp_id = fields
            .required("corp_id", "has to be the 企业ID, such as ww1a2b3c4d5e6f7a8b", |id| is_name(id, 1..=64))?;
        let agent_id = fields.take("agent_id").ok_or(InvalidSettings::Missing("agent_id"))?;
        let agent_id = match &agent_id {
            Value::Number(number) => number.as_u64(),
            Value::String(digits) => digits.parse().ok(),
            _ => None,
        };
        let agent_id = agent_id.ok_or(InvalidSettings::Invalid {
            field: "agent_id",
            rule: "has to be the application's AgentId, such as 1000002",
        })?;
        let secret =
            fields.required("secret", "has to be the application's Secret", |secret| is_visible(secret, 1..=128))?;
        let token = fields
            .required("token", "has to be the Token, up to 32 letters and digits", |token| is_visible(token, 1..=32))?;
        let encoding_aes_key =
            fields.required("encoding_aes_key", "has to be the EncodingAESKey, 43 letters and digits", |key| {
                Key::decode(key).is_ok()
            })?;
        let token_url = fields.base_url("token_url")?;
        let api_base = fields.base_url("api_base")?;
        Ok(Self {
            webhook: WebhookKeys {
                token: token.into(),
                encoding_aes_key: encoding_aes_key.into(),
                corp_id: corp_id.clone(),
            },
            send: SendKeys { corp_id, agent_id, secret: secret.into(), token_url, api_base },
        })
    }

    fn keys(&self) -> StoredKeys {
        StoredKeys::new(&self.webhook, &self.send)
    }

    fn console_steps(&self, webhook_url: &str) -> String {
        format!(
            "\
1. Open https://work.weixin.qq.com/wework_admin/ > 应用管理 > 自建 > the application {agent_id} > 接收消息 > 设置API接收.
2. Enter as URL {webhook_url}
   and the same Token and EncodingAESKey as here, then press 保存: WeCom checks the URL at once.
3. On the application's page open 企业可信IP > 配置 and list the address from which functions/deliver reaches the
   internet. Without it every reply is refused with code 60020.
4. Under 可见范围 choose who may talk with the bot; each of them gets the welcome.
5. In the WeCom app open 工作台 > the application and say 你好.
",
            agent_id = self.send.agent_id,
        )
    }
}
