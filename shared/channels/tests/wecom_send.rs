//! What WeCom is sent, what it says to that, and the settings of an application.

mod sent;
mod setup;

use std::time::Duration;

use hoopoe_channels::wecom::{Settings as WecomSettings, Wecom};
use hoopoe_channels::{Rejection, Retry, Sender, Settings};
use hoopoe_message::{Reply, Timestamp};
use http::{HeaderMap, StatusCode};
use proptest::prelude::*;
use secrecy::{ExposeSecret, SecretString};
use sent::refused;
use serde_json::{Value, json};

const TOKEN: &str = "fixtureToken01";
const AES_KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
const CORP: &str = "wwexample00000001";

fn settings() -> WecomSettings {
    let settings = json!({
        "corp_id": CORP, "agent_id": 1_000_002, "secret": "fixture-Secret+/=", "token": TOKEN, "encoding_aes_key": AES_KEY,
    });
    WecomSettings::parse(&settings.to_string()).expect("valid settings")
}

fn send_keys() -> <Wecom as Sender>::Keys {
    setup::keys(&settings().keys().send)
}

fn reply(address: &str, text: &str, suggestions: &[&str]) -> Reply {
    sent::reply::<Wecom>(address, "7205759487", address, text, suggestions)
}

fn rendered(reply: &Reply) -> Vec<Value> {
    let parts = Wecom::render(&send_keys(), reply, reply.created_at).expect("a member's id");
    sent::parts(parts, Some(&SecretString::from("access/token+1")))
}

#[test]
fn requests_are_what_wecom_documents() {
    let replied = |text: &str, suggestions: &[&str]| rendered(&reply("ZhangMei", text, suggestions));
    let elsewhere = json!({
        "corp_id": CORP, "agent_id": "1000002", "secret": "s", "token": TOKEN, "encoding_aes_key": AES_KEY,
        "token_url": "http://127.0.0.1:9001/token", "api_base": "http://127.0.0.1:9000/",
    });
    let elsewhere = WecomSettings::parse(&elsewhere.to_string()).expect("valid settings").keys();
    let elsewhere = setup::keys(&elsewhere.send);
    let requests = json!({
        "with suggestions": replied("点击登录页的“忘记密码”。\n", &["联系人工", " ", "修改手机号"]),
        "without suggestions": replied("plain\u{0} *text*\u{7}", &[]),
        "gettoken": sent::request(Wecom::token_request(&send_keys()).expect("WeCom uses tokens"), None),
        "gettoken elsewhere": sent::request(Wecom::token_request(&elsewhere).expect("WeCom uses tokens"), None),
        "send elsewhere": sent::parts(
            Wecom::render(&elsewhere, &reply("ZhangMei", "hello", &[]), Timestamp::now()).expect("a member's id"),
            Some(&SecretString::from("t")),
        ),
    });
    insta::assert_json_snapshot!("sent", requests);
}

#[test]
fn a_long_reply_is_several_messages_and_the_last_has_the_suggestions() {
    let parts = rendered(&reply("ZhangMei", &"一句话。".repeat(300), &["联系人工"]));
    let [first, last] = &parts[..] else { panic!("two messages, not {}", parts.len()) };
    let (first, last) = (first.to_string(), last.to_string());
    assert!(first.contains("一句话。\"") && last.contains("一句话。\\n\\n1. 联系人工\""));
}

#[test]
fn a_reply_needs_a_member() {
    for address in ["@all", "a|b", "a b", "{\"chat\":7}\n", &"x".repeat(65)] {
        assert!(Wecom::render(&send_keys(), &reply(address, "hello", &[]), Timestamp::now()).is_err(), "{address}");
    }
}

