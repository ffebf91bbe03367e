//! WhatsApp as its servers see it: every kind of notification under `tests/fixtures/whatsapp`, every request the bot
//! sends, and what nobody but Meta may get in.

mod meta;
mod received;
mod sent;
mod setup;

use std::time::Duration;

use hoopoe_channels::whatsapp::{Settings as WhatsappSettings, Whatsapp};
use hoopoe_channels::{Received, Refusal, Retry, Sender, Settings, Webhook};
use hoopoe_message::{Content, Reply, Timestamp};
use http::{HeaderMap, HeaderValue, StatusCode};
use meta::{APP_SECRET, VERIFY_TOKEN, get, post, signature, signed, vectors};
use proptest::prelude::*;
use sent::{refused, unknown};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);
const PERSON: &str = r#"{"phone":"15551230001"}"#;

fn entered() -> Value {
    json!({
        "app_secret": APP_SECRET,
        "verify_token": VERIFY_TOKEN,
        "access_token": "EAAfixtureAccessToken",
        "phone_number_id": "106540000000001",
    })
}

fn settings() -> WhatsappSettings {
    WhatsappSettings::parse(&entered().to_string()).expect("valid settings")
}

fn webhook_keys() -> <Whatsapp as Webhook>::Keys {
    setup::keys(&settings().keys().webhook)
}

fn send_keys() -> <Whatsapp as Sender>::Keys {
    setup::keys(&settings().keys().send)
}

fn receive(body: &[u8]) -> Result<Received, Refusal> {
    post::<Whatsapp>(&webhook_keys(), &signed(&signature(body)), body)
}

#[test]
fn every_kind_of_notification_is_read() {
    insta::assert_json_snapshot!("received", received::fixtures("whatsapp", "json", receive));
}

#[test]
fn a_message_that_cannot_be_read_does_not_hold_up_those_that_came_along() {
    let good = json!({"from": "15551230001", "id": "wamid.1", "timestamp": "1767225600", "type": "text", "text": {"body": "hi"}});
    let bad = [json!(7), json!({"type": "text"}), json!({"id": "", "type": "text", "text": {"body": 7}})];
    let value = json!({
        "metadata": {"display_phone_number": "15550000001", "phone_number_id": "106540000000001"},
        "messages": [bad[0], good, bad[1], bad[2]],
    });
    let changes = json!([{"field": "messages", "value": value}]);
    let body = json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": changes}]}).to_string();
    let received = receive(body.as_bytes()).expect("one of them can be read");
    assert_eq!((received.messages.len(), received.ignored), (1, 3));
}

#[test]
fn signatures_of_others_are_accepted() {
    for vector in vectors("whatsapp") {
        let keys = json!({
            "app_secret": vector.app_secret, "verify_token": "t", "phone_number_id": "106540000000001",
        });
        let keys = serde_json::from_value(keys).expect("keys");
        let received = post::<Whatsapp>(&keys, &signed(&vector.signature), vector.body.as_bytes()).expect("authentic");
        assert_eq!(received.messages[0].content, Content::text(&vector.text));
    }
}

#[test]
fn what_meta_did_not_post_is_refused() {
    let body = received::fixture("whatsapp", "text_escaped.json");
    meta::refuses_what_meta_did_not_post::<Whatsapp>(&webhook_keys(), &body);
    meta::checks_the_url::<Whatsapp>(&webhook_keys());
    let none = json!({ "app_secret": "", "verify_token": "", "phone_number_id": "106540000000001" });
    let none = serde_json::from_value(none).expect("keys");
    for signature in ["sha256=b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad", &signature(b"")] {
        assert!(matches!(post::<Whatsapp>(&none, &signed(signature), b""), Err(Refusal::Forged(_))));
    }
    let query = "hub.mode=subscribe&hub.challenge=1&hub.verify_token=";
    assert!(matches!(get::<Whatsapp>(&none, query), Err(Refusal::Forged(_))));
}

