//! What Slack is sent, what it says to that, and the settings of an app.

mod sent;
mod setup;

use std::time::Duration;

use hoopoe_channels::contract::counterpart::{Answer, Counterpart, Shown};
use hoopoe_channels::slack::{Settings as SlackSettings, Slack};
use hoopoe_channels::{Part, Retry, Sender, Settings};
use hoopoe_message::{Reply, Timestamp};
use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::prelude::*;
use sent::{NOW, refused, unknown};
use serde_json::{Value, json};

const SETTINGS: &str = r#"{
    "signing_secret": "fixtureSigningSecret0001",
    "bot_token": "xoxb-100000000001-200000000002-fixtureToken"
}"#;
const DIRECT: &str = r#"{"channel":"D0ADA000001"}"#;
const THREAD: &str = r#"{"channel":"C0SHOP00001","thread":"1767225611.000011"}"#;
const COMMAND: &str = r#"{"channel":"C0SHOP00001","only":{"user":"U0ADA000001","response_url":"https://hooks.slack.com/commands/T0SHOP00001/1/fixtureResponse"}}"#;
const COMMAND_WITHOUT_URL: &str = r#"{"channel":"C0SHOP00001","only":{"user":"U0ADA000001"}}"#;

fn settings() -> SlackSettings {
    SlackSettings::parse(SETTINGS).expect("valid settings")
}

fn with(field: &str, value: Value) -> Result<SlackSettings, String> {
    let mut settings: Value = serde_json::from_str(SETTINGS).expect("JSON");
    settings[field] = value;
    SlackSettings::parse(&settings.to_string()).map_err(|error| error.to_string())
}

fn send_keys(settings: &SlackSettings) -> <Slack as Sender>::Keys {
    setup::keys(&settings.keys().send)
}

fn reply(address: &str, text: &str, suggestions: &[&str]) -> Reply {
    sent::reply::<Slack>("D0ADA000001:U0ADA000001", "Ev0FIXTURE101", address, text, suggestions)
}

fn parts_at(reply: &Reply, now: Timestamp) -> Vec<Part> {
    Slack::render(&send_keys(&settings()), reply, now).expect("an address of this channel")
}

fn rendered_at(reply: &Reply, now: Timestamp) -> Vec<Value> {
    sent::parts(parts_at(reply, now), None)
}

fn rendered(reply: &Reply) -> Vec<Value> {
    rendered_at(reply, NOW)
}

#[test]
fn requests_are_what_slack_documents() {
    let replied = |address: &str, text: &str, suggestions: &[&str]| rendered(&reply(address, text, suggestions));
    let elsewhere = with("api_base", json!("http://127.0.0.1:9000/api/")).expect("valid settings");
    let elsewhere = Slack::render(&send_keys(&elsewhere), &reply(DIRECT, "hello", &[]), NOW).expect("an address");
    let requests = json!({
        "private": replied(DIRECT, "点击登录页的“忘记密码”。", &["联系人工", " ", "Returns & refunds"]),
        "thread": replied(THREAD, "See https://shop.example/a_b?x=1&y=2, or <!here> @channel *bold* _it_ `c` :smile: &amp;", &[]),
        "command": replied(COMMAND, "Two days.", &["Opening hours"]),
        "command too late": rendered_at(&reply(COMMAND, "Two days.", &["Opening hours"]), Timestamp::from_secs(NOW.as_secs() + 1740)),
        "command without a response URL": replied(COMMAND_WITHOUT_URL, "*Two* days.", &[]),
        "elsewhere": sent::parts(elsewhere, None),
        "check": sent::request(Slack::check_request(&send_keys(&settings())).expect("a secret is stored"), None),
    });
    insta::assert_json_snapshot!("sent", requests);
}

#[test]
fn a_long_reply_is_several_messages_and_the_last_has_the_buttons() {
    let text = format!("{}\n\n{}", "一句话。".repeat(700), "The rest. ".repeat(200));
    let parts = rendered(&reply(THREAD, &text, &["Thanks"]));
    let [first, last] = &parts[..] else { panic!("two messages, not {}", parts.len()) };
    assert_eq!(first["body"]["blocks"].as_array().expect("blocks").len(), 1);
    assert_eq!(last["body"]["blocks"][1]["elements"][0]["value"], "Thanks");
    assert_eq!(first["body"]["thread_ts"], last["body"]["thread_ts"]);
    assert!(last["fallback"]["body"]["text"].as_str().expect("a text").ends_with("\n\n1. Thanks"));
}

