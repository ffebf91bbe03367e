//! A WeChat account that may not send: its reply is the answer to WeChat's own request.

use e2e::Stack;
use e2e::wait::eventually;
use hoopoe_channels::contract::counterpart::Counterpart;
use hoopoe_channels::crypto::envelope::{self, Key};
use hoopoe_channels::wechat::Wechat;
use hoopoe_channels::{Request, Settings, Webhook};
use hoopoe_message::{Channel, Conversation, MessageId, Reply, Timestamp};
use hoopoe_store::Transcripts;
use secrecy::ExposeSecret;
use serde_json::Value;

/// Asks as WeChat does, again where no answer came, and returns the reply it was answered with. WeChat gives up after
/// three times; how many it takes is a matter of the machine.
async fn ask(stack: &Stack, bot: &str, settings: &Value, message: u32, text: &str) -> String {
    let posted = Wechat::says(7, message, text, "http://127.0.0.1:1", Timestamp::now());
    let url = format!("{}?{}", stack.webhook("wechat", bot), posted.uri().query().expect("it is signed"));
    eventually("the reply as an answer", async || {
        let request = stack.http.post(&url).headers(posted.headers().clone()).body(posted.body().clone());
        let answer = request.send().await.expect("the function URL answers").text().await.expect("text");
        let Some(sealed) = element(&answer, "Encrypt") else {
            assert_eq!(answer, "success");
            return None;
        };
        let setting = |name: &str| settings[name].as_str().expect("a text").to_owned();
        let key = Key::decode(&setting("encoding_aes_key")).expect("43 characters");
        let opened = envelope::open(&key, &sealed, &setting("app_id")).expect("it is for this account");
        Some(String::from_utf8(opened).expect("UTF-8"))
    })
    .await
}

fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}><![CDATA["))?;
    Some(rest.split_once("]]>")?.0.to_owned())
}

#[tokio::test]
async fn the_reply_is_the_answer_to_the_request() {
    let stack = Stack::open().await;
    let bot = Stack::new_bot();
    // Nothing listens there: a reply that were sent would be a dead letter.
    let mut settings = Wechat::settings("http://127.0.0.1:1");
    settings["passive"] = true.into();
    stack.hoopoe(&["channel", "add", "wechat", "--bot", &bot], &settings.to_string()).await;

    let chinese = ask(&stack, &bot, &settings, 1, "忘记密码怎么办").await;
    assert!(chinese.contains("验证码"), "{chinese}");
    // WeChat did not hear it, and asks the same again.
    assert_eq!(
        element(&ask(&stack, &bot, &settings, 1, "忘记密码怎么办").await, "Content"),
        element(&chinese, "Content")
    );
    let english = ask(&stack, &bot, &settings, 2, "where is my parcel").await;
    assert!(english.contains("My orders") && !english.contains("验证码"), "what was said is not said again: {english}");
}

/// The conversation that the person's messages belong to.
fn conversation(bot: &str, settings: &Value) -> Conversation {
    let keys = hoopoe_channels::wechat::Settings::parse(&settings.to_string()).expect("its own settings").keys();
    let keys = serde_json::from_str(keys.webhook.expose_secret()).expect("its own keys");
    let posted = Wechat::says(7, 1, "hello", "http://127.0.0.1:1", Timestamp::now());
    let request = Request {
        method: posted.method(),
        query: posted.uri().query().expect("it is signed"),
        headers: posted.headers(),
        body: posted.body(),
        published: &[],
    };
    let message = Wechat::receive(&keys, &request, Timestamp::now()).expect("authentic").messages.remove(0);
    Conversation { channel: Channel::Wechat, bot: bot.parse().expect("a name"), chat: message.chat }
}

#[tokio::test]
async fn a_late_reply_goes_along_with_the_next() {
    let stack = Stack::open().await;
    let bot = Stack::new_bot();
    let mut settings = Wechat::settings("http://127.0.0.1:1");
    settings["passive"] = true.into();
    stack.hoopoe(&["channel", "add", "wechat", "--bot", &bot], &settings.to_string()).await;

    // A reply that came when WeChat had given up waiting for it: nobody has taken it.
    let late = Reply {
        id: MessageId::try_from("late".to_owned()).expect("a valid id"),
        conversation: conversation(&bot, &settings),
        address: String::new(),
        number: 0,
        after: None,
        complete: false,
        pending_until: None,
        received_at: Timestamp::now(),
        created_at: Timestamp::now(),
        text: "What was asked before.".into(),
        suggestions: vec![],
        decision: None,
    };
    let transcripts = Transcripts::new(&stack.config, stack.output("TranscriptsTableName").to_owned());
    transcripts.put_reply(&late, Timestamp::now()).await.expect("the table takes it");

    let answer = ask(&stack, &bot, &settings, 1, "where is my parcel").await;
    let (before, after) = answer.split_once("My orders").expect("the answer");
    assert!(before.contains("What was asked before.") && !after.contains("What was asked before."), "{answer}");
    let next = ask(&stack, &bot, &settings, 2, "忘记密码怎么办").await;
    assert!(next.contains("验证码") && !next.contains("What was asked before."), "{next}");
}
