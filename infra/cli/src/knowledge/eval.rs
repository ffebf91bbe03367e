//! `hoopoe knowledge eval`: how well a pack answers test questions, with all its utterances or with few.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use hoopoe_knowledge::evaluate::{self, Report};
use hoopoe_knowledge::pack::{Lined, TestSet};
use hoopoe_knowledge::{Date, Knowledge, Pack, calibrate, held_out, trial};
use hoopoe_message::{Language, Timestamp};

use super::report::{Evaluation, Trials};
use super::vectors::Vectors;
use super::{Built, Sources, build};
use crate::progress::{Step, line};
use crate::{Global, output};

const EXAMPLES: &str = "\
Examples:
  hoopoe knowledge eval                      how well the pack answers its test.yaml, and each mistake
  hoopoe knowledge eval --calibrate          first fit the thresholds to the pack's utterances
  hoopoe knowledge eval --test more.yaml     other questions
  hoopoe knowledge eval --utterances 3       how well it would, with 3 utterances an intent and language
  hoopoe knowledge eval --rows train.json --test test.json --language en --utterances 3
                                             the same with rows of [question, label]
  hoopoe knowledge eval --json               the same for a program
";

/// Ask a pack its test questions and count what becomes of them.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Eval {
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    built: Built,
    /// Questions to ask instead of the pack's test.yaml, in the same format.
    #[arg(long, value_name = "FILE")]
    test: Option<PathBuf>,
    /// First find the thresholds by asking the pack its own utterances, and write them to pack.yaml.
    #[arg(long)]
    calibrate: bool,
    /// Draw this many utterances of each intent in each language, and measure a pack of these; one or more numbers.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    utterances: Vec<usize>,
    /// What the drawing depends on; one or more numbers.
    #[arg(long, value_name = "S", value_delimiter = ',', default_values_t = [1_u64, 2, 3], requires = "utterances")]
    seed: Vec<u64>,
    /// A JSON file of [question, label] rows to draw from, instead of a pack; a third of the labels is out of scope.
    #[arg(long, value_name = "FILE", requires = "utterances", conflicts_with_all = ["pack", "calibrate"])]
    rows: Option<PathBuf>,
    /// The language of the rows.
    #[arg(long, value_name = "CODE", requires = "rows", default_value = "en")]
    language: Language,
}

impl Eval {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<()> {
        if !self.utterances.is_empty() {
            return self.few(global);
        }
        let mut pack = self.sources.pack()?;
        let mut vectors = self.sources.vectors()?;
        if self.calibrate {
            pack = calibrated(&pack, &mut vectors)?;
        }
        let test = match &self.test {
            Some(file) => pack.read_test(file)?,
            None => pack.test.clone(),
        };
        if test.in_scope.is_empty() && test.out_of_scope.is_empty() {
            // Whoever calibrated a pack has what he wanted, test questions or not.
            if self.calibrate {
                line("Knowledge", "there are no test questions to measure it with; test.yaml may hold some");
                return Ok(());
            }
            bail!(
                "there are no test questions: write some to {}, or give a file with --test",
                self.sources.pack.join("test.yaml").display()
            );
        }
        let knowledge = build::built(&pack, &mut vectors, &build::folder(self.built.out, &self.sources.pack)?)?;
        output::result(&Evaluation::new(asked(&knowledge, &pack, &test, &mut vectors)?), global.json)
    }

    /// Measures packs of few utterances; nothing is written.
    fn few(self, global: &Global) -> anyhow::Result<()> {
        let mut vectors = self.sources.vectors()?;
        let mut trials = Trials::default();
        let rows = self.rows.as_deref().map(read_rows).transpose()?;
        let asked_rows = match (&rows, &self.test) {
            (Some(_), Some(file)) => read_rows(file)?,
            _ => Vec::new(),
        };
        for &utterances in &self.utterances {
            for &seed in &self.seed {
                let (mut pack, test) = match &rows {
                    Some(rows) => trial::of_rows(rows, &asked_rows, self.language, utterances, seed),
                    None => {
                        let pack = self.sources.pack()?;
                        let test = self.test.as_deref().map(|file| pack.read_test(file)).transpose()?;
                        let test = test.unwrap_or_else(|| pack.test.clone());
                        (trial::few(&pack, utterances, seed), test)
                    }
                };
                if self.calibrate {
                    pack.settings.thresholds = Some(Lined { value: found(&pack, &mut vectors)?, line: 1 });
                }
                let index = build::index(&pack, &mut vectors)?;
                let knowledge = Knowledge::from_bytes(&index, vectors.model())?;
                trials.add(utterances, asked(&knowledge, &pack, &test, &mut vectors)?);
            }
        }
        output::result(&trials, global.json)
    }
}

fn read_rows(file: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let text = fs::read(file).with_context(|| format!("{} could not be read", file.display()))?;
    let rows: Vec<(String, String)> =
        serde_json::from_slice(&text).with_context(|| format!("{}: rows must be [question, label]", file.display()))?;
    ensure!(!rows.is_empty(), "{} has no rows", file.display());
    Ok(rows)
}

fn asked(knowledge: &Knowledge, pack: &Pack, test: &TestSet, vectors: &mut Vectors) -> anyhow::Result<Report> {
    let dimension = vectors.dimension();
    let embeddings = vectors.of("test questions", &test.texts().collect::<Vec<_>>())?;
    Ok(evaluate::evaluate(knowledge, pack, test, embeddings.chunks_exact(dimension), Date::of(Timestamp::now())))
}

/// The thresholds that fit a pack.
fn found(pack: &Pack, vectors: &mut Vectors) -> anyhow::Result<hoopoe_knowledge::Thresholds> {
    build::refuse_errors(pack)?;
    let encoded = build::encoded(pack, vectors)?;
    let step = Step::start("Knowledge", "asking the pack its own utterances");
    let asked = held_out::held_out(pack, &encoded)?;
    let thresholds = calibrate::calibrate(&asked.texts, asked.usual);
    step.done(format_args!(
        "thresholds: answer {}, scope {}, suggest {}",
        thresholds.answer, thresholds.scope, thresholds.suggest
    ));
    Ok(thresholds)
}

/// Finds the thresholds and writes them to the pack.
fn calibrated(pack: &Pack, vectors: &mut Vectors) -> anyhow::Result<Pack> {
    let thresholds = found(pack, vectors)?;
    calibrate::store(&pack.folder, &thresholds)
        .with_context(|| format!("the thresholds could not be written to {}", pack.folder.display()))?;
    build::read(&pack.folder)
}