#[test]
fn a_response_url_is_used_five_times_and_for_half_an_hour() {
    let long = reply(COMMAND, &"One more sentence. ".repeat(1200), &[]);
    let hooks = |now: Timestamp| -> Vec<bool> {
        let parts = rendered_at(&long, now);
        assert!(parts.iter().all(|part| part["fallback"]["url"] == "https://slack.com/api/chat.postEphemeral"));
        parts.iter().map(|part| part["url"].as_str().expect("a URL").starts_with("https://hooks.slack.com/")).collect()
    };
    let in_time = hooks(NOW);
    assert!(in_time.len() > 5);
    assert_eq!(in_time.iter().take_while(|hook| **hook).count(), 5);
    assert!(in_time[5..].iter().all(|hook| !hook));
    assert_eq!(hooks(Timestamp::from_secs(NOW.as_secs() + 1739)), in_time);
    assert_eq!(hooks(Timestamp::from_secs(NOW.as_secs() + 1740)), vec![false; in_time.len()]);
}

#[test]
fn a_button_is_cut_to_what_slack_takes() {
    let long = format!("{} & {}", "a".repeat(70), "b".repeat(10));
    let parts = rendered(&reply(DIRECT, "hello", &[&long, &"包".repeat(80), &"c".repeat(2001)]));
    let buttons = parts[0]["body"]["blocks"][1]["elements"].as_array().expect("buttons");
    let labels: Vec<_> = buttons.iter().map(|button| button["text"]["text"].as_str().expect("a label")).collect();
    assert_eq!(labels, [format!("{} …", "a".repeat(70)), format!("{}…", "包".repeat(74))]);
    assert_eq!(buttons[0]["value"], long);
    let many: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let parts = rendered(&reply(DIRECT, "hello", &many));
    assert_eq!(parts[0]["body"]["blocks"][1]["elements"].as_array().expect("buttons").len(), 25);
}

#[test]
fn a_reply_needs_an_address_of_this_channel() {
    let keys = send_keys(&settings());
    for address in ["D0ADA000001", r#"{"channel":7}"#, r#"{"channel":"D1","only":{}}"#] {
        assert!(Slack::render(&keys, &reply(address, "hello", &[]), NOW).is_err(), "{address}");
    }
    assert!(rendered(&reply(DIRECT, " \n", &["Thanks"])).is_empty());
}

