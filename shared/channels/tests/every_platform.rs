//! What holds on every platform, tried on each: its own side signs, the bot verifies and answers, its own side reads.

mod setup;

use std::collections::BTreeMap;
use std::fmt;

use hoopoe_channels::contract::counterpart::{Answer, Counterpart};
use hoopoe_channels::with_platform;
use hoopoe_channels::{
    ApiRequest, CheckRejection, InvalidSettings, Reason, Received, Refusal, Rejection, Request, Sender, Settings,
    Setup, Unrenderable, Webhook,
};
use hoopoe_message::{BotId, Channel, Content, Conversation, InboundMessage, Reply, Timestamp, wire};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use proptest::prelude::*;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use setup::keys;

const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);
const API_BASE: &str = "http://127.0.0.1:9000";
const WORDS: &str = "忘记密码怎么办 & where's my <parcel>? 🐦";

type Posted = http::Request<Vec<u8>>;

fn settings<P: Counterpart>() -> P::Settings {
    P::Settings::parse(&P::settings(API_BASE).to_string()).expect("its own settings are accepted")
}

fn says<P: Counterpart>(person: u32, message: u32) -> Posted {
    P::says(person, message, WORDS, API_BASE, NOW)
}

fn receive_at<P: Counterpart>(posted: &Posted, now: Timestamp) -> Result<Received, Refusal> {
    receive_with::<P>(&keys(&settings::<P>().keys().webhook), posted, now)
}

fn receive_with<P: Counterpart>(
    keys: &<P as Webhook>::Keys,
    posted: &Posted,
    now: Timestamp,
) -> Result<Received, Refusal> {
    let request = Request {
        method: posted.method(),
        query: posted.uri().query().unwrap_or_default(),
        headers: posted.headers(),
        body: posted.body(),
        published: &P::published(),
    };
    P::receive(keys, &request, now)
}

fn receive<P: Counterpart>(posted: &Posted) -> Result<Received, Refusal> {
    receive_at::<P>(posted, NOW)
}

/// Runs a check on every platform and names the one that fails.
macro_rules! on_every_platform {
    ($check:ident) => {
        for channel in Channel::ALL {
            eprintln!("{channel}");
            with_platform!(channel, P => $check::<P>(), webchat => ());
        }
    };
}

#[test]
fn what_a_person_says_is_heard_once() {
    fn check<P: Counterpart>() {
        let received = receive::<P>(&says::<P>(7, 1)).expect("authentic");
        let [message] = &received.messages[..] else { panic!("one message, not {:?}", received.messages) };
        assert_eq!(message.content, Content::text(WORDS));
        assert!(received.answer.status.is_success());
        // A platform that did not hear the acknowledgement sends the same again and gets the same again.
        assert_eq!(receive::<P>(&says::<P>(7, 1)), Ok(received.clone()));
        // Another message has another id, another person another chat.
        let other = receive::<P>(&says::<P>(7, 2)).expect("authentic").messages.remove(0);
        assert!(other.id != message.id && other.chat == message.chat);
        let other = receive::<P>(&says::<P>(8, 3)).expect("authentic").messages.remove(0);
        assert!(other.chat != message.chat);
    }
    on_every_platform!(check);
}

