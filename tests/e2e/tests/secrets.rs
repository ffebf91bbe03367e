//! Secrets that can be told apart from everything else are stored for a bot on each platform and used in every way that
//! goes wrong; then they are looked for everywhere but at their place. What people said is not in a log either, and neither
//! are the ids of their messages, which on some platforms name the person.

mod search;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use aws_sdk_cloudwatchlogs::types::InputLogEvent;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::MessageAttributeValue;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use e2e::Stack;
use e2e::wait::{DEADLINE, eventually};
use futures_util::future::join_all;
use hoopoe_channels::contract::counterpart::Counterpart;
use hoopoe_channels::with_platform;
use hoopoe_message::{Channel, Reply, Timestamp, wire};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use search::Found;
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

/// The access tokens that the platforms' counterparts give.
const ACCESS_TOKENS: [&str; 3] = ["t-counterpart-access-token", "counterpart-access-token", "counterpart.access-token"];

/// How many replies of each bot are refused: each refusal repeats another part of the request.
const REFUSALS: usize = 3;

/// All that was planted, by what it is, and all that was seen by whoever ran the test.
#[derive(Default)]
struct Planted {
    secrets: Mutex<BTreeMap<String, String>>,
    words: Mutex<BTreeMap<String, String>>,
    seen: Mutex<Vec<Found>>,
    /// The bots, and how many of their replies become dead letters.
    letters: Mutex<BTreeMap<String, usize>>,
    /// The platforms' ids of the messages that those replies answer.
    ids: Mutex<BTreeMap<String, String>>,
}

impl Planted {
    /// A secret of letters and digits that is nowhere else.
    fn secret(&self, label: String) -> String {
        let mark = mark("Plant");
        self.secrets.lock().expect("no panic").insert(label, mark.clone());
        mark
    }

    fn words(&self, label: String) -> String {
        let words = format!("where is my parcel {}", mark("Said"));
        self.words.lock().expect("no panic").insert(label, words[19..].to_owned());
        words
    }

    fn saw(&self, place: String, text: impl Into<String>) {
        self.seen.lock().expect("no panic").push(Found::new(place, text));
    }

    async fn hoopoe(&self, stack: &Stack, arguments: &[&str], input: &str) -> bool {
        let output = stack.run(arguments, input).await;
        for text in [&output.stdout, &output.stderr] {
            self.saw(format!("output of hoopoe {}", arguments.join(" ")), String::from_utf8_lossy(text));
        }
        output.status.success()
    }
}

