//! Telegram, as far as the bot can see it: what it posts, and its `sendMessage`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::http::{Answer, Call, answer};
use crate::latency::{Distribution, wait};

/// What the bot is known by on both sides.
pub(crate) const SECRET: &str = "a-secret_of-the_benchmark";
pub(crate) const TOKEN: &str = "123456789:AAEbenchmark_of_hoopoe-0123456789abc";
pub(crate) const BOT: &str = "bench";

/// A message that the bot sent.
#[derive(Clone, Copy)]
pub(crate) struct Received {
    pub(crate) chat: i64,
    /// The message that it answers.
    pub(crate) replies_to: i64,
    /// When its request was there.
    pub(crate) at: Instant,
    /// When it was answered.
    pub(crate) answered: Instant,
}

/// The stand-in.
pub(crate) struct Platform {
    latency: Distribution,
    received: Mutex<Vec<Received>>,
}

#[derive(Deserialize)]
struct SendMessage {
    chat_id: i64,
    reply_parameters: Option<ReplyParameters>,
}

#[derive(Deserialize)]
struct ReplyParameters {
    message_id: i64,
}

impl Platform {
    pub(crate) fn new(latency: Distribution) -> Arc<Self> {
        Arc::new(Self { latency, received: Mutex::default() })
    }

    pub(crate) async fn handle(self: Arc<Self>, call: Call) -> Answer {
        let at = Instant::now();
        let message =
            serde_json::from_slice::<SendMessage>(&call.body).ok().filter(|_| call.path.ends_with("/sendMessage"));
        let Some(SendMessage { chat_id, reply_parameters: Some(ReplyParameters { message_id }) }) = message else {
            eprintln!("the platform does not understand {}", call.path.rsplit('/').next().unwrap_or_default());
            return answer(400, r#"{"ok":false,"error_code":400,"description":"Bad Request"}"#);
        };
        wait(self.latency.sample()).await;
        let received = Received { chat: chat_id, replies_to: message_id, at, answered: Instant::now() };
        self.received.lock().unwrap_or_else(PoisonError::into_inner).push(received);
        answer(200, json!({"ok": true, "result": {"message_id": message_id + 1}}).to_string())
    }

    pub(crate) fn count(&self) -> usize {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Everything that came, and forgets it.
    pub(crate) fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.received.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An update as Telegram posts it, as the event of a function URL. Each person is alone with the bot in a group: a reply in
/// a group names the message that it answers, so each is told apart from every other.
pub(crate) fn event(chat: i64, message: i64, text: &str) -> Vec<u8> {
    let update: Json = json!({
        "update_id": 700_000_000 + message,
        "message": {
            "message_id": message,
            "from": {"id": chat, "is_bot": false, "first_name": "Ada", "language_code": "en"},
            "chat": {"id": -chat, "type": "group", "title": "Ada and the bot"},
            "date": 1_760_000_000,
            "text": format!("!{text}"),
        },
    });
    let path = format!("/telegram/{BOT}");
    let event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {
            "content-type": "application/json",
            "x-telegram-bot-api-secret-token": SECRET,
            "x-forwarded-for": "149.154.167.220",
            "x-forwarded-proto": "https",
            "x-forwarded-port": "443",
            "x-amzn-trace-id": "Root=1-65c0e5f4-0123456789abcdef01234567",
            "host": "abcdefghijklmnopqrstuvwxyz012345.lambda-url.us-east-1.on.aws",
            "accept-encoding": "gzip, deflate",
        },
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abcdefghijklmnopqrstuvwxyz012345",
            "domainName": "abcdefghijklmnopqrstuvwxyz012345.lambda-url.us-east-1.on.aws",
            "domainPrefix": "abcdefghijklmnopqrstuvwxyz012345",
            "http": {
                "method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "149.154.167.220", "userAgent": "",
            },
            "requestId": "11111111-2222-4333-8444-555555555555",
            "routeKey": "$default",
            "stage": "$default",
            "time": "25/Nov/2026:00:00:00 +0000",
            "timeEpoch": 1_795_564_800_000_i64,
        },
        "body": update.to_string(),
        "isBase64Encoded": false,
    });
    event.to_string().into_bytes()
}

/// The chat that a person writes in.
pub(crate) const fn chat_of(person: i64) -> i64 {
    -person
}
