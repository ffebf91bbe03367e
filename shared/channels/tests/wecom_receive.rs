//! What WeCom posts: its published vectors, every kind of message under `tests/fixtures/wecom` sealed as WeCom seals
//! it, and what nobody but WeCom may get in.

mod received;

use hoopoe_channels::crypto::envelope::{self, Key};
use hoopoe_channels::wecom::Wecom;
use hoopoe_channels::{Received, Refusal, Request, Response, Webhook};
use hoopoe_message::{Content, Timestamp};
use http::{HeaderMap, Method};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;

const TOKEN: &str = "fixtureToken01";
const AES_KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
const CORP: &str = "wwexample00000001";
const NOW: u64 = 1_767_225_600;

fn keys() -> <Wecom as Webhook>::Keys {
    let keys = json!({ "token": TOKEN, "encoding_aes_key": AES_KEY, "corp_id": CORP });
    serde_json::from_value(keys).expect("keys as they are stored")
}

/// A request as WeCom would make it; each part can be changed before it is sent.
#[derive(Clone)]
struct Call {
    timestamp: String,
    nonce: String,
    signature: String,
    ciphertext: String,
}

impl Call {
    fn sealing(message: &[u8]) -> Self {
        Self::at(NOW, message, CORP)
    }

    fn at(timestamp: u64, message: &[u8], receiver: &str) -> Self {
        let key = Key::decode(AES_KEY).expect("43 characters");
        let ciphertext = envelope::seal(&key, *b"sixteen bytes ok", message, receiver);
        Self::signed(timestamp.to_string(), ciphertext)
    }

    fn signed(timestamp: String, ciphertext: String) -> Self {
        let nonce = "1372623149".to_owned();
        Self { signature: envelope::sign(TOKEN, &timestamp, &nonce, &ciphertext), timestamp, nonce, ciphertext }
    }

    fn query(&self) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        format!(
            "msg_signature={}&timestamp={}&nonce={}",
            encoded(&self.signature),
            encoded(&self.timestamp),
            encoded(&self.nonce)
        )
    }

    fn body(&self) -> String {
        format!(
            "<xml><ToUserName><![CDATA[{CORP}]]></ToUserName><Encrypt><![CDATA[{}]]></Encrypt><AgentID><![CDATA[1000002]]></AgentID></xml>",
            self.ciphertext
        )
    }

    fn post(&self) -> Result<Received, Refusal> {
        request(&Method::POST, &self.query(), self.body().as_bytes())
    }

    fn get(&self) -> Result<Received, Refusal> {
        let echo = utf8_percent_encode(&self.ciphertext, NON_ALPHANUMERIC);
        request(&Method::GET, &format!("{}&echostr={echo}", self.query()), b"")
    }
}

fn request(method: &Method, query: &str, body: &[u8]) -> Result<Received, Refusal> {
    let headers = HeaderMap::new();
    Wecom::receive(
        &keys(),
        &Request { method, query, headers: &headers, body, published: &[] },
        Timestamp::from_secs(NOW),
    )
}

#[derive(Deserialize)]
struct Vector {
    token: String,
    encoding_aes_key: String,
    corp_id: String,
    timestamp: String,
    nonce: String,
    encrypt: String,
    msg_signature: String,
    plaintext: Option<String>,
    plaintext_contains: Option<String>,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_slice(&received::fixture("wecom", "vectors.json")).expect("the published vectors")
}

impl Vector {
    fn receive(&self, method: &Method, query: &str, body: &str, now: u64) -> Result<Received, Refusal> {
        let keys = json!({ "token": self.token, "encoding_aes_key": self.encoding_aes_key, "corp_id": self.corp_id });
        let keys = serde_json::from_value(keys).expect("keys");
        let headers = HeaderMap::new();
        let request = Request { method, query, headers: &headers, body: body.as_bytes(), published: &[] };
        Wecom::receive(&keys, &request, Timestamp::from_secs(now))
    }

    fn query(&self) -> String {
        format!("msg_signature={}&timestamp={}&nonce={}", self.msg_signature, self.timestamp, self.nonce)
    }

    fn time(&self) -> u64 {
        self.timestamp.parse().expect("a number")
    }
}

