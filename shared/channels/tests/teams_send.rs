//! What Teams is told: every request the bot sends, what becomes of it, and the settings it needs.

mod sent;
mod setup;

use std::time::Duration;

use hoopoe_channels::teams::{Settings as TeamsSettings, Teams};
use hoopoe_channels::{Rejection, Retry, Sender, Settings, Webhook};
use hoopoe_message::{Reply, Timestamp};
use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::prelude::*;
use secrecy::{ExposeSecret, SecretString};
use sent::{refused, unknown};
use serde_json::{Value, json};

const SETTINGS: &str = r#"{
    "app_id": "0F8FAD5B-d9cb-469f-a165-70867728950e",
    "app_password": "fixture~password.1",
    "tenant_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7"
}"#;

const PERSONAL: &str =
    r#"{"service":"https://smba.trafficmanager.net/amer","conversation":"a:1_fix-ture","reply_to":"1767225600001"}"#;

fn settings() -> TeamsSettings {
    TeamsSettings::parse(SETTINGS).expect("valid settings")
}

fn changed(field: &str, value: Value) -> Result<TeamsSettings, String> {
    let mut settings: Value = serde_json::from_str(SETTINGS).expect("JSON");
    settings[field] = value;
    TeamsSettings::parse(&settings.to_string()).map_err(|error| error.to_string())
}

fn send_keys(settings: &TeamsSettings) -> <Teams as Sender>::Keys {
    setup::keys(&settings.keys().send)
}

fn reply(address: &str, text: &str, suggestions: &[&str]) -> Reply {
    sent::reply::<Teams>("a:1_fix-ture", "1767225600001", address, text, suggestions)
}

fn rendered(reply: &Reply) -> Vec<Value> {
    let parts = Teams::render(&send_keys(&settings()), reply, reply.created_at).expect("an address of this channel");
    sent::parts(parts, Some(&SecretString::from("access.token")))
}

#[test]
fn requests_are_what_the_service_documents() {
    let told = |address: &str, text: &str, suggestions: &[&str]| rendered(&reply(address, text, suggestions));
    let thread = r#"{"service":"https://smba.infra.gcc.teams.microsoft.com/gcc","conversation":"19:abc@thread.tacv2;messageid=1767225600000","reply_to":"1767225600031"}"#;
    let installed = r#"{"service":"https://smba.trafficmanager.net/emea","conversation":"19:abc@thread.v2"}"#;
    let token = |settings: &TeamsSettings| {
        let keys = send_keys(settings);
        sent::request(Teams::token_request(&keys).expect("it uses one"), None)
    };
    let multi_tenant = changed("tenant_id", Value::Null).expect("valid");
    let requests = json!({
        "personal": told(PERSONAL, "点击登录页的“忘记密码”。", &["联系人工", " ", "修改手机号"]),
        "without suggestions": told(PERSONAL, "*plain* <b>&</b> <at>Ada</at> @everyone _text_\n\u{0}- a line", &[]),
        "more suggestions than Teams shows": told(PERSONAL, "Which one?", &["One", "Two", "Three", "Four"]),
        "in a thread of a channel": told(thread, "Two days.", &["Opening hours"]),
        "a welcome": told(installed, "Hello!", &["What can you do?"]),
        "a welcome without suggestions": told(installed, "Hello!", &[]),
        "access token": token(&settings()),
        "access token of a multi-tenant bot": token(&multi_tenant),
        "access token in the government's cloud": token(&changed("cloud", json!("usgov")).expect("valid")),
    });
    insta::assert_json_snapshot!("sent", requests);
}

#[test]
fn a_long_reply_is_several_messages_and_the_last_has_the_buttons() {
    let text = format!("{}\n\n{}", "一句话。".repeat(2200), "The rest. ".repeat(500));
    let parts = rendered(&reply(PERSONAL, &text, &["Thanks"]));
    let [first, last] = &parts[..] else { panic!("two messages, not {}", parts.len()) };
    assert!(first["body"]["text"].as_str().expect("a text").ends_with("一句话。"));
    assert_eq!(first["body"]["suggestedActions"], Value::Null);
    assert!(last["body"]["text"].as_str().expect("a text").starts_with("The rest. "));
    assert_eq!(last["body"]["suggestedActions"]["actions"][0]["value"], "Thanks");
    assert!(last["fallback"]["body"]["text"].as_str().expect("a text").ends_with("\n\n1. Thanks"));
}