#[test]
fn what_the_platform_did_not_send_is_refused() {
    fn refused<P: Counterpart>(what: &str, posted: &Posted) {
        match receive::<P>(posted) {
            Err(refusal) => assert!(refusal.status().is_client_error(), "{what}"),
            Ok(_) => panic!("{what} was accepted"),
        }
    }
    fn changed(posted: &Posted, change: impl FnOnce(&mut Posted)) -> Posted {
        let mut changed = posted.clone();
        change(&mut changed);
        changed
    }
    fn check<P: Counterpart>() {
        let good = says::<P>(7, 1);
        assert!(receive::<P>(&good).is_ok());
        refused::<P>(
            "a request without headers and query",
            &changed(&good, |posted| {
                posted.headers_mut().clear();
                *posted.uri_mut() = "/".parse().expect("a path");
            }),
        );
        refused::<P>("another method", &changed(&good, |posted| *posted.method_mut() = Method::PUT));
        refused::<P>("an empty body", &changed(&good, |posted| posted.body_mut().clear()));
        let half = good.body().len() / 2;
        refused::<P>("a truncated body", &changed(&good, |posted| posted.body_mut().truncate(half)));
        // Whatever carries the proof, one other character in it disproves it.
        for name in good.headers().keys().filter(|name| *name != http::header::CONTENT_TYPE) {
            let value = good.headers()[name].as_bytes();
            for at in [0, value.len() / 2, value.len() - 1] {
                let mut other = value.to_vec();
                other[at] = if other[at] == b'7' { b'8' } else { b'7' };
                let value = HeaderValue::from_bytes(&other).expect("visible ASCII");
                refused::<P>(
                    &format!("{name} with another character at {at}"),
                    &changed(&good, |posted| {
                        posted.headers_mut().insert(name, value);
                    }),
                );
            }
            refused::<P>(
                &format!("{name} left out"),
                &changed(&good, |posted| {
                    posted.headers_mut().remove(name);
                }),
            );
        }
        // What the signature covers, or what the platform's shape asks for, cannot be taken apart and put together anew.
        let again = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, good.body());
        refused::<P>("a body in base64", &changed(&good, |posted| *posted.body_mut() = again.into_bytes()));
        let mut large = good.body().clone();
        large.resize(1 << 20, b' ');
        let large = changed(&good, |posted| *posted.body_mut() = large);
        if P::SIGNS_BODY {
            refused::<P>("a body with something after it", &large);
            let mut other = good.body().clone();
            let at = other.len() / 2;
            other[at] ^= 1;
            refused::<P>("a changed byte of the body", &changed(&good, |posted| *posted.body_mut() = other));
        }
    }
    on_every_platform!(check);
}

/// While a secret is rotated, the other version is tried where this one finds a request forged, and only there.
#[test]
fn a_request_for_another_version_of_a_secret_is_forged_and_not_malformed() {
    fn check<P: Counterpart>() {
        let (stored, posted): (Value, _) = (keys(&settings::<P>().keys().webhook), says::<P>(1, 1));
        let fields: Vec<_> = secrets(&stored).map(|(field, secret)| (field.to_owned(), secret.to_owned())).collect();
        for (field, secret) in fields {
            let changed = format!("{}{}", if secret.starts_with('1') { '0' } else { '1' }, &secret[1..]);
            for other in [Value::from(changed), Value::Null] {
                let version = Value::Object(
                    stored
                        .as_object()
                        .expect("an object")
                        .clone()
                        .into_iter()
                        .chain([(field.clone(), other)])
                        .collect(),
                );
                // Not every secret may be left out.
                let Ok(version) = serde_json::from_value::<<P as Webhook>::Keys>(version) else { continue };
                match receive_with::<P>(&version, &posted, NOW) {
                    // A token that only the check of the URL needs does not matter here.
                    Ok(_) | Err(Refusal::Forged(_)) => {}
                    refused => panic!("another {field}: {refused:?}"),
                }
            }
        }
    }
    on_every_platform!(check);
}

#[test]
fn an_old_request_is_stale_where_the_platform_signs_the_time() {
    fn check<P: Counterpart>() {
        let day = Timestamp::from_secs(NOW.as_secs() + 24 * 3600);
        match receive_at::<P>(&says::<P>(7, 1), day) {
            Err(refusal) => assert!(P::SIGNS_TIME && matches!(refusal, Refusal::Stale(_)), "{refusal}"),
            Ok(_) => assert!(!P::SIGNS_TIME, "a request of yesterday was accepted"),
        }
    }
    on_every_platform!(check);
}

