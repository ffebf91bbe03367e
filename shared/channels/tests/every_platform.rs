//! What holds on every platform, tried on each: its own side signs, the bot verifies and answers, its own side reads.

use hoopoe_channels::counterpart::{Answer, Counterpart};
use hoopoe_channels::with_platform;
use hoopoe_channels::{ApiRequest, Outcome, Received, Refusal, Request, Sender, Settings, Webhook};
use hoopoe_message::{BotId, Channel, Content, Conversation, InboundMessage, Reply, Timestamp, wire};
use http::{HeaderMap, HeaderValue, Method};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;

const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);
const API_BASE: &str = "http://127.0.0.1:9000";
const WORDS: &str = "忘记密码怎么办 & where's my <parcel>? 🐦";

type Posted = http::Request<Vec<u8>>;

fn settings<P: Counterpart>() -> P::Settings {
    P::Settings::parse(&P::settings(API_BASE).to_string()).expect("its own settings are accepted")
}

fn keys<K: DeserializeOwned>(json: &SecretString) -> K {
    serde_json::from_str(json.expose_secret()).expect("keys as they are stored")
}

fn says<P: Counterpart>(person: u32, message: u32) -> Posted {
    P::says(person, message, WORDS, API_BASE, NOW)
}

fn receive_at<P: Counterpart>(posted: &Posted, now: Timestamp) -> Result<Received, Refusal> {
    let request = Request {
        method: posted.method(),
        query: posted.uri().query().unwrap_or_default(),
        headers: posted.headers(),
        body: posted.body(),
        published: &P::published(),
    };
    P::receive(&keys::<<P as Webhook>::Keys>(&settings::<P>().keys().webhook), &request, now)
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
        let token = P::token_request(&keys).map(|request| {
            let answer = ask::<P>(request.expect("a valid URL"), None);
            P::read_token(answer.status, answer.body.to_string().as_bytes()).expect("a token").secret
        });
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
                assert_eq!(outcome, Outcome::Sent);
                let shown = answer.shown.expect("a person reads it");
                read.push_str(&shown.text);
                buttons.extend(shown.buttons);
            }
            let same = |text: &str| text.split_whitespace().collect::<String>();
            assert!(same(&read).contains(&same(text)), "{read}");
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
                    assert_eq!(outcome != Outcome::Sent, needs_token);
                }
            }
        }
    }
    on_every_platform!(check);
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
        content: message.content,
    };
    let message: InboundMessage = wire::decode(&wire::encode(&message)).expect("its queue form");
    Reply {
        id: message.id,
        conversation: message.conversation,
        address: message.address,
        number: 1,
        after: None,
        received_at: NOW,
        created_at: NOW,
        text: text.to_owned(),
        suggestions: suggestions.iter().map(|text| (*text).to_owned()).collect(),
    }
}

#[test]
fn no_secret_is_shown() {
    fn check<P: Counterpart>() {
        let entered = P::settings(API_BASE);
        let settings = settings::<P>();
        let steps = settings.console_steps("https://bot.example/channel/main");
        let keys: <P as Sender>::Keys = keys(&settings.keys().send);
        let requests = P::render(&keys, &reply::<P>("hello", &[]), NOW).expect("its own address");
        let shown = format!("{:?} {steps} {requests:?} {:?}", settings.keys(), P::token_request(&keys));
        for (field, value) in entered.as_object().expect("an object") {
            let secret = ["secret", "token", "key", "password"].iter().any(|word| field.contains(word));
            if let (true, Value::String(value)) = (secret && !field.ends_with("_url"), value) {
                assert!(!shown.contains(value.as_str()), "{field} is shown: {shown}");
            }
        }
        assert!(steps.contains("https://bot.example/channel/main"), "{steps}");
    }
    on_every_platform!(check);
}
