//! A stack that runs: the local one, or one on AWS that `--stack` names. Every command finds its tables, queues,
//! functions and URLs here, in the stack's outputs.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_cloudformation::types::{Stack as Description, StackStatus};
use hoopoe_message::Channel;
use serde::{Deserialize, Serialize};

use crate::{Global, aws};

/// The name of the local stack, and its region.
pub(crate) const LOCAL_NAME: &str = "hoopoe";
/// `AutoPublishAlias` in `template.yaml`: what URLs, queues and the schedule call of a function.
pub(crate) const ALIAS: &str = "live";
/// The region that the local stack pretends to be in.
pub(crate) const LOCAL_REGION: &str = "us-east-1";
/// The root of the emulator's account, which the operator and SAM are: it may do everything. Functions have the
/// credentials of their roles.
pub(crate) const CREDENTIALS: (&str, &str) = ("test", "test");

/// What `hoopoe up` leaves for other programs to read, in `stack.json` of the state folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocalStack {
    /// Where the emulator listens: the endpoint of every AWS client.
    pub(crate) endpoint: String,
    /// Always [`LOCAL_REGION`].
    pub(crate) region: String,
    /// Always [`LOCAL_NAME`].
    pub(crate) stack: String,
    /// The web chat page.
    pub(crate) webchat: String,
    /// The webhook of each other channel's bot `main`, by channel.
    pub(crate) webhooks: BTreeMap<String, String>,
}

impl LocalStack {
    /// Where it stands in a state folder.
    #[must_use]
    pub(crate) fn path(state: &Path) -> PathBuf {
        state.join("stack.json")
    }

    fn read(state: &Path) -> anyhow::Result<Self> {
        let path = Self::path(state);
        let json = fs::read(&path).with_context(|| {
            format!("there is no local stack ({} is missing); start it with `hoopoe up`", path.display())
        })?;
        serde_json::from_slice(&json)
            .with_context(|| format!("{} is damaged; `hoopoe up` writes it anew", path.display()))
    }
}

impl fmt::Display for LocalStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_addresses(f, Some(&self.webchat), &self.webhooks)
    }
}

/// Writes the address of the page, if there is one, and of each webhook, one a line.
pub(crate) fn write_addresses(
    f: &mut fmt::Formatter<'_>,
    webchat: Option<&str>,
    webhooks: &BTreeMap<String, String>,
) -> fmt::Result {
    let webhooks = webhooks.iter().map(|(channel, url)| (channel.as_str(), url.as_str()));
    let lines = webchat.map(|url| ("web chat", url)).into_iter().chain(webhooks);
    let lines: Vec<String> = lines.map(|(channel, url)| format!("{channel:<10} {url}")).collect();
    f.write_str(&lines.join("\n"))
}

/// A deployed stack with the configuration to reach it.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    name: String,
    /// The emulator's endpoint, for the local stack.
    endpoint: Option<String>,
    config: SdkConfig,
    outputs: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
    /// The last deployment came to its end.
    complete: bool,
}

impl Stack {
    /// The stack that the options name: `--stack`, or the local one.
    ///
    /// # Errors
    ///
    /// When it is not there or does not answer.
    pub(crate) async fn find(global: &Global) -> anyhow::Result<Self> {
        match &global.stack {
            Some(name) => {
                let config = aws::config(global.profile.as_deref(), global.region.as_deref()).await?;
                let region = config.region().map(ToString::to_string).unwrap_or_default();
                Self::describe(config, name, None).await?.with_context(|| {
                    format!(
                        "there is no stack {name} in {region}: `sam deploy` makes it, --region looks elsewhere, and \
                         --profile in another account"
                    )
                })
            }
            None => {
                let local = LocalStack::read(&global.state)?;
                Self::local(&local.endpoint)
                    .await
                    .with_context(|| {
                        format!("the local stack at {} cannot be used; `hoopoe up` starts it", local.endpoint)
                    })?
                    .context("the emulator does not know the local stack; `hoopoe up` deploys it")
            }
        }
    }

    /// The local stack of the emulator at `endpoint`, if it was deployed.
    ///
    /// # Errors
    ///
    /// When the emulator does not answer.
    pub(crate) async fn local(endpoint: &str) -> anyhow::Result<Option<Self>> {
        Self::describe(Self::local_config(endpoint), LOCAL_NAME, Some(endpoint.to_owned())).await
    }

