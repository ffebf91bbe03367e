//! What DingTalk posts: published and independently made vectors, every kind of message and event under
//! `tests/fixtures/dingtalk`, signed and sealed as DingTalk does, and what nobody but DingTalk may get in.

mod received;

use std::collections::HashSet;

use hoopoe_channels::crypto::envelope::{self, Key};
use hoopoe_channels::crypto::signature::hmac_sha256;
use hoopoe_channels::dingtalk::Dingtalk;
use hoopoe_channels::{Received, Refusal, Request, Webhook};
use hoopoe_message::{ChannelEvent, Content, Timestamp};
use http::{HeaderMap, HeaderValue, Method};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

const APP_KEY: &str = "dingfixtureappkey001";
const APP_SECRET: &str = "fixture-Secret_0123456789-abc";
const ROBOT: &str = "dingfixturerobot0001";
const CORP: &str = "dingfixturecorp00001";
const TOKEN: &str = "fixtureToken01";
const AES_KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
const NOW: u64 = 1_767_225_600;

type Keys = <Dingtalk as Webhook>::Keys;

fn settings() -> Value {
    json!({
        "app_key": APP_KEY, "app_secret": APP_SECRET, "robot_code": ROBOT, "corp_id": CORP,
        "token": TOKEN, "encoding_aes_key": AES_KEY,
    })
}

fn keys(change: impl FnOnce(&mut Value)) -> Keys {
    let mut keys = settings();
    change(&mut keys);
    serde_json::from_value(keys).expect("keys as they are stored")
}

fn request(keys: &Keys, method: &Method, query: &str, headers: &HeaderMap, body: &[u8]) -> Result<Received, Refusal> {
    let request = Request { method, query, headers, body, published: &[] };
    Dingtalk::receive(keys, &request, Timestamp::from_secs(NOW))
}

/// The headers of a robot's message.
fn headers(timestamp: &str, sign: &str) -> HeaderMap {
    let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).expect("a header value");
    HeaderMap::from_iter([
        ("timestamp".parse().expect("a header name"), value(timestamp)),
        ("sign".parse().expect("a header name"), value(sign)),
    ])
}

fn sign(timestamp: &str, secret: &str) -> String {
    let digest = hmac_sha256(secret.as_bytes(), &[timestamp.as_bytes(), b"\n", secret.as_bytes()]);
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest)
}

fn signed_at(seconds: u64) -> HeaderMap {
    let timestamp = format!("{seconds}999");
    headers(&timestamp, &sign(&timestamp, APP_SECRET))
}

fn says(keys: &Keys, body: &[u8]) -> Result<Received, Refusal> {
    request(keys, &Method::POST, "", &signed_at(NOW), body)
}

/// A message's fixture with something changed.
fn message(fixture: &str, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut message: Value =
        serde_json::from_slice(&received::fixture("dingtalk/messages", fixture)).expect("a fixture of JSON");
    change(&mut message);
    message.to_string().into_bytes()
}

/// An event as DingTalk would post it; each part can be changed before it is sent.
#[derive(Clone)]
struct Call {
    name: &'static str,
    timestamp: String,
    nonce: String,
    signature: String,
    ciphertext: String,
}

impl Call {
    fn sealing(event: &[u8]) -> Self {
        Self::at(&format!("{NOW}123"), event, APP_KEY)
    }

    fn at(timestamp: &str, event: &[u8], receiver: &str) -> Self {
        let key = Key::decode(AES_KEY).expect("43 characters");
        Self::signed(timestamp, envelope::seal(&key, *b"sixteen bytes ok", event, receiver))
    }

    fn signed(timestamp: &str, ciphertext: String) -> Self {
        let nonce = "n0nc3".to_owned();
        let signature = envelope::sign(TOKEN, timestamp, &nonce, &ciphertext);
        Self { name: "signature", timestamp: timestamp.into(), nonce, signature, ciphertext }
    }

