//! `hoopoe up`, `hoopoe down` and `hoopoe tools`: the whole bot on this machine, with no AWS account.
//!
//! | module | what it does |
//! |---|---|
//! | [`prerequisites`] | what must be installed, and how to get it |
//! | [`channels`] | which channels the stack has |
//! | [`pack`] | which knowledge pack the stack answers from |
//! | [`build`] | compiles the functions, builds the model and the knowledge |
//! | [`emulator`] | MiniStack as a background process with persisted state |
//! | [`deploy`] | `template.yaml` by SAM |
//! | [`bundle`] | what a function's code is made of, and its zip |
//! | [`update`] | the code of the functions that changed, without SAM |
//! | [`environment`] | the functions' variables, for running one by hand |
//!
//! Each step does what is missing and no more, and leaves its result whole or not at all, so `up` can be stopped at
//! any point and run again.

mod build;
mod bundle;
mod channels;
mod deploy;
mod emulator;
mod environment;
mod pack;
mod prerequisites;
mod update;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use hoopoe_message::{BotId, Channel};
use secrecy::ExposeSecret;

use crate::Global;
use crate::progress::{Step, line};
use crate::stack::{LocalStack, Stack};
use crate::{atomic, channel, commands, keys, output, project, python};
use bundle::Bundles;
use channels::StackChannels;
use deploy::Sam;
use emulator::Emulator;
use pack::StackPack;

const UP_EXAMPLES: &str = "\
Examples:
  hoopoe up                        build what is missing, start, deploy, print the addresses
  hoopoe up --pack my-pack         answer from this pack; it is kept until another is chosen
  hoopoe up --channels telegram    only Telegram and the web chat; kept until others are chosen, or `all`
  hoopoe up --port 4600            on this port; it is kept until `make clean-local`
  hoopoe --state /tmp/other up     a second stack beside the first
  hoopoe up --json                 print what stack.json holds

The state is in target/local: stack.json says where everything is, emulator.log and deploy.log what happened,
functions.env holds the functions' variables for `cargo lambda watch`.
";

/// Starts the local stack: builds what is missing, deploys what changed.
#[derive(Args, Debug)]
#[command(after_help = UP_EXAMPLES)]
pub(crate) struct Up {
    /// The folder of the knowledge pack to answer from; by default the one chosen last, or infra/packs/shop.
    #[arg(long, value_name = "DIR")]
    pack: Option<PathBuf>,
    /// The channels of the stack, with commas between them, or `all`; by default those chosen last, or all.
    #[arg(long, value_name = "LIST")]
    channels: Option<StackChannels>,
    /// The emulator's port; the first free one from 4566 by default.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
}

/// Stops the local stack; its state stays.
#[derive(Args, Debug)]
pub(crate) struct Down {}

/// Fetches the pinned Python tools: SAM and cargo-lambda for deploying, MiniStack for the local stack.
#[derive(Args, Debug)]
pub(crate) struct Tools {}

impl Up {
    /// Runs the subcommand.
    ///
    /// # Errors
    ///
    /// When a step fails; what was done before it stays done.
    pub(crate) async fn run(self, global: &Global) -> anyhow::Result<()> {
        local_only(global)?;
        let asked = self.pack.as_deref().map(StackPack::find).transpose()?;
        project::enter()?;
        fs::create_dir_all(&global.state).with_context(|| format!("{} could not be made", global.state.display()))?;
        let lock = lock(&global.state)?;
        prerequisites::check()?;
        let pack = StackPack::choose(asked, &global.state)?;
        let channels = StackChannels::choose(self.channels.clone(), &global.state)?;
        let functions = channels.of(build::functions()?);

        let environments = Environments::prepare();
        build::compile(&functions)?;
        let environments = environments.wait()?;
        build::model()?;
        let knowledge = build::knowledge(pack.folder())?;
        pack.remember(&knowledge, &global.state)?;
        channels.remember(&global.state)?;

        let emulator = self.emulator(&environments.emulator, &global.state)?;
        let bundles = Bundles::of(&functions, knowledge)?;
        let fingerprint = deploy::fingerprint(&channels)?;
        let sam = Sam {
            bin: &environments.sam,
            state: &global.state,
            endpoint: &emulator.endpoint(),
            lock: &lock,
            channels: &channels,
            functions: functions.len(),
        };
        let (stack, functions) = deployed(&sam, &fingerprint, &bundles).await?;
        let main = BotId::default();
        if !channel::is_connected(&stack, Channel::Webchat, &main).await? {
            channel::add_webchat(&stack, &main).await?;
        }
        if let Some(credential) = keys::operator(&stack).await?.create(false).await? {
            line("Operator", "the operator's credential, which is shown this once and kept as a hash:");
            line("", format_args!("  {}", credential.expose_secret()));
        }
        environment::write(&functions, &emulator.endpoint(), &global.state)?;
        let local = stack.describe_local()?;
        atomic::write(&LocalStack::path(&global.state), &serde_json::to_vec_pretty(&local)?)?;
        if !global.json {
            output::line("")?;
        }
        output::result(&local, global.json)
    }

    /// The emulator that runs, or a new one with the state of the last.
    fn emulator(&self, bin: &Path, state: &Path) -> anyhow::Result<Emulator> {
        if let Some(running) = Emulator::running(state) {
            ensure!(
                self.port.is_none_or(|port| port == running.port),
                "the local stack runs on port {}; {} frees the choice of a port",
                running.port,
                commands::forget(state)
            );
            running.await_answer()?;
            return Ok(running);
        }
        let step = Step::start("Emulator", "starting MiniStack");
        let emulator = Emulator::start(bin, state, self.port)?;
        step.done(format_args!("MiniStack answers at {}", emulator.endpoint()));
        Ok(emulator)
    }
}

