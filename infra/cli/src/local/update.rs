//! Brings the code of deployed functions up to date, one by one and without SAM: a changed answer is one function's file.
//!
//! Lambda says of each function which zip it runs (`CodeSha256`). `functions.json` in the state folder says of such a zip
//! what it was made of. A function is up to date if the zip that it runs is known and was made of what there is now; where
//! nothing is known of it, as after an interruption or when the emulator has lost its state, it is updated once more.
//!
//! URLs, queues and the schedule call a function's alias, which leads to a version that does not change any more. So what
//! is new in a function is published as its next version, the alias is moved there, and the version before is removed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use aws_sdk_lambda::Client;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{FunctionConfiguration, LastUpdateStatus};
use hoopoe_aws::cause;
use serde::{Deserialize, Serialize};

use super::bundle::Bundles;
use crate::atomic;
use crate::progress::Step;
use crate::stack::{ALIAS, Stack};

/// How long the emulator may take to put new code in force.
const IN_FORCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(100);

/// What the deployed functions run, by their short names.
pub(super) type Functions = BTreeMap<String, FunctionConfiguration>;

/// Asks Lambda for the stack's functions.
pub(super) async fn functions(stack: &Stack) -> anyhow::Result<Functions> {
    let client = Client::new(stack.config());
    let mut found = Functions::new();
    let names = stack.functions();
    let mut pages = client.list_functions().into_paginator().items().send();
    while let Some(function) = pages.next().await {
        let function = function.map_err(|error| anyhow!("the functions cannot be listed: {}", cause(&error)))?;
        let short = names.iter().find(|(_, name)| Some(**name) == function.function_name());
        found.extend(short.map(|(short, _)| ((*short).to_owned(), function.clone())));
    }
    Ok(found)
}

/// A zip that a function was given.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    /// Its `CodeSha256`.
    zip: String,
    /// The digest of the bundle that it was made of.
    bundle: String,
}

/// What is known of the zips that functions were given last, by the functions' short names.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Record(BTreeMap<String, Made>);

impl Record {
    /// The record in a state folder. One that is missing or damaged knows nothing.
    pub(super) fn read(state: &Path) -> Self {
        fs::read(path(state)).ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
    }

    fn write(&self, state: &Path) -> anyhow::Result<()> {
        atomic::write(&path(state), &serde_json::to_vec(self)?)
    }

    fn note(&mut self, function: &str, zip: Option<&str>, bundle: &str) {
        let made = zip.map(|zip| Made { zip: zip.to_owned(), bundle: bundle.to_owned() });
        self.0.extend(made.map(|made| (function.to_owned(), made)));
    }

    /// Takes note of what SAM deployed: each function whose zip is another one than `before` has the bundle that there is.
    pub(super) fn deployed(
        &mut self,
        before: &Functions,
        after: &Functions,
        bundles: &Bundles,
        state: &Path,
    ) -> anyhow::Result<()> {
        self.note_new(before, after, bundles.digests());
        self.write(state)
    }

    /// What still runs the same zip was not deployed: to CloudFormation, which knows nothing of updates past it, nothing of
    /// it has changed since the last deployment.
    fn note_new(&mut self, before: &Functions, after: &Functions, bundles: &BTreeMap<String, String>) {
        for (function, now) in after {
            let zip = before.get(function).and_then(FunctionConfiguration::code_sha256);
            if let Some(bundle) = bundles.get(function.as_str())
                && zip != now.code_sha256()
            {
                self.note(function, now.code_sha256(), bundle);
            }
        }
    }

    /// The function runs a zip that was made of this bundle.
    fn holds(&self, function: &str, zip: Option<&str>, bundle: &str) -> bool {
        self.0.get(function).is_some_and(|made| zip == Some(made.zip.as_str()) && made.bundle == bundle)
    }
}

/// Updates each function that does not run the bundle that there is.
///
/// # Errors
///
/// When a bundle cannot be collected or the emulator refuses it. The functions before it are up to date.
pub(super) async fn update(
    stack: &Stack,
    functions: &Functions,
    record: &mut Record,
    bundles: &Bundles,
    state: &Path,
) -> anyhow::Result<()> {
    let outdated: Vec<_> = functions
        .iter()
        .filter_map(|(function, now)| Some((function, now, bundles.digests().get(function.as_str())?)))
        .filter(|(function, now, bundle)| !record.holds(function, now.code_sha256(), bundle))
        .collect();
    if outdated.is_empty() {
        return Ok(());
    }
    let client = Client::new(stack.config());
    let step = Step::start("Functions", format_args!("updating {} of {}", outdated.len(), functions.len()));
    let scratch = state.join("build");
    let mut zips = Vec::new();
    for (done, (function, now, _)) in outdated.iter().enumerate() {
        step.doing(format_args!("updating {function} ({} of {})", done + 1, outdated.len()));
        let zip = bundles.zip(function, &scratch)?;
        let name = now.function_name().context("Lambda named the function before")?;
        let refused = |reason: String| anyhow!("the code of {name} could not be updated: {reason}");
        let updated = client
            .update_function_code()
            .function_name(name)
            .zip_file(Blob::new(zip))
            .send()
            .await
            .map_err(|error| refused(cause(&error)))?;
        zips.push(updated.code_sha256);
    }
    // Empty by now.
    drop(fs::remove_dir(&scratch));
    for ((function, now, bundle), zip) in outdated.iter().zip(&zips) {
        let name = now.function_name().unwrap_or_default();
        await_update(&client, name).await?;
        make_live(&client, name).await?;
        record.note(function, zip.as_deref(), bundle);
        record.write(state)?;
    }
    let names: Vec<&str> = outdated.iter().map(|(function, ..)| function.as_str()).collect();
    step.done(format_args!("updated {}", names.join(", ")));
    Ok(())
}

