//! KMS and DynamoDB as far as the keyring uses them, which can be told to fail: behind an HTTP endpoint, or without any
//! network, for tests in which tokio's time is paused.

mod state;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use wiremock::{Match, Mock, MockServer, Request, Respond, ResponseTemplate};

use state::{Item, Refused, State, object, text};

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

    /// The same services without a network. The time is tokio's, which a test may pause.
    pub(crate) fn config_without_network(&self) -> SdkConfig {
        let connector = SharedHttpConnector::new(Direct(Answers {
            state: Arc::clone(&self.state),
            counts: Arc::clone(&self.counts),
        }));
        let client = http_client_fn(move |_, _| connector.clone());
        with_client(client, self.attempt).endpoint_url("http://aws").time_source(TokioTime::default()).build()
    }

    /// From now on DynamoDB does not answer so many updates that it does.
    pub(crate) fn loses_answers(&self, count: usize) {
        self.state().lost = count;
    }

    /// From now on transactions are canceled for these reasons.
    pub(crate) fn cancels(&self, reasons: &[&'static str]) {
        self.state().canceled = reasons.to_vec();
    }

    /// A bot's item in the Tokens table.
    pub(crate) fn token_item(&self, bot: &str) -> Option<Item> {
        self.state().tokens.get(bot).cloned()
    }

    /// A fetch takes so long that another function may try.
    pub(crate) fn ends_lock(&self, bot: &str) {
        let mut state = self.state();
        state.tokens.get_mut(bot).expect("an item").insert("locked_until".into(), json!({"N": "0"}));
    }

    pub(crate) fn deletes_token(&self, bot: &str) {
        self.state().tokens.remove(bot);
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
    with_client(hoopoe_aws::client::http_client(Some(&endpoint)), attempt).endpoint_url(endpoint).build()
}

fn with_client(client: SharedHttpClient, attempt: Duration) -> aws_types::sdk_config::Builder {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test")))
        .http_client(client)
        .retry_config(RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(5)))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(attempt)
                .operation_attempt_timeout(attempt)
                .operation_timeout(attempt * 4)
                .build(),
        )
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
}

/// The time of tokio, as a time of day.
#[derive(Debug)]
struct TokioTime(tokio::time::Instant);

impl Default for TokioTime {
    fn default() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl TimeSource for TokioTime {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_790_000_000) + self.0.elapsed()
    }
}

/// Whether the service breaks its connections.
struct Broken(Arc<Mutex<State>>, Arc<[AtomicUsize; 2]>);

impl Match for Broken {
    fn matches(&self, request: &Request) -> bool {
        let service = split(target(request)).0;
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

/// What becomes of a request.
enum Reaction {
    Answer(u16, String),
    Hangs,
    Breaks,
}

impl Answers {
    fn react(&self, target: &str, body: &[u8]) -> Reaction {
        let (service, operation) = split(target);
        self.counts[service as usize].fetch_add(1, Ordering::SeqCst);
        let asked: Value = serde_json::from_slice(body).expect("a request of the SDK is JSON");
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
                return Reaction::Answer(200, garbage.to_owned());
            }
            Some(Fault::Hanging) => return Reaction::Hangs,
            Some(Fault::Unreachable) => return Reaction::Breaks,
        };
        if service == Service::DynamoDb && state.lost > 0 {
            state.lost -= 1;
            return Reaction::Breaks;
        }
        match done {
            Ok(answer) => Reaction::Answer(200, answer.to_string()),
            Err(Refused(code, message)) => {
                let mut body = json!({"__type": format!("com.amazonaws#{code}"), "message": message});
                if code == "ConditionalCheckFailedException" {
                    let key = &asked["Key"];
                    let item = state.tokens.get(text(&key["bot"]["S"])).or(state.rates.get(text(&key["key"]["S"])));
                    body["Item"] = json!(item);
                }
                if code == "TransactionCanceledException" {
                    body["message"] = json!(format!(
                        "Transaction cancelled, please refer cancellation reasons for \
                                                     specific reasons [{}]",
                        state.canceled.join(", ")
                    ));
                    body["CancellationReasons"] = state.canceled.iter().map(|code| json!({ "Code": code })).collect();
                }
                Reaction::Answer(400, body.to_string())
            }
        }
    }
}

impl Respond for Answers {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        match self.react(target(request), &request.body) {
            Reaction::Answer(status, body) => ResponseTemplate::new(status).set_body_string(body),
            Reaction::Hangs => ResponseTemplate::new(200).set_delay(Duration::from_secs(60)),
            Reaction::Breaks => unreachable!("its connection is broken before"),
        }
    }
}

/// The services without a network.
struct Direct(Answers);

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Direct")
    }
}

impl HttpConnector for Direct {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").expect("a target").to_owned();
        let body = request.body().bytes().expect("a body in memory").to_vec();
        match self.0.react(&target, &body) {
            Reaction::Answer(status, body) => HttpConnectorFuture::ready(Ok(HttpResponse::new(
                status.try_into().expect("a status"),
                SdkBody::from(body),
            ))),
            Reaction::Hangs => HttpConnectorFuture::new(std::future::pending()),
            Reaction::Breaks => {
                let broken = io::Error::from(io::ErrorKind::ConnectionReset);
                HttpConnectorFuture::ready(Err(ConnectorError::io(broken.into())))
            }
        }
    }
}

fn target(request: &Request) -> &str {
    request.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).expect("a target")
}

/// The service and the operation of a target.
fn split(target: &str) -> (Service, &str) {
    let (service, operation) = target.split_once('.').expect("service.operation");
    (if service == "TrentService" { Service::Kms } else { Service::DynamoDb }, operation)
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
