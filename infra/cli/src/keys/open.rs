//! The tables of a stack's keys, opened as whoever runs this command.

use std::time::Duration;

use anyhow::Context;
use hoopoe_aws::cause;
use hoopoe_keyring::{Actor, Audit, Operator, Uses, Vault};
use hoopoe_rotation::rotation::Tables;

use crate::stack::Stack;

/// The Keys and Usage tables; what is done to them stands in the audit under the caller's name.
///
/// # Errors
///
/// When an older template deployed the stack, or AWS does not say who the caller is.
pub(crate) async fn tables(stack: &Stack) -> anyhow::Result<Tables> {
    let audit = audit(stack).await?;
    let (keys, alias) = (stack.output("KeysTableName")?.to_owned(), stack.output("KeyAlias")?.to_owned());
    Ok(Tables {
        vault: Vault::new(stack.config(), keys, alias, audit),
        uses: Uses::new(stack.config(), stack.output("UsageTableName")?.to_owned()),
    })
}

/// The operator's credential.
///
/// # Errors
///
/// As [`tables`].
pub(crate) async fn operator(stack: &Stack) -> anyhow::Result<Operator> {
    Ok(Operator::new(stack.config(), stack.output("KeysTableName")?.to_owned(), audit(stack).await?))
}

/// The Audit table, for what the caller does.
///
/// # Errors
///
/// As [`tables`].
pub(super) async fn audit(stack: &Stack) -> anyhow::Result<Audit> {
    let caller = aws_sdk_sts::Client::new(stack.config())
        .get_caller_identity()
        .send()
        .await
        .map_err(|error| anyhow::anyhow!("AWS does not say who you are: {}", cause(&error)))?;
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let actor =
        Actor { who: caller.arn.context("AWS does not say who you are")?, origin: format!("hoopoe on {machine}") };
    let days: u64 = stack.output("AuditRetentionDays")?.parse().context("AuditRetentionDays is no number")?;
    let retention = Duration::from_secs(days * 24 * 3600);
    Ok(Audit::new(stack.config(), stack.output("AuditTableName")?.to_owned(), actor, retention))
}