fn mark(kind: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let nanos = SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_nanos();
    format!("{kind}{nanos:x}N{:03}x", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The field of the settings that authorises sends and that no webhook is verified with.
const fn send_secret(channel: Channel) -> Option<&'static str> {
    match channel {
        Channel::Wecom => Some("secret"),
        Channel::Wechat | Channel::Feishu => Some("app_secret"),
        Channel::Telegram | Channel::Slack => Some("bot_token"),
        Channel::Whatsapp => Some("access_token"),
        Channel::Messenger => Some("page_access_token"),
        Channel::Line => Some("channel_access_token"),
        Channel::Teams => Some("app_password"),
        // They sign with the one they send with, or send without any.
        Channel::Dingtalk | Channel::Qq | Channel::Discord | Channel::Webchat => None,
    }
}

/// The name of the platform's field is that of a secret.
fn is_secret(field: &str) -> bool {
    ["secret", "token", "password", "encoding_aes_key", "encrypt_key"].iter().any(|word| field.contains(word))
}

/// A platform that knows other secrets than its counterpart and that, once told to, refuses everything and says why in
/// the words of the request.
struct Repeating<P> {
    /// What was planted, and what the counterpart has in its place.
    secrets: Vec<(String, String)>,
    refuses: Arc<AtomicBool>,
    refused: AtomicUsize,
    shown: Arc<AtomicUsize>,
    platform: std::marker::PhantomData<P>,
}

impl<P: Counterpart + Send + Sync + 'static> Respond for Repeating<P> {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        // The keys that Teams signs with are fetched by whoever asks.
        let public = P::CHANNEL == Channel::Teams && request.method == http::Method::GET;
        if self.refuses.load(Ordering::SeqCst) && !public {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let url = request.url.as_str();
            let headers =
                request.headers.values().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(" ");
            let decoded = percent_decode_str(url).decode_utf8_lossy();
            let words = match self.refused.fetch_add(1, Ordering::SeqCst) % 3 {
                0 => format!("no such thing as {url} or {decoded}"),
                1 => format!("not allowed with {headers}"),
                _ => format!("cannot read {}", said(&body)),
            };
            let (status, body) = refusal(P::CHANNEL, &words);
            return ResponseTemplate::new(status).set_body_json(body);
        }
        let plain =
            |text: &str| self.secrets.iter().fold(text.to_owned(), |text, (ours, theirs)| text.replace(ours, theirs));
        let encoded = |text: &str| {
            let replace = |text: String, (ours, theirs): &(String, String)| {
                text.replace(ours, &utf8_percent_encode(theirs, NON_ALPHANUMERIC).to_string())
            };
            self.secrets.iter().fold(text.to_owned(), replace)
        };
        let query = request.url.query().map(|query| format!("?{}", encoded(query))).unwrap_or_default();
        let body = String::from_utf8_lossy(&request.body);
        let body = if body.starts_with('{') { plain(&body) } else { encoded(&body) };
        let mut asked = http::Request::builder()
            .method(request.method.clone())
            .uri(format!("{}{query}", plain(request.url.path())))
            .body(body.into_bytes())
            .expect("a request that came");
        for (name, value) in &request.headers {
            let value = value.to_str().map_or_else(|_| value.clone(), |text| plain(text).parse().expect("a header"));
            asked.headers_mut().insert(name, value);
        }
        let answer = P::answer(&asked);
        self.shown.fetch_add(usize::from(answer.shown.is_some()), Ordering::SeqCst);
        let mut body = answer.body.to_string();
        for (ours, theirs) in self.secrets.iter().filter(|(_, theirs)| ACCESS_TOKENS.contains(&theirs.as_str())) {
            body = body.replace(&format!("\"{theirs}\""), &format!("\"{ours}\""));
        }
        ResponseTemplate::new(answer.status).set_body_raw(body, "application/json")
    }
}

/// What of a body a platform would quote: its longest text, which is what a person would be shown.
fn said(body: &str) -> String {
    fn longest(value: &Value) -> &str {
        match value {
            Value::String(text) => text,
            Value::Array(all) => all.iter().map(longest).max_by_key(|text| text.len()).unwrap_or_default(),
            Value::Object(all) => all.values().map(longest).max_by_key(|text| text.len()).unwrap_or_default(),
            _ => "",
        }
    }
    serde_json::from_str(body).map_or_else(|_| body.to_owned(), |json| longest(&json).to_owned())
}

/// A refusal for good in the platform's form, with these words.
fn refusal(channel: Channel, words: &str) -> (u16, Value) {
    match channel {
        Channel::Wecom | Channel::Wechat => (200, json!({"errcode": 40058, "errmsg": words})),
        Channel::Dingtalk => (403, json!({"code": "Forbidden.AccessDenied", "message": words})),
        Channel::Feishu => (200, json!({"code": 230_002, "msg": words})),
        Channel::Qq => (403, json!({"code": 11_255, "message": words})),
        Channel::Telegram => (403, json!({"ok": false, "error_code": 403, "description": words})),
        Channel::Slack => (200, json!({"ok": false, "error": words})),
        Channel::Discord => (403, json!({"code": 50_001, "message": words})),
        Channel::Whatsapp | Channel::Messenger => (400, json!({"error": {"code": 100, "message": words}})),
        Channel::Line => (403, json!({ "message": words })),
        Channel::Teams => (403, json!({"error": {"code": "BotDisabledByAdmin", "message": words}})),
        Channel::Webchat => unreachable!("not a platform"),
    }
}

