//! All that a message passes through: the functions' real binaries, and stand-ins for everything else.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::world::dynamodb::DynamoDb;
use ::world::kms;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::task::AbortHandle;

use crate::aws::Aws;
use crate::counts::{Calls, Counts};
use crate::http::serve;
use crate::lambda::{Function, Setup, Usage};
use crate::latency::Latencies;
use crate::platform::{BOT, Platform, SECRET, TOKEN};
use crate::sqs::{Mapping, Sqs};

/// Where the binaries are.
pub(crate) struct Binaries {
    /// `telegram/bootstrap`, `inference/bootstrap` and `deliver/bootstrap`, as `make binaries` builds them.
    pub(crate) functions: PathBuf,
    /// The inference function's bundle, as `make build-inferenceFunction` collects it.
    pub(crate) bundle: PathBuf,
}

/// How a world is set up.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) latencies: Latencies,
    pub(crate) inference: Mapping,
    pub(crate) deliver: Mapping,
    /// The processor that functions are held to.
    pub(crate) processor: Option<usize>,
}

/// `InferenceConcurrency` and `DeliverConcurrency`: more than by default, which is for an account that may run 10 functions at
/// the same time.
pub(crate) const CONCURRENCY: usize = 10;

/// Environments of the webhook function at most: each is a process here. Lambda gives an account 1,000 by default.
const WEBHOOK_ENVIRONMENTS: usize = 200;

/// Calls a second that the bot may make: more than any of these runs, so that its quota never decides.
const QUOTA: u32 = 5000;

/// A running world.
pub(crate) struct World {
    pub(crate) aws: Arc<Aws>,
    pub(crate) platform: Arc<Platform>,
    pub(crate) webhook: Arc<Function>,
    pub(crate) inference: Arc<Function>,
    pub(crate) deliver: Arc<Function>,
    pub(crate) endpoint: String,
    mappings: Vec<AbortHandle>,
}

/// Ends the mappings and the functions' processes.
impl Drop for World {
    fn drop(&mut self) {
        self.mappings.iter().for_each(AbortHandle::abort);
        self.functions().into_iter().for_each(|function| function.end());
    }
}

