//! An execution environment of a function: its clock, its connections, and the moment at which it is killed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_smithy_async::time::SharedTimeSource;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_types::SdkConfig;
use aws_types::region::Region;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::cloud::{Answered, Cloud, words};
use crate::ledger::Tag;

/// How long a call takes where nothing is wrong: up to this, there and back each.
const USUAL: Duration = Duration::from_millis(4);
/// How much longer a slow one takes.
const SLOW: Duration = Duration::from_secs(1);
/// Longer than the functions wait for an answer to one attempt.
const HANGS: Duration = Duration::from_secs(3);
/// What the attempts after a failed one take together, on the way to the same end.
const REPEATED: Duration = Duration::from_millis(500);

/// An execution environment.
#[derive(Clone, Debug)]
pub struct Environment(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    clock: Clock,
    cloud: Arc<Cloud>,
    dead: AtomicBool,
    death: Notify,
    /// Thawed, and its connections not tried since.
    thawed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// It is killed at this call, counted from 1, and before or after its effect.
    doom: Option<(u32, bool)>,
    /// What the invocation is about.
    tags: Vec<Tag>,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Throttled,
    Failed { applied: bool },
    Unreached,
    Lost,
    Slow(Duration),
    Hanging { applied: bool },
    Straggling,
}

impl Environment {
    /// A fresh environment whose clock is ahead by so many milliseconds, or behind.
    #[must_use]
    pub fn new(cloud: &Arc<Cloud>, name: String, ahead: i64) -> Self {
        Self(Arc::new(Inner {
            name,
            clock: cloud.clock.ahead(ahead),
            cloud: Arc::clone(cloud),
            dead: AtomicBool::new(false),
            death: Notify::new(),
            thawed: AtomicBool::new(false),
            state: Mutex::default(),
        }))
    }

