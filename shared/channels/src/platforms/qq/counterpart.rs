//! QQ's side.

use hoopoe_message::Timestamp;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Qq, Room, key_pair};
use crate::contract::counterpart::{Answer, Counterpart, has_header, json_of, text_at};
use crate::crypto::signature::posted_ed25519;

const APP_ID: &str = "102000001";
const APP_SECRET: &str = "counterpartSecret";
const ACCESS_TOKEN: &str = "counterpart-access-token";

impl Counterpart for Qq {
    const SIGNS_BODY: bool = true;
    const SIGNS_TIME: bool = true;

    fn settings(api_base: &str) -> Value {
        json!({ "app_id": APP_ID, "app_secret": APP_SECRET, "api_base": api_base })
    }

    fn message(person: u32, message: u32, text: &str, _api_base: &str, _now: Timestamp) -> Vec<u8> {
        json!({
            "op": 0,
            "s": message,
            "t": "C2C_MESSAGE_CREATE",
            "id": format!("C2C_MESSAGE_CREATE:{message}"),
            "d": {
                "id": format!("ROBOT1.0_{message}!"),
                "author": { "user_openid": format!("{person:032X}") },
                "content": text,
                "timestamp": "2026-01-01T08:00:00+08:00",
            },
        })
        .to_string()
        .into_bytes()
    }

    fn posts(told: &[u8], _api_base: &str, now: Timestamp) -> http::Request<Vec<u8>> {
        posted_ed25519(&key_pair(APP_SECRET).expect("a secret"), told, now)
    }

    fn answer(request: &http::Request<Vec<u8>>) -> Answer {
        let body = json_of(request);
        if request.method() != Method::POST || !has_header(request, CONTENT_TYPE.as_str(), "application/json") {
            return refused(StatusCode::METHOD_NOT_ALLOWED, 12_002, "RequestInvalid");
        }
        if request.uri().path() == "/app/getAppAccessToken" {
            let known = text_at(&body, "/appId") == APP_ID && text_at(&body, "/clientSecret") == APP_SECRET;
            return Answer::told(if known {
                json!({ "access_token": ACCESS_TOKEN, "expires_in": "7200" })
            } else {
                json!({ "code": 100_016, "message": "invalid appid or secret" })
            });
        }
        if !has_header(request, "authorization", &format!("QQBot {ACCESS_TOKEN}")) {
            return refused(StatusCode::UNAUTHORIZED, 11_244, "token not exist or expire");
        }
        let Some(room) = room(request.uri().path()) else {
            return refused(StatusCode::NOT_FOUND, 12_002, "RequestInvalid");
        };
        let answers = ["/msg_id", "/event_id"].iter().filter(|id| !text_at(&body, id).is_empty()).count();
        let content = text_at(&body, "/content");
        let numbered = body["msg_type"] == 0 && body["msg_seq"].as_u64().is_some_and(|number| number > 0);
        if answers != 1 || numbered != matches!(room, Room::User(_) | Room::Group(_)) {
            return refused(StatusCode::BAD_REQUEST, 40_034_024, "请求参数msg_id无效或越权");
        }
        if content.is_empty() || content.encode_utf16().count() > room.limit() {
            return refused(StatusCode::BAD_REQUEST, 40_054_007, "消息长度超限");
        }
        Answer::taken(json!({ "id": "ROBOT1.0_reply!", "timestamp": 1 }), room.shown(content), Vec::new())
    }
}

fn room(path: &str) -> Option<Room> {
    let path = path.strip_prefix('/')?.strip_suffix("/messages")?;
    let (kind, id) = path.rsplit_once('/')?;
    Some(match kind {
        "v2/users" => Room::User(id.into()),
        "v2/groups" => Room::Group(id.into()),
        "channels" => Room::Channel(id.into()),
        "dms" => Room::Direct(id.into()),
        _ => return None,
    })
}

fn refused(status: StatusCode, code: i64, message: &str) -> Answer {
    Answer::refused(status, json!({ "message": message, "code": code, "err_code": code, "trace_id": "0" }))
}
