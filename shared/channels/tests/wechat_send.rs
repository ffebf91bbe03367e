//! What WeChat is sent, what it says to that, and the settings of an account.

mod sent;
mod setup;

use std::time::Duration;

use hoopoe_channels::wechat::{Settings as WechatSettings, Wechat};
use hoopoe_channels::{Rejection, Retry, Sender, Settings, Webhook};
use hoopoe_message::{Reply, Timestamp};
use http::{HeaderMap, StatusCode};
use proptest::prelude::*;
use secrecy::{ExposeSecret, SecretString};
use sent::refused;
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
const TOKEN: &str = "fixtureToken01";
const AES_KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
const APP: &str = "wxexample00000001";
const SECRET: &str = "fixture-Secret+/=";
const ADDRESS: &str = r#"{"user":"oExample-0000_000000000000001","account":"gh_example00001","sent_at":1767225600}"#;

fn parsed(settings: &Value) -> WechatSettings {
    WechatSettings::parse(&settings.to_string()).expect("valid settings")
}

fn settings() -> WechatSettings {
    parsed(&json!({ "app_id": APP, "app_secret": SECRET, "token": TOKEN, "encoding_aes_key": AES_KEY }))
}

fn passive() -> WechatSettings {
    parsed(&json!({ "app_id": APP, "token": TOKEN, "passive": true, "api_base": "http://127.0.0.1:9000/" }))
}

fn webhook_keys(settings: &WechatSettings) -> <Wechat as Webhook>::Keys {
    setup::keys(&settings.keys().webhook)
}

fn send_keys(settings: &WechatSettings) -> <Wechat as Sender>::Keys {
    setup::keys(&settings.keys().send)
}

fn reply(address: &str, text: &str, suggestions: &[&str]) -> Reply {
    sent::reply::<Wechat>("oExample-0000_000000000000001", "24000000000000001", address, text, suggestions)
}

fn rendered(text: &str, suggestions: &[&str]) -> Vec<Value> {
    let reply = reply(ADDRESS, text, suggestions);
    let parts = Wechat::render(&send_keys(&settings()), &reply, reply.created_at).expect("its own address");
    sent::parts(parts, Some(&SecretString::from("access/token+1")))
}

#[test]
fn requests_are_what_wechat_documents() {
    let token = |settings: &WechatSettings| {
        sent::request(Wechat::token_request(&send_keys(settings)).expect("WeChat uses tokens"), None)
    };
    let elsewhere = parsed(&json!({
        "app_id": APP, "app_secret": "s", "token": TOKEN, "api_base": "http://127.0.0.1:9000/",
    }));
    let requests = json!({
        "with suggestions": rendered("点击登录页的“忘记密码”。\n", &["联系人工", " ", "修改手机号"]),
        "without suggestions": rendered("plain\u{0} *text*\u{7} <a href=\"weixin://bizmsgmenu\">你</a>", &[]),
        "suggestions alone": rendered(" ", &["联系人工"]),
        "stable_token": token(&settings()),
        "stable_token elsewhere": token(&elsewhere),
        "send elsewhere": sent::parts(
            Wechat::render(&send_keys(&elsewhere), &reply(ADDRESS, "hello", &[]), Timestamp::now()).expect("an address"),
            Some(&SecretString::from("t")),
        ),
    });
    insta::assert_json_snapshot!("sent", requests);
}

#[test]
fn a_long_reply_is_several_messages_and_the_last_has_the_menu() {
    let parts = rendered(&"一句话。".repeat(300), &["联系人工"]);
    let [first, last] = &parts[..] else { panic!("two messages, not {}", parts.len()) };
    assert_eq!((&first["body"]["msgtype"], &last["body"]["msgtype"]), (&json!("text"), &json!("msgmenu")));
    let fallback = last["fallback"]["body"]["text"]["content"].as_str().expect("a text");
    assert!(fallback.ends_with("一句话。\n\n1. 联系人工") && first.get("fallback").is_none());
}

