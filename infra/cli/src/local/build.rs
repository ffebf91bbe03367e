//! What the bundles are made of: the functions' binaries, the model, the built knowledge pack.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};

use crate::knowledge::folder;

/// The functions of `template.yaml`, which are packages of the workspace.
const FUNCTIONS: [&str; 16] = [
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
const BINARIES: &str = "target/debug";
const MODEL: &str = "target/model/current";

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

/// Stands for all that the deployed stack is made of: it changes when one of them does. `knowledge` is the folder of the
/// built pack.
pub(super) fn fingerprint(knowledge: &Path) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    let model = fs::canonicalize(MODEL).with_context(|| format!("{MODEL} could not be found"))?;
    // A built model's folder is named after what it was made of.
    hash.update(model.file_name().unwrap_or_default().as_encoded_bytes());
    let binaries = FUNCTIONS.iter().map(|name| Path::new(BINARIES).join(name));
    let shipped = folder::SHIPPED.iter().map(|name| knowledge.join(name)).filter(|path| path.exists());
    let sources = ["template.yaml", "Makefile"].map(PathBuf::from).into_iter();
    for path in sources.chain(binaries).chain(shipped) {
        let content = fs::read(&path).with_context(|| format!("{} could not be read", path.display()))?;
        hash.update(Sha256::digest(content));
    }
    Ok(hex::encode(hash.finalize()))
}

/// A command as a person would type it, of the binary that was compiled just now.
fn hoopoe() -> Command {
    let mut command = Command::new(Path::new(BINARIES).join("hoopoe"));
    command.stdout(Stdio::null());
    command
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_owned();
    let status = command.status().with_context(|| format!("{} could not be started", program.display()))?;
    ensure!(status.success(), "{} ended with {status}", program.display());
    Ok(())
}
