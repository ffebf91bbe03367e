//! A dead reply that is redriven arrives, once.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use e2e::wait::eventually;
use e2e::{Stack, TelegramBot};
use hoopoe_message::{BotId, Channel, Conversation, MessageId, Reply, Timestamp, wire};
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

/// As many as no single call of SQS gives, and more than a list shows by default.
#[tokio::test]
async fn hundreds_of_letters_are_each_listed_once_and_moved_once() {
    const LETTERS: u64 = 300;
    const CHATS: u64 = 30;
    let _alone = QUEUE.lock().await;
    let stack = Stack::open().await;
    let bot = TelegramBot::connect(&stack).await;
    let now = Timestamp::now();
    for index in 0..LETTERS {
        let chat = 5000 + index % CHATS;
        let reply = Reply {
            id: MessageId::try_from(format!("redriven-{index}")).expect("a valid id"),
            conversation: Conversation {
                channel: Channel::Telegram,
                bot: BotId::try_from(bot.name.clone()).expect("a bot"),
                chat: chat.to_string(),
            },
            address: json!({ "chat": chat }).to_string(),
            number: index / CHATS + 1,
            after: None,
            complete: false,
            pending_until: None,
            received_at: now,
            created_at: now,
            text: format!("letter {index}"),
            suggestions: vec![],
            decision: None,
        };
        stack.enqueue("OutboundDeadLettersUrl", &wire::encode(&reply)).await;
    }

    let listed = stack.run(&["dlq", "list", "outbound", "--json"], "").await;
    let rows: Vec<Value> = serde_json::from_slice(&listed.stdout).expect("JSON");
    let said = String::from_utf8_lossy(&listed.stderr);
    assert!(rows.len() == 100 && said.contains("more outbound dead letters"), "{} rows; {said}", rows.len());
    let all = stack.hoopoe(&["dlq", "list", "outbound", "--limit", "5000", "--json"], "").await;
    let mut rows: Vec<Value> = serde_json::from_str(&all).expect("JSON");
    rows.retain(|row| row["conversation"].as_str().is_some_and(|name| name.contains(&bot.name)));
    let ids: BTreeSet<_> = rows.iter().filter_map(|row| row["id"].as_str()).collect();
    assert_eq!((rows.len(), ids.len()), (300, 300), "each once, and all of them are back after the list before");

    let redriven = redrive(&stack, &[]).await;
    assert!(redriven["moved"].as_u64() >= Some(LETTERS), "{redriven}");
    assert_eq!(letters(&stack, &bot).await, 0);
    let texts = eventually("all letters", async || {
        let requests = bot.api.received_requests().await.expect("requests are recorded");
        let bodies = requests.iter().filter_map(|request| serde_json::from_slice::<Value>(&request.body).ok());
        let texts: Vec<String> = bodies.filter_map(|body| Some(body["text"].as_str()?.to_owned())).collect();
        (texts.len() >= 300).then_some(texts)
    })
    .await;
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    texts.into_iter().for_each(|text| *times.entry(text).or_default() += 1);
    assert!(times.len() == 300 && times.values().all(|times| *times == 1), "{times:?}");
}
