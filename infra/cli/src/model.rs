//! `hoopoe model`: builds the encoder's files from a pinned package or a folder, and measures them.
//!
//! | module | what it does |
//! |---|---|
//! | [`build`] | drives `infra/model` in its own Python environment, compiles, checks, moves into place |
//! | [`check`] | compares the INT8 model with its FP32 form before it is accepted |
//! | [`eval`] | accuracy on labelled files |
//! | [`mod@bench`] | start-up, memory and latency |
//! | [`manifest`] | what a built folder says of itself |

mod bench;
mod build;
mod check;
mod eval;
mod manifest;

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::{Args, Subcommand, ValueEnum};
use hoopoe_encoder::{Encoder, EncoderFiles, Options};

use crate::{output, project};
use manifest::Manifest;

/// Builds and measures the model that turns messages into vectors.
#[derive(Args, Debug)]
pub(crate) struct Model {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Build the model, or switch to it when it was built before.
    #[command(after_help = BUILD_EXAMPLES)]
    Build(BuildOptions),
    /// Show what a built model is: source, licence, languages, sizes, figures.
    Info(Built),
    /// Measure accuracy on labelled JSON files.
    #[command(after_help = EVAL_EXAMPLES)]
    Eval {
        #[command(flatten)]
        built: Built,
        /// Use the FP32 graph, kept by `hoopoe model build --keep-fp32`.
        #[arg(long)]
        fp32: bool,
        /// Rows of [text, label], [text, text, 0 or 1] or [text, text, similarity].
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Measure start-up, memory and latency.
    Bench {
        #[command(flatten)]
        built: Built,
        /// Use the FP32 graph, kept by `hoopoe model build --keep-fp32`.
        #[arg(long)]
        fp32: bool,
        /// Threads of a run.
        #[arg(long, default_value_t = 1)]
        threads: usize,
    },
}

const BUILD_EXAMPLES: &str = "\
Examples:
  hoopoe model build                                  Chinese and English, the default
  hoopoe model build --languages zh,en,ja,th,es,pt    more languages, a larger file
  hoopoe model build --languages all                  every language the model knows
  hoopoe model build --preset english                 all-MiniLM-L6-v2: English only, small and fast
  hoopoe model build --from ~/models/my-bert          config.json, model.safetensors, tokenizer.json

The result is target/model/<id>, where the id says what it was made of; target/model/current leads to it.
";

const EVAL_EXAMPLES: &str = "\
Examples:
  hoopoe model eval banking77_test.json     [text, label]: ten texts of each label are its examples
  hoopoe model eval lcqmc_dev.json          [text, text, 0 or 1]: area under the ROC curve
  hoopoe model eval stsb_zh_dev.json        [text, text, similarity]: Spearman's rank correlation
";

/// What to build.
#[derive(Args, Debug)]
struct BuildOptions {
    /// The model to build.
    #[arg(long, value_enum, default_value_t = Preset::Multilingual)]
    preset: Preset,
    /// A Hugging Face style folder of a BERT or XLM-RoBERTa encoder to build instead of a preset.
    #[arg(long = "from", value_name = "DIR", conflicts_with = "preset")]
    folder: Option<PathBuf>,
    /// What the model of --from was trained to see before every text, such as "query: ".
    #[arg(long, requires = "folder", default_value = "")]
    prefix: String,
    /// Languages whose words to keep, or `all`. The multilingual preset keeps zh,en; others keep all.
    #[arg(long, value_name = "LIST")]
    languages: Option<String>,
    /// Keep only so many of the pieces in ASCII, the best scored: smaller, and English loses a little.
    #[arg(long, value_name = "COUNT")]
    ascii_pieces: Option<u32>,
    /// Where built models are kept.
    #[arg(long, value_name = "DIR", default_value_os_t = project::path("target/model"))]
    out: PathBuf,
    /// Keep the FP32 graph beside the INT8 one, for `eval --fp32` and `bench --fp32`.
    #[arg(long)]
    keep_fp32: bool,
}

/// A model that comes from a pinned package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Preset {
    /// intfloat/multilingual-e5-small
    Multilingual,
    /// sentence-transformers/all-MiniLM-L6-v2
    English,
}

impl Preset {
    fn name(self) -> &'static str {
        match self {
            Self::Multilingual => "multilingual",
            Self::English => "english",
        }
    }
}

/// A built model.
#[derive(Args, Debug)]
struct Built {
    /// The folder of the built model.
    #[arg(
        long = "model",
        value_name = "DIR",
        default_value_os_t = project::path("target/model/current"),
        env = "HOOPOE_MODEL_DIR"
    )]
    folder: PathBuf,
}

impl Built {
    fn manifest(&self) -> anyhow::Result<Manifest> {
        Manifest::read(&self.folder)
    }

    fn files(&self, fp32: bool) -> anyhow::Result<EncoderFiles> {
        self.manifest()?;
        files(&self.folder, fp32)
    }
}

impl Model {
    /// Runs the subcommand; results go to standard output, as JSON when asked, progress to standard error.
    pub(crate) async fn run(self, json: bool) -> anyhow::Result<()> {
        match self.command {
            Command::Build(options) => {
                let folder = build::run(options).await?;
                output::result(&Manifest::read(&folder)?, json)
            }
            Command::Info(built) => output::result(&built.manifest()?, json),
            Command::Eval { built, fp32, files } => {
                let mut encoder = load(&built.files(fp32)?, Options::from_environment())?;
                files.iter().try_for_each(|file| output::result(&eval::run(&mut encoder, file)?, json))
            }
            Command::Bench { built, fp32, threads } => {
                output::result(&bench::run(&built.files(fp32)?, Options { threads, ..Options::default() })?, json)
            }
        }
    }
}

fn files(folder: &Path, fp32: bool) -> anyhow::Result<EncoderFiles> {
    let mut files = EncoderFiles::in_build(folder);
    if fp32 {
        files.graph = folder.join("fp32/model.onnx");
        ensure!(
            files.graph.exists(),
            "{}: the FP32 graph was not kept; run `hoopoe model build --keep-fp32` first",
            folder.display()
        );
    }
    Ok(files)
}

fn load(files: &EncoderFiles, options: Options) -> anyhow::Result<Encoder> {
    Encoder::load(files, options).with_context(|| "the model could not be loaded; build it again with `make model`")
}
