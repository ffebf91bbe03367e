//! What Feishu posts: published vectors and those its own SDK accepts, every kind of event under
//! `tests/fixtures/feishu` sealed as Feishu seals it, and what nobody but Feishu may get in.

mod received;

use hoopoe_channels::feishu::{Feishu, cipher};
use hoopoe_channels::{Received, Refusal, Request, Response, Webhook};
use hoopoe_message::{Content, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

const ENCRYPT_KEY: &str = "fixture-encrypt-key";
const TOKEN: &str = "fixtureVerificationToken01";
const BOT: &str = "ou_bot0001";
const NOW: u64 = 1_767_225_600;

type Keys = <Feishu as Webhook>::Keys;

fn keys_with(change: impl FnOnce(&mut Value)) -> Keys {
    let mut keys = json!({
        "encrypt_key": ENCRYPT_KEY, "verification_token": TOKEN, "bot_open_id": BOT, "group_prefix": "!bot",
    });
    change(&mut keys);
    serde_json::from_value(keys).expect("keys as they are stored")
}

fn keys() -> Keys {
    keys_with(|_| {})
}

/// A request as Feishu would make it; each part can be changed before it is sent.
#[derive(Clone)]
struct Call {
    timestamp: String,
    nonce: String,
    signature: String,
    body: Vec<u8>,
}

impl Call {
    fn sealing(message: &[u8]) -> Self {
        Self::at(NOW.to_string(), &sealed(message))
    }

    fn at(timestamp: String, body: &[u8]) -> Self {
        let nonce = "950646929".to_owned();
        let signature = cipher::sign(ENCRYPT_KEY, &timestamp, &nonce, body);
        Self { timestamp, nonce, signature, body: body.to_vec() }
    }

    fn post(&self) -> Result<Received, Refusal> {
        self.post_to(&keys())
    }

    fn post_to(&self, keys: &Keys) -> Result<Received, Refusal> {
        let headers = [
            ("x-lark-request-timestamp", &self.timestamp),
            ("x-lark-request-nonce", &self.nonce),
            ("x-lark-signature", &self.signature),
        ];
        let headers = headers.into_iter().map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header value"))
        });
        request(keys, &Method::POST, &headers.collect(), &self.body)
    }
}

fn sealed(message: &[u8]) -> Vec<u8> {
    json!({ "encrypt": cipher::seal(ENCRYPT_KEY, *b"sixteen bytes ok", message) }).to_string().into_bytes()
}

fn request(keys: &Keys, method: &Method, headers: &HeaderMap, body: &[u8]) -> Result<Received, Refusal> {
    let request = Request { method, query: "", headers, body, published: &[] };
    Feishu::receive(keys, &request, Timestamp::from_secs(NOW))
}

fn unsigned(body: &[u8]) -> Result<Received, Refusal> {
    request(&keys(), &Method::POST, &HeaderMap::new(), body)
}

fn fixture(name: &str) -> Vec<u8> {
    received::fixture("feishu", &format!("{name}.event.json"))
}

#[derive(Deserialize)]
struct Vector {
    case: String,
    encrypt_key: String,
    verification_token: Option<String>,
    body: String,
    plaintext: String,
    timestamp: Option<String>,
    nonce: Option<String>,
    signature: Option<String>,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_slice(&received::fixture("feishu", "vectors.json")).expect("the vectors")
}

impl Vector {
    fn call(&self) -> Option<Call> {
        Some(Call {
            timestamp: self.timestamp.clone()?,
            nonce: self.nonce.clone()?,
            signature: self.signature.clone()?,
            body: self.body.clone().into_bytes(),
        })
    }

    fn keys(&self) -> Option<Keys> {
        let token = self.verification_token.as_ref()?;
        serde_json::from_value(json!({ "encrypt_key": self.encrypt_key, "verification_token": token })).ok()
    }
}

#[test]
fn the_vectors_open_and_are_signed() {
    for vector in vectors() {
        let body: Value = serde_json::from_str(&vector.body).expect("JSON");
        let opened = cipher::open(&vector.encrypt_key, body["encrypt"].as_str().expect("a text")).expect("it opens");
        assert_eq!(String::from_utf8(opened).expect("UTF-8"), vector.plaintext, "{}", vector.case);
        if let Some(call) = vector.call() {
            assert_eq!(
                cipher::sign(&vector.encrypt_key, &call.timestamp, &call.nonce, &call.body),
                call.signature,
                "{}",
                vector.case
            );
        }
    }
}

