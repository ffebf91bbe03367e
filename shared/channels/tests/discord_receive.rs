//! What Discord posts: vectors that its own package accepts, every kind of interaction under `tests/fixtures/discord`,
//! and what nobody but Discord may get in.

mod received;

use hoopoe_channels::discord::Discord;
use hoopoe_channels::{Received, Refusal, Request, Response, Webhook};
use hoopoe_message::{Content, Timestamp};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use proptest::prelude::*;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::Deserialize;
use serde_json::{Value, json};

const APPLICATION: &str = "110000000000000042";
const NOW: u64 = 1_767_225_600;

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("32 bytes")
}

fn sign(seed: u8, timestamp: &str, body: &[u8]) -> String {
    hex::encode(pair(seed).sign(&[timestamp.as_bytes(), body].concat()))
}

fn keys(application: &str, public_key: &str) -> <Discord as Webhook>::Keys {
    let keys = json!({ "application_id": application, "public_key": public_key });
    serde_json::from_value(keys).expect("keys as they are stored")
}

/// A request as Discord would make it; each part can be changed before it is sent.
#[derive(Clone)]
struct Call {
    timestamp: Option<String>,
    signature: Option<String>,
    body: Vec<u8>,
}

impl Call {
    fn of(body: &[u8]) -> Self {
        Self::at(&NOW.to_string(), body)
    }

    fn at(timestamp: &str, body: &[u8]) -> Self {
        Self { timestamp: Some(timestamp.into()), signature: Some(sign(9, timestamp, body)), body: body.to_vec() }
    }

    fn post(&self) -> Result<Received, Refusal> {
        self.post_to(&keys(APPLICATION, &hex::encode(pair(9).public_key())), NOW)
    }

    fn post_to(&self, keys: &<Discord as Webhook>::Keys, now: u64) -> Result<Received, Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-signature-timestamp", &self.timestamp), ("x-signature-ed25519", &self.signature)] {
            if let Some(value) = value {
                headers.insert(name, HeaderValue::from_str(value).expect("visible ASCII"));
            }
        }
        let request = Request { method: &Method::POST, query: "", headers: &headers, body: &self.body, published: &[] };
        Discord::receive(keys, &request, Timestamp::from_secs(now))
    }
}

#[derive(Deserialize)]
struct Vector {
    application_id: String,
    public_key: String,
    timestamp: String,
    body: String,
    signature: String,
}

#[test]
fn vectors_are_verified() {
    let vectors: Vec<Vector> =
        serde_json::from_slice(&received::fixture("discord", "vectors.json")).expect("the vectors");
    assert_eq!(vectors.len(), 3);
    for Vector { application_id, public_key, timestamp, body, signature } in vectors {
        let now: u64 = timestamp.parse().expect("a number");
        let call = Call { timestamp: Some(timestamp), signature: Some(signature), body: body.into_bytes() };
        assert!(call.post_to(&keys(&application_id, &public_key), now).is_ok());
        assert!(call.post_to(&keys(&application_id, &public_key.to_uppercase()), now).is_ok());
        let later = call.post_to(&keys(&application_id, &public_key), now + 901);
        assert_eq!(later, Err(Refusal::Stale(901)));
        for wrong in ["", "00", &hex::encode(pair(9).public_key()), &public_key[2..], &"zz".repeat(32)] {
            let refused = call.post_to(&keys(&application_id, wrong), now);
            assert!(matches!(refused, Err(Refusal::Forged(_))), "{wrong}");
        }
    }
}

#[test]
fn a_ping_is_answered() {
    let received = Call::of(&received::fixture("discord", "ping.json")).post();
    assert_eq!(received, Ok(Received::question(Response::json(&json!({ "type": 1 })))));
}

#[test]
fn every_kind_of_interaction_is_read() {
    let received = received::fixtures("discord", "json", |body| Call::of(body).post());
    insta::assert_json_snapshot!("received", received);
}

