//! LINE as its servers see it: every kind of event under `tests/fixtures/line`, every request the bot sends, and what
//! nobody but LINE may get in.

mod received;
mod sent;
mod setup;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hoopoe_channels::crypto::signature::hmac_sha256;
use hoopoe_channels::line::{Line, Settings as LineSettings};
use hoopoe_channels::{Received, Refusal, Rejection, Request, Retry, Sender, Settings, Webhook};
use hoopoe_message::{Content, Reply, Timestamp};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use proptest::prelude::*;
use sent::{NOW, refused, unknown};
use serde::Deserialize;
use serde_json::{Value, json};

const CHANNEL_SECRET: &str = "f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1";

const SETTINGS: &str = r#"{
    "channel_secret": "f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1",
    "channel_access_token": "fixture+channel/access.token=",
    "bot_user_id": "U00000000000000000000000000000b07",
    "group_prefix": "戴胜"
}"#;

fn settings() -> LineSettings {
    LineSettings::parse(SETTINGS).expect("valid settings")
}

fn webhook_keys(settings: &LineSettings) -> <Line as Webhook>::Keys {
    setup::keys(&settings.keys().webhook)
}

fn send_keys() -> <Line as Sender>::Keys {
    setup::keys(&settings().keys().send)
}

fn signature(secret: &str, body: &[u8]) -> String {
    STANDARD.encode(hmac_sha256(secret.as_bytes(), &[body]))
}

fn receive_with(settings: &LineSettings, signature: &str, body: &[u8]) -> Result<Received, Refusal> {
    let headers = HeaderMap::from_iter([(
        "X-Line-Signature".parse().expect("a header name"),
        HeaderValue::from_str(signature).expect("a header value"),
    )]);
    let request = Request { method: &Method::POST, query: "", headers: &headers, body, published: &[] };
    Line::receive(&webhook_keys(settings), &request, NOW)
}

fn receive(body: &[u8]) -> Result<Received, Refusal> {
    receive_with(&settings(), &signature(CHANNEL_SECRET, body), body)
}

#[test]
fn every_kind_of_event_is_read() {
    insta::assert_json_snapshot!("received", received::fixtures("line", "json", receive));
}

#[test]
fn signatures_are_those_of_lines_own_sdk() {
    #[derive(Deserialize)]
    struct Vector {
        case: String,
        channel_secret: String,
        body: String,
        signature: String,
    }
    let vectors: Vec<Vector> = serde_json::from_slice(&received::fixture("line", "vectors.json")).expect("the vectors");
    assert_eq!(vectors.len(), 6);
    for Vector { case, channel_secret, body, signature: expected } in vectors {
        assert_eq!(signature(&channel_secret, body.as_bytes()), expected, "{case}");
        let keys = serde_json::from_value(json!({ "channel_secret": channel_secret })).expect("keys");
        let headers = HeaderMap::from_iter([(
            "x-line-signature".parse().expect("a header name"),
            HeaderValue::from_str(&expected).expect("a header value"),
        )]);
        let request = |body| Request { method: &Method::POST, query: "", headers: &headers, body, published: &[] };
        match Line::receive(&keys, &request(body.as_bytes()), NOW) {
            Ok(_) => assert_ne!(case, "published"),
            // Its body is signed, but no JSON.
            Err(refusal) => assert!(case == "published" && matches!(refusal, Refusal::Malformed(_)), "{case}"),
        }
        let other = format!("{body} ");
        let refused = Line::receive(&keys, &request(other.as_bytes()), NOW);
        assert!(matches!(refused, Err(Refusal::Forged(_))), "{case}");
    }
}