#[test]
fn the_published_vectors_open() {
    for vector in vectors() {
        assert_eq!(
            envelope::sign(&vector.token, &vector.timestamp, &vector.nonce, &vector.encrypt),
            vector.msg_signature
        );
        let key = Key::decode(&vector.encoding_aes_key).expect("43 characters");
        let opened = envelope::open(&key, &vector.encrypt, &vector.corp_id).expect("the sample opens");
        let opened = String::from_utf8(opened).expect("UTF-8");
        vector.plaintext.iter().for_each(|plaintext| assert_eq!(&opened, plaintext));
        vector.plaintext_contains.iter().for_each(|part| assert!(opened.contains(part), "{opened}"));
    }
}

#[test]
fn the_published_url_check_is_answered() {
    let vector = &vectors()[0];
    let answer = Ok(Received::question(Response::ok("1616140317555161061")));
    let encoded = vector.encrypt.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    for echo in [&encoded, &vector.encrypt] {
        let query = format!("{}&echostr={echo}", vector.query());
        assert_eq!(vector.receive(&Method::GET, &query, "", vector.time()), answer);
    }
    let query = format!("{}&echostr={encoded}", vector.query());
    assert_eq!(vector.receive(&Method::GET, &query, "", NOW), Err(Refusal::Stale(NOW - vector.time())));
}

#[test]
fn the_published_message_is_read() {
    let vector = &vectors()[1];
    let body = format!(
        "<xml><ToUserName><![CDATA[{}]]></ToUserName><Encrypt><![CDATA[{}]]></Encrypt><AgentID><![CDATA[218]]></AgentID></xml>",
        vector.corp_id, vector.encrypt
    );
    let received = vector.receive(&Method::POST, &vector.query(), &body, vector.time() + 30).expect("authentic");
    let [message] = &received.messages[..] else { panic!("one message") };
    assert_eq!((message.chat.as_str(), message.id.as_str()), ("mycreate", "4561255354251345929"));
    assert_eq!(message.content, Content::text("hello"));
}

#[test]
fn every_kind_of_message_is_read() {
    let read = |message: &[u8]| Call::sealing(message).post();
    let received = received::fixtures("wecom", "xml", read);
    insta::assert_json_snapshot!("received", received);
}

#[test]
fn only_a_short_random_string_is_echoed() {
    let echo = |message: &[u8]| Call::sealing(message).get();
    assert_eq!(echo(b"1616140317555161061"), Ok(Received::question(Response::ok("1616140317555161061"))));
    let overheard = received::fixture("wecom", "text.xml");
    for message in [&overheard[..], b"two words", b"\xFF", &[b'1'; 129]] {
        assert!(matches!(echo(message), Err(Refusal::Malformed(_))));
    }
}

#[test]
fn what_wecom_did_not_send_is_refused() {
    let good = Call::sealing(&received::fixture("wecom", "text.xml"));
    assert!(good.post().is_ok());
    let changed = |change: fn(&mut Call)| {
        let mut call = good.clone();
        change(&mut call);
        call
    };
    let other_key = Key::decode(&"x".repeat(43)).expect("43 characters");
    let message = received::fixture("wecom", "text.xml");
    let foreign = envelope::seal(&other_key, [1; 16], &message, CORP);
    for (what, call, kind) in [
        ("signature of another token", changed(|call| call.signature = "0".repeat(40)), "forged"),
        ("signature re-encoded", changed(|call| call.signature = call.signature.to_uppercase()), "forged"),
        ("signature truncated", changed(|call| call.signature.truncate(39)), "forged"),
        ("signature extended", changed(|call| call.signature.push('0')), "forged"),
        ("signature empty", changed(|call| call.signature.clear()), "forged"),
        ("timestamp of now on an old message", changed(|call| call.timestamp = (NOW + 1).to_string()), "forged"),
        ("another nonce", changed(|call| call.nonce = "7".into()), "forged"),
        ("ciphertext truncated", changed(|call| call.ciphertext.truncate(64)), "forged"),
        (
            "ciphertext re-encoded",
            changed(|call| call.ciphertext = call.ciphertext.trim_end_matches('=').replace('+', "-")),
            "forged",
        ),
        ("signed, but an hour old", Call::at(NOW - 3601, &message, CORP), "stale"),
        ("signed, but an hour early", Call::at(NOW + 3601, &message, CORP), "stale"),
        ("signed, for another corporation", Call::at(NOW, &message, "wwsomebodyelse"), "forged"),
        ("signed, sealed with another key", Call::signed(NOW.to_string(), foreign), "forged"),
        ("signed, no base64", Call::signed(NOW.to_string(), "?".into()), "malformed"),
        ("signed, no whole block", Call::signed(NOW.to_string(), "c2hvcnQ=".into()), "malformed"),
        ("signed, timestamp no number", Call::signed("soon".into(), good.ciphertext.clone()), "malformed"),
        ("signed, no XML inside", Call::sealing(b"hello"), "malformed"),
        ("signed, not UTF-8 inside", Call::sealing(b"<xml>\xFF</xml>"), "malformed"),
        ("signed, no sender", Call::sealing(b"<xml><MsgType>text</MsgType><MsgId>1</MsgId></xml>"), "malformed"),
        (
            "signed, everybody as sender",
            Call::sealing(b"<xml><MsgType>text</MsgType><MsgId>1</MsgId><FromUserName>@all</FromUserName></xml>"),
            "malformed",
        ),
        (
            "signed, two senders",
            Call::sealing(b"<xml><MsgType>text</MsgType><MsgId>1</MsgId><FromUserName>a|b</FromUserName></xml>"),
            "malformed",
        ),
        (
            "signed, no id",
            Call::sealing(b"<xml><MsgType>text</MsgType><FromUserName>a</FromUserName></xml>"),
            "malformed",
        ),
    ] {
        assert_eq!(call.post().expect_err(what).kind(), kind, "{what}");
    }
    for old in [NOW - 3600, NOW + 3600] {
        assert!(Call::at(old, &message, CORP).post().is_ok(), "within the window");
    }
}

