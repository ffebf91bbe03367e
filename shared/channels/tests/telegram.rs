//! Telegram as its servers see it: every kind of update under `tests/fixtures/telegram`, every request the bot sends,
//! and what nobody but Telegram may get in.

mod received;
mod sent;
mod setup;

use std::time::Duration;

use hoopoe_channels::contract::counterpart::Counterpart;
use hoopoe_channels::telegram::rotation::{WebhookInfo, read_webhook_info, renew};
use hoopoe_channels::telegram::{Settings as TelegramSettings, Telegram};
use hoopoe_channels::{
    ApiRequest, Received, Refusal, Rejection, Request, Retry, Rotation, Sender, Settings, Webhook, rotation,
};
use hoopoe_message::{Channel, Reply, Timestamp};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use proptest::prelude::*;
use secrecy::{ExposeSecret, SecretString};
use sent::{refused, unknown};
use serde_json::{Value, json};

const SETTINGS: &str = r#"{
    "bot_token": "110201543:fixture_token-00000000000000000000",
    "secret_token": "fixture-secret_1",
    "bot_username": "@hoopoe_test_bot",
    "group_prefix": "!bot"
}"#;

fn settings() -> TelegramSettings {
    TelegramSettings::parse(SETTINGS).expect("valid settings")
}

fn without_prefix() -> TelegramSettings {
    let mut settings: Value = serde_json::from_str(SETTINGS).expect("JSON");
    settings["group_prefix"] = Value::Null;
    TelegramSettings::parse(&settings.to_string()).expect("valid settings")
}

fn webhook_keys(settings: &TelegramSettings) -> <Telegram as Webhook>::Keys {
    setup::keys(&settings.keys().webhook)
}

fn send_keys() -> <Telegram as Sender>::Keys {
    setup::keys(&settings().keys().send)
}

fn signed(secret: &str) -> HeaderMap {
    HeaderMap::from_iter([(
        "X-Telegram-Bot-Api-Secret-Token".parse().expect("a header name"),
        HeaderValue::from_str(secret).expect("a header value"),
    )])
}

fn receive(settings: &TelegramSettings, headers: &HeaderMap, body: &[u8]) -> Result<Received, Refusal> {
    let request = Request { method: &Method::POST, query: "", headers, body, published: &[] };
    Telegram::receive(&webhook_keys(settings), &request, Timestamp::from_secs(1_767_225_600))
}

#[test]
fn every_kind_of_update_is_read() {
    let read = |body: &[u8]| receive(&settings(), &signed("fixture-secret_1"), body);
    let received = received::fixtures("telegram", "json", read);
    insta::assert_json_snapshot!("received", received);
}

#[test]
fn without_a_username_only_the_name_is_not_heard() {
    let unnamed = TelegramSettings::parse(
        &SETTINGS.replace("\"bot_username\"", "\"api_base\"").replace("@hoopoe_test_bot", "http://127.0.0.1:8081"),
    );
    let unnamed = unnamed.expect("valid settings");
    assert!(!unnamed.has_username());
    let heard = |fixture: &str| {
        let body = received::fixture("telegram", fixture);
        let received = receive(&unnamed, &signed("fixture-secret_1"), &body).expect("authentic");
        !received.messages.is_empty()
    };
    for fixture in
        ["group_reply_to_bot.json", "group_text_mention.json", "group_command.json", "private_start_with_name.json"]
    {
        assert!(heard(fixture), "{fixture}");
    }
    for fixture in ["group_mention.json", "group_command_with_name.json"] {
        assert!(!heard(fixture), "{fixture}");
    }
}

#[test]
fn without_a_prefix_nothing_begins_with_it() {
    let plain = without_prefix();
    for fixture in ["group_prefix.json", "group_prefix_alone.json"] {
        let body = received::fixture("telegram", fixture);
        let received = receive(&plain, &signed("fixture-secret_1"), &body).expect("authentic");
        assert_eq!((received.messages.len(), received.ignored), (0, 1), "{fixture}");
    }
}

