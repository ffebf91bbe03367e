//! The stored counts.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::instructions::Tools;

/// In percent: what changes by more is told, and fails where it is more than before.
const LIMIT: u64 = 10;

const HEADER: &str = "\
# What `make guard` compares with; `make guard ACCEPT=1` writes it. Instructions are compared only with these tools.

";

/// The counts of one run of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) allocations: u64,
    pub(crate) bytes: u64,
    pub(crate) instructions: u64,
}

/// The counts of all cases, and with which tools they were taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Baseline {
    pub(crate) tools: Tools,
    pub(crate) cases: BTreeMap<String, Counts>,
}

/// A count that changed by more than the limit, or a case that is in one place only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    Worse { counter: String, old: u64, new: u64 },
    Better { counter: String, old: u64, new: u64 },
    Unknown(String),
    Gone(String),
}

impl Finding {
    /// Whether the check fails.
    pub(crate) const fn is_worse(&self) -> bool {
        !matches!(self, Self::Better { .. })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worse { counter, old, new } => {
                write!(f, "WORSE   {counter}: {new}, was {old}; accept with: make guard ACCEPT=1")
            }
            Self::Better { counter, old, new } => {
                write!(f, "better  {counter}: {new}, was {old}; keep it with: make guard ACCEPT=1")
            }
            Self::Unknown(case) => write!(f, "NEW     {case} has no baseline; store it with: make guard ACCEPT=1"),
            Self::Gone(case) => write!(f, "GONE    {case} is not counted any more; accept with: make guard ACCEPT=1"),
        }
    }
}

impl Baseline {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is not a baseline", path.display()))
    }

    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = HEADER.to_owned() + &toml::to_string(self)?;
        fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
    }

    /// What is not as it was.
    pub(crate) fn compare(&self, now: &BTreeMap<String, Counts>, with_instructions: bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (case, new) in now {
            let Some(old) = self.cases.get(case) else {
                findings.push(Finding::Unknown(case.clone()));
                continue;
            };
            let mut counters =
                vec![("allocations", old.allocations, new.allocations), ("bytes allocated", old.bytes, new.bytes)];
            if with_instructions {
                counters.push(("instructions", old.instructions, new.instructions));
            }
            for (name, old, new) in counters {
                let counter = format!("{case}, {name}");
                if new * 100 > old * (100 + LIMIT) {
                    findings.push(Finding::Worse { counter, old, new });
                } else if new * 100 < old * (100 - LIMIT) {
                    findings.push(Finding::Better { counter, old, new });
                }
            }
        }
        findings.extend(self.cases.keys().filter(|case| !now.contains_key(*case)).cloned().map(Finding::Gone));
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: Counts = Counts { allocations: 10, bytes: 1000, instructions: 100_000 };

    fn baseline() -> Baseline {
        let text = "[tools]\nrustc = 'r'\nvalgrind = 'v'\nprocessor = 'p'\n\
                    [cases.a]\nallocations = 10\nbytes = 1000\ninstructions = 100000\n";
        toml::from_str(text).expect("a baseline")
    }

    fn found(new: Counts, with_instructions: bool) -> Vec<Finding> {
        baseline().compare(&BTreeMap::from([("a".to_owned(), new)]), with_instructions)
    }

    #[test]
    fn each_counter_can_fail() {
        assert_eq!(found(BEFORE, true), []);
        for (counter, new) in [
            ("a, allocations", Counts { allocations: 12, ..BEFORE }),
            ("a, bytes allocated", Counts { bytes: 1101, ..BEFORE }),
            ("a, instructions", Counts { instructions: 110_001, ..BEFORE }),
        ] {
            let findings = found(new, true);
            let [finding @ Finding::Worse { counter: named, .. }] = &findings[..] else { panic!("{findings:?}") };
            assert_eq!(named, counter);
            assert!(finding.is_worse() && finding.to_string().ends_with("make guard ACCEPT=1"));
        }
        let edge = Counts { allocations: 11, bytes: 1100, instructions: 110_000 };
        assert_eq!(found(edge, true), [], "ten percent is not more than ten percent");
    }

    #[test]
    fn the_message_names_counter_and_both_values() {
        let finding = &found(Counts { bytes: 2000, ..BEFORE }, true)[0];
        assert_eq!(finding.to_string(), "WORSE   a, bytes allocated: 2000, was 1000; accept with: make guard ACCEPT=1");
    }

    #[test]
    fn what_got_better_is_told_and_does_not_fail() {
        let findings = found(Counts { allocations: 8, bytes: 899, instructions: 89_999 }, true);
        assert_eq!(findings.len(), 3);
        assert!(findings.iter().all(|finding| !finding.is_worse()));
    }

    #[test]
    fn none_may_become_some() {
        let mut none = baseline();
        none.cases.insert("a".to_owned(), Counts { allocations: 0, bytes: 0, instructions: 100_000 });
        let one = Counts { allocations: 1, bytes: 8, instructions: 100_000 };
        assert_eq!(none.compare(&BTreeMap::from([("a".to_owned(), one)]), true).len(), 2);
    }

    #[test]
    fn with_other_tools_only_allocations_count() {
        assert_eq!(found(Counts { instructions: 900_000, ..BEFORE }, false), []);
        assert_eq!(found(Counts { allocations: 12, ..BEFORE }, false).len(), 1);
    }

    #[test]
    fn a_case_without_a_baseline_fails_and_one_that_is_gone() {
        let findings = baseline().compare(&BTreeMap::from([("b".to_owned(), BEFORE)]), true);
        assert_eq!(findings, [Finding::Unknown("b".into()), Finding::Gone("a".into())]);
        assert!(findings.iter().all(Finding::is_worse));
    }

    #[test]
    fn a_baseline_is_read_as_written() {
        let path = std::env::temp_dir().join(format!("guard-{}.toml", std::process::id()));
        baseline().write(&path).expect("written");
        assert_eq!(Baseline::read(&path).expect("read"), baseline());
        fs::remove_file(path).expect("it is there");
    }
}