/// A bot whose secrets are planted.
struct Bot<P> {
    name: String,
    settings: Value,
    refuses: Arc<AtomicBool>,
    shown: Arc<AtomicUsize>,
    api: MockServer,
    secret_token: Option<String>,
    platform: std::marker::PhantomData<P>,
}

impl<P: Counterpart + Send + Sync + 'static> Bot<P> {
    async fn connect(stack: &Stack, planted: &Planted, refuses: bool) -> Self {
        let (name, channel) = (Stack::new_bot(), P::CHANNEL);
        let (api, refuses) = (MockServer::start().await, Arc::new(AtomicBool::new(refuses)));
        let shown = Arc::<AtomicUsize>::default();
        let label = |what: &str| format!("{what} of {channel}/{name}");
        let mut settings = P::settings(&api.uri());
        let mut secrets = Vec::new();
        for (field, value) in settings.as_object_mut().expect("an object") {
            let Some(theirs) = value.as_str().filter(|_| is_secret(field)).map(str::to_owned) else { continue };
            let sent =
                send_secret(channel) == Some(field) || (channel, field.as_str()) == (Channel::Telegram, "secret_token");
            if !sent {
                planted.secrets.lock().expect("no panic").insert(label(field), theirs);
                continue;
            }
            let mark = planted.secret(label(field));
            // With what its form begins with.
            let prefix = theirs.rfind([':', '-']).filter(|_| field == "bot_token").map_or(0, |at| at + 1);
            let prefix = if channel == Channel::Telegram && field == "bot_token" { 10 } else { prefix };
            let ours = format!("{}{mark}", &theirs[..prefix]);
            *value = ours.clone().into();
            secrets.push((ours, theirs));
        }
        for theirs in ACCESS_TOKENS {
            secrets.push((planted.secret(label(theirs)), theirs.to_owned()));
        }
        let secret_token = settings["secret_token"].as_str().map(str::to_owned);
        let repeating = Repeating::<P> {
            secrets,
            refuses: Arc::clone(&refuses),
            refused: AtomicUsize::new(0),
            shown: Arc::clone(&shown),
            platform: std::marker::PhantomData,
        };
        Mock::given(any()).respond_with(repeating).mount(&api).await;
        let arguments = ["channel", "add", channel.as_str(), "--bot", &name];
        assert!(planted.hoopoe(stack, &arguments, &settings.to_string()).await, "{channel} takes no such settings");
        Self { name, settings, refuses, shown, api, secret_token, platform: std::marker::PhantomData }
    }

    async fn post(&self, stack: &Stack, planted: &Planted, mut posted: http::Request<Vec<u8>>) -> u16 {
        let url = stack.webhook(P::CHANNEL.as_str(), &self.name);
        let query = posted.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        if let (Some(token), Some(header)) =
            (&self.secret_token, posted.headers_mut().get_mut("x-telegram-bot-api-secret-token"))
        {
            *header = token.parse().expect("a header");
        }
        let request = stack.http.request(posted.method().clone(), format!("{url}{query}"));
        let answer = request.headers(posted.headers().clone()).body(posted.body().clone()).send().await;
        let answer = answer.expect("the function URL answers");
        let status = answer.status().as_u16();
        planted.saw(format!("answer of {}", P::CHANNEL), answer.text().await.expect("a body"));
        status
    }

    async fn says(&self, stack: &Stack, planted: &Planted, person: u32) {
        static MESSAGES: AtomicUsize = AtomicUsize::new(0);
        let seconds = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        let message = usize::try_from(seconds % 1_000_000).expect("a million fits") * 1000;
        let message = message + 500 + MESSAGES.fetch_add(1, Ordering::Relaxed);
        let message = u32::try_from(message).expect("below a billion");
        let words = planted.words(format!("words to {}/{} by {person}", P::CHANNEL, self.name));
        let posted = P::says(person, message, &words, &self.api.uri(), Timestamp::now());
        // Of other platforms the ids are known from the dead letters.
        if P::CHANNEL == Channel::Telegram {
            let update: Value = serde_json::from_slice(posted.body()).expect("an update");
            let label = format!("update to {} by {person}", self.name);
            planted.ids.lock().expect("no panic").insert(label, update["update_id"].to_string());
        }
        assert_eq!(self.post(stack, planted, posted).await / 100, 2, "{}", P::CHANNEL);
    }

    async fn requests(&self) -> usize {
        self.api.received_requests().await.expect("requests are recorded").len()
    }
}

