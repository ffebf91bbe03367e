//! `hoopoe knowledge`: builds a pack's index, checks the pack, and measures how well it answers.
//!
//! | module | what it does |
//! |---|---|
//! | [`folder`] | where the built knowledge of a pack is |
//! | [`report`] | what `eval` prints |

pub(crate) mod folder;
mod report;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use hoopoe_encoder::{Encoder, EncoderFiles, Options};
use hoopoe_knowledge::build::Encoded;
use hoopoe_knowledge::check::{Finding, Severity};
use hoopoe_knowledge::{Date, Pack, build, calibrate, check, evaluate, similar};
use hoopoe_message::Timestamp;

use crate::progress::{self, Step};
use crate::{Global, output};
use report::Evaluation;

/// Builds, checks and measures what the bot knows.
#[derive(Args, Debug)]
pub(crate) struct Knowledge {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Encode a pack into the index that the bot answers from; nothing is done where it is up to date.
    #[command(after_help = BUILD_EXAMPLES)]
    Build {
        #[command(flatten)]
        sources: Sources,
        #[command(flatten)]
        built: Built,
    },
    /// Look for what is wrong with a pack; fails where there is an error.
    #[command(after_help = CHECK_EXAMPLES)]
    Check {
        #[command(flatten)]
        sources: Sources,
        /// Do not compare meanings, which takes the model and half a minute.
        #[arg(long)]
        quick: bool,
    },
    /// Ask a pack its test questions and count what becomes of them.
    #[command(after_help = EVAL_EXAMPLES)]
    Eval {
        #[command(flatten)]
        sources: Sources,
        #[command(flatten)]
        built: Built,
        /// Questions to ask instead of the pack's test.yaml, in the same format.
        #[arg(long, value_name = "FILE")]
        test: Option<PathBuf>,
        /// First find the thresholds by cross-validation on utterances and background, and write them to pack.yaml.
        #[arg(long)]
        calibrate: bool,
    },
}

const BUILD_EXAMPLES: &str = "\
Examples:
  hoopoe knowledge build                                  the shop pack
  hoopoe knowledge build --pack my-pack                   another one, into a folder of its own
  hoopoe knowledge build --pack my-pack --out folder      into this folder

The folder is printed.
";

const CHECK_EXAMPLES: &str = "\
Examples:
  hoopoe knowledge check                     every error and warning with its file and line
  hoopoe knowledge check --quick             what can be seen without the model
  hoopoe knowledge check --json              the same for a program

An error keeps the index from being built. A warning is worth a look.
";

const EVAL_EXAMPLES: &str = "\
Examples:
  hoopoe knowledge eval                      how well the pack answers its test.yaml, and each mistake
  hoopoe knowledge eval --calibrate          after utterances or background have changed
  hoopoe knowledge eval --test more.yaml     other questions
  hoopoe knowledge eval --json               the same for a program
";

/// What an index is made of.
#[derive(Args, Debug)]
struct Sources {
    /// The folder of the pack.
    #[arg(long, value_name = "DIR", default_value = folder::DEFAULT_PACK)]
    pack: PathBuf,
    /// The folder of the built model.
    #[arg(long, value_name = "DIR", default_value = "target/model/current", env = "HOOPOE_MODEL_DIR")]
    model: PathBuf,
}

/// Where built knowledge is kept.
#[derive(Args, Debug)]
struct Built {
    /// The folder to build into; by default one of the pack's own in target/knowledge.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl Built {
    /// The folder for the pack of `sources`.
    fn folder(self, sources: &Sources) -> anyhow::Result<PathBuf> {
        self.out.map_or_else(|| folder::of(&sources.pack), Ok)
    }
}

impl Knowledge {
    /// Runs the subcommand; results go to standard output, as JSON when asked, progress to standard error.
    pub(crate) async fn run(self, global: &Global) -> anyhow::Result<()> {
        match self.command {
            Command::Build { sources, built } => {
                let folder = built.folder(&sources)?;
                build(&sources.pack, &sources.model, &folder.join(folder::INDEX))?;
                if global.json {
                    output::json(&serde_json::json!({"folder": folder}))
                } else {
                    output::line(folder.display())
                }
            }
            Command::Check { sources, quick } => check(&sources, quick, global.json),
            Command::Eval { sources, built, test, calibrate } => {
                let index = built.folder(&sources)?.join(folder::INDEX);
                if calibrate {
                    calibrated(&sources, &index)?;
                }
                eval(&sources, &index, test.as_deref(), global.json)
            }
        }
    }
}

/// Encodes the pack into the index at `out`, or finds that it is up to date, and loads it.
pub(crate) fn build(pack: &Path, model: &Path, out: &Path) -> anyhow::Result<hoopoe_knowledge::Knowledge> {
    let pack = Pack::read(pack)?;
    let mut encoder = encoder(model)?;
    if let Ok(knowledge) = hoopoe_knowledge::Knowledge::load(out, encoder.model_id())
        && *knowledge.digest() == pack.digest
    {
        progress::line("Knowledge", format_args!("{} is up to date", out.display()));
        return Ok(knowledge);
    }
    refuse_errors(&pack)?;
    let vectors = encode_examples(&mut encoder, &pack)?;
    write(&pack, encoder.model_id(), &vectors, out)
}

