//! A Telegram bot and the stand-in for Telegram.

use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::StatusCode;
use serde_json::{Value, json};
use wiremock::matchers::{method, path_regex};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::Stack;
use crate::wait::eventually;

/// The secret token of every bot here.
pub const SECRET: &str = "a-secret_of-the_e2e-tests";

/// The bot token of every bot here.
pub const TOKEN: &str = "123456789:AAE2E-tests_of_hoopoe-0123456789abc";

/// A bot of one test.
pub struct TelegramBot<'a> {
    stack: &'a Stack,
    /// Its name in URLs.
    pub name: String,
    /// Telegram, as far as the bot can see: mount what it should answer before the default.
    pub api: MockServer,
    next_update: AtomicU64,
}

impl<'a> TelegramBot<'a> {
    /// Connects a new bot by `hoopoe channel add`, with a stand-in that takes every send.
    pub async fn connect(stack: &'a Stack) -> Self {
        let bot = Self::connect_refusing(stack).await;
        bot.takes_everything().await;
        bot
    }

    /// Connects a new bot whose stand-in has no answer yet.
    pub async fn connect_refusing(stack: &'a Stack) -> Self {
        let (name, api) = (Stack::new_bot(), MockServer::start().await);
        let settings = json!({
            "bot_token": TOKEN,
            "secret_token": SECRET,
        });
        let arguments = ["channel", "add", "telegram", "--bot", &name, "--api-base", &api.uri(), "--json"];
        let added: Value =
            serde_json::from_str(&stack.hoopoe(&arguments, &settings.to_string()).await).expect("JSON output");
        assert_eq!(added["webhook"], stack.webhook("telegram", &name));
        Self { stack, name, api, next_update: AtomicU64::new(700_000_001) }
    }

    /// From now on every send is taken.
    pub async fn takes_everything(&self) {
        let taken = json!({"ok": true, "result": {"message_id": 1}});
        Mock::given(method("POST"))
            .and(path_regex("/sendMessage$"))
            .respond_with(ResponseTemplate::new(200).set_body_json(taken))
            .mount(&self.api)
            .await;
    }

    /// A private message as Telegram posts it, with the next update id.
    pub fn update(&self, chat: u64, text: &str) -> Value {
        let id = self.next_update.fetch_add(1, Ordering::Relaxed);
        json!({
            "update_id": id,
            "message": {
                "message_id": id - 700_000_000,
                "from": {"id": chat, "is_bot": false, "first_name": "Ada"},
                "chat": {"id": chat, "type": "private", "first_name": "Ada"},
                "date": 1_760_000_000,
                "text": text,
            },
        })
    }

    /// Posts an update with the right secret.
    pub async fn post(&self, update: &Value) -> StatusCode {
        self.post_with(update, SECRET).await
    }

    /// Posts an update with this secret.
    pub async fn post_with(&self, update: &Value, secret: &str) -> StatusCode {
        let url = self.stack.webhook("telegram", &self.name);
        let headers = [("content-type", "application/json"), ("x-telegram-bot-api-secret-token", secret)];
        self.stack.post(&url, &headers, update.to_string()).await
    }

    /// Says something in a chat and waits for the webhook's 200.
    pub async fn say(&self, chat: u64, text: &str) {
        assert_eq!(self.post(&self.update(chat, text)).await, StatusCode::OK);
    }

    /// What the bot sent to a chat so far, in order, as `sendMessage` bodies.
    pub async fn sent(&self, chat: u64) -> Vec<Value> {
        let requests = self.api.received_requests().await.expect("requests are recorded");
        let bodies = requests.iter().filter_map(|request| serde_json::from_slice::<Value>(&request.body).ok());
        bodies.filter(|body| body["chat_id"] == chat).collect()
    }

    /// Waits until the bot has sent `count` messages to a chat, and returns their texts.
    pub async fn texts(&self, chat: u64, count: usize) -> Vec<String> {
        eventually(&format!("{count} messages to the chat {chat}"), async || {
            let sent = self.sent(chat).await;
            let text = |body: &Value| body["text"].as_str().expect("a text").to_owned();
            (sent.len() >= count).then(|| sent.iter().map(text).collect())
        })
        .await
    }
}