/// Everything that goes wrong on one platform.
async fn provoke<P: Counterpart + Send + Sync + 'static>(stack: &Stack, planted: &Planted) {
    let channel = P::CHANNEL;
    let bot = Bot::<P>::connect(stack, planted, false).await;
    let command = |verb| ["keys", verb, channel.as_str(), "--bot", &bot.name];

    // What is not signed, and what is signed and cannot be read.
    let words = planted.words(format!("forged words to {channel}"));
    let mut forged = P::says(1, 1, &words, &bot.api.uri(), Timestamp::now());
    forged.headers_mut().clear();
    *forged.uri_mut() = "/".parse().expect("a path");
    assert_eq!(bot.post(stack, planted, forged).await / 100, 4, "{channel}");
    for malformed in [format!("{{\"{words}\""), format!("{{\"a\": \"{words}\"}}"), format!("<xml>{words}")] {
        bot.post(stack, planted, P::posts(malformed.as_bytes(), &bot.api.uri(), Timestamp::now())).await;
    }

    // Taken, then refused with a quotation.
    bot.says(stack, planted, 7).await;
    eventually(&format!("a send on {channel}"), async || (bot.shown.load(Ordering::SeqCst) > 0).then_some(())).await;
    let before = bot.requests().await;
    // Telegram's counterpart posts to a place that is not there.
    let verified = planted.hoopoe(stack, &command("verify"), "").await;
    assert!(verified || channel == Channel::Telegram, "{channel}: the platform accepts what is stored");
    bot.refuses.store(true, Ordering::SeqCst);
    for person in 0..REFUSALS {
        bot.says(stack, planted, 20 + u32::try_from(person).expect("few")).await;
    }
    planted.letters.lock().expect("no panic").insert(bot.name.clone(), REFUSALS);
    eventually(&format!("refused sends on {channel}"), async || {
        (bot.requests().await >= before + REFUSALS).then_some(())
    })
    .await;

    // The operator's side, with a platform that quotes.
    planted.hoopoe(stack, &command("verify"), "").await;
    let mut renewed = bot.settings.clone();
    if let Some(field) = send_secret(channel) {
        let old = renewed[field].as_str().expect("a text").to_owned();
        let at = old.find("Plant").expect("it was planted");
        renewed[field] = format!("{}{}", &old[..at], planted.secret(format!("next {field} of {channel}"))).into();
        assert!(planted.hoopoe(stack, &command("add"), &renewed.to_string()).await, "{channel}");
        planted.hoopoe(stack, &command("rotate"), "").await;
    }

    // One whose access token is refused, or else its first send.
    let refused = Bot::<P>::connect(stack, planted, true).await;
    refused.says(stack, planted, 31).await;
    planted.letters.lock().expect("no panic").insert(refused.name.clone(), 1);
    eventually(&format!("a refused request on {channel}"), async || (refused.requests().await > 0).then_some(())).await;

    // Settings that are not accepted.
    let name = Stack::new_bot();
    let secret = planted.secret(format!("malformed settings of {channel}"));
    let mut wrong = vec![
        secret.clone(),
        format!("\"{secret}\""),
        format!("[\"{secret}\"]"),
        format!("{{\"{secret}\": 1}}"),
        format!("{{\"api_base\": \"{secret}\"}}"),
    ];
    for (field, value) in bot.settings.as_object().expect("an object") {
        for broken in [json!([secret]), json!({ "a": secret }), json!(format!("{secret} \u{7}"))] {
            let mut settings = bot.settings.clone();
            settings[field] = broken;
            wrong.push(settings.to_string());
        }
        let cut = bot.settings.to_string().replace(&value.to_string(), &format!("\"{secret}"));
        wrong.push(cut);
    }
    // Each is a process; the fields of one platform are tried side by side.
    let arguments = ["channel", "add", channel.as_str(), "--bot", &name];
    let added = join_all(wrong.iter().map(|settings| planted.hoopoe(stack, &arguments, settings))).await;
    assert!(added.iter().filter(|added| **added).count() == 0, "{channel} took broken settings: {added:?}");
    let base = ["channel", "add", channel.as_str(), "--bot", &name, "--api-base", "http://127.0.0.1:1"];
    assert!(!planted.hoopoe(stack, &base, &format!("[\"{secret}\"]")).await);
}

