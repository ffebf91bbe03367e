//! KMS and DynamoDB as far as the keyring uses them, behind an HTTP endpoint that can be told to fail.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use wiremock::{Match, Mock, MockServer, Request, Respond, ResponseTemplate};

pub(crate) const KEYS: &str = "keys";
pub(crate) const TOKENS: &str = "tokens";
pub(crate) const USAGE: &str = "usage";

/// What a service does instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Throttled,
    Denied,
    /// KMS's key is disabled; DynamoDB's table is gone.
    Disabled,
    /// 200, with something that is none of its answers.
    Garbage,
    /// Never answers.
    Hanging,
    /// Breaks the connection.
    Unreachable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    Kms,
    DynamoDb,
}

type Item = Map<String, Value>;

#[derive(Default)]
struct State {
    faults: HashMap<Service, Fault>,
    /// By ciphertext: the context and the plaintext.
    sealed: HashMap<String, (Value, Vec<u8>)>,
    /// The Keys table, by key and version.
    keys: HashMap<(String, u64), Item>,
    /// The Tokens table, by bot.
    tokens: HashMap<String, Item>,
}

/// The endpoint.
pub(crate) struct Aws {
    server: MockServer,
    state: Arc<Mutex<State>>,
    counts: Arc<[AtomicUsize; 2]>,
    /// How long an attempt of a call may take.
    attempt: Duration,
}

impl Aws {
    pub(crate) async fn start() -> Self {
        Self::start_for(None).await
    }

    /// One that is to have this fault. Only one that hangs is waited for: what answers has the time that it needs.
    pub(crate) async fn start_for(fault: impl Into<Option<Fault>>) -> Self {
        let attempt = if fault.into() == Some(Fault::Hanging) { Duration::from_millis(400) } else { DEADLINE };
        let (server, state) = (MockServer::start().await, Arc::<Mutex<State>>::default());
        let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let answers = Answers { state: Arc::clone(&state), counts: Arc::clone(&counts) };
        let broken = |_: &Request| io::Error::from(io::ErrorKind::ConnectionReset);
        Mock::given(Broken(Arc::clone(&state), Arc::clone(&counts)))
            .respond_with_err(broken)
            .with_priority(1)
            .mount(&server)
            .await;
        Mock::given(wiremock::matchers::any()).respond_with(answers).mount(&server).await;
        Self { server, state, counts, attempt }
    }

    /// As a function's configuration (`hoopoe_aws::client`), with other times.
    pub(crate) fn config(&self) -> SdkConfig {
        config(self.server.uri(), self.attempt)
    }

    pub(crate) fn breaks(&self, service: Service, fault: Fault) {
        self.state().faults.insert(service, fault);
    }

    pub(crate) fn recovers(&self) {
        self.state().faults.clear();
    }

    /// How many requests the service got.
    pub(crate) fn requests(&self, service: Service) -> usize {
        self.counts[service as usize].load(Ordering::SeqCst)
    }

    /// Puts a version of a secret into the Keys table, sealed for its place. A second one that is in force took over a
    /// moment ago.
    pub(crate) fn put(&self, key: &str, version: u64, state: &str, secret: &Value) {
        let context: Vec<&str> = key.split('/').collect();
        let context = json!({"channel": context[0], "bot": context[1], "name": context[2]});
        let mut all = self.state();
        let ciphertext = all.seal(context, secret.to_string().into_bytes());
        let watched = state == "current" && version > 1;
        let item = json!({
            "key": {"S": key}, "version": {"N": version.to_string()}, "state": {"S": state},
            "created_at": {"N": "1"}, "since": {"N": "1"}, "watched": {"BOOL": watched}, "noticed": {"N": "0"},
            "ciphertext": {"B": ciphertext},
        });
        all.keys.insert((key.to_owned(), version), object(item));
    }

    pub(crate) fn moves(&self, key: &str, version: u64, state: &str) {
        let mut all = self.state();
        let item = all.keys.get_mut(&(key.to_owned(), version)).expect("a version");
        item.insert("state".into(), json!({ "S": state }));
    }

