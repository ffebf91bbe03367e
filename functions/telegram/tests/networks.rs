//! The function itself, started as Lambda starts it, with stand-ins for Lambda's runtime API and for AWS: who may call
//! is asked before anything else. Telegram's function stands for all of a platform; they run the same code.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::process::{Child, Command};
use wiremock::matchers::{any, method, path, path_regex};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// What Telegram says it calls from.
const TELEGRAM: &str = "149.154.160.0/20,91.108.4.0/22";
/// After this, what is waited for is taken to come never.
const DEADLINE: Duration = Duration::from_secs(300);

#[tokio::test]
async fn a_caller_from_elsewhere_is_refused_without_a_call_to_aws() {
    let forged = json!({"x-forwarded-for": "149.154.167.197", "x-real-ip": "149.154.167.197", "forwarded": "for=149.154.167.197"});
    let events = [
        event(&json!("203.0.113.7"), &json!({}), "{}"),
        event(&json!("203.0.113.7"), &forged, "{}"),
        event(&json!("::ffff:203.0.113.7"), &forged, "{}"),
        event(&json!("2001:db8::7"), &forged, "{}"),
        event(&json!("149.154.176.0"), &json!({}), "{}"),
        event(&json!("nonsense"), &forged, "{}"),
        event(&Value::Null, &forged, "{}"),
        // Larger than Telegram sends: even that is not looked at.
        event(&json!("203.0.113.7"), &forged, &"x".repeat(300_000)),
    ];
    let aws = aws().await;
    let (answers, output) = answers(Some(TELEGRAM), &aws, &events).await;
    for (event, answer) in events.iter().zip(&answers) {
        let source = &event["requestContext"]["http"]["sourceIp"];
        assert_eq!(answer["statusCode"], 403, "{source}: {answer}");
        let body: Value = serde_json::from_str(answer["body"].as_str().expect("a text")).expect("JSON");
        assert_eq!(body["error"], "network", "{source}");
    }
    assert_eq!(calls(&aws).await, 0, "AWS was called");
    let lines = lines(&output);
    let metrics = lines.iter().filter(|line| line["Refused"] == 1 && line["Reason"] == "network").count();
    let logged: Vec<_> = lines.iter().filter(|line| line["message"] == "a webhook request was refused").collect();
    assert_eq!((metrics, logged.len()), (events.len(), events.len()), "{lines:?}");
    assert_eq!(logged[0]["reason"], "the request comes from 203.0.113.7, which is not in ALLOWED_NETWORKS");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("xxx"), "a body stands in the log");
}

#[tokio::test]
async fn a_caller_from_the_list_goes_on_whatever_its_headers_say() {
    let elsewhere = json!({"x-forwarded-for": "203.0.113.7", "x-real-ip": "203.0.113.7"});
    let events = [
        event(&json!("149.154.167.197"), &json!({}), "{}"),
        event(&json!("::ffff:91.108.4.1"), &elsewhere, "{}"),
        event(&json!("149.154.167.197"), &json!({}), &"x".repeat(300_000)),
    ];
    let aws = aws().await;
    let (answers, _) = answers(Some(TELEGRAM), &aws, &events).await;
    // This bot has no keys.
    assert_eq!(statuses(&answers), [404, 404, 413]);
    assert!(calls(&aws).await >= 1, "its keys were not looked up");
}

#[tokio::test]
async fn without_a_list_everybody_goes_on() {
    for list in [None, Some(""), Some("any")] {
        let events = [event(&json!("203.0.113.7"), &json!({}), "{}"), event(&Value::Null, &json!({}), "{}")];
        let aws = aws().await;
        let (answers, _) = answers(list, &aws, &events).await;
        assert_eq!(statuses(&answers), [404, 404], "{list:?}");
        assert!(calls(&aws).await >= 1, "{list:?}: its keys were not looked up");
    }
}

#[tokio::test]
async fn a_wrong_list_stops_the_function_with_a_sentence() {
    let (lambda, aws) = (MockServer::start().await, aws().await);
    let function = start(Some("149.154.160.0/20,91.108.4.0/99"), &lambda, &aws);
    let output =
        tokio::time::timeout(DEADLINE, function.wait_with_output()).await.expect("it ends").expect("an output");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.starts_with("Error: the environment variable ALLOWED_NETWORKS has the entry \"91.108.4.0/99\", "),
        "{said}"
    );
    assert_eq!(calls(&lambda).await, 0, "it asked for an event");
}