fn write(pack: &Pack, model: &str, vectors: &[f32], out: &Path) -> anyhow::Result<hoopoe_knowledge::Knowledge> {
    let step = Step::start("Knowledge", format_args!("learning {} intents", pack.intents.len()));
    let index = build::build(pack, Encoded { model, vectors })?;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("{} could not be made", folder.display()))?;
    // Beside it and then in its place, so that a reader finds the old index or the new one, never half of one.
    let scratch = out.with_extension(format!("{}.new", std::process::id()));
    fs::write(&scratch, &index)
        .and_then(|()| fs::rename(&scratch, out))
        .inspect_err(|_| drop(fs::remove_file(&scratch)))
        .with_context(|| format!("{} could not be written", out.display()))?;
    step.done(format_args!("{}: {} intents, {} KB", out.display(), pack.intents.len(), index.len() / 1000));
    Ok(hoopoe_knowledge::Knowledge::from_bytes(&index, model)?)
}

fn check(sources: &Sources, quick: bool, json: bool) -> anyhow::Result<()> {
    let pack = Pack::read(&sources.pack)?;
    let mut findings = check::check(&pack);
    if !quick {
        let vectors = encode_examples(&mut encoder(&sources.model)?, &pack)?;
        findings.extend(similar::similar(&pack, &vectors));
    }
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    if json {
        output::json(&findings)?;
    } else {
        for finding in &findings {
            output::line(located(&sources.pack, finding))?;
        }
        output::line(format_args!(
            "{}: {} intents, {} texts, {errors} errors, {} warnings",
            sources.pack.display(),
            pack.intents.len(),
            pack.examples().count(),
            findings.len() - errors
        ))?;
    }
    if errors > 0 {
        bail!("{} has {errors} errors; no index is built from it", sources.pack.display());
    }
    Ok(())
}

/// The finding with a path that an editor can open from here.
fn located(pack: &Path, finding: &Finding) -> String {
    pack.join(finding.to_string()).display().to_string()
}

fn refuse_errors(pack: &Pack) -> anyhow::Result<()> {
    let findings = check::check(pack);
    let mut errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    match errors.next() {
        None => Ok(()),
        Some(first) => bail!(
            "{}\n{} more errors; `hoopoe knowledge check --pack {}` lists them",
            located(&pack.folder, first),
            errors.count(),
            pack.folder.display()
        ),
    }
}

/// Finds the thresholds, writes them to the pack, and builds its index with them.
fn calibrated(sources: &Sources, out: &Path) -> anyhow::Result<()> {
    let pack = Pack::read(&sources.pack)?;
    refuse_errors(&pack)?;
    let mut encoder = encoder(&sources.model)?;
    let vectors = encode_examples(&mut encoder, &pack)?;
    let step = Step::start("Knowledge", "finding the thresholds by cross-validation");
    let thresholds = calibrate::calibrate(&pack, &vectors)
        .context("the pack has too few utterances to hold some of them out; write more")?;
    calibrate::store(&pack.folder, &thresholds)
        .with_context(|| format!("the thresholds could not be written to {}", pack.folder.display()))?;
    step.done(format_args!(
        "temperature {}, answer {}, margin {}, suggest {}",
        thresholds.temperature, thresholds.answer, thresholds.margin, thresholds.suggest
    ));
    let pack = Pack::read(&sources.pack)?;
    write(&pack, encoder.model_id(), &vectors, out).map(drop)
}

fn eval(sources: &Sources, index: &Path, test: Option<&Path>, json: bool) -> anyhow::Result<()> {
    let pack = Pack::read(&sources.pack)?;
    let test = test.map_or_else(|| Ok(pack.test.clone()), Pack::read_test)?;
    if test.in_scope.is_empty() && test.out_of_scope.is_empty() {
        bail!("there are no test questions; write some to {}", sources.pack.join("test.yaml").display());
    }
    let knowledge = build(&sources.pack, &sources.model, index)?;
    let mut encoder = encoder(&sources.model)?;
    let vectors = encode(&mut encoder, "test questions", &test.texts().collect::<Vec<_>>())?;
    let embeddings = vectors.chunks_exact(encoder.dimension());
    let report = evaluate::evaluate(&knowledge, &pack, &test, embeddings, Date::of(Timestamp::now()));
    let evaluation = Evaluation::new(report);
    if json {
        output::json(&evaluation)?;
    } else {
        output::line(evaluation.to_string().trim_end())?;
    }
    Ok(())
}

fn encoder(model: &Path) -> anyhow::Result<Encoder> {
    Encoder::load(&EncoderFiles::in_build(model), Options::from_environment())
        .context("the model could not be loaded; build it with `make model`")
}

fn encode_examples(encoder: &mut Encoder, pack: &Pack) -> anyhow::Result<Vec<f32>> {
    let texts: Vec<&str> = pack.examples().map(|example| example.text).collect();
    encode(encoder, "texts of the pack", &texts)
}

/// The vectors of texts, one after the other.
fn encode(encoder: &mut Encoder, what: &str, texts: &[&str]) -> anyhow::Result<Vec<f32>> {
    let step = Step::start("Knowledge", format_args!("encoding {} {what}", texts.len()));
    let vectors = encoder.encode(texts)?.into_values();
    step.done(format_args!("encoded {} {what}", texts.len()));
    Ok(vectors)
}
