//! DingTalk's side.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hoopoe_message::Timestamp;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Dingtalk;
use crate::contract::counterpart::{Answer, Counterpart, has_header, json_of, text_at};
use crate::crypto::signature::hmac_sha256;

const APP_KEY: &str = "dingcounterpartkey01";
const APP_SECRET: &str = "counterpart-secret_-0001";
const ROBOT_CODE: &str = "dingcounterpartrobot";
const CORP: &str = "dingcounterpartcorp0";
const TOKEN: &str = "counterpartToken";
const AES_KEY: &str = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C";
const ACCESS_TOKEN: &str = "counterpart-access-token";
const SESSION: &str = "/robot/sendBySession?session=counterpart";

/// A session's webhook is good for an hour and a half.
const SESSION_MILLIS: u64 = 90 * 60 * 1000;

impl Counterpart for Dingtalk {
    const SIGNS_BODY: bool = false;
    const SIGNS_TIME: bool = true;

    fn settings(api_base: &str) -> Value {
        json!({
            "app_key": APP_KEY,
            "app_secret": APP_SECRET,
            "robot_code": ROBOT_CODE,
            "corp_id": CORP,
            "token": TOKEN,
            "encoding_aes_key": AES_KEY,
            "api_base": api_base,
        })
    }

    fn message(person: u32, message: u32, text: &str, api_base: &str, now: Timestamp) -> Vec<u8> {
        json!({
            "conversationId": format!("cidcounterpart{person}=="),
            "conversationType": "1",
            "chatbotCorpId": CORP,
            "chatbotUserId": "$:LWCP_v1:$counterpart",
            "robotCode": ROBOT_CODE,
            "msgId": format!("msgcounterpart{message}=="),
            "senderNick": "Ada",
            "senderStaffId": format!("{person}"),
            "senderId": format!("$:LWCP_v1:${person}"),
            "senderCorpId": CORP,
            "createAt": now.as_millis(),
            "sessionWebhook": format!("{api_base}{SESSION}"),
            "sessionWebhookExpiredTime": now.as_millis() + SESSION_MILLIS,
            "msgtype": "text",
            "text": { "content": text },
        })
        .to_string()
        .into_bytes()
    }

    fn posts(told: &[u8], _api_base: &str, now: Timestamp) -> http::Request<Vec<u8>> {
        let timestamp = now.as_millis().to_string();
        let secret = APP_SECRET.as_bytes();
        let sign = STANDARD.encode(hmac_sha256(secret, &[timestamp.as_bytes(), b"\n", secret]));
        http::Request::builder()
            .method(Method::POST)
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .header("timestamp", timestamp)
            .header("sign", sign)
            .body(told.to_vec())
            .expect("a valid request")
    }

    fn answer(request: &http::Request<Vec<u8>>) -> Answer {
        let body = json_of(request);
        let post = request.method() == Method::POST;
        let allowed = post && has_header(request, "x-acs-dingtalk-access-token", ACCESS_TOKEN);
        match request.uri().to_string().as_str() {
            SESSION if post && text_at(&body, "/msgtype") == "text" => {
                let text = text_at(&body, "/text/content");
                // The name of who is mentioned is shown in place of the id.
                let mentioned = body.pointer("/at/atUserIds/0").and_then(Value::as_str);
                let shown = mentioned.and_then(|id| text.strip_prefix(&format!("@{id} "))).unwrap_or(text);
                Answer::taken(json!({ "errcode": 0, "errmsg": "ok" }), shown, Vec::new())
            }
            "/v1.0/oauth2/accessToken" if post && body == json!({ "appKey": APP_KEY, "appSecret": APP_SECRET }) => {
                Answer::told(json!({ "accessToken": ACCESS_TOKEN, "expireIn": 7200 }))
            }
            "/v1.0/oauth2/accessToken" if post => {
                let refusal = json!({ "code": "invalidClientIdOrSecret", "message": "无效的clientId或者clientSecret" });
                Answer::refused(StatusCode::BAD_REQUEST, refusal)
            }
            "/v1.0/robot/oToMessages/batchSend"
                if allowed && body["userIds"].as_array().is_some_and(|users| (1..=20).contains(&users.len())) =>
            {
                sent(&body)
            }
            "/v1.0/robot/groupMessages/send" if allowed && !text_at(&body, "/openConversationId").is_empty() => {
                sent(&body)
            }
            _ => {
                let refusal = json!({ "code": "InvalidAuthentication", "message": "不合法的access_token" });
                Answer::refused(StatusCode::BAD_REQUEST, refusal)
            }
        }
    }
}

fn sent(body: &Value) -> Answer {
    let refused = |code: &str| Answer::refused(StatusCode::BAD_REQUEST, json!({ "code": code, "message": "" }));
    if text_at(body, "/robotCode") != ROBOT_CODE {
        return refused("invalidParameter.robotCode.notExsit");
    }
    if text_at(body, "/msgKey") != "sampleText" {
        return refused("invalidParameter.msgKey.invalid");
    }
    let parameter = text_at(body, "/msgParam");
    if parameter.len() > 15_000 {
        return refused("invalidParameter.msgParam.tooLong");
    }
    match serde_json::from_str::<Value>(parameter) {
        Ok(parameter) => Answer::taken(
            json!({ "processQueryKey": "k", "invalidStaffIdList": [], "flowControlledStaffIdList": [] }),
            text_at(&parameter, "/content"),
            Vec::new(),
        ),
        Err(_) => refused("invalidParameter.msgParam.invalid"),
    }
}
