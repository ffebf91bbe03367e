//! Messenger as its servers see it: every kind of event under `tests/fixtures/messenger`, every request the bot sends,
//! and what nobody but Meta may get in.

mod meta;
mod received;
mod sent;
mod setup;

use std::time::Duration;

use hoopoe_channels::messenger::{Messenger, Settings as MessengerSettings};
use hoopoe_channels::{Received, Refusal, Retry, Sender, Settings, Webhook};
use hoopoe_message::{Content, Reply, Timestamp};
use http::{HeaderMap, HeaderValue, StatusCode};
use meta::{APP_SECRET, VERIFY_TOKEN, get, post, signature, signed, vectors};
use proptest::prelude::*;
use sent::refused;
use serde_json::{Value, json};

const PERSON: &str = "7001000000000001";

fn entered() -> Value {
    json!({
        "app_secret": APP_SECRET,
        "verify_token": VERIFY_TOKEN,
        "page_access_token": "EAAfixturePageAccessToken",
        "page_id": "109000000000001",
    })
}

fn settings() -> MessengerSettings {
    MessengerSettings::parse(&entered().to_string()).expect("valid settings")
}

fn webhook_keys() -> <Messenger as Webhook>::Keys {
    setup::keys(&settings().keys().webhook)
}

fn send_keys() -> <Messenger as Sender>::Keys {
    setup::keys(&settings().keys().send)
}

fn receive(body: &[u8]) -> Result<Received, Refusal> {
    post::<Messenger>(&webhook_keys(), &signed(&signature(body)), body)
}

#[test]
fn every_kind_of_event_is_read() {
    insta::assert_json_snapshot!("received", received::fixtures("messenger", "json", receive));
}

#[test]
fn signatures_of_others_are_accepted() {
    for vector in vectors("messenger") {
        let keys = json!({ "app_secret": vector.app_secret, "verify_token": "t", "page_id": "109000000000001" });
        let keys = serde_json::from_value(keys).expect("keys");
        let received = post::<Messenger>(&keys, &signed(&vector.signature), vector.body.as_bytes()).expect("authentic");
        assert_eq!(received.messages[0].content, Content::text(&vector.text));
    }
}

#[test]
fn what_meta_did_not_post_is_refused() {
    let body = received::fixture("messenger", "text_escaped.json");
    meta::refuses_what_meta_did_not_post::<Messenger>(&webhook_keys(), &body);
    meta::checks_the_url::<Messenger>(&webhook_keys());
    let none = json!({ "app_secret": "", "verify_token": "", "page_id": "109000000000001" });
    let none = serde_json::from_value(none).expect("keys");
    let of_no_secret = "sha256=b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad";
    assert!(matches!(post::<Messenger>(&none, &signed(of_no_secret), b""), Err(Refusal::Forged(_))));
    let query = "hub.mode=subscribe&hub.challenge=1&hub.verify_token=";
    assert!(matches!(get::<Messenger>(&none, query), Err(Refusal::Forged(_))));
}

#[test]
fn what_is_no_notification_is_malformed() {
    let deep = format!("{{\"object\":\"page\",\"entry\":{}", "[".repeat(10_000));
    for body in ["", "{}", "[]", "null", r#"{"object":1,"entry":[]}"#, r#"{"object":"page","entry":[{}]}"#, &deep] {
        assert!(matches!(receive(body.as_bytes()), Err(Refusal::Malformed(_))), "{body}");
    }
    assert!(matches!(receive(b"\xFF"), Err(Refusal::Malformed(_))));
}

fn reply(address: &str, text: &str, suggestions: &[&str]) -> Reply {
    sent::reply::<Messenger>(PERSON, "m_FIXTURE001", address, text, suggestions)
}

fn rendered(reply: &Reply) -> Vec<Value> {
    sent::parts(Messenger::render(&send_keys(), reply, reply.created_at).expect("a person"), None)
}

#[test]
fn requests_are_what_the_send_api_documents() {
    let replied = |text: &str, suggestions: &[&str]| rendered(&reply(PERSON, text, suggestions));
    let mut elsewhere = entered();
    elsewhere["api_base"] = "http://127.0.0.1:9000/v27.0/".into();
    elsewhere["page_id"] = json!(109_000_000_000_001_u64);
    let elsewhere = MessengerSettings::parse(&elsewhere.to_string()).expect("valid settings").keys();
    let elsewhere = setup::keys(&elsewhere.send);
    let many: Vec<String> = (1..=14).map(|number| format!("Topic {number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let requests = json!({
        "with suggestions": replied(
            "点击登录页的“忘记密码”。",
            &["联系人工", " ", "How do I change the e-mail address of my account?", "联系人工"],
        ),
        "more suggestions than fit": replied("Which one?", &many),
        "without suggestions": replied("*plain* <b>&</b> _text_", &[]),
        "elsewhere": sent::parts(
            Messenger::render(&elsewhere, &reply(PERSON, "hello", &[]), Timestamp::now()).expect("a person"),
            None,
        ),
        "check": sent::request(Messenger::check_request(&send_keys()).expect("a secret is stored"), None),
        "check elsewhere": sent::request(Messenger::check_request(&elsewhere).expect("a secret is stored"), None),
    });
    insta::assert_json_snapshot!("sent", requests);
}

