//! What WeChat posts: the values its documents publish, every kind of message under `tests/fixtures/wechat` in both
//! modes, and what nobody but WeChat may get in.

mod received;

use hoopoe_channels::crypto::envelope::{self, Key};
use hoopoe_channels::wechat::Wechat;
use hoopoe_channels::{Received, Refusal, Request, Response, Webhook};
use hoopoe_message::Timestamp;
use http::{HeaderMap, Method};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use serde_json::{Value, json};

const TOKEN: &str = "fixtureToken01";
const AES_KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
const APP: &str = "wxexample00000001";
const NOW: u64 = 1_767_225_600;

type Keys = <Wechat as Webhook>::Keys;

fn keys(json: &Value) -> Keys {
    serde_json::from_value(json.clone()).expect("keys as they are stored")
}

fn sealed_keys() -> Keys {
    keys(&json!({ "token": TOKEN, "encoding_aes_key": AES_KEY, "app_id": APP, "passive": false }))
}

fn plain_keys() -> Keys {
    keys(&json!({ "token": TOKEN, "encoding_aes_key": null, "app_id": APP, "passive": false }))
}

fn receive(keys: &Keys, method: &Method, query: &str, body: &[u8], now: u64) -> Result<Received, Refusal> {
    let headers = HeaderMap::new();
    let request = Request { method, query, headers: &headers, body, published: &[] };
    Wechat::receive(keys, &request, Timestamp::from_secs(now))
}

/// A request as WeChat would make it; each part can be changed before it is sent.
#[derive(Clone)]
struct Call {
    timestamp: String,
    nonce: String,
    /// Of 明文模式.
    signature: String,
    /// Of 安全模式.
    msg_signature: String,
    ciphertext: String,
    message: Vec<u8>,
}

impl Call {
    fn of(message: &[u8]) -> Self {
        Self::at(NOW, message, APP)
    }

    fn at(timestamp: u64, message: &[u8], receiver: &str) -> Self {
        let key = Key::decode(AES_KEY).expect("43 characters");
        let ciphertext = envelope::seal(&key, *b"sixteen bytes ok", message, receiver);
        Self { message: message.to_vec(), ..Self::signed(timestamp.to_string(), ciphertext) }
    }

    fn signed(timestamp: String, ciphertext: String) -> Self {
        let nonce = "1372623149".to_owned();
        Self {
            signature: envelope::sign(TOKEN, &timestamp, &nonce, ""),
            msg_signature: envelope::sign(TOKEN, &timestamp, &nonce, &ciphertext),
            timestamp,
            nonce,
            ciphertext,
            message: Vec::new(),
        }
    }

    fn plain_query(&self) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let [signature, timestamp, nonce] = [&self.signature, &self.timestamp, &self.nonce].map(|text| encoded(text));
        format!("signature={signature}&timestamp={timestamp}&nonce={nonce}")
    }

    fn sealed_query(&self) -> String {
        let signature = utf8_percent_encode(&self.msg_signature, NON_ALPHANUMERIC);
        format!("{}&openid=oExample&encrypt_type=aes&msg_signature={signature}", self.plain_query())
    }

    fn sealed_body(&self) -> String {
        format!(
            "<xml><ToUserName><![CDATA[gh_example00001]]></ToUserName><Encrypt><![CDATA[{}]]></Encrypt></xml>",
            self.ciphertext
        )
    }

    /// As in 安全模式.
    fn post(&self) -> Result<Received, Refusal> {
        receive(&sealed_keys(), &Method::POST, &self.sealed_query(), self.sealed_body().as_bytes(), NOW)
    }

    /// As in 明文模式.
    fn post_plain(&self) -> Result<Received, Refusal> {
        receive(&plain_keys(), &Method::POST, &self.plain_query(), &self.message, NOW)
    }

    fn get(&self, keys: &Keys, echo: &str) -> Result<Received, Refusal> {
        let echo = utf8_percent_encode(echo, NON_ALPHANUMERIC);
        receive(keys, &Method::GET, &format!("{}&echostr={echo}", self.plain_query()), b"", NOW)
    }
}