#[test]
fn what_line_did_not_send_is_refused() {
    let body = received::fixture("line", "private_text.json");
    let good = signature(CHANNEL_SECRET, &body);
    assert!(receive_with(&settings(), &good, &body).is_ok());
    let forged = |signature: &str, body: &[u8]| {
        let refusal = receive_with(&settings(), signature, body).expect_err("forged");
        assert_eq!(refusal.status(), StatusCode::UNAUTHORIZED, "{signature}");
    };
    for wrong in [
        "",
        "=",
        &good[..good.len() - 1],
        &format!("{good}="),
        &format!(" {good}"),
        &format!("sha256={good}"),
        &good.to_ascii_lowercase(),
        &hex::encode(hmac_sha256(CHANNEL_SECRET.as_bytes(), &[&body])),
        &signature("another secret", &body),
        &signature(CHANNEL_SECRET, b""),
        &"A".repeat(100_000),
    ] {
        forged(wrong, &body);
    }
    forged(&good, &body[..body.len() - 1]);
    forged(&good, STANDARD.encode(&body).as_bytes());
    let rewritten: Value = serde_json::from_slice(&body).expect("JSON");
    forged(&good, rewritten.to_string().as_bytes());

    let headers = HeaderMap::new();
    let unsigned = Request { method: &Method::POST, query: "", headers: &headers, body: &body, published: &[] };
    assert!(matches!(Line::receive(&webhook_keys(&settings()), &unsigned, NOW), Err(Refusal::Forged(_))));
    for method in [Method::GET, Method::PUT, Method::HEAD] {
        let refused = Line::receive(&webhook_keys(&settings()), &Request { method: &method, ..unsigned }, NOW);
        assert_eq!(refused, Err(Refusal::Method));
    }
    let no_secret = serde_json::from_str(r#"{"channel_secret":""}"#).expect("keys");
    let headers = HeaderMap::from_iter([(
        "x-line-signature".parse().expect("a name"),
        signature("", &body).parse().expect("one"),
    )]);
    let signed = Request { headers: &headers, ..unsigned };
    assert!(matches!(Line::receive(&no_secret, &signed, NOW), Err(Refusal::Forged(_))));
}

#[test]
fn events_for_another_bot_are_refused_where_its_own_id_is_known() {
    let body = br#"{"destination":"U0000000000000000000000000000dead","events":[]}"#;
    assert_eq!(receive(body).expect("a question whether the bot is there").messages, []);
    assert_eq!(receive(br#"{"events":[]}"#).expect("the same").ignored, 0);
    let other = String::from_utf8(received::fixture("line", "private_text.json")).expect("UTF-8");
    let other = other.replace("U00000000000000000000000000000b07", "U0000000000000000000000000000dead");
    assert!(matches!(receive(other.as_bytes()), Err(Refusal::Forged(_))));
    let unnamed = LineSettings::parse(
        r#"{"channel_secret":"f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1","channel_access_token":"t","bot_user_id":null}"#,
    );
    let unnamed = unnamed.expect("valid settings");
    let heard = receive_with(&unnamed, &signature(CHANNEL_SECRET, other.as_bytes()), other.as_bytes());
    assert_eq!(heard.expect("authentic").messages.len(), 1);
    let prefixed = received::fixture("line", "group_prefix.json");
    let silent = receive_with(&unnamed, &signature(CHANNEL_SECRET, &prefixed), &prefixed).expect("authentic");
    assert_eq!((silent.messages.len(), silent.ignored), (0, 1), "no prefix is configured");
}

#[test]
fn what_is_no_webhook_is_malformed() {
    let whole = received::fixture("line", "group_mention.json");
    let deep = format!("{{\"destination\":\"\",\"events\":[],\"x\":{}}}", "[".repeat(10_000));
    for body in [
        &b""[..],
        b"{}",
        b"[]",
        b"null",
        b"\xFF",
        br#"{"events":{}}"#,
        br#"{"events":[1]}"#,
        br#"{"events":[{}]}"#,
        &whole[..whole.len() / 2],
        deep.as_bytes(),
    ] {
        assert!(matches!(receive(body), Err(Refusal::Malformed(_))), "{}", String::from_utf8_lossy(body));
    }
    let event = |event: Value| {
        let body = json!({ "destination": "U00000000000000000000000000000b07", "events": [event] });
        receive(body.to_string().as_bytes())
    };
    let source = json!({ "type": "user", "userId": "U1" });
    for wrong in [
        json!({ "type": "follow", "source": source }),
        json!({ "type": "follow", "webhookEventId": "", "source": source }),
        json!({ "type": "message", "webhookEventId": "E", "source": source }),
        json!({ "type": "message", "webhookEventId": "E", "source": source, "message": { "type": "text" } }),
    ] {
        assert!(matches!(event(wrong.clone()), Err(Refusal::Malformed(_))), "{wrong}");
    }
    // Whom it is from is not told, or not in a way that is known.
    let long = "U".repeat(600);
    for unknown in
        [Value::Null, json!({ "type": "user" }), json!({ "type": "planet" }), json!({ "type": "user", "userId": long })]
    {
        let received = event(json!({ "type": "follow", "webhookEventId": "E", "source": unknown })).expect("authentic");
        assert_eq!((received.messages.len(), received.ignored), (0, 1));
    }
}

#[test]
fn members_of_a_group_do_not_share_a_conversation() {
    let said = |user: Option<&str>, event: &str| {
        let mut source = json!({ "type": "group", "groupId": "C1" });
        if let Some(user) = user {
            source["userId"] = user.into();
        }
        let body = json!({ "destination": "U00000000000000000000000000000b07", "events": [{
            "type": "message", "webhookEventId": event, "source": source,
            "message": { "type": "text", "text": "戴胜 hello" },
        }]});
        receive(body.to_string().as_bytes()).expect("authentic").messages.remove(0)
    };
    let (ada, again, bob) = (said(Some("U1"), "E1"), said(Some("U1"), "E2"), said(Some("U2"), "E3"));
    assert!(ada.chat == again.chat && ada.chat != bob.chat);
    let (unnamed, other) = (said(None, "E4"), said(None, "E5"));
    assert!(unnamed.chat != other.chat && unnamed.chat != ada.chat);
    assert_eq!(said(None, "E4"), unnamed, "a redelivered event");
    assert_eq!(unnamed.content, Content::text("hello"));
}

fn reply(address: &str, text: &str, suggestions: &[&str]) -> Reply {
    sent::reply::<Line>("U1", "01KDTEST000000000000000001", address, text, suggestions)
}

fn rendered_after(reply: &Reply, seconds: u64) -> Vec<Value> {
    let now = Timestamp::from_secs(NOW.as_secs() + seconds);
    sent::parts(Line::render(&send_keys(), reply, now).expect("an address of this channel"), None)
}

const PRIVATE: &str = r#"{"to":"U0000000000000000000000000000001a","reply_token":"000000000000000000000000000f1001"}"#;
const GROUP: &str = r#"{"to":"C0000000000000000000000000000cafe","group":true,"reply_token":"000000000000000000000000000f1002","quote_token":"fixture-quote-token-002"}"#;

#[test]
fn requests_are_what_the_messaging_api_documents() {
    let long = "一".repeat(5000 * 5 + 1);
    let mut parts = rendered_after(&reply(GROUP, &long, &["Thanks"]), 0);
    for message in
        parts.iter_mut().flat_map(|part| [&mut part["body"]["messages"]][0].as_array_mut().expect("messages"))
    {
        message["text"] = format!("{} characters", message["text"].as_str().expect("a text").chars().count()).into();
    }
    parts[0]["fallback"] = "the same as a push".into();
    let requests = json!({
        "private": rendered_after(
            &reply(PRIVATE, "点击登录页的“忘记密码”。", &["联系人工", " ", "How do I change the phone number?"]),
            0,
        ),
        "private, a minute later": rendered_after(&reply(PRIVATE, "*plain* <b>&</b> {name} $ @All", &[]), 51),
        "group": rendered_after(&reply(GROUP, "Two days.", &["Opening hours"]), 50),
        "without a reply token": rendered_after(&reply(r#"{"to":"U1"}"#, "Two days.", &[]), 0),
        "long": parts,
        "set_webhook": sent::request(settings().set_webhook("https://bot.example/line/main"), None),
        "check": sent::request(Line::check_request(&send_keys()).expect("a secret is stored"), None),
    });
    insta::assert_json_snapshot!("sent", requests);
}

#[test]
fn a_reply_token_is_tried_for_fifty_seconds_and_only_with_the_first_part() {
    let reply = reply(PRIVATE, &"One more sentence. ".repeat(2000), &["Thanks"]);
    let early = rendered_after(&reply, 50);
    let late = rendered_after(&reply, 51);
    assert_eq!((early.len(), late.len()), (2, 2));
    let ends = |part: &Value, path: &str| part["url"].as_str().expect("a URL").ends_with(path);
    assert!(ends(&early[0], "/reply") && ends(&early[1], "/push") && ends(&late[0], "/push"));
    assert_eq!((&early[0]["repeatable"], &late[0]["repeatable"]), (&json!(false), &json!(true)));
    assert_eq!(early[0]["headers"].get("x-line-retry-key"), None, "LINE refuses it on a reply");
    // The way differs, the words do not; and the fallback is the push that would have gone later.
    assert_eq!(early[0]["body"]["messages"], late[0]["body"]["messages"]);
    assert_eq!(
        (&early[0]["fallback"]["body"], &early[0]["fallback"]["headers"]),
        (&late[0]["body"], &late[0]["headers"])
    );
    let first = Line::render(&send_keys(), &reply, NOW).expect("an address of this channel").remove(0);
    assert_eq!(first.repeatable_for, None);
    assert!(first.fallback_repeatable_for.is_some(), "a push carries its key also where it replaces a refused token");
    assert_eq!(early[1], late[1]);
    assert_ne!(late[0]["headers"]["x-line-retry-key"], late[1]["headers"]["x-line-retry-key"]);
    let messages = |part: &Value| part["body"]["messages"].as_array().expect("messages").clone();
    let with_buttons: Vec<_> =
        early.iter().flat_map(messages).map(|message| message.get("quickReply").is_some()).collect();
    assert_eq!(with_buttons, [false, false, false, false, false, false, false, true]);
}

#[test]
fn quick_replies_keep_to_their_limits() {
    let many: Vec<String> = (1..=20).map(|n| format!("{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let items = |suggestions: &[&str]| {
        rendered_after(&reply(PRIVATE, "hi", suggestions), 0)[0]["body"]["messages"][0]["quickReply"]["items"].clone()
    };
    assert_eq!(items(&many).as_array().map(Vec::len), Some(13));
    // Twenty characters as a reader sees them, of several code points each.
    let families = "👨‍👩‍👧".repeat(20);
    assert_eq!(items(&[&families])[0]["action"]["label"], families);
    let action = items(&["忘记密码后怎么才能最快地重新登录我的账号呢？"])[0]["action"].clone();
    assert_eq!(action["label"], "忘记密码后怎么才能最快地重新登录我的账…");
    assert_eq!(action["text"], "忘记密码后怎么才能最快地重新登录我的账号呢？");
    let longest = items(&["字".repeat(301).as_str()])[0]["action"]["text"].clone();
    assert_eq!(longest, format!("{}…", "字".repeat(299)));
}

#[test]
fn a_button_in_a_group_calls_the_bot() {
    let offered = reply(GROUP, "Two days.", &["Opening hours", "联系人工"]);
    let message = &rendered_after(&offered, 0)[0]["body"]["messages"][0];
    let action = &message["quickReply"]["items"][0]["action"];
    assert_eq!((&action["label"], &action["text"]), (&json!("Opening hours"), &json!("戴胜 Opening hours")));
    assert_eq!(message["text"], "Two days.");
    // What the press says is heard.
    let pressed = json!({ "destination": "U00000000000000000000000000000b07", "events": [{
        "type": "message", "webhookEventId": "E", "source": { "type": "group", "groupId": "C1", "userId": "U1" },
        "message": { "type": "text", "text": action["text"] },
    }]});
    let heard = receive(pressed.to_string().as_bytes()).expect("authentic").messages.remove(0);
    assert_eq!(heard.content, Content::text("Opening hours"));
    // Nothing but a mention calls a bot without a prefix, and no button makes one.
    let keys = serde_json::from_str(r#"{"channel_access_token":"t"}"#).expect("keys");
    let parts = sent::parts(Line::render(&keys, &offered, NOW).expect("an address of this channel"), None);
    let message = &parts[0]["body"]["messages"][0];
    assert_eq!(
        (&message["text"], message.get("quickReply")),
        (&json!("Two days.\n\n1. Opening hours\n2. 联系人工"), None)
    );
}

#[test]
fn a_reply_needs_an_address_of_this_channel() {
    for address in ["U1", r#"{"to":7}"#, r#"{"reply_token":"t"}"#, r#"{"to":"U1","chat":7}"#] {
        assert!(Line::render(&send_keys(), &reply(address, "hello", &[]), NOW).is_err(), "{address}");
    }
    assert!(rendered_after(&reply(PRIVATE, " \n", &["hi"]), 0).is_empty());
}

#[test]
fn each_answer_of_line_has_its_outcome() {
    for (status, header, body, outcome) in [
        (200, None, r#"{"sentMessages":[{"id":"461230966842064897","quoteToken":"q"}]}"#, Ok(())),
        (200, None, "{}", Ok(())),
        (
            409,
            Some(("x-line-accepted-request-id", "123e4567-e89b-12d3-a456-426655440001")),
            r#"{"message":"The retry key is already accepted","sentMessages":[{"id":"1"}]}"#,
            Ok(()),
        ),
        (409, None, r#"{"message":"The retry key is already accepted"}"#, Ok(())),
        (409, None, r#"{"message":"Conflict"}"#, refused("409 Conflict", Retry::Never)),
        (400, None, r#"{"message":"Invalid reply token"}"#, refused("400 Invalid reply token", Retry::Fallback)),
        (
            400,
            None,
            r#"{"message":"The request body has 2 error(s)","details":[{"message":"May not be empty","property":"messages[0].text"},{"property":"messages[1].type"}]}"#,
            refused(
                "400 The request body has 2 error(s): messages[0].text May not be empty; messages[1].type",
                Retry::Never,
            ),
        ),
        (
            400,
            None,
            r#"{"message":"Failed to send messages"}"#,
            refused(
                "400 Failed to send messages (the person is unknown to this account, or it is no longer in the group)",
                Retry::Never,
            ),
        ),
        (
            401,
            None,
            r#"{"message":"Authentication failed due to the following reason: invalid token."}"#,
            refused(
                "401 Authentication failed due to the following reason: invalid token. (the channel access token is not valid)",
                Retry::BadCredential,
            ),
        ),
        (
            403,
            None,
            r#"{"message":"Access to this API is not available for your account"}"#,
            refused(
                "403 Access to this API is not available for your account (the account or its plan may not send this way)",
                Retry::Never,
            ),
        ),
        (404, None, r#"{"message":"Not found"}"#, refused("404 Not found", Retry::Never)),
        (
            429,
            None,
            r#"{"message":"You have reached your monthly limit."}"#,
            refused(
                "429 You have reached your monthly limit. (the plan's messages of this month are used up; replies within a minute are free)",
                Retry::Never,
            ),
        ),
        (
            429,
            None,
            r#"{"message":"The API rate limit has been exceeded. Try again later."}"#,
            refused(
                "429 The API rate limit has been exceeded. Try again later.",
                Retry::BotAfter(Duration::from_secs(1)),
            ),
        ),
        (
            429,
            Some(("retry-after", "7")),
            r#"{"message":"Too many requests"}"#,
            refused("429 Too many requests", Retry::BotAfter(Duration::from_secs(7))),
        ),
        (500, None, r#"{"message":"Internal server error"}"#, unknown("HTTP 500 of the Messaging API")),
        (503, None, "<html>busy</html>", refused("HTTP 503, and no answer of the Messaging API", Retry::Backoff)),
        (429, None, "", refused("HTTP 429, and no answer of the Messaging API", Retry::Backoff)),
        (200, None, "<html>Sign in</html>", refused("HTTP 200, and no answer of the Messaging API", Retry::Never)),
    ] {
        let headers = header
            .into_iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
        assert_eq!(sent::outcome::<Line>(status, &headers.collect(), body), outcome, "{body}");
    }
}

#[test]
fn what_line_says_to_the_webhook_url_is_read() {
    assert_eq!(LineSettings::read_webhook(StatusCode::OK, b"{}"), Ok(()));
    for (status, body, says, retry) in [
        (400, r#"{"message":"Invalid webhook endpoint URL"}"#, "https:// addresses", Retry::Never),
        (401, r#"{"message":"Authentication failed"}"#, "the channel access token", Retry::Never),
        (403, r#"{"message":"Not for you"}"#, "403 Not for you", Retry::Never),
        (429, r#"{"message":"Too many requests"}"#, "429", Retry::Backoff),
        (500, r#"{"message":"Internal server error"}"#, "500", Retry::Backoff),
        (503, "<html>", "HTTP 503", Retry::Backoff),
        (200, "<html>", "HTTP 200", Retry::Never),
    ] {
        let status = StatusCode::from_u16(status).expect("a status");
        let Err(Rejection::Refused { reason, retry: then }) = LineSettings::read_webhook(status, body.as_bytes())
        else {
            panic!("{body} was taken");
        };
        assert!(reason.contains(says) && then == retry, "{reason} {then:?}");
    }
}

#[test]
fn the_check_of_the_token_is_read() {
    for (status, body, told) in [
        (200, r#"{"userId":"Ub9952f8","basicId":"@216ru","displayName":"Hoopoe","chatMode":"bot"}"#, Some(true)),
        (200, "{}", None),
        (200, "<html>", None),
        (401, r#"{"message":"Authentication failed due to the following reason: invalid token."}"#, Some(false)),
        (400, r#"{"message":"Invalid reply token"}"#, None),
        (409, r#"{"message":"The retry key is already accepted"}"#, None),
        (429, r#"{"message":"Too many requests"}"#, None),
        (503, "<html>", None),
    ] {
        let status = StatusCode::from_u16(status).expect("a status");
        assert_eq!(sent::checked::<Line>(status, body), told, "{body}");
    }
}

#[test]
fn settings_are_checked_field_by_field() {
    let faults = [
        ("channel_secret", json!("")),
        ("channel_secret", json!("f1f1 f1f1")),
        ("channel_secret", json!("f".repeat(129))),
        ("channel_secret", json!(17)),
        ("channel_access_token", json!("")),
        ("channel_access_token", json!("two\nlines")),
        ("channel_access_token", json!("Bearer token")),
        ("bot_user_id", json!("@hoopoe")),
        ("bot_user_id", json!("U00000000000000000000000000000B07")),
        ("bot_user_id", json!("U0000000000000000000000000000b07")),
        ("group_prefix", json!("")),
        ("group_prefix", json!(" bot")),
        ("group_prefix", json!("长".repeat(33))),
        ("group_prefix", json!("a\u{0}b")),
        ("api_base", json!("api.line.me")),
    ];
    setup::refuses::<LineSettings>(&serde_json::from_str(SETTINGS).expect("JSON"), faults);
    insta::assert_snapshot!("console_steps", settings().console_steps("https://bot.example/line/main"));
}

#[test]
fn what_sets_the_webhook_shows_no_secret() {
    let request = settings().set_webhook("https://bot.example/line/main").expect("a request");
    assert!(!format!("{request:?}").contains("fixture+channel"));
}

proptest! {
    #[test]
    fn any_text_and_mentions_are_read(
        text in ".{0,40}",
        mentions in proptest::collection::vec((0_u64..60, 0_u64..60, any::<bool>()), 0..4),
        group: bool,
    ) {
        let mentionees: Vec<_> = mentions.iter().map(|(index, length, is_self)| {
            json!({ "type": "user", "index": index, "length": length, "isSelf": is_self })
        }).collect();
        let source = if group { json!({ "type": "room", "roomId": "R1" }) } else { json!({ "type": "user", "userId": "U1" }) };
        let body = json!({ "destination": "U00000000000000000000000000000b07", "events": [{
            "type": "message", "webhookEventId": "E", "source": source,
            "message": { "type": "text", "text": text, "mention": { "mentionees": mentionees } },
        }]});
        let received = receive(body.to_string().as_bytes()).expect("authentic");
        let mentioned = mentions.iter().any(|mention| mention.2);
        prop_assert!(!mentioned || received.messages.len() == 1);
    }

    #[test]
    fn any_changed_byte_is_refused(which: prop::sample::Index, flip in 1_u8..=255) {
        let body = received::fixture("line", "group_mention.json");
        let good = signature(CHANNEL_SECRET, &body);
        let mut other = body;
        *which.get_mut(&mut other) ^= flip;
        prop_assert!(matches!(receive_with(&settings(), &good, &other), Err(Refusal::Forged(_))));
    }

    #[test]
    fn any_changed_character_of_the_signature_is_refused(at in 0_usize..44, to in "[!-~]") {
        let body = received::fixture("line", "private_text.json");
        let mut changed = signature(CHANNEL_SECRET, &body);
        prop_assume!(changed[at..=at] != to);
        changed.replace_range(at..=at, &to);
        prop_assert!(matches!(receive_with(&settings(), &changed, &body), Err(Refusal::Forged(_))));
    }

    #[test]
    fn any_answer_to_the_webhook_url_is_read(status in 100_u16..600, body: Vec<u8>) {
        let _ = LineSettings::read_webhook(StatusCode::from_u16(status).expect("in range"), &body);
    }

    #[test]
    fn any_reply_fits_the_limits(part in "[a-z。🐦 \n]{0,60}", parts in 0_usize..1200, suggestion in ".{0,400}", late: bool) {
        let reply = reply(PRIVATE, &part.repeat(parts), &[&suggestion]);
        for part in rendered_after(&reply, if late { 3600 } else { 0 }) {
            let messages = part["body"]["messages"].as_array().expect("messages");
            prop_assert!((1..=5).contains(&messages.len()));
            for message in messages {
                prop_assert!((1..=5000).contains(&message["text"].as_str().expect("a text").encode_utf16().count()));
            }
        }
    }
}