#[test]
fn what_is_no_notification_is_malformed() {
    let deep = format!("{{\"object\":\"whatsapp_business_account\",\"entry\":{}", "[".repeat(10_000));
    let nameless = r#"{"object":"whatsapp_business_account","entry":[{"changes":[{"field":"messages","value":{}}]}]}"#;
    for body in ["", "{}", "[]", "null", r#"{"object":1,"entry":[]}"#, r#"{"object":"page"}"#, &deep, nameless] {
        assert!(matches!(receive(body.as_bytes()), Err(Refusal::Malformed(_))), "{body}");
    }
    assert!(matches!(receive(b"\xFF"), Err(Refusal::Malformed(_))));
}

fn reply(address: &str, text: &str, suggestions: &[&str]) -> Reply {
    sent::reply::<Whatsapp>("US.1", "wamid.FIXTURE101=", address, text, suggestions)
}

fn rendered(reply: &Reply) -> Vec<Value> {
    sent::parts(Whatsapp::render(&send_keys(), reply, reply.created_at).expect("an address of this channel"), None)
}

#[test]
fn requests_are_what_the_cloud_api_documents() {
    let replied = |address: &str, text: &str, suggestions: &[&str]| rendered(&reply(address, text, suggestions));
    let mut elsewhere = entered();
    elsewhere["api_base"] = "http://127.0.0.1:9000/v27.0/".into();
    elsewhere["phone_number_id"] = json!(106_540_000_000_001_u64);
    let elsewhere = WhatsappSettings::parse(&elsewhere.to_string()).expect("valid settings").keys();
    let elsewhere = setup::keys(&elsewhere.send);
    let requests = json!({
        "buttons": replied(PERSON, "点击登录页的“忘记密码”。", &["联系人工", " ", "修改手机号", "联系人工"]),
        "list": replied(
            PERSON,
            "Which one?",
            &["Opening hours", "Returns", "Delivery", "How do I change the e-mail address of my account?"],
        ),
        "no menu holds these": replied(PERSON, "See:", &["x".repeat(201).as_str(), "Returns"]),
        "without suggestions": replied(PERSON, "*plain* <b>&</b> _text_\n> `quoted`", &[]),
        "to a username": replied(r#"{"user":"US.1302000000000001"}"#, "Two days.", &["Returns"]),
        "group": replied(r#"{"group":"Y2FwaV9ncm91cDox"}"#, "Two days.", &["Returns"]),
        "elsewhere": sent::parts(
            Whatsapp::render(&elsewhere, &reply(PERSON, "hello", &[]), Timestamp::now()).expect("an address"),
            None,
        ),
        "check": sent::request(Whatsapp::check_request(&send_keys()).expect("a secret is stored"), None),
        "check elsewhere": sent::request(Whatsapp::check_request(&elsewhere).expect("a secret is stored"), None),
    });
    insta::assert_json_snapshot!("sent", requests);
}

fn shape(part: &Value) -> (&str, usize) {
    let body = &part["body"];
    let text = body.pointer("/interactive/body/text").or(body.pointer("/text/body"));
    let text = text.and_then(Value::as_str).expect("words");
    (body["type"].as_str().expect("a type"), text.encode_utf16().count())
}

#[test]
fn the_menu_hangs_below_the_last_piece() {
    let text = format!("{}\n\n{}", "一句话。".repeat(1000), "One more sentence. ".repeat(100));
    let parts = rendered(&reply(PERSON, &text, &["Thanks"]));
    let [("text", first), ("text", second), ("interactive", last)] = parts.iter().map(shape).collect::<Vec<_>>()[..]
    else {
        panic!("two texts and a menu, not {parts:?}");
    };
    assert!(first <= 4096 && second <= 4096 && last <= 1024);
    assert!(parts[2]["fallback"]["body"]["text"]["body"].as_str().is_some_and(|text| text.ends_with("1. Thanks")));
    let short = rendered(&reply(PERSON, &"x".repeat(1024), &["Thanks"]));
    assert_eq!(short.iter().map(shape).collect::<Vec<_>>(), [("interactive", 1024)]);
    let words = rendered(&reply(PERSON, &"word ".repeat(300), &[]));
    assert_eq!(words.iter().map(shape).collect::<Vec<_>>(), [("text", 1499)]);
    assert!(rendered(&reply(PERSON, " \n", &["Thanks"])).is_empty());
}

#[test]
fn a_reply_needs_an_address_of_this_channel() {
    for address in ["15551230001", r#"{"phone":7}"#, r#"{"chat":7}"#, r#"{"phone":"1","user":"US.1"}"#] {
        assert!(Whatsapp::render(&send_keys(), &reply(address, "hello", &[]), Timestamp::now()).is_err(), "{address}");
    }
}

#[test]
fn each_answer_has_its_outcome() {
    let error = |code: i64, message: &str| json!({ "error": { "code": code, "message": message } }).to_string();
    let taken =
        r#"{"messaging_product":"whatsapp","contacts":[{"input":"1","wa_id":"1"}],"messages":[{"id":"wamid.1"}]}"#;
    let details = r#"{"error":{"message":"(#131009) Parameter value is not valid","type":"OAuthException","code":131009,"error_data":{"messaging_product":"whatsapp","details":"Button title length invalid."},"fbtrace_id":"A"}}"#;
    let object = r#"{"error":{"message":"Object does not exist","type":"GraphMethodException","code":100,"error_subcode":33,"fbtrace_id":"A"}}"#;
    let transient = r#"{"error":{"message":"Try again","code":7777,"is_transient":true,"error_data":"words"}}"#;
    for (status, body, outcome) in [
        (200, taken.to_owned(), Ok(())),
        (
            401,
            error(190, "Session has expired"),
            refused("190: the access token is not valid or has expired; Session has expired", Retry::BadCredential),
        ),
        (
            401,
            error(0, "AuthException"),
            refused("0: the access token is not valid or has expired; AuthException", Retry::BadCredential),
        ),
        (403, error(10, "Denied"), refused("10: the access token lacks a permission; Denied", Retry::Never)),
        (403, error(131_005, "Denied"), refused("131005: the access token lacks a permission; Denied", Retry::Never)),
        (429, error(130_429, "Rate limit hit"), refused("130429 Rate limit hit", Retry::BotAfter(SECOND))),
        (400, error(131_056, "Pair rate limit hit"), refused("131056 Pair rate limit hit", Retry::After(6 * SECOND))),
        (400, error(80_007, "Rate limit issues"), refused("80007 Rate limit issues", Retry::BotAfter(3600 * SECOND))),
        (400, error(4, "Too many calls"), refused("4 Too many calls", Retry::BotAfter(3600 * SECOND))),
        (500, error(131_000, "Something went wrong"), refused("131000 Something went wrong", Retry::Backoff)),
        (500, error(131_016, "Service unavailable"), refused("131016 Service unavailable", Retry::Backoff)),
        (503, error(2, "Service"), refused("2 Service", Retry::Backoff)),
        (400, error(1, "Unknown"), refused("1 Unknown", Retry::Backoff)),
        (
            400,
            error(131_047, "Re-engagement message"),
            refused("131047: the person's last message is older than 24 hours; Re-engagement message", Retry::Never),
        ),
        (
            400,
            error(131_026, "Undeliverable"),
            refused("131026: WhatsApp cannot reach this person; Undeliverable", Retry::Never),
        ),
        (
            400,
            error(131_030, "Not in list"),
            refused("131030: a test number reaches only the people on its list; Not in list", Retry::Never),
        ),
        (
            400,
            error(133_010, "Not registered"),
            refused("133010: the phone number is not registered with the Cloud API; Not registered", Retry::Never),
        ),
        (400, error(131_051, "Unsupported type"), refused("131051 Unsupported type", Retry::Fallback)),
        (400, error(100, "Invalid parameter"), refused("100 Invalid parameter", Retry::Fallback)),
        (400, details.to_owned(), refused("131009 Button title length invalid.", Retry::Fallback)),
        (
            400,
            object.to_owned(),
            refused(
                "100/33: the id in the settings is wrong, or the access token is not for it; Object does not exist",
                Retry::Never,
            ),
        ),
        (400, error(368, "Blocked"), refused("368: Meta blocked the account for a while; Blocked", Retry::Never)),
        (400, error(132_001, "No template"), refused("132001 No template", Retry::Never)),
        (500, error(132_001, "No template"), refused("132001 No template", Retry::Backoff)),
        (400, transient.to_owned(), refused("7777 Try again", Retry::Backoff)),
        (200, "{}".into(), refused("HTTP 200, and no answer of the Graph API", Retry::Never)),
        (200, "<html>Sign in</html>".into(), refused("HTTP 200, and no answer of the Graph API", Retry::Never)),
        (502, "Bad Gateway".into(), unknown("HTTP 502, and no answer of the Graph API")),
    ] {
        assert_eq!(sent::outcome::<Whatsapp>(status, &HeaderMap::new(), &body), outcome, "{body}");
    }
    let pause = HeaderMap::from_iter([(http::header::RETRY_AFTER, HeaderValue::from_static("7"))]);
    assert_eq!(
        Whatsapp::outcome(StatusCode::TOO_MANY_REQUESTS, &pause, error(130_429, "Rate limit hit").as_bytes()),
        refused("130429 Rate limit hit", Retry::BotAfter(7 * SECOND))
    );
}

#[test]
fn the_check_of_the_token_is_read() {
    meta::check_is_read::<Whatsapp>();
}

#[test]
fn settings_are_checked_field_by_field() {
    let faults = [
        ("app_secret", json!("")),
        ("app_secret", json!("0f1e-2d3c-4b5a-6978")),
        ("app_secret", json!(7)),
        ("verify_token", json!("")),
        ("verify_token", json!("two words")),
        ("verify_token", json!("x".repeat(257))),
        ("access_token", json!("")),
        ("access_token", json!("EAA fixture")),
        ("access_token", json!("EAA\nfixture")),
        ("phone_number_id", json!("+1 555 000 0001")),
        ("phone_number_id", json!("me")),
        ("phone_number_id", json!(-1)),
        ("phone_number_id", json!([1])),
        ("api_base", json!("graph.facebook.com")),
    ];
    setup::refuses::<WhatsappSettings>(&entered(), faults);
    let steps = settings().console_steps("https://bot.example/whatsapp/main");
    insta::assert_snapshot!("console_steps", steps);
}

proptest! {
    #[test]
    fn any_message_is_read_or_ignored(kind in "(text|button|interactive|image|[a-z]{1,8})", said in ".{0,40}", id in ".{0,200}") {
        let message = json!({
            "from": "15551230001", "id": id, "type": kind, "text": { "body": said }, "button": { "text": said },
            "interactive": { "button_reply": { "id": said, "title": said } }, "image": { "caption": said },
        });
        let value = json!({ "metadata": { "phone_number_id": "106540000000001" }, "messages": [message] });
        let body = json!({ "object": "whatsapp_business_account", "entry": [{ "changes": [{ "field": "messages", "value": value }] }] });
        let received = receive(body.to_string().as_bytes()).expect("a notification");
        prop_assert_eq!(received.messages.len() + received.ignored, 1);
    }

    #[test]
    fn any_fault_is_a_refusal(status in 100_u16..600, code: i64) {
        let fault = json!({ "error": { "code": code } }).to_string();
        prop_assert!(sent::outcome::<Whatsapp>(status, &HeaderMap::new(), &fault).is_err());
    }

    #[test]
    fn any_reply_fits_the_limits(
        part in "[a-z。🐦*_~`> \n-]{0,60}",
        parts in 0_usize..300,
        suggestions in proptest::collection::vec("[a-z。🐦*\u{301} ]{0,240}", 0..12),
    ) {
        let suggestions: Vec<&str> = suggestions.iter().map(String::as_str).collect();
        for part in rendered(&reply(PERSON, &part.repeat(parts), &suggestions)) {
            let (kind, length) = shape(&part);
            let limit = if kind == "text" { 4096 } else { 1024 };
            prop_assert!((1..=limit).contains(&length));
            let fallback = part["fallback"]["body"]["text"]["body"].as_str().unwrap_or_default();
            prop_assert!(fallback.encode_utf16().count() <= 4096);
            let within = |choice: &Value, field: &str, limit| choice[field].as_str().is_none_or(|text| (1..=limit).contains(&text.encode_utf16().count()));
            let action = &part["body"]["interactive"]["action"];
            let buttons = action["buttons"].as_array().map_or(&[][..], Vec::as_slice);
            prop_assert!(buttons.len() <= 3 && buttons.iter().all(|button| within(&button["reply"], "title", 20)));
            let rows = action["sections"][0]["rows"].as_array().map_or(&[][..], Vec::as_slice);
            prop_assert!(rows.len() <= 10);
            prop_assert!(rows.iter().all(|row| within(row, "id", 200) && within(row, "title", 24) && within(row, "description", 72)));
        }
    }
}
