//! `hoopoe`: builds, runs, deploys and operates the bot.
//!
//! | module | commands |
//! |---|---|
//!
//! Every command works on the local stack unless `--stack` names a deployed one.

use clap::{Args, Parser, Subcommand};

/// One bot on every chat platform, with no server to look after.
#[derive(Parser)]
#[command(name = "hoopoe", version, about, propagate_version = true)]
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
    #[arg(long, global = true, value_name = "DIR", default_value = "target/local", env = "HOOPOE_STATE")]
    pub state: std::path::PathBuf,
}

#[derive(Subcommand)]
enum Command {}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    let result: anyhow::Result<()> = match cli.command {};
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hoopoe: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
