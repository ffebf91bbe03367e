//! The life of keys on a stack that is in use: rotated under load, refused once revoked, and looked after by the scheduled
//! function.

#![expect(clippy::print_stdout, reason = "what the operator sees is shown in the docs")]

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_lambda::primitives::Blob;
use e2e::stack::Notices;
use e2e::wait::eventually;
use e2e::{Stack, TelegramBot, telegram};
use hoopoe_keyring::{Actor, Audit, KeyName, Move, Purpose, Vault};
use hoopoe_message::Channel;
use reqwest::StatusCode;
use serde_json::{Value, json};
use wiremock::{Mock, Request, Respond, ResponseTemplate, matchers};

/// The pause between two messages of the load. The local stack handles about twenty messages a second.
const BETWEEN: Duration = Duration::from_millis(150);

/// Telegram with a memory: which secret it sends along, where it posts, which bot token it accepts, and whom the bot
/// answered how often.
#[derive(Clone)]
struct Telegram(Arc<Mutex<Known>>);

struct Known {
    url: String,
    secret: String,
    token: String,
    answers: BTreeMap<u64, u32>,
}

impl Telegram {
    async fn stand_in(bot: &TelegramBot<'_>, url: String) -> Self {
        let known =
            Known { url, secret: telegram::SECRET.into(), token: telegram::TOKEN.into(), answers: BTreeMap::new() };
        let telegram = Self(Arc::new(Mutex::new(known)));
        Mock::given(matchers::any()).respond_with(telegram.clone()).mount(&bot.api).await;
        telegram
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().expect("no panic")
    }

    fn secret(&self) -> String {
        self.known().secret.clone()
    }
}

impl Respond for Telegram {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut known = self.known();
        let Some(method) = request.url.path().strip_prefix(&format!("/bot{}/", known.token)) else {
            let refused = json!({"ok": false, "error_code": 401, "description": "Unauthorized"});
            return ResponseTemplate::new(401).set_body_json(refused);
        };
        let body = || serde_json::from_slice::<Value>(&request.body).expect("JSON");
        let result = match method {
            "getMe" => json!({"id": 123_456_789, "is_bot": true, "first_name": "E2E", "username": "e2e_bot"}),
            "getWebhookInfo" => json!({"url": known.url, "pending_update_count": 0}),
            "setWebhook" => {
                known.secret = body()["secret_token"].as_str().expect("a secret token").into();
                json!(true)
            }
            "sendMessage" => {
                *known.answers.entry(body()["chat_id"].as_u64().expect("a chat")).or_default() += 1;
                json!({"message_id": 1})
            }
            other => panic!("the bot calls {other}"),
        };
        ResponseTemplate::new(200).set_body_json(json!({"ok": true, "result": result}))
    }
}

/// Runs `hoopoe` as an operator does, and shows what that looks like.
async fn operator(stack: &Stack, command: &str, input: &str) -> String {
    let printed = stack.hoopoe(&command.split(' ').collect::<Vec<_>>(), input).await;
    println!("$ hoopoe {command}\n{printed}");
    printed
}

/// People who say something, in one chat after the other.
struct Load(AtomicU64);