    /// The configuration of AWS clients for the emulator at `endpoint`.
    pub(crate) fn local_config(endpoint: &str) -> SdkConfig {
        let (id, secret) = CREDENTIALS;
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(LOCAL_REGION))
            .endpoint_url(endpoint)
            .http_client(hoopoe_aws::client::http_client(Some(endpoint)))
            .sleep_impl(aws_smithy_async::rt::sleep::SharedAsyncSleep::new(
                aws_smithy_async::rt::sleep::TokioSleep::new(),
            ))
            .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(Credentials::new(
                id, secret, None, None, "emulator",
            )))
            .build()
    }

    async fn describe(config: SdkConfig, name: &str, endpoint: Option<String>) -> anyhow::Result<Option<Self>> {
        let described = aws_sdk_cloudformation::Client::new(&config).describe_stacks().stack_name(name).send().await;
        let description = match described {
            Ok(output) => output.stacks.unwrap_or_default().into_iter().next(),
            // CloudFormation has no error of its own for a stack that is not there.
            Err(error)
                if error
                    .as_service_error()
                    .and_then(|error| error.meta().message())
                    .is_some_and(|message| message.contains("does not exist")) =>
            {
                None
            }
            Err(error) => bail!("the stack {name} cannot be read: {}", aws::explain(&error)),
        };
        Ok(description.map(|description| Self {
            name: name.to_owned(),
            endpoint,
            config,
            tags: tags(&description),
            complete: matches!(
                description.stack_status,
                Some(StackStatus::CreateComplete | StackStatus::UpdateComplete)
            ),
            outputs: outputs(description),
        }))
    }

    /// The stack's name.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The configuration for AWS clients.
    #[must_use]
    pub(crate) const fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// A tag of the stack. One that was not deployed to the end has none: it is not what its tags say.
    #[must_use]
    pub(crate) fn tag(&self, key: &str) -> Option<&str> {
        self.tags.get(key).filter(|_| self.complete).map(String::as_str)
    }

    /// An output of the stack, such as `KeysTableName`.
    ///
    /// # Errors
    ///
    /// When an older template deployed it.
    pub(crate) fn output(&self, name: &str) -> anyhow::Result<&str> {
        self.outputs.get(name).map(String::as_str).ok_or_else(|| {
            anyhow!("the stack {} has no output {name}; deploy it again with this version's template.yaml", self.name)
        })
    }

    /// The deployed functions: the last part of each name, and the whole name.
    #[must_use]
    pub(crate) fn functions(&self) -> BTreeMap<&str, &str> {
        let prefix = format!("{}-", self.name);
        self.outputs
            .iter()
            .filter(|(key, _)| key.ends_with("FunctionName"))
            .map(|(_, name)| (name.strip_prefix(&prefix).unwrap_or(name), name.as_str()))
            .collect()
    }

    /// The web chat page of the bot `main`, if the stack has the web chat.
    #[must_use]
    pub(crate) fn webchat(&self) -> Option<String> {
        self.address(Channel::Webchat)
    }

    /// The webhook of a channel's bot; of the web chat, its page.
    ///
    /// # Errors
    ///
    /// When the stack has no such channel.
    pub(crate) fn webhook(&self, channel: Channel, bot: &str) -> anyhow::Result<String> {
        let main = self.address(channel).with_context(|| match self.endpoint {
            Some(_) => {
                format!("the local stack does not have {channel}; `hoopoe up --channels all` adds every channel")
            }
            None => {
                format!("the stack {} does not have {channel}; deploy it with {channel} in its Channels", self.name)
            }
        })?;
        let base = main.strip_suffix("main").context("addresses end with the bot main")?;
        Ok(format!("{base}{bot}"))
    }

    /// The webhook of the bot `main` on each channel that the stack has but the web chat, by the channel's name.
    #[must_use]
    pub(crate) fn webhooks(&self) -> BTreeMap<String, String> {
        let others = Channel::ALL.into_iter().filter(|channel| *channel != Channel::Webchat);
        others.filter_map(|channel| Some((channel.to_string(), self.address(channel)?))).collect()
    }

    /// Where the bot `main` is on a channel that the stack has.
    fn address(&self, channel: Channel) -> Option<String> {
        self.outputs.get(&format!("{channel}Url")).map(|url| self.reachable(url))
    }

    /// What `stack.json` says of the local stack.
    ///
    /// # Errors
    ///
    /// When the stack is not local or lacks an output.
    pub(crate) fn describe_local(&self) -> anyhow::Result<LocalStack> {
        Ok(LocalStack {
            endpoint: self.endpoint.clone().context("the stack is not the local one")?,
            region: LOCAL_REGION.to_owned(),
            stack: self.name.clone(),
            webchat: self.webhook(Channel::Webchat, "main")?,
            webhooks: self.webhooks(),
        })
    }

    /// The address by which a function URL is reached: itself on AWS; locally at the emulator, which knows the
    /// function by the host's name.
    fn reachable(&self, url: &str) -> String {
        match &self.endpoint {
            Some(endpoint) => local_url(url, endpoint).unwrap_or_else(|| url.to_owned()),
            None => url.to_owned(),
        }
    }
}

