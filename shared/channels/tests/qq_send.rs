//! What QQ is sent, what it says to that, and the settings of a bot.

mod sent;
mod setup;

use std::time::Duration;

use hoopoe_channels::qq::{Qq, Settings as QqSettings};
use hoopoe_channels::{Rejection, Retry, Sender, Settings};
use hoopoe_message::{Reply, Timestamp};
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::prelude::*;
use secrecy::{ExposeSecret, SecretString};
use sent::{refused, unknown};
use serde_json::{Value, json};

const SECRET: &str = "fixtureSecret012";
const PRIVATE: &str = r#"{"room":{"user":"6F1D0C52A7E94B3F"},"answers":{"message":"ROBOT1.0_fixture!"}}"#;
const GROUP: &str = r#"{"room":{"group":"B81E77C2D4A94F60"},"answers":{"message":"ROBOT1.0_fixture!"}}"#;
const JOINED: &str = r#"{"room":{"group":"B81E77C2D4A94F60"},"answers":{"event":"GROUP_ADD_ROBOT:1"}}"#;
const CHANNEL: &str = r#"{"room":{"channel":"600100"},"answers":{"message":"08fixture"}}"#;
const DIRECT: &str = r#"{"room":{"direct":"18700000000009777"},"answers":{"message":"08fixture"}}"#;

fn settings() -> QqSettings {
    QqSettings::parse(&json!({ "app_id": "102000001", "app_secret": SECRET }).to_string()).expect("valid settings")
}

fn send_keys() -> <Qq as Sender>::Keys {
    setup::keys(&settings().keys().send)
}

fn reply(address: &str, text: &str, suggestions: &[&str]) -> Reply {
    sent::reply::<Qq>("6F1D0C52A7E94B3F", "ROBOT1.0_fixture!", address, text, suggestions)
}

fn rendered(reply: &Reply) -> Vec<Value> {
    let parts = Qq::render(&send_keys(), reply, reply.created_at).expect("an address of this channel");
    sent::parts(parts, Some(&SecretString::from("access-token")))
}

#[test]
fn requests_are_what_qq_documents() {
    let replied = |address: &str, text: &str, suggestions: &[&str]| rendered(&reply(address, text, suggestions));
    let elsewhere = |token_url: Option<&str>| {
        let settings = json!({
            "app_id": 102_000_001, "app_secret": SECRET, "api_base": "http://127.0.0.1:9000/", "token_url": token_url,
        });
        let keys = QqSettings::parse(&settings.to_string()).expect("valid settings").keys();
        let keys = setup::keys(&keys.send);
        let parts = Qq::render(&keys, &reply(PRIVATE, "hello", &[]), Timestamp::now()).expect("an address");
        json!({
            "send": sent::parts(parts, Some(&SecretString::from("t"))),
            "token": sent::request(Qq::token_request(&keys).expect("QQ uses tokens"), None),
        })
    };
    let requests = json!({
        "private with suggestions": replied(PRIVATE, "点击登录页的“忘记密码”。\n", &["联系人工", " ", "修改手机号"]),
        "private": replied(PRIVATE, "1 < 2 & <@all> *plain* @everyone", &[]),
        "group": replied(GROUP, "Two days.", &["Opening hours"]),
        "group joined": replied(JOINED, "Hello.", &[]),
        "channel": replied(CHANNEL, "1 < 2 & <@all> <#600100> @everyone", &[]),
        "direct": replied(DIRECT, "Two days.", &["Opening hours"]),
        "token": sent::request(Qq::token_request(&send_keys()).expect("QQ uses tokens"), None),
        "elsewhere": elsewhere(None),
        "token elsewhere": elsewhere(Some("http://127.0.0.1:9001/token")),
    });
    insta::assert_json_snapshot!("sent", requests);
}

#[test]
fn each_part_of_a_long_reply_has_its_number() {
    let text = "一句话。".repeat(1500);
    let parts = rendered(&reply(GROUP, &text, &["联系人工"]));
    let numbers: Vec<_> = parts.iter().map(|part| part["body"]["msg_seq"].as_u64().expect("a number")).collect();
    assert_eq!(numbers, [1, 2]);
    assert!(parts.iter().all(|part| part["repeatable"] == true && part["body"]["msg_id"] == "ROBOT1.0_fixture!"));
    assert!(parts[1]["body"]["content"].as_str().is_some_and(|text| text.ends_with("。\n\n1. 联系人工")));
    assert_eq!(parts, rendered(&reply(GROUP, &text, &["联系人工"])), "repeated, a part has the same number");
    assert!(rendered(&reply(CHANNEL, &text, &[])).iter().all(|part| part["repeatable"] == false));
    assert!(rendered(&reply(JOINED, &text, &[])).iter().all(|part| part["repeatable"] == false));
}