/// Moves each function's alias to what the function is now: a deployment publishes no version for a parameter that has
/// changed, as the emulator leaves the values of parameters to be put in after SAM has looked at them.
///
/// # Errors
///
/// When the emulator refuses it.
pub(super) async fn make_all_live(stack: &Stack, functions: &Functions) -> anyhow::Result<()> {
    let client = Client::new(stack.config());
    for name in functions.values().filter_map(FunctionConfiguration::function_name) {
        make_live(&client, name).await?;
    }
    Ok(())
}

/// Publishes what a function is now, unless that is its last version, and moves its alias there.
async fn make_live(client: &Client, name: &str) -> anyhow::Result<()> {
    let failed = |what: &str, reason: String| anyhow!("the {what} of {name} failed: {reason}");
    let published = client.publish_version().function_name(name).send().await;
    let published = published.map_err(|error| failed("publishing", cause(&error)))?;
    let new = published.version().context("Lambda numbers the version that it publishes")?;
    let alias = client.get_alias().function_name(name).name(ALIAS).send().await;
    let alias = alias.map_err(|error| failed(&format!("reading of the alias {ALIAS}"), cause(&error)))?;
    let old = alias.function_version().unwrap_or_default();
    if old == new {
        return Ok(());
    }
    let moved = client.update_alias().function_name(name).name(ALIAS).function_version(new).send().await;
    moved.map_err(|error| failed(&format!("moving of the alias {ALIAS}"), cause(&error)))?;
    let removed = client.delete_function().function_name(name).qualifier(old).send().await;
    removed.map_err(|error| failed(&format!("removal of version {old}"), cause(&error)))?;
    Ok(())
}

/// Waits until a function runs the code that it was given.
async fn await_update(client: &Client, name: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + IN_FORCE;
    loop {
        let found = client.get_function_configuration().function_name(name).send().await;
        let found = found.map_err(|error| anyhow!("the function {name} cannot be read: {}", cause(&error)))?;
        match found.last_update_status() {
            Some(LastUpdateStatus::InProgress) => {
                ensure!(Instant::now() < deadline, "the new code of {name} is not in force after {IN_FORCE:?}");
                tokio::time::sleep(PAUSE).await;
            }
            Some(LastUpdateStatus::Failed) => {
                bail!("the code of {name} was refused: {}", found.last_update_status_reason().unwrap_or_default())
            }
            _ => return Ok(()),
        }
    }
}

fn path(state: &Path) -> PathBuf {
    state.join("functions.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_zip_that_is_known_and_made_of_this_bundle_is_up_to_date() {
        let mut record = Record::default();
        assert!(!record.holds("inference", Some("zip"), "bundle"), "nothing is known");
        record.note("inference", Some("zip"), "bundle");
        assert!(record.holds("inference", Some("zip"), "bundle"));
        assert!(!record.holds("inference", Some("zip"), "changed"), "an answer was changed");
        assert!(!record.holds("inference", Some("other"), "bundle"), "the emulator has an older state");
        assert!(!record.holds("webchat", Some("zip"), "bundle"), "another function");
    }

    #[test]
    fn a_function_that_a_deployment_left_alone_is_not_taken_for_deployed() {
        let function = |zip: &str| FunctionConfiguration::builder().code_sha256(zip).build();
        let functions = |zips: [(&str, &str); 2]| -> Functions {
            zips.into_iter().map(|(name, zip)| (name.to_owned(), function(zip))).collect()
        };
        let before = functions([("inference", "past CloudFormation"), ("webchat", "old")]);
        let after = functions([("inference", "past CloudFormation"), ("webchat", "new")]);
        let bundles = BTreeMap::from(
            [("inference", "I"), ("webchat", "W")].map(|(name, bundle)| (name.to_owned(), bundle.to_owned())),
        );
        let mut record = Record::default();
        record.note_new(&before, &after, &bundles);
        assert!(!record.holds("inference", Some("past CloudFormation"), "I"), "it is updated once more");
        assert!(record.holds("webchat", Some("new"), "W"));
    }

    #[test]
    fn a_record_is_read_back_and_a_damaged_one_knows_nothing() {
        let state = tempfile::tempdir().expect("a scratch folder");
        assert_eq!(Record::read(state.path()), Record::default());
        let mut record = Record::default();
        record.note("inference", Some("zip"), "bundle");
        record.write(state.path()).expect("written");
        assert_eq!(Record::read(state.path()), record);
        fs::write(path(state.path()), "{").expect("written");
        assert_eq!(Record::read(state.path()), Record::default());
    }
}