#[test]
fn what_the_bot_replies_is_read() {
    fn check<P: Counterpart>() {
        let keys: <P as Sender>::Keys = keys(&settings::<P>().keys().send);
        let token = token::<P>(&keys);
        let long = "一句话。One more sentence. ".repeat(500);
        for (text, suggestions) in
            [("Two & three <days> *now* _or_ `later` 🐦", &["Opening hours", "联系人工"][..]), (&long, &[])]
        {
            let reply = reply::<P>(text, suggestions);
            let parts = P::render(&keys, &reply, NOW).expect("its own address");
            assert_eq!(
                parts.len(),
                P::render(&keys, &reply, Timestamp::from_secs(u64::from(u32::MAX))).expect("later").len()
            );
            let mut read = String::new();
            let mut buttons = Vec::new();
            for part in parts {
                let answer = ask::<P>(part.request, token.as_ref());
                let outcome = P::outcome(answer.status, &HeaderMap::new(), answer.body.to_string().as_bytes());
                assert_eq!(outcome, Ok(()));
                let shown = answer.shown.expect("a person reads it");
                read.push_str(&shown.text);
                buttons.extend(shown.buttons);
            }
            assert!(unspaced(&read).contains(&unspaced(text)), "{read}");
            for suggestion in suggestions {
                let offered = buttons.iter().any(|button| button == suggestion) || read.contains(suggestion);
                assert!(offered, "{suggestion} in {read} {buttons:?}");
            }
            // Without the token, where there is one, nothing is sent.
            if token.is_some() {
                for part in P::render(&keys, &reply, NOW).expect("its own address") {
                    let needs_token = part.request.needs_token();
                    let answer = ask::<P>(part.request, Some(&"wrong".into()));
                    let outcome = P::outcome(answer.status, &HeaderMap::new(), answer.body.to_string().as_bytes());
                    assert_eq!(outcome != Ok(()), needs_token);
                }
            }
        }
    }
    on_every_platform!(check);
}

fn token<P: Counterpart>(keys: &<P as Sender>::Keys) -> Option<SecretString> {
    P::token_request(keys).map(|request| {
        let answer = ask::<P>(request.expect("a valid URL"), None);
        P::read_token(answer.status, answer.body.to_string().as_bytes()).expect("a token").secret
    })
}

#[test]
fn the_stored_secret_is_checked() {
    fn check<P: Counterpart>() {
        let accepted = |stored: &Value| {
            let keys: <P as Sender>::Keys = serde_json::from_value(stored.clone()).expect("keys");
            P::check_request(&keys).map(|request| {
                let request = request.expect("a valid request");
                assert!(!request.needs_token(), "a check asks about the secret itself");
                let answer = ask::<P>(request, None);
                assert_eq!(answer.shown, None, "nobody may hear of a check");
                P::read_check(answer.status, &HeaderMap::new(), answer.body.to_string().as_bytes())
            })
        };
        let stored: Value = keys(&settings::<P>().keys().send);
        let own = accepted(&stored);
        assert_eq!(own, own.as_ref().map(|_| Ok(())));
        let fields: Vec<_> = secrets(&stored).map(|(field, _)| field.to_owned()).collect();
        assert_eq!(own.is_some(), !fields.is_empty(), "what is stored to send with is checked");
        for field in fields {
            let mut other = stored.clone();
            let mut secret = other[&field].as_str().expect("a text").to_owned();
            let last = if secret.pop() == Some('0') { '1' } else { '0' };
            other[&field] = format!("{secret}{last}").into();
            match accepted(&other) {
                Some(Err(CheckRejection::BadCredential { .. })) => {}
                outcome => panic!("another {field}: {outcome:?}"),
            }
        }
        // Where there are access tokens, the one request does for both.
        let keys: <P as Sender>::Keys = serde_json::from_value(stored).expect("keys");
        if let Some(token) = P::token_request(&keys) {
            let sent = |request: http::Result<ApiRequest>| {
                let request = request.expect("a valid request").into_http(None).expect("a valid request");
                (request.uri().clone(), request.body().clone())
            };
            assert_eq!(sent(P::check_request(&keys).expect("a check")), sent(token));
        }
    }
    on_every_platform!(check);
}

