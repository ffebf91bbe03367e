//! What WeCom is told: 发送应用消息 (path/90236), with a token from 获取access_token (path/91039).
//!
//! Codes are those of 全局错误码 (path/90313). Suggestions are numbered lines below the text: WeCom's own buttons
//! (template cards) need a callback of their own and cannot stand below a text.

use hoopoe_message::{Reply, Timestamp};
use http::{HeaderMap, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Address, Wecom};
use crate::contract::address::address_of;
use crate::contract::rejection::{MINUTE, Rejection, Retry};
use crate::contract::sender::{AccessToken, ApiRequest, Part, Sender, Unrenderable, with_numbered_suggestions};
use crate::contract::settings::exposed;
use crate::text::printable;
use crate::text::split::split;

/// WeCom's own server; private deployments have another.
const API_BASE: &str = "https://qyapi.weixin.qq.com";

/// "消息内容，最长不超过2048个字节，超过将截断": what is longer arrives cut.
const MAX_TEXT_BYTES: usize = 2048;

/// What authorises a call.
#[derive(Debug, Deserialize, Serialize)]
pub struct SendKeys {
    pub(super) agent_id: u64,
    #[serde(default)]
    pub(super) api_base: Option<String>,
    pub(super) corp_id: String,
    #[serde(serialize_with = "exposed")]
    pub(super) secret: SecretString,
    #[serde(default)]
    pub(super) token_url: Option<String>,
}

impl SendKeys {
    fn api_base(&self) -> &str {
        self.api_base.as_deref().unwrap_or(API_BASE)
    }
}

impl Sender for Wecom {
    type Keys = SendKeys;

    /// There is `enable_duplicate_check`, but it compares contents: it would also drop the answer to a question
    /// asked twice. So it is off, and no part may be repeated.
    ///
    /// WeCom refuses a body with escaped control characters (40033), so there are none.
    fn render(keys: &SendKeys, reply: &Reply, _now: Timestamp) -> Result<Vec<Part>, Unrenderable> {
        let Address(member) = address_of::<Self>(reply)?;
        let text = printable(with_numbered_suggestions(reply));
        let url = format!("{}/cgi-bin/message/send", keys.api_base());
        let parts = split(&text, MAX_TEXT_BYTES, char::len_utf8).into_iter().map(|content| {
            let body = json!({
                "touser": member,
                "msgtype": "text",
                "agentid": keys.agent_id,
                "text": { "content": content },
                "enable_duplicate_check": 0,
            });
            Ok(Part::once(ApiRequest::post_json(&url, body.to_string())?.with_token_parameter("access_token")))
        });
        parts.collect()
    }

    fn outcome(status: StatusCode, _headers: &HeaderMap, body: &[u8]) -> Result<(), Rejection> {
        let answer = Answer::read(status, body)?;
        Err(match answer.errcode {
            0 if !answer.invaliduser.is_empty() => {
                Rejection::refused("0, but the member is not in the application's 可见范围", Retry::Never)
            }
            0 if !answer.unlicenseduser.is_empty() => {
                Rejection::refused("0, but the member has no 基础接口许可 licence", Retry::Never)
            }
            0 => return Ok(()),
            // Missing, invalid (40001 is how older applications are told), expired.
            40001 | 40014 | 41001 | 42001 => answer.refused(Retry::NewToken),
            _ => answer.refused_for_good_or_later(),
        })
    }

    fn token_request(keys: &SendKeys) -> Option<http::Result<ApiRequest>> {
        let default = || format!("{}/cgi-bin/gettoken", keys.api_base());
        let url = keys.token_url.clone().unwrap_or_else(default);
        let (id, secret) = (encoded(&keys.corp_id), encoded(keys.secret.expose_secret()));
        Some(ApiRequest::get(&format!("{url}?corpid={id}&corpsecret={secret}")))
    }

    fn read_token(status: StatusCode, body: &[u8]) -> Result<AccessToken, Rejection> {
        let answer = Answer::read(status, body)?;
        match answer.errcode {
            0 => {}
            // "不合法的secret参数"
            40001 => {
                let reason = format!("40001: the secret is not the application's; {}", answer.errmsg);
                return Err(Rejection::refused(reason, Retry::BadCredential));
            }
            _ => return Err(answer.refused_for_good_or_later()),
        }
        let token = AccessToken::of(answer.access_token, answer.expires_in);
        token.ok_or_else(|| Rejection::refused("0, but without an access token", Retry::Never))
    }
}

fn encoded(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

/// What every call is answered with.
#[derive(Deserialize)]
struct Answer {
    errcode: i64,
    #[serde(default)]
    errmsg: String,
    /// Whom a send did not reach, though others it may have.
    #[serde(default)]
    invaliduser: String,
    #[serde(default)]
    unlicenseduser: String,
    access_token: Option<SecretString>,
    /// Seconds.
    expires_in: Option<u64>,
}

impl Answer {
    fn read(status: StatusCode, body: &[u8]) -> Result<Self, Rejection> {
        let answer = serde_json::from_slice(body).ok().filter(|_| status.is_success());
        answer.ok_or_else(|| Rejection::of_status(status, "WeCom"))
    }

    /// For codes that no new token mends.
    fn refused_for_good_or_later(&self) -> Rejection {
        match self.errcode {
            // Called too often in a minute, an hour or a day, which the code does not tell: "按天拦截则被屏蔽一天（自然天） …
            // 按分钟拦截则被屏蔽60秒，按小时拦截则被屏蔽60分钟" (访问频率限制, path/90312). So the shortest is waited for, as often as it
            // takes. It is the application's limit: what is too much for one member is dropped without a word.
            45009 => self.refused(Retry::BotAfter(MINUTE)),
            // Busy; too many calls at the same time, which is over in a moment.
            -1 | 45033 => self.refused(Retry::Backoff),
            60020 => Rejection::refused(
                format!("60020: list the egress address under the application's 企业可信IP; {}", self.errmsg),
                Retry::Never,
            ),
            _ => self.refused(Retry::Never),
        }
    }

    fn refused(&self, retry: Retry) -> Rejection {
        Rejection::refused(format!("{} {}", self.errcode, self.errmsg), retry)
    }
}
