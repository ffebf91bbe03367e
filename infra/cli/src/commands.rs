//! Commands that messages name work as they are printed: on the stack that the person chose, from the person's folder.
//!
//! Messages name them in backticks and without `--stack` or `--state`; [`complete`] puts in what was chosen.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::{Global, project};

/// Commands that work on no stack.
const WITHOUT_STACK: [&str; 4] = ["tools", "knowledge", "model", "cost"];
/// Commands that work on the local stack only.
const LOCAL: [&str; 2] = ["up", "down"];
const BEGIN: &str = concat!("`", "hoopoe ");

static CHOICE: OnceLock<Choice> = OnceLock::new();

/// What the person chose.
#[derive(Debug, Default)]
struct Choice {
    /// Options that name the stack, as a shell reads them; empty for the default one.
    options: String,
    on_aws: bool,
    /// The person is in the project's folder, so `make` finds its file.
    in_project: bool,
}

/// Remembers the options of this run, before [`project::enter`] leaves the person's folder.
pub(crate) fn remember(global: &Global) {
    // There is one run in a process.
    let _ = CHOICE.set(Choice::new(global));
}

impl Choice {
    fn new(global: &Global) -> Self {
        let options = [("stack", &global.stack), ("profile", &global.profile), ("region", &global.region)];
        let mut words: Vec<String> = options
            .into_iter()
            .filter_map(|(name, value)| Some(format!("--{name} {}", quoted(Path::new(value.as_ref()?)))))
            .collect();
        if words.is_empty() && !is_default(&global.state) {
            words.push(format!("--state {}", quoted(&global.state)));
        }
        let in_project = project::root().is_ok_and(|root| std::env::current_dir().is_ok_and(|here| here == root));
        Self { options: words.join(" "), on_aws: global.stack.is_some(), in_project }
    }

    fn complete(&self, message: &str) -> String {
        let mut complete = String::with_capacity(message.len());
        let mut parts = message.split(BEGIN);
        complete.extend(parts.next());
        for part in parts {
            complete.push_str(BEGIN);
            let command = part.split('`').next().unwrap_or_default();
            let first = command.split(' ').next().unwrap_or_default();
            let has_none = WITHOUT_STACK.contains(&first) || (self.on_aws && LOCAL.contains(&first));
            let has_own = ["--stack ", "--state "].iter().any(|option| command.contains(option));
            if !self.options.is_empty() && !has_none && !has_own {
                complete.push_str(&self.options);
                complete.push(' ');
            }
            complete.push_str(part);
        }
        complete
    }

    fn forget(&self, state: &Path) -> String {
        match project::root() {
            Ok(_) if is_default(state) && self.in_project => "`make clean-local`".to_owned(),
            Ok(root) if is_default(state) => format!("`make -C {} clean-local`", quoted(root)),
            _ => format!("`hoopoe --state {0} down && rm -rf {0}`", quoted(state)),
        }
    }
}

/// The message with the options in its commands that this run was started with.
pub(crate) fn complete(message: &str) -> String {
    CHOICE.get().map_or_else(|| message.to_owned(), |choice| choice.complete(message))
}

/// The command that stops the local stack of a state folder and forgets its state.
pub(crate) fn forget(state: &Path) -> String {
    CHOICE.get().unwrap_or(&Choice::default()).forget(state)
}

/// A path or another word as a shell reads it.
pub(crate) fn quoted(word: &Path) -> String {
    let word = word.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    if !word.is_empty() && word.chars().all(is_plain) { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

fn is_default(state: &Path) -> bool {
    let default: PathBuf = project::root().map(|root| root.join(project::STATE)).unwrap_or_default();
    std::path::absolute(state).is_ok_and(|state| state == default)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::Cli;

    fn choice(arguments: &[&str]) -> Choice {
        let arguments = ["hoopoe"].iter().chain(arguments).chain(&["status"]);
        Choice::new(&Cli::try_parse_from(arguments).expect("a command").global)
    }

    #[test]
    fn commands_have_the_options_of_the_run() {
        let message = "start it with `hoopoe up`; `hoopoe knowledge build` and `hoopoe logs`";
        let default = project::path(project::STATE).display().to_string();
        assert_eq!(choice(&["--state", &default]).complete(message), message);
        assert_eq!(
            choice(&["--state", "/tmp/my state"]).complete(message),
            "start it with `hoopoe --state '/tmp/my state' up`; `hoopoe knowledge build` and \
             `hoopoe --state '/tmp/my state' logs`"
        );
        assert_eq!(
            choice(&["--stack", "shop", "--region", "eu-west-1"]).complete(message),
            "start it with `hoopoe up`; `hoopoe knowledge build` and `hoopoe --stack shop --region eu-west-1 logs`"
        );
        let own = "as in `hoopoe status --stack hoopoe --region eu-central-1`";
        assert_eq!(choice(&["--state", "/tmp/mine"]).complete(own), own);
    }

    #[test]
    fn a_state_folder_is_forgotten_by_a_command_that_works_from_here() {
        let root = project::root().expect("the tests are in the project");
        let [inside, outside] = [true, false].map(|in_project| Choice { in_project, ..Choice::default() });
        assert_eq!(inside.forget(&root.join(project::STATE)), "`make clean-local`");
        assert_eq!(outside.forget(&root.join(project::STATE)), format!("`make -C {} clean-local`", root.display()));
        assert_eq!(inside.forget(Path::new("/tmp/a b")), "`hoopoe --state '/tmp/a b' down && rm -rf '/tmp/a b'`");
    }
}