fn vectors() -> Value {
    serde_json::from_slice(&received::fixture("wechat", "vectors.json")).expect("the vectors")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} in {value}"))
}

fn seconds(value: &Value) -> u64 {
    text(value, "timestamp").parse().expect("a number")
}

#[test]
fn the_published_url_check_is_answered() {
    let published = &vectors()["published"];
    let check = &published["url check"];
    let query = format!(
        "signature={}&echostr={}&timestamp={}&nonce={}",
        text(check, "signature"),
        text(check, "echostr"),
        text(check, "timestamp"),
        text(check, "nonce")
    );
    let plain = keys(&json!({ "token": text(&published["keys"], "token"), "app_id": "wxba5fad812f8e6fb9" }));
    let answer = Ok(Received::question(Response::ok(text(check, "echostr"))));
    for keys in [&keys(&published["keys"]), &plain] {
        assert_eq!(receive(keys, &Method::GET, &query, b"", seconds(check)), answer);
        assert_eq!(receive(keys, &Method::GET, &query, b"", NOW), Err(Refusal::Stale(NOW - seconds(check))));
    }
}

#[test]
fn the_published_plain_signature_is_accepted() {
    let published = &vectors()["published"];
    for case in ["plain", "sealed"] {
        let signed = &published[case];
        let query = format!(
            "signature={}&timestamp={}&nonce={}",
            text(signed, "signature"),
            text(signed, "timestamp"),
            text(signed, "nonce")
        );
        let keys = keys(&json!({ "token": text(&published["keys"], "token"), "app_id": "wxba5fad812f8e6fb9" }));
        let body = received::fixture("wechat", "text.xml");
        let received = receive(&keys, &Method::POST, &query, &body, seconds(signed)).expect("authentic");
        assert_eq!(received.messages.len(), 1, "{case}");
    }
}

#[test]
fn the_published_envelopes_open_and_are_made_again() {
    let published = &vectors()["published"];
    let token = text(&published["keys"], "token");
    let app = text(&published["keys"], "app_id");
    let key = Key::decode(text(&published["keys"], "encoding_aes_key")).expect("43 characters");

    let sealed = &published["sealed"];
    let [timestamp, nonce, encrypt] = ["timestamp", "nonce", "encrypt"].map(|name| text(sealed, name));
    assert!(envelope::verify(token, timestamp, nonce, encrypt, text(sealed, "msg_signature")));
    assert_eq!(envelope::open(&key, encrypt, app), Ok(text(sealed, "opened").into()));
    // The document's example is in JSON, which official accounts do not get; it comes as far as that.
    let query = format!("msg_signature={}&timestamp={timestamp}&nonce={nonce}", text(sealed, "msg_signature"));
    let body = format!("<xml><Encrypt>{encrypt}</Encrypt></xml>");
    let read = receive(&keys(&published["keys"]), &Method::POST, &query, body.as_bytes(), seconds(sealed));
    assert_eq!(read.expect_err("JSON").kind(), "malformed");

    let answer = &published["answer"];
    let random = text(answer, "random").as_bytes().try_into().expect("16 bytes");
    let encrypt = envelope::seal(&key, random, text(answer, "message").as_bytes(), app);
    assert_eq!(encrypt, text(answer, "encrypt"));
    let signature = envelope::sign(token, text(answer, "timestamp"), text(answer, "nonce"), &encrypt);
    assert_eq!(signature, text(answer, "msg_signature"));
}

#[test]
fn what_an_independent_implementation_sealed_is_read() {
    let made = &vectors()["made"];
    for message in made["messages"].as_array().expect("messages") {
        let query = format!(
            "signature=0&timestamp={}&nonce={}&openid=o&encrypt_type=aes&msg_signature={}",
            text(message, "timestamp"),
            text(message, "nonce"),
            text(message, "msg_signature")
        );
        let body = format!("<xml><ToUserName>gh</ToUserName><Encrypt>{}</Encrypt></xml>", text(message, "encrypt"));
        let read = receive(&keys(&made["keys"]), &Method::POST, &query, body.as_bytes(), NOW).expect("authentic");
        assert_eq!(Call::of(text(message, "opened").as_bytes()).post(), Ok(read));
    }
}