/// The fields of entered or stored settings that hold a secret.
fn secrets(fields: &Value) -> impl Iterator<Item = (&str, &str)> {
    let fields = fields.as_object().expect("an object").iter();
    // DingTalk's app_key is the name of an application.
    let secret = |field: &str| {
        ["secret", "token", "key", "password"].iter().any(|word| field.contains(word))
            && !(field.ends_with("_url") || field == "app_key")
    };
    fields.filter_map(move |(field, value)| Some((field.as_str(), value.as_str().filter(|_| secret(field))?)))
}

#[test]
fn how_secrets_are_changed_is_told() {
    fn check<P: Counterpart>() {
        let rotation = P::Settings::ROTATION;
        let lines: Vec<_> = rotation.lines().collect();
        assert!(rotation.ends_with('\n') && lines.len() <= 12, "{rotation}");
        let columns = |line: &str| line.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum::<usize>();
        for line in &lines {
            assert!(columns(line) <= 100, "{line}");
        }
        let numbers = lines.iter().filter(|line| !line.starts_with(' '));
        for (number, line) in (1..).zip(numbers) {
            assert!(line.starts_with(&format!("{number}. ")), "{line}");
        }
        for (field, _) in secrets(&P::settings(API_BASE)) {
            assert!(rotation.contains(field), "{field} is not named in {rotation}");
        }
        let add = rotation.find(&format!("hoopoe keys add {} --bot <bot> < settings.json", P::CHANNEL));
        let rotate = rotation.find(&format!("hoopoe keys rotate {} --bot <bot>", P::CHANNEL));
        assert!(add.is_some() && add < rotate, "{rotation}");
    }
    on_every_platform!(check);
}

/// Where a text is cut, white space may go.
fn unspaced(text: &str) -> String {
    text.split_whitespace().collect()
}

fn ask<P: Counterpart>(request: ApiRequest, token: Option<&SecretString>) -> Answer {
    let (mut head, body) = request.into_http(token).expect("a valid request").into_parts();
    let below = head.uri.to_string().strip_prefix(API_BASE).expect("the API that the settings name").to_owned();
    head.uri = below.parse().expect("a path");
    P::answer(&http::Request::from_parts(head, body.into_bytes()))
}

fn reply<P: Counterpart>(text: &str, suggestions: &[&str]) -> Reply {
    let message = receive::<P>(&says::<P>(7, 1)).expect("authentic").messages.remove(0);
    let conversation = Conversation { channel: P::CHANNEL, bot: BotId::default(), chat: message.chat };
    // Both go through queues.
    let message = InboundMessage {
        id: message.id,
        conversation,
        address: message.address,
        number: 1,
        received_at: NOW,
        previous_at: None,
        language: message.language,
        content: message.content,
    };
    let message: InboundMessage = wire::decode(&wire::encode(&message)).expect("its queue form");
    Reply {
        id: message.id,
        conversation: message.conversation,
        address: message.address,
        number: 1,
        after: None,
        complete: false,
        pending_until: None,
        received_at: NOW,
        created_at: NOW,
        text: text.to_owned(),
        suggestions: suggestions.iter().map(|text| (*text).to_owned()).collect(),
        decision: None,
    }
}

#[test]
fn what_the_platforms_api_sets_up_is_what_is_told_of_it() {
    fn check<P: Counterpart>() {
        let settings = settings::<P>();
        for setup in Setup::ALL {
            let calls = settings.setup_calls(setup, "https://bot.example/channel/main").expect("settings that do");
            assert_eq!(!calls.is_empty(), P::Settings::SETUPS.contains(&setup), "{}: {setup:?}", P::CHANNEL);
            for call in calls {
                assert!(!call.request.expect("a valid request").needs_token(), "nothing is stored yet");
            }
        }
    }
    on_every_platform!(check);
}

