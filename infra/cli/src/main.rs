//! `hoopoe`: builds, runs, deploys and operates the bot.
//!
//! | module | commands |
//! |---|---|
//! | [`local`] | `up`, `down`, `tools`: the whole bot on this machine |
//! | [`status`] | `status`: queues, dead letters, functions, errors |
//! | [`logs`] | `logs`: what the functions say |
//! | [`chat`] | `chat`, `ask`: talking with the bot |
//! | [`channel`] | `channel add`, `list`, `remove`: bots on platforms |
//! | [`keys`] | `keys list`, `add`, `rotate`, `verify`, `revoke`, `destroy`, `audit`, `operator`: the bots' secrets |
//! | [`selftest`] | `channel selftest`: a signed sample through the local stack |
//! | [`dlq`] | `dlq list`, `dlq redrive`: messages that could not be handled |
//! | [`knowledge`] | `knowledge build`, `check`, `eval`: what the bot knows |
//! | [`model`] | `model build`, `info`, `eval`, `bench` |
//! | [`cost`] | `cost`: what a month on AWS costs |
//!
//! | module | what the commands share |
//! |---|---|
//! | [`stack`] | the stack they work on, its outputs, clients and URLs |
//! | [`atomic`] | files that are replaced whole |
//! | [`aws`] | the AWS account of `--stack`, and what is wrong with it |
//! | [`bots`] | whether a bot is there |
//! | [`commands`] | the commands that messages name |
//! | [`confirm`] | asking before what cannot be undone |
//! | [`help`] | the commands by what a person wants to do |
//! | [`project`] | the project's folder, and paths in it |
//! | [`settings`] | a bot's settings, from standard input |
//! | [`python`] | Python environments from pinned, hashed requirements |
//! | [`progress`] | steps that a person waits for |
//! | [`output`] | what a command answers, as text or JSON |
//!
//! Every command works on the local stack unless `--stack` names a deployed one.

mod atomic;
mod aws;
mod bots;
mod channel;
mod chat;
mod commands;
mod confirm;
mod cost;
mod dlq;
mod help;
mod keys;
mod knowledge;
mod local;
mod logs;
mod model;
mod output;
#[cfg(test)]
mod printed;
mod progress;
mod project;
mod python;
mod selftest;
mod settings;
mod stack;
mod status;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

/// One bot on every chat platform, with no server to look after.
#[derive(Parser)]
#[command(name = "hoopoe", version, about, propagate_version = true, max_term_width = 120)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    /// The CloudFormation stack on AWS; without it, the local stack.
    #[arg(long, global = true, value_name = "NAME")]
    pub stack: Option<String>,
    /// The AWS profile for --stack.
    #[arg(long, global = true, value_name = "NAME", requires = "stack")]
    pub profile: Option<String>,
    /// The AWS region for --stack.
    #[arg(long, global = true, value_name = "REGION", requires = "stack")]
    pub region: Option<String>,
    /// The folder in which the local stack keeps its state.
    #[arg(long, global = true, value_name = "DIR", default_value_os_t = project::path(project::STATE), env = "HOOPOE_STATE")]
    pub state: std::path::PathBuf,
}

#[derive(Subcommand)]
enum Command {
    Up(local::Up),
    Down(local::Down),
    Tools(local::Tools),
    Status(status::Status),
    Logs(logs::Logs),
    Chat(chat::Chat),
    Ask(chat::Ask),
    #[command(subcommand)]
    Channel(channel::ChannelCommand),
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    Dlq(dlq::Dlq),
    Knowledge(knowledge::Knowledge),
    Model(model::Model),
    Cost(cost::Cost),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    let matches = help::by_purpose(Cli::command()).get_matches();
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    cli.global.state = project::typed(cli.global.state);
    commands::remember(&cli.global);
    let global = &cli.global;
    let needs_project = global.stack.is_none() && !matches!(cli.command, Command::Cost(_));
    let result = match cli.command {
        Command::Up(up) => up.run(global).await,
        Command::Down(down) => down.run(global).await,
        Command::Tools(tools) => tools.run(global).await,
        Command::Status(status) => status.run(global).await,
        Command::Logs(logs) => logs.run(global).await,
        Command::Chat(chat) => chat.run(global).await,
        Command::Ask(ask) => ask.run(global).await,
        Command::Channel(channel) => channel.run(global).await,
        Command::Keys(keys) => keys.run(global).await,
        Command::Dlq(dlq) => dlq.run(global).await,
        Command::Knowledge(knowledge) => knowledge.run(global).await,
        Command::Model(model) => model.run(global.json).await,
        Command::Cost(cost) => cost.run(global.json),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) if output::is_closed(&error) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hoopoe: {}", commands::complete(&format!("{error:#}")));
            // What is not there was looked for in the wrong folder.
            if needs_project
                && let Err(outside) = project::root()
                && outside.to_string() != error.to_string()
            {
                eprintln!("hoopoe: {outside}");
            }
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// Two options of one name and the like are found when a command is first used, or here.
    #[test]
    fn every_command_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// Lines that a narrow terminal would break within a word. Examples are lines of their own, and wrapped as well.
    #[test]
    fn help_fits_a_narrow_terminal() {
        fn longest(command: &mut clap::Command, found: &mut Vec<String>) {
            let help = command.render_long_help().to_string();
            // Its first line, which clap leaves whole.
            let too_long = |line: &&str| line.chars().count() > 60 && !line.starts_with("Usage:");
            found.extend(help.lines().filter(too_long).map(|line| format!("{}: {line}", command.get_name())));
            command.get_subcommands_mut().for_each(|sub| longest(sub, found));
        }
        let mut command = Cli::command().term_width(60);
        command.build();
        let mut found = Vec::new();
        longest(&mut command, &mut found);
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    #[test]
    fn a_port_is_a_number_that_can_be_listened_on() {
        let parse = |port: &str| Cli::try_parse_from(["hoopoe", "up", "--port", port]);
        assert!(parse("4600").is_ok());
        for port in ["0", "65536", "-1", "x"] {
            assert!(parse(port).is_err(), "{port}");
        }
    }
}
