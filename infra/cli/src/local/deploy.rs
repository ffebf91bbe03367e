//! Deploys `template.yaml` to the emulator with SAM, as it is deployed to AWS.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};

use super::channels::StackChannels;
use super::emulator::tail;
use crate::commands;
use crate::progress::Step;
use crate::stack::{CREDENTIALS, LOCAL_NAME, LOCAL_REGION};

/// The stack's tag that says which template was deployed.
pub(super) const FINGERPRINT: &str = "hoopoe:fingerprint";

const TEMPLATE: &str = "template.yaml";
const PARAMETERS: [&str; 3] = [
    // The emulator takes a parameter's number for text here, and then compares it with numbers.
    "InferenceConcurrency=none",
    "DeliverConcurrency=none",
    // Whoever revokes a key here wants to see what that does.
    "KeyCacheSeconds=5",
];
/// What runs in SAM's Python environment.
const PROGRAM: &str = "infra/local/sam.py";
/// How often SAM's log is looked at.
const PAUSE: Duration = Duration::from_millis(100);

/// The template's parameters for a stack with these channels.
fn parameters(channels: &StackChannels) -> Vec<String> {
    let channels = format!("Channels={}", channels.names());
    PARAMETERS.into_iter().map(str::to_owned).chain([channels]).collect()
}

/// Stands for the template and its parameters: it changes when one of them does.
pub(super) fn fingerprint(channels: &StackChannels) -> anyhow::Result<String> {
    let template = fs::read(TEMPLATE).with_context(|| format!("{TEMPLATE} could not be read"))?;
    let mut hash = Sha256::new_with_prefix(Sha256::digest(template));
    hash.update(parameters(channels).join(" "));
    Ok(hex::encode(hash.finalize()))
}

/// SAM, for one emulator.
pub(super) struct Sam<'a> {
    /// The executables of its Python environment.
    pub(super) bin: &'a Path,
    /// The folder of the stack's state.
    pub(super) state: &'a Path,
    /// Where the emulator listens.
    pub(super) endpoint: &'a str,
    /// What keeps a second `up` away.
    pub(super) lock: &'a File,
    /// What is deployed.
    pub(super) channels: &'a StackChannels,
    /// How many functions that is.
    pub(super) functions: usize,
}

impl Sam<'_> {
    /// Collects the bundles, with what is in the folder `knowledge`, and deploys them.
    pub(super) fn deploy(&self, knowledge: &Path, fingerprint: &str) -> anyhow::Result<()> {
        let build = self.state.join("build");
        let log = self.state.join("deploy.log");
        let file = File::create(&log).with_context(|| format!("{} could not be written", log.display()))?;
        // SAM also writes beside the folder it is given.
        let collected = build.join("collected");
        let template = collected.join(TEMPLATE);
        let tag = format!("{FINGERPRINT}={fingerprint}");

        let parameters = parameters(self.channels);

        let mut progress = Progress::start("collecting the bundles", self.functions);
        let mut sam = self.command("build", &file)?;
        sam.arg("--build-dir").arg(&collected).arg("--parameter-overrides").args(&parameters);
        sam.env("BINARIES", "local").env("KNOWLEDGE", knowledge);
        run(sam, &log, &mut progress)?;
        progress.done();

        let mut progress = Progress::start("uploading the bundles", self.functions);
        let mut sam = self.command("deploy", &file)?;
        sam.arg("--template-file")
            .arg(&template)
            .args(["--stack-name", LOCAL_NAME, "--region", LOCAL_REGION, "--resolve-s3"])
            .args(["--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset", "--no-fail-on-empty-changeset"])
            .arg("--parameter-overrides")
            .args(&parameters)
            .args(["--tags", &tag])
            // Seconds between two questions of how far the stack is.
            .env("SAM_CLI_POLL_DELAY", "0.5");
        run(sam, &log, &mut progress)?;
        progress.done();
        // Its content is in the emulator by now, and there is a lot of it.
        fs::remove_dir_all(&build).with_context(|| format!("{} could not be removed", build.display()))
    }

    fn command(&self, name: &str, log: &File) -> anyhow::Result<Command> {
        let mut command = Command::new(self.bin.join("python"));
        // The person's own settings are for AWS: their profile and their samconfig.toml stay out of this.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"AWS_")) {
            command.env_remove(name);
        }
        command
            .args([PROGRAM, name, "--config-env", "local"])
            .env("AWS_ACCESS_KEY_ID", CREDENTIALS.0)
            .env("AWS_SECRET_ACCESS_KEY", CREDENTIALS.1)
            .env("AWS_DEFAULT_REGION", LOCAL_REGION)
            .env("AWS_ENDPOINT_URL", self.endpoint)
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .env("SAM_CLI_TELEMETRY", "0")
            // For AWS samconfig.toml says so, which stays out of this.
            .env("SAM_CLI_ENABLE_LANGUAGE_EXTENSIONS", "1")
            // Its log is followed while it is written.
            .env("PYTHONUNBUFFERED", "1")
            // SAM and what it starts hold the lock as long as they run, also when this command was killed.
            .stdin(self.lock.try_clone()?)
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?);
        Ok(command)
    }
}

