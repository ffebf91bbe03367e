//! Discord's side.

use hoopoe_message::Timestamp;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{Method, StatusCode};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::{Discord, markdown};
use crate::contract::counterpart::{Answer, Counterpart, has_header, json_of, text_at};
use crate::crypto::signature::posted_ed25519;

const APPLICATION: &str = "110000000000000001";
const BOT_TOKEN: &str = "counterpart.bot.token";
const TOKEN: &str = "counterpart-interaction-token";
const SEED: &[u8; 32] = b"the seed of discord's side, 32 b";

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(SEED).expect("32 bytes")
}

impl Counterpart for Discord {
    const SIGNS_BODY: bool = true;
    const SIGNS_TIME: bool = true;

    fn settings(api_base: &str) -> Value {
        json!({
            "application_id": APPLICATION,
            "public_key": hex::encode(pair().public_key()),
            "bot_token": BOT_TOKEN,
            "api_base": api_base,
        })
    }

    fn message(person: u32, message: u32, text: &str, _api_base: &str, _now: Timestamp) -> Vec<u8> {
        let person = 220_000_000_000_000_000 + u64::from(person);
        json!({
            "version": 1,
            "type": 2,
            "id": (330_000_000_000_000_000 + u64::from(message)).to_string(),
            "application_id": APPLICATION,
            "token": format!("{TOKEN}-{message}"),
            "channel_id": (person + 1_000_000_000_000_000).to_string(),
            "context": 1,
            "user": { "id": person.to_string(), "username": "ada", "bot": false },
            "data": {
                "id": "440000000000000001",
                "type": 1,
                "name": "ask",
                "options": [{ "name": "question", "type": 3, "value": text }],
            },
        })
        .to_string()
        .into_bytes()
    }

    fn posts(told: &[u8], _api_base: &str, now: Timestamp) -> http::Request<Vec<u8>> {
        posted_ed25519(&pair(), told, now)
    }

    fn answer(request: &http::Request<Vec<u8>>) -> Answer {
        let agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        if !agent.starts_with("DiscordBot (") || !has_header(request, CONTENT_TYPE.as_str(), "application/json") {
            return refused(StatusCode::FORBIDDEN, 0, "error code: 1010");
        }
        let body = json_of(request);
        let path = request.uri().path();
        if (request.method(), path) == (&Method::PUT, &*format!("/applications/{APPLICATION}/commands")) {
            let known = has_header(request, AUTHORIZATION.as_str(), &format!("Bot {BOT_TOKEN}"));
            return if known { Answer::told(body) } else { refused(StatusCode::UNAUTHORIZED, 0, "401: Unauthorized") };
        }
        let webhook = path.strip_prefix(&format!("/webhooks/{APPLICATION}/"));
        let (token, message) = webhook.map_or(("", None), |webhook| match webhook.split_once('/') {
            Some((token, message)) => (token, Some(message)),
            None => (webhook, None),
        });
        if !token.starts_with(TOKEN) {
            return refused(StatusCode::UNAUTHORIZED, 50_027, "Invalid Webhook Token");
        }
        match (request.method(), message) {
            (&Method::PATCH, Some("messages/@original")) | (&Method::POST, None) => say(&body),
            _ => refused(StatusCode::NOT_FOUND, 0, "404: Not Found"),
        }
    }
}

fn say(body: &Value) -> Answer {
    let content = text_at(body, "/content");
    let mut buttons = Vec::new();
    let mut ids = Vec::new();
    for row in body["components"].as_array().into_iter().flatten() {
        let of_row = row["components"].as_array().map(Vec::as_slice).unwrap_or_default();
        let formed = row["type"] == 1 && (1..=5).contains(&of_row.len());
        for button in of_row {
            let (label, id) = (text_at(button, "/label"), text_at(button, "/custom_id"));
            let fits = (1..=80).contains(&label.chars().count()) && (1..=100).contains(&id.chars().count());
            if !formed || button["type"] != 2 || !fits || ids.contains(&id) {
                return refused(StatusCode::BAD_REQUEST, 50_035, "Invalid Form Body");
            }
            buttons.push(label.to_owned());
            ids.push(id);
        }
    }
    let silent = body["allowed_mentions"]["parse"].as_array().is_some_and(Vec::is_empty);
    if !(1..=2000).contains(&content.chars().count()) || !silent {
        return refused(StatusCode::BAD_REQUEST, 50_035, "Invalid Form Body");
    }
    let message = json!({ "id": "550000000000000001", "type": 0, "content": content });
    Answer::taken(message, markdown::shown(content), buttons)
}

fn refused(status: StatusCode, code: i64, message: &str) -> Answer {
    Answer::refused(status, json!({ "message": message, "code": code }))
}