/// A bot whose platform nobody reaches, and one whose platform refuses its secret with a quotation.
async fn unreachable_and_refused(stack: &Stack, planted: &Planted) {
    use hoopoe_channels::telegram::Telegram;
    let bot = Bot::<Telegram>::connect(stack, planted, false).await;
    let mut settings = bot.settings.clone();
    settings["api_base"] = "http://127.0.0.1:1".into();
    let add = ["channel", "add", "telegram", "--bot", &bot.name];
    assert!(planted.hoopoe(stack, &add, &settings.to_string()).await);
    bot.says(stack, planted, 41).await;
    let set = ["channel", "add", "telegram", "--bot", &bot.name, "--set-webhook"];
    assert!(!planted.hoopoe(stack, &set, &settings.to_string()).await);

    let bad = Bot::<Telegram>::connect(stack, planted, true).await;
    let set = ["channel", "add", "telegram", "--bot", &bad.name, "--set-webhook"];
    for _ in 0..3 {
        assert!(!planted.hoopoe(stack, &set, &bad.settings.to_string()).await);
        planted.hoopoe(stack, &["keys", "rotate", "telegram", "--bot", &bad.name], "").await;
    }
    let token = bad.settings["bot_token"].as_str().expect("a text");
    bad.api.reset().await;
    let unauthorized = json!({"ok": false, "error_code": 401, "description": format!("Unauthorized: {token}")});
    Mock::given(any()).respond_with(ResponseTemplate::new(401).set_body_json(unauthorized)).mount(&bad.api).await;
    bad.says(stack, planted, 42).await;
    eventually("a send with a bad token", async || (bad.requests().await > 0).then_some(())).await;
}

