//! `hoopoe knowledge`: writes, builds, checks and measures what the bot knows.
//!
//! | module | what it does |
//! |---|---|
//! | [`new`] | `new`: a pack to begin with |
//! | [`check`] | `check`: what is wrong with a pack, and what it will be like |
//! | [`ask`] | `ask`: what a pack answers, without a stack |
//! | [`build`] | `build`: a pack becomes what the functions read |
//! | [`eval`] | `eval`: how well a pack answers test questions, with all its utterances or with few |
//! | [`report`] | what `eval` prints |
//! | [`folder`] | where the built knowledge of a pack is |
//! | [`vectors`] | the vectors of texts, kept from one command to the next |

mod ask;
mod build;
mod check;
mod eval;
pub(crate) mod folder;
mod new;
mod report;
mod vectors;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::{Global, output, project};
use vectors::Vectors;

/// Writes, builds, checks and measures what the bot knows.
#[derive(Args, Debug)]
pub(crate) struct Knowledge {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    New(new::New),
    Check(check::Check),
    Ask(ask::Ask),
    /// Build a pack into what the bot answers from; nothing is done where it is up to date.
    #[command(after_help = BUILD_EXAMPLES)]
    Build {
        #[command(flatten)]
        sources: Sources,
        #[command(flatten)]
        built: Built,
    },
    Eval(eval::Eval),
}

const BUILD_EXAMPLES: &str = "\
Examples:
  hoopoe knowledge build                                  the shop pack
  hoopoe knowledge build --pack my-pack                   another one, into a folder of its own
  hoopoe knowledge build --pack my-pack --out folder      into this folder

The folder is printed.
";

/// What an index is made of.
#[derive(Args, Debug)]
struct Sources {
    /// The folder of the pack; the current one if it is a pack, and else the shop's.
    #[arg(long, value_name = "DIR", default_value_os_t = default_pack())]
    pack: PathBuf,
    /// The folder of the built model.
    #[arg(
        long,
        value_name = "DIR",
        default_value_os_t = project::path("target/model/current"),
        env = "HOOPOE_MODEL_DIR"
    )]
    model: PathBuf,
}

fn default_pack() -> PathBuf {
    if Path::new("pack.yaml").exists() { PathBuf::from(".") } else { project::path(folder::DEFAULT_PACK) }
}

impl Sources {
    fn pack(&self) -> anyhow::Result<hoopoe_knowledge::Pack> {
        build::read(&self.pack)
    }

    fn vectors(&self) -> anyhow::Result<Vectors> {
        Vectors::open(&self.model, folder::vectors())
    }
}

/// Where built knowledge is kept.
#[derive(Args, Debug)]
struct Built {
    /// The folder to build into; by default one of the pack's own in target/knowledge. It must not hold what was built
    /// from another pack.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl Knowledge {
    /// Runs the subcommand; results go to standard output, as JSON when asked, progress to standard error.
    pub(crate) async fn run(self, global: &Global) -> anyhow::Result<()> {
        match self.command {
            Command::Build { sources, built } => {
                let pack = sources.pack()?;
                let folder = build::folder(built.out, &sources.pack)?;
                build::built(&pack, &mut sources.vectors()?, &folder)?;
                if global.json {
                    output::json(&serde_json::json!({"folder": folder}))
                } else {
                    output::line(folder.display())
                }
            }
            Command::New(new) => new.run(global),
            Command::Check(check) => check.run(global),
            Command::Ask(ask) => ask.run(global),
            Command::Eval(eval) => eval.run(global),
        }
    }
}