#[test]
fn every_kind_of_message_is_read() {
    let read = |message: &[u8]| {
        let call = Call::of(message);
        // The same in both modes.
        assert_eq!(call.post_plain(), call.post());
        call.post()
    };
    let received = received::fixtures("wechat", "xml", read);
    insta::assert_json_snapshot!("received", received);
}

#[test]
fn both_forms_in_one_body_are_read_as_the_sealed_one() {
    let call = Call::of(&received::fixture("wechat", "text.xml"));
    let plain =
        "<FromUserName>oMallory</FromUserName><CreateTime>1</CreateTime><MsgType>text</MsgType><MsgId>7</MsgId>";
    let both = call.sealed_body().replace("<Encrypt>", &format!("{plain}<Encrypt>"));
    let read = receive(&sealed_keys(), &Method::POST, &call.sealed_query(), both.as_bytes(), NOW);
    assert_eq!(read, call.post());
}

#[test]
fn with_a_key_only_sealed_messages_are_accepted() {
    let call = Call::of(&received::fixture("wechat", "text.xml"));
    let query = call.plain_query();
    for query in
        [query.clone(), format!("{query}&encrypt_type=raw"), format!("{query}&msg_signature={}", call.signature)]
    {
        for body in [&call.message[..], b"<xml><Encrypt></Encrypt></xml>", b"<xml><Encrypt/></xml>"] {
            let refused = receive(&sealed_keys(), &Method::POST, &query, body, NOW);
            assert_eq!(refused.expect_err("not sealed").kind(), "forged", "{query}");
        }
    }
    // And without one the sealed ones cannot be read.
    let refused = receive(&plain_keys(), &Method::POST, &call.sealed_query(), call.sealed_body().as_bytes(), NOW);
    assert!(refused.expect_err("sealed").to_string().contains("encoding_aes_key"));
    // A key that is none is no absent key.
    let broken = json!({ "token": TOKEN, "encoding_aes_key": "short", "app_id": APP });
    let error = serde_json::from_value::<Keys>(broken).expect_err("no key").to_string();
    assert!(!error.contains("short"), "{error}");
}

#[test]
fn only_a_random_string_is_echoed() {
    let call = Call::of(b"");
    for keys in [sealed_keys(), plain_keys()] {
        assert_eq!(call.get(&keys, "5837397520665436492"), Ok(Received::question(Response::ok("5837397520665436492"))));
        for echo in ["<script>", "two words", "a-b", &"1".repeat(129)] {
            assert!(matches!(call.get(&keys, echo), Err(Refusal::Malformed(_))), "{echo}");
        }
    }
}