/// The dead letters of these bots, which are taken out of their queue.
async fn letters(stack: &Stack, planted: &Planted, mut expected: BTreeMap<String, usize>) -> Vec<Found> {
    let (url, began) = (stack.output("OutboundDeadLettersUrl"), Instant::now());
    let mut letters = Vec::new();
    while expected.values().any(|left| *left > 0) {
        assert!(began.elapsed() < DEADLINE, "dead letters are missing: {expected:?}");
        let received = stack
            .sqs
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(10)
            .visibility_timeout(1)
            .message_attribute_names("All")
            .send()
            .await
            .expect("the queue answers");
        for message in received.messages() {
            let body = message.body().unwrap_or_default();
            let Some((_, left)) = expected.iter_mut().find(|(bot, _)| body.contains(bot.as_str())) else { continue };
            *left = left.saturating_sub(1);
            let reply: Reply = wire::decode(body).expect("a reply");
            let label = format!("id of message {} to {:?}", reply.number, reply.conversation);
            planted.ids.lock().expect("no panic").insert(label, reply.id.as_str().to_owned());
            letters.push(Found::new("dead letter", format!("{message:?}")));
            let handle = message.receipt_handle().expect("a handle");
            stack.sqs.delete_message().queue_url(url).receipt_handle(handle).send().await.expect("it is deleted");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    letters
}

/// Lets `rotate` do its round, with a pending key that the platform refuses with a quotation and a key so old that the
/// operator is told of it.
async fn sweep(stack: &Stack, planted: &Planted) {
    let notices = stack.notices().await;
    let bots: Vec<String> = planted.letters.lock().expect("no panic").keys().cloned().collect();
    let mut aged = 0;
    for bot in bots {
        let age = stack
            .dynamodb
            .update_item()
            .table_name(stack.output("KeysTableName"))
            .key("key", AttributeValue::S(format!("line/{bot}/send")))
            .key("version", AttributeValue::N("1".into()))
            .update_expression("SET created_at = :long_ago")
            .condition_expression("attribute_exists(ciphertext)")
            .expression_attribute_values(":long_ago", AttributeValue::N("1".into()));
        aged += usize::from(age.send().await.is_ok());
    }
    assert!(aged > 0, "no key of LINE is there");
    let lambda = aws_sdk_lambda::Client::new(&stack.config);
    let invoked = lambda.invoke().function_name(stack.output("rotateFunctionName")).payload(b"{}".to_vec().into());
    let invoked = invoked.send().await.expect("the function is invoked");
    planted.saw("answer of rotate".into(), format!("{:?} {invoked:?}", invoked.payload()));
    let notice = eventually("a notice to the operator", async || {
        let received =
            stack.sqs.receive_message().queue_url(&notices.queue).max_number_of_messages(10).send().await.ok()?;
        (!received.messages().is_empty()).then(|| format!("{received:?}"))
    })
    .await;
    assert!(notice.contains("line"), "{notice}");
    planted.saw("notice".into(), notice);
    stack.end_notices(notices).await;
}

/// Plants a text on purpose where none belongs, in several forms, and says at how many places it has to be found.
async fn plant_control(stack: &Stack, planted: &Planted, control: &str) -> [&'static str; 5] {
    let logs = aws_sdk_cloudwatchlogs::Client::new(&stack.config);
    let (group, stream) = (format!("/aws/lambda/{}", stack.output("telegramFunctionName")), Stack::new_bot());
    logs.create_log_stream().log_group_name(&group).log_stream_name(&stream).send().await.expect("a stream");
    let event = InputLogEvent::builder()
        .timestamp(i64::try_from(Timestamp::now().as_millis()).expect("a time"))
        .message(format!("{{\"reason\":\"{}\"}}", STANDARD.encode(format!("Basic x:{control}"))))
        .build()
        .expect("an event");
    let put = logs.put_log_events().log_group_name(&group).log_stream_name(&stream).log_events(event);
    put.send().await.expect("it is logged");
    let reason = MessageAttributeValue::builder().data_type("String").string_value(control).build().expect("a value");
    let letter = stack.sqs.send_message().queue_url(stack.output("OutboundDeadLettersUrl")).message_body(&stream);
    letter.message_attributes("reason", reason).send().await.expect("it is queued");
    // A list of dead letters shows the reasons of those it finds.
    eventually("the control in a list", async || {
        let listed = stack.run(&["dlq", "list", "outbound", "--limit", "1000"], "").await;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        listed.contains(control).then(|| planted.saw("output with the control".into(), listed))
    })
    .await;
    let table = stack.output("TokensTableName");
    stack
        .dynamodb
        .put_item()
        .table_name(table)
        .item("bot", AttributeValue::S(format!("control/{stream}")))
        .item("ciphertext", AttributeValue::B(control.as_bytes().into()))
        .item("other", AttributeValue::S(hex::encode(control)))
        .send()
        .await
        .expect("it is stored");
    [
        "as base64 in log ",
        "as itself in table ",
        "as hex in table ",
        "as itself in queue OutboundDeadLettersUrl",
        "as itself in output",
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_anywhere_but_at_its_place_and_no_log_repeats_what_people_say() {
    let from = i64::try_from(Timestamp::now().as_millis()).expect("a time") - 1000;
    let stack = Stack::open().await;
    let planted = Planted::default();
    let mut scenes: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> =
        vec![Box::pin(unreachable_and_refused(&stack, &planted))];
    for channel in Channel::ALL {
        with_platform!(channel, P => scenes.push(Box::pin(provoke::<P>(&stack, &planted))), webchat => ());
    }
    join_all(scenes).await;
    sweep(&stack, &planted).await;
    for arguments in [
        &["keys", "list"][..],
        &["keys", "list", "--json"],
        &["keys", "audit"],
        &["channel", "list"],
        &["channel", "list", "--json"],
        &["status"],
        &["dlq", "list"],
        &["dlq", "list", "--json"],
    ] {
        assert!(planted.hoopoe(&stack, arguments, "").await, "{arguments:?}");
    }
    let control = mark("Control");
    let controls = plant_control(&stack, &planted, &control).await;

    let expected = planted.letters.lock().expect("no panic").clone();
    let count: usize = expected.values().sum();
    let letters = letters(&stack, &planted, expected).await;
    let logs = eventually("all refusals in the log", async || {
        let logs = search::logs(&stack, from).await;
        let whole = search::count(&logs, "moved to the dead-letter queue") >= count
            && search::count(&logs, "no connection to the platform") > 0
            && search::count(&logs, "the platform refuses the bot's secret") > 0
            && search::count(&logs, "a key cannot be rotated") > 0
            && search::count(&logs, "the request is not authentic") > 0
            && search::count(&logs, "the request is malformed") > 0;
        whole.then_some(logs)
    })
    .await;
    planted.hoopoe(&stack, &["logs", "--all", "--since", "1h"], "").await;
    planted.hoopoe(&stack, &["logs", "--json"], "").await;

    let shown = planted.words.lock().expect("no panic").clone();
    let seen = std::mem::take(&mut *planted.seen.lock().expect("no panic"));
    let spoken = search::places(&logs, &shown);
    assert!(spoken.is_empty(), "what people said is in a log: {spoken:#?}");
    let ids = planted.ids.lock().expect("no panic").clone();
    assert!(ids.len() > Channel::ALL.len(), "{} ids of messages are known", ids.len());
    let named = search::places(&logs, &ids);
    assert!(named.is_empty(), "the id of a message is in a log: {named:#?}");
    let commands: Vec<_> = seen.into_iter().collect();
    let spoken = search::places(&commands, &shown);
    assert!(spoken.is_empty(), "what people said is in a command's output: {spoken:#?}");

    let mut all = logs;
    all.extend(commands);
    all.extend(letters);
    all.extend(search::tables(&stack).await);
    all.extend(search::queues(&stack).await);
    all.extend(search::settings(&stack).await);
    all.extend(search::files(stack.state()));
    let secrets = planted.secrets.lock().expect("no panic").clone();
    assert!(secrets.len() > 60, "{} secrets were planted", secrets.len());
    let found = search::places(&all, &secrets);
    assert!(found.is_empty(), "{found:#?}");
    // The search finds what is there.
    let found = search::places(&all, &BTreeMap::from([("control".to_owned(), control)]));
    for place in controls {
        assert!(found.iter().any(|found| found.contains(place)), "{place}: {found:#?}");
    }
    // What people said stands nowhere, not even in a table: a session knows what was offered by its ids. The search would
    // find it.
    assert!(search::places(&all, &shown).is_empty());
    let said = Found::new("control", shown.values().next().expect("people spoke").clone());
    assert!(!search::places(&[said], &shown).is_empty());
    // The ids are where they belong, so the search for them would find them.
    assert!(!search::places(&all, &ids).is_empty());
}