    /// Its name, such as `deliver-2`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.0.clock
    }

    /// The services around it.
    #[must_use]
    pub fn cloud(&self) -> &Arc<Cloud> {
        &self.0.cloud
    }

    /// The configuration of its AWS clients: that of the real functions, with this environment's clock, and the simulated
    /// services in the place of a connection.
    #[must_use]
    pub fn config(&self) -> SdkConfig {
        let connector = SharedHttpConnector::new(Connector(self.clone()));
        let http = http_client_fn(move |_, _| connector.clone());
        let credentials = Credentials::new("AKIAWORLD", "secret", None, None, "world");
        let time = SharedTimeSource::new(self.0.clock);
        hoopoe_aws::client::builder(credentials, Region::new("us-east-1"), http, time).build()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an invocation that is about these, and is killed at its call `doom`.
    pub(crate) fn begin(&self, tags: Vec<Tag>, doom: Option<(u32, bool)>) {
        *self.state() = State { doom, tags };
    }

    /// It was frozen since its last call.
    pub(crate) fn thaw(&self) {
        self.0.thawed.store(true, Ordering::Relaxed);
    }

    /// What the invocation is about.
    #[must_use]
    pub fn tags(&self) -> Vec<Tag> {
        self.state().tags.clone()
    }

    /// Comes back when it is killed.
    pub(crate) async fn killed(&self) {
        self.0.death.notified().await;
    }

    /// Ends it: nothing that it began goes on.
    pub(crate) fn kill(&self) {
        self.0.dead.store(true, Ordering::Relaxed);
        self.0.death.notify_one();
    }

    /// To be passed before and after the effect of everything that it does. Who is dead stays here.
    pub async fn gate(&self, before: bool) {
        let mut dies = false;
        if let Some((calls, at)) = &mut self.state().doom {
            if before {
                *calls = calls.saturating_sub(1);
            }
            dies = *calls == 0 && *at == before;
        }
        if dies {
            self.kill();
        }
        if self.0.dead.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    fn draw(&self) -> Option<Fault> {
        let (dice, weather) = (&self.0.cloud.dice, self.0.cloud.dice.weather());
        if dice.fault(weather.throttled) {
            return Some(Fault::Throttled);
        }
        if dice.fault(weather.failed) {
            return Some(Fault::Failed { applied: dice.chance(0.5) });
        }
        if dice.fault(weather.unreached) {
            return Some(Fault::Unreached);
        }
        if dice.fault(weather.lost) {
            return Some(Fault::Lost);
        }
        if dice.fault(weather.slow) {
            return Some(Fault::Slow(dice.up_to(SLOW)));
        }
        if dice.fault(weather.hanging) {
            return Some(Fault::Hanging { applied: dice.chance(0.5) });
        }
        dice.fault(weather.straggling).then_some(Fault::Straggling)
    }

    async fn call(&self, target: String, body: Vec<u8>) -> Result<HttpResponse, ConnectorError> {
        self.gate(true).await;
        let cloud = &self.0.cloud;
        let note = |what: &str| cloud.trace.note(self.name(), || format!("{} → {what}", words(&target, &body)));
        let broken = |what: &'static str| Err(ConnectorError::io(std::io::Error::other(what).into()));
        if self.0.thawed.swap(false, Ordering::Relaxed) && cloud.dice.fault(cloud.dice.weather().stale) {
            note("FAULT the connection was closed while the environment was frozen");
            return broken("a stale connection");
        }
        tokio::time::sleep(cloud.dice.up_to(USUAL)).await;
        let fault = self.draw();
        if fault.is_some() {
            let held = match fault {
                Some(Fault::Slow(time)) => time,
                Some(Fault::Hanging { .. } | Fault::Straggling) => HANGS,
                _ => REPEATED,
            };
            cloud.ledger.hold(&self.tags(), held, "a call of AWS failed or was slow");
        }
        let answered = match fault {
            Some(Fault::Throttled) => {
                note("FAULT throttled");
                let (service, _) = target.split_once('.').unwrap_or_default();
                let code = match service {
                    "DynamoDB_20120810" => "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
                    "AmazonSQS" => "com.amazonaws.sqs#RequestThrottled",
                    _ => "ThrottlingException",
                };
                return Ok(response(400, format!(r#"{{"__type":"{code}","message":"throttled"}}"#).into_bytes()));
            }
            Some(Fault::Unreached) => {
                note("FAULT not reached");
                return broken("not reached");
            }
            Some(Fault::Failed { applied: false }) => {
                note("FAULT 500, not applied");
                return Ok(response(500, br#"{"__type":"InternalServerError","message":""}"#.to_vec()));
            }
            Some(Fault::Hanging { applied: false }) => {
                note("FAULT hangs, not applied");
                tokio::time::sleep(HANGS).await;
                return broken("no answer");
            }
            Some(Fault::Straggling) => {
                note("FAULT hangs, and is applied later");
                self.straggle(target.clone(), body.clone());
                tokio::time::sleep(HANGS).await;
                return broken("no answer");
            }
            _ => cloud.apply(&target, &body),
        };
        let Answered { status, body: answer, words } = answered;
        match fault {
            Some(Fault::Failed { .. }) => {
                note(&format!("{words}, FAULT told 500"));
                return Ok(response(500, br#"{"__type":"InternalServerError","message":""}"#.to_vec()));
            }
            Some(Fault::Lost) => {
                note(&format!("{words}, FAULT the answer is lost"));
                return broken("the answer is lost");
            }
            Some(Fault::Hanging { .. }) => {
                note(&format!("{words}, FAULT the answer hangs"));
                tokio::time::sleep(HANGS).await;
                return broken("no answer");
            }
            Some(Fault::Slow(time)) => {
                note(&format!("{words}, FAULT slow: {time:?}"));
                tokio::time::sleep(time).await;
            }
            _ => note(&words),
        }
        self.gate(false).await;
        tokio::time::sleep(cloud.dice.up_to(USUAL)).await;
        Ok(response(status, answer))
    }

    /// Carries a call out after its caller has given up.
    fn straggle(&self, target: String, body: Vec<u8>) {
        let (environment, busy) = (self.clone(), self.0.cloud.busy());
        tokio::spawn(async move {
            let cloud = environment.cloud();
            tokio::time::sleep(Duration::from_millis(1500) + cloud.dice.up_to(HANGS)).await;
            let answered = cloud.apply(&target, &body);
            cloud.trace.note(environment.name(), || format!("(late) {} → {}", words(&target, &body), answered.words));
            drop(busy);
        });
    }
}

fn response(status: u16, body: Vec<u8>) -> HttpResponse {
    let status = status.try_into().expect("a status of HTTP");
    let mut response = HttpResponse::new(status, SdkBody::from(body));
    response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
    response
}

#[derive(Clone, Debug)]
struct Connector(Environment);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let environment = self.0.clone();
        HttpConnectorFuture::new(async move {
            let target = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
            let body = request.body().bytes().unwrap_or_default().to_vec();
            environment.call(target, body).await
        })
    }
}