/// Settings are stored only where they differ, byte by byte, from those in force: perhaps of an earlier version.
#[test]
fn the_same_settings_are_stored_as_the_same_bytes() {
    fn check<P: Counterpart>() {
        let stored = settings::<P>().keys();
        for json in [&stored.webhook, &stored.send] {
            let json = json.expose_secret();
            let sorted: BTreeMap<String, Value> = serde_json::from_str(json).expect("an object");
            assert_eq!(
                json,
                serde_json::to_string(&sorted).expect("JSON"),
                "{}: the fields are sorted by name",
                P::CHANNEL
            );
        }
    }
    on_every_platform!(check);
}

#[test]
fn no_secret_is_shown() {
    fn check<P: Counterpart>()
    where
        P::Settings: fmt::Debug,
        <P as Webhook>::Keys: fmt::Debug,
        <P as Sender>::Keys: fmt::Debug,
    {
        let entered = P::settings(API_BASE);
        let settings = settings::<P>();
        let stored = settings.keys();
        let steps = settings.console_steps("https://bot.example/channel/main");
        let webhook: <P as Webhook>::Keys = keys(&stored.webhook);
        let send: <P as Sender>::Keys = keys(&stored.send);
        let reply = reply::<P>("forgotten words", &["secret button"]);
        let requests = format!(
            "{:?} {:?} {:?}",
            P::render(&send, &reply, NOW).expect("its own address"),
            P::token_request(&send),
            P::check_request(&send),
        );
        let shown = format!("{settings:?} {stored:?} {webhook:?} {send:?} {requests} {steps}");
        for (field, value) in secrets(&entered) {
            assert!(!shown.contains(value), "{field} is shown: {shown}");
        }
        // Parts of an address may be the right to answer.
        let address = reply.address.split('"').filter(|part| part.len() > 8);
        for told in address.chain([reply.text.as_str(), &reply.suggestions[0]]) {
            assert!(!requests.contains(told), "{told} is shown: {requests}");
        }
        assert!(steps.contains("https://bot.example/channel/main"), "{steps}");
        let heard = format!("{:?}", receive::<P>(&says::<P>(7, 1)));
        assert!(!heard.contains("parcel"), "what was said is shown: {heard}");
    }
    on_every_platform!(check);
}

#[test]
fn no_error_shows_a_secret() {
    fn check<P: Counterpart>() {
        let entered = P::settings(API_BASE);
        let json = entered.to_string();
        let hides = |what: &str, error: &dyn std::error::Error| {
            let shown = format!("{error} {error:?}");
            for (field, value) in secrets(&entered).chain([("a planted value", "hush-hush")]) {
                assert!(!shown.contains(value), "{what}: {field} is shown: {shown}");
            }
        };
        // Settings that end too early, that have a value for a name, or go on after their end.
        for end in (0..json.len()).filter(|end| json.is_char_boundary(*end)) {
            hides("cut", &P::Settings::parse(&json[..end]).err().expect("half an object"));
        }
        for (field, value) in secrets(&entered) {
            let named = json.replace(&format!("\"{field}\""), &format!("\"{value}1\""));
            hides("a value for a name", &P::Settings::parse(&named).err().expect("no such field"));
        }
        hides("more", &P::Settings::parse(&format!("{json} \"hush-hush\"")).err().expect("two values"));
        // Keys that make no request, and a token that makes none.
        let mut stored: Value =
            serde_json::from_str(settings::<P>().keys().send.expose_secret()).expect("keys as they are stored");
        for value in stored.as_object_mut().expect("an object").values_mut() {
            if let Value::String(text) = value {
                text.insert_str(0, "hush-hush \n");
            }
        }
        let reply = reply::<P>("forgotten words", &[]);
        let Ok(keys) = serde_json::from_value::<<P as Sender>::Keys>(stored) else { return };
        for request in [P::token_request(&keys), P::check_request(&keys)].into_iter().flatten() {
            match request.and_then(|request| request.into_http(Some(&"hush-hush\n".into()))) {
                Ok(_) => {}
                Err(error) => hides("a request", &error),
            }
        }
        match P::render(&keys, &reply, NOW) {
            Err(error) => hides("a reply", &error),
            Ok(parts) => {
                for part in parts.into_iter().filter(|part| part.request.needs_token()) {
                    if let Err(error) = part.request.into_http(Some(&"hush-hush\n".into())) {
                        hides("an access token", &error);
                    }
                }
            }
        }
    }
    on_every_platform!(check);
}