#[test]
fn the_token_goes_only_to_the_service() {
    for address in [
        "a:1",
        r#"{"service":"https://smba.trafficmanager.net/amer"}"#,
        r#"{"service":"https://evil.example","conversation":"a:1"}"#,
        r#"{"service":"http://smba.trafficmanager.net","conversation":"a:1"}"#,
        r#"{"service":"https://smba.trafficmanager.net@evil.example","conversation":"a:1"}"#,
    ] {
        let keys = send_keys(&settings());
        assert!(Teams::render(&keys, &reply(address, "hello", &[]), Timestamp::now()).is_err(), "{address}");
    }
    // No id leaves its place in the path.
    let slashes = r#"{"service":"https://smba.trafficmanager.net","conversation":"../../x?y#z","reply_to":"../1"}"#;
    let parts = rendered(&reply(slashes, "hello", &[]));
    assert_eq!(
        parts[0]["url"],
        "https://smba.trafficmanager.net/v3/conversations/%2E%2E%2F%2E%2E%2Fx%3Fy%23z/activities/%2E%2E%2F1"
    );
}

#[test]
fn each_answer_of_teams_has_its_outcome() {
    let error = |code: &str, message: &str| json!({ "error": { "code": code, "message": message } }).to_string();
    let pause = HeaderMap::from_iter([(http::header::RETRY_AFTER, HeaderValue::from_static("7"))]);
    let none = HeaderMap::new();
    let blocked = r#"{"errorCode":209,"message":"{\r\n  \"subCode\": \"MessageWritesBlocked\",\r\n  \"details\": \"Thread is blocked.\",\r\n  \"errorCode\": null\r\n}"}"#;
    for (status, headers, body, outcome) in [
        (201, &none, r#"{"id":"1767225600999"}"#.to_owned(), Ok(())),
        (200, &none, "{}".into(), Ok(())),
        (202, &none, String::new(), Ok(())),
        (200, &none, "<html>Sign in</html>".into(), refused("HTTP 200, and no answer of Teams", Retry::Never)),
        (400, &none, error("BadSyntax", "Bad actions."), refused("400 BadSyntax Bad actions.", Retry::Fallback)),
        (400, &none, error("Bad Argument", "x"), refused("400 Bad Argument x", Retry::Fallback)),
        (
            401,
            &none,
            r#"{"message":"Authorization has been denied for this request."}"#.into(),
            refused("401  Authorization has been denied for this request.", Retry::NewToken),
        ),
        (401, &none, String::new(), refused("HTTP 401", Retry::NewToken)),
        (
            401,
            &none,
            error("BotNotRegistered", "No registration found for this bot."),
            refused(
                "401 BotNotRegistered No registration found for this bot. (is the Microsoft Teams channel of the Azure Bot switched on?)",
                Retry::Never,
            ),
        ),
        (
            403,
            &none,
            error("BotNotInConversationRoster", "Not in the roster."),
            refused(
                "403 BotNotInConversationRoster Not in the roster. (the app has to be added to this chat or team again)",
                Retry::Never,
            ),
        ),
        (
            403,
            &none,
            error("BotDisabledByAdmin", "Disabled."),
            refused("403 BotDisabledByAdmin Disabled. (an administrator has to allow the app in Teams)", Retry::Never),
        ),
        (
            403,
            &none,
            error("ConversationBlockedByUser", "Blocked."),
            refused("403 ConversationBlockedByUser Blocked. (the person blocked or uninstalled the bot)", Retry::Never),
        ),
        (
            403,
            &none,
            blocked.into(),
            refused(
                "403 MessageWritesBlocked Thread is blocked. (the person blocked or uninstalled the bot)",
                Retry::Never,
            ),
        ),
        (404, &none, error("ConversationNotFound", "Gone."), refused("404 ConversationNotFound Gone.", Retry::Never)),
        (
            404,
            &none,
            error("ActivityNotFoundInConversation", "Gone."),
            refused("404 ActivityNotFoundInConversation Gone.", Retry::Fallback),
        ),
        (412, &none, error("PreconditionFailed", "x"), refused("412 PreconditionFailed x", Retry::Backoff)),
        (413, &none, error("MessageSizeTooBig", "x"), refused("413 MessageSizeTooBig x", Retry::Never)),
        (
            429,
            &pause,
            error("Throttled", "Too many requests."),
            refused("429 Throttled Too many requests.", Retry::After(Duration::from_secs(7))),
        ),
        (429, &none, error("Throttled", "x"), refused("429 Throttled x", Retry::Backoff)),
        (429, &pause, "busy".into(), refused("HTTP 429", Retry::After(Duration::from_secs(7)))),
        (500, &none, error("ServiceError", "x"), refused("500 ServiceError x", Retry::Never)),
        (502, &none, error("ServiceError", "x"), refused("502 ServiceError x", Retry::Backoff)),
        (504, &none, "<html>Gateway Timeout</html>".into(), unknown("HTTP 504, and no answer of Teams")),
        (403, &none, "<html>Forbidden</html>".into(), refused("HTTP 403, and no answer of Teams", Retry::Never)),
    ] {
        assert_eq!(sent::outcome::<Teams>(status, headers, &body), outcome, "{status} {body}");
    }
}

#[test]
fn access_tokens_are_read() {
    let given = br#"{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"a.b.c"}"#;
    let token = Teams::read_token(StatusCode::OK, given).expect("a token");
    assert_eq!((token.secret.expose_secret(), token.lifetime), ("a.b.c", Duration::from_secs(3599)));
    let refused = |status: u16, body: &str| {
        let status = StatusCode::from_u16(status).expect("a status");
        Teams::read_token(status, body.as_bytes()).expect_err("refused")
    };
    let told = |code: u64| {
        format!(r#"{{"error":"invalid_client","error_description":"AADSTS{code}: …","error_codes":[{code}]}}"#)
    };
    for (status, body, reason, retry) in [
        (
            401,
            told(7_000_215),
            "401 invalid_client 7000215 (app_password is not the Value of a client secret)",
            Retry::BadCredential,
        ),
        (401, told(7_000_222), "401 invalid_client 7000222 (the client secret has expired)", Retry::BadCredential),
        (
            400,
            told(700_016),
            "400 invalid_client 700016 (no such app_id in the tenant; a single-tenant bot needs its tenant_id)",
            Retry::BadCredential,
        ),
        (
            400,
            r#"{"error":"unauthorized_client","error_codes":[700016]}"#.into(),
            "400 unauthorized_client 700016 (no such app_id in the tenant; a single-tenant bot needs its tenant_id)",
            Retry::BadCredential,
        ),
        (400, r#"{"error":"invalid_scope"}"#.into(), "400 invalid_scope ", Retry::Never),
        (200, r#"{"access_token":""}"#.into(), "200  ", Retry::Never),
        (503, r#"{"error":"temporarily_unavailable"}"#.into(), "503 temporarily_unavailable ", Retry::Backoff),
        (503, "<html>".into(), "HTTP 503, and no answer of Microsoft Entra", Retry::Backoff),
        (200, "<html>".into(), "HTTP 200, and no answer of Microsoft Entra", Retry::Never),
    ] {
        assert_eq!(refused(status, &body), Rejection::Refused { reason: reason.into(), retry }, "{body}");
    }
}

#[test]
fn settings_are_checked_field_by_field() {
    let faults = [
        ("app_id", json!("")),
        ("app_id", json!("28:0f8fad5b-d9cb-469f-a165-70867728950e")),
        ("app_id", json!("0f8fad5bd9cb469fa16570867728950e0000")),
        ("app_id", json!("0f8fad5b-d9cb-469f-a165-70867728950g")),
        ("app_password", json!("")),
        ("app_password", json!("a b")),
        ("app_password", json!("密码")),
        ("app_password", json!("x".repeat(257))),
        ("tenant_id", json!("contoso.onmicrosoft.com")),
        ("tenant_id", json!("")),
        ("cloud", json!("china")),
        ("cloud", json!("Public")),
        ("api_base", json!("smba.trafficmanager.net")),
    ];
    setup::refuses::<TeamsSettings>(&serde_json::from_str(SETTINGS).expect("JSON"), faults);
    for cloud in ["public", "usgov", "usgovdod"] {
        assert!(changed("cloud", json!(cloud)).is_ok(), "{cloud}");
    }
    let local = changed("api_base", json!("http://127.0.0.1:9000/")).expect("valid");
    let keys: <Teams as Webhook>::Keys = setup::keys(&local.keys().webhook);
    assert_eq!(Teams::published_keys(&keys), Some("http://127.0.0.1:9000/v1/.well-known/openidconfiguration"));
    insta::assert_snapshot!("console_steps", settings().console_steps("https://bot.example/teams/main"));
}

#[test]
fn only_what_sends_knows_the_password() {
    assert!(!settings().keys().webhook.expose_secret().contains("fixture~password"));
}

proptest! {
    #[test]
    fn any_reply_fits_the_limit(part in "[a-z。🐦\"\\\\\u{1} \n]{0,60}", parts in 0_usize..1500, suggestions in 0_usize..6) {
        let suggestions = vec!["A suggestion"; suggestions];
        for part in rendered(&reply(PERSONAL, &part.repeat(parts), &suggestions)) {
            for body in [&part["body"], &part["fallback"]["body"]] {
                prop_assert!(!body["text"].as_str().expect("a text").trim().is_empty());
                prop_assert!(body.to_string().encode_utf16().count() * 2 <= 80_000);
            }
        }
    }
}