#[test]
fn what_wechat_did_not_send_is_refused() {
    let message = received::fixture("wechat", "text.xml");
    let good = Call::of(&message);
    assert!(good.post().is_ok());
    let changed = |change: fn(&mut Call)| {
        let mut call = good.clone();
        change(&mut call);
        call
    };
    let other_key = Key::decode(&"x".repeat(43)).expect("43 characters");
    let foreign = envelope::seal(&other_key, [1; 16], &message, APP);
    for (what, call, kind) in [
        ("signature of another token", changed(|call| call.msg_signature = "0".repeat(40)), "forged"),
        ("the plain signature", changed(|call| call.msg_signature.clone_from(&call.signature)), "forged"),
        ("signature re-encoded", changed(|call| call.msg_signature = call.msg_signature.to_uppercase()), "forged"),
        ("signature truncated", changed(|call| call.msg_signature.truncate(39)), "forged"),
        ("signature extended", changed(|call| call.msg_signature.push('0')), "forged"),
        ("signature empty", changed(|call| call.msg_signature.clear()), "forged"),
        ("timestamp of now on an old message", changed(|call| call.timestamp = (NOW + 1).to_string()), "forged"),
        ("another nonce", changed(|call| call.nonce = "7".into()), "forged"),
        ("ciphertext truncated", changed(|call| call.ciphertext.truncate(64)), "forged"),
        (
            "ciphertext re-encoded",
            changed(|call| call.ciphertext = call.ciphertext.trim_end_matches('=').replace('+', "-")),
            "forged",
        ),
        ("signed, but an hour old", Call::at(NOW - 3601, &message, APP), "stale"),
        ("signed, but an hour early", Call::at(NOW + 3601, &message, APP), "stale"),
        ("signed, for another account", Call::at(NOW, &message, "wxsomebodyelse"), "forged"),
        ("signed, sealed with another key", Call::signed(NOW.to_string(), foreign), "forged"),
        ("signed, no base64", Call::signed(NOW.to_string(), "?".into()), "malformed"),
        ("signed, no whole block", Call::signed(NOW.to_string(), "c2hvcnQ=".into()), "malformed"),
        ("signed, timestamp no number", Call::signed("soon".into(), good.ciphertext.clone()), "malformed"),
        ("signed, no XML inside", Call::of(b"hello"), "malformed"),
        ("signed, not UTF-8 inside", Call::of(b"<xml>\xFF</xml>"), "malformed"),
    ] {
        assert_eq!(call.post().expect_err(what).kind(), kind, "{what}");
    }
    for old in [NOW - 3600, NOW + 3600] {
        assert!(Call::at(old, &message, APP).post().is_ok(), "within the window");
    }
}

#[test]
fn what_wechat_did_not_send_in_plain_text_is_refused() {
    let message = received::fixture("wechat", "text.xml");
    let good = Call::of(&message);
    assert!(good.post_plain().is_ok());
    let changed = |change: fn(&mut Call)| {
        let mut call = good.clone();
        change(&mut call);
        call
    };
    for (what, call, kind) in [
        ("signature of another token", changed(|call| call.signature = "0".repeat(40)), "forged"),
        ("signature of a sealed message", changed(|call| call.signature.clone_from(&call.msg_signature)), "forged"),
        ("signature re-encoded", changed(|call| call.signature = call.signature.to_uppercase()), "forged"),
        ("signature truncated", changed(|call| call.signature.truncate(39)), "forged"),
        ("signature empty", changed(|call| call.signature.clear()), "forged"),
        ("timestamp of now", changed(|call| call.timestamp = (NOW + 1).to_string()), "forged"),
        ("another nonce", changed(|call| call.nonce = "7".into()), "forged"),
        ("signed, but five minutes old", Call::at(NOW - 301, &message, APP), "stale"),
        ("signed, but five minutes early", Call::at(NOW + 301, &message, APP), "stale"),
    ] {
        assert_eq!(call.post_plain().expect_err(what).kind(), kind, "{what}");
    }
    let tokenless = keys(&json!({ "token": "", "app_id": APP }));
    let (timestamp, nonce) = (NOW.to_string(), "7");
    let signature = envelope::sign("", &timestamp, nonce, "");
    let query = format!("signature={signature}&timestamp={timestamp}&nonce={nonce}");
    assert_eq!(
        receive(&tokenless, &Method::POST, &query, &message, NOW),
        Err(Refusal::Forged("no token is configured"))
    );
}

#[test]
fn a_message_that_lacks_something_is_refused() {
    let whole = String::from_utf8(received::fixture("wechat", "text.xml")).expect("UTF-8");
    let without = |element: &str| {
        let (before, rest) = whole.split_once(&format!("<{element}>")).expect("an element");
        let (_, after) = rest.split_once(&format!("</{element}>")).expect("its end");
        format!("{before}{after}")
    };
    for element in ["ToUserName", "FromUserName", "CreateTime", "MsgType", "MsgId"] {
        let refused = Call::of(without(element).as_bytes()).post().expect_err(element);
        assert!(matches!(refused, Refusal::Malformed(why) if why.contains(element)), "{refused}");
    }
    // A text without words is one all the same.
    assert_eq!(Call::of(without("Content").as_bytes()).post().expect("authentic").messages.len(), 1);
    for message in [
        whole.replace("oExample-0000_000000000000001", "o two words"),
        whole.replace("gh_example00001", &"g".repeat(65)),
        whole.replace("1767225600", "now"),
        whole.replace("[text]", "[event]"),
        whole.replace("24000000000000001", "&#7;"),
        whole.replace("<MsgId>", "<MsgId>1</MsgId><MsgId>"),
    ] {
        assert_eq!(Call::of(message.as_bytes()).post().expect_err(&message).kind(), "malformed", "{message}");
    }
}