#[test]
fn settings_are_checked() {
    fn check<P: Counterpart>() {
        let entered = P::settings(API_BASE);
        let fields = entered.as_object().expect("an object").keys();
        let known: Vec<&'static str> = P::Settings::FIELDS.split('"').skip(1).step_by(2).collect();
        for field in fields {
            assert!(known.contains(&field.as_str()), "{field} is not named in {}", P::Settings::FIELDS);
        }
        setup::refuses::<P::Settings>(&entered, known.iter().map(|field| (*field, json!(["hush"]))));
        setup::refuses::<P::Settings>(&entered, [("forgotten", json!("hush-hush"))]);
        let required = P::Settings::FIELDS.split_once(" and optionally ").expect("optional ones").0;
        for field in required.split('"').skip(1).step_by(2) {
            let mut without = entered.clone();
            without[field] = Value::Null;
            let error = P::Settings::parse(&without.to_string()).err().expect(field);
            assert_eq!(error, InvalidSettings::Missing(field));
        }
    }
    on_every_platform!(check);
}

#[test]
fn a_reply_needs_an_address_of_this_channel() {
    fn check<P: Counterpart>() {
        let keys: <P as Sender>::Keys = keys(&settings::<P>().keys().send);
        let reply = reply::<P>("hello", &[]);
        let own = &reply.address;
        let mut others = vec![String::new(), " ".into(), "a b".into(), format!("{own} {own}")];
        if let Some(fields) = own.strip_suffix('}') {
            others.extend(["{}", "[]", "null"].map(Into::into));
            others.push(format!("{fields},\"page\":1}}"));
        }
        for address in others {
            let refused = P::render(&keys, &Reply { address: address.clone(), ..reply.clone() }, NOW);
            assert!(matches!(refused, Err(Unrenderable::Address)), "{address}");
        }
        proptest!(|(address in ".{0,60}")| {
            let _ = P::render(&keys, &Reply { address, ..reply.clone() }, NOW);
        });
    }
    on_every_platform!(check);
}

#[test]
fn any_request_is_read_or_refused() {
    fn check<P: Counterpart>() {
        let keys: <P as Webhook>::Keys = keys(&settings::<P>().keys().webhook);
        let published = P::published();
        let good = says::<P>(7, 1);
        let nothing = HeaderMap::new();
        proptest!(|(body: Vec<u8>, query in ".{0,80}", get: bool)| {
            let method = if get { &Method::GET } else { &Method::POST };
            for headers in [&nothing, good.headers()] {
                for query in ["", &query, good.uri().query().unwrap_or_default()] {
                    let request = Request { method, query, headers, body: &body, published: &published };
                    let _ = P::receive(&keys, &request, NOW);
                }
            }
        });
        // What the platform proves to be its own is not believed to be of its form.
        proptest!(|(told: Vec<u8>)| {
            let _ = receive::<P>(&P::posts(&told, API_BASE, NOW));
        });
    }
    on_every_platform!(check);
}

