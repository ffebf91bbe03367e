//! What Discord posts: vectors that its own package accepts, every kind of interaction under `tests/fixtures/discord`,
//! and what nobody but Discord may get in.

mod ed25519;
mod received;

use ed25519::{Call, NOW};
use hoopoe_channels::discord::Discord;
use hoopoe_channels::{Received, Refusal, Response, Webhook};
use hoopoe_message::Content;
use proptest::prelude::*;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::Deserialize;
use serde_json::{Value, json};

const APPLICATION: &str = "110000000000000042";

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("32 bytes")
}

fn keys(application: &str, public_key: &str) -> <Discord as Webhook>::Keys {
    let keys = json!({ "application_id": application, "public_key": public_key });
    serde_json::from_value(keys).expect("keys as they are stored")
}

fn own_keys() -> <Discord as Webhook>::Keys {
    keys(APPLICATION, &hex::encode(pair(9).public_key()))
}

fn post(body: &[u8]) -> Result<Received, Refusal> {
    Call::at(&NOW.to_string(), &pair(9), body).post_to::<Discord>(&own_keys(), NOW)
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
        assert!(call.post_to::<Discord>(&keys(&application_id, &public_key), now).is_ok());
        assert!(call.post_to::<Discord>(&keys(&application_id, &public_key.to_uppercase()), now).is_ok());
        let later = call.post_to::<Discord>(&keys(&application_id, &public_key), now + 901);
        assert_eq!(later, Err(Refusal::Stale(901)));
        for wrong in ["", "00", &hex::encode(pair(9).public_key()), &public_key[2..], &"zz".repeat(32)] {
            let refused = call.post_to::<Discord>(&keys(&application_id, wrong), now);
            assert!(matches!(refused, Err(Refusal::Forged(_))), "{wrong}");
        }
    }
}

#[test]
fn a_ping_is_answered() {
    let received = post(&received::fixture("discord", "ping.json"));
    assert_eq!(received, Ok(Received::question(Response::json(&json!({ "type": 1 })))));
}

#[test]
fn every_kind_of_interaction_is_read() {
    let received = received::fixtures("discord", "json", post);
    insta::assert_json_snapshot!("received", received);
}

#[test]
fn what_discord_did_not_send_is_refused() {
    let body = received::fixture("discord", "guild_ask.json");
    assert_eq!(post(&body).expect("authentic").answer, Response::json(&json!({ "type": 5 })));
    ed25519::refuses_what_was_not_signed::<Discord>(&own_keys(), &pair(9), &pair(8), 900, &body);
    ed25519::refuses_any_changed_byte::<Discord>(&own_keys(), &pair(9), br#"{"id":"1","type":1}"#);
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
        assert!(matches!(post(body.as_bytes()), Err(Refusal::Malformed(_))), "{body}");
    }
    let without_data = post(with("data", json!(null)).as_bytes()).expect("authentic");
    assert_eq!(without_data.messages[0].content, Content::Unsupported);
}

proptest! {
    #[test]
    fn any_question_and_button_is_read(text in "\\PC{0,40}", kind in 2_u64..4) {
        let body = json!({
            "id": "1", "type": kind, "token": "t", "channel_id": "2", "user": { "id": "3" },
            "data": { "name": "ask", "options": [{ "name": "question", "value": text }], "custom_id": format!("ask:0:{text}") },
        });
        let received = post(body.to_string().as_bytes()).expect("authentic");
        for message in received.messages {
            let said = if text.trim().is_empty() { "/help" } else { text.trim() };
            prop_assert_eq!(message.content, Content::text(said));
        }
    }
}
