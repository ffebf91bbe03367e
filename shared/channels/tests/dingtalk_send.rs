//! What DingTalk is sent, what it says to that, and the settings of a robot.

mod sent;
mod setup;

use std::time::Duration;

use hoopoe_channels::contract::counterpart::Counterpart;
use hoopoe_channels::dingtalk::{Dingtalk, Settings as DingtalkSettings};
use hoopoe_channels::{Rejection, Retry, Sender, Settings};
use hoopoe_message::{Reply, Timestamp};
use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::prelude::*;
use secrecy::{ExposeSecret, SecretString};
use sent::{NOW, refused, unknown};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const PRIVATE: &str = r#"{"user":"0147258369","session":{"url":"https://oapi.dingtalk.com/robot/sendBySession?session=5e551014f1x","until":1767231000000}}"#;
const GROUP: &str = r#"{"user":"0147258369","group":"cidFixtureGroup0001==","session":{"url":"https://oapi.dingtalk.com/robot/sendBySession?session=5e551014f1x","until":1767231000000}}"#;
const FOREIGN_GROUP: &str = r#"{"group":"cidFixtureGroup0001==","session":{"url":"https://oapi.dingtalk.com/robot/sendBySession?session=5e551014f1x","until":1767231000000}}"#;
const COOL_APP: &str = r#"{"group":"cidFixtureGroup0001==","cool_app":"COOLAPP-1-FIXTURE0000000001"}"#;
const SESSION_ONLY: &str =
    r#"{"session":{"url":"https://oapi.dingtalk.com/robot/sendBySession?session=5e551014f1x","until":1767231000000}}"#;

fn entered() -> Value {
    json!({
        "app_key": "dingfixtureappkey001", "app_secret": "fixture-Secret_0123456789-abc",
        "robot_code": "dingfixturerobot0001", "corp_id": "dingfixturecorp00001", "token": "fixtureToken01",
        "encoding_aes_key": "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG",
    })
}

fn settings(change: impl FnOnce(&mut Value)) -> DingtalkSettings {
    let mut settings = entered();
    change(&mut settings);
    DingtalkSettings::parse(&settings.to_string()).expect("valid settings")
}

fn send_keys() -> <Dingtalk as Sender>::Keys {
    serde_json::from_str(settings(|_| ()).keys().send.expose_secret()).expect("keys as they are stored")
}

fn reply(address: &str, text: &str, suggestions: &[&str]) -> Reply {
    sent::reply::<Dingtalk>("cid", "msgFixture0001+w==", address, text, suggestions)
}

fn rendered_at(now: Timestamp, reply: &Reply) -> Vec<Value> {
    let parts = Dingtalk::render(&send_keys(), reply, now).expect("an address of this channel");
    sent::parts(parts, Some(&SecretString::from("access-token")))
}

fn rendered(reply: &Reply) -> Vec<Value> {
    rendered_at(NOW, reply)
}

#[test]
fn requests_are_what_dingtalk_documents() {
    let late = Timestamp::from_millis(1_767_231_000_000);
    let elsewhere = settings(|settings| settings["api_base"] = "http://127.0.0.1:9000/".into());
    let elsewhere = setup::keys(&elsewhere.keys().send);
    let own =
        r#"{"user":"7","session":{"url":"http://127.0.0.1:9000/robot/sendBySession?session=1","until":1767231000000}}"#;
    let requests = json!({
        "private": rendered(&reply(PRIVATE, "点击登录页的“忘记密码”。\n", &["联系人工", " ", "修改手机号"])),
        "private, the session is over": rendered_at(late, &reply(PRIVATE, "*plain* #1 \"quoted\" @all\u{0}", &[])),
        "group": rendered(&reply(GROUP, "Two days.", &["Opening hours"])),
        "group, the session is over": rendered_at(late, &reply(GROUP, "Two days.", &["Opening hours"])),
        "group, somebody of another organisation": rendered(&reply(FOREIGN_GROUP, "Two days.", &[])),
        "group of a 酷应用": rendered(&reply(COOL_APP, "Welcome!", &[])),
        "private, somebody of another organisation": rendered_at(late, &reply(SESSION_ONLY, "Two days.", &[])),
        "token": sent::request(Dingtalk::token_request(&send_keys()).expect("DingTalk uses tokens"), None),
        "token elsewhere": sent::request(Dingtalk::token_request(&elsewhere).expect("DingTalk uses tokens"), None),
        "private elsewhere": sent::parts(
            Dingtalk::render(&elsewhere, &reply(own, "hello", &[]), NOW).expect("an address"),
            Some(&SecretString::from("t")),
        ),
    });
    insta::assert_json_snapshot!("sent", requests);
}