#[test]
fn a_long_reply_is_several_messages_and_the_last_has_the_quick_replies() {
    let text = format!("{}\n\n{}", "一句话。".repeat(400), "One more sentence. ".repeat(60));
    let parts = rendered(&reply(PERSON, &text, &["Thanks"]));
    let [first, last] = &parts[..] else { panic!("two messages, not {}", parts.len()) };
    assert!(first["body"]["message"]["quick_replies"].is_null() && first["fallback"].is_null());
    assert_eq!(last["body"]["message"]["quick_replies"][0]["payload"], "Thanks");
    let fallback = last["fallback"]["body"]["message"]["text"].as_str().expect("a text");
    assert!(fallback.starts_with("One more") && fallback.ends_with("sentence.\n\n1. Thanks"));
    // With the numbers it would be too long for one message.
    let full = rendered(&reply(PERSON, &"x".repeat(2000), &["Thanks"]));
    assert!(full.len() == 1 && full[0]["fallback"].is_null());
}

#[test]
fn a_reply_needs_a_person() {
    for address in ["me", "7001 ", "-7", r#"{"phone":"1"}"#, &"7".repeat(33)] {
        assert!(Messenger::render(&send_keys(), &reply(address, "hello", &[]), Timestamp::now()).is_err(), "{address}");
    }
}

