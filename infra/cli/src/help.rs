//! `hoopoe --help`: the commands by what a person wants to do.

use std::fmt::Write;

use clap::Command;

/// What a person wants to do, and the commands for it.
const PURPOSES: [(&str, &[&str]); 4] = [
    ("Try it on this machine", &["up", "down", "ask", "chat"]),
    ("Teach it", &["knowledge", "model"]),
    ("Connect it to chat platforms", &["channel", "keys"]),
    ("Deploy and operate it", &["tools", "status", "logs", "dlq", "cost"]),
];

/// The command with its subcommands listed by purpose.
pub(crate) fn by_purpose(command: Command) -> Command {
    let mut listed = String::new();
    for (purpose, names) in PURPOSES {
        writeln!(listed, "{purpose}:").expect("a text takes it");
        for name in names {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            writeln!(listed, "  {name:<10} {}", about.map(ToString::to_string).unwrap_or_default())
                .expect("a text takes it");
        }
        listed.push('\n');
    }
    let usage = "{about-with-newline}\n{usage-heading} {usage}\n\n";
    let rest = "Options:\n{options}\n\nAdd --help to a command for more, with examples.\n";
    command.help_template(format!("{usage}{listed}{rest}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::Cli;

    #[test]
    fn each_command_is_listed_once() {
        let mut listed: Vec<&str> = PURPOSES.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        listed.sort_unstable();
        let command = Cli::command();
        let mut all: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        all.sort_unstable();
        assert_eq!(listed, all);
        let help = by_purpose(command).render_help().to_string();
        assert!(help.contains("Teach it:\n  knowledge  Writes"), "{help}");
        assert!(help.contains("--stack <NAME>"), "{help}");
    }
}
