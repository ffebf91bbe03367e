//! What Discord is sent, what it says to that, and the settings of an application.

mod sent;
mod setup;

use std::time::Duration;

use hoopoe_channels::discord::{Discord, Settings as DiscordSettings};
use hoopoe_channels::{Rejection, Retry, Sender, Settings};
use hoopoe_message::{Reply, Timestamp};
use http::header::{AUTHORIZATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::prelude::*;
use secrecy::ExposeSecret;
use sent::{refused, unknown};
use serde_json::{Value, json};

const APPLICATION: &str = "110000000000000042";
const PUBLIC_KEY: &str = "fd1724385aa0c75b64fb78cd602fa1d991fdebf76b13c58ed702eac835e9f618";
const BOT_TOKEN: &str = "fixture.bot.token";
const ADDRESS: &str = r#"{"token":"fixture-interaction-token"}"#;

fn entered() -> Value {
    json!({ "application_id": APPLICATION, "public_key": PUBLIC_KEY, "bot_token": BOT_TOKEN })
}

fn settings() -> DiscordSettings {
    DiscordSettings::parse(&entered().to_string()).expect("valid settings")
}

fn send_keys() -> <Discord as Sender>::Keys {
    setup::keys(&settings().keys().send)
}

fn reply(address: &str, text: &str, suggestions: &[&str]) -> Reply {
    sent::reply::<Discord>("130000000000000001:140000000000000001", "150000000000000001", address, text, suggestions)
}

fn rendered(text: &str, suggestions: &[&str]) -> Vec<Value> {
    let reply = reply(ADDRESS, text, suggestions);
    sent::parts(Discord::render(&send_keys(), &reply, reply.created_at).expect("an address of this channel"), None)
}

#[test]
fn requests_are_what_discord_documents() {
    let elsewhere = json!({
        "application_id": APPLICATION, "public_key": PUBLIC_KEY, "api_base": "http://127.0.0.1:9000/api/",
    });
    let elsewhere = DiscordSettings::parse(&elsewhere.to_string()).expect("valid settings");
    let keys = setup::keys(&elsewhere.keys().send);
    let parts = Discord::render(&keys, &reply(ADDRESS, "hello", &[]), Timestamp::now()).expect("an address");
    let requests = json!({
        "with suggestions": rendered("点击登录页的“忘记密码”。\n", &["联系人工", " ", "修改手机号", "联系人工"]),
        "without suggestions": rendered("*plain* <@7> @everyone\n# https://a.example/b_c.\n1. one", &[]),
        "register commands": sent::request(settings().register_commands(), None),
        "elsewhere": sent::parts(parts, None),
    });
    insta::assert_json_snapshot!("sent", requests);
}

#[test]
fn a_long_reply_follows_itself_and_the_last_part_has_the_buttons() {
    let parts = rendered(&format!("{}\n\n{}", "一句话。".repeat(450), "The rest. ".repeat(50)), &["Thanks"]);
    let [first, last] = &parts[..] else { panic!("two messages, not {}", parts.len()) };
    assert_eq!((&first["method"], &first["repeatable"]), (&json!("PATCH"), &json!(true)));
    assert_eq!((&last["method"], &last["repeatable"]), (&json!("POST"), &json!(false)));
    assert!(first["url"].as_str().is_some_and(|url| url.ends_with("/messages/@original")));
    assert!(last["url"].as_str().is_some_and(|url| url.ends_with("/fixture-interaction-token")));
    assert!(first["body"].get("components").is_none() && first.get("fallback").is_none());
    assert_eq!(last["body"]["components"][0]["components"][0]["label"], "Thanks");
    assert!(last["fallback"]["body"].get("components").is_none());
    assert_eq!(last["fallback"]["body"]["content"], last["body"]["content"]);
}

#[test]
fn many_and_long_suggestions_still_make_buttons() {
    let long = "很长的建议".repeat(30);
    let many: Vec<String> = (0..30).map(|number| format!("{number} {long}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let parts = rendered("Hello", &many);
    let rows = parts[0]["body"]["components"].as_array().expect("rows");
    assert_eq!(rows.len(), 5);
    let mut ids = Vec::new();
    for button in rows.iter().flat_map(|row| row["components"].as_array().expect("buttons")) {
        let (label, id) = (button["label"].as_str().expect("a label"), button["custom_id"].as_str().expect("an id"));
        assert!(label.chars().count() == 80 && label.ends_with('…') && id.chars().count() == 100);
        assert!(!ids.contains(&id));
        ids.push(id);
    }
    assert_eq!(ids.len(), 25);
}

#[test]
fn a_reply_needs_an_address_of_this_channel() {
    for address in [
        "fixture-interaction-token",
        r#"{"token":""}"#,
        r#"{"token":"a/../b"}"#,
        r#"{"token":"a?b"}"#,
        r#"{"token":7}"#,
    ] {
        let refused = Discord::render(&send_keys(), &reply(address, "hello", &[]), Timestamp::now());
        assert!(refused.is_err(), "{address}");
    }
}

#[test]
fn each_answer_to_a_send_has_its_outcome() {
    for (status, body, outcome) in [
        (200, r#"{"id":"550000000000000001","type":20,"content":"hello"}"#, Ok(())),
        (
            404,
            r#"{"message":"Unknown Webhook","code":10015}"#,
            refused("10015 Unknown Webhook (not deferred yet, deleted by somebody, or over)", Retry::Backoff),
        ),
        (
            404,
            r#"{"message":"Unknown Message","code":10008}"#,
            refused("10008 Unknown Message (not deferred yet, deleted by somebody, or over)", Retry::Backoff),
        ),
        (404, r#"{"message":"404: Not Found","code":0}"#, refused("404 404: Not Found", Retry::Backoff)),
        (
            401,
            r#"{"message":"Invalid Webhook Token","code":50027}"#,
            refused("50027 Invalid Webhook Token (Discord takes replies for 15 minutes)", Retry::Never),
        ),
        (
            404,
            r#"{"message":"Unknown interaction","code":10062}"#,
            refused("10062 Unknown interaction (Discord takes replies for 15 minutes)", Retry::Never),
        ),
        (
            404,
            r#"{"message":"Unknown Application","code":10002}"#,
            refused("10002 Unknown Application (the application_id is not valid)", Retry::Never),
        ),
        (
            400,
            r#"{"message":"Invalid Form Body","code":50035,"errors":{"components":{}}}"#,
            refused("50035 Invalid Form Body", Retry::Fallback),
        ),
        (403, r#"{"message":"Missing Permissions","code":50013}"#, refused("50013 Missing Permissions", Retry::Never)),
        (
            429,
            r#"{"message":"You are being rate limited.","retry_after":1.25,"global":false}"#,
            refused("429 You are being rate limited.", Retry::After(Duration::from_millis(1250))),
        ),
        (
            429,
            r#"{"message":"slow","retry_after":1e300}"#,
            refused("429 slow", Retry::After(Duration::from_secs(86_400))),
        ),
        (
            429,
            r#"{"message":"You are being rate limited.","retry_after":3.5,"global":true}"#,
            refused("429 You are being rate limited.", Retry::BotAfter(Duration::from_millis(3500))),
        ),
        (429, r#"{"message":"slow","retry_after":-1}"#, refused("429 slow", Retry::Backoff)),
        (429, "<html>", refused("429 ", Retry::Backoff)),
        (
            500,
            r#"{"message":"500: Internal Server Error","code":0}"#,
            refused("500 500: Internal Server Error", Retry::Backoff),
        ),
        (502, "<html>", unknown("HTTP 502, and no answer of Discord")),
        (403, "error code: 1010", refused("HTTP 403, and no answer of Discord", Retry::Never)),
        (200, "<html>", refused("HTTP 200, and no answer of Discord", Retry::Never)),
    ] {
        assert_eq!(sent::outcome::<Discord>(status, &HeaderMap::new(), body), outcome, "{body}");
    }
    let asks = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("7"))]);
    let told = |asks: &HeaderMap| Discord::outcome(StatusCode::TOO_MANY_REQUESTS, asks, b"error code: 1015");
    assert_eq!(told(&asks), refused("429 ", Retry::After(Duration::from_secs(7))));
    for (scope, retry) in [
        ("user", Retry::After(Duration::from_secs(7))),
        ("shared", Retry::After(Duration::from_secs(7))),
        ("global", Retry::BotAfter(Duration::from_secs(7))),
    ] {
        let mut asks = asks.clone();
        asks.insert("x-ratelimit-scope", HeaderValue::from_static(scope));
        assert_eq!(told(&asks), refused("429 ", retry), "{scope}");
    }
}

#[test]
fn the_commands_are_registered_with_the_bot_token() {
    assert!(settings().has_bot_token());
    let mut without = entered();
    without["bot_token"] = json!(null);
    let without = DiscordSettings::parse(&without.to_string()).expect("valid settings");
    assert!(!without.has_bot_token());
    let request = without.register_commands().and_then(|request| request.into_http(None)).expect("a request");
    assert!(!request.headers().contains_key(AUTHORIZATION));
    let read = |status: u16, body: &str| {
        DiscordSettings::read_commands(StatusCode::from_u16(status).expect("a status"), body.as_bytes())
    };
    assert_eq!(read(200, r#"[{"id":"1"},{"id":"2"}]"#), Ok(2));
    for (status, body, retry, words) in [
        (401, r#"{"message":"401: Unauthorized","code":0}"#, Retry::Never, "401 401: Unauthorized (the bot_token"),
        (403, r#"{"message":"Missing Access","code":50001}"#, Retry::Never, "50001 Missing Access (the bot_token"),
        (400, r#"{"message":"Invalid Form Body","code":50035}"#, Retry::Never, "50035"),
        (429, r#"{"message":"slow","retry_after":3}"#, Retry::Backoff, "429"),
        (500, "", Retry::Backoff, "HTTP 500"),
        (200, "{}", Retry::Never, "no commands"),
    ] {
        let Err(Rejection::Refused { reason, retry: told }) = read(status, body) else { panic!("{body} is a list") };
        assert!(told == retry && reason.contains(words), "{body} gave {reason}");
    }
}

/// "Application Command Naming", and the limits of names and descriptions.
#[test]
fn the_commands_keep_discords_rules() {
    let request = settings().register_commands().and_then(|request| request.into_http(None)).expect("a request");
    let commands: Vec<Value> = serde_json::from_str(request.body()).expect("a list");
    let names: Vec<_> = commands.iter().map(|command| command["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["ask", "start", "help", "new", "lang"]);
    let options = commands.iter().flat_map(|command| command["options"].as_array().expect("options"));
    for named in commands.iter().chain(options) {
        for name in [&named["name"], &named["name_localizations"]["zh-CN"]] {
            let name = name.as_str().expect("a name");
            assert!((1..=32).contains(&name.chars().count()), "{name}");
            assert!(name.chars().all(|c| c.is_alphanumeric() && !c.is_uppercase()), "{name}");
        }
        for description in [&named["description"], &named["description_localizations"]["zh-CN"]] {
            assert!((1..=100).contains(&description.as_str().expect("a text").chars().count()));
        }
    }
}

#[test]
fn settings_are_checked_field_by_field() {
    let faults = [
        ("application_id", json!("")),
        ("application_id", json!("12345")),
        ("application_id", json!("1100000000000000x2")),
        ("application_id", json!("110000000000000042110")),
        ("application_id", json!(110_000_000_000_000_042_u64)),
        ("public_key", json!("")),
        ("public_key", json!(&PUBLIC_KEY[1..])),
        ("public_key", json!(format!("{PUBLIC_KEY}00"))),
        ("public_key", json!("z".repeat(64))),
        ("bot_token", json!("")),
        ("bot_token", json!("Bot fixture")),
        ("bot_token", json!(7)),
        ("api_base", json!("discord.com")),
    ];
    setup::refuses::<DiscordSettings>(&entered(), faults);
    let steps = settings().console_steps("https://bot.example/discord/main");
    insta::assert_snapshot!("console_steps", steps);
}

#[test]
fn the_bot_token_is_neither_shown_nor_stored() {
    let request = settings().register_commands().expect("a request");
    assert!(!format!("{request:?}").contains(BOT_TOKEN));
    let keys = settings().keys();
    assert!(![keys.webhook, keys.send].iter().any(|keys| keys.expose_secret().contains(BOT_TOKEN)));
}

proptest! {
    #[test]
    fn any_answer_to_the_commands_is_read(status in 100_u16..600, body: Vec<u8>) {
        let _ = DiscordSettings::read_commands(StatusCode::from_u16(status).expect("in range"), &body);
    }

    #[test]
    fn any_reply_fits_the_limit(part in "([a-z。🐦*_<@:#. \n]|https://a.example/|1\\. ){0,40}", parts in 0_usize..100, suggestion in "\\PC{0,120}") {
        for part in rendered(&part.repeat(parts), &[&suggestion]) {
            let content = part["body"]["content"].as_str().expect("a text");
            prop_assert!((1..=2000).contains(&content.encode_utf16().count()));
        }
    }
}