#[test]
fn suggestions_without_room_for_the_text_are_no_menu() {
    let long = "很长的建议".repeat(80);
    let parts = rendered("一句话。", &[&long]);
    assert!(parts.iter().all(|part| part["body"]["msgtype"] == "text" && part.get("fallback").is_none()));
    let whole: String = parts.iter().map(|part| part["body"]["text"]["content"].as_str().expect("a text")).collect();
    assert_eq!(whole, format!("一句话。\n\n1. {long}"));
}

#[test]
fn a_reply_needs_an_address() {
    for address in ["oExample", "{\"user\":\"o\"}", r#"{"user":"a b","account":"gh","sent_at":1}"#] {
        let reply = reply(address, "hello", &[]);
        assert!(Wechat::render(&send_keys(&settings()), &reply, reply.created_at).is_err(), "{address}");
    }
}

#[test]
fn each_answer_to_a_send_has_its_outcome() {
    let answered = |status: u16, body: &str| sent::outcome::<Wechat>(status, &HeaderMap::new(), body);
    assert_eq!(answered(200, r#"{"errcode":0,"errmsg":"ok"}"#), Ok(()));
    for (code, words, retry, reason) in [
        (40001, "invalid credential", Retry::NewToken, "40001 invalid credential"),
        (40014, "invalid access_token", Retry::NewToken, "40014 invalid access_token"),
        (41001, "access_token missing", Retry::NewToken, "41001 access_token missing"),
        (42001, "access_token expired", Retry::NewToken, "42001 access_token expired"),
        (-1, "system error", Retry::Backoff, "-1 system error"),
        (45009, "reach max api daily quota limit", Retry::BotAfter(DAY), "45009 reach max api daily quota limit"),
        (45011, "api minute-quota reach limit", Retry::BotAfter(MINUTE), "45011 api minute-quota reach limit"),
        (40200, "invalid account type", Retry::Fallback, "40200 invalid account type"),
        (45098, "msgmenu list size is out of limit", Retry::Fallback, "45098 msgmenu list size is out of limit"),
        (45002, "content size out of limit", Retry::Fallback, "45002 content size out of limit"),
        (
            40164,
            "invalid ip 192.0.2.7, not in whitelist",
            Retry::Never,
            "40164: list the egress address under the account's API IP白名单; invalid ip 192.0.2.7, not in whitelist",
        ),
        (
            48001,
            "api unauthorized",
            Retry::Never,
            "48001: the account may not use the API (接口权限); verify it, or set \"passive\": true; api unauthorized",
        ),
        (
            45015,
            "response out of time limit",
            Retry::Never,
            "45015: the person wrote nothing for 48 hours, or does not follow the account any more; response out of time limit",
        ),
        (
            45047,
            "out of response count limit",
            Retry::Never,
            "45047: more messages than one message of the person allows: 5, or 3 after a press or a new follower; out of response count limit",
        ),
        (43004, "require subscribe", Retry::Never, "43004: the person does not follow the account; require subscribe"),
        (40003, "invalid openid", Retry::Never, "40003 invalid openid"),
    ] {
        let body = json!({ "errcode": code, "errmsg": words }).to_string();
        assert_eq!(answered(200, &body), refused(reason, retry));
    }
    for (status, body, reason, retry) in [
        (503, "", "HTTP 503, and no answer of WeChat", Retry::Backoff),
        (429, "slow down", "HTTP 429, and no answer of WeChat", Retry::Backoff),
        (404, r#"{"errcode":0}"#, "HTTP 404, and no answer of WeChat", Retry::Never),
        (200, "<html>", "HTTP 200, and no answer of WeChat", Retry::Never),
    ] {
        assert_eq!(answered(status, body), refused(reason, retry));
    }
}

#[test]
fn a_token_is_read_or_the_reason_is_told() {
    let token = Wechat::read_token(StatusCode::OK, br#"{"access_token":"hush","expires_in":7200}"#);
    let token = token.expect("a token");
    assert_eq!((token.secret.expose_secret(), token.lifetime), ("hush", Duration::from_secs(7200)));
    assert!(!format!("{token:?}").contains("hush"));
    for (body, retry) in [
        (r#"{"errcode":40001,"errmsg":"invalid credential"}"#, Retry::BadCredential),
        (r#"{"errcode":40013,"errmsg":"invalid appid"}"#, Retry::Never),
        (r#"{"errcode":40125,"errmsg":"invalid appsecret"}"#, Retry::BadCredential),
        (r#"{"errcode":40164,"errmsg":"invalid ip 192.0.2.7, not in whitelist"}"#, Retry::Never),
        (r#"{"errcode":40243,"errmsg":"AppSecret frozen"}"#, Retry::BadCredential),
        (r#"{"errcode":45009,"errmsg":"reach max api daily quota limit"}"#, Retry::BotAfter(DAY)),
        (r#"{"errcode":-1,"errmsg":"system error"}"#, Retry::Backoff),
        (r#"{"access_token":"","expires_in":7200}"#, Retry::Never),
        (r#"{"access_token":"hush"}"#, Retry::Never),
        ("{}", Retry::Never),
        ("", Retry::Never),
    ] {
        let refused = Wechat::read_token(StatusCode::OK, body.as_bytes()).expect_err(body);
        assert!(matches!(refused, Rejection::Refused { retry: told, .. } if told == retry), "{body} {refused:?}");
    }
    let frozen = Wechat::read_token(StatusCode::OK, br#"{"errcode":40243,"errmsg":"x"}"#).expect_err("refused");
    assert_eq!(Err(frozen), refused("40243: the AppSecret is frozen (开发密钥 > 解冻); x", Retry::BadCredential));
}

#[test]
fn a_passive_account_needs_no_secret_and_asks_for_no_token() {
    let keys = send_keys(&passive());
    assert!(Wechat::is_passive(&keys) && Wechat::token_request(&keys).is_none());
    assert!(Wechat::check_request(&keys).is_none());
    // A secret that is there all the same is not used, so nothing is asked about it.
    let unused = serde_json::from_value(json!({ "app_id": APP, "app_secret": "s", "passive": true })).expect("keys");
    assert!(Wechat::token_request(&unused).is_some() && Wechat::check_request(&unused).is_none());
    assert!(webhook_keys(&passive()).is_passive());
    let keys = send_keys(&settings());
    assert!(!Wechat::is_passive(&keys) && Wechat::token_request(&keys).is_some());
    assert!(!webhook_keys(&settings()).is_passive());
}

#[test]
fn settings_are_checked_field_by_field() {
    let valid = json!({ "app_id": APP, "app_secret": "s", "token": TOKEN });
    parsed(&valid);
    let faults = [
        ("app_id", json!("")),
        ("app_id", json!("wx/../x")),
        ("app_id", json!(null)),
        ("app_secret", json!("")),
        ("app_secret", json!(7)),
        ("app_secret", json!(null)),
        ("token", json!("ab")),
        ("token", json!("x".repeat(33))),
        ("token", json!("with-dash")),
        ("encoding_aes_key", json!("short")),
        ("passive", json!("yes")),
        ("api_base", json!("https://api.weixin.qq.com?x=1")),
    ];
    setup::refuses::<WechatSettings>(&valid, faults);
    let url = "https://bot.example/wechat/main";
    let steps =
        format!("{}\n--- passive, in plain text\n\n{}", settings().console_steps(url), passive().console_steps(url));
    insta::assert_snapshot!("console_steps", steps);
}

proptest! {
    #[test]
    fn any_reply_fits_the_limit(part in "(<a |[a-z。🐦 \n]){0,60}", parts in 0_usize..200, suggestion in "(.|\\PC){0,30}", many in 0_usize..40) {
        let suggestions = vec![suggestion.as_str(); many];
        for part in rendered(&part.repeat(parts), &suggestions) {
            let text = |part: &Value| part["body"]["text"]["content"].as_str().expect("a text").to_owned();
            let content = if part["body"]["msgtype"] == "msgmenu" {
                let menu = &part["body"]["msgmenu"];
                prop_assert!(menu["head_content"].as_str().is_some_and(|head| !head.is_empty()));
                let entries = menu["list"].as_array().expect("entries");
                prop_assert!(!entries.is_empty());
                prop_assert!(entries.iter().all(|entry| entry["content"].as_str().is_some_and(|words| !words.is_empty())));
                text(&part["fallback"])
            } else {
                text(&part)
            };
            prop_assert!((1..=2048).contains(&content.len()));
            prop_assert!(!content.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
        }
    }
}