impl Load {
    /// How many messages were accepted.
    fn accepted(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits until a few more are.
    async fn some(&self) {
        let before = self.accepted();
        eventually("a few more messages", async || (self.accepted() >= before + 5).then_some(())).await;
    }

    /// Does something while people talk: messages are accepted before it, meanwhile and after it.
    async fn during(&self, what: &str, step: impl Future) {
        self.some().await;
        let before = self.accepted();
        step.await;
        let meanwhile = self.accepted() - before;
        println!("{meanwhile} messages were accepted during {what}");
        assert!(meanwhile > 0, "no message was accepted during {what}");
        self.some().await;
    }
}

/// Lets people talk while `operator` is at work, with the secret that Telegram sends along at that moment. No message is
/// refused, and in the end everybody got one answer.
async fn under_load(bot: &TelegramBot<'_>, telegram: &Telegram, operator: impl AsyncFnOnce(&Load)) {
    let load = Load(AtomicU64::new(0));
    let people = async {
        loop {
            let update = bot.update(10_000 + load.accepted(), "where is my parcel");
            assert_eq!(bot.post_with(&update, &telegram.secret()).await, StatusCode::OK, "{update}");
            load.0.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(BETWEEN).await;
        }
    };
    tokio::select! {
        () = people => unreachable!("people never stop talking"),
        () = operator(&load) => {}
    }
    let accepted = load.accepted();
    // One more may have been on its way when the load ended.
    eventually(&format!("answers to {accepted} messages"), async || {
        (0..accepted).all(|at| telegram.known().answers.contains_key(&(10_000 + at))).then_some(())
    })
    .await;
    println!("{accepted} messages were accepted, and each was answered once");
    let twice: Vec<_> = telegram.known().answers.clone().into_iter().filter(|(_, answers)| *answers != 1).collect();
    assert!(twice.is_empty(), "chats with more than one answer: {twice:?}");
}

fn settings(token: &str) -> String {
    json!({"bot_token": token, "secret_token": telegram::SECRET}).to_string()
}

async fn keys(stack: &Stack, bot: &str) -> Vec<Value> {
    let listed: Vec<Value> =
        serde_json::from_str(&stack.hoopoe(&["keys", "list", "telegram", "--json"], "").await).expect("JSON");
    listed.into_iter().filter(|row| row["bot"] == bot).collect()
}

/// The states of a bot's versions: `(purpose, version, state)`.
async fn states(stack: &Stack, bot: &str) -> Vec<(String, u64, String)> {
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    let row = |row: Value| (word(&row["purpose"]), row["version"].as_u64().expect("a number"), word(&row["state"]));
    keys(stack, bot).await.into_iter().map(row).collect()
}

fn state(purpose: &str, version: u64, state: &str) -> (String, u64, String) {
    (purpose.into(), version, state.into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_secret_is_rotated_under_load_and_no_message_fails() {
    let stack = Stack::open().await;
    let bot = TelegramBot::connect_refusing(&stack).await;
    let telegram = Telegram::stand_in(&bot, stack.webhook("telegram", &bot.name)).await;
    under_load(&bot, &telegram, async |load| {
        let rotate = format!("keys rotate telegram --bot {}", bot.name);
        for rotation in ["the first rotation", "the second rotation"] {
            load.during(rotation, operator(&stack, &rotate, "")).await;
        }
        operator(&stack, &format!("keys list telegram --bot {}", bot.name), "").await;
    })
    .await;
    assert_ne!(telegram.secret(), telegram::SECRET);
    let expected = [
        state("webhook", 1, "previous"),
        state("webhook", 2, "previous"),
        state("webhook", 3, "current"),
        state("send", 1, "current"),
    ];
    assert_eq!(states(&stack, &bot.name).await, expected);
    let audit = stack.hoopoe(&["keys", "audit", "telegram", "--json"], "").await;
    let audit: Vec<Value> = serde_json::from_str(&audit).expect("JSON");
    let key = format!("telegram/{}/webhook", bot.name);
    let moves: Vec<&str> =
        audit.iter().filter(|row| row["key"] == key).filter_map(|row| row["action"].as_str()).collect();
    let rotation = ["added", "replaced", "promoted"];
    assert_eq!(moves, [&["added, in force"][..], &rotation, &rotation].concat());
    assert!(audit.iter().all(|row| row["who"].as_str().is_some_and(|who| who.starts_with("arn:"))), "{audit:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_token_that_ends_at_once_is_replaced_under_load_and_no_reply_is_lost() {
    let stack = Stack::open().await;
    let bot = TelegramBot::connect_refusing(&stack).await;
    let telegram = Telegram::stand_in(&bot, stack.webhook("telegram", &bot.name)).await;
    let new = "123456789:BBnew-token_of_the-e2e-tests-0123456789";
    let base = bot.api.uri();
    let mut complete: Value = serde_json::from_str(&settings(new)).expect("JSON");
    complete["api_base"] = base.into();
    under_load(&bot, &telegram, async |load| {
        load.some().await;
        // @BotFather's /revoke: the old token is over before the new one is stored.
        telegram.known().token = new.into();
        operator(&stack, &format!("keys add telegram --bot {}", bot.name), &complete.to_string()).await;
        let rotate = format!("keys rotate telegram --bot {}", bot.name);
        load.during("the rotation", operator(&stack, &rotate, "")).await;
    })
    .await;
    let states = states(&stack, &bot.name).await;
    assert!(
        states.contains(&state("send", 2, "current")) && states.contains(&state("send", 1, "previous")),
        "{states:?}"
    );
    let verified = stack.hoopoe(&["keys", "verify", "telegram", "--bot", &bot.name, "--json"], "").await;
    let verified: Vec<Value> = serde_json::from_str(&verified).expect("JSON");
    let row = |version: u64| {
        verified.iter().find(|row| row["version"] == version && row["key"] == format!("telegram/{}/send", bot.name))
    };
    assert_eq!(row(2).expect("the new version")["test"], "accepted");
    assert!(
        row(1).expect("the old version")["test"].as_str().expect("words").contains("does not accept"),
        "{verified:?}"
    );
    assert!(row(2).expect("the new version")["accepted"].as_u64() > Some(0), "its uses are counted: {verified:?}");
}

#[tokio::test]
async fn a_wrong_new_token_is_not_put_in_force() {
    let stack = Stack::open().await;
    let bot = TelegramBot::connect_refusing(&stack).await;
    Telegram::stand_in(&bot, stack.webhook("telegram", &bot.name)).await;
    let mut wrong: Value =
        serde_json::from_str(&settings("123456789:CCwrong-token_of_the-e2e-tests-01234567")).expect("JSON");
    wrong["api_base"] = bot.api.uri().into();
    stack.hoopoe(&["keys", "add", "telegram", "--bot", &bot.name], &wrong.to_string()).await;
    let refused = stack.hoopoe_fails(&["keys", "rotate", "telegram", "--bot", &bot.name], "").await;
    assert!(refused.contains("stays pending") && refused.contains("does not accept"), "{refused}");
    assert!(!refused.contains("CCwrong"), "{refused}");
    let again = stack.hoopoe_fails(&["keys", "add", "telegram", "--bot", &bot.name], &settings(telegram::TOKEN)).await;
    // The command that it names does what it says.
    let named = again.split('`').filter(|words| words.starts_with("hoopoe "));
    let (_, named) = named
        .filter_map(|words| words.split_once(" keys destroy "))
        .next()
        .expect("the command that destroys a version");
    let command: Vec<&str> = ["keys", "destroy", "--yes"].into_iter().chain(named.split(' ')).collect();
    let unasked: Vec<&str> = command.iter().copied().filter(|word| *word != "--yes").collect();
    let refused = stack.hoopoe_fails(&unasked, "y\n").await;
    assert!(refused.contains("Nothing was done") && refused.contains("--yes"), "{refused}");
    stack.hoopoe(&command, "").await;
    bot.say(52, "where is my parcel").await;
    assert_eq!(bot.texts(52, 1).await.len(), 1);
}

#[tokio::test]
async fn a_revoked_version_is_refused_within_the_cache_time() {
    let stack = Stack::open().await;
    let bot = TelegramBot::connect(&stack).await;
    bot.say(51, "where is my parcel").await;
    stack
        .hoopoe(
            &["keys", "revoke", "telegram", "--yes", "--bot", &bot.name, "--purpose", "webhook", "--version", "1"],
            "",
        )
        .await;
    let update = bot.update(51, "where is my parcel");
    eventually("the end of the revoked secret", async || {
        (bot.post(&update).await == StatusCode::NOT_FOUND).then_some(())
    })
    .await;
    let arguments = ["channel", "add", "telegram", "--bot", &bot.name, "--api-base", &bot.api.uri()];
    stack.hoopoe(&arguments, &settings(telegram::TOKEN)).await;
    eventually("the bot again", async || (bot.post(&update).await == StatusCode::OK).then_some(())).await;
}

/// Held by a test that runs the scheduled function: two runs at once may each tell the operator the same.
static SCHEDULE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The scheduled function, and a queue that hears what the operator is told.
struct Scheduled<'a> {
    _alone: tokio::sync::MutexGuard<'static, ()>,
    stack: &'a Stack,
    lambda: aws_sdk_lambda::Client,
    notices: Notices,
}

impl<'a> Scheduled<'a> {
    async fn new(stack: &'a Stack) -> Self {
        let alone = SCHEDULE.lock().await;
        let notices = stack.notices().await;
        Self { _alone: alone, stack, lambda: aws_sdk_lambda::Client::new(&stack.config), notices }
    }

    /// Runs it. Bots of other tests may make it fail, which keeps it from nothing.
    async fn run(&self) {
        let name = self.stack.output("rotateFunctionName");
        self.lambda.invoke().function_name(name).payload(Blob::new("{}")).send().await.expect("it runs");
    }

    /// What the operator was told of a bot since the last time.
    async fn told(&self, bot: &str) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            let received = self.stack.sqs.receive_message().queue_url(&self.notices.queue).max_number_of_messages(10);
            let messages = received.send().await.expect("the queue answers").messages.unwrap_or_default();
            if messages.is_empty() {
                return told;
            }
            for message in messages {
                let body = message.body.unwrap_or_default();
                told.extend(body.contains(bot).then_some(body));
                let receipt = message.receipt_handle.unwrap_or_default();
                self.stack
                    .sqs
                    .delete_message()
                    .queue_url(&self.notices.queue)
                    .receipt_handle(receipt)
                    .send()
                    .await
                    .expect("gone");
            }
        }
    }

    /// Makes a version older than it is.
    async fn age(&self, key: &str, version: u64, attribute: &str, hours: u64) {
        let then = e2e::wecom::now() - hours * 3600;
        self.stack
            .dynamodb
            .update_item()
            .table_name(self.stack.output("KeysTableName"))
            .key("key", AttributeValue::S(key.to_owned()))
            .key("version", AttributeValue::N(version.to_string()))
            .update_expression("SET #attribute = :then")
            .condition_expression("attribute_exists(#key)")
            .expression_attribute_names("#attribute", attribute)
            .expression_attribute_names("#key", "key")
            .expression_attribute_values(":then", AttributeValue::N(then.to_string()))
            .send()
            .await
            .expect("the version is there");
    }
}

#[tokio::test]
async fn the_schedule_rotates_what_it_can_and_tells_of_the_rest_once() {
    let stack = Stack::open().await;
    let scheduled = Scheduled::new(&stack).await;
    let bot = TelegramBot::connect_refusing(&stack).await;
    let telegram = Telegram::stand_in(&bot, stack.webhook("telegram", &bot.name)).await;
    let [webhook, send] = ["webhook", "send"].map(|purpose| format!("telegram/{}/{purpose}", bot.name));

    scheduled.age(&send, 1, "created_at", 24 * 76).await;
    scheduled.age(&webhook, 1, "created_at", 24 * 89).await;
    scheduled.run().await;
    let told = scheduled.told(&bot.name).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("75 days") && told[0].contains("BotFather"), "it says what to do: {told:?}");
    assert_eq!(telegram.secret(), telegram::SECRET, "89 days are not 90");
    scheduled.run().await;
    assert_eq!(scheduled.told(&bot.name).await, [] as [String; 0], "once is enough");