#[test]
fn a_session_is_used_until_the_millisecond_it_ends() {
    for (millis, url) in [
        (1_767_230_999_999, "https://oapi.dingtalk.com/robot/sendBySession?session=5e551014f1x"),
        (1_767_231_000_000, "https://api.dingtalk.com/v1.0/robot/oToMessages/batchSend"),
    ] {
        let parts = rendered_at(Timestamp::from_millis(millis), &reply(PRIVATE, "hello", &[]));
        assert_eq!(parts[0]["url"], url);
    }
}

#[test]
fn a_reply_never_goes_to_another_server() {
    for url in [
        "https://evil.example/robot/sendBySession?session=1",
        "http://oapi.dingtalk.com/robot/sendBySession?session=1",
        "https://oapi.dingtalk.com@evil.example/",
        "http://127.0.0.1:9000/robot/sendBySession?session=1",
    ] {
        let mut address: Value = serde_json::from_str(PRIVATE).expect("JSON");
        address["session"]["url"] = url.into();
        let parts = rendered(&reply(&address.to_string(), "hello", &[]));
        assert_eq!(parts[0]["url"], "https://api.dingtalk.com/v1.0/robot/oToMessages/batchSend", "{url}");
        assert!(parts[0].get("fallback").is_none());
        address["user"].take();
        assert!(Dingtalk::render(&send_keys(), &reply(&address.to_string(), "hello", &[]), NOW).is_err());
    }
}

#[test]
fn a_long_reply_is_several_messages_and_only_the_first_mentions() {
    let text = format!("{}\n\n{}", "一句话。".repeat(1248), "The rest.");
    let parts = rendered(&reply(GROUP, &text, &["Thanks"]));
    let [first, last] = &parts[..] else { panic!("two messages, not {}", parts.len()) };
    assert!(first["body"]["text"]["content"].as_str().expect("a text").starts_with("@0147258369 一句话。"));
    assert!(first["body"]["at"]["atUserIds"][0] == "0147258369" && last["body"].get("at").is_none());
    assert_eq!(last["body"]["text"]["content"].as_str().expect("a text").lines().last(), Some("1. Thanks"));
}

#[test]
fn a_reply_needs_an_address_of_this_channel() {
    for address in [
        "7000001",
        r#"{"user":7}"#,
        r#"{"user":""}"#,
        r#"{"user":"a b"}"#,
        r#"{"group":"a\nb"}"#,
        r#"{"cool_app":"x"}"#,
        r#"{"user":"7","session":{"url":"https://oapi.dingtalk.com/"}}"#,
    ] {
        let rendered = Dingtalk::render(&send_keys(), &reply(address, "hello", &[]), NOW);
        assert!(rendered.is_err(), "{address}");
    }
}

