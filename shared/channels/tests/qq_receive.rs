//! What QQ posts: its published vectors, every kind of event under `tests/fixtures/qq`, and what nobody but QQ may get
//! in.

mod ed25519;
mod received;

use ed25519::{Call, NOW};
use hoopoe_channels::qq::Qq;
use hoopoe_channels::{Received, Refusal, Webhook};
use hoopoe_message::Content;
use proptest::prelude::*;
use ring::signature::Ed25519KeyPair;
use serde::Deserialize;
use serde_json::{Value, json};

const SECRET: &str = "fixtureSecret012";
const ACKNOWLEDGED: &str = r#"{"d":0,"op":12}"#;

fn pair(secret: &str) -> Ed25519KeyPair {
    let seed: Vec<u8> = secret.repeat(32).into_bytes();
    Ed25519KeyPair::from_seed_unchecked(&seed[..32]).expect("32 bytes")
}

fn keys(secret: &str) -> <Qq as Webhook>::Keys {
    serde_json::from_value(json!({ "app_secret": secret })).expect("keys as they are stored")
}

fn sign(secret: &str, timestamp: &str, body: &[u8]) -> String {
    ed25519::sign(&pair(secret), timestamp, body)
}

fn post(body: &[u8]) -> Result<Received, Refusal> {
    Call::at(&NOW.to_string(), &pair(SECRET), body).post_to::<Qq>(&keys(SECRET), NOW)
}

fn unsigned(body: &[u8]) -> Call {
    Call { timestamp: None, signature: None, body: body.to_vec() }
}

#[derive(Deserialize)]
struct Vector {
    bot_secret: String,
    timestamp: Option<String>,
    body: Option<String>,
    signature_hex: Option<String>,
    plain_token: Option<String>,
    event_ts: Option<String>,
    answer_hex: Option<String>,
}

fn vectors() -> Vec<Vector> {
    let vectors: Value = serde_json::from_slice(&received::fixture("qq", "vectors.json")).expect("JSON");
    ["published", "made"]
        .into_iter()
        .flat_map(|part| serde_json::from_value::<Vec<Vector>>(vectors[part].clone()).expect("vectors"))
        .collect()
}

#[test]
fn vectors_are_verified() {
    let mut seen = 0;
    for vector in vectors() {
        let (Some(timestamp), Some(body), Some(signature)) = (vector.timestamp, vector.body, vector.signature_hex)
        else {
            continue;
        };
        let now = timestamp.parse().expect("a number");
        let call = Call { timestamp: Some(timestamp), signature: Some(signature), body: body.into_bytes() };
        // Authentic, though the published body is only the inner part of what QQ posts.
        match call.post_to::<Qq>(&keys(&vector.bot_secret), now) {
            Ok(_) | Err(Refusal::Malformed(_)) => {}
            Err(refusal) => panic!("{refusal}"),
        }
        let forged = call.post_to::<Qq>(&keys("another-secret"), now);
        assert!(matches!(forged, Err(Refusal::Forged(_))));
        assert!(
            matches!(call.post_to::<Qq>(&keys(""), now), Err(Refusal::Forged(_))),
            "nothing is authentic without a secret"
        );
        seen += 1;
    }
    assert_eq!(seen, 5);
}

#[test]
fn url_checks_are_answered_as_documented() {
    let mut seen = 0;
    for vector in vectors() {
        let (Some(token), Some(time), Some(answer)) = (vector.plain_token, vector.event_ts, vector.answer_hex) else {
            continue;
        };
        let body = json!({ "d": { "plain_token": token, "event_ts": time }, "op": 13 }).to_string();
        let expected = json!({ "plain_token": token, "signature": answer });
        let secret = &vector.bot_secret;
        let told = |call: Call| {
            let received = call.post_to::<Qq>(&keys(secret), NOW).expect("a URL check");
            assert_eq!((received.messages.len(), received.ignored), (0, 0));
            assert_eq!(received.answer.content_type, "application/json");
            serde_json::from_str::<Value>(&received.answer.body).expect("JSON")
        };
        // As the document shows it, as bot-docs issue 245 shows it, and signed like everything else.
        assert_eq!(told(unsigned(body.as_bytes())), expected);
        let early = Call { signature: Some(answer), ..unsigned(body.as_bytes()) };
        assert_eq!(told(early), expected);
        let now = NOW.to_string();
        let signed = Call::at(&now, &pair(secret), body.as_bytes());
        assert_eq!(told(signed), expected);
        seen += 1;
    }
    assert_eq!(seen, 5);
}

