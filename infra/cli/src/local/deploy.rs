//! Deploys `template.yaml` to the emulator with SAM, as it is deployed to AWS.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::emulator::tail;
use crate::stack::{CREDENTIALS, LOCAL_NAME, LOCAL_REGION};

/// The stack's tag that says what was deployed.
pub(super) const FINGERPRINT: &str = "hoopoe:fingerprint";

/// Collects the bundles, with what is in the folder `knowledge`, and deploys them.
pub(super) fn deploy(
    bin: &Path,
    state: &Path,
    endpoint: &str,
    knowledge: &Path,
    fingerprint: &str,
) -> anyhow::Result<()> {
    let build = state.join("build");
    let log = state.join("deploy.log");
    let mut file = File::create(&log).with_context(|| format!("{} could not be written", log.display()))?;
    // SAM also writes beside the folder it is given.
    let collected = build.join("collected");
    let template = collected.join("template.yaml");
    let tag = format!("{FINGERPRINT}={fingerprint}");
    sam(bin, endpoint, &mut file, &log, |sam| {
        sam.arg("build").arg("--build-dir").arg(&collected).env("BINARIES", "local").env("KNOWLEDGE", knowledge);
    })?;
    sam(bin, endpoint, &mut file, &log, |sam| {
        sam.arg("deploy")
            .arg("--template-file")
            .arg(&template)
            .args(["--stack-name", LOCAL_NAME, "--region", LOCAL_REGION, "--resolve-s3"])
            .args(["--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset", "--no-fail-on-empty-changeset"])
            .arg("--parameter-overrides")
            // The emulator takes a parameter's number for text here, and then compares it with numbers.
            .args(["InferenceConcurrency=none", "DeliverConcurrency=none"])
            // Whoever revokes a key here wants to see what that does.
            .arg("KeyCacheSeconds=5")
            .args(["--no-progressbar", "--tags", &tag]);
    })?;
    // Its content is in the emulator by now, and there is a lot of it.
    fs::remove_dir_all(&build).with_context(|| format!("{} could not be removed", build.display()))
}

fn sam(
    bin: &Path,
    endpoint: &str,
    file: &mut File,
    log: &Path,
    arguments: impl FnOnce(&mut Command),
) -> anyhow::Result<()> {
    let mut command = Command::new(bin.join("sam"));
    arguments(&mut command);
    // The person's own settings are for AWS: their profile and their samconfig.toml stay out of this.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"AWS_")) {
        command.env_remove(name);
    }
    let status = command
        .args(["--config-env", "local"])
        .env("AWS_ACCESS_KEY_ID", CREDENTIALS.0)
        .env("AWS_SECRET_ACCESS_KEY", CREDENTIALS.1)
        .env("AWS_DEFAULT_REGION", LOCAL_REGION)
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("SAM_CLI_TELEMETRY", "0")
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file.try_clone()?)
        .status()
        .with_context(|| format!("{} could not be started", bin.join("sam").display()))?;
    ensure!(
        status.success(),
        "SAM could not deploy template.yaml (all it said is in {}; `make clean-local` begins afresh):\n{}",
        log.display(),
        tail(log, 15)
    );
    Ok(())
}
