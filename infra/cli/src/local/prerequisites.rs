//! What must be on the machine before anything can be built.

use std::process::{Command, Stdio};

use anyhow::ensure;

use crate::python;

/// A program, and how to get it.
const PROGRAMS: [(&str, &str); 3] = [
    ("cargo", "Rust: https://rustup.rs installs it"),
    ("cc", "a C compiler: `apt install build-essential`, `dnf install gcc make`, or `xcode-select --install`"),
    ("make", "make: `apt install make`, `dnf install make`, or `xcode-select --install`"),
];

/// Names everything that is missing at once, each with how to get it.
pub(super) fn check() -> anyhow::Result<()> {
    let mut missing: Vec<String> =
        PROGRAMS.iter().filter(|(program, _)| !runs(program)).map(|(_, how)| (*how).to_owned()).collect();
    if let Err(error) = python::interpreter() {
        missing.push(error.to_string());
    }
    ensure!(missing.is_empty(), "this machine lacks\n  {}", missing.join("\n  "));
    Ok(())
}

fn runs(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