/// Runs SAM to its end, and tells `progress` each line that it writes into its log meanwhile.
fn run(mut sam: Command, log: &Path, progress: &mut Progress) -> anyhow::Result<()> {
    let mut lines = BufReader::new(File::open(log)?);
    io::copy(&mut lines, &mut io::sink())?;
    let mut child =
        sam.spawn().with_context(|| format!("{} could not be started", sam.get_program().to_string_lossy()))?;
    let mut line = String::new();
    let status = loop {
        let ended = child.try_wait()?;
        while lines.by_ref().take(1 << 16).read_line(&mut line)? > 0 {
            // The rest of a line that is being written comes later.
            if line.ends_with('\n') {
                progress.line(&line);
                line.clear();
            }
        }
        match ended {
            Some(status) => break status,
            None => thread::sleep(PAUSE),
        }
    };
    ensure!(
        status.success(),
        "SAM could not deploy template.yaml (all it said is in {}; {}, and then `hoopoe up`, begins afresh):\n{}",
        log.display(),
        commands::forget(log.parent().unwrap_or(log)),
        tail(log, 15)
    );
    Ok(())
}

/// How far SAM is, by the lines of its log.
struct Progress {
    step: Step,
    counts: Counts,
}

impl Progress {
    fn start(doing: &'static str, functions: usize) -> Self {
        Self { step: Step::start("Stack", doing), counts: Counts::of(functions) }
    }

    fn line(&mut self, line: &str) {
        if let Some(doing) = self.counts.line(line) {
            self.step.doing(doing);
        }
    }

    fn done(self) {
        self.step.done(self.counts.summary());
    }
}

/// What has been done.
#[derive(Default)]
struct Counts {
    /// All that there are to collect and to upload.
    functions: usize,
    collected: usize,
    uploaded: usize,
    /// Resources to create, change or delete, and those that are.
    resources: usize,
    complete: usize,
}

impl Counts {
    fn of(functions: usize) -> Self {
        Self { functions, ..Self::default() }
    }

    /// Counts what a line of the log says, and returns what is going on if the line says that.
    fn line(&mut self, line: &str) -> Option<String> {
        let mut words = line.split_whitespace();
        match (words.next()?, words.next()?, words.next()) {
            ("Building", "codeuri:", _) => {
                self.collected += 1;
                Some(format!("collecting the bundles: {} of {}", self.collected, self.functions))
            }
            ("Uploading", "to", _) | ("File", "with", Some("same")) => {
                // The template is uploaded as well, after the bundles.
                self.uploaded = (self.uploaded + 1).min(self.functions);
                Some(format!("uploading the bundles: {} of {}", self.uploaded, self.functions))
            }
            ("+", "Add", _) | ("*", "Modify", _) | ("-", "Delete", _) => {
                self.resources += 1;
                None
            }
            ("CREATE_COMPLETE" | "UPDATE_COMPLETE" | "DELETE_COMPLETE", kind, _)
                if kind != "AWS::CloudFormation::S" =>
            {
                self.complete += 1;
                Some(format!("deploying template.yaml: {} of {} resources", self.complete, self.resources))
            }
            _ => None,
        }
    }

    fn summary(&self) -> String {
        if self.collected > 0 {
            format!("{} bundles are collected", self.collected)
        } else {
            format!("template.yaml is deployed: {} resources", self.complete)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_sam_says_how_far_it_is() {
        let mut counts = Counts::of(16);
        let doing = |counts: &mut Counts, line: &str| counts.line(line).unwrap_or_default();
        let line = "Building codeuri: /hoopoe/functions/wecom runtime: provided.al2023 functions: wecomFunction\n";
        assert_eq!(doing(&mut counts, line), "collecting the bundles: 1 of 16");
        assert_eq!(doing(&mut counts, "make[1]: Entering directory '/hoopoe'\n"), "");
        assert_eq!(doing(&mut counts, "\n"), "");

        let mut counts = Counts::of(16);
        let line = "\tFile with same data already exists at f0acf01d8b64, skipping upload\n";
        assert_eq!(doing(&mut counts, line), "uploading the bundles: 1 of 16");
        let line = "\tUploading to 0e5cd6f5b7a3  9012345 / 9012345  (100.00%)\n";
        assert_eq!(doing(&mut counts, line), "uploading the bundles: 2 of 16");
        for line in [
            "+ Add      AuditTable   AWS::DynamoDB::Table     N/A\n",
            "* Modify   wecomRole    AWS::IAM::Role  False\n",
        ] {
            assert_eq!(doing(&mut counts, line), "");
        }
        assert_eq!(doing(&mut counts, "CREATE_IN_PROGRESS       AWS::DynamoDB::Table     AuditTable\n"), "");
        let line = "CREATE_COMPLETE          AWS::DynamoDB::Table     AuditTable\n";
        assert_eq!(doing(&mut counts, line), "deploying template.yaml: 1 of 2 resources");
        assert_eq!(doing(&mut counts, "CREATE_COMPLETE          AWS::CloudFormation::S   hoopoe\n"), "");
        assert_eq!(counts.summary(), "template.yaml is deployed: 1 resources");
    }
}
