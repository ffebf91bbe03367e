//! What Slack posts: its published signature and further ones of its own SDK, every kind of event, command and press
//! under `tests/fixtures/slack`, and what nobody but Slack may get in.

mod received;

use std::collections::BTreeMap;

use hoopoe_channels::crypto::signature::hmac_sha256;
use hoopoe_channels::slack::Slack;
use hoopoe_channels::{Received, Refusal, Request, Response, Webhook};
use hoopoe_message::{Content, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

const SECRET: &str = "fixtureSigningSecret0001";
const NOW: u64 = 1_767_225_600;
const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

type Keys = <Slack as Webhook>::Keys;

fn keys() -> Keys {
    keys_with(json!({ "app_id": "A0HOOPOE001", "group_prefix": "bot" }))
}

fn keys_with(mut more: Value) -> Keys {
    more["signing_secret"] = SECRET.into();
    serde_json::from_value(more).expect("keys as they are stored")
}

/// A request as Slack would make it; each part can be changed before it is sent.
#[derive(Clone)]
struct Call {
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Call {
    fn signed(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::at(NOW, content_type, body)
    }

    fn at(timestamp: u64, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let (body, timestamp) = (body.into(), timestamp.to_string());
        let digest = hmac_sha256(SECRET.as_bytes(), &[b"v0:", timestamp.as_bytes(), b":", &body]);
        Self { headers: HeaderMap::new(), body }
            .with("content-type", content_type)
            .with("x-slack-request-timestamp", &timestamp)
            .with("x-slack-signature", &format!("v0={}", hex::encode(digest)))
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header's value"));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    fn post(&self) -> Result<Received, Refusal> {
        self.post_to(&keys())
    }

    fn post_to(&self, keys: &Keys) -> Result<Received, Refusal> {
        self.send(keys, &Method::POST)
    }

    fn send(&self, keys: &Keys, method: &Method) -> Result<Received, Refusal> {
        let request = Request { method, query: "", headers: &self.headers, body: &self.body, published: &[] };
        Slack::receive(keys, &request, Timestamp::from_secs(NOW))
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string().replace("%20", "+");
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    fields.join("&")
}

/// A slash command's fields as Slack posts them.
fn command(json: &[u8]) -> Call {
    let fields: BTreeMap<String, String> = serde_json::from_slice(json).expect("an object of texts");
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Call::signed(FORM, form(&fields))
}

/// An interaction as Slack posts it.
fn payload(json: &[u8]) -> Call {
    Call::signed(FORM, form(&[("payload", std::str::from_utf8(json).expect("UTF-8"))]))
}

fn event(name: &str) -> Call {
    Call::signed(JSON, received::fixture("slack", name))
}

#[test]
fn everything_slack_posts_is_read() {
    let read = BTreeMap::from([
        ("commands", received::fixtures("slack", "command.json", |body| command(body).post())),
        ("events", received::fixtures("slack", "event.json", |body| Call::signed(JSON, body).post())),
        ("interactions", received::fixtures("slack", "payload.json", |body| payload(body).post())),
    ]);
    for (name, read) in read.values().flatten() {
        let heard = read["messages"].as_array().expect("messages").len();
        let questions = usize::from(name.starts_with("url_verification"));
        assert_eq!(heard, 1 - usize::from(name.starts_with("ignored_")) - questions, "{name}");
    }
    insta::assert_json_snapshot!("received", read);
}

#[derive(Deserialize)]
struct Vector {
    case: String,
    signing_secret: String,
    timestamp: String,
    content_type: String,
    body: String,
    signature: String,
}

impl Vector {
    fn receive(&self, body: &str, now: u64) -> Result<Received, Refusal> {
        let keys = serde_json::from_value(json!({ "signing_secret": self.signing_secret })).expect("keys");
        let headers = Call { headers: HeaderMap::new(), body: Vec::new() }
            .with("content-type", &self.content_type)
            .with("x-slack-request-timestamp", &self.timestamp)
            .with("x-slack-signature", &self.signature)
            .headers;
        let request =
            Request { method: &Method::POST, query: "", headers: &headers, body: body.as_bytes(), published: &[] };
        Slack::receive(&keys, &request, Timestamp::from_secs(now))
    }
}

#[test]
fn signatures_of_slack_verify_as_long_as_they_are_fresh() {
    let vectors: Vec<Vector> =
        serde_json::from_slice(&received::fixture("slack", "vectors.json")).expect("the vectors");
    assert_eq!(vectors.len(), 4);
    for vector in vectors {
        let signed: u64 = vector.timestamp.parse().expect("a number");
        let read = vector.receive(&vector.body, signed).unwrap_or_else(|refusal| panic!("{}: {refusal}", vector.case));
        match vector.case.as_str() {
            "slash command" => assert_eq!(read.messages[0].content, Content::text("/help")),
            "check of the URL" => assert_eq!(read, Received::question(Response::ok("fixtureChallenge"))),
            "message" => assert_eq!(read.messages[0].content, Content::text("忘记密码 & 🐦")),
            _ => assert_eq!(read.messages[0].content, Content::text("Opening hours")),
        }
        for now in [signed - 300, signed + 300] {
            assert!(vector.receive(&vector.body, now).is_ok(), "{}", vector.case);
        }
        for now in [signed - 301, signed + 301, signed + 86_400] {
            assert!(matches!(vector.receive(&vector.body, now), Err(Refusal::Stale(_))), "{}", vector.case);
        }
        let reencoded = if vector.content_type == JSON {
            vector.body.replace(',', ", ").replace(",  ", ",")
        } else {
            vector.body.replace("%2F", "/").replace("%2C", ",")
        };
        for body in [&reencoded, &vector.body[1..], &format!("{}\n", vector.body), ""] {
            assert!(matches!(vector.receive(body, signed), Err(Refusal::Forged(_))), "{}: {body}", vector.case);
        }
    }
}

#[test]
fn what_slack_did_not_sign_is_refused() {
    let good = event("private_text.event.json");
    assert!(good.post().is_ok());
    let signature = good.headers["x-slack-signature"].to_str().expect("ASCII").to_owned();
    for (why, call) in [
        ("no signature", good.clone().without("x-slack-signature")),
        ("no timestamp", good.clone().without("x-slack-request-timestamp")),
        ("an empty signature", good.clone().with("x-slack-signature", "")),
        ("no version", good.clone().with("x-slack-signature", &signature[3..])),
        ("another version", good.clone().with("x-slack-signature", &signature.replace("v0", "v1"))),
        ("half a signature", good.clone().with("x-slack-signature", &signature[..35])),
        ("a longer signature", good.clone().with("x-slack-signature", &format!("{signature}00"))),
        ("no hex", good.clone().with("x-slack-signature", &format!("v0={}", "z".repeat(64)))),
        ("a later time", good.clone().with("x-slack-request-timestamp", "1767225601")),
        ("the same time in other digits", good.clone().with("x-slack-request-timestamp", "+1767225600")),
        (
            "the signature of another time",
            Call::at(NOW + 1, JSON, good.body.clone()).with("x-slack-request-timestamp", "1767225600"),
        ),
        ("the signature of another body", Call { body: b"{}".to_vec(), ..good.clone() }),
    ] {
        let refusal = call.post().expect_err(why);
        assert_eq!((refusal.status(), refusal.kind()), (StatusCode::UNAUTHORIZED, "forged"), "{why}: {refusal}");
    }
    for away in [301, 86_400] {
        assert_eq!(Call::at(NOW - away, JSON, good.body.clone()).post(), Err(Refusal::Stale(away)));
        assert_eq!(Call::at(NOW + away, JSON, good.body.clone()).post(), Err(Refusal::Stale(away)));
    }
    for method in [Method::GET, Method::PUT, Method::HEAD] {
        assert_eq!(good.send(&keys(), &method), Err(Refusal::Method));
    }
    let no_secret: Keys = serde_json::from_str(r#"{"signing_secret":""}"#).expect("keys");
    let digest = hmac_sha256(b"", &[b"v0:", b"1767225600", b":", &good.body]);
    let empty = good.with("x-slack-signature", &format!("v0={}", hex::encode(digest)));
    assert!(matches!(empty.post_to(&no_secret), Err(Refusal::Forged(_))));
}

#[test]
fn a_repetition_is_the_same_whatever_its_headers_say() {
    let first = event("channel_mention.event.json");
    let again = first.clone().with("x-slack-retry-num", "1").with("x-slack-retry-reason", "http_timeout");
    assert_eq!(first.post().expect("authentic").messages.len(), 1);
    assert_eq!(first.post(), again.post());
}

#[test]
fn only_the_app_that_is_meant_is_heard() {
    let other = keys_with(json!({ "app_id": "A0HOOPOE002" }));
    let any = keys_with(json!({}));
    let calls = [
        event("private_text.event.json"),
        command(&received::fixture("slack", "question.command.json")),
        payload(&received::fixture("slack", "press_private.payload.json")),
    ];
    for call in calls {
        assert!(matches!(call.post_to(&other), Err(Refusal::Forged(_))));
        assert!(call.post_to(&any).is_ok());
    }
    assert!(event("url_verification.event.json").post_to(&other).is_ok());
    assert!(command(&received::fixture("slack", "ignored_ssl_check.command.json")).post_to(&other).is_ok());
}

#[test]
fn without_a_prefix_channels_are_heard_only_where_the_bot_is_meant() {
    let plain = keys_with(json!({}));
    let heard = |name: &str| !event(name).post_to(&plain).expect("authentic").messages.is_empty();
    for name in ["channel_mention.event.json", "channel_reply_to_bot.event.json", "private_text.event.json"] {
        assert!(heard(name), "{name}");
    }
    for name in ["channel_prefix.event.json", "channel_prefix_alone.event.json", "group_message_prefix.event.json"] {
        assert!(!heard(name), "{name}");
    }
}

#[test]
fn without_its_id_the_bot_is_not_told_from_a_person() {
    let mut body: Value =
        serde_json::from_slice(&received::fixture("slack", "channel_mention.event.json")).expect("JSON");
    body["authorizations"][0]["is_bot"] = false.into();
    let read = Call::signed(JSON, body.to_string()).post().expect("authentic");
    assert_eq!(read.messages[0].content, Content::text("@U0HOOPOEB01, where's my parcel?"));
    for name in ["channel_bot_invited.event.json", "channel_reply_to_bot.event.json"] {
        let mut body: Value = serde_json::from_slice(&received::fixture("slack", name)).expect("JSON");
        body.as_object_mut().expect("an object").remove("authorizations");
        assert_eq!(Call::signed(JSON, body.to_string()).post(), Ok(Received::one(None)), "{name}");
    }
}

#[test]
fn what_is_not_of_slack_s_form_is_malformed() {
    let whole = received::fixture("slack", "private_text.event.json");
    let deep = format!("{{\"type\":\"event_callback\",\"event\":{}}}", "[".repeat(10_000));
    let malformed = |call: Call| assert!(matches!(call.post(), Err(Refusal::Malformed(_))), "{:?}", call.body);
    for body in [
        &b""[..],
        b"{}",
        b"[]",
        b"null",
        b"\xFF",
        &whole[..whole.len() / 2],
        deep.as_bytes(),
        br#"{"type":"url_verification"}"#,
        br#"{"type":"event_callback","api_app_id":"A0HOOPOE001"}"#,
        br#"{"type":"event_callback","api_app_id":"A0HOOPOE001","event_id":"","event":{"type":"x"}}"#,
        br#"{"type":"event_callback","api_app_id":"A0HOOPOE001","event_id":"Ev1","event":{}}"#,
        br#"{"type":"event_callback","api_app_id":"A0HOOPOE001","event_id":"Ev1","event":{"type":"message","user":7}}"#,
    ] {
        malformed(Call::signed(JSON, body));
    }
    for body in [
        "",
        "payload",
        "payload=",
        "payload=%7B%7D",
        "payload=%FF",
        "command=%2Fhoopoe&api_app_id=A0HOOPOE001",
        "command=%2Fhoopoe&api_app_id=A0HOOPOE001&channel_id=C1&user_id=U1",
        "command=%2Fhoopoe&api_app_id=A0HOOPOE001&channel_id=C1&user_id=U1&trigger_id=%0A",
        "text=hello",
        "{\"type\":\"url_verification\",\"challenge\":\"x\"}",
    ] {
        malformed(Call::signed(FORM, body));
    }
    malformed(Call::signed(FORM, b"payload=\xFF"));
    malformed(Call::signed("text/plain", whole.clone()));
    malformed(Call::signed(JSON, whole.clone()).without("content-type"));
    assert!(Call::signed("application/json; charset=utf-8", whole).post().is_ok());
}

#[test]
fn a_press_without_any_id_is_malformed() {
    let mut press: Value =
        serde_json::from_slice(&received::fixture("slack", "press_without_trigger.payload.json")).expect("JSON");
    press["actions"][0].as_object_mut().expect("an object").remove("action_ts");
    assert!(matches!(payload(press.to_string().as_bytes()).post(), Err(Refusal::Malformed(_))));
}

proptest! {
    #[test]
    fn any_form_is_read_or_refused(body: Vec<u8>) {
        let _ = Call::signed(FORM, body).post();
    }

    #[test]
    fn any_text_and_command_is_read(text in ".{0,60}") {
        let fields = [("command", "/hoopoe"), ("text", text.as_str()), ("api_app_id", "A0HOOPOE001"), ("channel_id", "C1"), ("user_id", "U1"), ("trigger_id", "1.2.3")];
        prop_assert_eq!(Call::signed(FORM, form(&fields)).post().expect("authentic").messages.len(), 1);
        let event = json!({"type": "event_callback", "api_app_id": "A0HOOPOE001", "event_id": "Ev1", "event": {
            "type": "message", "channel_type": "im", "channel": "D1", "user": "U1", "ts": "1.2", "text": text,
        }});
        prop_assert!(Call::signed(JSON, event.to_string()).post().is_ok());
    }

    #[test]
    fn any_changed_byte_of_what_is_signed_is_refused(at: prop::sample::Index, bit in 0_u8..8, of_form: bool) {
        let mut call = if of_form {
            command(&received::fixture("slack", "question.command.json"))
        } else {
            event("private_text.event.json")
        };
        let at = at.index(call.body.len());
        call.body[at] ^= 1 << bit;
        prop_assert!(matches!(call.post(), Err(Refusal::Forged(_))));
    }

    #[test]
    fn any_changed_digit_of_the_signature_is_refused(at in 3_usize..67, digit in "[0-9a-f]") {
        let good = event("private_text.event.json");
        let mut signature = good.headers["x-slack-signature"].to_str().expect("ASCII").to_owned();
        prop_assume!(signature[at..=at] != digit);
        signature.replace_range(at..=at, &digit);
        prop_assert!(matches!(good.with("x-slack-signature", &signature).post(), Err(Refusal::Forged(_))));
    }
}
