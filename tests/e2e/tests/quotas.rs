//! What a key may do holds for all running functions together.

use std::future::poll_fn;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use e2e::wait::eventually;
use e2e::{Stack, TelegramBot};
use hoopoe_keyring::{KeyName, Purpose, Quota, Quotas, Turn};
use hoopoe_message::{BotId, Channel, Conversation, MessageId, Reply, Timestamp};
use hoopoe_queue::consumer::{Consumer, PutOff};
use hoopoe_queue::{QueueSender, Record};
use serde_json::{Value, json};
use wiremock::matchers::{method, path_regex};
use wiremock::{Mock, Request, ResponseTemplate};

/// As many functions, each with a memory of its own.
const FUNCTIONS: usize = 50;

/// How long `deliver` waits for a turn.
const PATIENCE: Duration = Duration::from_secs(1);

/// Functions that share a key, and a count of the calls they make to DynamoDB: all of them writes.
struct Functions {
    quotas: Vec<Arc<Quotas>>,
    key: KeyName,
    writes: Arc<AtomicU64>,
}

impl Functions {
    fn new(stack: &Stack, count: usize) -> Self {
        let writes = Arc::new(AtomicU64::new(0));
        let http = stack.config.http_client().expect("the stack's configuration has one");
        let counted = Counted { inner: http, calls: Arc::clone(&writes) };
        let config = stack.config.to_builder().http_client(SharedHttpClient::new(counted)).build();
        let table = stack.output("UsageTableName");
        let bot: BotId = Stack::new_bot().parse().expect("a name");
        Self {
            quotas: (0..count).map(|_| Arc::new(Quotas::new(&config, table.to_owned()))).collect(),
            key: KeyName { channel: Channel::Telegram, bot, purpose: Purpose::Send },
            writes,
        }
    }

    /// Lets `callers` in each function call as often as they may for a while, with a pause after each call, and returns
    /// when the calls went.
    async fn call(&self, quota: Quota, callers: usize, lasting: Duration, pause: Duration) -> Measured {
        let began = Instant::now();
        let (asks, turned_away) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        self.writes.store(0, Ordering::SeqCst);
        let running: Vec<_> = (0..callers)
            .flat_map(|_| &self.quotas)
            .map(|quotas| {
                let (quotas, key) = (Arc::clone(quotas), self.key.clone());
                let (asks, turned_away) = (Arc::clone(&asks), Arc::clone(&turned_away));
                tokio::spawn(async move {
                    let mut went = Vec::new();
                    while began.elapsed() < lasting {
                        asks.fetch_add(1, Ordering::SeqCst);
                        let asked = began.elapsed();
                        match timed(began, quotas.take(&key, quota, 1, PATIENCE)).await {
                            (Ok(Turn::Now), call) => {
                                went.push(call);
                                tokio::time::sleep(pause).await;
                            }
                            (Ok(Turn::After(wait)), (_, answered)) => {
                                // Otherwise it may be that its patience was at an end before the table answered.
                                let at_once = answered - asked < PATIENCE / 2;
                                turned_away.fetch_add(u64::from(at_once), Ordering::SeqCst);
                                tokio::time::sleep(wait.min(lasting)).await;
                            }
                            (Err(error), _) => panic!("the table does not answer: {error}"),
                        }
                    }
                    went
                })
            })
            .collect();
        let mut calls = Vec::new();
        for caller in running {
            calls.extend(caller.await.expect("it does not panic"));
        }
        calls.sort_unstable();
        Measured {
            calls,
            asks: asks.load(Ordering::SeqCst),
            turned_away: turned_away.load(Ordering::SeqCst),
            writes: self.writes.load(Ordering::SeqCst),
            took: began.elapsed(),
        }
    }
}

/// The times between which something became so.
type Between = (Duration, Duration);