#[test]
fn each_answer_to_a_send_has_its_outcome() {
    for (status, body, outcome) in [
        (200, r#"{"errcode":0,"errmsg":"ok","msgid":"xxxx"}"#, Ok(())),
        (200, r#"{"errcode":0,"errmsg":"ok","invaliduser":""}"#, Ok(())),
        (
            200,
            r#"{"errcode":0,"errmsg":"ok","invaliduser":"zhangmei"}"#,
            refused("0, but the member is not in the application's 可见范围", Retry::Never),
        ),
        (
            200,
            r#"{"errcode":0,"errmsg":"ok","unlicenseduser":"zhangmei"}"#,
            refused("0, but the member has no 基础接口许可 licence", Retry::Never),
        ),
        (
            200,
            r#"{"errcode":40014,"errmsg":"invalid access_token"}"#,
            refused("40014 invalid access_token", Retry::NewToken),
        ),
        (
            200,
            r#"{"errcode":40001,"errmsg":"invalid credential"}"#,
            refused("40001 invalid credential", Retry::NewToken),
        ),
        (
            200,
            r#"{"errcode":41001,"errmsg":"access_token missing"}"#,
            refused("41001 access_token missing", Retry::NewToken),
        ),
        (
            200,
            r#"{"errcode":42001,"errmsg":"access_token expired"}"#,
            refused("42001 access_token expired", Retry::NewToken),
        ),
        (
            200,
            r#"{"errcode":45009,"errmsg":"api freq out of limit"}"#,
            refused("45009 api freq out of limit", Retry::BotAfter(Duration::from_secs(60))),
        ),
        (200, r#"{"errcode":45033,"errmsg":"concurrent limit"}"#, refused("45033 concurrent limit", Retry::Backoff)),
        (200, r#"{"errcode":-1,"errmsg":"system busy"}"#, refused("-1 system busy", Retry::Backoff)),
        (
            200,
            r#"{"errcode":60020,"errmsg":"not allow to access from your ip, from ip: 192.0.2.7"}"#,
            refused(
                "60020: list the egress address under the application's 企业可信IP; not allow to access from your ip, from ip: 192.0.2.7",
                Retry::Never,
            ),
        ),
        (
            200,
            r#"{"errcode":81013,"errmsg":"user & party & tag all invalid"}"#,
            refused("81013 user & party & tag all invalid", Retry::Never),
        ),
        (503, "", refused("HTTP 503, and no answer of WeCom", Retry::Backoff)),
        (429, "slow down", refused("HTTP 429, and no answer of WeCom", Retry::Backoff)),
        (404, r#"{"errcode":0}"#, refused("HTTP 404, and no answer of WeCom", Retry::Never)),
        (200, "<html>", refused("HTTP 200, and no answer of WeCom", Retry::Never)),
    ] {
        assert_eq!(sent::outcome::<Wecom>(status, &HeaderMap::new(), body), outcome, "{body}");
    }
}

#[test]
fn a_token_is_read_or_the_reason_is_told() {
    let token =
        Wecom::read_token(StatusCode::OK, br#"{"errcode":0,"errmsg":"ok","access_token":"hush","expires_in":7200}"#);
    let token = token.expect("a token");
    assert_eq!((token.secret.expose_secret(), token.lifetime), ("hush", Duration::from_secs(7200)));
    assert!(!format!("{token:?}").contains("hush"));
    for (body, retry) in [
        (r#"{"errcode":40001,"errmsg":"invalid credential"}"#, Retry::BadCredential),
        (r#"{"errcode":40013,"errmsg":"invalid corpid"}"#, Retry::Never),
        (r#"{"errcode":60020,"errmsg":"not allow to access from your ip"}"#, Retry::Never),
        (r#"{"errcode":45009,"errmsg":"api freq out of limit"}"#, Retry::BotAfter(Duration::from_secs(60))),
        (r#"{"errcode":0,"errmsg":"ok","access_token":"","expires_in":7200}"#, Retry::Never),
        (r#"{"errcode":0,"errmsg":"ok"}"#, Retry::Never),
        ("", Retry::Never),
    ] {
        let refused = Wecom::read_token(StatusCode::OK, body.as_bytes()).expect_err(body);
        assert!(matches!(refused, Rejection::Refused { retry: told, .. } if told == retry), "{body} {refused:?}");
    }
}

#[test]
fn settings_are_checked_field_by_field() {
    let valid = json!({ "corp_id": CORP, "agent_id": 1, "secret": "s", "token": TOKEN, "encoding_aes_key": AES_KEY });
    let faults = [
        ("corp_id", json!("")),
        ("corp_id", json!("ww/../x")),
        ("agent_id", json!("main")),
        ("agent_id", json!(-1)),
        ("agent_id", json!([1])),
        ("secret", json!("")),
        ("secret", json!(7)),
        ("token", json!("x".repeat(33))),
        ("encoding_aes_key", json!("short")),
        ("token_url", json!("127.0.0.1")),
        ("api_base", json!("https://qyapi.weixin.qq.com?x=1")),
    ];
    setup::refuses::<WecomSettings>(&valid, faults);
    let steps = settings().console_steps("https://bot.example/wecom/main");
    insta::assert_snapshot!("console_steps", steps);
}

proptest! {
    #[test]
    fn any_reply_fits_the_limit(part in "[a-z。🐦 \n]{0,60}", parts in 0_usize..200, suggestion in "(.|\\PC){0,30}") {
        for part in rendered(&reply("ZhangMei", &part.repeat(parts), &[&suggestion])) {
            let content = part["body"]["text"]["content"].as_str().expect("a text");
            prop_assert!((1..=2048).contains(&content.len()));
            prop_assert!(!content.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
        }
    }
}
