//! `hoopoe status`: what the stack is doing, at a glance.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use anyhow::{Context, anyhow};
use aws_sdk_lambda::operation::get_function_configuration::GetFunctionConfigurationOutput;
use aws_sdk_sqs::types::QueueAttributeName;
use clap::Args;
use hoopoe_aws::cause;
use serde::Serialize;

use crate::logs::{self, Entry};
use crate::stack::{self, ALIAS, Stack};
use crate::{Global, output};

const EXAMPLES: &str = "\
Examples:
  hoopoe status
  hoopoe status --json | jq .queues
  hoopoe status --stack hoopoe --profile production
";

/// How far back errors count.
const RECENT: Duration = Duration::from_secs(3600);

/// Shows queues, dead letters, functions and the errors of the last hour.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Status {}

#[derive(Debug, Serialize)]
struct Report {
    stack: String,
    webchat: Option<String>,
    webhooks: BTreeMap<String, String>,
    queues: BTreeMap<String, Queue>,
    functions: BTreeMap<String, Function>,
}

/// SQS's counts, which are approximate.
#[derive(Debug, Serialize)]
struct Queue {
    waiting: u64,
    in_flight: u64,
    dead_letters: u64,
}

#[derive(Debug, Serialize)]
struct Function {
    state: String,
    memory_mb: i32,
    architecture: String,
    last_modified: String,
    /// What is called is not what was deployed last.
    behind: bool,
    /// In the last hour.
    errors: usize,
    last_error: Option<Entry>,
}

impl Status {
    /// Runs the subcommand.
    ///
    /// # Errors
    ///
    /// When the stack cannot be read.
    pub(crate) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let stack = Stack::find(global).await?;
        let report = Report::of(&stack).await?;
        output::result(&report, global.json)
    }
}

impl Report {
    async fn of(stack: &Stack) -> anyhow::Result<Self> {
        let sqs = aws_sdk_sqs::Client::new(stack.config());
        let mut queues = BTreeMap::new();
        for (name, output) in [("inbound", "Inbound"), ("outbound", "Outbound")] {
            let [waiting, in_flight] = depth(&sqs, stack.output(&format!("{output}QueueUrl"))?).await?;
            let [dead, looked_at] = depth(&sqs, stack.output(&format!("{output}DeadLettersUrl"))?).await?;
            queues.insert(name.to_owned(), Queue { waiting, in_flight, dead_letters: dead + looked_at });
        }
        let lambda = aws_sdk_lambda::Client::new(stack.config());
        let mut functions = BTreeMap::new();
        for (short, name) in stack.functions() {
            let read = async |alias: Option<&str>| {
                let asked = lambda.get_function_configuration().function_name(name);
                let found = asked.set_qualifier(alias.map(str::to_owned)).send().await;
                found.map_err(|error| anyhow!("the function {name} cannot be read: {}", cause(&error)))
            };
            let found = read(None).await?;
            let live = read(Some(ALIAS)).await?;
            let mut errors = logs::errors(stack, short, name, RECENT).await?;
            functions.insert(
                short.to_owned(),
                Function {
                    state: found.state().map_or_else(|| "unknown".to_owned(), ToString::to_string),
                    memory_mb: found.memory_size().unwrap_or_default(),
                    architecture: found.architectures().first().map(ToString::to_string).unwrap_or_default(),
                    last_modified: found.last_modified().unwrap_or_default().to_owned(),
                    behind: what_matters(&found) != what_matters(&live),
                    errors: errors.len(),
                    last_error: errors.pop(),
                },
            );
        }
        Ok(Self {
            stack: stack.name().to_owned(),
            webchat: stack.webchat(),
            webhooks: stack.webhooks(),
            queues,
            functions,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "stack      {}", self.stack)?;
        stack::write_addresses(f, self.webchat.as_deref(), &self.webhooks)?;
        write!(f, "\n\n{:<10} {:>8} {:>10} {:>13}", "queue", "waiting", "in flight", "dead letters")?;
        for (name, queue) in &self.queues {
            write!(f, "\n{name:<10} {:>8} {:>10} {:>13}", queue.waiting, queue.in_flight, queue.dead_letters)?;
        }
        write!(f, "\n\n{:<10} {:<8} {:>7} {:<7} {:>17}", "function", "state", "memory", "", "errors last hour")?;
        for (name, function) in &self.functions {
            write!(
                f,
                "\n{name:<10} {:<8} {:>4} MB {:<7} {:>17}",
                function.state, function.memory_mb, function.architecture, function.errors
            )?;
        }
        for entry in self.functions.values().filter_map(|function| function.last_error.as_ref()) {
            write!(f, "\n\nlast error {entry}")?;
        }
        for name in self.functions.iter().filter(|(_, function)| function.behind).map(|(name, _)| name) {
            let name = format!("{}-{name}", self.stack);
            write!(
                f,
                "\n\n{name} is called through its alias {ALIAS}, which leads to an older version than what was deployed \
                 last. `aws lambda publish-version --function-name {name}` publishes that, and `aws lambda update-alias \
                 --function-name {name} --name {ALIAS} --function-version VERSION` moves the alias to it."
            )?;
        }
        if self.queues.values().any(|queue| queue.dead_letters > 0) {
            write!(f, "\n\n`hoopoe dlq list` says why messages are dead letters.")?;
        }
        Ok(())
    }
}

/// What of a function's configuration a version keeps and a deployment changes.
fn what_matters(
    function: &GetFunctionConfigurationOutput,
) -> (Option<&str>, Option<i32>, Option<&HashMap<String, String>>) {
    let variables = function.environment().and_then(|environment| environment.variables());
    (function.code_sha256(), function.memory_size(), variables)
}

/// About how many messages of a queue wait, and how many somebody has received and not deleted yet.
///
/// # Errors
///
/// When the queue does not answer.
pub(crate) async fn depth(sqs: &aws_sdk_sqs::Client, url: &str) -> anyhow::Result<[u64; 2]> {
    const COUNTS: [QueueAttributeName; 2] =
        [QueueAttributeName::ApproximateNumberOfMessages, QueueAttributeName::ApproximateNumberOfMessagesNotVisible];
    let found = sqs
        .get_queue_attributes()
        .queue_url(url)
        .set_attribute_names(Some(COUNTS.to_vec()))
        .send()
        .await
        .map_err(|error| anyhow!("the queue {url} cannot be read: {}", cause(&error)))?;
    let count = |name: &QueueAttributeName| {
        found.attributes().and_then(|all| all.get(name)?.parse().ok()).with_context(|| format!("{url} has no {name}"))
    };
    Ok([count(&COUNTS[0])?, count(&COUNTS[1])?])
}

#[cfg(test)]
mod tests {
    use aws_sdk_lambda::types::EnvironmentResponse;

