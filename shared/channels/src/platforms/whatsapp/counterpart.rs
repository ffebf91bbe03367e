//! WhatsApp's side.

use hoopoe_message::Timestamp;
use serde_json::{Value, json};

use super::send::{
    MAX_BODY, MAX_BUTTON, MAX_BUTTONS, MAX_ROW_DESCRIPTION, MAX_ROW_ID, MAX_ROW_TITLE, MAX_ROWS, MAX_TEXT,
};
use super::{Whatsapp, markup};
use crate::contract::counterpart::{Answer, Counterpart, text_at};
use crate::platforms::meta::{self, length};

const APP_SECRET: &str = "c0417e59a2c0417e59a2c0417e59a2c0";
const VERIFY_TOKEN: &str = "counterpart-verify-token";
const ACCESS_TOKEN: &str = "EAAcounterpartAccessToken";
const PHONE_NUMBER_ID: &str = "106000000000001";
const PHONE_NUMBER: &str = "15550000001";

impl Counterpart for Whatsapp {
    const SIGNS_BODY: bool = true;
    const SIGNS_TIME: bool = false;

    fn settings(api_base: &str) -> Value {
        json!({
            "app_secret": APP_SECRET,
            "verify_token": VERIFY_TOKEN,
            "access_token": ACCESS_TOKEN,
            "phone_number_id": PHONE_NUMBER_ID,
            "api_base": api_base,
        })
    }

    fn message(person: u32, message: u32, text: &str, _api_base: &str, now: Timestamp) -> Vec<u8> {
        let phone = (15_550_000_000 + u64::from(person)).to_string();
        let user = format!("US.{person}");
        let value = json!({
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": PHONE_NUMBER, "phone_number_id": PHONE_NUMBER_ID},
            "contacts": [{"profile": {"name": "Ada"}, "wa_id": phone, "user_id": user}],
            "messages": [{
                "from": phone,
                "from_user_id": user,
                "id": format!("wamid.counterpart{message}"),
                "timestamp": now.as_secs().to_string(),
                "type": "text",
                "text": {"body": text},
            }],
        });
        let entry = json!([{"id": "102000000000001", "changes": [{"field": "messages", "value": value}]}]);
        meta::told(&json!({"object": "whatsapp_business_account", "entry": entry}))
    }

    fn posts(told: &[u8], _api_base: &str, _now: Timestamp) -> http::Request<Vec<u8>> {
        meta::posted(APP_SECRET, told)
    }

    fn answer(request: &http::Request<Vec<u8>>) -> Answer {
        meta::answered(request, ACCESS_TOKEN, PHONE_NUMBER_ID, PHONE_NUMBER_ID, |body| {
            let (text, buttons) = read(body)?;
            let taken = json!({"messaging_product": "whatsapp", "messages": [{"id": "wamid.taken"}]});
            Some(Answer::taken(taken, markup::shown(text), buttons))
        })
    }
}

/// The words and the buttons of a message that keeps the documents' rules.
fn read(body: &Value) -> Option<(&str, Vec<String>)> {
    let to_one = body.get("to").is_some() != body.get("recipient").is_some();
    let kind = text_at(body, "/recipient_type");
    let known = kind == "individual" || kind == "group" && text_at(body, "/type") == "text";
    if text_at(body, "/messaging_product") != "whatsapp" || !to_one || !known {
        return None;
    }
    let within = |text: &str, limit| (1..=limit).contains(&length(text));
    if text_at(body, "/type") == "text" {
        let text = text_at(body, "/text/body");
        return within(text, MAX_TEXT).then_some((text, Vec::new()));
    }
    let interactive = body.get("interactive")?;
    let text = text_at(interactive, "/body/text");
    let (list, pointer) = (text_at(interactive, "/type") == "list", "/action/sections/0/rows");
    let choices = interactive.pointer(if list { pointer } else { "/action/buttons" })?.as_array()?;
    let mut read: Vec<String> = Vec::new();
    for choice in choices {
        let choice = if list { choice } else { choice.get("reply")? };
        let (id, title, more) = (text_at(choice, "/id"), text_at(choice, "/title"), text_at(choice, "/description"));
        let valid = if list {
            within(id, MAX_ROW_ID) && within(title, MAX_ROW_TITLE) && length(more) <= MAX_ROW_DESCRIPTION
        } else {
            within(id, 256) && within(title, MAX_BUTTON)
        };
        if !valid || id.trim() != id || choices.iter().filter(|other| text_at(other, "/id") == id).count() > 1 {
            return None;
        }
        read.push(if more.is_empty() { title } else { more }.to_owned());
    }
    let opened = !list || within(text_at(interactive, "/action/button"), MAX_BUTTON);
    let most = if list { MAX_ROWS } else { MAX_BUTTONS };
    (within(text, MAX_BODY) && opened && (1..=most).contains(&read.len())).then_some((text, read))
}