    // At 90 days it is Telegram's turn, by itself.
    scheduled.age(&webhook, 1, "created_at", 24 * 90).await;
    scheduled.run().await;
    assert_ne!(telegram.secret(), telegram::SECRET);
    let update = bot.update(53, "where is my parcel");
    assert_eq!(bot.post_with(&update, &telegram.secret()).await, StatusCode::OK);
    assert!(states(&stack, &bot.name).await.contains(&state("webhook", 2, "current")));

    // Used, and when it has been watched for long enough: the old version is not accepted any more. A month later it is gone.
    scheduled.age(&webhook, 2, "since", 27).await;
    scheduled.run().await;
    let row = |version: u64, all: Vec<Value>| {
        all.into_iter().find(|row| row["purpose"] == "webhook" && row["version"] == version)
    };
    assert_eq!(row(2, keys(&stack, &bot.name).await).expect("there")["watched"], false);
    assert_eq!(row(1, keys(&stack, &bot.name).await).expect("kept")["live"], false);
    eventually("the end of the old secret", async || {
        (bot.post(&bot.update(53, "hello")).await == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    scheduled.age(&webhook, 1, "since", 24 * 30).await;
    scheduled.run().await;
    assert!(row(1, keys(&stack, &bot.name).await).is_none(), "a destroyed version is not listed");
}

/// What a killed `rotate` left behind, at each step: the schedule goes on from there.
#[tokio::test]
async fn the_schedule_goes_on_where_a_rotation_was_killed() {
    let stack = Stack::open().await;
    let scheduled = Scheduled::new(&stack).await;
    let bot = TelegramBot::connect_refusing(&stack).await;
    let telegram = Telegram::stand_in(&bot, stack.webhook("telegram", &bot.name)).await;
    // Created and not set: Telegram still sends the old secret.
    let pending = json!({"bot_token": telegram::TOKEN, "secret_token": "another_secret_of_the-tests"});
    let mut pending: Value = pending;
    pending["api_base"] = bot.api.uri().into();
    stack.hoopoe(&["keys", "add", "telegram", "--bot", &bot.name], &pending.to_string()).await;
    assert!(states(&stack, &bot.name).await.contains(&state("webhook", 2, "pending")));
    for secret in [telegram::SECRET, "another_secret_of_the-tests"] {
        eventually("both secrets to be accepted", async || {
            (bot.post_with(&bot.update(54, "hello"), secret).await == StatusCode::OK).then_some(())
        })
        .await;
    }
    scheduled.run().await;
    assert_eq!(telegram.secret(), "another_secret_of_the-tests");
    assert!(states(&stack, &bot.name).await.contains(&state("webhook", 2, "current")));
    scheduled.run().await;
    assert!(states(&stack, &bot.name).await.contains(&state("webhook", 2, "current")), "run twice, it is done once");
}

#[tokio::test]
async fn a_secret_that_is_too_long_for_kms_comes_back_whole() {
    let stack = Stack::open().await;
    let actor = Actor { who: "arn:aws:iam::000000000000:root".into(), origin: "e2e".into() };
    let day = Duration::from_secs(24 * 3600);
    let audit = Audit::new(&stack.config, stack.output("AuditTableName").into(), actor, day);
    let (table, alias) = (stack.output("KeysTableName").to_owned(), stack.output("KeyAlias").to_owned());
    let vault = Vault::new(&stack.config, table, alias, audit);
    let bot = Stack::new_bot().parse().expect("a name");
    let key = KeyName { channel: Channel::Feishu, bot, purpose: Purpose::Send };
    for length in [4096, 4097, 20_000] {
        let secret = vec![b'x'; length];
        let version = vault.replace(&key, &secret).await.expect("stored").number;
        assert!(vault.open(&key, version).await.expect("opened").as_slice() == secret, "{length} bytes");
    }
    let items = stack.dynamodb.scan().table_name(stack.output("KeysTableName")).send().await.expect("a table").items;
    let plain = items.unwrap_or_default().into_iter().flat_map(HashMap::into_values).any(|value| match value {
        AttributeValue::B(bytes) => bytes.as_ref().windows(16).any(|window| window == [b'x'; 16]),
        _ => false,
    });
    assert!(!plain, "nothing of it stands readable in the table");
    vault.step(&key, Move::Remove).await.expect("removed");
}
