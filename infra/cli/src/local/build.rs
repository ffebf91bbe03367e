//! What the stack is made of: the functions' binaries, the model, the built knowledge pack.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::knowledge::folder;

/// The folder with a folder for each function, which is a package of the workspace.
const FUNCTIONS: &str = "functions";
/// Where cargo leaves the binaries.
pub(super) const BINARIES: &str = "target/debug";

/// The names of all functions, as the folders have them.
///
/// # Errors
///
/// If the folder cannot be read.
pub(super) fn functions() -> anyhow::Result<Vec<String>> {
    let read = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(FUNCTIONS)? {
            let entry = entry?;
            if entry.path().join("Cargo.toml").exists() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    };
    read().with_context(|| format!("the folder {FUNCTIONS} could not be read"))
}

/// Compiles functions in one call of cargo, and this command with them: packages compiled one by one would each choose
/// features of their shared dependencies anew and compile those again.
pub(super) fn compile(functions: &[String]) -> anyhow::Result<()> {
    let packages = functions.iter().map(String::as_str).chain(["hoopoe"]).flat_map(|name| ["--package", name]);
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