#[test]
fn the_vectors_are_received() {
    let mut seen = 0;
    for vector in vectors() {
        let Some(keys) = vector.keys() else { continue };
        seen += 1;
        let received = match vector.call() {
            Some(call) => call.post_to(&keys),
            None => request(&keys, &Method::POST, &HeaderMap::new(), vector.body.as_bytes()),
        };
        let received = received.unwrap_or_else(|refusal| panic!("{}: {refusal}", vector.case));
        let plaintext: Value = serde_json::from_str(&vector.plaintext).expect("JSON");
        match (&received.messages[..], plaintext["challenge"].as_str()) {
            ([], Some(challenge)) => {
                assert_eq!(received.answer, Response::json(&json!({ "challenge": challenge })));
            }
            ([message], None) => {
                assert_eq!(message.chat, "oc_vector01:ou_vector01");
                let words = if vector.case == "message" { "忘记密码怎么办？" } else { "联系人工" };
                assert_eq!(message.content, Content::text(words));
            }
            _ => panic!("{}: {received:?}", vector.case),
        }
    }
    assert_eq!(seen, 4);
}

#[test]
fn every_kind_of_event_is_read() {
    let read = |event: &[u8]| Call::sealing(event).post();
    let received = received::fixtures("feishu", "event.json", read);
    insta::assert_json_snapshot!("received", received);
}

#[test]
fn without_an_open_id_any_bot_passes_for_this_one() {
    let unnamed = keys_with(|keys| keys["bot_open_id"] = Value::Null);
    let heard = |event: &[u8]| {
        let received = Call::sealing(event).post_to(&unnamed).expect("authentic");
        received.messages.first().map(|message| message.content.clone())
    };
    assert_eq!(heard(&fixture("group_mention")), Some(Content::text("运费多少？")));
    assert_eq!(heard(&fixture("ignored_group_mention_of_another_bot")), Some(Content::text("lunch?")));
    assert_eq!(heard(&fixture("ignored_group_mention_of_a_person")), None);
    assert_eq!(heard(&fixture("ignored_group_mention_of_all")), None);
    // Where an older deployment does not tell bots from people, the first who is mentioned is taken for the bot.
    let untold = |name: &str| {
        let mut event: Value = serde_json::from_slice(&fixture(name)).expect("JSON");
        for mention in event["event"]["message"]["mentions"].as_array_mut().expect("mentions") {
            mention.as_object_mut().expect("an object").remove("mentioned_type");
        }
        event.to_string()
    };
    let expected = Some(Content::text("can @Bob return it for @Eve?"));
    assert_eq!(heard(untold("group_mention_with_others").as_bytes()), expected);
}

#[test]
fn without_a_prefix_nothing_but_mentions_and_commands_is_heard() {
    let unprefixed = keys_with(|keys| keys["group_prefix"] = Value::Null);
    let heard =
        |name: &str| !Call::sealing(&fixture(name)).post_to(&unprefixed).expect("authentic").messages.is_empty();
    assert!(heard("group_mention") && heard("group_command"));
    assert!(!heard("group_prefix") && !heard("group_prefix_alone"));
}