#[test]
fn what_telegram_did_not_send_is_refused() {
    let body = received::fixture("telegram", "private_text.json");
    let forged = |headers: HeaderMap| receive(&settings(), &headers, &body).expect_err("forged").status();
    assert_eq!(forged(HeaderMap::new()), StatusCode::UNAUTHORIZED);
    for secret in ["", "fixture-secret_", "fixture-secret_12", "Fixture-secret_1", "fixture-secret_2"] {
        assert_eq!(forged(signed(secret)), StatusCode::UNAUTHORIZED, "{secret:?}");
    }
    for method in [Method::GET, Method::PUT, Method::HEAD] {
        let headers = signed("fixture-secret_1");
        let request = Request { method: &method, query: "", headers: &headers, body: &body, published: &[] };
        let refused = Telegram::receive(&webhook_keys(&settings()), &request, Timestamp::now());
        assert_eq!(refused, Err(Refusal::Method));
    }
    let no_secret = serde_json::from_str(r#"{"secret_token":"","bot_id":1}"#).expect("keys");
    let headers = signed("");
    let request = Request { method: &Method::POST, query: "", headers: &headers, body: &body, published: &[] };
    assert!(matches!(Telegram::receive(&no_secret, &request, Timestamp::now()), Err(Refusal::Forged(_))));
}

#[test]
fn what_is_no_update_is_malformed() {
    let whole = received::fixture("telegram", "group_mention.json");
    let deep = format!("{{\"update_id\":1,\"x\":{}}}", "[".repeat(10_000));
    for body in
        [&b""[..], b"{}", b"[]", b"null", b"{\"update_id\":-1}", b"\xFF", &whole[..whole.len() / 2], deep.as_bytes()]
    {
        assert!(matches!(receive(&settings(), &signed("fixture-secret_1"), body), Err(Refusal::Malformed(_))));
    }
}

fn reply(address: &str, text: &str, suggestions: &[&str]) -> Reply {
    sent::reply::<Telegram>("7000001", "870000101", address, text, suggestions)
}

fn rendered(reply: &Reply) -> Vec<Value> {
    sent::parts(Telegram::render(&send_keys(), reply, reply.created_at).expect("an address of this channel"), None)
}

#[test]
fn requests_are_what_the_bot_api_documents() {
    let replied = |address: &str, text: &str, suggestions: &[&str]| rendered(&reply(address, text, suggestions));
    let group = r#"{"chat":-1001234567890,"thread":12,"reply_to":57}"#;
    let requests = json!({
        "private": replied(r#"{"chat":7000001}"#, "点击登录页的“忘记密码”。", &["联系人工", " ", "修改手机号"]),
        "without suggestions": replied(r#"{"chat":7000001,"thread":12}"#, "*plain* <b>&</b> _text_", &[]),
        "group": replied(group, "Two days.", &["Opening hours"]),
        "setWebhook": sent::request(settings().set_webhook("https://bot.example/telegram/main"), None),
        "getMe": sent::request(settings().get_me(), None),
        "check": sent::request(Telegram::check_request(&send_keys()).expect("a secret is stored"), None),
        "getWebhookInfo": sent::request(send_keys().webhook_info(), None),
    });
    insta::assert_json_snapshot!("sent", requests);
}

#[test]
fn a_long_reply_is_several_messages_and_the_last_has_the_keyboard() {
    let text = format!("{}\n\n{}", "一句话。".repeat(900), "The rest. ".repeat(200));
    let parts = rendered(&reply(r#"{"chat":-1001234567890,"reply_to":57}"#, &text, &["Thanks"]));
    let [first, last] = &parts[..] else { panic!("two messages, not {}", parts.len()) };
    let (first, last) = (first.to_string(), last.to_string());
    assert!(first.contains("一句话。\"") && first.contains("reply_parameters") && !first.contains("reply_markup"));
    assert!(last.contains("\"The rest. ") && last.contains("reply_parameters") && last.contains("Thanks"));
}

#[test]
fn a_reply_needs_an_address_of_this_channel() {
    for address in ["7000001", "ZhangMei", r#"{"chat":"7"}"#] {
        assert!(Telegram::render(&send_keys(), &reply(address, "hello", &[]), Timestamp::now()).is_err(), "{address}");
    }
}

#[test]
fn each_answer_of_telegram_has_its_outcome() {
    for (status, body, outcome) in [
        (200, r#"{"ok":true,"result":{"message_id":58}}"#, Ok(())),
        (
            429,
            r#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 7","parameters":{"retry_after":7}}"#,
            refused("429 Too Many Requests: retry after 7", Retry::After(Duration::from_secs(7))),
        ),
        (429, r#"{"ok":false,"error_code":429}"#, refused("429 ", Retry::Backoff)),
        (
            403,
            r#"{"ok":false,"error_code":403,"description":"Forbidden: bot was blocked by the user"}"#,
            refused("403 Forbidden: bot was blocked by the user", Retry::Never),
        ),
        (
            400,
            r#"{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}"#,
            refused("400 Bad Request: chat not found", Retry::Never),
        ),
        (
            400,
            r#"{"ok":false,"error_code":400,"description":"Bad Request: group chat was upgraded to a supergroup chat","parameters":{"migrate_to_chat_id":-1001234567890}}"#,
            refused(
                "400 Bad Request: group chat was upgraded to a supergroup chat (the group became a supergroup and has a new id; its next message is answered there)",
                Retry::Never,
            ),
        ),
        (
            401,
            r#"{"ok":false,"error_code":401,"description":"Unauthorized"}"#,
            refused("401 Unauthorized (the bot token is not valid)", Retry::BadCredential),
        ),
        (
            404,
            r#"{"ok":false,"error_code":404,"description":"Not Found"}"#,
            refused("404 Not Found (the bot token is not valid)", Retry::Never),
        ),
        (
            500,
            r#"{"ok":false,"error_code":500,"description":"Internal Server Error"}"#,
            refused("500 Internal Server Error", Retry::Backoff),
        ),
        (502, "<html>Bad Gateway</html>", unknown("HTTP 502, and no answer of the Bot API")),
        (200, "<html>Sign in</html>", refused("HTTP 200, and no answer of the Bot API", Retry::Never)),
    ] {
        assert_eq!(sent::outcome::<Telegram>(status, &HeaderMap::new(), body), outcome, "{body}");
    }
}

#[test]
fn the_username_comes_from_get_me() {
    let me =
        br#"{"ok":true,"result":{"id":110201543,"is_bot":true,"first_name":"Hoopoe","username":"hoopoe_test_bot"}}"#;
    assert_eq!(TelegramSettings::read_me(StatusCode::OK, me), Ok("hoopoe_test_bot".into()));
    let refused = TelegramSettings::read_me(StatusCode::UNAUTHORIZED, br#"{"ok":false,"error_code":401}"#);
    assert!(refused.is_err());
    assert!(TelegramSettings::read_me(StatusCode::OK, br#"{"ok":true,"result":true}"#).is_err());
    let mut settings = settings();
    settings.set_username("renamed_test_bot".into());
    assert!(settings.keys().webhook.expose_secret().contains("renamed_test_bot"));
}

#[test]
fn renewed_keys_take_the_new_secret_and_keep_all_else() {
    let stored = settings().keys().webhook;
    let renewed = renew(stored.expose_secret().as_bytes(), "renewed-secret_2").expect("keys");
    let value = |keys: &SecretString| serde_json::from_str::<Value>(keys.expose_secret()).expect("JSON");
    let mut expected = value(&stored);
    expected["secret_token"] = "renewed-secret_2".into();
    assert_eq!(value(&renewed), expected);
    // What a later version of this program stored besides is kept as well.
    expected["added_later"] = json!({ "x": [1, "\u{7}\"你"] });
    let renewed = renew(expected.to_string().as_bytes(), "renewed-secret_3").expect("keys");
    expected["secret_token"] = "renewed-secret_3".into();
    assert_eq!(value(&renewed), expected);

    let body = received::fixture("telegram", "private_text.json");
    let keys: <Telegram as Webhook>::Keys = setup::keys(&renewed);
    let told = |secret: &str| {
        let headers = signed(secret);
        let request = Request { method: &Method::POST, query: "", headers: &headers, body: &body, published: &[] };
        Telegram::receive(&keys, &request, sent::NOW)
    };
    assert!(told("renewed-secret_3").is_ok() && told("fixture-secret_1").is_err());
}

#[test]
fn what_is_no_keys_or_no_secret_is_not_renewed() {
    let stored = settings().keys().webhook;
    for secret in ["", "two words", "密", "a/b", &"x".repeat(257)] {
        assert!(renew(stored.expose_secret().as_bytes(), secret).is_none(), "{secret}");
    }
    assert!(renew(stored.expose_secret().as_bytes(), &"x".repeat(256)).is_some());
    let send = settings().keys().send;
    for stored in
        ["", "{}", "[]", "null", r#"{"secret_token":"s"}"#, r#"{"secret_token":1,"bot_id":1}"#, send.expose_secret()]
    {
        assert!(renew(stored.as_bytes(), "renewed-secret_2").is_none(), "{stored}");
    }
}

#[test]
fn the_webhook_in_force_comes_from_get_webhook_info() {
    let info = br#"{"ok":true,"result":{"url":"https://bot.example/telegram/main","has_custom_certificate":false,"pending_update_count":0,"max_connections":40,"allowed_updates":["message","my_chat_member"]}}"#;
    let url = |url: &str| Ok(WebhookInfo { url: url.into() });
    assert_eq!(read_webhook_info(StatusCode::OK, info), url("https://bot.example/telegram/main"));
    let none = br#"{"ok":true,"result":{"url":"","has_custom_certificate":false,"pending_update_count":0}}"#;
    assert_eq!(read_webhook_info(StatusCode::OK, none), url(""));
    for (status, body, outcome) in [
        (401, r#"{"ok":false,"error_code":401,"description":"Unauthorized"}"#, Retry::BadCredential),
        (429, r#"{"ok":false,"error_code":429,"parameters":{"retry_after":7}}"#, Retry::After(Duration::from_secs(7))),
        (200, r#"{"ok":true,"result":true}"#, Retry::Never),
        (200, r#"{"ok":true}"#, Retry::Never),
        (503, "<html>", Retry::Backoff),
    ] {
        let status = StatusCode::from_u16(status).expect("a status");
        let Err(Rejection::Refused { retry, .. }) = read_webhook_info(status, body.as_bytes()) else {
            panic!("{body}")
        };
        assert_eq!(retry, outcome, "{body}");
    }
}

#[test]
fn a_renewed_secret_is_tried_by_an_update_that_tells_of_nothing() {
    let Some(Rotation::Chosen(chosen)) = rotation(Channel::Telegram) else { panic!("Telegram is told the secret") };
    let old = settings().keys().webhook;
    let renewed = chosen.renew(old.expose_secret().as_bytes(), &"0f".repeat(32)).expect("keys");
    let probe = chosen.probe("https://bot.example/telegram/main", renewed.expose_secret().as_bytes());
    let probe = probe.expect("a request");
    assert!(!format!("{probe:?}").contains(&"0f".repeat(32)));
    let request = Request {
        method: probe.method(),
        query: "",
        headers: probe.headers(),
        body: probe.body().as_bytes(),
        published: &[],
    };
    let receive = |keys: &SecretString| Telegram::receive(&setup::keys(keys), &request, sent::NOW);
    assert_eq!(receive(&renewed), Ok(Received::one(None)));
    assert!(matches!(receive(&old), Err(Refusal::Forged(_))));
}

#[test]
fn its_own_side_tells_of_the_webhook_and_sets_it() {
    let base = "http://127.0.0.1:9000";
    let settings = TelegramSettings::parse(&Telegram::settings(base).to_string()).expect("its own settings");
    let keys: <Telegram as Sender>::Keys = setup::keys(&settings.keys().send);
    let ask = |request: http::Result<ApiRequest>| {
        let (mut head, body) = request.expect("a URL").into_http(None).expect("a request").into_parts();
        head.uri = head.uri.to_string().replace(base, "").parse().expect("a path");
        let answer = Telegram::answer(&http::Request::from_parts(head, body.into_bytes()));
        (answer.status, answer.body.to_string())
    };
    let (status, body) = ask(keys.webhook_info());
    let info = read_webhook_info(status, body.as_bytes()).expect("a webhook");
    let set = |url: &str, secret: &str| {
        let (status, body) = ask(keys.set_webhook(url, &secret.into()));
        Telegram::outcome(status, &HeaderMap::new(), body.as_bytes())
    };
    assert_eq!(set(&info.url, "renewed-secret_2"), Ok(()));
    for (url, secret) in [("http://bot.example/", "s"), ("", "s"), (&info.url, ""), (&info.url, "two words")] {
        assert!(matches!(set(url, secret), Err(Rejection::Refused { retry: Retry::Never, .. })), "{url} {secret}");
    }
}

#[test]
fn settings_are_checked_field_by_field() {
    for (token, valid) in [
        ("110201543:fixture_token-00000000000000000000", true),
        ("110201543", false),
        ("110201543:", false),
        (":fixture_token-00000000000000000000", false),
        ("011020154:fixture_token-00000000000000000000", false),
        ("-11020154:fixture_token-00000000000000000000", false),
        ("110201543:fixture/../token", false),
        ("110201543:fixture token", false),
        ("99999999999999999999:fixture_token-00000000000000000000", false),
    ] {
        let parsed = TelegramSettings::parse(&json!({ "bot_token": token, "secret_token": "s" }).to_string());
        assert_eq!(parsed.is_ok(), valid, "{token}");
    }
    let faults = [
        ("secret_token", json!("a b")),
        ("secret_token", json!("x".repeat(257))),
        ("secret_token", json!("")),
        ("bot_username", json!("https://t.me/x")),
        ("group_prefix", json!("/bot")),
        ("group_prefix", json!("hey bot")),
        ("api_base", json!("api.telegram.org")),
    ];
    setup::refuses::<TelegramSettings>(&serde_json::from_str(SETTINGS).expect("JSON"), faults);
    let url = "https://bot.example/telegram/main";
    insta::assert_snapshot!("console_steps", without_prefix().console_steps(url));
    insta::assert_snapshot!("console_steps_with_prefix", settings().console_steps(url));
}

#[test]
fn what_sets_the_bot_up_shows_no_secret() {
    let requests = [
        settings().set_webhook("https://bot.example/telegram/main"),
        settings().get_me(),
        send_keys().set_webhook("https://bot.example/telegram/main", &"fixture-secret_1".into()),
        send_keys().webhook_info(),
    ];
    let shown = format!("{requests:?}");
    assert!(!shown.contains("fixture_token") && !shown.contains("fixture-secret"), "{shown}");
}

proptest! {
    #[test]
    fn any_bytes_are_renewed_or_not(stored: Vec<u8>, secret in ".{0,20}") {
        prop_assert!(renew(&stored, &secret).is_none());
    }

    #[test]
    fn any_text_and_entities_are_read(text in ".{0,40}", entities in proptest::collection::vec((0_u64..60, 0_u64..60), 0..4)) {
        let entities: Vec<_> = entities.iter().map(|(offset, length)| json!({ "type": "mention", "offset": offset, "length": length })).collect();
        let body = json!({ "update_id": 1, "message": {
            "message_id": 1, "from": { "id": 1, "is_bot": false }, "chat": { "id": 1, "type": "private" }, "text": text, "entities": entities,
        }});
        prop_assert!(receive(&settings(), &signed("fixture-secret_1"), body.to_string().as_bytes()).is_ok());
    }

    #[test]
    fn any_changed_byte_of_the_secret_is_refused(at in 0_usize..16, byte in 0x21_u8..0x7f) {
        let mut secret = b"fixture-secret_1".to_vec();
        prop_assume!(secret[at] != byte);
        secret[at] = byte;
        let secret = String::from_utf8(secret).expect("ASCII");
        let received = receive(&settings(), &signed(&secret), b"{\"update_id\":1}");
        prop_assert!(matches!(received, Err(Refusal::Forged(_))));
    }

    #[test]
    fn any_reply_fits_the_limit(part in "[a-z。🐦 \n]{0,60}", parts in 0_usize..400) {
        for part in rendered(&reply(r#"{"chat":1}"#, &part.repeat(parts), &[])) {
            prop_assert!((1..=4096).contains(&part["body"]["text"].as_str().expect("a text").encode_utf16().count()));
        }
    }
}
