//! Messenger's side.

use hoopoe_message::Timestamp;
use serde_json::{Value, json};

use super::Messenger;
use super::send::{MAX_PAYLOAD, MAX_QUICK_REPLIES, MAX_TEXT, MAX_TITLE};
use crate::contract::counterpart::{Answer, Counterpart, text_at};
use crate::platforms::meta::{self, length};

const APP_SECRET: &str = "c0417e59a2c0417e59a2c0417e59a2c1";
const VERIFY_TOKEN: &str = "counterpart-verify-token";
const PAGE_ACCESS_TOKEN: &str = "EAAcounterpartPageAccessToken";
const PAGE_ID: &str = "109000000000007";

impl Counterpart for Messenger {
    const SIGNS_BODY: bool = true;
    const SIGNS_TIME: bool = false;

    fn settings(api_base: &str) -> Value {
        json!({
            "app_secret": APP_SECRET,
            "verify_token": VERIFY_TOKEN,
            "page_access_token": PAGE_ACCESS_TOKEN,
            "page_id": PAGE_ID,
            "api_base": api_base,
        })
    }

    fn message(person: u32, message: u32, text: &str, _api_base: &str, now: Timestamp) -> Vec<u8> {
        let milliseconds = now.as_secs() * 1000;
        let event = json!({
            "sender": {"id": person.to_string()},
            "recipient": {"id": PAGE_ID},
            "timestamp": milliseconds,
            "message": {"mid": format!("m_counterpart{message}"), "text": text},
        });
        let entry = json!([{"id": PAGE_ID, "time": milliseconds, "messaging": [event]}]);
        meta::told(&json!({"object": "page", "entry": entry}))
    }

    fn posts(told: &[u8], _api_base: &str, _now: Timestamp) -> http::Request<Vec<u8>> {
        meta::posted(APP_SECRET, told)
    }

    fn answer(request: &http::Request<Vec<u8>>) -> Answer {
        meta::answered(request, PAGE_ACCESS_TOKEN, PAGE_ID, "me", |body| {
            let (text, buttons) = read(body)?;
            let taken = json!({"recipient_id": text_at(body, "/recipient/id"), "message_id": "m_taken"});
            Some(Answer::taken(taken, text, buttons))
        })
    }
}

/// The words and the quick replies of a message that keeps the documents' rules.
fn read(body: &Value) -> Option<(&str, Vec<String>)> {
    let within = |text: &str, limit| (1..=limit).contains(&length(text));
    let text = text_at(body, "/message/text");
    let person = text_at(body, "/recipient/id");
    if text_at(body, "/messaging_type") != "RESPONSE" || !meta::is_number(person) || !within(text, MAX_TEXT) {
        return None;
    }
    let mut buttons = Vec::new();
    for reply in body.pointer("/message/quick_replies").and_then(Value::as_array).into_iter().flatten() {
        let title = text_at(reply, "/title");
        let valid = text_at(reply, "/content_type") == "text"
            && within(title, MAX_TITLE)
            && within(text_at(reply, "/payload"), MAX_PAYLOAD);
        if !valid {
            return None;
        }
        buttons.push(title.to_owned());
    }
    (buttons.len() <= MAX_QUICK_REPLIES).then_some((text, buttons))
}