/// The fields of all platforms' answers, and what none of them documents for each.
fn any_answer() -> impl Strategy<Value = Vec<u8>> {
    let fields = [
        "ok",
        "error",
        "errors",
        "error_code",
        "error_codes",
        "error_subcode",
        "errorCode",
        "code",
        "err_code",
        "errcode",
        "errmsg",
        "msg",
        "message",
        "description",
        "parameters",
        "retry_after",
        "details",
        "messages",
        "message_id",
        "invaliduser",
        "processQueryKey",
        "flowControlledStaffIdList",
        "punish",
        "access_token",
        "accessToken",
        "tenant_access_token",
        "expires_in",
        "expireIn",
        "expire",
    ];
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(429),
        json!(1.5),
        json!(u64::MAX),
        json!(1e22),
        json!(""),
        json!("x"),
        json!("长".repeat(300)),
        json!([]),
        json!(["x"]),
        json!({}),
        json!({ "code": 1, "message": "长".repeat(300) }),
    ];
    let field = (prop::sample::select(fields.to_vec()), prop::sample::select(values.to_vec()));
    let object = prop::collection::vec(field, 0..6)
        .prop_map(|fields| fields.into_iter().collect::<BTreeMap<_, _>>())
        .prop_map(|fields| serde_json::to_vec(&fields).expect("JSON"));
    prop_oneof![any::<Vec<u8>>(), object]
}

/// Nobody knows then whether the platform has the message.
#[test]
fn what_a_gateway_answers_in_the_platforms_place_is_no_refusal() {
    fn check<P: Counterpart>() {
        let page = b"<html><body><h1>Gateway Time-out</h1></body></html>";
        let outcome =
            |status: u16| P::outcome(StatusCode::from_u16(status).expect("in range"), &HeaderMap::new(), page);
        for status in [408, 502, 504, 520, 522, 523, 524] {
            assert!(matches!(outcome(status), Err(Rejection::Unknown { .. })), "{status}: {:?}", outcome(status));
        }
        assert!(matches!(outcome(503), Err(Rejection::Refused { .. })), "what is turned away was not taken");
    }
    on_every_platform!(check);
}

#[test]
fn any_answer_has_an_outcome() {
    fn bounded<T>(outcome: Result<T, impl Reason>) -> Result<(), TestCaseError> {
        if let Err(mut rejection) = outcome {
            let reason = rejection.reason();
            prop_assert!(reason.len() <= 200, "{}", reason);
        }
        Ok(())
    }
    fn check<P: Counterpart>() {
        proptest!(|(status in 100_u16..600, body in any_answer())| {
            let status = StatusCode::from_u16(status).expect("in range");
            bounded(P::outcome(status, &HeaderMap::new(), &body))?;
            bounded(P::read_token(status, &body))?;
            let checked = P::read_check(status, &HeaderMap::new(), &body);
            prop_assert!(checked.is_err() || status.is_success());
            bounded(checked)?;
        });
    }
    on_every_platform!(check);
}

#[test]
fn any_reply_is_taken_and_read_whole() {
    fn check<P: Counterpart>() {
        let keys: <P as Sender>::Keys = keys(&settings::<P>().keys().send);
        let token = token::<P>(&keys);
        let reply = reply::<P>("", &[]);
        let parts = "([a-z。🐦*_`~<>&@#\"\\\\ \n]|1\\. |https://a\\.example/b_c ){0,40}";
        proptest!(ProptestConfig::with_cases(48), |(part in parts, parts in 0_usize..120, suggestion in "[a-z你🐦 ]{0,30}")| {
            let reply = Reply { text: part.repeat(parts), suggestions: vec![suggestion], ..reply.clone() };
            let mut read = String::new();
            for part in P::render(&keys, &reply, NOW).expect("its own address") {
                let answer = ask::<P>(part.request, token.as_ref());
                let outcome = P::outcome(answer.status, &HeaderMap::new(), answer.body.to_string().as_bytes());
                prop_assert_eq!(outcome, Ok(()));
                read.push_str(&answer.shown.expect("a person reads it").text);
            }
            prop_assert!(unspaced(&read).contains(&unspaced(&reply.text)), "{}", read);
        });
    }
    on_every_platform!(check);
}
