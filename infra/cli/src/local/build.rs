//! What the stack is made of: the functions' binaries, the model, the built knowledge pack.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::knowledge::folder;

/// The functions of `template.yaml`, which are packages of the workspace.
pub(super) const FUNCTIONS: [&str; 16] = [
    "wecom",
    "wechat",
    "dingtalk",
    "feishu",
    "qq",
    "telegram",
    "slack",
    "discord",
    "whatsapp",
    "messenger",
    "line",
    "teams",
    "webchat",
    "inference",
    "deliver",
    "rotate",
];
/// Where cargo leaves the binaries.
pub(super) const BINARIES: &str = "target/debug";

/// Compiles the functions in one call of cargo, and this command with them: packages compiled one by one would each
/// choose features of their shared dependencies anew and compile those again.
pub(super) fn functions() -> anyhow::Result<()> {
    let packages = FUNCTIONS.iter().chain(&["hoopoe"]).flat_map(|name| ["--package", name]);
    run(Command::new("cargo").args(["build", "--locked"]).args(packages)).context("the functions could not be compiled")
}

/// Builds the default model, or finds it built.
pub(super) fn model() -> anyhow::Result<()> {
    run(hoopoe().args(["model", "build"])).context("the model could not be built")
}

/// Encodes the knowledge pack in `pack`, or finds it encoded, and returns the folder of what was built.
pub(super) fn knowledge(pack: &Path) -> anyhow::Result<PathBuf> {
    run(hoopoe().args(["knowledge", "build", "--pack"]).arg(pack)).context("the knowledge pack could not be built")?;
    folder::of(pack)
}

/// A command as a person would type it, of the binary that was compiled just now.
fn hoopoe() -> Command {
    let mut command = Command::new(Path::new(BINARIES).join("hoopoe"));
    command.stdout(Stdio::null());
    command
}

/// Runs a program to its end, and fails when it fails.
pub(super) fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_owned();
    let status = command.status().with_context(|| format!("{} could not be started", program.display()))?;
    ensure!(status.success(), "{} ended with {status}", program.display());
    Ok(())
}