    fn query(&self) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        format!(
            "{}={}&timestamp={}&nonce={}",
            self.name,
            encoded(&self.signature),
            encoded(&self.timestamp),
            encoded(&self.nonce)
        )
    }

    fn post_to(&self, keys: &Keys) -> Result<Received, Refusal> {
        let body = json!({ "encrypt": self.ciphertext }).to_string();
        request(keys, &Method::POST, &self.query(), &HeaderMap::new(), body.as_bytes())
    }

    fn post(&self) -> Result<Received, Refusal> {
        self.post_to(&keys(|_| ()))
    }
}

/// What DingTalk reads in an answer to an event.
fn opened(answer: &str, token: &str, key: &str, receiver: &str) -> String {
    let answer: Value = serde_json::from_str(answer).expect("JSON");
    let field = |name: &str| answer[name].as_str().expect(name).to_owned();
    let (encrypt, nonce) = (field("encrypt"), field("nonce"));
    assert!(envelope::verify(token, &field("timeStamp"), &nonce, &encrypt, &field("msg_signature")));
    assert_eq!(nonce.len(), 16);
    let opened = envelope::open(&Key::decode(key).expect("43 characters"), &encrypt, receiver).expect("it opens");
    String::from_utf8(opened).expect("UTF-8")
}

#[derive(Deserialize)]
struct Vectors {
    envelopes: Vec<Envelope>,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Envelope {
    token: String,
    encoding_aes_key: String,
    receiver: String,
    timestamp: String,
    nonce: String,
    encrypt: String,
    msg_signature: String,
    plaintext: String,
}

#[derive(Deserialize)]
struct Signature {
    app_secret: String,
    timestamp: String,
    sign: String,
}

fn vectors() -> Vectors {
    serde_json::from_slice(&received::fixture("dingtalk", "vectors.json")).expect("the vectors")
}

#[test]
fn the_vectors_open() {
    for vector in vectors().envelopes {
        assert_eq!(
            envelope::sign(&vector.token, &vector.timestamp, &vector.nonce, &vector.encrypt),
            vector.msg_signature
        );
        let key = Key::decode(&vector.encoding_aes_key).expect("43 characters");
        let opened = envelope::open(&key, &vector.encrypt, &vector.receiver).expect("it opens");
        assert_eq!(String::from_utf8(opened).expect("UTF-8"), vector.plaintext);
    }
}

#[test]
fn the_vectors_of_events_are_received_and_answered() {
    let mut seen = Vec::new();
    for vector in vectors().envelopes.into_iter().filter(|vector| vector.plaintext != "success") {
        let keys = keys(|keys| {
            keys["token"] = vector.token.as_str().into();
            keys["encoding_aes_key"] = vector.encoding_aes_key.as_str().into();
            // The third is addressed to the organisation.
            if vector.receiver != CORP {
                keys["app_key"] = vector.receiver.as_str().into();
            }
        });
        let query = format!("signature={}&timestamp={}&nonce={}", vector.msg_signature, vector.timestamp, vector.nonce);
        let body = json!({ "encrypt": vector.encrypt }).to_string();
        let now = Timestamp::from_secs(vector.timestamp[..10].parse().expect("a number"));
        let request = Request {
            method: &Method::POST,
            query: &query,
            headers: &HeaderMap::new(),
            body: body.as_bytes(),
            published: &[],
        };
        let received = Dingtalk::receive(&keys, &request, now).expect("authentic");
        let answer = &received.answer;
        assert_eq!(answer.content_type, "application/json");
        assert_eq!(opened(&answer.body, &vector.token, &vector.encoding_aes_key, &vector.receiver), "success");
        seen.push((received.messages.len(), received.ignored));
        let late = Timestamp::from_secs(now.as_secs() + 3601);
        assert!(matches!(Dingtalk::receive(&keys, &request, late), Err(Refusal::Stale(_))));
    }
    assert_eq!(seen, [(0, 0), (0, 0), (1, 0)]);
}

#[test]
fn the_vectors_of_signatures_are_accepted() {
    let body = received::fixture("dingtalk/messages", "private_text.json");
    for vector in vectors().signatures {
        let keys = keys(|keys| keys["app_secret"] = vector.app_secret.as_str().into());
        let headers = headers(&vector.timestamp, &vector.sign);
        let request = Request { method: &Method::POST, query: "", headers: &headers, body: &body, published: &[] };
        let at = |seconds: u64| Dingtalk::receive(&keys, &request, Timestamp::from_secs(seconds));
        let told: u64 = vector.timestamp[..10].parse().expect("a number");
        for now in [told - 3600, told, told + 3600] {
            let received = at(now).expect("authentic");
            assert_eq!(received.messages[0].content, Content::text("忘记密码怎么办？"));
            assert_eq!(received.answer.body, "");
        }
        for now in [told - 3601, told + 3601] {
            assert_eq!(at(now), Err(Refusal::Stale(3601)));
        }
    }
}

#[test]
fn every_kind_of_message_is_read() {
    let keys = keys(|_| ());
    insta::assert_json_snapshot!("messages", received::fixtures("dingtalk/messages", "json", |body| says(&keys, body)));
}

#[test]
fn every_kind_of_event_is_read_and_answered() {
    let read = |event: &[u8]| {
        let received = Call::sealing(event).post()?;
        assert_eq!(opened(&received.answer.body, TOKEN, AES_KEY, APP_KEY), "success");
        Ok(received)
    };
    insta::assert_json_snapshot!("events", received::fixtures("dingtalk/events", "json", read));
}

#[test]
fn a_webhook_of_another_server_is_not_kept() {
    let address = |keys: &Keys, url: &str| {
        let body = message("private_text.json", |message| message["sessionWebhook"] = url.into());
        let received = says(keys, &body).expect("authentic");
        received.messages[0].address.clone()
    };
    let (here, own) = (keys(|_| ()), keys(|keys| keys["api_base"] = "http://127.0.0.1:9000".into()));
    for url in
        ["https://evil.example/robot", "http://oapi.dingtalk.com/robot", "https://oapi.dingtalk.com@evil.example/", ""]
    {
        assert_eq!(address(&here, url), r#"{"user":"0147258369"}"#, "{url}");
        assert_eq!(address(&own, url), r#"{"user":"0147258369"}"#, "{url}");
    }
    assert_eq!(address(&here, "http://127.0.0.1:9000/robot"), r#"{"user":"0147258369"}"#);
    assert!(address(&own, "http://127.0.0.1:9000/robot").contains(r#""url":"http://127.0.0.1:9000/robot""#));
}

#[test]
fn a_message_is_only_for_the_configured_robot() {
    let none = Value::Null;
    for (configured, robot, corporation, accepted) in [
        (Some(CORP), json!(ROBOT), json!(CORP), true),
        (Some(CORP), json!(ROBOT), none.clone(), true),
        (Some(CORP), none.clone(), json!(CORP), true),
        (None, json!(ROBOT), json!("dingother"), true),
        (None, json!(ROBOT), none.clone(), true),
        (Some(CORP), json!("dingother"), json!(CORP), false),
        (Some(CORP), json!(ROBOT), json!("dingother"), false),
        (Some(CORP), none.clone(), none.clone(), false),
        (Some(CORP), json!(""), json!("dingother"), false),
        (None, none.clone(), json!(CORP), false),
        (None, json!("dingother"), json!(CORP), false),
        (None, none.clone(), none, false),
    ] {
        let keys = keys(|keys| keys["corp_id"] = json!(configured));
        let body = message("private_text.json", |message| {
            message["robotCode"] = robot.clone();
            message["chatbotCorpId"] = corporation.clone();
        });
        let received = says(&keys, &body);
        assert_eq!(received.is_ok(), accepted, "{configured:?} {robot} {corporation}");
        assert!(accepted || matches!(received, Err(Refusal::Forged(_))));
    }
}

#[test]
fn messages_that_dingtalk_did_not_send_are_refused() {
    let body = received::fixture("dingtalk/messages", "private_text.json");
    let here = keys(|_| ());
    let timestamp = format!("{NOW}000");
    let good = sign(&timestamp, APP_SECRET);
    let of_another_time = sign(&format!("{NOW}001"), APP_SECRET);
    let soon = sign("soon", APP_SECRET);
    let url_safe = good.replace('+', "-").replace('/', "_");
    assert!(request(&here, &Method::POST, "", &headers(&timestamp, &good), &body).is_ok());
    for (what, timestamp, sign, kind) in [
        ("no signature", timestamp.as_str(), "", "forged"),
        ("truncated", &timestamp, &good[..43], "forged"),
        ("extended", &timestamp, &format!("{good}="), "forged"),
        ("re-encoded", &timestamp, good.trim_end_matches('='), "forged"),
        ("of another secret", &timestamp, &sign(&timestamp, "another"), "forged"),
        ("of another time", &timestamp, &of_another_time, "forged"),
        ("in hex", &timestamp, &"0".repeat(64), "forged"),
        ("endless", &timestamp, &"A".repeat(100_000), "forged"),
        ("timestamp empty", "", &good, "forged"),
        ("timestamp no number", "soon", &soon, "malformed"),
    ] {
        let refused = request(&here, &Method::POST, "", &headers(timestamp, sign), &body).expect_err(what);
        assert_eq!(refused.kind(), kind, "{what}");
    }
    if url_safe != good {
        assert!(request(&here, &Method::POST, "", &headers(&timestamp, &url_safe), &body).is_err());
    }
    let mut only_sign = signed_at(NOW);
    only_sign.remove("timestamp");
    let mut not_text = signed_at(NOW);
    not_text.insert("sign", HeaderValue::from_bytes(b"\xFF").expect("opaque bytes"));
    for headers in [HeaderMap::new(), only_sign, not_text] {
        assert!(matches!(request(&here, &Method::POST, "", &headers, &body), Err(Refusal::Forged(_))));
    }
    for seconds in [NOW - 3601, NOW + 3602] {
        assert!(matches!(request(&here, &Method::POST, "", &signed_at(seconds), &body), Err(Refusal::Stale(_))));
    }
    for method in [Method::GET, Method::PUT, Method::HEAD] {
        assert_eq!(request(&here, &method, "", &signed_at(NOW), &body), Err(Refusal::Method));
    }
    let nothing = keys(|keys| keys["app_secret"] = "".into());
    let headers = headers(&timestamp, &sign(&timestamp, ""));
    assert!(matches!(request(&nothing, &Method::POST, "", &headers, &body), Err(Refusal::Forged(_))));
}

#[test]
fn what_is_no_message_is_malformed() {
    let keys = keys(|_| ());
    let whole = received::fixture("dingtalk/messages", "group_mention.json");
    let deep = format!("{{\"robotCode\":\"{ROBOT}\",\"text\":{}}}", "[".repeat(10_000));
    let large = message("private_text.json", |message| message["x"] = "x".repeat(256 * 1024).into());
    let twice = String::from_utf8(whole.clone()).expect("UTF-8").replace("\"msgtype\"", "\"msgId\":\"1\",\"msgtype\"");
    for body in [
        &b""[..],
        b"null",
        b"\xFF",
        &whole[..whole.len() / 2],
        deep.as_bytes(),
        &large,
        twice.as_bytes(),
        &message("private_text.json", |message| message["msgId"] = Value::Null),
        &message("private_text.json", |message| message["msgId"] = "a\nb".into()),
        &message("private_text.json", |message| message["conversationId"] = "a b".into()),
    ] {
        assert!(matches!(says(&keys, body), Err(Refusal::Malformed(_))), "{}", String::from_utf8_lossy(body));
    }
    for nobody in [&b"{}"[..], b"[]"] {
        assert!(matches!(says(&keys, nobody), Err(Refusal::Forged(_))));
    }
}

#[test]
fn events_that_dingtalk_did_not_send_are_refused() {
    let event = received::fixture("dingtalk/events", "robot_added.json");
    let good = Call::sealing(&event);
    let changed = |change: fn(&mut Call)| {
        let mut call = good.clone();
        change(&mut call);
        call
    };
    assert!(good.post().is_ok() && changed(|call| call.name = "msg_signature").post().is_ok());
    assert!(Call::at(&NOW.to_string(), &event, APP_KEY).post().is_ok(), "a timestamp in seconds");
    assert!(Call::at(&NOW.to_string(), &event, CORP).post().is_ok(), "addressed to the organisation");
    let other_key = Key::decode(&"x".repeat(43)).expect("43 characters");
    let foreign = envelope::seal(&other_key, [1; 16], &event, APP_KEY);
    let now = NOW.to_string();
    for (what, call, kind) in [
        ("signature of another token", changed(|call| call.signature = "0".repeat(40)), "forged"),
        ("signature re-encoded", changed(|call| call.signature = call.signature.to_uppercase()), "forged"),
        ("signature truncated", changed(|call| call.signature.truncate(39)), "forged"),
        ("signature empty", changed(|call| call.signature.clear()), "forged"),
        ("signature by another name", changed(|call| call.name = "sign"), "forged"),
        ("timestamp of now on an old event", changed(|call| call.timestamp = format!("{NOW}124")), "forged"),
        ("another nonce", changed(|call| call.nonce = "7".into()), "forged"),
        ("no nonce", changed(|call| call.nonce.clear()), "forged"),
        ("ciphertext truncated", changed(|call| call.ciphertext.truncate(64)), "forged"),
        ("signed, but an hour old", Call::at(&format!("{}000", NOW - 3601), &event, APP_KEY), "stale"),
        ("signed, but an hour early", Call::at(&(NOW + 3601).to_string(), &event, APP_KEY), "stale"),
        ("signed, for another application", Call::at(&now, &event, "dingsomebodyelse"), "forged"),
        ("signed, for nobody", Call::at(&now, &event, ""), "forged"),
        ("signed, sealed with another key", Call::signed(&now, foreign), "forged"),
        ("signed, no base64", Call::signed(&now, "?".into()), "malformed"),
        ("signed, timestamp no number", Call::signed("soon", good.ciphertext.clone()), "malformed"),
        ("signed, no JSON inside", Call::sealing(b"hello"), "malformed"),
        ("signed, no kind inside", Call::sealing(b"{}"), "malformed"),
        (
            "signed, no id inside",
            Call::sealing(br#"{"EventType":"chat_quit","openConversationId":"cid","operator":"a"}"#),
            "malformed",
        ),
    ] {
        assert_eq!(call.post().expect_err(what).kind(), kind, "{what}");
    }
}

#[test]
fn each_kind_of_request_needs_its_own_proof() {
    let call = Call::sealing(&received::fixture("dingtalk/events", "robot_added.json"));
    let sealed = json!({ "encrypt": call.ciphertext }).to_string();
    let spoken = received::fixture("dingtalk/messages", "private_text.json");
    let here = keys(|_| ());
    let nothing = HeaderMap::new();
    let post = |query: &str, headers: &HeaderMap, body: &[u8]| request(&here, &Method::POST, query, headers, body);
    assert!(post("", &nothing, sealed.as_bytes()).is_err(), "an event without its signature");
    assert!(post("", &signed_at(NOW), sealed.as_bytes()).is_err(), "an event with a message's signature");
    assert!(post(&call.query(), &nothing, &spoken).is_err(), "a message with an event's signature");
    assert!(post(&call.query(), &headers("1", "1"), sealed.as_bytes()).is_err(), "an event with a forged header");
    let long = format!("{}&x={}", call.query(), "x".repeat(4096));
    assert!(post(&long, &nothing, sealed.as_bytes()).is_err(), "an endless query");
    let large = json!({ "encrypt": call.ciphertext, "x": "x".repeat(64 * 1024) }).to_string();
    assert!(matches!(post(&call.query(), &nothing, large.as_bytes()), Err(Refusal::Malformed(_))));
    // Without a token and key there are no events, and messages all the same.
    for missing in [&["token", "encoding_aes_key"][..], &["token"], &["encoding_aes_key"]] {
        let keys = keys(|keys| missing.iter().for_each(|field| keys[*field] = Value::Null));
        assert!(matches!(call.post_to(&keys), Err(Refusal::Forged(_))));
        assert!(says(&keys, &spoken).is_ok());
    }
    let empty = keys(|keys| keys["token"] = "".into());
    assert!(matches!(call.post_to(&empty), Err(Refusal::Forged(_))));
    let no_key = keys(|keys| keys["encoding_aes_key"] = "short".into());
    assert!(matches!(call.post_to(&no_key), Err(Refusal::Forged(_))));
}

#[test]
fn an_answer_is_the_same_for_a_repeated_event_and_for_no_other() {
    let event = received::fixture("dingtalk/events", "robot_added.json");
    let answers: Vec<String> = (0..50)
        .map(|second| {
            let call = Call::at(&(NOW - second).to_string(), &event, APP_KEY);
            let answer = call.post().expect("authentic").answer.body;
            assert_eq!(call.post().expect("authentic").answer.body, answer);
            answer
        })
        .collect();
    let part = |answer: &String, name: &str| serde_json::from_str::<Value>(answer).expect("JSON")[name].to_string();
    for name in ["encrypt", "nonce", "msg_signature"] {
        let different: HashSet<String> = answers.iter().map(|answer| part(answer, name)).collect();
        assert_eq!(different.len(), answers.len(), "{name}");
    }
}

#[test]
fn an_event_about_many_is_bounded() {
    let members: Vec<String> = (0..2000).map(|member| format!("member{member}")).collect();
    let event =
        json!({ "EventType": "chat_remove_member", "eventId": "e", "openConversationId": "cid", "userId": members });
    let received = Call::sealing(event.to_string().as_bytes()).post().expect("authentic");
    assert_eq!(received.messages.len(), 50);
    assert!(received.messages.iter().all(|message| message.content == Content::Event(ChannelEvent::Left)));
    let chats: HashSet<&str> = received.messages.iter().map(|message| message.chat.as_str()).collect();
    assert_eq!(chats.len(), 50);
}

proptest! {
    #[test]
    fn any_sealed_event_is_read_or_refused(body: Vec<u8>) {
        let _ = Call::sealing(&body).post();
    }

    #[test]
    fn any_value_in_a_field_is_read_or_refused(
        field in prop::sample::select(vec![
            "conversationId", "msgId", "senderStaffId", "senderId", "conversationType", "isInAtList", "sessionWebhook",
            "sessionWebhookExpiredTime", "text", "content", "msgtype", "robotCode", "chatbotCorpId", "chatbotUserId",
        ]),
        value in prop::sample::select(vec![
            json!(null), json!(""), json!(" "), json!(-1), json!(1.5), json!(u64::MAX), json!([]), json!({}), json!(true),
            json!({"content": 7}), json!({"richText": [7, {"text": 7}]}), json!("x".repeat(5000)), json!("a\u{0}b"),
        ]),
        fixture in prop::sample::select(vec!["private_text.json", "group_mention.json", "group_rich_text.json"]),
    ) {
        let _ = says(&keys(|_| ()), &message(fixture, |message| message[field] = value));
    }

    #[test]
    fn any_changed_byte_of_a_messages_proof_is_refused(in_sign: bool, at: prop::sample::Index, to in "[!-~]") {
        let timestamp = format!("{NOW}000");
        let mut parts = [timestamp.clone(), sign(&timestamp, APP_SECRET)];
        let text = &mut parts[usize::from(in_sign)];
        let byte = at.index(text.len());
        prop_assume!(text[byte..=byte] != to);
        text.replace_range(byte..=byte, &to);
        let body = received::fixture("dingtalk/messages", "private_text.json");
        let received = request(&keys(|_| ()), &Method::POST, "", &headers(&parts[0], &parts[1]), &body);
        prop_assert!(matches!(received, Err(Refusal::Forged(_))));
    }

    #[test]
    fn any_changed_byte_of_a_signed_event_is_refused(part in 0_usize..4, at: prop::sample::Index, to in "[!-~]") {
        let mut call = Call::sealing(br#"{"EventType":"none"}"#);
        let text = match part {
            0 => &mut call.timestamp,
            1 => &mut call.nonce,
            2 => &mut call.signature,
            _ => &mut call.ciphertext,
        };
        let byte = at.index(text.len());
        prop_assume!(text[byte..=byte] != to);
        text.replace_range(byte..=byte, &to);
        prop_assert!(call.post().is_err());
    }
}