#[test]
fn a_request_of_another_shape_is_refused() {
    let call = Call::sealing(&received::fixture("wecom", "text.xml"));
    let body = call.body();
    let large = call.body().replace("<AgentID>", &format!("<Padding>{}</Padding><AgentID>", "x".repeat(64 * 1024)));
    let twice = body.replace("<AgentID>", "<Encrypt>x</Encrypt><AgentID>");
    let bomb = format!("<!DOCTYPE xml [<!ENTITY a \"b\">]>{body}");
    let long_query = format!("{}&x={}", call.query(), "x".repeat(4096));
    for (query, body, kind) in [
        (call.query(), &body[..body.len() / 2], "malformed"),
        (call.query(), "", "malformed"),
        (call.query(), "{\"encrypt\":\"x\"}", "malformed"),
        (call.query(), "<xml></xml>", "malformed"),
        (call.query(), &large, "malformed"),
        (call.query(), &twice, "malformed"),
        (call.query(), &bomb, "malformed"),
        (long_query, &body, "malformed"),
        (String::new(), &body, "forged"),
        (call.query().replace("nonce", "once"), &body, "forged"),
        (call.query().replace("timestamp=", "timestamp=%FF"), &body, "malformed"),
    ] {
        assert_eq!(request(&Method::POST, &query, body.as_bytes()).expect_err(&query).kind(), kind, "{query}");
    }
    assert_eq!(request(&Method::GET, &call.query(), b"").expect_err("no echostr").kind(), "forged");
    assert_eq!(request(&Method::PUT, &call.query(), body.as_bytes()), Err(Refusal::Method));
}

proptest! {
    #[test]
    fn any_sealed_message_is_read_or_refused(message in "(<xml>|</xml>|<MsgType>(text|event)</MsgType>|<FromUserName>a</FromUserName>|<Event>|subscribe|</Event>|.){0,12}") {
        let _ = Call::sealing(message.as_bytes()).post();
        let _ = Call::sealing(message.as_bytes()).get();
    }

    #[test]
    fn any_changed_byte_of_what_is_signed_is_refused(part in 0_usize..4, at: prop::sample::Index, to in "[!-~]", get: bool) {
        let mut call = Call::sealing(if get { b"1616140317555161061" } else { b"<xml><MsgType>none</MsgType></xml>" });
        let text = match part {
            0 => &mut call.timestamp,
            1 => &mut call.nonce,
            2 => &mut call.signature,
            _ => &mut call.ciphertext,
        };
        let byte = at.index(text.len());
        prop_assume!(text[byte..=byte] != to);
        text.replace_range(byte..=byte, &to);
        let received = if get { call.get() } else { call.post() };
        prop_assert!(received.is_err());
    }
}
