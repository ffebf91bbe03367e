use std::sync::Mutex;

use hoopoe_channels::Incoming;
use hoopoe_channels::webchat::api::{Fault, Session};
use hoopoe_channels::webchat::appearance::Appearance;
use hoopoe_channels::webchat::{SigningKey, token};
use hoopoe_keyring::{KeyName, KeyringError, Purpose};
use hoopoe_message::{ChannelEvent, Content};
use hoopoe_store::StoreError;
use hoopoe_webhook::Accepted;
use lambda_http::http::header::{ALLOW, ETAG, RETRY_AFTER};
use lambda_http::http::request::Builder;
use proptest::prelude::*;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::*;
use crate::backend::BackendError;

/// Two bots that share a key, so that only the name inside the token tells them apart.
#[derive(Default)]
struct Memory {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    accepted: Vec<Incoming>,
    transcript: Vec<Entry>,
    failing: bool,
}

impl Backend for Memory {
    async fn mint(&self, bot: &BotId, session: &SessionId, now: Timestamp) -> Result<Session, BackendError> {
        Ok(signing_key_of(bot)?.mint(bot, session, now))
    }

    async fn verify(&self, bot: &BotId, token: &str, now: Timestamp) -> Result<SessionId, BackendError> {
        Ok(signing_key_of(bot)?.verify(bot, token, now)?)
    }

    async fn accept(&self, _bot: &BotId, message: Incoming) -> Result<Accepted, BackendError> {
        let mut state = self.state.lock().expect("no panic");
        if state.failing {
            return Err(StoreError::Call {
                operation: "claiming",
                cause: "secret inside".into(),
                needs_operator: false,
            }
            .into());
        }
        let known = state.accepted.iter().position(|earlier| earlier.id == message.id);
        let index = known.unwrap_or_else(|| {
            state.accepted.push(message);
            state.accepted.len() - 1
        });
        Ok(Accepted { number: index as u64 + 1, received_at: Timestamp::now(), duplicate: known.is_some() })
    }

    async fn put_question(
        &self,
        _conversation: &Conversation,
        number: u64,
        text: &str,
        at: Timestamp,
    ) -> Result<(), BackendError> {
        self.put(2 * number, text, at);
        Ok(())
    }

    async fn after(&self, _conversation: &Conversation, seq: u64, limit: usize) -> Result<Vec<Entry>, BackendError> {
        let state = self.state.lock().expect("no panic");
        Ok(state.transcript.iter().filter(|entry| entry.seq > seq).take(limit).cloned().collect())
    }
}

impl Memory {
    fn put(&self, seq: u64, text: &str, at: Timestamp) {
        let entry = Entry { seq, text: text.to_owned(), suggestions: vec![], at, decision: None };
        let transcript = &mut self.state.lock().expect("no panic").transcript;
        transcript.retain(|other| other.seq != seq);
        transcript.push(entry);
        transcript.sort_by_key(|entry| entry.seq);
    }
}

fn signing_key_of(bot: &BotId) -> Result<SigningKey, BackendError> {
    if bot.as_str() == "main" || bot.as_str() == "other" {
        return Ok(signing_key());
    }
    Err(KeyringError::Missing(KeyName { channel: Channel::Webchat, bot: bot.clone(), purpose: Purpose::Webhook })
        .into())
}

fn signing_key() -> SigningKey {
    SigningKey::try_from(SecretString::from("5a".repeat(32))).expect("64 hex digits")
}

fn webchat() -> Webchat<Memory> {
    used_from("any")
}

/// One that is used from these networks alone.
fn used_from(networks: &str) -> Webchat<Memory> {
    Webchat::new(networks.parse().expect("networks"), Memory::default(), Page::new(&Appearance::default()))
}

/// A token as the function mints it now.
fn fresh_token() -> String {
    minted("main", Timestamp::now())
}

fn minted(bot: &str, at: Timestamp) -> String {
    signing_key().mint(&bot.parse().expect("a bot"), &SessionId::from_random([1; 16]), at).token
}

fn request(method: Method, path: &str) -> Builder {
    lambda_http::http::Request::builder().method(method).uri(format!("https://chat.example{path}"))
}

