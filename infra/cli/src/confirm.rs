//! Asking before what cannot be undone, or stops a bot.

use std::fmt::Display;
use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Context, ensure};
use clap::Args;

/// Whether to ask. A command that needs it takes this with `#[command(flatten)]`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Confirm {
    /// Do it without asking.
    #[arg(long)]
    yes: bool,
}

impl Confirm {
    /// Says what is about to happen and waits until `name` is typed.
    ///
    /// # Errors
    ///
    /// If something else is typed, or nobody can type: without a terminal, only `--yes` confirms.
    pub(crate) fn ask(self, what: impl Display, name: &str) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        let input = io::stdin();
        ensure!(input.is_terminal(), "{what}\nNothing was done: without a terminal to ask on, --yes confirms it");
        let mut prompt = io::stderr().lock();
        write!(prompt, "{what}\nType {name} to confirm: ").and_then(|()| prompt.flush())?;
        ensure!(is_typed(input.lock(), name)?, "not confirmed: nothing was done");
        Ok(())
    }
}

fn is_typed(mut input: impl BufRead, name: &str) -> anyhow::Result<bool> {
    let mut line = String::new();
    input.read_line(&mut line).context("the answer cannot be read")?;
    Ok(line.trim() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_confirms() {
        for (typed, confirms) in
            [("telegram/shop\n", true), (" telegram/shop ", true), ("shop\n", false), ("y\n", false), ("", false)]
        {
            assert_eq!(is_typed(typed.as_bytes(), "telegram/shop").expect("readable"), confirms, "{typed:?}");
        }
    }
}
