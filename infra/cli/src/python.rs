//! Python environments under `target/venv`, made once from pinned, hashed requirements.
//!
//! Python builds the model, runs the emulator and deploys. Nothing of it is in a function.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

/// The oldest Python that the pinned packages are made for.
const OLDEST: (u32, u32) = (3, 11);
const NAMES: [&str; 5] = ["python3", "python3.14", "python3.13", "python3.12", "python3.11"];

/// The folder of executables of the environment `folder`, which holds `requirements`; made when it is missing or
/// holds others.
///
/// `announce` is called before work that takes long.
///
/// # Errors
///
/// When there is no Python to make it with, or a package cannot be had or does not match its hash.
pub(crate) fn environment(folder: &Path, requirements: &Path, announce: impl FnOnce()) -> anyhow::Result<PathBuf> {
    let wanted = fs::read(requirements).with_context(|| format!("{} could not be read", requirements.display()))?;
    // Two commands at once must not make, and so remove, the same environment.
    fs::create_dir_all(folder.parent().unwrap_or(folder))?;
    let lock = File::create(folder.with_extension("lock"))?;
    lock.lock().with_context(|| format!("{} could not be locked", folder.display()))?;
    // Written last: an environment without it is not whole.
    let installed = folder.join("requirements.txt");
    let bin = folder.join("bin");
    if bin.join("python").exists() && fs::read(&installed).is_ok_and(|have| have == wanted) {
        return Ok(bin);
    }
    let base = interpreter()?;
    announce();
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("{} could not be removed", folder.display()))?;
    }
    run(Command::new(base).args(["-m", "venv"]).arg(folder))
        .with_context(|| format!("the Python environment {} could not be made", folder.display()))?;
    // The requirements name every package there is to install, so pip need not look for more.
    run(Command::new(bin.join("python"))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(["--require-hashes", "--no-deps", "--only-binary", ":all:", "--requirement"])
        .arg(requirements))
    .with_context(|| format!("the packages of {} could not be installed", requirements.display()))?;
    fs::write(&installed, wanted)?;
    Ok(bin)
}

/// A Python that is new enough and can make environments.
///
/// # Errors
///
/// When there is none, with how to get one.
pub(crate) fn interpreter() -> anyhow::Result<&'static str> {
    let probe = format!("import sys, venv, ensurepip; sys.exit(sys.version_info < {OLDEST:?})");
    let works = |name: &&&str| Command::new(name).args(["-c", &probe]).output().is_ok_and(|out| out.status.success());
    match NAMES.iter().find(works) {
        Some(name) => Ok(name),
        None => bail!(
            "Python {}.{} or newer with venv: `apt install python3 python3-venv`, `dnf install python3`, or \
             `brew install python`",
            OLDEST.0,
            OLDEST.1
        ),
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output =
        command.output().with_context(|| format!("{} could not be started", command.get_program().display()))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_made_once_for_each_content_of_its_requirements() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let requirements = scratch.path().join("none.txt");
        fs::write(&requirements, "# nothing\n").expect("written");
        let folder = scratch.path().join("venv");
        let mut made = 0;
        let mut make = || environment(&folder, &requirements, || made += 1).expect("an environment");
        let bin = make();
        assert!(bin.join("python").exists());
        make();
        fs::write(&requirements, "# still nothing\n").expect("written");
        make();
        assert_eq!(made, 2);
    }
}