/// What was called and used at one moment.
#[derive(Clone)]
pub(crate) struct Books {
    pub(crate) calls: Calls,
    pub(crate) functions: [(&'static str, f64, Usage); 3],
}

impl Books {
    pub(crate) fn since(&self, before: &Self) -> Self {
        let mut functions = self.functions;
        for ((.., usage), (.., before)) in functions.iter_mut().zip(&before.functions) {
            *usage = usage.since(before);
        }
        Self { calls: self.calls.since(&before.calls), functions }
    }
}

impl World {
    pub(crate) async fn start(binaries: &Binaries, plan: Plan) -> Result<Self> {
        let Plan { latencies, inference, deliver, processor } = plan;
        let counts = Arc::new(Counts::default());
        let sqs = Sqs::new(latencies);
        let aws = Arc::new(Aws { dynamodb: DynamoDb::default(), sqs, counts, latencies });
        let service = Arc::clone(&aws);
        let endpoint = format!("http://{}", serve(move |call| Arc::clone(&service).handle(call)).await?);
        let platform = Platform::new(latencies.platform);
        let api = Arc::clone(&platform);
        let api = format!("http://{}", serve(move |call| Arc::clone(&api).handle(call)).await?);
        seed(&aws.dynamodb, &api);
        let variables = variables(&endpoint);
        let function = |name: &'static str, memory, seconds, limit, overhead| -> Result<Arc<Function>> {
            let binary = binaries.functions.join(name).join("bootstrap");
            ensure!(binary.exists(), "{} is missing: run `make binaries` first", binary.display());
            Ok(Function::new(Setup {
                name,
                memory,
                timeout: Duration::from_secs(seconds),
                binary,
                bundle: binaries.bundle.clone(),
                variables: variables.clone(),
                limit,
                overhead,
                start: latencies.environment,
                processor,
            }))
        };
        let nothing = Latencies::NONE.url;
        let mut world = Self {
            webhook: function("telegram", 256, 10, WEBHOOK_ENVIRONMENTS, latencies.url)?,
            inference: function("inference", 1769, 30, inference.concurrency.max(1), nothing)?,
            deliver: function("deliver", 256, 30, deliver.concurrency.max(1), nothing)?,
            aws,
            platform,
            endpoint,
            mappings: Vec::new(),
        };
        let Aws { sqs, counts, .. } = &*world.aws;
        for (queue, function, mapping) in
            [("inbound", &world.inference, inference), ("outbound", &world.deliver, deliver)]
        {
            // Without any concurrency nothing leaves the queue: for measuring the function before it alone.
            if mapping.concurrency > 0 {
                world.mappings.extend(sqs.queue(queue).feed(function, counts, mapping));
            }
        }
        Ok(world)
    }

    pub(crate) fn functions(&self) -> [&Arc<Function>; 3] {
        [&self.webhook, &self.inference, &self.deliver]
    }

    pub(crate) fn books(&self) -> Books {
        Books {
            calls: self.aws.counts.now(),
            functions: self.functions().map(|function| (function.name(), function.gigabytes(), function.usage())),
        }
    }

    /// Messages that stand in a queue or are being handled.
    pub(crate) fn backlog(&self) -> usize {
        self.aws.sqs.queue("inbound").depth() + self.aws.sqs.queue("outbound").depth()
    }

    /// Messages in the dead-letter queues.
    pub(crate) fn dead(&self) -> usize {
        let queue = |name| self.aws.sqs.queue(name);
        queue("inbound").dead()
            + queue("outbound").dead()
            + queue("inbound-dlq").depth()
            + queue("outbound-dlq").depth()
    }

    /// Fails where a stand-in was asked for something it does not know.
    pub(crate) fn check(&self) -> Result<()> {
        match self.aws.counts.first_unknown() {
            None => Ok(()),
            Some(call) => {
                Err(anyhow::anyhow!("{call}")).context("a stand-in does not know a call, so nothing was measured")
            }
        }
    }
}

/// The environment of the functions, as `template.yaml` sets it.
pub(crate) fn variables(endpoint: &str) -> Vec<(&'static str, String)> {
    let concurrency = u32::try_from(CONCURRENCY).expect("a few");
    let mut variables = world::hoopoe::variables(endpoint, concurrency);
    variables.push(("AWS_ENDPOINT_URL", endpoint.to_owned()));
    variables.push(("ALLOWED_NETWORKS", "any".to_owned()));
    variables
}

/// One connected bot.
fn seed(dynamodb: &DynamoDb, api: &str) {
    let webhook =
        json!({"secret_token": SECRET, "bot_id": 123_456_789, "bot_username": "bench_bot", "group_prefix": "!"});
    let send = json!({"bot_token": TOKEN, "api_base": api});
    for (purpose, secret) in [("webhook", webhook), ("send", send)] {
        let context = json!({"channel": "telegram", "bot": BOT, "name": purpose});
        let key = format!("telegram/{BOT}/{purpose}");
        dynamodb.seed(
            "keys",
            json!({
                "key": {"S": key}, "version": {"N": "1"}, "state": {"S": "current"}, "created_at": {"N": "1760000000"},
                "since": {"N": "1760000000"}, "watched": {"BOOL": false}, "noticed": {"N": "0"},
                "ciphertext": {"B": kms::encrypt(&context, secret.to_string().as_bytes())},
            }),
        );
        let quota = json!({"key": {"S": key}, "version": {"N": "0"}, "per_second": {"N": QUOTA.to_string()}});
        dynamodb.seed("keys", quota);
    }
}

/// Questions that people ask, from a pack's `test.yaml`.
pub(crate) fn questions(file: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let pack: serde_json::Value =
        serde_yaml_ng::from_str(&text).with_context(|| format!("reading {}", file.display()))?;
    let mut questions = Vec::new();
    for set in ["in_scope", "out_of_scope"] {
        let asked = pack[set].as_array().into_iter().flatten();
        questions
            .extend(asked.filter_map(|asked| asked["text"].as_str().or_else(|| asked.as_str()).map(str::to_owned)));
    }
    ensure!(!questions.is_empty(), "{} has no questions", file.display());
    Ok(questions)
}