#[test]
fn a_url_check_signs_nothing_that_could_be_an_event() {
    let event = r#"{"op":0,"t":"C2C_MESSAGE_CREATE","d":{}}"#;
    let check = |d: Value| json!({ "op": 13, "d": d }).to_string();
    for body in [
        check(json!({ "plain_token": event, "event_ts": NOW.to_string() })),
        check(json!({ "plain_token": "", "event_ts": format!("{NOW}{event}") })),
        check(json!({ "plain_token": "token", "event_ts": format!("{NOW}{event}") })),
        check(json!({ "plain_token": " token", "event_ts": "1" })),
        check(json!({ "plain_token": "\u{660}token", "event_ts": "1" })),
        check(json!({ "plain_token": "token", "event_ts": "" })),
        check(json!({ "plain_token": "token", "event_ts": -1 })),
        check(json!({ "plain_token": "x".repeat(129), "event_ts": "1" })),
        check(json!({ "plain_token": "token", "event_ts": "1", "padding": "x".repeat(1024) })),
        check(json!({ "plain_token": "token" })),
        check(json!(null)),
        json!({ "op": 0, "d": { "plain_token": "token", "event_ts": "1" } }).to_string(),
    ] {
        let refused = unsigned(body.as_bytes()).post_to::<Qq>(&keys(SECRET), NOW);
        assert!(matches!(refused, Err(Refusal::Forged(_))), "{body}");
    }
    let good = check(json!({ "plain_token": "token", "event_ts": "1" }));
    assert!(unsigned(good.as_bytes()).post_to::<Qq>(&keys(SECRET), NOW).is_ok());
    let numeric = check(json!({ "plain_token": "token", "event_ts": 1 }));
    assert_eq!(
        unsigned(numeric.as_bytes()).post_to::<Qq>(&keys(SECRET), NOW),
        unsigned(good.as_bytes()).post_to::<Qq>(&keys(SECRET), NOW)
    );
    // A signature that is there has to be right.
    for signature in [String::new(), "00".repeat(64), sign(SECRET, "2", b"token"), sign("other", "1", b"token")] {
        let call = Call { signature: Some(signature), ..unsigned(good.as_bytes()) };
        assert!(matches!(call.post_to::<Qq>(&keys(SECRET), NOW), Err(Refusal::Forged(_))));
    }
}

#[test]
fn every_kind_of_event_is_read() {
    let received = received::fixtures("qq", "json", post);
    insta::assert_json_snapshot!("received", received);
}

#[test]
fn what_qq_did_not_send_is_refused() {
    let body = received::fixture("qq", "c2c_text.json");
    assert_eq!(post(&body).expect("authentic").answer.body, ACKNOWLEDGED);
    ed25519::refuses_what_was_not_signed::<Qq>(&keys(SECRET), &pair(SECRET), &pair("other"), 3600, &body);
    let event = br#"{"op":0,"t":"SOMETHING_NEW","d":{}}"#;
    ed25519::refuses_any_changed_byte::<Qq>(&keys(SECRET), &pair(SECRET), event);
}

#[test]
fn what_is_no_event_is_malformed() {
    let deep = format!("{{\"op\":0,\"d\":{}}}", "[".repeat(10_000));
    let event = |t: &str, d: Value| json!({ "op": 0, "id": "1", "t": t, "d": d }).to_string();
    let author = json!({ "id": "1", "user_openid": "U", "member_openid": "M" });
    for body in [
        String::new(),
        "{}".into(),
        "[]".into(),
        "null".into(),
        "13".into(),
        r#"{"op":"0"}"#.into(),
        r#"{"op":-1}"#.into(),
        r#"{"op":13,"d":{"plain_token":"{}","event_ts":"1"}}"#.into(),
        deep,
        event("C2C_MESSAGE_CREATE", json!(null)),
        event("C2C_MESSAGE_CREATE", json!({ "id": "1" })),
        event("C2C_MESSAGE_CREATE", json!({ "id": "1", "author": { "id": "1" } })),
        event("C2C_MESSAGE_CREATE", json!({ "id": "", "author": author })),
        event("C2C_MESSAGE_CREATE", json!({ "id": "1", "author": { "user_openid": "a/../b" } })),
        event("C2C_MESSAGE_CREATE", json!({ "id": "1", "author": { "user_openid": "" } })),
        event("GROUP_AT_MESSAGE_CREATE", json!({ "id": "1", "author": author })),
        event("GROUP_AT_MESSAGE_CREATE", json!({ "id": "1", "author": author, "group_openid": "a?b" })),
        event("AT_MESSAGE_CREATE", json!({ "id": "1", "author": author, "guild_id": "1" })),
        event("FRIEND_ADD", json!({})),
        event("GROUP_ADD_ROBOT", json!({ "group_openid": "G" })),
        json!({ "op": 0, "t": "FRIEND_ADD", "d": { "openid": "U" } }).to_string(),
    ] {
        assert!(matches!(post(body.as_bytes()), Err(Refusal::Malformed(_))), "{body}");
    }
}

#[test]
fn a_long_id_is_answered_by_its_whole() {
    let id = format!("ROBOT1.0_{}!!", "x".repeat(300));
    let body = json!({ "op": 0, "id": "1", "t": "C2C_MESSAGE_CREATE", "d": {
        "id": id, "author": { "user_openid": "U" }, "content": "hi",
    }});
    let received = post(body.to_string().as_bytes()).expect("authentic");
    let [message] = &received.messages[..] else { panic!("one message") };
    assert!(message.address.contains(&id) && message.id.as_str().len() <= 128);
    assert_eq!(message.content, Content::text("hi"));
}

proptest! {
    #[test]
    fn any_content_is_read(content in "(<@!?[0-9A]{0,3}>?|<emoji:4>|<faceType=1,|&lt;|&amp;|[<>@ 你🐦]|\\PC){0,20}", kind in 0_usize..4) {
        let kind = ["C2C_MESSAGE_CREATE", "GROUP_AT_MESSAGE_CREATE", "AT_MESSAGE_CREATE", "DIRECT_MESSAGE_CREATE"][kind];
        let body = json!({ "op": 0, "id": "1", "t": kind, "d": {
            "id": "1", "author": { "id": "1", "user_openid": "U", "member_openid": "M" }, "content": content,
            "group_openid": "G", "channel_id": "2", "guild_id": "3",
        }});
        let received = post(body.to_string().as_bytes());
        prop_assert!(received.is_ok_and(|received| received.messages.len() == 1));
    }
}
