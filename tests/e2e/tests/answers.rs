//! A message in, the right answer out, on every channel and in both languages.

use e2e::wait::eventually;
use e2e::{Stack, TelegramBot, WecomBot};
use reqwest::StatusCode;
use serde_json::{Value, json};

#[tokio::test]
async fn telegram_answers_in_the_language_of_the_question() {
    let stack = Stack::open().await;
    let bot = TelegramBot::connect(&stack).await;
    bot.say(11, "忘记密码怎么办").await;
    bot.say(12, "where is my parcel").await;
    let (chinese, english) = (bot.texts(11, 1).await, bot.texts(12, 1).await);
    assert!(chinese[0].contains("忘记密码") && chinese[0].contains("验证码"), "{chinese:?}");
    assert!(english[0].contains("My orders") && english[0].contains("tracking"), "{english:?}");
}

#[tokio::test]
async fn wecom_answers_in_the_language_of_the_question() {
    let stack = Stack::open().await;
    let bot = WecomBot::connect(&stack).await;
    assert_eq!(bot.say("zhangsan", 1, "忘记密码怎么办").await, StatusCode::OK);
    assert_eq!(bot.say("lisi", 2, "where is my parcel").await, StatusCode::OK);
    let (chinese, english) = (bot.texts("zhangsan", 1).await, bot.texts("lisi", 1).await);
    assert!(chinese[0].contains("验证码"), "{chinese:?}");
    assert!(english[0].contains("My orders"), "{english:?}");
}

#[tokio::test]
async fn the_web_chat_answers_in_the_language_of_the_question() {
    let stack = Stack::open().await;
    let base = stack.webchat();
    let session: Value = stack
        .http
        .post(format!("{base}/session"))
        .json(&json!({}))
        .send()
        .await
        .expect("a session")
        .json()
        .await
        .expect("json");
    let token = session["token"].as_str().expect("a token");
    for (id, question, answer) in [("q1", "忘记密码怎么办", "验证码"), ("q2", "where is my parcel", "My orders")]
    {
        let post =
            stack.http.post(format!("{base}/messages")).bearer_auth(token).json(&json!({"id": id, "text": question}));
        let accepted = post.send().await.expect("an answer");
        assert_eq!(accepted.status(), StatusCode::ACCEPTED);
        let place = accepted.json::<Value>().await.expect("json")["seq"].as_u64().expect("its place");
        let reply = eventually("the reply on the page", async || {
            let url = format!("{base}/messages?after={place}&wait=5");
            let page: Value = stack.http.get(url).bearer_auth(token).send().await.ok()?.json().await.ok()?;
            page["messages"].as_array()?.iter().find(|message| message["seq"] == place + 1).cloned()
        })
        .await;
        assert!(reply["text"].as_str().is_some_and(|text| text.contains(answer)), "{reply}");
        // How the bot came to it is for the operator: `hoopoe ask --json` reads it from the transcript.
        assert!(!reply.to_string().contains("track_parcel") && !reply.to_string().contains("probability"), "{reply}");
    }
}

#[tokio::test]
async fn commands_steer_the_bot() {
    let stack = Stack::open().await;
    let bot = TelegramBot::connect(&stack).await;
    let mut heard = 0;
    for (words, expected) in [
        ("/start", "你好"),
        ("/lang zh", "中文"),
        ("where is my parcel", "我的订单"),
        ("/new", ""),
        ("where is my parcel", "My orders"),
        ("/help", "/lang"),
    ] {
        bot.say(21, words).await;
        heard += 1;
        let texts = bot.texts(21, heard).await;
        assert!(texts[heard - 1].contains(expected), "{words}: {texts:?}");
    }
}

#[tokio::test]
async fn joining_is_welcomed() {
    let stack = Stack::open().await;
    let bot = TelegramBot::connect(&stack).await;
    let member =
        |status: &str| json!({"user": {"id": 123_456_789, "is_bot": true, "first_name": "Bot"}, "status": status});
    let joined = json!({
        "update_id": 700_100_000,
        "my_chat_member": {
            "chat": {"id": 31, "type": "private", "first_name": "Ada"},
            "from": {"id": 31, "is_bot": false, "first_name": "Ada"},
            "date": 1_760_000_000,
            "old_chat_member": member("kicked"),
            "new_chat_member": member("member"),
        },
    });
    assert_eq!(bot.post(&joined).await, StatusCode::OK);
    assert_eq!(bot.texts(31, 1).await.len(), 1);
}