/// The result of a future, and between which times since `began` it was decided: while it was polled for the last time. A
/// machine that is slow makes the time between them longer, and what is said of them stays true.
async fn timed<T>(began: Instant, future: impl Future<Output = T>) -> (T, Between) {
    let mut future = pin!(future);
    let mut polled = Duration::ZERO;
    let result = poll_fn(|context| {
        polled = began.elapsed();
        future.as_mut().poll(context)
    })
    .await;
    (result, (polled, began.elapsed()))
}

struct Measured {
    /// When each call got its turn.
    calls: Vec<Between>,
    /// How often a turn was asked for.
    asks: u64,
    /// How often the answer was to come again, though there was time left to wait.
    turned_away: u64,
    writes: u64,
    took: Duration,
}

impl Measured {
    /// The most calls that surely went in any window of this length.
    fn most(&self, window: Duration) -> usize {
        let within =
            |from: Duration| self.calls.iter().filter(|(after, by)| *after >= from && *by <= from + window).count();
        self.calls.iter().map(|(after, _)| within(*after)).max().unwrap_or(0)
    }

    /// No window holds more than the bound that `hoopoe_keyring::quota` states, for functions that have one clock.
    fn keeps(&self, quota: Quota, what: &str) {
        let rate = f64::from(quota.per_second.get());
        for window in [0.1, 1.0, 2.0, 5.0] {
            let most = self.most(Duration::from_secs_f64(window));
            let bound = rate * (window + 1.0 + 0.1) + 1.0;
            eprintln!("{what}: at most {most} calls in {window} s; limit {:.0}, bound {bound:.0}", rate * window);
            assert!(most as f64 <= bound, "{what}: {most} calls in {window} s");
        }
        eprintln!(
            "{what}: {} calls in {:.1} s, {:.1}/s, {:.2} writes per call, {:.2} per ask",
            self.calls.len(),
            self.took.as_secs_f64(),
            self.calls.len() as f64 / self.took.as_secs_f64(),
            self.writes as f64 / self.calls.len() as f64,
            self.writes as f64 / self.asks as f64
        );
    }
}

