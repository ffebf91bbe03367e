//! LINE's side.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hoopoe_message::Timestamp;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Line;
use crate::contract::counterpart::{Answer, Counterpart, has_header, json_of, text_at};
use crate::crypto::signature::hmac_sha256;

const CHANNEL_SECRET: &str = "c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0";
const CHANNEL_ACCESS_TOKEN: &str = "counterpart+channel/access.token=";
const BOT: &str = "Ub000000000000000000000000000000b";

impl Counterpart for Line {
    const SIGNS_BODY: bool = true;
    const SIGNS_TIME: bool = false;

    fn settings(api_base: &str) -> Value {
        json!({
            "channel_secret": CHANNEL_SECRET,
            "channel_access_token": CHANNEL_ACCESS_TOKEN,
            "bot_user_id": BOT,
            "api_base": api_base,
        })
    }

    fn message(person: u32, message: u32, text: &str, _api_base: &str, now: Timestamp) -> Vec<u8> {
        json!({
            "destination": BOT,
            "events": [{
                "type": "message",
                "message": {
                    "type": "text",
                    "id": (500_000_000_000_000_000 + u64::from(message)).to_string(),
                    "quoteToken": format!("quote{message}"),
                    "markAsReadToken": format!("read{message}"),
                    "text": text,
                },
                "webhookEventId": format!("01K{message:023}"),
                "deliveryContext": {"isRedelivery": false},
                "timestamp": now.as_secs() * 1000,
                "source": {"type": "user", "userId": format!("U{person:032x}")},
                "replyToken": format!("{message:032x}"),
                "mode": "active",
            }],
        })
        .to_string()
        .into_bytes()
    }

    fn posts(told: &[u8], _api_base: &str, _now: Timestamp) -> http::Request<Vec<u8>> {
        let signature = STANDARD.encode(hmac_sha256(CHANNEL_SECRET.as_bytes(), &[told]));
        http::Request::builder()
            .method(Method::POST)
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .header("x-line-signature", signature)
            .body(told.to_vec())
            .expect("a valid request")
    }

    fn answer(request: &http::Request<Vec<u8>>) -> Answer {
        if !has_header(request, AUTHORIZATION.as_str(), &format!("Bearer {CHANNEL_ACCESS_TOKEN}")) {
            return refused(
                StatusCode::UNAUTHORIZED,
                "Authentication failed due to the following reason: invalid token.",
            );
        }
        let body = json_of(request);
        let retry_key = request.headers().contains_key("x-line-retry-key");
        match (request.method().as_str(), request.uri().path()) {
            // Only pushes take a retry key, and they have to: without one they could not be repeated.
            ("POST", "/v2/bot/message/reply") if !retry_key && is_reply_token(text_at(&body, "/replyToken")) => {
                send(&body)
            }
            ("POST", "/v2/bot/message/reply") => refused(StatusCode::BAD_REQUEST, "Invalid reply token"),
            ("POST", "/v2/bot/message/push") if retry_key && !text_at(&body, "/to").is_empty() => send(&body),
            ("POST", "/v2/bot/message/push") => refused(StatusCode::BAD_REQUEST, "Failed to send messages"),
            ("GET", "/v2/bot/info") => {
                Answer::told(json!({"userId": BOT, "basicId": "@counterpart", "displayName": "Hoopoe"}))
            }
            ("PUT", "/v2/bot/channel/webhook/endpoint") if text_at(&body, "/endpoint").starts_with("https://") => {
                Answer::told(json!({}))
            }
            ("PUT", "/v2/bot/channel/webhook/endpoint") => {
                refused(StatusCode::BAD_REQUEST, "Invalid webhook endpoint URL")
            }
            _ => refused(StatusCode::NOT_FOUND, "Not found"),
        }
    }
}

fn is_reply_token(token: &str) -> bool {
    token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Takes one to five texts of the documented shape.
fn send(body: &Value) -> Answer {
    let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_text = |message: &Value| {
        message["type"] == "text" && (1..=5000).contains(&text_at(message, "/text").encode_utf16().count())
    };
    if !(1..=5).contains(&messages.len()) || !messages.iter().all(is_text) {
        return refused(StatusCode::BAD_REQUEST, "The request body has 1 error(s)");
    }
    let texts: Vec<_> = messages.iter().map(|message| text_at(message, "/text")).collect();
    let shown = messages.last().and_then(|message| message.pointer("/quickReply/items")?.as_array());
    let buttons = shown.into_iter().flatten().map(|item| text_at(item, "/action/label").to_owned()).collect();
    let sent: Vec<_> = (1..=messages.len()).map(|id| json!({"id": id.to_string()})).collect();
    Answer::taken(json!({ "sentMessages": sent }), texts.join("\n"), buttons)
}

fn refused(status: StatusCode, message: &str) -> Answer {
    Answer::refused(status, json!({ "message": message }))
}