#[test]
fn what_discord_did_not_send_is_refused() {
    let body = received::fixture("discord", "guild_ask.json");
    let good = Call::of(&body);
    let received = good.post().expect("authentic");
    assert_eq!(received.answer, Response::json(&json!({ "type": 5 })));
    assert_eq!(good.post(), Ok(received));
    let changed = |change: fn(&mut Call)| {
        let mut call = good.clone();
        change(&mut call);
        call
    };
    let now = NOW.to_string();
    for (what, call, kind) in [
        ("no headers", Call { timestamp: None, signature: None, body: body.clone() }, "forged"),
        ("no signature", changed(|call| call.signature = None), "forged"),
        ("no timestamp", changed(|call| call.timestamp = None), "forged"),
        ("another key", Call { signature: Some(sign(8, &now, &body)), ..good.clone() }, "forged"),
        ("signature of the body alone", Call { signature: Some(sign(9, "", &body)), ..good.clone() }, "forged"),
        ("signature truncated", changed(|call| call.signature.as_mut().expect("set").truncate(126)), "forged"),
        ("signature extended", changed(|call| call.signature.as_mut().expect("set").push_str("00")), "forged"),
        ("signature empty", changed(|call| call.signature = Some(String::new())), "forged"),
        ("signature no digits", changed(|call| call.signature = Some("zz".repeat(64))), "forged"),
        ("signature all zero", changed(|call| call.signature = Some("00".repeat(64))), "forged"),
        ("another timestamp", changed(|call| call.timestamp = Some((NOW + 1).to_string())), "forged"),
        ("body truncated", changed(|call| call.body.truncate(100)), "forged"),
        ("body extended", changed(|call| call.body.push(b' ')), "forged"),
        (
            "body re-encoded",
            changed(|call| {
                let value: Value = serde_json::from_slice(&call.body).expect("JSON");
                call.body = value.to_string().into_bytes();
            }),
            "forged",
        ),
        ("signed, but old", Call::at(&(NOW - 901).to_string(), &body), "stale"),
        ("signed, but early", Call::at(&(NOW + 901).to_string(), &body), "stale"),
        ("signed, timestamp no number", Call::at("soon", &body), "malformed"),
    ] {
        let refusal = call.post().expect_err(what);
        assert_eq!(refusal.kind(), kind, "{what}");
        if kind != "malformed" {
            // Discord asks for this status, and tries it.
            assert_eq!(refusal.status(), StatusCode::UNAUTHORIZED, "{what}");
        }
    }
    for edge in [NOW - 900, NOW + 900] {
        assert!(Call::at(&edge.to_string(), &body).post().is_ok(), "within the window");
    }
    let headers = HeaderMap::new();
    for method in [Method::GET, Method::PUT, Method::HEAD] {
        let request = Request { method: &method, query: "", headers: &headers, body: &body, published: &[] };
        let refused = Discord::receive(&keys(APPLICATION, ""), &request, Timestamp::from_secs(NOW));
        assert_eq!(refused, Err(Refusal::Method));
    }
}

#[test]
fn what_is_no_interaction_is_malformed() {
    let good: Value = serde_json::from_slice(&received::fixture("discord", "private_ask.json")).expect("JSON");
    let with = |field: &str, value: Value| {
        let mut interaction = good.clone();
        interaction[field] = value;
        interaction.to_string()
    };
    let deep = format!("{{\"id\":\"1\",\"type\":2,\"data\":{}}}", "[".repeat(10_000));
    for body in [
        String::new(),
        "{}".into(),
        "[]".into(),
        "null".into(),
        deep,
        with("type", json!("2")),
        with("type", json!(-2)),
        with("application_id", json!("110000000000000043")),
        with("id", json!("")),
        with("id", json!("a\nb")),
        with("token", json!("")),
        with("token", json!(null)),
        with("token", json!("a/../b")),
        with("token", json!("x".repeat(1025))),
        with("user", json!(null)),
        with("user", json!({ "id": "ada" })),
        with("channel_id", json!(null)),
        with("channel_id", json!("#help")),
        with("data", json!([])),
    ] {
        assert!(matches!(Call::of(body.as_bytes()).post(), Err(Refusal::Malformed(_))), "{body}");
    }
    let without_data = Call::of(with("data", json!(null)).as_bytes()).post().expect("authentic");
    assert_eq!(without_data.messages[0].content, Content::Unsupported);
}

proptest! {
    #[test]
    fn any_question_and_button_is_read(text in "\\PC{0,40}", kind in 2_u64..4) {
        let body = json!({
            "id": "1", "type": kind, "token": "t", "channel_id": "2", "user": { "id": "3" },
            "data": { "name": "ask", "options": [{ "name": "question", "value": text }], "custom_id": format!("ask:0:{text}") },
        });
        let received = Call::of(body.to_string().as_bytes()).post().expect("authentic");
        for message in received.messages {
            let said = if text.trim().is_empty() { "/help" } else { text.trim() };
            prop_assert_eq!(message.content, Content::text(said));
        }
    }

    #[test]
    fn any_changed_byte_of_what_is_signed_is_refused(part in 0_usize..3, at: prop::sample::Index, to in "[!-~]") {
        let mut call = Call::of(br#"{"id":"1","type":1}"#);
        let mut text = match part {
            0 => call.timestamp.clone().expect("set"),
            1 => call.signature.clone().expect("set"),
            _ => String::from_utf8(call.body.clone()).expect("ASCII"),
        };
        let byte = at.index(text.len());
        prop_assume!(!text[byte..=byte].eq_ignore_ascii_case(&to));
        text.replace_range(byte..=byte, &to);
        match part {
            0 => call.timestamp = Some(text),
            1 => call.signature = Some(text),
            _ => call.body = text.into_bytes(),
        }
        prop_assert!(matches!(call.post(), Err(Refusal::Forged(_))));
    }
}
