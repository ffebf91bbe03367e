//! What Feishu is sent, what it says to that, and the settings of an app.

mod sent;
mod setup;

use std::time::Duration;

use hoopoe_channels::feishu::{Feishu, Settings as FeishuSettings};
use hoopoe_channels::{Rejection, Retry, Sender, Settings};
use hoopoe_message::{Reply, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;
use secrecy::{ExposeSecret, SecretString};
use sent::{refused, unknown};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const PRIVATE: &str = r#"{"chat":"oc_fixture01","message":"om_fixture01"}"#;
const TOPIC: &str = r#"{"chat":"oc_fixture02","message":"om_fixture02","thread":true}"#;
const EVENT: &str = r#"{"chat":"oc_fixture01"}"#;

fn entered() -> Value {
    json!({
        "app_id": "cli_fixture000000001",
        "app_secret": "fixture-app-secret+/=",
        "verification_token": "fixtureVerificationToken01",
        "encrypt_key": "fixture-encrypt-key",
        "bot_open_id": "ou_bot0001",
        "group_prefix": "!bot",
    })
}

fn settings() -> FeishuSettings {
    FeishuSettings::parse(&entered().to_string()).expect("valid settings")
}

fn send_keys() -> <Feishu as Sender>::Keys {
    setup::keys(&settings().keys().send)
}

fn reply(address: &str, text: &str, suggestions: &[&str]) -> Reply {
    sent::reply::<Feishu>("oc_fixture01:ou_ada0001", "om_fixture01", address, text, suggestions)
}

fn rendered(reply: &Reply) -> Vec<Value> {
    let parts = Feishu::render(&send_keys(), reply, reply.created_at).expect("an address of this channel");
    sent::parts(parts, Some(&SecretString::from("t-access-token")))
}

/// The content of a request, which is JSON within JSON.
fn content(request: &Value) -> Value {
    serde_json::from_str(request["body"]["content"].as_str().expect("a text")).expect("JSON")
}

/// The lines of a rich text.
fn lines(request: &Value) -> Vec<String> {
    let content = content(request);
    let paragraphs = content["zh_cn"]["content"].as_array().expect("paragraphs").iter();
    paragraphs.map(|nodes| nodes[0]["text"].as_str().expect("a text").to_owned()).collect()
}

#[test]
fn requests_are_what_feishu_documents() {
    let replied = |address: &str, text: &str, suggestions: &[&str]| rendered(&reply(address, text, suggestions));
    let mut elsewhere = entered();
    elsewhere["api_base"] = "https://open.larksuite.com/".into();
    let elsewhere = FeishuSettings::parse(&elsewhere.to_string()).expect("valid settings").keys();
    let elsewhere = setup::keys(&elsewhere.send);
    let token = |keys: &_| sent::request(Feishu::token_request(keys).expect("Feishu uses tokens"), None);
    let requests = json!({
        "private": replied(PRIVATE, "点击登录页的“忘记密码”。\n\n然后登录。", &[]),
        "private with suggestions": replied(PRIVATE, "Two days.", &["联系人工", " ", "Say \"hi\""]),
        "topic": replied(TOPIC, "<at user_id=\"all\"></at> <b>&</b> [a](https://b.example) **c**", &[]),
        "event": replied(EVENT, "plain\u{0} text\u{7}", &["Opening hours"]),
        "tenant_access_token": token(&send_keys()),
        "tenant_access_token of Lark": token(&elsewhere),
        "send to Lark": sent::parts(
            Feishu::render(&elsewhere, &reply(PRIVATE, "hello", &[]), Timestamp::now()).expect("an address"),
            Some(&SecretString::from("t")),
        ),
    });
    insta::assert_json_snapshot!("sent", requests);
}

#[test]
fn a_long_reply_is_several_messages_and_the_last_has_the_buttons() {
    let parts = rendered(&reply(TOPIC, &"一句话。".repeat(1500), &["联系人工"]));
    let [first, last] = &parts[..] else { panic!("two messages, not {}", parts.len()) };
    assert_eq!((&first["body"]["msg_type"], &last["body"]["msg_type"]), (&json!("post"), &json!("interactive")));
    assert_ne!(first["body"]["uuid"], last["body"]["uuid"]);
    assert!(first["fallback"].is_null());
    assert_eq!(lines(first)[0].chars().count(), 4000);
    assert!(content(last)["elements"][0]["text"]["content"].as_str().expect("a text").ends_with("一句话。"));
    assert_eq!(lines(&last["fallback"])[1..], ["", "1. 联系人工"]);
}

#[test]
fn suggestions_that_no_button_holds_are_numbered_lines() {
    let long = "长".repeat(101);
    for suggestions in [vec![&*long, "short"], vec!["more"; 11]] {
        let parts = rendered(&reply(PRIVATE, "hello", &suggestions));
        let [part] = &parts[..] else { panic!("one message") };
        assert_eq!(part["body"]["msg_type"], "post");
        assert_eq!(lines(part)[..3], ["hello", "", &format!("1. {}", suggestions[0])]);
    }
}

/// Sent again by another function, and as its fallback, a part has the same key.
#[test]
fn a_part_has_one_key_whoever_sends_it() {
    let parts = rendered(&reply(PRIVATE, "hello", &["Thanks"]));
    let [part] = &parts[..] else { panic!("one message") };
    assert_eq!(parts, rendered(&reply(PRIVATE, "hello", &["Thanks"])));
    assert_eq!(part["body"]["uuid"], part["fallback"]["body"]["uuid"]);
    assert!((1..=50).contains(&part["body"]["uuid"].as_str().expect("a text").len()));
}

#[test]
fn a_reply_needs_an_address_of_this_channel() {
    for address in [
        "oc_fixture01",
        r#"{"chat":7}"#,
        r#"{"chat":""}"#,
        r#"{"chat":"oc_1","message":"../x"}"#,
        r#"{"chat":"oc_1","message":"om_1?x=1"}"#,
    ] {
        assert!(Feishu::render(&send_keys(), &reply(address, "hello", &[]), Timestamp::now()).is_err(), "{address}");
    }
}

#[test]
fn each_answer_to_a_send_has_its_outcome() {
    for (status, body, outcome) in [
        (200, r#"{"code":0,"msg":"success","data":{"message_id":"om_1"}}"#, Ok(())),
        (
            400,
            r#"{"code":99991663,"msg":"Invalid access token"}"#,
            refused("99991663 Invalid access token", Retry::NewToken),
        ),
        (
            400,
            r#"{"code":99991661,"msg":"Missing access token"}"#,
            refused("99991661 Missing access token", Retry::NewToken),
        ),
        (401, r#"{"code":99991664,"msg":"invalid app token"}"#, refused("99991664 invalid app token", Retry::NewToken)),
        (400, r#"{"code":99991668,"msg":"token invalid"}"#, refused("99991668 token invalid", Retry::NewToken)),
        (
            400,
            r#"{"code":99991671,"msg":"must start with t-"}"#,
            refused("99991671 must start with t-", Retry::NewToken),
        ),
        (400, r#"{"code":99991677,"msg":"token expire"}"#, refused("99991677 token expire", Retry::NewToken)),
        (
            400,
            r#"{"code":230099,"msg":"Failed to create card content"}"#,
            refused("230099 Failed to create card content", Retry::Fallback),
        ),
        (400, r#"{"code":230001,"msg":"invalid parameter"}"#, refused("230001 invalid parameter", Retry::Fallback)),
        (400, r#"{"code":230025,"msg":"too long"}"#, refused("230025 too long", Retry::Fallback)),
        (400, r#"{"code":230020,"msg":"frequency limit"}"#, refused("230020 frequency limit", Retry::After(SECOND))),
        (
            429,
            r#"{"code":99991400,"msg":"request trigger frequency limit"}"#,
            refused("99991400 request trigger frequency limit", Retry::BotAfter(MINUTE)),
        ),
        (400, r#"{"code":11232,"msg":"rate limit"}"#, refused("11232 rate limit", Retry::BotAfter(MINUTE))),
        (400, r#"{"code":11233,"msg":"chat rate limit"}"#, refused("11233 chat rate limit", Retry::After(SECOND))),
        (429, r#"{"code":1,"msg":"slow"}"#, refused("1 slow", Retry::BotAfter(MINUTE))),
        (
            400,
            r#"{"code":230049,"msg":"The message is being sent."}"#,
            refused("230049 The message is being sent.", Retry::Backoff),
        ),
        (500, r#"{"code":55001,"msg":"internal error"}"#, refused("55001 internal error", Retry::Backoff)),
        (
            400,
            r#"{"code":230002,"msg":"The bot can not be outside the group."}"#,
            refused("230002 (the bot is no longer in the group) The bot can not be outside the group.", Retry::Never),
        ),
        (
            400,
            r#"{"code":230006,"msg":"Bot ability is not activated."}"#,
            refused(
                "230006 (add the app's ability 机器人 and release a version of the app) Bot ability is not activated.",
                Retry::Never,
            ),
        ),
        (
            400,
            r#"{"code":230011,"msg":"The message is recalled."}"#,
            refused("230011 (the question was recalled) The message is recalled.", Retry::Never),
        ),
        (
            400,
            r#"{"code":230013,"msg":"Bot has NO availability to this user."}"#,
            refused(
                "230013 (the person is outside of the app's 可用范围) Bot has NO availability to this user.",
                Retry::Never,
            ),
        ),
        (
            400,
            r#"{"code":230035,"msg":"Send Message Permission deny."}"#,
            refused(
                "230035 (the group's settings do not let the bot speak) Send Message Permission deny.",
                Retry::Never,
            ),
        ),
        (
            400,
            r#"{"code":230028,"msg":"do NOT pass the audit"}"#,
            refused("230028 (Feishu's review did not let the words pass) do NOT pass the audit", Retry::Never),
        ),
        (
            400,
            r#"{"code":232009,"msg":"dissolved"}"#,
            refused("232009 (the group was dissolved) dissolved", Retry::Never),
        ),
        (
            400,
            r#"{"code":99991672,"msg":"No permission"}"#,
            refused(
                "99991672 (grant im:message:send_as_bot and release a version of the app) No permission",
                Retry::Never,
            ),
        ),
        (
            400,
            r#"{"code":99991401,"msg":"ip 192.0.2.7 is denied by app setting"}"#,
            refused(
                "99991401 (list the egress address under 安全设置 > IP 白名单, or empty that list) ip 192.0.2.7 is denied by app setting",
                Retry::Never,
            ),
        ),
        (
            400,
            r#"{"code":99991662,"msg":"app not in use"}"#,
            refused("99991662 (the app is disabled or not installed) app not in use", Retry::Never),
        ),
        (400, r#"{"code":230999,"msg":"new"}"#, refused("230999 new", Retry::Never)),
        (404, r#"{"code":0}"#, refused("HTTP 404, and no answer of Feishu", Retry::Never)),
        (404, "404 page not found", refused("HTTP 404, and no answer of Feishu", Retry::Never)),
        (502, "<html>", unknown("HTTP 502, and no answer of Feishu")),
        (200, "<html>", refused("HTTP 200, and no answer of Feishu", Retry::Never)),
    ] {
        assert_eq!(sent::outcome::<Feishu>(status, &HeaderMap::new(), body), outcome, "{body}");
    }
}

#[test]
fn the_pause_is_the_one_feishu_asks_for() {
    let name = HeaderName::from_static("x-ogw-ratelimit-reset");
    let limited = |value: &'static str| {
        let headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static(value))]);
        let body = br#"{"code":99991400,"msg":"request trigger frequency limit"}"#;
        match Feishu::outcome(StatusCode::TOO_MANY_REQUESTS, &headers, body) {
            Err(Rejection::Refused { retry, .. }) => retry,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(limited("52"), Retry::BotAfter(Duration::from_secs(52)));
    assert_eq!(limited("soon"), Retry::BotAfter(MINUTE));
}

#[test]
fn a_token_is_read_or_the_reason_is_told() {
    let token =
        Feishu::read_token(StatusCode::OK, br#"{"code":0,"msg":"ok","tenant_access_token":"t-hush","expire":7200}"#);
    let token = token.expect("a token");
    assert_eq!((token.secret.expose_secret(), token.lifetime), ("t-hush", Duration::from_secs(7200)));
    assert!(!format!("{token:?}").contains("hush"));
    for (body, retry, says) in [
        (r#"{"code":10014,"msg":"app secret invalid"}"#, Retry::BadCredential, "app_id and app_secret"),
        (r#"{"code":10014,"msg":"app id not exists"}"#, Retry::BadCredential, "app_id and app_secret"),
        (r#"{"code":10015,"msg":"x"}"#, Retry::BadCredential, "app_id and app_secret"),
        (r#"{"code":10003,"msg":"invalid param"}"#, Retry::BadCredential, "app_id and app_secret"),
        (r#"{"code":99991401,"msg":"ip denied"}"#, Retry::Never, "IP 白名单"),
        (r#"{"code":99991400,"msg":"frequency limit"}"#, Retry::BotAfter(MINUTE), "frequency limit"),
        (r#"{"code":0,"msg":"ok","tenant_access_token":"","expire":7200}"#, Retry::Never, "without"),
        (r#"{"code":0,"msg":"ok"}"#, Retry::Never, "without"),
        ("", Retry::Never, "no answer of Feishu"),
    ] {
        let refused = Feishu::read_token(StatusCode::OK, body.as_bytes()).expect_err(body);
        let Rejection::Refused { reason, retry: told } = refused else { unreachable!("refused") };
        assert!(told == retry && reason.contains(says), "{body}: {reason}");
    }
}

#[test]
fn settings_are_checked_field_by_field() {
    let faults = [
        ("app_id", json!("")),
        ("app_id", json!("cli/../x")),
        ("app_secret", json!("")),
        ("app_secret", json!("two words")),
        ("app_secret", json!(7)),
        ("verification_token", json!("")),
        ("verification_token", Value::Null),
        ("encrypt_key", json!("")),
        ("encrypt_key", Value::Null),
        ("encrypt_key", json!("x".repeat(129))),
        ("bot_open_id", json!("bot")),
        ("bot_open_id", json!("ou_a b")),
        ("group_prefix", json!("")),
        ("group_prefix", json!("hey bot")),
        ("group_prefix", json!("x".repeat(17))),
        ("api_base", json!("open.larksuite.com")),
        ("chat_id", json!("x")),
    ];
    setup::refuses::<FeishuSettings>(&entered(), faults);
    let steps = settings().console_steps("https://bot.example/feishu/main");
    insta::assert_snapshot!("console_steps", steps);
}

proptest! {
    #[test]
    fn any_reply_fits_the_limit(
        part in "([a-z。🐦 \n\"\\\\<]|\n|\\PC|.){0,60}", parts in 0_usize..200, suggestion in "(.|\\PC|\"){0,120}", suggestions in 0_usize..14,
    ) {
        let suggestions = vec![&*suggestion; suggestions];
        for part in Feishu::render(&send_keys(), &reply(TOPIC, &part.repeat(parts), &suggestions), Timestamp::now()).expect("an address") {
            prop_assert!(part.repeatable_for.is_some());
            for request in [Some(part.request), part.fallback].into_iter().flatten() {
                let request = request.into_http(Some(&SecretString::from("t"))).expect("a request");
                prop_assert!(request.body().len() <= 30 * 1024, "{}", request.body().len());
            }
        }
    }
}
