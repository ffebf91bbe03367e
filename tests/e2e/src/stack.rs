//! The local stack.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_sqs::types::QueueAttributeName;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_types::SdkConfig;
use aws_types::region::Region;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::wait::eventually;

/// The stack that `hoopoe up` started in `HOOPOE_STATE`.
pub struct Stack {
    /// An HTTP client that finds the function URLs.
    pub http: Client,
    /// What clients of the emulator are made from.
    pub config: SdkConfig,
    /// The SQS client of the emulator.
    pub sqs: aws_sdk_sqs::Client,
    /// The DynamoDB client of the emulator.
    pub dynamodb: aws_sdk_dynamodb::Client,
    description: Value,
    outputs: HashMap<String, String>,
    state: PathBuf,
    hoopoe: PathBuf,
}

/// A queue that hears what the operator is told.
#[derive(Debug)]
pub struct Notices {
    /// Its URL.
    pub queue: String,
    subscription: String,
}

/// A letter that stands in a dead-letter queue.
#[derive(Debug)]
pub struct DeadLetter {
    /// The body, as it stood in the queue it came from.
    pub body: String,
    /// Why it is here.
    pub reason: String,
}

impl Stack {
    /// Opens the stack.
    pub async fn open() -> Self {
        let state: PathBuf = std::env::var_os("HOOPOE_STATE")
            .expect("HOOPOE_STATE names the folder of a running local stack; `make test-e2e` starts one and sets it")
            .into();
        let file = state.join("stack.json");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let description: Value = serde_json::from_str(&text).expect("stack.json is JSON");
        let endpoint = description["endpoint"].as_str().expect("an endpoint").to_owned();
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(description["region"].as_str().expect("a region").to_owned()))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test")))
            .http_client(hoopoe_aws::client::http_client(Some(&endpoint)))
            .endpoint_url(endpoint)
            .build();
        let stack = description["stack"].as_str().expect("a name");
        let described = aws_sdk_cloudformation::Client::new(&config)
            .describe_stacks()
            .stack_name(stack)
            .send()
            .await
            .expect("the emulator answers");
        let outputs = described.stacks().iter().flat_map(|stack| stack.outputs());
        let outputs = outputs
            .filter_map(|output| Some((output.output_key()?.to_owned(), output.output_value()?.to_owned())))
            .collect();
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            http: local_client(&description),
            sqs: aws_sdk_sqs::Client::new(&config),
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
            config,
            description,
            outputs,
            state,
            hoopoe: std::env::var_os("HOOPOE").expect("HOOPOE names the built command; `make test-e2e` sets it").into(),
        }
    }

    /// An output of the template.
    #[must_use]
    pub fn output(&self, name: &str) -> &str {
        self.outputs.get(name).unwrap_or_else(|| panic!("the template has no output {name}"))
    }

    /// The outputs whose names end so.
    pub fn outputs_ending<'a>(&'a self, end: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let all = self.outputs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        all.filter(move |(name, _)| name.ends_with(end))
    }

    /// The folder of the stack's state.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The URL of a bot's webhook, on the URL of the bot `main`.
    #[must_use]
    pub fn webhook(&self, channel: &str, bot: &str) -> String {
        let main = self.description["webhooks"][channel].as_str().expect("a webhook URL");
        let base = main.strip_suffix("/main").expect("the URL of the bot main");
        format!("{base}/{bot}")
    }

    /// The web chat's URL.
    #[must_use]
    pub fn webchat(&self) -> &str {
        self.description["webchat"].as_str().expect("a web chat URL")
    }

    /// A bot name that no other test has.
    #[must_use]
    pub fn new_bot() -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        format!("t{:x}-{}-{}", since.as_millis(), std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
    }

    /// Runs `hoopoe` with these arguments and this standard input, and returns its standard output.
    pub async fn hoopoe(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "hoopoe {arguments:?}: {errors}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs `hoopoe` where it has to fail, and returns its standard error.
    pub async fn hoopoe_fails(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input).await;
        assert!(!output.status.success(), "hoopoe {arguments:?} did not fail");
        String::from_utf8(output.stderr).expect("text")
    }

    /// Runs `hoopoe`, whatever comes of it.
    pub async fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.hoopoe.display()));
        let mut stdin = child.stdin.take().expect("it is piped");
        // A command that needs no input may have ended before it could be written.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        child.wait_with_output().await.expect("the command ends")
    }

    /// `hoopoe` with these arguments, to be started.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.hoopoe);
        command.arg("--state").arg(&self.state).args(arguments);
        command
    }

    /// Subscribes to what the operator is told.
    pub async fn notices(&self) -> Notices {
        let topic = self.output("NoticesTopicArn");
        // The topic may send to it, as an operator's subscription would be allowed.
        let policy = json!({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": "*",
            "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }});
        let create = self.sqs.create_queue().queue_name(Self::new_bot());
        let create = create.attributes(QueueAttributeName::Policy, policy.to_string());
        let queue = create.send().await.expect("a queue").queue_url.expect("its URL");
        let attributes =
            self.sqs.get_queue_attributes().queue_url(&queue).attribute_names(QueueAttributeName::QueueArn);
        let attributes = attributes.send().await.expect("its attributes").attributes.expect("they are there");
        let subscribe = aws_sdk_sns::Client::new(&self.config).subscribe().topic_arn(topic).protocol("sqs");
        let subscribe = subscribe.endpoint(&attributes[&QueueAttributeName::QueueArn]);
        let subscription = subscribe.send().await.expect("a subscription").subscription_arn.expect("its ARN");
        Notices { queue, subscription }
    }

    /// Ends the subscription.
    pub async fn end_notices(&self, notices: Notices) {
        let sns = aws_sdk_sns::Client::new(&self.config);
        sns.unsubscribe().subscription_arn(notices.subscription).send().await.expect("it ends");
        self.sqs.delete_queue().queue_url(notices.queue).send().await.expect("it is deleted");
    }

    /// Posts a body and returns the status of the answer.
    pub async fn post(&self, url: &str, headers: &[(&str, &str)], body: String) -> StatusCode {
        let mut request = self.http.post(url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("the function URL answers").status()
    }

    /// Puts a body into a queue as it is.
    pub async fn enqueue(&self, queue: &str, body: &str) {
        let url = self.output(queue);
        self.sqs.send_message().queue_url(url).message_body(body).send().await.expect("the queue takes it");
    }

    /// Waits for the dead letter whose body holds `mark`, and takes it out of its queue.
    pub async fn dead_letter(&self, queue: &str, mark: &str) -> DeadLetter {
        let url = self.output(queue);
        eventually(&format!("a dead letter with {mark} in {queue}"), async || {
            let received = self
                .sqs
                .receive_message()
                .queue_url(url)
                .max_number_of_messages(10)
                // Letters of other tests are to be seen again at once.
                .visibility_timeout(1)
                .message_attribute_names("All")
                .send()
                .await
                .expect("the queue answers");
            let letter = received.messages().iter().find(|message| message.body().is_some_and(|b| b.contains(mark)))?;
            let reason = letter.message_attributes().and_then(|all| all.get("reason")?.string_value());
            let found = DeadLetter {
                body: letter.body().expect("a body").to_owned(),
                reason: reason.unwrap_or_default().to_owned(),
            };
            let handle = letter.receipt_handle().expect("a handle");
            self.sqs.delete_message().queue_url(url).receipt_handle(handle).send().await.expect("it is deleted");
            Some(found)
        })
        .await
    }
}

/// A client for `http://<id>.lambda-url.<region>.localhost:<port>/`: every such name is this machine, whether its
/// resolver knows that or not.
fn local_client(description: &Value) -> Client {
    let urls = description["webhooks"].as_object().expect("webhooks").values().chain([&description["webchat"]]);
    let mut builder = Client::builder().no_proxy();
    for url in urls {
        let url = reqwest::Url::parse(url.as_str().expect("a URL")).expect("a URL");
        let address = ([127, 0, 0, 1], url.port_or_known_default().expect("a port")).into();
        builder = builder.resolve(url.host_str().expect("a host"), address);
    }
    builder.build().expect("a client")
}