#[test]
fn a_request_of_another_shape_is_refused() {
    let call = Call::of(&received::fixture("wechat", "text.xml"));
    let body = call.sealed_body();
    let query = call.sealed_query();
    let large = body.replace("<Encrypt>", &format!("<Padding>{}</Padding><Encrypt>", "x".repeat(64 * 1024)));
    let twice = body.replace("<Encrypt>", "<Encrypt>x</Encrypt><Encrypt>");
    let bomb = format!("<!DOCTYPE xml [<!ENTITY a \"b\">]>{body}");
    let long_query = format!("{query}&x={}", "x".repeat(4096));
    for (query, body, kind) in [
        (query.clone(), &body[..body.len() / 2], "malformed"),
        (query.clone(), "", "forged"),
        (query.clone(), "{\"Encrypt\":\"x\"}", "forged"),
        (query.clone(), &large, "malformed"),
        (query.clone(), &twice, "malformed"),
        (query.clone(), &bomb, "malformed"),
        (long_query, &body, "malformed"),
        (String::new(), &body, "forged"),
        (query.replace("&nonce", "&once"), &body, "forged"),
        (query.replace("timestamp=", "timestamp=%FF"), &body, "malformed"),
    ] {
        let refused = receive(&sealed_keys(), &Method::POST, &query, body.as_bytes(), NOW);
        assert_eq!(refused.expect_err(&query).kind(), kind, "{query} {body}");
    }
    for keys in [sealed_keys(), plain_keys()] {
        assert_eq!(receive(&keys, &Method::GET, &query, b"", NOW).expect_err("no echostr").kind(), "forged");
        assert_eq!(receive(&keys, &Method::PUT, &query, body.as_bytes(), NOW), Err(Refusal::Method));
    }
}

proptest! {
    #[test]
    fn any_request_is_read_or_refused(query in ".{0,80}", body: Vec<u8>, get: bool, sealed: bool) {
        let keys = if sealed { sealed_keys() } else { plain_keys() };
        let _ = receive(&keys, if get { &Method::GET } else { &Method::POST }, &query, &body, NOW);
    }

    #[test]
    fn any_message_is_read_or_refused(message in "(<xml>|</xml>|<MsgType>(text|event)</MsgType>|<FromUserName>a</FromUserName>|<ToUserName>a</ToUserName>|<CreateTime>(7|-1|a)</CreateTime>|<MsgId>7</MsgId>|<Event>|subscribe|</Event>|.){0,12}") {
        let call = Call::of(message.as_bytes());
        prop_assert_eq!(call.post(), call.post_plain());
    }

    #[test]
    fn any_changed_byte_of_what_is_signed_is_refused(part in 0_usize..4, at: prop::sample::Index, to in "[!-~]", sealed: bool) {
        let mut call = Call::of(b"<xml><MsgType>none</MsgType></xml>");
        prop_assert!(call.post().is_ok() && call.post_plain().is_ok());
        let text = match part {
            0 => &mut call.timestamp,
            1 => &mut call.nonce,
            2 if sealed => &mut call.msg_signature,
            2 => &mut call.signature,
            _ if sealed => &mut call.ciphertext,
            _ => return Ok(()),
        };
        let byte = at.index(text.len());
        prop_assume!(text[byte..=byte] != to);
        text.replace_range(byte..=byte, &to);
        let received = if sealed { call.post() } else { call.post_plain() };
        prop_assert!(received.is_err());
    }
}
