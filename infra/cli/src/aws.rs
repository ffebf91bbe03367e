//! The AWS account that `--stack` works in, and what is wrong with it in words that say what to do.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig, imds};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_cloudformation::error::{ProvideErrorMetadata, SdkError};
use aws_types::os_shim_internal::{Env, Fs};
use hoopoe_aws::cause;

/// An EC2 machine answers within a millisecond; anywhere else nobody does.
const METADATA_TIMEOUT: Duration = Duration::from_millis(500);

/// The configuration of AWS clients, from the options and what the AWS CLI would use too.
///
/// # Errors
///
/// If there is no such profile, or no region.
pub(crate) async fn config(profile: Option<&str>, region: Option<&str>) -> anyhow::Result<SdkConfig> {
    let named = match profile {
        Some(name) => Some(name.to_owned()),
        None => std::env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty()),
    };
    if let Some(name) = &named {
        find_profile(name).await?;
    }
    let http = hoopoe_aws::client::http_client(None);
    let typed = region.map(|region| Region::new(region.to_owned()));
    let mut of_profile = ProfileFileRegionProvider::builder();
    if let Some(name) = profile {
        of_profile = of_profile.profile_name(name);
    }
    // Not from EC2's metadata: that would be asked, and waited for, on every other machine too.
    let region = RegionProviderChain::first_try(typed)
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(of_profile.build());
    let region = region.region().await.context(
        "no AWS region is set: name it with --region, as in `hoopoe status --stack hoopoe --region eu-central-1`, or set \
         it with `aws configure`",
    )?;
    let places = ProviderConfig::without_region().with_http_client(http.clone()).with_region(Some(region.clone()));
    let credentials = match profile {
        // A profile that is named goes before the credentials of the environment, as with the AWS CLI.
        Some(name) => SharedCredentialsProvider::new(
            ProfileFileCredentialsProvider::builder().configure(&places).profile_name(name).build(),
        ),
        None => {
            let metadata = imds::Client::builder()
                .configure(&places)
                .max_attempts(1)
                .connect_timeout(METADATA_TIMEOUT)
                .operation_timeout(METADATA_TIMEOUT)
                .build();
            let chain = DefaultCredentialsChain::builder().configure(places).region(region.clone());
            SharedCredentialsProvider::new(chain.imds_client(metadata).build().await)
        }
    };
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .region(region)
        .credentials_provider(credentials);
    if let Some(name) = profile {
        loader = loader.profile_name(name);
    }
    Ok(loader.load().await)
}

async fn find_profile(name: &str) -> anyhow::Result<()> {
    let chosen = Some(Cow::Owned(name.to_owned()));
    let profiles = aws_config::profile::load(&Fs::real(), &Env::real(), &Default::default(), chosen)
        .await
        .map_err(|error| anyhow!("the AWS profiles cannot be read: {}", chain(&error)))?;
    if profiles.get_profile(name).is_some() {
        return Ok(());
    }
    let mut names: Vec<&str> = profiles.profiles().collect();
    names.sort_unstable();
    match names.as_slice() {
        [] => bail!("there is no AWS profile \"{name}\", nor any other; `aws configure --profile {name}` makes it"),
        _ => bail!("there is no AWS profile \"{name}\" in ~/.aws/config; there are: {}", names.join(", ")),
    }
}

/// Why AWS did not do what was asked. What an operator meets at the first call is told with what to do about it.
pub(crate) fn explain<E, R>(error: &SdkError<E, R>) -> String
where
    E: Error + ProvideErrorMetadata + 'static,
    R: std::fmt::Debug + 'static,
{
    if let Some(refused) = error.as_service_error() {
        let advice = match refused.code().unwrap_or_default() {
            "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
                "the AWS session has expired: sign in again, with `aws sso login` or new credentials"
            }
            "InvalidClientTokenId" | "UnrecognizedClientException" | "SignatureDoesNotMatch" | "AuthFailure" => {
                "AWS does not accept these credentials: look at them with `aws configure list`"
            }
            "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => "these credentials lack a permission",
            _ => return cause(error),
        };
        return format!("{advice} ({})", cause(error));
    }
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<CredentialsError>() {
            return no_credentials(error);
        }
        source = error.source();
    }
    match error {
        SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) => format!("AWS cannot be reached: {}", cause(error)),
        _ => cause(error),
    }
}

fn no_credentials(error: &CredentialsError) -> String {
    let words = chain(error);
    let not_found = matches!(error, CredentialsError::CredentialsNotLoaded(_))
        // The last place that is looked at; what it says is about EC2.
        || words.contains("IMDS");
    if not_found {
        "no AWS credentials were found: run `aws configure`, or name a profile with --profile".to_owned()
    } else if words.to_lowercase().contains("sso") {
        format!("the AWS session has expired or was never opened: run `aws sso login` ({words})")
    } else {
        format!("the AWS credentials cannot be loaded: {words}")
    }
}

/// An error with its causes.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        words = format!("{words}: {error}");
        source = error.source();
    }
    words
}