#[tokio::test]
async fn a_variable_that_is_missing_or_wrong_stops_the_function_with_a_sentence() {
    let (lambda, aws) = (MockServer::start().await, aws().await);
    let missing =
        |name| format!("the environment variable {name} is not set; template.yaml sets it for every function");
    let number = "the environment variable KEY_CACHE_SECONDS is not a valid u64".to_owned();
    for (name, value, sentence) in [
        ("KEYS_TABLE", None, missing("KEYS_TABLE")),
        ("KEYS_TABLE", Some(""), missing("KEYS_TABLE")),
        ("INBOUND_QUEUE_URL", None, missing("INBOUND_QUEUE_URL")),
        ("AWS_REGION", None, missing("AWS_REGION")),
        ("KEY_CACHE_SECONDS", Some("soon"), number),
    ] {
        let mut command = command(None, &lambda, &aws);
        match value {
            None => command.env_remove(name),
            Some(value) => command.env(name, value),
        };
        let ended = tokio::time::timeout(DEADLINE, command.output()).await;
        let output = ended.expect("it ends").expect("an output");
        assert!(!output.status.success(), "{name}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.starts_with(&format!("Error: {sentence}")), "{name}: {said}");
    }
    assert_eq!(calls(&lambda).await, 0, "it asked for an event");
}

/// A request to the function URL, as Lambda writes it down.
fn event(source: &Value, headers: &Value, body: &str) -> Value {
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": "/telegram/main", "rawQueryString": "",
        "headers": headers, "body": body, "isBase64Encoded": false,
        "requestContext": {
            "accountId": "anonymous", "apiId": "abc", "domainName": "abc.lambda-url.us-east-1.on.aws",
            "domainPrefix": "abc", "requestId": "1", "routeKey": "$default", "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000", "timeEpoch": 1_767_225_600_000_i64,
            "http": {
                "method": "POST", "path": "/telegram/main", "protocol": "HTTP/1.1", "sourceIp": source, "userAgent": "",
            },
        },
    })
}

/// AWS without anything in it.
async fn aws() -> MockServer {
    let aws = MockServer::start().await;
    let nothing = json!({"Items": [], "Count": 0, "ScannedCount": 0});
    Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_json(nothing)).mount(&aws).await;
    aws
}

async fn calls(server: &MockServer) -> usize {
    server.received_requests().await.expect("requests are recorded").len()
}

fn start(list: Option<&str>, lambda: &MockServer, aws: &MockServer) -> Child {
    command(list, lambda, aws).spawn().expect("the function starts")
}

fn command(list: Option<&str>, lambda: &MockServer, aws: &MockServer) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_telegram"));
    command
        .env_clear()
        .envs(list.map(|list| ("ALLOWED_NETWORKS", list)))
        .envs([("AWS_LAMBDA_FUNCTION_NAME", "telegram"), ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")])
        .envs([("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"), ("AWS_REGION", "us-east-1")])
        .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")])
        .envs([("KEYS_TABLE", "keys"), ("CLAIMS_TABLE", "claims"), ("USAGE_TABLE", "usage")])
        .env("KEY_CACHE_SECONDS", "300")
        .env("INBOUND_QUEUE_URL", format!("{}/inbound", aws.uri()))
        .env("AWS_ENDPOINT_URL", aws.uri())
        .env("AWS_LAMBDA_RUNTIME_API", lambda.address().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Hands the function these events one after the other: its answers to them, and what it wrote.
async fn answers(list: Option<&str>, aws: &MockServer, events: &[Value]) -> (Vec<Value>, Output) {
    let lambda = MockServer::start().await;
    let next = || Mock::given(method("GET")).and(path("/2018-06-01/runtime/invocation/next"));
    for (number, event) in events.iter().enumerate() {
        let invocation = ResponseTemplate::new(200)
            .insert_header("lambda-runtime-aws-request-id", number.to_string())
            .insert_header("lambda-runtime-deadline-ms", "4102444800000")
            .insert_header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:1:function:telegram")
            .set_body_json(event);
        next().respond_with(invocation).up_to_n_times(1).mount(&lambda).await;
    }
    // Then there are no more: Lambda lets the function wait.
    next().respond_with(ResponseTemplate::new(200).set_delay(DEADLINE * 2)).mount(&lambda).await;
    Mock::given(method("POST"))
        .and(path_regex("^/2018-06-01/runtime/invocation/[0-9]+/response$"))
        .respond_with(ResponseTemplate::new(202))
        .mount(&lambda)
        .await;

    let mut function = start(list, &lambda, aws);
    let began = Instant::now();
    let answers = loop {
        let requests = lambda.received_requests().await.expect("requests are recorded");
        let answered: Vec<Value> = requests
            .iter()
            .filter(|request| request.url.path().ends_with("/response"))
            .map(|request| serde_json::from_slice(&request.body).expect("an answer is JSON"))
            .collect();
        if answered.len() == events.len() {
            break answered;
        }
        let ended = function.try_wait().expect("a process");
        if ended.is_some() || began.elapsed() > DEADLINE {
            let _ = function.start_kill();
            panic!("{} answers, ended: {ended:?}, {:?}", answered.len(), function.wait_with_output().await);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    function.start_kill().expect("a process");
    (answers, function.wait_with_output().await.expect("an output"))
}

fn statuses(answers: &[Value]) -> Vec<u64> {
    answers.iter().map(|answer| answer["statusCode"].as_u64().expect("a status")).collect()
}

/// What the function logged and counted.
fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}
