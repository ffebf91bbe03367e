//! The Python environment of `infra/model`: made once from pinned, hashed requirements.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};

/// The oldest Python that the pinned packages are made for.
const OLDEST: (u32, u32) = (3, 11);
const CANDIDATES: [&str; 5] = ["python3", "python3.14", "python3.13", "python3.12", "python3.11"];

/// The Python of an environment that holds `requirements`; made when it is missing or holds others.
pub(super) fn environment(folder: &Path, requirements: &Path) -> anyhow::Result<PathBuf> {
    let wanted = fs::read(requirements).with_context(|| format!("{} could not be read", requirements.display()))?;
    let python = folder.join("bin/python");
    // Written last: an environment without it is not whole.
    let installed = folder.join("requirements.txt");
    if python.exists() && fs::read(&installed).is_ok_and(|have| have == wanted) {
        return Ok(python);
    }
    let base = base()?;
    super::build::step(&format!("making the Python environment {} (about 120 MB to fetch)", folder.display()));
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("{} could not be removed", folder.display()))?;
    }
    run(Command::new(base).args(["-m", "venv"]).arg(folder))
        .context("the environment could not be made; on Debian and Ubuntu it needs `apt install python3-venv`")?;
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"])
        .args(["--only-binary", ":all:", "--requirement"])
        .arg(requirements))
    .with_context(|| format!("the packages of {} could not be installed", requirements.display()))?;
    fs::write(&installed, wanted)?;
    Ok(python)
}

fn base() -> anyhow::Result<&'static str> {
    let probe = format!("import sys; sys.exit(sys.version_info < {OLDEST:?})");
    let works = |name: &&&str| Command::new(name).args(["-c", &probe]).output().is_ok_and(|out| out.status.success());
    match CANDIDATES.iter().find(works) {
        Some(name) => Ok(name),
        None => bail!("Python {}.{} or newer is needed to build the model, and none is in PATH", OLDEST.0, OLDEST.1),
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?} could not be started"))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
