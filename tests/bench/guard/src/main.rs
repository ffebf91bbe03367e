//! Guard rails: how much the code on a message's way allocates, and how many instructions it takes, against what it took
//! before. Counts and not times, so that a busy machine does not matter.
//!
//! | module | what is in it |
//! |---|---|
//! | [`cases`] | what is counted: fixed inputs to one piece of code each |
//! | [`allocations`] | a global allocator that counts |
//! | [`instructions`] | valgrind's callgrind around one case |
//! | [`baseline`] | the stored counts, and what has become of them |
//!
//! `make guard` compares; `make guard ACCEPT=1` stores what is counted now. Instructions depend on the compiler, on valgrind
//! and on what the processor offers: they are compared only where these are as in the baseline, and otherwise it is said that
//! they are not. Allocations are compared always.

mod allocations;
mod baseline;
mod cases;
mod instructions;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use baseline::{Baseline, Counts, Finding};
use instructions::Tools;

const USAGE: &str = "\
Compares allocations and instructions with tests/bench/guard/baseline.toml.

Usage: guard [--accept] [CASE]
       guard --run CASE        only runs a case, for callgrind

Examples:
  make guard
  make guard ACCEPT=1          take what is counted now as the baseline
  target/guard/guard webhook_slack
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["--help" | "-h"] => {
            eprint!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        ["--run", name] => run(name),
        [] => check(None, false),
        ["--accept"] => check(None, true),
        [name] => check(Some(name), false),
        _ => Err(anyhow::anyhow!("{USAGE}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guard: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

/// Runs a case once to warm it up, which is not counted, and once more.
fn run(name: &str) -> anyhow::Result<()> {
    let mut case = cases::make(name, &root())?;
    case();
    instructions::measured(&mut *case);
    Ok(())
}

fn check(only: Option<&str>, accept: bool) -> anyhow::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline.toml");
    let tools = Tools::here()?;
    let mut counted = BTreeMap::new();
    for &name in cases::NAMES.iter().filter(|name| only.is_none_or(|only| only == **name)) {
        let mut case = cases::make(name, &root())?;
        case();
        let (allocations, bytes) = allocations::of(&mut *case);
        let instructions = instructions::of(name)?;
        eprintln!("{name:<20} {allocations:>7} allocations {bytes:>9} bytes {instructions:>10} instructions");
        counted.insert(name.to_owned(), Counts { allocations, bytes, instructions });
    }
    if counted.is_empty() {
        bail!("there is no case {}; there are {}", only.unwrap_or_default(), cases::NAMES.join(", "));
    }
    if accept {
        Baseline { tools, cases: counted }.write(&path)?;
        eprintln!("stored in {}", path.display());
        return Ok(());
    }
    let mut baseline = Baseline::read(&path).context("no baseline: `make guard ACCEPT=1` makes one")?;
    baseline.cases.retain(|name, _| only.is_none_or(|only| only == name));
    let with_instructions = baseline.tools == tools;
    if !with_instructions {
        eprintln!(
            "\nINSTRUCTIONS ARE NOT COMPARED, only allocations: the baseline is of {}, this is {}.\n\
             `make guard ACCEPT=1` takes this as the baseline.",
            baseline.tools, tools
        );
    }
    let findings = baseline.compare(&counted, with_instructions);
    for finding in &findings {
        eprintln!("{finding}");
    }
    if findings.iter().any(Finding::is_worse) {
        bail!("it is worse than it was. If that is meant: make guard ACCEPT=1");
    }
    if findings.is_empty() {
        eprintln!("as before");
    }
    Ok(())
}