#[test]
fn only_the_check_of_the_url_may_be_unsigned() {
    let check = fixture("url_verification");
    let answer = Ok(Received::question(Response::json(&json!({ "challenge": "fixture-\"challenge\"" }))));
    assert_eq!(unsigned(&sealed(&check)), answer);
    assert_eq!(Call::sealing(&check).post(), answer);
    // Whatever is wrong, a stranger learns only that something is.
    let other_token = String::from_utf8(check.clone()).expect("UTF-8").replace(TOKEN, "someoneElses");
    let empty_token = String::from_utf8(check.clone()).expect("UTF-8").replace(TOKEN, "");
    let mut padded = check.clone();
    padded.resize(8 * 1024, b' ');
    let other_key = json!({ "encrypt": cipher::seal("other key", [1; 16], &check) }).to_string();
    for body in [
        &sealed(&fixture("private_text"))[..],
        &sealed(&fixture("pressed_button")),
        &sealed(&fixture("ignored_version_1")),
        &sealed(other_token.as_bytes()),
        &sealed(empty_token.as_bytes()),
        &sealed(br#"{"type":"url_verification","challenge":"x"}"#),
        &sealed(format!(r#"{{"type":"url_verification","token":"{TOKEN}"}}"#).as_bytes()),
        &sealed(format!(r#"{{"challenge":"x","token":"{TOKEN}"}}"#).as_bytes()),
        &sealed(b"no JSON"),
        &sealed(&padded),
        other_key.as_bytes(),
        &check,
        br#"{"encrypt":"?"}"#,
        br#"{"encrypt":"c2hvcnQ="}"#,
        br#"{"encrypt":7}"#,
        b"{}",
        b"",
    ] {
        assert_eq!(unsigned(body), Err(Refusal::Forged("the signature is missing")));
    }
}

#[test]
fn what_feishu_did_not_send_is_refused() {
    let good = Call::sealing(&fixture("private_text"));
    assert!(good.post().is_ok());
    let changed = |change: fn(&mut Call)| {
        let mut call = good.clone();
        change(&mut call);
        call
    };
    let now = || NOW.to_string();
    let event = fixture("private_text");
    let text = String::from_utf8(event.clone()).expect("UTF-8");
    let foreign = json!({ "encrypt": cipher::seal("other key", [1; 16], &event) }).to_string();
    let inside = |body: &str| Call::sealing(body.as_bytes());
    for (what, call, kind) in [
        ("signature of another key", changed(|call| call.signature = "0".repeat(64)), "forged"),
        ("signature re-encoded", changed(|call| call.signature = call.signature.to_uppercase()), "forged"),
        ("signature truncated", changed(|call| call.signature.truncate(63)), "forged"),
        ("signature extended", changed(|call| call.signature.push('0')), "forged"),
        ("signature empty", changed(|call| call.signature.clear()), "forged"),
        ("timestamp of now on an old request", changed(|call| call.timestamp = (NOW + 1).to_string()), "forged"),
        ("another nonce", changed(|call| call.nonce = "7".into()), "forged"),
        ("a nonce without its first digit", changed(|call| call.nonce = call.nonce[1..].to_owned()), "forged"),
        ("body truncated", changed(|call| call.body.truncate(64)), "forged"),
        ("body extended", changed(|call| call.body.push(b' ')), "forged"),
        (
            "body re-encoded",
            changed(|call| call.body = String::from_utf8_lossy(&call.body).replace('/', "\\/").into_bytes()),
            "forged",
        ),
        ("signed, but eight hours old", Call::at((NOW - 8 * 3600 - 1).to_string(), &sealed(&event)), "stale"),
        ("signed, but eight hours early", Call::at((NOW + 8 * 3600 + 1).to_string(), &sealed(&event)), "stale"),
        (
            "digits moved from the nonce to the timestamp",
            changed(|call| {
                let digit = call.nonce.remove(0);
                call.timestamp.push(digit);
            }),
            "stale",
        ),
        ("signed, timestamp no number", Call::at("soon".into(), &sealed(&event)), "malformed"),
        ("signed, sealed with another key", Call::at(now(), foreign.as_bytes()), "forged"),
        ("signed, not sealed", Call::at(now(), &event), "malformed"),
        ("signed, no base64", Call::at(now(), br#"{"encrypt":"?"}"#), "malformed"),
        ("signed, no whole block", Call::at(now(), br#"{"encrypt":"c2hvcnQ="}"#), "malformed"),
        ("signed, more after the body", Call::at(now(), &[sealed(&event), vec![0x80, 0, 0]].concat()), "malformed"),
        ("signed, empty", Call::at(now(), b""), "malformed"),
        ("signed, no JSON inside", inside("hello"), "malformed"),
        ("signed, not UTF-8 inside", Call::sealing(b"{\"token\":\"\xFF\"}"), "malformed"),
        ("signed, with another token", inside(&text.replace(TOKEN, "someoneElses")), "forged"),
        ("signed, without a token", inside(&text.replace("\"token\"", "\"tokens\"")), "forged"),
        ("signed, no id of the message", inside(&text.replace("\"message_id\"", "\"id\"")), "malformed"),
        ("signed, an id that leads elsewhere", inside(&text.replace("om_private_text", "../../x")), "malformed"),
        ("signed, no sender", inside(&text.replace("\"open_id\"", "\"id\"")), "malformed"),
        ("signed, content no JSON", inside(&text.replace("{\\\"text\\\":", "")), "malformed"),
    ] {
        assert_eq!(call.post().expect_err(what).kind(), kind, "{what}");
    }
    for old in [NOW - 8 * 3600, NOW + 8 * 3600] {
        assert!(Call::at(old.to_string(), &sealed(&event)).post().is_ok(), "within the window");
    }
    for keys in
        [keys_with(|keys| keys["encrypt_key"] = "".into()), keys_with(|keys| keys["verification_token"] = "".into())]
    {
        assert_eq!(good.post_to(&keys).expect_err("a secret is missing").kind(), "forged");
        let unsigned = request(&keys, &Method::POST, &HeaderMap::new(), &sealed(&fixture("url_verification")));
        assert_eq!(unsigned.expect_err("a secret is missing").kind(), "forged");
    }
    for method in [Method::GET, Method::PUT, Method::HEAD] {
        assert_eq!(request(&keys(), &method, &HeaderMap::new(), &good.body), Err(Refusal::Method));
    }
}

/// Repeats are told by the message's id: "不要依赖event_id".
#[test]
fn a_message_pushed_again_under_another_event_has_the_same_id() {
    let event = String::from_utf8(fixture("private_text")).expect("UTF-8");
    let again = event.replace("\"event_id\": \"e", "\"event_id\": \"f");
    assert_ne!(event, again);
    assert_eq!(Call::sealing(again.as_bytes()).post(), Call::sealing(event.as_bytes()).post());
}

/// As many as a request may bring, however many left.
#[test]
fn a_crowd_that_leaves_is_not_too_much() {
    let users: Vec<_> = (0..100).map(|n| json!({ "user_id": { "open_id": format!("ou_{n}") } })).collect();
    let mut event: Value = serde_json::from_slice(&fixture("group_members_left")).expect("JSON");
    event["event"]["users"] = users.into();
    let received = Call::sealing(event.to_string().as_bytes()).post().expect("authentic");
    assert_eq!(received.messages.len(), 32);
}

proptest! {
    #[test]
    fn any_body_is_read_or_refused_signed_or_sealed_alone(body: Vec<u8>) {
        let _ = Call::at(NOW.to_string(), &body).post();
        let _ = unsigned(&sealed(&body));
    }

    #[test]
    fn any_text_is_read(text in "(@_user_1|@_user_|@_|!bot|/help|[a-z 你🐦\"\\\\]){0,12}", group: bool, post: bool) {
        let mut event: Value = serde_json::from_slice(&fixture("group_mention")).expect("JSON");
        let message = &mut event["event"]["message"];
        message["chat_type"] = if group { "group" } else { "p2p" }.into();
        if post {
            message["message_type"] = "post".into();
            message["content"] = json!({ "title": text, "content": [[{ "tag": "text", "text": text }, 7], {}] }).to_string().into();
        } else {
            message["content"] = json!({ "text": text }).to_string().into();
        }
        prop_assert_eq!(Call::sealing(event.to_string().as_bytes()).post().map(|received| received.messages.len()), Ok(1));
    }

    #[test]
    fn any_changed_byte_of_what_is_signed_is_refused(part in 0_usize..4, at: prop::sample::Index, to in 0x21_u8..0x7f) {
        let mut call = Call::sealing(&fixture("private_text"));
        let mut changed = match part {
            0 => call.timestamp.clone().into_bytes(),
            1 => call.nonce.clone().into_bytes(),
            2 => call.signature.clone().into_bytes(),
            _ => call.body.clone(),
        };
        let byte = at.index(changed.len());
        prop_assume!(changed[byte] != to);
        changed[byte] = to;
        let text = || String::from_utf8(changed.clone()).expect("ASCII");
        match part {
            0 => call.timestamp = text(),
            1 => call.nonce = text(),
            2 => call.signature = text(),
            _ => call.body = changed,
        }
        prop_assert!(matches!(call.post(), Err(Refusal::Forged(_))));
    }
}