    /// Copies what stands at one place to another; only `fields` of it where some are named.
    pub(crate) fn copies(&self, (from, version): (&str, u64), to: &str, fields: &[&str]) {
        let mut all = self.state();
        let mut item = all.keys[&(from.to_owned(), version)].clone();
        item.insert("key".into(), json!({ "S": to }));
        let place = (to.to_owned(), version);
        match all.keys.get_mut(&place) {
            Some(there) if !fields.is_empty() => {
                for field in fields {
                    there.insert((*field).into(), item[*field].clone());
                }
            }
            _ => {
                all.keys.insert(place, item);
            }
        }
    }

    /// An attribute of a version, as it stands in the table.
    pub(crate) fn attribute(&self, key: &str, version: u64, name: &str) -> Option<Vec<u8>> {
        let all = self.state();
        let encoded = all.keys[&(key.to_owned(), version)].get(name)?["B"].as_str()?.to_owned();
        Some(STANDARD.decode(encoded).expect("base64"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with it")
    }
}

pub(crate) fn config(endpoint: String, attempt: Duration) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test")))
        .http_client(hoopoe_aws::client::http_client(Some(&endpoint)))
        .retry_config(RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(5)))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(attempt)
                .operation_attempt_timeout(attempt)
                .operation_timeout(attempt * 4)
                .build(),
        )
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .endpoint_url(endpoint)
        .build()
}

impl State {
    fn seal(&mut self, context: Value, plaintext: Vec<u8>) -> String {
        let ciphertext = STANDARD.encode(format!("ciphertext {}", self.sealed.len()));
        self.sealed.insert(ciphertext.clone(), (context, plaintext));
        ciphertext
    }

    fn kms(&mut self, operation: &str, asked: &Value) -> Result<Value, Refused> {
        let context = asked["EncryptionContext"].clone();
        let key = "arn:aws:kms:us-east-1:1:key/1";
        match operation {
            "Encrypt" => {
                let plaintext = STANDARD.decode(text(&asked["Plaintext"])).expect("base64");
                if plaintext.len() > 4096 {
                    return Err(Refused("ValidationException", "'plaintext' must have length less than 4096"));
                }
                Ok(json!({"KeyId": key, "CiphertextBlob": self.seal(context, plaintext)}))
            }
            "GenerateDataKey" => {
                assert_eq!(asked["KeySpec"], "AES_256");
                let data_key: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(32).collect();
                let encoded = STANDARD.encode(&data_key);
                Ok(json!({"KeyId": key, "CiphertextBlob": self.seal(context, data_key), "Plaintext": encoded}))
            }
            "Decrypt" => match self.sealed.get(text(&asked["CiphertextBlob"])) {
                Some((sealed_for, plaintext)) if *sealed_for == context => {
                    Ok(json!({"KeyId": key, "Plaintext": STANDARD.encode(plaintext)}))
                }
                // KMS tells no more either.
                _ => Err(Refused("InvalidCiphertextException", "")),
            },
            other => panic!("the keyring does not use {other}"),
        }
    }

    fn dynamodb(&mut self, operation: &str, asked: &Value) -> Result<Value, Refused> {
        match (operation, text(&asked["TableName"])) {
            ("Query", KEYS) => {
                let key = text(&asked["ExpressionAttributeValues"][":key"]["S"]);
                let items: Vec<_> =
                    self.keys.iter().filter(|((of, _), _)| of == key).map(|(_, item)| item.clone()).collect();
                Ok(json!({"Items": items, "Count": items.len(), "ScannedCount": items.len()}))
            }
            ("TransactWriteItems", _) => {
                for write in asked["TransactItems"].as_array().expect("writes") {
                    let put = &write["Put"];
                    if put["TableName"] == KEYS {
                        let item = put["Item"].as_object().expect("an item").clone();
                        let version = text(&item["version"]["N"]).parse().expect("a number");
                        self.keys.insert((text(&item["key"]["S"]).to_owned(), version), item);
                    }
                }
                Ok(json!({}))
            }
            ("UpdateItem", TOKENS) => self.update_token(asked),
            ("UpdateItem", USAGE) => Ok(json!({})),
            (other, table) => panic!("the keyring does not use {other} on {table}"),
        }
    }