#[test]
fn each_way_of_a_reply_is_read_by_slack_s_own_side() {
    const BASE: &str = "http://127.0.0.1:9000";
    let settings = SlackSettings::parse(&Slack::settings(BASE).to_string()).expect("its own settings are accepted");
    let ask = |request: hoopoe_channels::ApiRequest| -> Answer {
        let (mut head, body) = request.into_http(None).expect("a valid request").into_parts();
        let below = head.uri.to_string().strip_prefix(BASE).expect("the API that the settings name").to_owned();
        head.uri = below.parse().expect("a path");
        Slack::answer(&http::Request::from_parts(head, body.into_bytes()))
    };
    let text = "See https://shop.example/a_b, <!here> & *bold* :smile:";
    let hook = format!(r#"{{"channel":"C1","only":{{"user":"U1","response_url":"{BASE}/commands/T1/1/x"}}}}"#);
    for address in [DIRECT, THREAD, COMMAND_WITHOUT_URL, &hook] {
        let parts = Slack::render(&send_keys(&settings), &reply(address, text, &["A & <b>"]), NOW).expect("an address");
        for part in parts {
            let formatted = ask(part.request).shown;
            assert_eq!(formatted, Some(Shown { text: text.into(), buttons: vec!["A & <b>".into()] }), "{address}");
            let plain = ask(part.fallback.expect("a fallback")).shown;
            assert_eq!(plain, Some(Shown { text: format!("{text}\n\n1. A & <b>"), buttons: Vec::new() }), "{address}");
        }
    }
    let foreign = SlackSettings::parse(
        &json!({ "signing_secret": "fixtureSigningSecret0001", "bot_token": "xoxb-another-token", "api_base": BASE })
            .to_string(),
    );
    let foreign = send_keys(&foreign.expect("valid settings"));
    for part in Slack::render(&foreign, &reply(DIRECT, text, &[]), NOW).expect("an address") {
        assert_eq!(ask(part.request).body, json!({"ok": false, "error": "invalid_auth"}));
    }
}

#[test]
fn each_answer_of_slack_has_its_outcome() {
    let pause = Retry::After(Duration::from_secs(30));
    for (status, body, outcome) in [
        (200, r#"{"ok":true,"channel":"D0ADA000001","ts":"1767225612.000001"}"#, Ok(())),
        (200, r#"{"ok":true,"warning":"missing_charset"}"#, Ok(())),
        (200, "ok", Ok(())),
        (200, "ok\n", Ok(())),
        (429, r#"{"ok":false,"error":"ratelimited"}"#, refused("ratelimited", pause)),
        (200, r#"{"ok":false,"error":"rate_limited"}"#, refused("rate_limited", pause)),
        (429, "", refused("HTTP 429, and no answer of Slack", pause)),
        (429, "slow", refused("slow", pause)),
        (200, r#"{"ok":false,"error":"service_unavailable"}"#, refused("service_unavailable", Retry::Backoff)),
        (200, r#"{"ok":false,"error":"internal_error"}"#, refused("internal_error", Retry::Backoff)),
        (
            200,
            r#"{"ok":false,"error":"invalid_auth"}"#,
            refused(
                "invalid_auth (install the app to the workspace again and store its bot token)",
                Retry::BadCredential,
            ),
        ),
        (
            200,
            r#"{"ok":false,"error":"token_revoked"}"#,
            refused(
                "token_revoked (install the app to the workspace again and store its bot token)",
                Retry::BadCredential,
            ),
        ),
        (
            200,
            r#"{"ok":false,"error":"account_inactive"}"#,
            refused(
                "account_inactive (install the app to the workspace again and store its bot token)",
                Retry::BadCredential,
            ),
        ),
        (
            200,
            r#"{"ok":false,"error":"token_expired"}"#,
            refused("token_expired (turn token rotation off and store the new bot token)", Retry::BadCredential),
        ),
        (
            200,
            r#"{"ok":false,"error":"missing_scope","needed":"chat:write","provided":"commands"}"#,
            refused("missing_scope (give the app the scopes of its manifest and install it again)", Retry::Never),
        ),
        (
            200,
            r#"{"ok":false,"error":"not_in_channel"}"#,
            refused(
                "not_in_channel (invite the bot to the channel; a channel of another workspace is out of its reach)",
                Retry::Never,
            ),
        ),
        (
            200,
            r#"{"ok":false,"error":"channel_not_found"}"#,
            refused(
                "channel_not_found (invite the bot to the channel; a channel of another workspace is out of its reach)",
                Retry::Never,
            ),
        ),
        (
            200,
            r#"{"ok":false,"error":"user_not_in_channel"}"#,
            refused("user_not_in_channel (the person left the channel)", Retry::Never),
        ),
        (200, r#"{"ok":false,"error":"is_archived"}"#, refused("is_archived (the channel is archived)", Retry::Never)),
        (
            200,
            r#"{"ok":false,"error":"messages_tab_disabled"}"#,
            refused("messages_tab_disabled (turn the Messages Tab of App Home on)", Retry::Never),
        ),
        (
            200,
            r#"{"ok":false,"error":"restricted_action"}"#,
            refused("restricted_action (the workspace does not let the bot post there)", Retry::Never),
        ),
        (200, r#"{"ok":false,"error":"invalid_blocks"}"#, refused("invalid_blocks", Retry::Fallback)),
        (200, r#"{"ok":false,"error":"msg_blocks_too_long"}"#, refused("msg_blocks_too_long", Retry::Fallback)),
        (200, r#"{"ok":false,"error":"msg_too_long"}"#, refused("msg_too_long", Retry::Fallback)),
        (404, r#"{"ok":false,"error":"used_url"}"#, refused("used_url", Retry::Fallback)),
        (410, "expired_url\n", refused("expired_url", Retry::Fallback)),
        (404, "<html>", refused("HTTP 404, and no answer of Slack", Retry::Fallback)),
        (400, "invalid_payload", refused("invalid_payload", Retry::Fallback)),
        (200, r#"{"ok":false,"error":"a_later_code"}"#, refused("a_later_code", Retry::Never)),
        (200, r#"{"ok":false}"#, refused("HTTP 200, and no answer of Slack", Retry::Never)),
        (200, "<html>", refused("HTTP 200, and no answer of Slack", Retry::Never)),
        (500, "", refused("HTTP 500, and no answer of Slack", Retry::Backoff)),
        (503, "server_error", refused("server_error", Retry::Backoff)),
        (502, r#"{"ok":true}"#, unknown("HTTP 502, and no answer of Slack")),
    ] {
        let headers = HeaderMap::from_iter([(http::header::RETRY_AFTER, HeaderValue::from_static("30"))]);
        assert_eq!(sent::outcome::<Slack>(status, &headers, body), outcome, "{body}");
    }
    let limited =
        Slack::outcome(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), br#"{"ok":false,"error":"ratelimited"}"#);
    assert_eq!(limited, refused("ratelimited", Retry::After(Duration::from_secs(1))));
}

#[test]
fn the_check_of_the_token_is_read() {
    for (status, body, told) in [
        (
            200,
            r#"{"ok":true,"url":"https://example.slack.com/","team_id":"T1","user_id":"W1","bot_id":"B1"}"#,
            Some(true),
        ),
        (200, r#"{"ok":false,"error":"invalid_auth"}"#, Some(false)),
        (200, r#"{"ok":false,"error":"token_revoked"}"#, Some(false)),
        (200, r#"{"ok":false,"error":"ratelimited"}"#, None),
        (404, "not_found", None),
        (200, "<html>", None),
        (503, "", None),
    ] {
        let status = StatusCode::from_u16(status).expect("a status");
        assert_eq!(sent::checked::<Slack>(status, body), told, "{body}");
    }
}

#[test]
fn settings_are_checked_field_by_field() {
    let faults = [
        ("signing_secret", json!(null)),
        ("signing_secret", json!("")),
        ("signing_secret", json!("short")),
        ("signing_secret", json!("fixtureSigningSecret 001")),
        ("signing_secret", json!("x".repeat(65))),
        ("bot_token", json!(null)),
        ("bot_token", json!("xoxp-100000000001-fixtureToken")),
        ("bot_token", json!("xoxe.xoxb-1-fixtureToken")),
        ("bot_token", json!("xoxb-")),
        ("bot_token", json!("xoxb-fixture token")),
        ("bot_token", json!("xoxb-fixtureToken\n")),
        ("app_id", json!("")),
        ("app_id", json!("T0SHOP00001")),
        ("app_id", json!("A0/../x")),
        ("app_id", json!(7)),
        ("group_prefix", json!("")),
        ("group_prefix", json!("/bot")),
        ("group_prefix", json!("hey bot")),
        ("group_prefix", json!("x".repeat(21))),
        ("api_base", json!("slack.com/api")),
        ("app_token", json!("xapp-1")),
    ];
    setup::refuses::<SlackSettings>(&serde_json::from_str(SETTINGS).expect("JSON"), faults);
    for (field, value) in [("app_id", "A0123ABCDEF"), ("group_prefix", "小鸟"), ("group_prefix", "!")] {
        assert!(with(field, json!(value)).is_ok(), "{value}");
    }
    let named = json!({
        "signing_secret": "fixtureSigningSecret0001", "bot_token": "xoxb-100000000001-fixtureToken",
        "app_id": "A0HOOPOE001", "group_prefix": "bot",
    });
    let named = SlackSettings::parse(&named.to_string()).expect("valid settings");
    insta::assert_snapshot!("console_steps", settings().console_steps("https://bot.example/slack/main"));
    insta::assert_snapshot!("console_steps_with_prefix", named.console_steps("https://bot.example/slack/main"));
}

/// The URL is itself the right to answer.
#[test]
fn no_response_url_is_shown() {
    let shown = format!("{:?}", parts_at(&reply(COMMAND, "hello", &[]), NOW));
    assert!(!shown.contains("fixtureResponse"), "{shown}");
}

proptest! {
    #[test]
    fn any_reply_fits_the_limits(part in "[a-z。🐦<&> \n]{0,60}|https://[a-z./]{1,40} ", parts in 0_usize..300, suggestion in ".{0,200}") {
        for part in rendered(&reply(DIRECT, &part.repeat(parts), &[&suggestion])) {
            let blocks = &part["body"]["blocks"];
            let elements = blocks[0]["elements"][0]["elements"].as_array().expect("elements");
            let text: String = elements
                .iter()
                .map(|element| element.get("text").or_else(|| element.get("url")).and_then(Value::as_str).expect("words"))
                .collect();
            prop_assert!((1..=3000).contains(&text.encode_utf16().count()));
            prop_assert!(part["body"]["text"].as_str().expect("a text").len() < 40_000);
            if let Some(label) = blocks.pointer("/1/elements/0/text/text") {
                prop_assert!((1..=75).contains(&label.as_str().expect("a label").encode_utf16().count()));
            }
        }
    }
}