async fn send(webchat: &Webchat<Memory>, builder: Builder, body: impl Into<Body>) -> Response<Body> {
    let request = builder.body(body.into()).expect("a valid request");
    let path = request.uri().path().to_owned();
    webchat.answer(&request.with_raw_http_path(path)).await
}

async fn post(webchat: &Webchat<Memory>, token: &str, body: &str) -> Response<Body> {
    let builder = request(Method::POST, "/webchat/main/messages")
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(CONTENT_TYPE, "application/json");
    send(webchat, builder, body).await
}

async fn read(webchat: &Webchat<Memory>, query: &str) -> Response<Body> {
    let path = format!("/webchat/main/messages?{query}");
    send(webchat, request(Method::GET, &path).header(AUTHORIZATION, format!("Bearer {}", fresh_token())), "").await
}

fn parsed<T: DeserializeOwned>(response: &Response<Body>) -> T {
    serde_json::from_slice(response.body()).expect("the promised JSON")
}

/// The status and the word for programs.
fn fault(response: &Response<Body>) -> (u16, String) {
    (response.status().as_u16(), parsed::<Fault>(response).error)
}

fn refused(status: u16, error: &str) -> (u16, String) {
    (status, error.to_owned())
}

#[tokio::test]
async fn the_page_stands_at_the_bots_url_and_at_the_bare_one() {
    for path in ["/", "/webchat/main", "/webchat/shop-2"] {
        let response = send(&webchat(), request(Method::GET, path), "").await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert!(response.headers().contains_key(ETAG) && !response.body().is_empty());
    }
    for path in ["/webchat", "/webchat/", "/webchat/Main", "/webchat/main/", "/webchat/main/x", "/telegram/main", "/x"]
    {
        assert_eq!(fault(&send(&webchat(), request(Method::GET, path), "").await), refused(404, "not_found"), "{path}");
    }
}

#[tokio::test]
async fn from_elsewhere_than_its_networks_nothing_is_answered() {
    let webchat = used_from("192.0.2.0/24");
    for (source, status) in [("192.0.2.7", 200), ("203.0.113.7", 403)] {
        let event = serde_json::json!({
            "version": "2.0", "routeKey": "$default", "rawPath": "/webchat/main", "rawQueryString": "", "headers": {},
            "requestContext": {
                "http": {"method": "GET", "path": "/webchat/main", "protocol": "HTTP/1.1", "sourceIp": source},
                "stage": "$default", "timeEpoch": 0,
            },
            "isBase64Encoded": false,
        });
        let request = lambda_http::request::from_str(&event.to_string()).expect("an event of a function URL");
        let response = webchat.answer(&request).await;
        assert_eq!(response.status(), status, "{source}");
        if status == 403 {
            assert_eq!(fault(&response), refused(403, "network"));
            let said = String::from_utf8_lossy(response.body()).into_owned();
            assert!(!said.contains(source) && !said.contains("192.0.2"), "{said}");
        }
    }
}

#[tokio::test]
async fn another_method_is_told_which_is_allowed() {
    for (method, path, allowed) in [
        (Method::POST, "/webchat/main", "GET, HEAD"),
        (Method::GET, "/webchat/main/session", "POST"),
        (Method::DELETE, "/webchat/main/messages", "GET, POST"),
    ] {
        let response = send(&webchat(), request(method, path), "").await;
        assert_eq!(fault(&response), refused(405, "method"));
        assert_eq!(response.headers()[ALLOW], allowed);
    }
}

