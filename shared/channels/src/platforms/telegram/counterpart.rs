//! Telegram's side.

use hoopoe_message::Timestamp;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Telegram;
use crate::contract::counterpart::{Answer, Counterpart, json_of, text_at};
use crate::contract::settings::is_invented;

const BOT_TOKEN: &str = "123456789:counterpart_token-0000000000000000000";
const SECRET_TOKEN: &str = "counterpart-secret_1";
/// Where it posts as long as nobody asked for another place.
const WEBHOOK_URL: &str = "https://bot.example/telegram/main";

impl Counterpart for Telegram {
    const SIGNS_BODY: bool = false;
    const SIGNS_TIME: bool = false;

    fn settings(api_base: &str) -> Value {
        json!({
            "bot_token": BOT_TOKEN,
            "secret_token": SECRET_TOKEN,
            "bot_username": "hoopoe_counterpart_bot",
            "api_base": api_base,
        })
    }

    fn message(person: u32, message: u32, text: &str, _api_base: &str, now: Timestamp) -> Vec<u8> {
        json!({
            "update_id": 700_000_000 + u64::from(message),
            "message": {
                "message_id": message,
                "from": {"id": person, "is_bot": false, "first_name": "Ada"},
                "chat": {"id": person, "type": "private", "first_name": "Ada"},
                "date": now.as_secs(),
                "text": text,
            },
        })
        .to_string()
        .into_bytes()
    }

    fn posts(told: &[u8], _api_base: &str, _now: Timestamp) -> http::Request<Vec<u8>> {
        http::Request::builder()
            .method(Method::POST)
            .header(CONTENT_TYPE, "application/json")
            .header("x-telegram-bot-api-secret-token", SECRET_TOKEN)
            .body(told.to_vec())
            .expect("a valid request")
    }

    fn answer(request: &http::Request<Vec<u8>>) -> Answer {
        let Some(method) = request.uri().path().strip_prefix(&format!("/bot{BOT_TOKEN}/")) else {
            return refused(StatusCode::UNAUTHORIZED, "Unauthorized");
        };
        match method {
            "sendMessage" => {
                let body = json_of(request);
                let rows = body.pointer("/reply_markup/keyboard").and_then(Value::as_array).into_iter().flatten();
                let buttons = rows.map(|row| text_at(row, "/0/text").to_owned()).collect();
                let taken = json!({"ok": true, "result": {"message_id": 1}});
                Answer::taken(taken, text_at(&body, "/text"), buttons)
            }
            "getMe" => Answer::told(json!({"ok": true, "result": {"username": "hoopoe_counterpart_bot"}})),
            "getWebhookInfo" => {
                let result = json!({"url": WEBHOOK_URL, "has_custom_certificate": false, "pending_update_count": 0});
                Answer::told(json!({ "ok": true, "result": result }))
            }
            "setWebhook" => {
                let body = json_of(request);
                if !text_at(&body, "/url").starts_with("https://") {
                    return refused(
                        StatusCode::BAD_REQUEST,
                        "Bad Request: bad webhook: An HTTPS URL must be provided for webhook",
                    );
                }
                if !is_invented(text_at(&body, "/secret_token")) {
                    return refused(StatusCode::BAD_REQUEST, "Bad Request: secret token contains unallowed characters");
                }
                Answer::told(json!({"ok": true, "result": true, "description": "Webhook was set"}))
            }
            _ => refused(StatusCode::NOT_FOUND, "Not Found"),
        }
    }
}

fn refused(status: StatusCode, description: &str) -> Answer {
    Answer::refused(status, json!({"ok": false, "error_code": status.as_u16(), "description": description}))
}
