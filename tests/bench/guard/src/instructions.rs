//! Counting instructions: callgrind runs this program again, and counts inside of [`measured`] only.

use std::fmt;
use std::process::Command;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

/// What instruction counts depend on besides the code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tools {
    rustc: String,
    valgrind: String,
    /// Valgrind shows a program no more than the processor has, and libraries choose by it.
    processor: String,
}

impl Tools {
    /// Those of this machine.
    pub(crate) fn here() -> anyhow::Result<Self> {
        #[cfg(target_arch = "x86_64")]
        let wide = if std::arch::is_x86_feature_detected!("avx2") { " with AVX2" } else { " without AVX2" };
        #[cfg(not(target_arch = "x86_64"))]
        let wide = "";
        Ok(Self {
            rustc: version("rustc")?,
            valgrind: version("valgrind")?,
            processor: format!("{}{wide}", std::env::consts::ARCH),
        })
    }
}

impl fmt::Display for Tools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {}", self.rustc, self.valgrind, self.processor)
    }
}

fn version(program: &str) -> anyhow::Result<String> {
    let output = Command::new(program).arg("--version").output().with_context(|| format!("{program} does not run"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What callgrind counts. Its name is what callgrind is told.
#[inline(never)]
pub(crate) fn measured(case: &mut dyn FnMut()) {
    case();
    // So that this function stays one, and its call no jump.
    std::hint::black_box(());
}

/// The instructions of one run of a case.
pub(crate) fn of(name: &str) -> anyhow::Result<u64> {
    let own = std::env::current_exe().context("this program has no path")?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*instructions::measured*"])
        .arg(own)
        .args(["--run", name])
        .env_clear()
        .output()
        .context("valgrind does not run")?;
    let told = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{name} failed under callgrind: {told}");
    }
    collected(&told).with_context(|| format!("callgrind counted nothing of {name}: {told}"))
}

/// The number of `==12== Collected : 345`.
fn collected(told: &str) -> Option<u64> {
    let line = told.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(' ').next()?.parse().ok().filter(|count| *count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_of_what_callgrind_says() {
        let told = "==7== Events    : Ir\n==7== Collected : 24881\n==7== \n==7== I   refs:      24,881\n";
        assert_eq!(collected(told), Some(24_881));
        assert_eq!(collected("==7== Collected : 0\n"), None, "the function was not found");
        assert_eq!(collected("valgrind: no such tool"), None);
    }
}