    use super::*;

    fn configuration(zip: &str, memory: i32, gap: &str) -> GetFunctionConfigurationOutput {
        let environment = EnvironmentResponse::builder().variables("ORDER_GAP_MILLISECONDS", gap).build();
        GetFunctionConfigurationOutput::builder().code_sha256(zip).memory_size(memory).environment(environment).build()
    }

    #[test]
    fn what_an_alias_can_lack_of_a_deployment_is_seen() {
        let live = configuration("zip", 256, "2000");
        assert_eq!(what_matters(&live), what_matters(&configuration("zip", 256, "2000")));
        for deployed in
            [configuration("new", 256, "2000"), configuration("zip", 512, "2000"), configuration("zip", 256, "1500")]
        {
            assert_ne!(what_matters(&live), what_matters(&deployed), "{deployed:?}");
        }
    }

    #[test]
    fn a_function_that_is_behind_is_told_with_the_way_out() {
        let function = |behind| Function {
            state: "Active".to_owned(),
            memory_mb: 256,
            architecture: "x86_64".to_owned(),
            last_modified: String::new(),
            behind,
            errors: 0,
            last_error: None,
        };
        let report = Report {
            stack: "shop".to_owned(),
            webchat: None,
            webhooks: BTreeMap::from([("line".to_owned(), "https://line.example/line/main".to_owned())]),
            queues: BTreeMap::new(),
            functions: BTreeMap::from([("deliver".to_owned(), function(true)), ("line".to_owned(), function(false))]),
        };
        let said = report.to_string();
        assert!(
            said.contains("shop-deliver is called through its alias live, which leads to an older version"),
            "{said}"
        );
        assert!(said.contains("aws lambda publish-version --function-name shop-deliver"), "{said}");
        assert!(!said.contains("shop-line is called") && !said.contains("web chat"), "{said}");
    }
}