/// `https://<id>.lambda-url.<region>.on.aws/…` as the emulator at `http://127.0.0.1:<port>` serves it.
fn local_url(url: &str, endpoint: &str) -> Option<String> {
    let port = endpoint.rsplit_once(':')?.1;
    let (host, path) = url.strip_prefix("https://")?.split_once('/')?;
    Some(format!("http://{}.localhost:{port}/{path}", host.strip_suffix(".on.aws")?))
}

fn outputs(description: Description) -> BTreeMap<String, String> {
    let outputs = description.outputs.unwrap_or_default();
    outputs.into_iter().filter_map(|output| Some((output.output_key?, output.output_value?))).collect()
}

fn tags(description: &Description) -> BTreeMap<String, String> {
    let tags = description.tags();
    tags.iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(endpoint: Option<&str>) -> Stack {
        let outputs = [
            ("webchatUrl", "https://abc.lambda-url.us-east-1.on.aws/webchat/main"),
            ("telegramUrl", "https://def.lambda-url.us-east-1.on.aws/telegram/main"),
            ("telegramFunctionName", "bot-telegram"),
            ("KeysTableName", "bot-Keys-1"),
            ("InboundQueueUrl", "https://sqs.us-east-1.amazonaws.com/1/bot-Inbound-1"),
        ];
        Stack {
            name: "bot".into(),
            endpoint: endpoint.map(Into::into),
            config: SdkConfig::builder().build(),
            outputs: outputs.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            tags: BTreeMap::from([("version".to_owned(), "1".to_owned())]),
            complete: true,
        }
    }

    #[test]
    fn urls_of_the_local_stack_lead_to_the_emulator() {
        let local = stack(Some("http://127.0.0.1:4566"));
        assert_eq!(local.webchat().expect("there"), "http://abc.lambda-url.us-east-1.localhost:4566/webchat/main");
        let described = local.describe_local().expect("local");
        assert_eq!(
            serde_json::to_value(described).expect("JSON"),
            serde_json::json!({
                "endpoint": "http://127.0.0.1:4566",
                "region": "us-east-1",
                "stack": "bot",
                "webchat": "http://abc.lambda-url.us-east-1.localhost:4566/webchat/main",
                "webhooks": {"telegram": "http://def.lambda-url.us-east-1.localhost:4566/telegram/main"},
            })
        );
    }

    #[test]
    fn urls_on_aws_stay_as_they_are() {
        let deployed = stack(None);
        let url = deployed.webhook(Channel::Telegram, "shop").expect("there");
        assert_eq!(url, "https://def.lambda-url.us-east-1.on.aws/telegram/shop");
        let error = deployed.webhook(Channel::Line, "main").expect_err("not deployed").to_string();
        assert!(error.contains("the stack bot does not have line; deploy it with line in its Channels"), "{error}");
        assert!(deployed.webhooks().keys().eq(["telegram"]), "the queue's and the page's are no webhooks");
    }

    #[test]
    fn a_stack_that_was_not_deployed_to_the_end_has_no_tags() {
        let deployed = stack(None);
        assert_eq!(deployed.tag("version"), Some("1"));
        assert_eq!(Stack { complete: false, ..deployed }.tag("version"), None);
    }

    #[test]
    fn functions_go_by_their_short_names() {
        assert_eq!(stack(None).functions(), BTreeMap::from([("telegram", "bot-telegram")]));
    }

    #[test]
    fn a_missing_output_says_what_to_do() {
        let error = stack(None).output("ClaimsTableName").expect_err("not there").to_string();
        assert!(error.contains("deploy it again"), "{error}");
    }
}