    /// The four updates of an access token's item, told apart by what they set.
    fn update_token(&mut self, asked: &Value) -> Result<Value, Refused> {
        let update = text(&asked["UpdateExpression"]);
        let item = self.tokens.entry(text(&asked["Key"]["bot"]["S"]).to_owned()).or_default();
        let given = |name: &str| asked["ExpressionAttributeValues"][name].clone();
        let number = |value: &Value| value["N"].as_str().and_then(|digits| digits.parse::<u64>().ok());
        if update.starts_with("SET #locked") {
            let now = number(&given(":now")).expect("a time");
            let past = |name: &str| item.get(name).and_then(number).is_none_or(|at| at <= now);
            if !past("renew_at") || !past("locked_until") {
                return Err(Refused("ConditionalCheckFailedException", ""));
            }
            let old = item.clone();
            item.insert("locked_until".into(), given(":until"));
            return Ok(json!({ "Attributes": old }));
        }
        if update.starts_with("SET #ciphertext") {
            for (name, value) in [
                ("ciphertext", ":ciphertext"),
                ("generation", ":generation"),
                ("renew_at", ":renew"),
                ("usable_until", ":usable"),
            ] {
                item.insert(name.into(), given(value));
            }
        }
        item.remove("locked_until");
        Ok(json!({}))
    }
}

struct Refused(&'static str, &'static str);

/// Whether the service breaks its connections.
struct Broken(Arc<Mutex<State>>, Arc<[AtomicUsize; 2]>);

impl Match for Broken {
    fn matches(&self, request: &Request) -> bool {
        let service = target(request).0;
        let broken = self.0.lock().expect("no test panics with it").faults.get(&service) == Some(&Fault::Unreachable);
        if broken {
            self.1[service as usize].fetch_add(1, Ordering::SeqCst);
        }
        broken
    }
}

struct Answers {
    state: Arc<Mutex<State>>,
    counts: Arc<[AtomicUsize; 2]>,
}

impl Respond for Answers {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let (service, operation) = target(request);
        self.counts[service as usize].fetch_add(1, Ordering::SeqCst);
        let asked: Value = serde_json::from_slice(&request.body).expect("a request of the SDK is JSON");
        let mut state = self.state.lock().expect("no test panics with it");
        let fault = state.faults.get(&service).copied();
        let done = match fault {
            None if service == Service::Kms => state.kms(operation, &asked),
            None => state.dynamodb(operation, &asked),
            Some(Fault::Throttled) if service == Service::Kms => Err(Refused("ThrottlingException", "Rate exceeded")),
            Some(Fault::Throttled) => Err(Refused("ProvisionedThroughputExceededException", "slow down")),
            Some(Fault::Denied) => {
                Err(Refused("AccessDeniedException", "User: arn:aws:sts::1:function is not allowed"))
            }
            Some(Fault::Disabled) if service == Service::Kms => {
                Err(Refused("DisabledException", "the key is disabled"))
            }
            Some(Fault::Disabled) => Err(Refused("ResourceNotFoundException", "Requested resource not found")),
            Some(Fault::Garbage) => {
                let garbage = "{\"Plaintext\": planted-in-garbage, \"Items\": [planted-in-garbage";
                return ResponseTemplate::new(200).set_body_string(garbage);
            }
            Some(Fault::Hanging) => return ResponseTemplate::new(200).set_delay(Duration::from_secs(60)),
            Some(Fault::Unreachable) => unreachable!("its connection is broken before"),
        };
        match done {
            Ok(answer) => ResponseTemplate::new(200).set_body_json(answer),
            Err(Refused(code, message)) => {
                let mut body = json!({"__type": format!("com.amazonaws#{code}"), "message": message});
                if code == "ConditionalCheckFailedException" {
                    body["Item"] = json!(state.tokens.get(text(&asked["Key"]["bot"]["S"])));
                }
                ResponseTemplate::new(400).set_body_json(body)
            }
        }
    }
}

/// The service and the operation of a request.
fn target(request: &Request) -> (Service, &str) {
    let target = request.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).expect("a target");
    let (service, operation) = target.split_once('.').expect("service.operation");
    (if service == "TrentService" { Service::Kms } else { Service::DynamoDb }, operation)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn object(value: Value) -> Item {
    match value {
        Value::Object(fields) => fields,
        other => panic!("{other} is no object"),
    }
}

/// After this, what is waited for is taken to come never.
pub(crate) const DEADLINE: Duration = Duration::from_secs(300);

/// Asks until there is an answer.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
