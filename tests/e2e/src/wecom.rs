//! A WeCom application and the stand-in for WeCom.

use std::time::{SystemTime, UNIX_EPOCH};

use hoopoe_channels::crypto::envelope;
use reqwest::StatusCode;
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::Stack;
use crate::wait::eventually;

const CORP: &str = "wwe2e0123456789abc";
const TOKEN: &str = "tokenOfTheE2eTests";
const AES_KEY: &str = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C";

/// An application of one test.
pub struct WecomBot<'a> {
    stack: &'a Stack,
    /// Its name in URLs.
    pub name: String,
    /// WeCom, as far as the bot can see.
    pub api: MockServer,
}

impl<'a> WecomBot<'a> {
    /// Connects a new application by `hoopoe channel add`, with a stand-in that gives tokens and takes every send.
    pub async fn connect(stack: &'a Stack) -> Self {
        let (name, api) = (Stack::new_bot(), MockServer::start().await);
        let settings = json!({
            "corp_id": CORP, "agent_id": 1_000_002, "secret": "secret-of-the-e2e-tests",
            "token": TOKEN, "encoding_aes_key": AES_KEY,
        });
        let arguments = ["channel", "add", "wecom", "--bot", &name, "--api-base", &api.uri(), "--json"];
        stack.hoopoe(&arguments, &settings.to_string()).await;
        let token = json!({"errcode": 0, "errmsg": "ok", "access_token": "stand-in-token", "expires_in": 7200});
        Mock::given(method("GET"))
            .and(path("/cgi-bin/gettoken"))
            .respond_with(ResponseTemplate::new(200).set_body_json(token))
            .mount(&api)
            .await;
        let taken = json!({"errcode": 0, "errmsg": "ok", "msgid": "m"});
        Mock::given(method("POST"))
            .and(path("/cgi-bin/message/send"))
            .respond_with(ResponseTemplate::new(200).set_body_json(taken))
            .mount(&api)
            .await;
        Self { stack, name, api }
    }

    /// Posts a text message of a member, encrypted and signed as of now.
    pub async fn say(&self, member: &str, id: u64, text: &str) -> StatusCode {
        self.post(&message(member, id, text), now(), TOKEN).await
    }

    /// Posts a text message, signed as of `timestamp` with `token`.
    pub async fn post(&self, message: &str, timestamp: u64, token: &str) -> StatusCode {
        let key = envelope::Key::decode(AES_KEY).expect("a key");
        let sealed = envelope::seal(&key, *b"e2e-tests-random", message.as_bytes(), CORP);
        let (timestamp, nonce) = (timestamp.to_string(), "4711");
        let signature = envelope::sign(token, &timestamp, nonce, &sealed);
        let url = self.stack.webhook("wecom", &self.name);
        let url = format!("{url}?msg_signature={signature}&timestamp={timestamp}&nonce={nonce}");
        let body = format!(
            "<xml><ToUserName><![CDATA[{CORP}]]></ToUserName><Encrypt><![CDATA[{sealed}]]></Encrypt>\
             <AgentID><![CDATA[1000002]]></AgentID></xml>"
        );
        self.stack.post(&url, &[("content-type", "text/xml")], body).await
    }

    /// Waits until the bot has sent `count` messages to a member, and returns their texts.
    pub async fn texts(&self, member: &str, count: usize) -> Vec<String> {
        eventually(&format!("{count} messages to {member}"), async || {
            let requests = self.api.received_requests().await.expect("requests are recorded");
            let bodies = requests.iter().filter_map(|request| serde_json::from_slice::<Value>(&request.body).ok());
            let texts: Vec<String> = bodies
                .filter(|body| body["touser"] == member)
                .map(|body| body["text"]["content"].as_str().expect("a text").to_owned())
                .collect();
            (texts.len() >= count).then_some(texts)
        })
        .await
    }
}

/// A text message as WeCom encrypts it.
#[must_use]
pub fn message(member: &str, id: u64, text: &str) -> String {
    format!(
        "<xml><ToUserName><![CDATA[{CORP}]]></ToUserName><FromUserName><![CDATA[{member}]]></FromUserName>\
         <CreateTime>{}</CreateTime><MsgType><![CDATA[text]]></MsgType><Content><![CDATA[{text}]]></Content>\
         <MsgId>{id}</MsgId><AgentID>1000002</AgentID></xml>",
        now()
    )
}

/// Seconds since the epoch.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs()
}

/// The right token of every application here.
pub const RIGHT_TOKEN: &str = TOKEN;
