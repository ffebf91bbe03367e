//! WeCom's side.

use hoopoe_message::Timestamp;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Wecom;
use crate::contract::counterpart::{Answer, Counterpart, json_of, text_at};
use crate::crypto::envelope::{self, Key};

const CORP: &str = "wwcounterpart0001";
const AGENT: u64 = 1_000_002;
const SECRET: &str = "counterpart-secret";
const TOKEN: &str = "counterpartToken";
const AES_KEY: &str = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C";
const ACCESS_TOKEN: &str = "counterpart-access-token";

impl Counterpart for Wecom {
    const SIGNS_BODY: bool = true;
    const SIGNS_TIME: bool = true;

    fn settings(api_base: &str) -> Value {
        json!({
            "corp_id": CORP,
            "agent_id": AGENT,
            "secret": SECRET,
            "token": TOKEN,
            "encoding_aes_key": AES_KEY,
            "api_base": api_base,
        })
    }

    fn message(person: u32, message: u32, text: &str, _api_base: &str, now: Timestamp) -> Vec<u8> {
        format!(
            "<xml><ToUserName><![CDATA[{CORP}]]></ToUserName><FromUserName><![CDATA[member{person}]]></FromUserName>\
             <CreateTime>{now}</CreateTime><MsgType><![CDATA[text]]></MsgType><Content><![CDATA[{text}]]></Content>\
             <MsgId>{message}</MsgId><AgentID>{AGENT}</AgentID></xml>",
            now = now.as_secs(),
        )
        .into_bytes()
    }

    fn posts(told: &[u8], _api_base: &str, now: Timestamp) -> http::Request<Vec<u8>> {
        let key = Key::decode(AES_KEY).expect("43 characters");
        let sealed = envelope::seal(&key, *b"counterpart 16 b", told, CORP);
        let (timestamp, nonce) = (now.as_secs().to_string(), "1372623149");
        let signature = envelope::sign(TOKEN, &timestamp, nonce, &sealed);
        let body = format!(
            "<xml><ToUserName><![CDATA[{CORP}]]></ToUserName><Encrypt><![CDATA[{sealed}]]></Encrypt>\
             <AgentID><![CDATA[{AGENT}]]></AgentID></xml>"
        );
        http::Request::builder()
            .method(Method::POST)
            .uri(format!("/?msg_signature={signature}&timestamp={timestamp}&nonce={nonce}"))
            .header(CONTENT_TYPE, "text/xml")
            .body(body.into_bytes())
            .expect("a valid request")
    }

    fn answer(request: &http::Request<Vec<u8>>) -> Answer {
        let query = request.uri().query().unwrap_or_default();
        match request.uri().path() {
            "/cgi-bin/gettoken" if query == format!("corpid={CORP}&corpsecret=counterpart%2Dsecret") => {
                Answer::told(json!({"errcode": 0, "errmsg": "ok", "access_token": ACCESS_TOKEN, "expires_in": 7200}))
            }
            "/cgi-bin/gettoken" => {
                Answer::refused(StatusCode::OK, json!({"errcode": 40001, "errmsg": "invalid credential"}))
            }
            "/cgi-bin/message/send" if query == "access_token=counterpart%2Daccess%2Dtoken" => {
                let taken = json!({"errcode": 0, "errmsg": "ok", "msgid": "m"});
                Answer::taken(taken, text_at(&json_of(request), "/text/content"), Vec::new())
            }
            _ => Answer::refused(StatusCode::OK, json!({"errcode": 40014, "errmsg": "invalid access_token"})),
        }
    }
}