#[test]
fn each_answer_of_the_webhook_has_its_outcome() {
    for (status, body, outcome) in [
        (200, r#"{"errcode":0,"errmsg":"ok"}"#, Ok(())),
        (200, r#"{"errcode":"0","errmsg":"ok"}"#, Ok(())),
        (200, r#"{"errcode":300001,"errmsg":"session 不存在"}"#, refused("300001 session 不存在", Retry::Fallback)),
        (
            200,
            r#"{"errcode":300005,"errmsg":"token is not exist"}"#,
            refused("300005 token is not exist", Retry::Fallback),
        ),
        (200, r#"{"errcode":"odd"}"#, refused("odd ", Retry::Fallback)),
        (
            200,
            r#"{"errcode":130101,"errmsg":"send too fast, exceed 20 times per minute"}"#,
            refused("130101 send too fast, exceed 20 times per minute", Retry::After(MINUTE)),
        ),
        (
            200,
            r#"{"errcode":660026,"errmsg":"sending too many messages per minute"}"#,
            refused("660026 sending too many messages per minute", Retry::After(MINUTE)),
        ),
        (200, r#"{"errcode":410100,"errmsg":"发送速度太快"}"#, refused("410100 发送速度太快", Retry::After(MINUTE))),
        (200, r#"{"errcode":-1,"errmsg":"系统繁忙"}"#, refused("-1 系统繁忙", Retry::Backoff)),
        (
            200,
            r#"{"errcode":430102,"errmsg":"内容不合规"}"#,
            refused("430102 内容不合规 (DingTalk does not allow these words)", Retry::Never),
        ),
        (
            200,
            r#"{"errcode":460101,"errmsg":"message too long, exceed 20000 bytes"}"#,
            refused("460101 message too long, exceed 20000 bytes", Retry::Never),
        ),
        (
            200,
            r#"{"status":1111,"wait":5,"source":"x5","punish":"deny","uuid":"u"}"#,
            refused("too many calls from this network address", Retry::BotAfter(Duration::from_secs(300))),
        ),
        (
            200,
            r#"{"status":1111,"wait":5,"punish":"deny","errcode":130101,"errmsg":"send too fast"}"#,
            refused("too many calls from this network address", Retry::After(Duration::from_secs(300))),
        ),
        (
            200,
            r#"{"errcode":90018,"errmsg":"too many calls"}"#,
            refused("90018 too many calls", Retry::BotAfter(SECOND)),
        ),
        (200, r#"{"errcode":90002,"errmsg":"too many calls"}"#, refused("90002 too many calls", Retry::Backoff)),
        (403, "<html>denied</html>", refused("HTTP 403, and no answer of DingTalk", Retry::Fallback)),
        (404, "{}", refused("HTTP 404, and no answer of DingTalk", Retry::Fallback)),
        (502, "<html>", unknown("HTTP 502, and no answer of DingTalk")),
        (200, "<html>", refused("HTTP 200, and no answer of DingTalk", Retry::Never)),
        (200, "{}", refused("HTTP 200, and no answer of DingTalk", Retry::Never)),
    ] {
        assert_eq!(sent::outcome::<Dingtalk>(status, &HeaderMap::new(), body), outcome, "{body}");
    }
}

#[test]
fn each_answer_of_the_api_has_its_outcome() {
    let taken = r#"{"processQueryKey":"k","invalidStaffIdList":[],"flowControlledStaffIdList":[]}"#;
    for (status, body, outcome) in [
        (200, taken, Ok(())),
        (200, r#"{"processQueryKey":"k"}"#, Ok(())),
        (
            200,
            r#"{"processQueryKey":"k","flowControlledStaffIdList":["7"]}"#,
            refused("taken, but the person got too many messages (flowControlledStaffIdList)", Retry::Backoff),
        ),
        (
            200,
            r#"{"processQueryKey":"k","invalidStaffIdList":["7"]}"#,
            refused("taken, but the person is not one of the organisation (invalidStaffIdList)", Retry::Never),
        ),
        (
            200,
            r#"{"processQueryKey":"k","filteredStaffIdList":["7"]}"#,
            refused("taken, but the person does not get it (filteredStaffIdList)", Retry::Never),
        ),
        (500, taken, refused("HTTP 500, and no answer of DingTalk", Retry::Backoff)),
        (500, r#"{"code":"system.error"}"#, refused("system.error ", Retry::Backoff)),
        (429, "", refused("HTTP 429, and no answer of DingTalk", Retry::After(Duration::from_secs(7)))),
    ] {
        let headers = HeaderMap::from_iter([(http::header::RETRY_AFTER, HeaderValue::from_static("7"))]);
        let headers = if status == 429 { headers } else { HeaderMap::new() };
        assert_eq!(sent::outcome::<Dingtalk>(status, &headers, body), outcome, "{body}");
    }
    for (status, code, retry) in [
        (400, "InvalidAuthentication", Retry::NewToken),
        (401, "InvalidAuthentication", Retry::NewToken),
        (400, "invalidParameter.token.invalid", Retry::NewToken),
        (400, "token.notExisted", Retry::NewToken),
        (400, "send.too.fast", Retry::Backoff),
        (400, "send.byToken.tooFast", Retry::Backoff),
        (400, "too.many.group", Retry::Backoff),
        (400, "too.many.people", Retry::Backoff),
        (403, "Forbidden.AccessDenied.QpsLimitForApi", Retry::BotAfter(SECOND)),
        (403, "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi", Retry::BotAfter(SECOND)),
        (403, "Forbidden.AccessDenied.QpmLimitForAppkeyAndApi", Retry::BotAfter(MINUTE)),
        (400, "Throttling.User", Retry::Backoff),
        (403, "Forbidden.AccessDenied.ApiCountLimitForOrg", Retry::Never),
        (403, "Forbidden.AccessDenied.AccessTokenPermissionDenied", Retry::Never),
        (403, "Forbidden.AccessDenied.IpNotInWhiteList", Retry::Never),
        (400, "invalidParameter.robotCode.auth", Retry::Never),
        (400, "invalidParameter.robotCode.coolApp", Retry::Never),
        (400, "invalidParameter.robotCode.notExsit", Retry::Never),
        (400, "unknown.send.result", Retry::Never),
        (400, "robot.oto.notExist", Retry::Never),
        (400, "staffId.notExisted", Retry::Never),
        (400, "group.disbanded", Retry::Never),
        (400, "bot.stopped", Retry::Never),
        (400, "contain.notAllowed.text", Retry::Never),
        (400, "session.expired", Retry::Fallback),
        (503, "ServiceUnavailable", Retry::Backoff),
    ] {
        let body = json!({ "code": code, "message": "words", "requestid": "r" }).to_string();
        let outcome = sent::outcome::<Dingtalk>(status, &HeaderMap::new(), &body);
        let Err(Rejection::Refused { reason, retry: told }) = outcome else { panic!("{code} was taken") };
        assert_eq!(told, retry, "{code}");
        assert!(reason.starts_with(&format!("{code} words")), "{reason}");
    }
}

#[test]
fn a_token_is_read_or_the_reason_is_told() {
    let token = Dingtalk::read_token(StatusCode::OK, br#"{"accessToken":"hush","expireIn":7200}"#).expect("a token");
    assert_eq!((token.secret.expose_secret(), token.lifetime), ("hush", Duration::from_secs(7200)));
    assert!(!format!("{token:?}").contains("hush"));
    for (status, body, retry) in [
        (400, r#"{"code":"invalidClientIdOrSecret","message":"无效的clientId或者clientSecret"}"#, Retry::BadCredential),
        (400, r#"{"code":"InvalidAuthentication","message":"x"}"#, Retry::Never),
        (403, r#"{"code":"Forbidden.AccessDenied.QpsLimitForApi","message":"x"}"#, Retry::BotAfter(SECOND)),
        (500, r#"{"code":"system.error","message":"x"}"#, Retry::Backoff),
        (200, r#"{"accessToken":"","expireIn":7200}"#, Retry::Never),
        (200, r#"{"accessToken":"x"}"#, Retry::Never),
        (400, r#"{"accessToken":"x","expireIn":7200}"#, Retry::Never),
        (200, "", Retry::Never),
        (503, "<html>", Retry::Backoff),
    ] {
        let status = StatusCode::from_u16(status).expect("a status");
        let refused = Dingtalk::read_token(status, body.as_bytes()).expect_err(body);
        assert!(matches!(refused, Rejection::Refused { retry: told, .. } if told == retry), "{body} {refused:?}");
    }
}

/// `every_platform` sees only the webhook: its session is open. This is the other way.
#[test]
fn what_goes_through_the_api_is_read_by_its_own_side() {
    let base = "http://127.0.0.1:9000";
    let settings = DingtalkSettings::parse(&Dingtalk::settings(base).to_string()).expect("its own settings");
    let keys: <Dingtalk as Sender>::Keys = setup::keys(&settings.keys().send);
    let long = "“一句话” \\ and\tmore.\n".repeat(1500);
    for address in [r#"{"user":"7"}"#, r#"{"group":"cidcounterpart7=="}"#] {
        for token in ["counterpart-access-token", "wrong"] {
            let parts = Dingtalk::render(&keys, &reply(address, &long, &["Thanks"]), NOW);
            let parts = parts.expect("an address");
            assert!(parts.len() > 1);
            let mut read = String::new();
            for part in parts {
                let (mut head, body) =
                    part.request.into_http(Some(&token.into())).expect("a valid request").into_parts();
                let below = head.uri.to_string().strip_prefix(base).expect("below the API").to_owned();
                head.uri = below.parse().expect("a path");
                let answer = Dingtalk::answer(&http::Request::from_parts(head, body.into_bytes()));
                let outcome = Dingtalk::outcome(answer.status, &HeaderMap::new(), answer.body.to_string().as_bytes());
                if token == "wrong" {
                    assert!(matches!(outcome, Err(Rejection::Refused { retry: Retry::NewToken, .. })), "{outcome:?}");
                } else {
                    assert_eq!(outcome, Ok(()));
                    read.push_str(&answer.shown.expect("a person reads it").text);
                }
            }
            let same = |text: &str| text.split_whitespace().collect::<String>();
            assert!(token == "wrong" || same(&read) == same(&format!("{long}1. Thanks")));
        }
    }
}

#[test]
fn settings_are_checked_field_by_field() {
    for optional in ["corp_id", "api_base"] {
        settings(|settings| settings[optional] = Value::Null);
    }
    settings(|settings| {
        settings["token"] = Value::Null;
        settings["encoding_aes_key"] = Value::Null;
    });
    let faults = [
        ("app_key", json!(null)),
        ("app_key", json!("")),
        ("app_key", json!("ding/../x")),
        ("app_secret", json!(null)),
        ("app_secret", json!("")),
        ("app_secret", json!("a b")),
        ("app_secret", json!(7)),
        ("robot_code", json!(null)),
        ("robot_code", json!("a b")),
        ("corp_id", json!("ding corp")),
        ("token", json!(null)),
        ("token", json!("ab")),
        ("token", json!("x".repeat(33))),
        ("token", json!("a-b-c")),
        ("encoding_aes_key", json!(null)),
        ("encoding_aes_key", json!("short")),
        ("api_base", json!("api.dingtalk.com")),
    ];
    setup::refuses::<DingtalkSettings>(&entered(), faults);
    let steps = |settings: DingtalkSettings| settings.console_steps("https://bot.example/dingtalk/main");
    insta::assert_snapshot!("console_steps", steps(settings(|_| ())));
    let without = settings(|settings| {
        settings["token"] = Value::Null;
        settings["encoding_aes_key"] = Value::Null;
    });
    insta::assert_snapshot!("console_steps_without_events", steps(without));
}

proptest! {
    #[test]
    fn any_reply_fits_the_limits(
        part in "[a-z。🐦 \"\\\\\n\t]{0,60}", parts in 0_usize..700, suggestion in "(.|\\PC){0,30}", late: bool,
    ) {
        let now = if late { Timestamp::from_millis(1_767_231_000_000) } else { NOW };
        let reply = reply(GROUP, &part.repeat(parts), &[&suggestion]);
        for part in rendered_at(now, &reply) {
            let through_api = if late { &part } else { &part["fallback"] };
            prop_assert!((15..=15_000).contains(&through_api["body"]["msgParam"].as_str().expect("a text").len()));
            prop_assert!(late || part["body"].to_string().len() <= 20_000);
        }
        prop_assert_eq!(rendered_at(now, &reply).len(), rendered(&reply).len());
    }

    #[test]
    fn any_url_of_a_session_is_taken_or_left_out(url in ".{0,60}") {
        let address = json!({ "user": "7", "session": { "url": url, "until": u64::MAX } }).to_string();
        prop_assert!(Dingtalk::render(&send_keys(), &reply(&address, "hello", &[]), NOW).is_ok());
    }
}