/// How much of the rate they use, and how many writes that costs, is the machine's affair as well: a slot whose time is over
/// when the table answers is lost. `hoopoe_keyring::quota::rate` shows both with a clock of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_functions_keep_one_rate() {
    let stack = Stack::open().await;
    for tier in ["standard", "high"] {
        let quota = Quota::tier(tier).expect("a tier");
        let functions = Functions::new(&stack, FUNCTIONS);
        let measured = functions.call(quota, 1, Duration::from_secs(8), Duration::ZERO).await;
        measured.keeps(quota, &format!("{FUNCTIONS} functions, {tier}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_function_writes_about_once_a_second() {
    let stack = Stack::open().await;
    let functions = Functions::new(&stack, 1);
    let measured = functions.call(Quota::default(), 10, Duration::from_secs(8), Duration::ZERO).await;
    measured.keeps(Quota::default(), "1 function, 10 callers");
    let most = 5.0 + 2.0 * measured.took.as_secs_f64();
    assert!((measured.writes as f64) < most, "{} writes in {:?}", measured.writes, measured.took);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_below_the_limit_are_not_turned_away() {
    let stack = Stack::open().await;
    let functions = Functions::new(&stack, 4);
    let measured = functions.call(Quota::default(), 1, Duration::from_secs(6), Duration::from_secs(1)).await;
    measured.keeps(Quota::default(), "4 functions, a call a second each");
    assert_eq!(measured.turned_away, 0, "of {} asks", measured.asks);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_call_costs_one_write_and_reserves_nothing_more() {
    let stack = Stack::open().await;
    let functions = Functions::new(&stack, 1);
    let quota = Quota { per_day: Some(1000), ..Quota::default() };
    for _ in 0..3 {
        let (asked, before) = (Instant::now(), functions.writes.load(Ordering::SeqCst));
        let turn = functions.quotas[0].take(&functions.key, quota, 1, Duration::ZERO).await.expect("an answer");
        let writes = functions.writes.load(Ordering::SeqCst) - before;
        // A slot whose time is over when the table answers is lost, and another one is reserved.
        if asked.elapsed() < Duration::from_millis(400) {
            assert_eq!((turn, writes), (Turn::Now, 2), "one for the rate and one for the day");
        }
        tokio::time::sleep(Duration::from_millis(1600)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_is_used_up_and_never_exceeded() {
    const BUDGET: u64 = 500;
    let stack = Stack::open().await;
    let quota = Quota { per_second: NonZeroU32::new(1000).expect("not zero"), per_day: Some(BUDGET) };
    let functions = Functions::new(&stack, FUNCTIONS);
    let (day, began, went) = (today(), Instant::now(), Arc::new(AtomicU64::new(0)));
    let running: Vec<_> = (0..4)
        .flat_map(|_| &functions.quotas)
        .map(|quotas| {
            let (quotas, key, went) = (Arc::clone(quotas), functions.key.clone(), Arc::clone(&went));
            tokio::spawn(async move {
                // Where the table is slower than a slot's life, hardly any call ever goes.
                while began.elapsed() < Duration::from_secs(60) {
                    match quotas.take(&key, quota, 1, Duration::from_secs(10)).await.expect("the table answers") {
                        Turn::Now => went.fetch_add(1, Ordering::SeqCst),
                        Turn::After(wait) if wait > Duration::from_secs(10) => return Some(wait),
                        Turn::After(wait) => {
                            tokio::time::sleep(wait).await;
                            0
                        }
                    };
                }
                None
            })
        })
        .collect();
    let mut used_up = false;
    for caller in running {
        let wait = caller.await.expect("it does not panic");
        assert!(wait <= Some(Duration::from_secs(24 * 3600)), "until midnight and no longer: {wait:?}");
        used_up |= wait.is_some();
    }
    let (went, writes) = (went.load(Ordering::SeqCst), functions.writes.load(Ordering::SeqCst));
    eprintln!("a budget of {BUDGET} under contention: {went} calls, {writes} writes for rate and budget");
    if day == today() {
        assert!(went <= BUDGET && (went == BUDGET || !used_up), "{went} calls went, used up: {used_up}");
    }
    assert!(quota.per_day.is_some_and(|day| day >= BUDGET));
}

fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs() / (24 * 3600)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_beyond_the_quota_wait_and_all_go_out_once() {
    const REPLIES: u64 = 40;
    let stack = Stack::open().await;
    let bot = TelegramBot::connect_refusing(&stack).await;
    let sent = recorded_sends(&bot).await;
    // The platform takes nothing for the next seconds: every reply has to wait first.
    let (began, paused) = (Instant::now(), Duration::from_secs(6));
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    let id: BotId = bot.name.parse().expect("a name");
    stack
        .dynamodb
        .put_item()
        .table_name(stack.output("UsageTableName"))
        .item("key", AttributeValue::S(format!("telegram/{id}/send")))
        .item("name", AttributeValue::S("rate".into()))
        .item("next_at", AttributeValue::N((since + paused).as_micros().to_string()))
        .item("paused_until", AttributeValue::N((since + paused).as_micros().to_string()))
        .send()
        .await
        .expect("the table takes it");
    let replies: Vec<Reply> = (1..=REPLIES).map(|chat| reply(&id, chat)).collect();
    let outbound = QueueSender::new(&stack.config, stack.output("OutboundQueueUrl").to_owned());
    for queued in outbound.send_all(replies.iter().map(|reply| (&reply.conversation, reply))).await {
        queued.expect("the queue takes it");
    }
    let sent = eventually("every reply", async || {
        let sent = sent.lock().expect("nobody panics").clone();
        (sent.len() as u64 >= REPLIES).then_some(sent)
    })
    .await;
    let mut chats: Vec<u64> = sent.iter().map(|(_, chat)| *chat).collect();
    chats.sort_unstable();
    assert_eq!(chats, (1..=REPLIES).collect::<Vec<_>>(), "each once");
    eprintln!("{REPLIES} replies in {:?} after {paused:?} of waiting", began.elapsed());
    nothing_goes_before_its_slot(&sent, began + paused, Quota::default());

    for reply in &replies {
        eventually("the record of a send", async || {
            let item = stack
                .dynamodb
                .get_item()
                .table_name(stack.output("SendsTableName"))
                .key("conversation", AttributeValue::S(reply.conversation.to_string()))
                .send()
                .await
                .expect("the table answers");
            let last: u64 = item.item()?.get("last")?.as_n().ok()?.parse().ok()?;
            (last >= reply.number && !item.item()?.contains_key("open")).then_some(())
        })
        .await;
    }
    let dead = stack.hoopoe(&["dlq", "list", "outbound", "--json"], "").await;
    assert!(!dead.contains(&bot.name), "{dead}");
}

/// Each send that came had a slot of its own, and came after that: the slots are `1/rate` apart, from `first` on. How late
/// it comes is the machine's affair.
fn nothing_goes_before_its_slot(sent: &[(Instant, u64)], first: Instant, quota: Quota) {
    let mut times: Vec<Instant> = sent.iter().map(|(at, _)| *at).collect();
    times.sort_unstable();
    for (slot, at) in (0..).zip(times) {
        // The clocks of the functions and of this test may be read in another order than the code says.
        let earliest = first + Duration::from_secs(1) * slot / quota.per_second.get() - Duration::from_millis(20);
        assert!(at >= earliest, "send {slot} came {:?} before its slot", earliest - at);
    }
}

/// A Telegram that takes every send and notes when it came, and for which chat.
async fn recorded_sends(bot: &TelegramBot<'_>) -> Arc<Mutex<Vec<(Instant, u64)>>> {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&sent);
    Mock::given(method("POST"))
        .and(path_regex("/sendMessage$"))
        .respond_with(move |request: &Request| {
            let body: Value = serde_json::from_slice(&request.body).expect("JSON");
            recorded.lock().expect("nobody panics").push((Instant::now(), body["chat_id"].as_u64().expect("a chat")));
            ResponseTemplate::new(200).set_body_json(json!({"ok": true, "result": {"message_id": 1}}))
        })
        .mount(&bot.api)
        .await;
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_quota_that_an_operator_sets_is_the_one_that_holds() {
    const REPLIES: u64 = 12;
    let stack = Stack::open().await;
    let bot = TelegramBot::connect_refusing(&stack).await;
    let sent = recorded_sends(&bot).await;
    let set = ["keys", "quota", "telegram", "--bot", &bot.name, "--per-second", "2", "--per-day", "10", "--json"];
    let set: Value = serde_json::from_str(&stack.hoopoe(&set, "").await).expect("JSON");
    assert_eq!(set["quota"], json!({"per_second": 2, "per_day": 10}));
    let id: BotId = bot.name.parse().expect("a name");
    let replies: Vec<Reply> = (1..=REPLIES).map(|chat| reply(&id, chat)).collect();
    let outbound = QueueSender::new(&stack.config, stack.output("OutboundQueueUrl").to_owned());
    let (began, day) = (Instant::now(), today());
    for queued in outbound.send_all(replies.iter().map(|reply| (&reply.conversation, reply))).await {
        queued.expect("the queue takes it");
    }
    // A function that took units ahead and has no more to send keeps them from the others.
    eventually("most of the day's budget", async || (sent.lock().expect("nobody panics").len() >= 8).then_some(()))
        .await;
    let sent = sent.lock().expect("nobody panics").clone();
    let quota = Quota { per_second: NonZeroU32::new(2).expect("not zero"), per_day: Some(10) };
    // After silence the schedule begins half a second in the past.
    nothing_goes_before_its_slot(&sent, began - Duration::from_millis(500), quota);
    if day == today() {
        assert!(sent.len() <= 10, "the others wait for tomorrow");
    }
}

fn reply(bot: &BotId, chat: u64) -> Reply {
    let now = Timestamp::now();
    Reply {
        id: MessageId::try_from(format!("q{chat}")).expect("a valid id"),
        conversation: Conversation { channel: Channel::Telegram, bot: bot.clone(), chat: chat.to_string() },
        address: json!({ "chat": chat }).to_string(),
        number: 1,
        after: None,
        complete: false,
        pending_until: None,
        received_at: now,
        created_at: now,
        text: "hello".into(),
        suggestions: vec![],
        decision: None,
    }
}

#[tokio::test]
async fn a_record_that_waits_often_is_not_counted_to_death() {
    const DEAD_AFTER: u32 = 11;
    let stack = Stack::open().await;
    let dead = create_queue(&stack, None).await;
    let url = create_queue(&stack, Some((&dead, DEAD_AFTER))).await;
    let consumer = Consumer::new(&stack.config, url.clone(), dead.clone());
    let send = stack.sqs.send_message().queue_url(&url).message_body("hello").message_group_id("chat");
    send.send().await.expect("the queue takes it");
    let mut receives = Vec::new();
    while receives.len() < 25 {
        let record = receive(&stack, &url).await;
        assert_eq!(record.body, "hello");
        assert_eq!(record.attributes.get("MessageGroupId").map(String::as_str), Some("chat"));
        receives.push(record.receives());
        if consumer.put_off(&record, Duration::from_millis(1)).await == PutOff::Replaced {
            // What Lambda does with a record that is not kept.
            let delete = stack.sqs.delete_message().queue_url(&url).receipt_handle(&record.receipt_handle);
            delete.send().await.expect("it is deleted");
        }
    }
    let expected: Vec<u32> = (1..=10).chain(1..=10).chain(1..=5).collect();
    assert_eq!(receives, expected, "it begins anew before it is dead");
    for queue in [url, dead] {
        stack.sqs.delete_queue().queue_url(queue).send().await.expect("it is deleted");
    }
}

/// A queue of this test, with a dead-letter queue and its `maxReceiveCount`, or without.
async fn create_queue(stack: &Stack, dead: Option<(&str, u32)>) -> String {
    let mut create = stack.sqs.create_queue().queue_name(Stack::new_bot());
    if let Some((dead, count)) = dead {
        let arn = QueueAttributeName::QueueArn;
        let attributes = stack.sqs.get_queue_attributes().queue_url(dead).attribute_names(arn.clone());
        let attributes = attributes.send().await.expect("the queue answers");
        let arn = &attributes.attributes().expect("attributes")[&arn];
        let policy = json!({"deadLetterTargetArn": arn, "maxReceiveCount": count}).to_string();
        create = create.attributes(QueueAttributeName::RedrivePolicy, policy);
    }
    create.send().await.expect("it is made").queue_url().expect("a URL").to_owned()
}

/// Receives a message as Lambda does for a function.
async fn receive(stack: &Stack, url: &str) -> Record {
    eventually("a message", async || {
        let receive = stack.sqs.receive_message().queue_url(url);
        let received = receive
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .send()
            .await
            .expect("the queue answers");
        let message = received.messages().first()?;
        let attributes = message.attributes()?.iter().map(|(name, value)| (name.to_string(), value.clone()));
        Some(Record {
            message_id: message.message_id()?.to_owned(),
            receipt_handle: message.receipt_handle()?.to_owned(),
            body: message.body()?.to_owned(),
            attributes: attributes.collect(),
        })
    })
    .await
}

/// An HTTP client that counts the calls made through it.
#[derive(Debug)]
struct Counted {
    inner: SharedHttpClient,
    calls: Arc<AtomicU64>,
}

impl HttpClient for Counted {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(CountedConnector { inner, calls: Arc::clone(&self.calls) })
    }
}

#[derive(Debug)]
struct CountedConnector {
    inner: SharedHttpConnector,
    calls: Arc<AtomicU64>,
}

impl HttpConnector for CountedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.inner.call(request)
    }
}
