//! Slack's side.

use std::collections::HashSet;

use hoopoe_message::Timestamp;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Slack, text};
use crate::contract::counterpart::{Answer, Counterpart, Shown, has_header, json_of, text_at};
use crate::crypto::signature::hmac_sha256;

const SIGNING_SECRET: &str = "c0de0000000000000000000000000001";
const BOT_TOKEN: &str = "xoxb-100000000001-100000000002-counterpartToken";
const APP: &str = "A0COUNTERPT";
const TEAM: &str = "T0COUNTERPT";
const BOT: &str = "U0COUNTERPT";

impl Counterpart for Slack {
    const SIGNS_BODY: bool = true;
    const SIGNS_TIME: bool = true;

    fn settings(api_base: &str) -> Value {
        json!({
            "signing_secret": SIGNING_SECRET,
            "bot_token": BOT_TOKEN,
            "app_id": APP,
            "api_base": api_base,
        })
    }

    fn message(person: u32, message: u32, text: &str, _api_base: &str, now: Timestamp) -> Vec<u8> {
        let ts = format!("{}.{message:06}", now.as_secs());
        json!({
            "team_id": TEAM,
            "api_app_id": APP,
            "event": {
                "type": "message",
                "channel_type": "im",
                "channel": format!("D{person:010}"),
                "user": format!("U{person:010}"),
                "team": TEAM,
                "text": text::escape(text),
                "ts": ts,
                "event_ts": ts,
            },
            "type": "event_callback",
            "event_id": format!("Ev{message:010}"),
            "event_time": now.as_secs(),
            "authorizations": [{"team_id": TEAM, "user_id": BOT, "is_bot": true, "is_enterprise_install": false}],
        })
        .to_string()
        .into_bytes()
    }

    fn posts(told: &[u8], _api_base: &str, now: Timestamp) -> http::Request<Vec<u8>> {
        let timestamp = now.as_secs().to_string();
        let signature = hmac_sha256(SIGNING_SECRET.as_bytes(), &[b"v0:", timestamp.as_bytes(), b":", told]);
        http::Request::builder()
            .method(Method::POST)
            .header(CONTENT_TYPE, "application/json")
            .header("x-slack-request-timestamp", timestamp)
            .header("x-slack-signature", format!("v0={}", hex::encode(signature)))
            .body(told.to_vec())
            .expect("a valid request")
    }

    fn answer(request: &http::Request<Vec<u8>>) -> Answer {
        let body = json_of(request);
        let path = request.uri().path();
        let refusal = if request.method() != Method::POST {
            Some("invalid_post_type")
        } else if path.starts_with("/commands/") {
            (text_at(&body, "/response_type") != "ephemeral").then_some("invalid_payload")
        } else if !matches!(path, "/chat.postMessage" | "/chat.postEphemeral" | "/auth.test") {
            Some("unknown_method")
        } else if !has_header(request, AUTHORIZATION.as_str(), &format!("Bearer {BOT_TOKEN}")) {
            Some("invalid_auth")
        } else if path == "/auth.test" {
            return Answer::told(json!({"ok": true, "team_id": TEAM, "user_id": BOT, "bot_id": "B0COUNTERPT"}));
        } else if text_at(&body, "/channel").is_empty() {
            Some("channel_not_found")
        } else {
            (path == "/chat.postEphemeral" && text_at(&body, "/user").is_empty()).then_some("user_not_in_channel")
        };
        let refused = |error| Answer::refused(StatusCode::OK, json!({"ok": false, "error": error}));
        match (refusal, shown(&body)) {
            (Some(error), _) | (None, Err(error)) => refused(error),
            (None, Ok(Shown { text, buttons })) => Answer::taken(json!({"ok": true, "ts": "1"}), text, buttons),
        }
    }
}

/// What a person reads; else why Slack takes no such message.
fn shown(body: &Value) -> Result<Shown, &'static str> {
    let fallback = text_at(body, "/text");
    if fallback.is_empty() {
        return Err("no_text");
    }
    let Some(blocks) = body.get("blocks") else {
        return Ok(Shown { text: text::unescape(fallback).into_owned(), buttons: Vec::new() });
    };
    let mut shown = Shown { text: String::new(), buttons: Vec::new() };
    let mut actions = HashSet::new();
    for block in blocks.as_array().ok_or("invalid_blocks_format")? {
        for element in block["elements"].as_array().ok_or("invalid_blocks")? {
            match (text_at(block, "/type"), text_at(element, "/type")) {
                ("rich_text", "rich_text_section") => shown.text.push_str(&rich_text(element)?),
                ("actions", "button") => {
                    let (label, value) = (text_at(element, "/text/text"), text_at(element, "/value"));
                    let formed = text_at(element, "/text/type") == "plain_text"
                        && (1..=75).contains(&label.chars().count())
                        && (1..=2000).contains(&value.chars().count())
                        && actions.insert(text_at(element, "/action_id"));
                    if !formed {
                        return Err("invalid_blocks");
                    }
                    shown.buttons.push(text::unescape(label).into_owned());
                }
                _ => return Err("invalid_blocks"),
            }
        }
    }
    Ok(shown)
}

/// The texts and links of a section of rich text, whose texts are taken as they are.
fn rich_text(section: &Value) -> Result<String, &'static str> {
    let elements = section["elements"].as_array().filter(|elements| !elements.is_empty()).ok_or("invalid_blocks")?;
    let shown = |element| match (text_at(element, "/type"), text_at(element, "/text"), text_at(element, "/url")) {
        ("text", text, "") if !text.is_empty() => Some(text),
        ("link", "", url) if url.starts_with("http") => Some(url),
        _ => None,
    };
    elements.iter().map(shown).collect::<Option<String>>().ok_or("invalid_blocks")
}
