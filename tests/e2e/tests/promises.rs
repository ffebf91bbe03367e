//! One message, one reply, in order, nothing lost: with faults injected on purpose.

use aws_sdk_dynamodb::types::AttributeValue;
use e2e::wait::eventually;
use e2e::{Stack, TelegramBot};
use reqwest::StatusCode;
use serde_json::json;
use wiremock::matchers::{method, path_regex};
use wiremock::{Mock, ResponseTemplate};

#[tokio::test]
async fn a_repeated_webhook_is_answered_once() {
    let stack = Stack::open().await;
    let bot = TelegramBot::connect(&stack).await;
    let update = bot.update(41, "where is my parcel");
    for _ in 0..3 {
        assert_eq!(bot.post(&update).await, StatusCode::OK, "a duplicate is acknowledged as the original was");
    }
    // What comes later goes the same way, so its reply tells that the duplicates had their chance.
    bot.say(41, "忘记密码怎么办").await;
    let texts = bot.texts(41, 2).await;
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[1].contains("验证码"), "{texts:?}");
}

#[tokio::test]
async fn quick_messages_are_answered_in_order() {
    let stack = Stack::open().await;
    let bot = TelegramBot::connect(&stack).await;
    let questions = ["忘记密码怎么办", "where is my parcel", "怎么开发票", "how do I return an item"];
    for question in questions {
        bot.say(42, question).await;
    }
    let texts = bot.texts(42, questions.len()).await;
    for (text, mark) in texts.iter().zip(["验证码", "My orders", "发票", "return"]) {
        assert!(text.contains(mark), "{texts:?}");
    }
}

#[tokio::test]
async fn a_poison_body_is_buried_with_its_reason_and_the_others_are_answered() {
    let stack = Stack::open().await;
    let bot = TelegramBot::connect(&stack).await;
    let poison = format!("{{\"v\":1,\"mark\":\"{}\"", bot.name);
    stack.enqueue("InboundQueueUrl", &poison).await;
    bot.say(43, "where is my parcel").await;
    stack.enqueue("InboundQueueUrl", "not even JSON").await;
    assert_eq!(bot.texts(43, 1).await.len(), 1);
    let letter = stack.dead_letter("InboundDeadLettersUrl", &bot.name).await;
    assert_eq!(letter.body, poison);
    assert!(letter.reason.contains("not a valid message"), "{letter:?}");
}

#[tokio::test]
async fn an_expired_session_is_not_read_though_it_is_still_there() {
    let stack = Stack::open().await;
    let bot = TelegramBot::connect(&stack).await;
    bot.say(44, "/lang zh").await;
    bot.texts(44, 1).await;
    bot.say(44, "where is my parcel").await;
    let texts = bot.texts(44, 2).await;
    assert!(texts[1].contains("我的订单"), "the chosen language holds: {texts:?}");
    let table = stack.output("SessionsTableName");
    let key = AttributeValue::S(format!("telegram/{}/44", bot.name));
    stack
        .dynamodb
        .update_item()
        .table_name(table)
        .key("conversation", key.clone())
        .update_expression("SET expires_at = :past")
        .condition_expression("attribute_exists(conversation)")
        .expression_attribute_values(":past", AttributeValue::N((e2e::wecom::now() - 10).to_string()))
        .send()
        .await
        .expect("the session is there");
    bot.say(44, "where is my parcel").await;
    let texts = bot.texts(44, 3).await;
    assert!(texts[2].contains("My orders"), "the choice ended with its session: {texts:?}");
}

#[tokio::test]
async fn a_send_that_fails_twice_is_repeated_until_it_works() {
    let stack = Stack::open().await;
    let bot = TelegramBot::connect_refusing(&stack).await;
    Mock::given(method("POST"))
        .and(path_regex("/sendMessage$"))
        .respond_with(
            ResponseTemplate::new(500).set_body_json(json!({"ok": false, "error_code": 500, "description": "x"})),
        )
        .up_to_n_times(2)
        .mount(&bot.api)
        .await;
    bot.takes_everything().await;
    bot.say(45, "where is my parcel").await;
    assert_eq!(bot.texts(45, 3).await.len(), 3, "two refused and one taken");
    bot.say(45, "忘记密码怎么办").await;
    let texts = bot.texts(45, 4).await;
    assert_eq!(texts.len(), 4, "the taken one is not repeated: {texts:?}");
    assert!(texts[2].contains("My orders") && texts[3].contains("验证码"), "{texts:?}");
}

#[tokio::test]
async fn a_send_that_never_works_is_a_dead_letter_with_the_platforms_reason() {
    let stack = Stack::open().await;
    let bot = TelegramBot::connect_refusing(&stack).await;
    let blocked = json!({"ok": false, "error_code": 403, "description": "Forbidden: bot was blocked by the user"});
    Mock::given(method("POST"))
        .and(path_regex("/sendMessage$"))
        .respond_with(ResponseTemplate::new(403).set_body_json(blocked))
        .mount(&bot.api)
        .await;
    bot.say(46, "where is my parcel").await;
    let listed = eventually("the letter in `hoopoe dlq list`", async || {
        let listed = stack.hoopoe(&["dlq", "list", "outbound", "--json"], "").await;
        listed.contains(&bot.name).then_some(listed)
    })
    .await;
    assert!(listed.contains("blocked by the user"), "{listed}");
    assert!(!listed.contains("My orders"), "a list never shows what was said: {listed}");
    let letter = stack.dead_letter("OutboundDeadLettersUrl", &bot.name).await;
    assert!(letter.reason.contains("blocked by the user"), "{letter:?}");
    assert_eq!(bot.sent(46).await.len(), 1, "a final refusal is not repeated");
}