#[tokio::test]
async fn a_conversation_is_opened_continued_and_read() {
    let webchat = webchat();
    let opened = send(&webchat, request(Method::POST, "/webchat/main/session"), "").await;
    assert_eq!(opened.status(), StatusCode::CREATED);
    let token = parsed::<Session>(&opened).token;

    let joined = post(&webchat, &token, r#"{"id":"joined","event":"joined","language":"zh-TW"}"#).await;
    let asked = post(&webchat, &token, r#"{"id":"a","text":"忘记密码怎么办"}"#).await;
    assert_eq!((joined.status(), asked.status()), (StatusCode::ACCEPTED, StatusCode::ACCEPTED));
    assert_eq!((parsed::<api::Accepted>(&joined).seq, parsed::<api::Accepted>(&asked).seq), (2, 4));
    webchat.backend.put(3, "您好", Timestamp::now());

    let messages = parsed::<Messages>(&read(&webchat, "").await).messages;
    let seen: Vec<_> = messages.iter().map(|message| (message.seq, message.from, message.text.as_str())).collect();
    assert_eq!(seen, [(3, Speaker::Bot, "您好"), (4, Speaker::You, "忘记密码怎么办")]);

    let renewed = request(Method::POST, "/webchat/main/session").header(AUTHORIZATION, format!("Bearer {token}"));
    let renewed = parsed::<Session>(&send(&webchat, renewed, "").await).token;
    post(&webchat, &renewed, r#"{"id":"b","text":"hello"}"#).await;

    let accepted = &webchat.backend.state.lock().expect("no panic").accepted;
    assert_eq!(accepted[0].content, Content::Event(ChannelEvent::Joined));
    assert_eq!(accepted[0].language.map(|language| language.to_string()).as_deref(), Some("zh"));
    assert_eq!(accepted[1].content, Content::Text("忘记密码怎么办".into()));
    assert!(accepted.iter().all(|message| message.chat == accepted[0].chat && message.address == message.chat));
}

#[tokio::test]
async fn two_people_have_two_conversations() {
    let webchat = webchat();
    for id in ["a", "b"] {
        let opened = send(&webchat, request(Method::POST, "/webchat/main/session"), "").await;
        post(&webchat, &parsed::<Session>(&opened).token, &format!(r#"{{"id":"{id}","text":"hi"}}"#)).await;
    }
    let accepted = &webchat.backend.state.lock().expect("no panic").accepted;
    assert_ne!(accepted[0].chat, accepted[1].chat);
}

#[tokio::test]
async fn the_same_message_again_keeps_its_place() {
    let webchat = webchat();
    let body = r#"{"id":"a","text":"hello"}"#;
    let first = parsed::<api::Accepted>(&post(&webchat, &fresh_token(), body).await);
    post(&webchat, &fresh_token(), r#"{"id":"b","text":"more"}"#).await;
    let again = parsed::<api::Accepted>(&post(&webchat, &fresh_token(), body).await);
    assert_eq!(first, again);
    assert_eq!(parsed::<Messages>(&read(&webchat, "").await).messages.len(), 2);
}

#[tokio::test]
async fn without_a_good_token_nothing_is_taken_in() {
    let webchat = webchat();
    let now = Timestamp::now();
    let long_ago = Timestamp::from_secs(now.as_secs() - token::LIFETIME.as_secs() - 1);
    let mut forged = fresh_token();
    forged.replace_range(..1, if forged.starts_with('A') { "B" } else { "A" });
    for (token, expected) in [
        (forged, refused(401, "invalid_token")),
        (minted("other", now), refused(401, "invalid_token")),
        (minted("main", long_ago), refused(401, "expired")),
        ("x".repeat(5000), refused(401, "invalid_token")),
        (String::new(), refused(401, "invalid_token")),
    ] {
        assert_eq!(fault(&post(&webchat, &token, r#"{"id":"a","text":"hello"}"#).await), expected);
        let bearer = format!("Bearer {token}");
        for (method, path) in [(Method::GET, "/webchat/main/messages"), (Method::POST, "/webchat/main/session")] {
            let builder = request(method, path).header(AUTHORIZATION, &bearer);
            assert_eq!(fault(&send(&webchat, builder, "").await), expected, "{path}");
        }
    }
    let bare = request(Method::GET, "/webchat/main/messages");
    assert_eq!(fault(&send(&webchat, bare, "").await), refused(401, "invalid_token"));
    assert!(webchat.backend.state.lock().expect("no panic").accepted.is_empty());
}

#[tokio::test]
async fn other_sites_are_kept_out() {
    let session = || request(Method::POST, "/webchat/main/session").header(HOST, "chat.example");
    let refusals = [
        session().header("sec-fetch-site", "cross-site"),
        session().header("sec-fetch-site", "same-site"),
        session().header("sec-fetch-site", "none").header(ORIGIN, "https://chat.example"),
        session().header(ORIGIN, "https://evil.example"),
        session().header(ORIGIN, "null"),
    ];
    for builder in refusals {
        assert_eq!(fault(&send(&webchat(), builder, "").await), refused(403, "cross_site"));
    }
    let allowed = [
        session().header("sec-fetch-site", "same-origin").header(ORIGIN, "https://front.example"),
        session().header(ORIGIN, "https://chat.example"),
        session(),
    ];
    for builder in allowed {
        assert_eq!(send(&webchat(), builder, "").await.status(), StatusCode::CREATED);
    }
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_its_reason() {
    let webchat = webchat();
    let token = fresh_token();
    let long = format!(r#"{{"id":"a","text":"{}"}}"#, "x".repeat(2001));
    for body in
        ["", "hello", r#"{"id":"a"}"#, r#"{"id":"a","text":" "}"#, r#"{"id":"a","text":"x","language":"?"}"#, &long]
    {
        assert_eq!(fault(&post(&webchat, &token, body).await), refused(400, "malformed"), "{body}");
    }
    let large = "x".repeat(MAX_BODY_BYTES + 1);
    assert_eq!(fault(&post(&webchat, &token, &large).await), refused(413, "too_large"));
    let form = request(Method::POST, "/webchat/main/messages")
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(CONTENT_TYPE, "text/plain");
    assert_eq!(fault(&send(&webchat, form, r#"{"id":"a","text":"hello"}"#).await), refused(415, "media_type"));
    for query in ["after=x", "wait=-1", "after=1&wait=1.5"] {
        assert_eq!(fault(&read(&webchat, query).await), refused(400, "malformed"), "{query}");
    }
    assert!(webchat.backend.state.lock().expect("no panic").accepted.is_empty());
}

#[tokio::test]
async fn a_bot_without_keys_is_not_found_and_a_failure_is_not_explained() {
    let webchat = webchat();
    let absent = send(&webchat, request(Method::POST, "/webchat/absent/session"), "").await;
    assert_eq!(fault(&absent), refused(404, "not_found"));

    webchat.backend.state.lock().expect("no panic").failing = true;
    let failed = post(&webchat, &fresh_token(), r#"{"id":"a","text":"hello"}"#).await;
    assert_eq!(fault(&failed), refused(503, "unavailable"));
    assert!(!String::from_utf8_lossy(failed.body()).contains("inside"));
}

#[tokio::test]
async fn too_many_messages_are_told_when_to_come_back() {
    let webchat = webchat();
    let token = fresh_token();
    // Twice the limit, so that a minute that ends in between does not hide it.
    let mut last = None;
    for id in 0..=2 * MESSAGES_PER_MINUTE {
        let response = post(&webchat, &token, &format!(r#"{{"id":"{id}","text":"hello"}}"#)).await;
        if response.status() != StatusCode::ACCEPTED {
            last = Some(response);
            break;
        }
    }
    let response = last.expect("a refusal");
    assert_eq!(fault(&response), refused(429, "too_many"));
    let seconds: u64 = response.headers()[RETRY_AFTER].to_str().expect("ASCII").parse().expect("seconds");
    assert!((1..=60).contains(&seconds));
}

#[tokio::test]
async fn too_many_reads_are_told_when_to_come_back() {
    let webchat = webchat();
    let mut last = None;
    for _ in 0..=2 * READS_PER_MINUTE {
        let response = read(&webchat, "after=0").await;
        if response.status() != StatusCode::OK {
            last = Some(response);
            break;
        }
    }
    let response = last.expect("a refusal");
    assert_eq!(fault(&response), refused(429, "too_many"));
    assert!(response.headers().contains_key(RETRY_AFTER));
}

/// A function that has had nothing to do for a minute.
async fn rested() -> Webchat<Memory> {
    let webchat = webchat();
    sleep(Duration::from_secs(60)).await;
    webchat
}

#[tokio::test(start_paused = true)]
async fn a_held_request_is_answered_when_the_bot_speaks() {
    let webchat = rested().await;
    post(&webchat, &fresh_token(), r#"{"id":"a","text":"hello"}"#).await;
    let start = Instant::now();
    let (response, ()) = tokio::join!(read(&webchat, "after=0&wait=20"), async {
        sleep(Duration::from_millis(330)).await;
        webchat.backend.put(3, "hi", Timestamp::now());
    });
    let found = parsed::<Messages>(&response);
    assert_eq!((found.messages.len(), found.retry_after_ms), (2, None));
    let late = start.elapsed() - Duration::from_millis(330);
    assert!(late < Duration::from_millis(250), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn the_welcome_is_awaited_as_an_answer_and_its_question_is_not_shown() {
    let webchat = rested().await;
    post(&webchat, &fresh_token(), r#"{"id":"joined","event":"joined"}"#).await;
    let start = Instant::now();
    let (response, ()) = tokio::join!(read(&webchat, "after=0&wait=2"), async {
        sleep(Duration::from_millis(330)).await;
        webchat.backend.put(3, "welcome", Timestamp::now());
    });
    let messages = parsed::<Messages>(&response).messages;
    assert_eq!(messages.iter().map(|message| message.text.as_str()).collect::<Vec<_>>(), ["welcome"]);
    assert!(start.elapsed() >= Duration::from_millis(330), "it was held");
}

#[tokio::test(start_paused = true)]
async fn a_held_request_ends_when_its_time_is_over() {
    for (query, seconds) in [("after=0", 0), ("after=0&wait=1", 1), ("after=0&wait=9000", MAX_WAIT_SECONDS)] {
        let webchat = rested().await;
        post(&webchat, &fresh_token(), r#"{"id":"a","text":"hello"}"#).await;
        let start = Instant::now();
        let found = parsed::<Messages>(&read(&webchat, query).await);
        assert_eq!(found.messages.len(), 1, "the question alone");
        assert!(found.retry_after_ms.is_some(), "it is told when to ask again");
        assert_eq!(start.elapsed().as_secs(), seconds, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_request_is_held_unless_a_new_question_is_open() {
    let webchat = rested().await;
    let start = Instant::now();
    // Nothing was asked.
    let found = parsed::<Messages>(&read(&webchat, "after=0&wait=2").await);
    assert_eq!((found.messages.len(), found.retry_after_ms), (0, Some(2000)));
    // It was answered, and has been heard.
    post(&webchat, &fresh_token(), r#"{"id":"a","text":"hello"}"#).await;
    webchat.backend.put(3, "hi", Timestamp::now());
    read(&webchat, "after=0&wait=2").await;
    read(&webchat, "after=3&wait=2").await;
    // It was asked long ago.
    let long_ago = Timestamp::from_millis(Timestamp::now().as_millis() - 11_000);
    webchat.backend.put(4, "anybody there?", long_ago);
    let found = parsed::<Messages>(&read(&webchat, "after=3&wait=2").await);
    assert_eq!((found.messages.len(), found.retry_after_ms), (1, Some(2000)));
    assert_eq!(start.elapsed(), Duration::ZERO);
}

/// One session asks once and then polls as fast as it can, side by side: what makes an account's executions all wait.
#[tokio::test(start_paused = true)]
async fn a_flood_of_polls_holds_an_environment_for_a_quarter_of_its_time() {
    let backend = Memory::default();
    backend.put(2, "hello", Timestamp::now());
    let spare = Spare::new();
    let session = SessionId::from_random([1; 16]);
    let conversation = conversation(&"main".parse().expect("a bot"), &session);
    let (start, mut held) = (Instant::now(), Duration::ZERO);
    for _ in 0..1000 {
        let before = Instant::now();
        let wait = Duration::from_secs(MAX_WAIT_SECONDS);
        let poll = || poll::messages(&backend, &spare, &conversation, 0, wait);
        let (one, other) = tokio::join!(poll(), poll());
        assert!(one.is_ok_and(|found| found.retry_after.is_some()) && other.is_ok());
        held += before.elapsed();
        sleep(Duration::from_millis(10)).await;
    }
    assert!(held <= start.elapsed() / 4 + Duration::from_secs(MAX_WAIT_SECONDS), "{held:?} of {:?}", start.elapsed());
}

proptest! {
    #[test]
    fn a_route_stays_within_its_bot(path in "/(webchat/)?[a-z./%-]{0,20}(/session|/messages)?") {
        if let Some(Route::Session(bot) | Route::Messages(bot)) = Route::of(&path) {
            let name = path.split('/').nth(2);
            prop_assert_eq!(Some(bot.as_str()), name);
        }
    }

    #[test]
    fn any_query_is_read_or_refused(text in "\\PC*|(after=|wait=|&|[0-9]|-){0,12}") {
        if let Ok((_, wait)) = query(&text) {
            prop_assert!(wait <= Duration::from_secs(MAX_WAIT_SECONDS));
        }
    }
}