impl Down {
    /// Runs the subcommand.
    ///
    /// # Errors
    ///
    /// When the emulator does not end.
    pub(crate) async fn run(self, global: &Global) -> anyhow::Result<()> {
        local_only(global)?;
        match Emulator::running(&global.state) {
            Some(running) => {
                let step = Step::start("Emulator", "stopping MiniStack");
                running.stop()?;
                step.done("MiniStack has stopped; `hoopoe up` continues where it was");
            }
            None => line("Emulator", "MiniStack is not running"),
        }
        Ok(())
    }
}

impl Tools {
    /// Runs the subcommand.
    ///
    /// # Errors
    ///
    /// When a package cannot be had or does not match its hash.
    pub(crate) async fn run(self, global: &Global) -> anyhow::Result<()> {
        project::enter()?;
        let Environments { emulator, sam } = Environments::prepare().wait()?;
        if global.json {
            output::json(&serde_json::json!({"emulator": emulator, "sam": sam}))
        } else {
            output::line(format_args!("{}\n{}", emulator.join("ministack").display(), sam.join("sam").display()))
        }
    }
}

fn local_only(global: &Global) -> anyhow::Result<()> {
    ensure!(global.stack.is_none(), "this is about the local stack; a stack on AWS is deployed with `sam deploy`");
    Ok(())
}

/// Held while `up` runs: two at once would start two emulators on one state.
fn lock(state: &Path) -> anyhow::Result<File> {
    let path = state.join("lock");
    // It can be read too: as the standard input of what it is handed on to, it is empty.
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let file = file.with_context(|| format!("{} could not be written", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("another `hoopoe up` is at work on {}", state.display()),
        Err(TryLockError::Error(error)) => {
            Err(anyhow!(error).context(format!("{} could not be locked", path.display())))
        }
    }
}

/// The executables of the Python environments that run and deploy the stack.
struct Environments {
    emulator: PathBuf,
    sam: PathBuf,
}

impl Environments {
    /// Makes both beside whatever else is going on: the time is spent on fetching.
    fn prepare() -> Preparing {
        let make = |folder: &'static str, requirements: &'static str, what: &'static str| {
            thread::spawn(move || {
                python::environment(Path::new(folder), Path::new(requirements), || {
                    line("Fetching", format_args!("{what} into {folder}"));
                })
            })
        };
        Preparing {
            emulator: make("target/venv/local", "infra/local/requirements-emulator.txt", "MiniStack"),
            sam: make("target/venv/sam", "infra/local/requirements-sam.txt", "SAM and cargo-lambda"),
        }
    }
}

struct Preparing {
    emulator: thread::JoinHandle<anyhow::Result<PathBuf>>,
    sam: thread::JoinHandle<anyhow::Result<PathBuf>>,
}

impl Preparing {
    fn wait(self) -> anyhow::Result<Environments> {
        let wait = |thread: thread::JoinHandle<anyhow::Result<PathBuf>>| {
            thread.join().map_err(|_| anyhow!("making a Python environment panicked"))?
        };
        Ok(Environments { emulator: wait(self.emulator)?, sam: wait(self.sam)? })
    }
}

/// The stack as this build has it, and its functions: deployed unless it is already.
async fn deployed(sam: &Sam<'_>, fingerprint: &str, bundles: &Bundles) -> anyhow::Result<(Stack, update::Functions)> {
    let mut record = update::Record::read(sam.state);
    let before = Stack::local(sam.endpoint).await?;
    let running = match &before {
        Some(stack) => update::functions(stack).await?,
        None => update::Functions::new(),
    };
    let (stack, functions) = match before.filter(|stack| stack.tag(deploy::FINGERPRINT) == Some(fingerprint)) {
        Some(stack) => (stack, running),
        None => {
            sam.deploy(bundles.knowledge(), fingerprint)?;
            let stack = Stack::local(sam.endpoint).await?;
            let stack = stack.context("the emulator does not know the stack that was deployed just now")?;
            let deployed = update::functions(&stack).await?;
            update::make_all_live(&stack, &deployed).await?;
            record.deployed(&running, &deployed, bundles, sam.state)?;
            (stack, deployed)
        }
    };
    let lost: Vec<&str> =
        bundles.digests().keys().map(String::as_str).filter(|name| !functions.contains_key(*name)).collect();
    ensure!(
        lost.is_empty(),
        "the emulator does not have the functions {}, as after a deployment that gave their resources in template.yaml other \
         names; {}, and then `hoopoe up`, begins afresh",
        lost.join(", "),
        commands::forget(sam.state)
    );
    update::update(&stack, &functions, &mut record, bundles, sam.state).await?;
    Ok((stack, functions))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_was_started_holds_the_lock_when_its_parent_is_gone() {
        let state = tempfile::tempdir().expect("a scratch folder");
        let held = lock(state.path()).expect("nobody holds it");
        let mut child = {
            let mut command = Command::new("sleep");
            command.arg("600").stdin(held.try_clone().expect("a second handle")).stdout(Stdio::null());
            command.spawn().expect("sleep is there")
        };
        drop(held);
        let refused = lock(state.path()).expect_err("the child holds it").to_string();
        assert!(refused.contains("another `hoopoe up` is at work"), "{refused}");
        child.kill().and_then(|()| child.wait()).expect("the child ends");
        drop(lock(state.path()).expect("nobody holds it any more"));
    }
}
