//! Setting up an official account.

use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;

use super::send::SendKeys;
use crate::contract::settings::{
    self, Fields, InvalidSettings, StoredKeys, exposed, exposed_if_any, is_name, is_visible,
};
use crate::crypto::envelope::Key;

/// The settings of an account.
#[derive(Debug)]
pub struct Settings {
    webhook: StoredWebhookKeys,
    send: SendKeys,
}

/// [`WebhookKeys`](super::WebhookKeys), with the key as it is entered.
#[derive(Debug, Serialize)]
struct StoredWebhookKeys {
    app_id: String,
    #[serde(serialize_with = "exposed_if_any")]
    encoding_aes_key: Option<SecretString>,
    passive: bool,
    #[serde(serialize_with = "exposed")]
    token: SecretString,
}

impl settings::Settings for Settings {
    const FIELDS: &'static str =
        r#"{"app_id", "app_secret", "token"} and optionally "encoding_aes_key", "passive", "api_base""#;

    const ROTATION: &'static str = "\
1. token and encoding_aes_key sign and seal what WeChat posts, and are checked here; app_secret is
   what we send with (a passive account sends nothing by itself).
2. token, encoding_aes_key: choose new ones, do 4, enter them under 基础信息 > 域名与消息推送配置 >
   消息推送 and save (WeChat checks the URL with the new token at once). Messages sealed with the
   old key may still come: do 5 some minutes later.
3. app_secret: 基础信息 > 开发密钥 > AppSecret > 重置. There is one at a time, and the old one ends
   at once. Replies meanwhile are tried again from the queue; do 4 and 5 without a pause.
4. hoopoe keys add wechat --bot <bot> < settings.json    (all fields, not the new ones alone)
5. hoopoe keys rotate wechat --bot <bot>    (tests the new version, then puts it in force)
";

    /// `app_id` and `app_secret` (开发密钥), `token` and `encoding_aes_key` (消息推送); without the last the bot works in
    /// 明文模式. `passive` is for accounts without a send API: they answer WeChat's own requests, and need no
    /// `app_secret`. `api_base` is another server of the API.
    fn parse(json: &str) -> Result<Self, InvalidSettings> {
        let mut fields =
            Fields::read(json, &["app_id", "app_secret", "token", "encoding_aes_key", "passive", "api_base"])?;
        let app_id =
            fields.required("app_id", "has to be the AppID, such as wx1a2b3c4d5e6f7a8b", |id| is_name(id, 1..=64))?;
        let passive = match fields.take("passive") {
            None => false,
            Some(Value::Bool(passive)) => passive,
            Some(_) => return Err(InvalidSettings::Invalid { field: "passive", rule: "has to be true or false" }),
        };
        let app_secret =
            fields.optional("app_secret", "has to be the AppSecret", |secret| is_visible(secret, 1..=128))?;
        if app_secret.is_none() && !passive {
            return Err(InvalidSettings::Missing("app_secret"));
        }
        let token = fields.required("token", "has to be the Token, 3 to 32 letters and digits", |token| {
            (3..=32).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })?;
        let encoding_aes_key =
            fields.optional("encoding_aes_key", "has to be the EncodingAESKey, 43 letters and digits", |key| {
                Key::decode(key).is_ok()
            })?;
        let api_base = fields.base_url("api_base")?;
        Ok(Self {
            webhook: StoredWebhookKeys {
                app_id: app_id.clone(),
                token: token.into(),
                encoding_aes_key: encoding_aes_key.map(Into::into),
                passive,
            },
            send: SendKeys { app_id, app_secret: app_secret.map(Into::into), passive, api_base },
        })
    }

    fn keys(&self) -> StoredKeys {
        StoredKeys::new(&self.webhook, &self.send)
    }

    /// The paths are those of "「开发接口管理」模块升级说明" (`subscription/guide/dev/migration.html`).
    fn console_steps(&self, webhook_url: &str) -> String {
        let (mode, key) = match self.webhook.encoding_aes_key {
            Some(_) => ("安全模式", "the same Token and EncodingAESKey as here"),
            None => ("明文模式", "the same Token as here and any EncodingAESKey"),
        };
        let advice = match self.webhook.encoding_aes_key {
            Some(_) => "",
            None => {
                "\n   In 明文模式 the signature does not cover the message. 安全模式 is safer: add \"encoding_aes_key\" here."
            }
        };
        let sending = if self.send.passive {
            "\
3. The account is passive: replies answer WeChat's own requests, within 15 seconds, one message each. Once it is
   verified (微信认证), leave \"passive\" out here."
        } else {
            "\
3. In 基础信息 > 开发密钥 > API IP白名单 list the address from which functions/deliver reaches the internet. Without it
   every reply is refused with code 40164. 接口管理 > 接口权限与额度 has to list 发送客服消息; if it does not, the account
   is not verified: set \"passive\": true here."
        };
        format!(
            "\
1. Open https://developers.weixin.qq.com/platform > 我的业务 > 公众号 or 服务号 > {app_id} > 基础信息 > 域名与消息推送配置.
2. Under 消息推送 enter as URL {webhook_url}
   and {key}, choose {mode} and the data format XML, and save: WeChat checks the URL
   at once. The replies and the menu that were set up in the console itself stop working from then on.{advice}
{sending}
4. Follow the account in WeChat and say 你好.
",
            app_id = self.send.app_id,
        )
    }
}