#[test]
fn a_reply_needs_an_address_of_this_channel() {
    for address in [
        "6F1D0C52A7E94B3F",
        r#"{"chat":7}"#,
        r#"{"room":{"user":"U"}}"#,
        r#"{"room":{"user":""},"answers":{"message":"1"}}"#,
        r#"{"room":{"user":"a/../b"},"answers":{"message":"1"}}"#,
        r#"{"room":{"user":"a?b"},"answers":{"message":"1"}}"#,
        r#"{"room":{"guild":"1"},"answers":{"message":"1"}}"#,
    ] {
        assert!(Qq::render(&send_keys(), &reply(address, "hello", &[]), Timestamp::now()).is_err(), "{address}");
    }
}

#[test]
fn each_answer_to_a_send_has_its_outcome() {
    let late = "(QQ takes replies for 60 minutes in private and 5 minutes elsewhere, and five to a message)";
    for (status, body, outcome) in [
        (200, r#"{"id":"ROBOT1.0_reply!","timestamp":"2026-01-01T08:00:06+08:00"}"#, Ok(())),
        (200, r#"{"code":0,"message":"","id":"ROBOT1.0_reply!"}"#, Ok(())),
        (202, r#"{"code":304023,"message":"push message is waiting for audit now","data":{}}"#, Ok(())),
        (202, r#"{"code":304024,"message":"reply message is waiting for audit now"}"#, Ok(())),
        (
            400,
            r#"{"message":"消息被去重，请检查请求msgseq","code":40054005,"err_code":40054005,"trace_id":"0"}"#,
            Ok(()),
        ),
        (
            400,
            r#"{"message":"late","code":40034128,"err_code":40034128}"#,
            refused(&format!("40034128 late {late}"), Retry::Never),
        ),
        (400, r#"{"message":"late","code":40034005}"#, refused(&format!("40034005 late {late}"), Retry::Never)),
        (400, r#"{"message":"late","code":304027}"#, refused(&format!("304027 late {late}"), Retry::Never)),
        (
            400,
            r#"{"message":"请求参数msg_id无效或越权","code":40034024}"#,
            refused("40034024 请求参数msg_id无效或越权", Retry::Never),
        ),
        (
            400,
            r#"{"message":"不允许发送URL","code":40054010}"#,
            refused("40054010 不允许发送URL (list the address in the text under 开发设置 > 消息URL配置)", Retry::Never),
        ),
        (
            400,
            r#"{"message":"no","code":40054003}"#,
            refused("40054003 no (the bot is not in the group)", Retry::Never),
        ),
        (
            400,
            r#"{"message":"no","code":40054013}"#,
            refused("40054013 no (the person removed or blocked the bot)", Retry::Never),
        ),
        (
            401,
            r#"{"message":"接口访问源IP不在白名单","code":11298,"err_code":40023002}"#,
            refused(
                "40023002 接口访问源IP不在白名单 (list the egress address under 开发设置 > IP白名单)",
                Retry::Never,
            ),
        ),
        (
            500,
            r#"{"message":"token not exist or expire","code":11244,"err_code":11244}"#,
            refused("11244 token not exist or expire", Retry::NewToken),
        ),
        (401, r#"{"message":"no token","code":11241}"#, refused("11241 no token", Retry::NewToken)),
        (401, r#"{"message":"unauthorized"}"#, refused("0 unauthorized", Retry::NewToken)),
        (400, r#"{"message":"hit","code":20028}"#, refused("20028 hit", Retry::After(Duration::from_secs(1)))),
        (400, r#"{"message":"msg limit exceed","code":22009}"#, refused("22009 msg limit exceed", Retry::Backoff)),
        (429, r#"{"message":"slow down"}"#, refused("0 slow down", Retry::Backoff)),
        (500, r#"{"message":"消息发送异常","code":50055001}"#, refused("50055001 消息发送异常", Retry::Backoff)),
        (504, r#"{"message":"later","code":50001}"#, refused("50001 later", Retry::Backoff)),
        (404, r#"{"message":"no such API","code":12002}"#, refused("12002 no such API", Retry::Never)),
        (502, "<html>", unknown("HTTP 502, and no answer of QQ")),
        (200, "<html>", refused("HTTP 200, and no answer of QQ", Retry::Never)),
    ] {
        assert_eq!(sent::outcome::<Qq>(status, &HeaderMap::new(), body), outcome, "{body}");
    }
    let asks = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("7"))]);
    let Err(Rejection::Refused { retry, .. }) = Qq::outcome(StatusCode::TOO_MANY_REQUESTS, &asks, b"{}") else {
        unreachable!("429");
    };
    assert_eq!(retry, Retry::After(Duration::from_secs(7)));
}

#[test]
fn a_token_is_read_or_the_reason_is_told() {
    for body in
        [r#"{"access_token":"hush","expires_in":"7200"}"#, r#"{"access_token":"hush","expires_in":7200,"code":0}"#]
    {
        let token = Qq::read_token(StatusCode::OK, body.as_bytes()).expect("a token");
        assert_eq!((token.secret.expose_secret(), token.lifetime), ("hush", Duration::from_secs(7200)));
        assert!(!format!("{token:?}").contains("hush"));
    }
    for (status, body, told, words) in [
        (200, r#"{"code":100016,"message":"invalid appid or secret"}"#, Retry::BadCredential, "do not belong together"),
        (200, r#"{"code":100007,"message":"appid invalid"}"#, Retry::Never, "no such app_id"),
        (200, r#"{"code":10004,"message":"机器人不存在"}"#, Retry::Never, "no such app_id"),
        (200, r#"{"code":100001,"message":"Too many requests"}"#, Retry::Backoff, "100001"),
        (401, r#"{"code":11298,"message":"no"}"#, Retry::Never, "IP白名单"),
        (401, r#"{"message":"no"}"#, Retry::Never, "0 no"),
        (200, r#"{"access_token":"","expires_in":7200}"#, Retry::Never, "0"),
        (200, r#"{"access_token":"hush"}"#, Retry::Never, "0"),
        (200, r#"{"access_token":"hush","expires_in":"soon"}"#, Retry::Never, "0"),
        (503, "", Retry::Backoff, "HTTP 503"),
        (200, "", Retry::Never, "HTTP 200"),
    ] {
        let status = StatusCode::from_u16(status).expect("a status");
        let Err(Rejection::Refused { reason, retry }) = Qq::read_token(status, body.as_bytes()) else {
            panic!("{body} is a token");
        };
        assert!(retry == told && reason.contains(words) && !reason.contains("hush"), "{body} gave {reason} {retry:?}");
    }
}

#[test]
fn settings_are_checked_field_by_field() {
    let valid = json!({ "app_id": "102000001", "app_secret": SECRET });
    let faults = [
        ("app_id", json!("")),
        ("app_id", json!("my bot")),
        ("app_id", json!(-1)),
        ("app_id", json!(["1"])),
        ("app_secret", json!("")),
        ("app_secret", json!("short")),
        ("app_secret", json!("x".repeat(129))),
        ("app_secret", json!("with a space")),
        ("app_secret", json!(12_345_678)),
        ("token_url", json!("127.0.0.1")),
        ("api_base", json!("https://api.sgroup.qq.com?x=1")),
    ];
    setup::refuses::<QqSettings>(&valid, faults);
    let steps = settings().console_steps("https://bot.example/qq/main");
    insta::assert_snapshot!("console_steps", steps);
}

proptest! {
    #[test]
    fn any_reply_fits_the_limit(part in "[a-z。🐦<&@ \n]{0,60}", parts in 0_usize..200, suggestion in "\\PC{0,30}") {
        for (address, limit) in [(PRIVATE, 4000), (GROUP, 4000), (CHANNEL, 2000), (DIRECT, 2000)] {
            for part in rendered(&reply(address, &part.repeat(parts), &[&suggestion])) {
                let content = part["body"]["content"].as_str().expect("a text");
                prop_assert!((1..=limit).contains(&content.encode_utf16().count()));
                prop_assert!(!content.contains("<@"));
            }
        }
    }
}
