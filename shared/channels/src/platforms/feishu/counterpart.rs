//! Feishu's side.

use hoopoe_message::Timestamp;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Feishu, cipher};
use crate::contract::counterpart::{Answer, Counterpart, has_header, json_of, text_at};

const APP: &str = "cli_counterpart00001";
const APP_SECRET: &str = "counterpart-app-secret";
const VERIFICATION_TOKEN: &str = "counterpartVerificationToken";
const ENCRYPT_KEY: &str = "counterpart-encrypt-key";
const ACCESS_TOKEN: &str = "t-counterpart-access-token";

/// The limit of a card and of a rich text.
const MAX_BYTES: usize = 30 * 1024;

impl Counterpart for Feishu {
    const SIGNS_BODY: bool = true;
    const SIGNS_TIME: bool = true;

    fn settings(api_base: &str) -> Value {
        json!({
            "app_id": APP,
            "app_secret": APP_SECRET,
            "verification_token": VERIFICATION_TOKEN,
            "encrypt_key": ENCRYPT_KEY,
            "api_base": api_base,
        })
    }

    fn message(person: u32, message: u32, text: &str, _api_base: &str, now: Timestamp) -> Vec<u8> {
        let milliseconds = format!("{}000", now.as_secs());
        json!({
            "schema": "2.0",
            "header": {
                "event_id": format!("{message:032x}"),
                "event_type": "im.message.receive_v1",
                "create_time": milliseconds,
                "token": VERIFICATION_TOKEN,
                "app_id": APP,
                "tenant_key": "counterpart",
            },
            "event": {
                "sender": {
                    "sender_id": {"open_id": format!("ou_{person:032x}"), "union_id": format!("on_{person:032x}")},
                    "sender_type": "user",
                    "tenant_key": "counterpart",
                },
                "message": {
                    "message_id": format!("om_{message:032x}"),
                    "chat_id": format!("oc_{person:032x}"),
                    "chat_type": "p2p",
                    "message_type": "text",
                    "content": json!({ "text": text }).to_string(),
                    "create_time": milliseconds,
                    "update_time": milliseconds,
                },
            },
        })
        .to_string()
        .into_bytes()
    }

    fn posts(told: &[u8], _api_base: &str, now: Timestamp) -> http::Request<Vec<u8>> {
        let sealed = cipher::seal(ENCRYPT_KEY, *b"counterpart 16 b", told);
        let body = json!({ "encrypt": sealed }).to_string().into_bytes();
        let (timestamp, nonce) = (now.as_secs().to_string(), "137262314");
        http::Request::builder()
            .method(Method::POST)
            .header(CONTENT_TYPE, "application/json;charset=utf-8")
            .header("x-lark-signature", cipher::sign(ENCRYPT_KEY, &timestamp, nonce, &body))
            .header("x-lark-request-timestamp", timestamp)
            .header("x-lark-request-nonce", nonce)
            .body(body)
            .expect("a valid request")
    }

    fn answer(request: &http::Request<Vec<u8>>) -> Answer {
        let body = json_of(request);
        let path = request.uri().path().strip_prefix("/open-apis/").unwrap_or_default();
        let typed = has_header(request, "content-type", "application/json; charset=utf-8");
        if request.method() != Method::POST || !typed {
            return refused(9499, "Bad Request");
        }
        if path == "auth/v3/tenant_access_token/internal" {
            return if body == json!({ "app_id": APP, "app_secret": APP_SECRET }) {
                let token = json!({"code": 0, "msg": "ok", "tenant_access_token": ACCESS_TOKEN, "expire": 7200});
                Answer::told(token)
            } else {
                refused(10014, "app secret invalid")
            };
        }
        if !has_header(request, "authorization", &format!("Bearer {ACCESS_TOKEN}")) {
            return refused(
                99991663,
                "Invalid access token for authorization. Please make a test with token attached.",
            );
        }
        let replied = path.strip_prefix("im/v1/messages/").and_then(|rest| rest.strip_suffix("/reply"));
        let to_message = replied.is_some_and(|id| id.starts_with("om_"));
        let to_chat = path == "im/v1/messages"
            && request.uri().query() == Some("receive_id_type=chat_id")
            && text_at(&body, "/receive_id").starts_with("oc_");
        if !to_message && !to_chat {
            return refused(99991201, "resource not find");
        }
        let uuid = text_at(&body, "/uuid").len();
        if request.body().len() > MAX_BYTES || !(1..=50).contains(&uuid) {
            return refused(230025, "The length of the message content reaches its limit.");
        }
        let content = serde_json::from_str(text_at(&body, "/content")).unwrap_or_default();
        let shown = match text_at(&body, "/msg_type") {
            "post" => post(&content).map(|text| (text, Vec::new())),
            "interactive" => card(&content),
            _ => None,
        };
        let taken = json!({"code": 0, "msg": "success", "data": {"message_id": "om_taken"}});
        shown.map_or_else(
            || refused(230001, "Your request contains an invalid request parameter."),
            |(text, buttons)| Answer::taken(taken, text, buttons),
        )
    }
}

fn refused(code: u32, msg: &str) -> Answer {
    Answer::refused(StatusCode::BAD_REQUEST, json!({ "code": code, "msg": msg }))
}

/// The words of a rich text, which are shown as they are.
fn post(content: &Value) -> Option<String> {
    let paragraphs = content.pointer("/zh_cn/content")?.as_array()?;
    let texts = paragraphs.iter().map(|nodes| {
        let nodes = nodes.as_array()?.iter();
        nodes.map(|node| (node["tag"] == "text").then(|| node["text"].as_str()).flatten()).collect::<Option<String>>()
    });
    Some(texts.collect::<Option<Vec<_>>>()?.join("\n"))
}

/// The words of a card and of its buttons.
fn card(content: &Value) -> Option<(String, Vec<String>)> {
    let (mut text, mut buttons) = (None, Vec::new());
    for element in content["elements"].as_array()? {
        match element["tag"].as_str()? {
            "div" => text = Some(plain_text(&element["text"])?),
            "action" => {
                for action in element["actions"].as_array()?.iter().filter(|action| action["tag"] == "button") {
                    buttons.push(plain_text(&action["text"]).filter(|words| words.chars().count() <= 100)?);
                }
            }
            _ => return None,
        }
    }
    Some((text?, buttons))
}

fn plain_text(text: &Value) -> Option<String> {
    (text["tag"] == "plain_text").then(|| text["content"].as_str().map(str::to_owned)).flatten()
}
