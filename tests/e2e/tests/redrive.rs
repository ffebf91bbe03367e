//! A dead reply that is redriven arrives, once.

use aws_sdk_dynamodb::types::AttributeValue;
use e2e::wait::eventually;
use e2e::{Stack, TelegramBot};
use hoopoe_message::{Reply, wire};
use serde_json::{Value, json};
use wiremock::matchers::{method, path_regex};
use wiremock::{Mock, ResponseTemplate};

/// Telegram does not take the next send, for good.
async fn refuses_one(bot: &TelegramBot<'_>) {
    let blocked = json!({"ok": false, "error_code": 403, "description": "Forbidden: bot was blocked by the user"});
    Mock::given(method("POST"))
        .and(path_regex("/sendMessage$"))
        .respond_with(ResponseTemplate::new(403).set_body_json(blocked))
        .up_to_n_times(1)
        .mount(&bot.api)
        .await;
}

/// Waits until the bot has one dead letter.
async fn dies(stack: &Stack, bot: &TelegramBot<'_>) {
    eventually("the dead letter", async || (letters(stack, bot).await == 1).then_some(())).await;
}

async fn letters(stack: &Stack, bot: &TelegramBot<'_>) -> usize {
    let listed = stack.hoopoe(&["dlq", "list", "outbound", "--json"], "").await;
    let listed: Vec<Value> = serde_json::from_str(&listed).expect("JSON");
    let of_bot = |letter: &&Value| letter["conversation"].as_str().is_some_and(|name| name.contains(&bot.name));
    listed.iter().filter(of_bot).count()
}

async fn redrive(stack: &Stack, options: &[&str]) -> Value {
    let arguments = [&["dlq", "redrive", "outbound", "--json"], options].concat();
    let redriven: Value = serde_json::from_str(&stack.hoopoe(&arguments, "").await).expect("JSON");
    redriven[0].clone()
}

/// The tests of this file share a dead-letter queue and redrive all of it.
static QUEUE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn a_dead_reply_that_is_redriven_arrives_once() {
    let _alone = QUEUE.lock().await;
    let stack = Stack::open().await;
    let bot = TelegramBot::connect_refusing(&stack).await;
    refuses_one(&bot).await;
    bot.takes_everything().await;
    bot.say(91, "where is my parcel").await;
    dies(&stack, &bot).await;
    let letter = stack.dead_letter("OutboundDeadLettersUrl", &bot.name).await;
    stack.enqueue("OutboundDeadLettersUrl", &letter.body).await;
    assert_eq!(bot.sent(91).await.len(), 1, "it was tried once");

    let redriven = redrive(&stack, &[]).await;
    assert!(redriven["moved"].as_u64() >= Some(1), "{redriven}");
    let texts = bot.texts(91, 2).await;
    assert!(texts[1].contains("My orders"), "{texts:?}");
    assert_eq!(letters(&stack, &bot).await, 0);

    // A second redrive finds nothing. Where the first was ended before it could delete the letter, it is known as sent.
    redrive(&stack, &[]).await;
    settled(&stack, &bot, &letter.body).await;
    stack.enqueue("OutboundDeadLettersUrl", &letter.body).await;
    let again = redrive(&stack, &[]).await;
    assert!(again["sent_before"].as_u64() >= Some(1), "{again}");
    assert_eq!(letters(&stack, &bot).await, 0);
    // Also a copy that stands in the queue, as one that was sent before the command ended would.
    stack.enqueue("OutboundQueueUrl", &letter.body).await;
    bot.say(91, "忘记密码怎么办").await;
    let texts = bot.texts(91, 3).await;
    assert_eq!(texts.len(), 3, "nothing was said twice: {texts:?}");
    assert!(texts[2].contains("验证码"), "{texts:?}");
}

/// Waits until the record says that the reply was sent.
async fn settled(stack: &Stack, bot: &TelegramBot<'_>, body: &str) {
    let reply: Reply = wire::decode(body).expect("a reply");
    eventually("the record of the send", async || {
        let key = AttributeValue::S(format!("telegram/{}/91", bot.name));
        let read = stack.dynamodb.get_item().table_name(stack.output("SendsTableName")).key("conversation", key);
        let item = read.consistent_read(true).send().await.expect("the table answers").item?;
        let last: u64 = item.get("last")?.as_n().ok()?.parse().ok()?;
        (last >= reply.number && !item.contains_key("open")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_reply_that_dies_again_can_be_redriven_again() {
    let _alone = QUEUE.lock().await;
    let stack = Stack::open().await;
    let bot = TelegramBot::connect_refusing(&stack).await;
    refuses_one(&bot).await;
    bot.say(92, "where is my parcel").await;
    dies(&stack, &bot).await;
    refuses_one(&bot).await;
    redrive(&stack, &[]).await;
    eventually("the second refusal", async || (bot.sent(92).await.len() == 2).then_some(())).await;
    dies(&stack, &bot).await;
    bot.takes_everything().await;
    redrive(&stack, &[]).await;
    assert_eq!(bot.texts(92, 3).await.len(), 3);
    assert_eq!(letters(&stack, &bot).await, 0);
}

#[tokio::test]
async fn what_the_platform_may_have_stays_until_the_operator_asks_for_it() {
    let _alone = QUEUE.lock().await;
    let stack = Stack::open().await;
    let bot = TelegramBot::connect_refusing(&stack).await;
    let taken = json!({"ok": true, "result": {"message_id": 1}});
    // Telegram takes it and its answer comes too late: functions wait for eight seconds.
    Mock::given(method("POST"))
        .and(path_regex("/sendMessage$"))
        .respond_with(ResponseTemplate::new(200).set_body_json(taken).set_delay(std::time::Duration::from_secs(20)))
        .up_to_n_times(1)
        .mount(&bot.api)
        .await;
    bot.takes_everything().await;
    bot.say(93, "where is my parcel").await;
    dies(&stack, &bot).await;
    let kept = redrive(&stack, &[]).await;
    assert!(kept["unknown"].as_u64() >= Some(1), "{kept}");
    assert_eq!(letters(&stack, &bot).await, 1, "it stays");
    assert_eq!(bot.sent(93).await.len(), 1, "and is not sent");
    let said = stack.hoopoe(&["dlq", "redrive", "outbound"], "").await;
    assert!(said.contains("left: the platform may have them") && said.contains("--unknown"), "{said}");

    redrive(&stack, &["--unknown"]).await;
    assert_eq!(bot.texts(93, 2).await.len(), 2);
    assert_eq!(letters(&stack, &bot).await, 0);
}
