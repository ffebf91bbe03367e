//! Moves the versions of keys on, every hour: rotates by itself what the platforms let us, ends rotations that have
//! proved themselves, destroys what is over, and tells the operator of what only a person can rotate.
//!
//! What is to be done is [`hoopoe_rotation::sweep()`]; here are the stack's tables, the operator's choices and the topic
//! that the operator is told by.

use std::time::Duration;

use aws_sdk_sns::operation::publish::PublishError;
use hoopoe_aws::{Environment, SdkConfig, cause, client};
use hoopoe_keyring::{Actor, Audit, Uses, Vault};
use hoopoe_message::Timestamp;
use hoopoe_rotation::rotation::Tables;
use hoopoe_rotation::{HttpPlatforms, Notice, Notify, Policy, Swept, http, sweep};
use hoopoe_telemetry::Fatal;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::de::IgnoredAny;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fatal> {
    hoopoe_telemetry::init();
    let rotate = Rotate::new(Environment)?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<IgnoredAny>| {
        let rotate = &rotate;
        async move { rotate.handle(event.context.invoked_function_arn, event.context.request_id).await }
    }))
    .await?;
    Ok(())
}

struct Rotate {
    config: SdkConfig,
    keys_table: String,
    kms_key: String,
    audit_table: String,
    retention: Duration,
    uses: Uses,
    platforms: HttpPlatforms,
    topic: Topic,
    policy: Policy,
}

impl Rotate {
    fn new(environment: Environment) -> Result<Self, Error> {
        let config = client::config(environment)?;
        let days = |name| environment.parsed(name).map(|days: u64| Duration::from_secs(days * DAY));
        let notice_days = environment.required("NOTICE_DAYS")?;
        let policy = Policy {
            rotate_after: days("ROTATION_DAYS")?,
            notice_days: notice_days
                .split(',')
                .map(|days| days.trim().parse())
                .collect::<Result<_, _>>()
                .map_err(|_| "the environment variable NOTICE_DAYS is not a list of numbers such as 75,85,90")?,
            watch: Duration::from_secs(environment.parsed::<u64>("WATCH_HOURS")? * HOUR),
            keep: days("KEEP_DAYS")?,
        };
        Ok(Self {
            keys_table: environment.required("KEYS_TABLE")?,
            kms_key: environment.required("KMS_KEY")?,
            audit_table: environment.required("AUDIT_TABLE")?,
            retention: days("AUDIT_RETENTION_DAYS")?,
            uses: Uses::new(&config, environment.required("USAGE_TABLE")?),
            platforms: HttpPlatforms::new(http::client()?),
            topic: Topic { sns: aws_sdk_sns::Client::new(&config), arn: environment.required("NOTICES_TOPIC")? },
            policy,
            config,
        })
    }

    /// Does what is due. Fails where something could not be done, so that Lambda tries again and the alarm is raised;
    /// what was done stays done.
    async fn handle(&self, function: String, request: String) -> Result<serde_json::Value, Error> {
        let actor = Actor { who: function, origin: format!("request {request}") };
        let audit = Audit::new(&self.config, self.audit_table.clone(), actor, self.retention);
        let vault = Vault::new(&self.config, self.keys_table.clone(), self.kms_key.clone(), audit);
        let tables = Tables { vault, uses: self.uses.clone() };
        let Swept { rotated, finished, destroyed, notified, failed } =
            sweep(&tables, &self.platforms, &self.topic, &self.policy, Timestamp::now()).await?;
        tracing::info!(rotated, finished, destroyed, notified, failed, "swept");
        if failed > 0 {
            return Err(format!("{failed} things could not be done; the lines before this one say which").into());
        }
        Ok(serde_json::json!({
            "rotated": rotated, "finished": finished, "destroyed": destroyed, "notified": notified,
        }))
    }
}

/// The topic that the operator subscribes to.
struct Topic {
    sns: aws_sdk_sns::Client,
    arn: String,
}

/// The topic did not take a notice.
#[derive(Debug, thiserror::Error)]
#[error("publishing failed: {0}")]
struct Unpublished(String);

impl Notify for Topic {
    type Error = Unpublished;

    async fn notify(&self, notice: Notice) -> Result<(), Unpublished> {
        let publish = self.sns.publish().topic_arn(&self.arn).subject(notice.subject).message(notice.text);
        publish.send().await.map(|_| ()).map_err(|error| Unpublished(cause::<PublishError, _>(&error)))
    }
}
