//! One configuration, and so one pool of connections, for all AWS clients of a function.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_async::time::{SharedTimeSource, SystemTimeSource};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;

use crate::{Environment, EnvironmentError};

/// How long one attempt of a call may take. Every call here is answered within milliseconds; one that hangs must leave
/// time for the next attempt before a platform gives up on its webhook.
const ATTEMPT: Duration = Duration::from_millis(1500);
/// How long all attempts of a call may take together.
const OPERATION: Duration = Duration::from_secs(4);
const CONNECT: Duration = Duration::from_secs(1);

/// The configuration for AWS clients inside a function: region, credentials and (on a local stack) endpoint from the
/// environment, three attempts, and TLS by rustls with ring.
///
/// # Errors
///
/// When Lambda's own variables are missing, which means that this is not a Lambda environment.
pub fn config(environment: Environment) -> Result<SdkConfig, EnvironmentError> {
    let credentials = Credentials::new(
        environment.required("AWS_ACCESS_KEY_ID")?,
        environment.required("AWS_SECRET_ACCESS_KEY")?,
        environment.optional("AWS_SESSION_TOKEN"),
        None,
        "environment",
    );
    let endpoint = environment.optional("AWS_ENDPOINT_URL");
    let region = Region::new(environment.required("AWS_REGION")?);
    let time = SharedTimeSource::new(SystemTimeSource::new());
    let mut config = builder(credentials, region, http_client(endpoint.as_deref()), time);
    config.set_endpoint_url(endpoint);
    Ok(config.build())
}

/// What does not come from the environment, with the HTTP client and the clock of the caller: a simulation of AWS has its
/// own.
#[must_use]
pub fn builder(
    credentials: Credentials,
    region: Region,
    http_client: SharedHttpClient,
    time: SharedTimeSource,
) -> aws_types::sdk_config::Builder {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(region)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http_client)
        .retry_config(RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(50)))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT)
                .operation_attempt_timeout(ATTEMPT)
                .operation_timeout(OPERATION)
                .build(),
        )
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .time_source(time)
}

/// A plain connector for a local endpoint, so that nothing loads certificates there; TLS for AWS.
#[must_use]
pub fn http_client(endpoint: Option<&str>) -> SharedHttpClient {
    match endpoint {
        Some(endpoint) if endpoint.starts_with("http://") => Builder::new().build_http(),
        _ => Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https(),
    }
}
