//! `hoopoe knowledge check`: what is wrong with a pack, and what it will be like.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::bail;
use clap::Args;
use hoopoe_knowledge::Pack;
use hoopoe_knowledge::check::{Finding, Severity, check};
use hoopoe_knowledge::corpus::{Corpus, Notice};
use hoopoe_knowledge::held_out::{Forecast, held_out};
use hoopoe_knowledge::similar::similar;
use serde::Serialize;

use super::vectors::Vectors;
use super::{Sources, build};
use crate::progress::Step;
use crate::{Global, output};

const EXAMPLES: &str = "\
Examples:
  hoopoe knowledge check --pack my-bot       every error and warning with its file and line, and a forecast
  hoopoe knowledge check --quick             what can be seen without the model
  hoopoe knowledge check --json              the same for a program

An error keeps the pack from being built. A warning is worth a look.
";

/// Intents that are named as the ones to add utterances to first.
const WEAKEST: usize = 3;

/// Look for what is wrong with a pack, and say what it will be like; fails where there is an error.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Check {
    #[command(flatten)]
    sources: Sources,
    /// Do not compare meanings and make no forecast, which takes the model and some seconds.
    #[arg(long)]
    quick: bool,
}

#[derive(Serialize)]
struct Checked {
    findings: Vec<Finding>,
    /// Built-in topics that teach an intent of the pack.
    joined: Vec<Joined>,
    /// Texts of the built-in background that are left out.
    stepped_back: Vec<SteppedBack>,
    forecast: Option<Forecast>,
    #[serde(skip)]
    folder: String,
    #[serde(skip)]
    intents: usize,
    #[serde(skip)]
    texts: usize,
}

#[derive(Serialize)]
struct Joined {
    topic: String,
    intent: String,
    small_talk: bool,
}

#[derive(Serialize)]
struct SteppedBack {
    text: String,
    intent: String,
}

impl Check {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<()> {
        let pack = self.sources.pack()?;
        let mut checked = Checked {
            findings: check(&pack),
            joined: Vec::new(),
            stepped_back: Vec::new(),
            forecast: None,
            folder: pack.folder.display().to_string(),
            intents: pack.intents.len(),
            texts: pack.examples().count(),
        };
        if !self.quick && !pack.intents.is_empty() {
            checked.look_closer(&pack, &mut self.sources.vectors()?)?;
        }
        if checked.count(Severity::Error) == 0
            && let Err(error) = build::appearance(&pack)
        {
            let line = pack.settings.page.logo.as_ref().map_or(1, |logo| logo.line);
            let (severity, file) = (Severity::Error, "pack.yaml".into());
            checked.findings.push(Finding { severity, file, line, message: format!("{error:#}") });
        }
        let errors = checked.count(Severity::Error);
        output::result(&checked, global.json)?;
        if errors > 0 {
            bail!("{} has {}; nothing is built from it", pack.folder.display(), counted(errors, "error"));
        }
        Ok(())
    }
}

impl Checked {
    /// Compares meanings, and asks the pack its own utterances.
    fn look_closer(&mut self, pack: &Pack, vectors: &mut Vectors) -> anyhow::Result<()> {
        let encoded = build::encoded(pack, vectors)?;
        let examples = vectors.of("examples", &pack.examples().map(|example| example.text).collect::<Vec<_>>())?;
        self.findings.extend(similar(pack, &examples));
        if let Some(lessons) = Corpus::new(pack).lessons(&encoded, |_| false) {
            for notice in lessons.notices {
                match notice {
                    Notice::Joined { topic, intent, small_talk } => {
                        self.joined.push(Joined { topic: topic.to_owned(), intent: intent.to_owned(), small_talk });
                    }
                    Notice::SteppedBack { text, intent } => {
                        self.stepped_back.push(SteppedBack { text: text.to_owned(), intent: intent.to_owned() });
                    }
                }
            }
        }
        let step = Step::start("Knowledge", "asking the pack its own utterances");
        match held_out(pack, &encoded) {
            Ok(asked) => {
                self.forecast = Some(asked.forecast(pack));
                step.done("asked the pack its own utterances, each without having learned it");
            }
            // Without a forecast the errors that were found matter more.
            Err(_) if self.count(Severity::Error) > 0 => {}
            Err(error) => {
                let message = format!("there is no forecast: {error}");
                self.findings.push(Finding { severity: Severity::Warning, file: "pack.yaml".into(), line: 1, message });
            }
        }
        Ok(())
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{}", build::located(self.folder.as_ref(), finding))?;
        }
        let mut taught: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for joined in &self.joined {
            taught.entry(&joined.intent).or_default().push(&joined.topic);
        }
        if !taught.is_empty() {
            writeln!(f, "Built-in wordings that mean the same as an intent of the pack, and teach it:")?;
            for (intent, topics) in taught {
                writeln!(f, "  {intent}: {}", topics.join(", "))?;
            }
        }
        for small_talk in self.joined.iter().filter(|joined| joined.small_talk) {
            writeln!(
                f,
                "The built-in answer to {} steps back for the pack's {}.",
                small_talk.topic, small_talk.intent
            )?;
        }
        if !self.stepped_back.is_empty() {
            writeln!(f, "Built-in background that steps back, because it says the same as an utterance of the pack:")?;
            for SteppedBack { text, intent } in &self.stepped_back {
                writeln!(f, "  \"{text}\" for {intent}")?;
            }
        }
        if let Some(forecast) = &self.forecast {
            writeln!(f, "{}", Told(forecast))?;
        }
        write!(
            f,
            "{}: {}, {}, {}, {}",
            self.folder,
            counted(self.intents, "intent"),
            counted(self.texts, "text"),
            counted(self.count(Severity::Error), "error"),
            counted(self.count(Severity::Warning), "warning")
        )
    }
}

/// A forecast for people.
struct Told<'f>(&'f Forecast);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Forecast { utterances, right, wrong, offered, intents } = self.0;
        let percent = |part: usize| (part * 100 + utterances / 2) / (*utterances).max(1);
        write!(
            f,
            "At least about {} % right: of {}, each asked of a bot that has not learned it, {right} are answered rightly, {wrong} \
             wrongly, and {offered} find their intent among the suggestions. People's own questions usually do much \
             better, as the utterances of an intent are written to differ.",
            percent(*right),
            counted(*utterances, "utterance"),
        )?;
        let mut weakest: Vec<_> = intents.iter().filter(|intent| intent.right < intent.utterances).collect();
        weakest.sort_by_key(|intent| intent.right * 1000 / intent.utterances.max(1));
        if !weakest.is_empty() {
            let weakest = weakest.iter().take(WEAKEST);
            let named: Vec<String> =
                weakest.map(|intent| format!("{} ({} of {})", intent.id, intent.right, intent.utterances)).collect();
            write!(f, " Add utterances to these first: {}.", named.join(", "))?;
        }
        Ok(())
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
