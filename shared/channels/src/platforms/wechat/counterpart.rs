//! WeChat's side, of an account in 安全模式.

use hoopoe_message::Timestamp;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{MAX_TEXT_BYTES, Wechat, ZERO_WIDTH_SPACE};
use crate::contract::counterpart::{Answer, Counterpart, json_of, text_at};
use crate::crypto::envelope::{self, Key};
use crate::text::xml::cdata;

const APP: &str = "wxcounterpart0001";
const ACCOUNT: &str = "gh_counterpart";
const SECRET: &str = "counterpart-secret";
const TOKEN: &str = "counterpartToken";
const AES_KEY: &str = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C";
const ACCESS_TOKEN: &str = "counterpart-access-token";

impl Counterpart for Wechat {
    const SIGNS_BODY: bool = true;
    const SIGNS_TIME: bool = true;

    fn settings(api_base: &str) -> Value {
        json!({
            "app_id": APP,
            "app_secret": SECRET,
            "token": TOKEN,
            "encoding_aes_key": AES_KEY,
            "api_base": api_base,
        })
    }

    fn message(person: u32, message: u32, text: &str, _api_base: &str, now: Timestamp) -> Vec<u8> {
        let user = open_id(person);
        format!(
            "<xml><ToUserName><![CDATA[{ACCOUNT}]]></ToUserName><FromUserName><![CDATA[{user}]]></FromUserName>\
             <CreateTime>{now}</CreateTime><MsgType><![CDATA[text]]></MsgType><Content>{text}</Content>\
             <MsgId>{message}</MsgId></xml>",
            now = now.as_secs(),
            text = cdata(text),
        )
        .into_bytes()
    }

    fn posts(told: &[u8], _api_base: &str, now: Timestamp) -> http::Request<Vec<u8>> {
        let key = Key::decode(AES_KEY).expect("43 characters");
        let sealed = envelope::seal(&key, *b"counterpart 16 b", told, APP);
        let (timestamp, nonce) = (now.as_secs().to_string(), "1372623149");
        let plain = envelope::sign(TOKEN, &timestamp, nonce, "");
        let signature = envelope::sign(TOKEN, &timestamp, nonce, &sealed);
        let body =
            format!("<xml><ToUserName><![CDATA[{ACCOUNT}]]></ToUserName><Encrypt><![CDATA[{sealed}]]></Encrypt></xml>");
        http::Request::builder()
            .method(Method::POST)
            .uri(format!(
                "/?signature={plain}&timestamp={timestamp}&nonce={nonce}&openid=sealed&encrypt_type=aes\
                 &msg_signature={signature}"
            ))
            .header(CONTENT_TYPE, "text/xml")
            .body(body.into_bytes())
            .expect("a valid request")
    }

    fn answer(request: &http::Request<Vec<u8>>) -> Answer {
        let body = json_of(request);
        match (request.uri().path(), request.uri().query()) {
            _ if request.method() != Method::POST => refused(43002, "require POST method"),
            ("/cgi-bin/stable_token", None) => {
                let asked = json!({"grant_type": "client_credential", "appid": APP, "secret": SECRET});
                if body == asked {
                    Answer::told(json!({"access_token": ACCESS_TOKEN, "expires_in": 7200}))
                } else {
                    refused(40125, "invalid appsecret")
                }
            }
            ("/cgi-bin/message/custom/send", Some("access_token=counterpart%2Daccess%2Dtoken")) => sent(&body),
            _ => refused(40001, "invalid credential, access_token is invalid or not latest"),
        }
    }
}

/// 28 characters, as WeChat's are.
fn open_id(person: u32) -> String {
    format!("oCounterpart{person:016}")
}

fn sent(body: &Value) -> Answer {
    let taken = json!({"errcode": 0, "errmsg": "ok"});
    let shown = |text: &str| text.replace(&format!("<{ZERO_WIDTH_SPACE}"), "<");
    if !text_at(body, "/touser").starts_with("oCounterpart") {
        return refused(40003, "invalid openid");
    }
    match text_at(body, "/msgtype") {
        "text" => match text_at(body, "/text/content") {
            "" => refused(44004, "empty content"),
            text if text.len() > MAX_TEXT_BYTES => refused(45002, "content size out of limit"),
            text => Answer::taken(taken, shown(text), Vec::new()),
        },
        "msgmenu" => {
            let entries = body.pointer("/msgmenu/list").and_then(Value::as_array).cloned().unwrap_or_default();
            let complete = |entry: &Value| !text_at(entry, "/id").is_empty() && !text_at(entry, "/content").is_empty();
            if entries.is_empty() || !entries.iter().all(complete) {
                return refused(40035, "invalid parameter");
            }
            let buttons = entries.iter().map(|entry| shown(text_at(entry, "/content"))).collect();
            Answer::taken(taken, shown(text_at(body, "/msgmenu/head_content")), buttons)
        }
        _ => refused(40008, "invalid message type"),
    }
}

fn refused(code: i64, message: &str) -> Answer {
    Answer::refused(StatusCode::OK, json!({"errcode": code, "errmsg": message}))
}