#[test]
fn each_answer_has_its_outcome() {
    let error = |code: i64, subcode: i64, message: &str| {
        json!({ "error": { "code": code, "error_subcode": subcode, "message": message, "type": "OAuthException" } })
            .to_string()
    };
    let old =
        r#"{"error":{"message":"(#100) No matching user found","code":100,"error_data":"No matching user found."}}"#;
    for (status, body, outcome) in [
        (200, r#"{"recipient_id":"7001","message_id":"m_1"}"#.to_owned(), Ok(())),
        (
            400,
            error(190, 463, "Session has expired"),
            refused("190/463: the access token is not valid or has expired; Session has expired", Retry::BadCredential),
        ),
        (
            403,
            error(10, 2_018_278, "Outside of allowed window"),
            refused(
                "10/2018278: the person's last message is older than 24 hours; Outside of allowed window",
                Retry::Never,
            ),
        ),
        (
            403,
            error(10, 0, "Not allowed"),
            refused("10: the access token lacks a permission; Not allowed", Retry::Never),
        ),
        (
            403,
            error(230, 0, "Not allowed"),
            refused("230: the access token lacks a permission; Not allowed", Retry::Never),
        ),
        (
            400,
            error(551, 1_545_041, "Not available right now"),
            refused(
                "551/1545041: the person takes no messages from this Page now; Not available right now",
                Retry::Never,
            ),
        ),
        (
            400,
            error(200, 2_018_108, "Cannot receive"),
            refused("200/2018108: the person takes no messages from this Page now; Cannot receive", Retry::Never),
        ),
        (
            400,
            error(100, 2_018_001, "No matching user"),
            refused("100/2018001: the person is none of this Page's; No matching user", Retry::Never),
        ),
        (400, error(100, 0, "Invalid parameter"), refused("100 Invalid parameter", Retry::Fallback)),
        (400, old.into(), refused("100 (#100) No matching user found", Retry::Fallback)),
        (400, error(613, 0, "Rate limit"), refused("613 Rate limit", Retry::After(Duration::from_secs(1)))),
        (
            400,
            error(4, 2_018_022, "Too many"),
            refused("4/2018022 Too many", Retry::BotAfter(Duration::from_secs(3600))),
        ),
        (400, error(1200, 0, "Temporary failure"), refused("1200 Temporary failure", Retry::Backoff)),
        (500, error(2, 0, "Try later"), refused("2 Try later", Retry::Backoff)),
        (400, error(368, 0, "Abusive"), refused("368: Meta blocked the account for a while; Abusive", Retry::Never)),
        (400, error(2022, 0, "Commerce"), refused("2022 Commerce", Retry::Never)),
        (200, "{}".into(), refused("HTTP 200, and no answer of the Graph API", Retry::Never)),
        (503, String::new(), refused("HTTP 503, and no answer of the Graph API", Retry::Backoff)),
    ] {
        assert_eq!(sent::outcome::<Messenger>(status, &HeaderMap::new(), &body), outcome, "{body}");
    }
    let pause = HeaderMap::from_iter([(http::header::RETRY_AFTER, HeaderValue::from_static("30"))]);
    assert_eq!(
        Messenger::outcome(StatusCode::BAD_REQUEST, &pause, error(613, 0, "Rate limit").as_bytes()),
        refused("613 Rate limit", Retry::After(Duration::from_secs(30)))
    );
}

#[test]
fn what_the_headers_say_of_a_limit_is_believed() {
    for (usage, seconds) in [
        (r#"{"1":[{"type":"messenger","call_count":100,"estimated_time_to_regain_access":19}]}"#, 19 * 60),
        (
            r#"{"1":[{"type":"pages","estimated_time_to_regain_access":0}],"2":[{"type":"messenger","estimated_time_to_regain_access":5}]}"#,
            5 * 60,
        ),
        (r#"{"1":[{"type":"messenger","estimated_time_to_regain_access":0}]}"#, 3600),
        (r#"{"1":[]}"#, 3600),
        ("odd", 3600),
    ] {
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static("x-business-use-case-usage"),
            HeaderValue::from_static(usage),
        )]);
        assert_eq!(
            Messenger::outcome(
                StatusCode::BAD_REQUEST,
                &headers,
                br#"{"error":{"message":"Rate limit","code":80006}}"#
            ),
            refused("80006 Rate limit", Retry::BotAfter(Duration::from_secs(seconds))),
            "{usage}"
        );
    }
}

#[test]
fn the_check_of_the_token_is_read() {
    meta::check_is_read::<Messenger>();
}

#[test]
fn settings_are_checked_field_by_field() {
    let faults = [
        ("app_secret", json!("")),
        ("app_secret", json!("0f1e-2d3c-4b5a-6978")),
        ("verify_token", json!("two words")),
        ("page_access_token", json!("EAA fixture")),
        ("page_access_token", json!("x".repeat(1025))),
        ("page_id", json!("my.page")),
        ("page_id", json!("")),
        ("page_id", json!({})),
        ("api_base", json!("graph.facebook.com")),
    ];
    setup::refuses::<MessengerSettings>(&entered(), faults);
    let steps = settings().console_steps("https://bot.example/messenger/main");
    insta::assert_snapshot!("console_steps", steps);
}

proptest! {
    #[test]
    fn any_event_is_read_or_ignored(kind in "(message|postback|[a-z]{1,8})", said in ".{0,40}", id in ".{0,200}") {
        let told = json!({ "mid": id, "text": said, "quick_reply": { "payload": said }, "title": said, "payload": said });
        let event = json!({ "sender": { "id": PERSON }, "recipient": { "id": "1" }, kind: told });
        let body = json!({ "object": "page", "entry": [{ "id": "109000000000001", "messaging": [event] }] });
        let received = receive(body.to_string().as_bytes()).expect("a notification");
        prop_assert_eq!(received.messages.len() + received.ignored, 1);
    }

    #[test]
    fn any_fault_is_a_refusal(status in 100_u16..600, code: i64) {
        let fault = json!({ "error": { "code": code } }).to_string();
        prop_assert!(sent::outcome::<Messenger>(status, &HeaderMap::new(), &fault).is_err());
    }

    #[test]
    fn any_reply_fits_the_limits(
        part in "[a-z。🐦 \n]{0,60}",
        parts in 0_usize..200,
        suggestions in proptest::collection::vec("[a-z。🐦\u{301} ]{0,40}", 0..16),
    ) {
        let suggestions: Vec<&str> = suggestions.iter().map(String::as_str).collect();
        for part in rendered(&reply(PERSON, &part.repeat(parts), &suggestions)) {
            let length = |text: &Value| text.as_str().map_or(0, |text| text.encode_utf16().count());
            let message = &part["body"]["message"];
            prop_assert!((1..=2000).contains(&length(&message["text"])));
            prop_assert!(length(&part["fallback"]["body"]["message"]["text"]) <= 2000);
            let offered = message["quick_replies"].as_array().map_or(&[][..], Vec::as_slice);
            prop_assert!(offered.len() <= 13);
            prop_assert!(offered.iter().all(|reply| (1..=20).contains(&length(&reply["title"]))));
        }
    }
}
