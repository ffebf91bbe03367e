//! Which knowledge pack the local stack answers from: the default one, or what `up --pack` chose last.
//!
//! `pack.json` in the state folder names the chosen one. `knowledge` beside it leads to the folder of what was built from
//! the stack's pack, for the Makefile.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::knowledge::folder::DEFAULT_PACK;
use crate::progress::line;

/// The pack of a stack.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StackPack {
    /// The pack's folder, absolute if it was chosen.
    pack: PathBuf,
}

impl StackPack {
    /// The one in a folder.
    pub(super) fn find(folder: &Path) -> anyhow::Result<Self> {
        let pack = fs::canonicalize(folder);
        Ok(Self { pack: pack.with_context(|| format!("there is no knowledge pack {}", folder.display()))? })
    }

    /// The one that is `asked` for, else the one chosen before, else the default one. Says which, unless it is the last.
    pub(super) fn choose(asked: Option<Self>, state: &Path) -> anyhow::Result<Self> {
        let chosen = match asked {
            Some(asked) => Some(asked),
            None => Self::remembered(state)?,
        };
        let default = Self { pack: PathBuf::from(DEFAULT_PACK) };
        let Some(chosen) = chosen.filter(|chosen| !chosen.is_default()) else { return Ok(default) };
        let name = chosen.pack.strip_prefix(std::env::current_dir()?).unwrap_or(&chosen.pack).display();
        ensure!(
            chosen.pack.is_dir(),
            "the knowledge pack {name}, which `hoopoe up --pack FOLDER` chose, is gone; choose another with --pack"
        );
        line("Knowledge", format_args!("{name} (chosen with --pack; `hoopoe up --pack {DEFAULT_PACK}` goes back)"));
        Ok(chosen)
    }

    /// The pack's folder.
    pub(super) fn folder(&self) -> &Path {
        &self.pack
    }

    /// Makes it the pack of the stack until another is chosen. `built` is the folder of what was built from it.
    pub(super) fn remember(&self, built: &Path, state: &Path) -> anyhow::Result<()> {
        atomic::write(&record(state), &serde_json::to_vec(self)?)?;
        let built = std::path::absolute(built)?;
        atomic::replace(&state.join("knowledge"), |scratch| symlink(built, scratch))
    }

    fn remembered(state: &Path) -> anyhow::Result<Option<Self>> {
        let path = record(state);
        match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json)
                .map(Some)
                .with_context(|| format!("{} is damaged; `hoopoe up --pack FOLDER` writes it anew", path.display())),
            Err(_) => Ok(None),
        }
    }

    fn is_default(&self) -> bool {
        self.pack == Path::new(DEFAULT_PACK) || fs::canonicalize(DEFAULT_PACK).is_ok_and(|pack| pack == self.pack)
    }
}

fn record(state: &Path) -> PathBuf {
    state.join("pack.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pack_that_was_chosen_stays() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let (state, lotus) = (scratch.path().join("state"), scratch.path().join("lotus"));
        for folder in [&state, &lotus] {
            fs::create_dir(folder).expect("a folder");
        }
        let choose = |asked: Option<&Path>| StackPack::choose(asked.map(StackPack::find).transpose()?, &state);
        assert_eq!(choose(None).expect("the default").folder(), Path::new(DEFAULT_PACK));
        let chosen = choose(Some(&lotus)).expect("there");
        assert_eq!(choose(None).expect("not remembered yet").folder(), Path::new(DEFAULT_PACK));
        for built in ["before", "built"] {
            chosen.remember(&scratch.path().join(built), &state).expect("written");
        }
        assert_eq!(choose(None).expect("remembered"), chosen);
        assert_eq!(fs::read_link(state.join("knowledge")).expect("a link"), scratch.path().join("built"));

        fs::remove_dir(&lotus).expect("removed");
        let error = choose(None).expect_err("gone").to_string();
        assert!(error.contains("is gone; choose another with --pack"), "{error}");
        let error = choose(Some(&lotus)).expect_err("gone").to_string();
        assert!(error.starts_with("there is no knowledge pack"), "{error}");
    }
}
