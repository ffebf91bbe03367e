//! What `hoopoe knowledge eval` prints.

use std::collections::BTreeMap;
use std::fmt;

use hoopoe_knowledge::evaluate::{Figures, Mistake, Report};
use hoopoe_message::Language;
use serde::Serialize;

/// A report with the shares that follow from its counts.
#[derive(Debug, Serialize)]
pub(super) struct Evaluation {
    overall: Shares,
    languages: BTreeMap<Language, Shares>,
    left_out: usize,
    mistakes: Vec<Mistake>,
}

/// Counts, and shares from 0 to 1.
#[derive(Debug, Serialize)]
struct Shares {
    #[serde(flatten)]
    figures: Figures,
    accuracy: f64,
    coverage: f64,
    precision: f64,
    suggestion_hit_rate: f64,
    false_answer_rate: f64,
}

impl Evaluation {
    pub(super) fn new(report: Report) -> Self {
        let languages = report.languages.into_iter().map(|(language, figures)| (language, Shares::from(figures)));
        Self {
            overall: report.overall.into(),
            languages: languages.collect(),
            left_out: report.left_out,
            mistakes: report.mistakes,
        }
    }
}

/// Reports of packs of few utterances, by how many.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Trials(BTreeMap<usize, Vec<Shares>>);

impl Trials {
    pub(super) fn add(&mut self, utterances: usize, report: Report) {
        self.0.entry(utterances).or_default().push(report.overall.into());
    }
}

impl fmt::Display for Trials {
    /// The means over the seeds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "utterances  seeds   right  right of answered  suggested of rest  answered out of scope  offered")?;
        for (utterances, trials) in &self.0 {
            let mean = |share: fn(&Shares) -> f64| {
                let sum: f64 = trials.iter().map(share).sum();
                #[expect(clippy::cast_precision_loss, reason = "there are a few seeds")]
                let count = trials.len() as f64;
                sum / count * 100.0
            };
            write!(
                f,
                "\n{utterances:>10}  {:>5}  {:>4.1} %  {:>15.1} %  {:>15.1} %  {:>19.1} %  {:>5.1} %",
                trials.len(),
                mean(|shares| shares.accuracy),
                mean(|shares| shares.precision),
                mean(|shares| shares.suggestion_hit_rate),
                mean(|shares| shares.false_answer_rate),
                mean(|shares| shares.figures.false_suggestions as f64 / (shares.figures.out_of_scope.max(1)) as f64),
            )?;
        }
        Ok(())
    }
}

impl From<Figures> for Shares {
    fn from(figures: Figures) -> Self {
        Self {
            accuracy: figures.accuracy(),
            coverage: figures.coverage(),
            precision: figures.precision(),
            suggestion_hit_rate: figures.suggestion_hit_rate(),
            false_answer_rate: figures.false_answer_rate(),
            figures,
        }
    }
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.mistakes.is_empty() {
            writeln!(f, "Not answered as test.yaml says, by line:")?;
        }
        for mistake in &self.mistakes {
            let expected = mistake.expected.as_deref().unwrap_or("(out of scope)");
            let Mistake { line, text, answered, suggested, .. } = mistake;
            let got = match (answered, mistake.probability) {
                (Some(intent), Some(probability)) => format!("{intent} at {:.0} %", probability * 100.0),
                _ if suggested.is_empty() => "the fallback".to_owned(),
                _ => format!("suggestions {}", suggested.join(", ")),
            };
            writeln!(f, "{line:>5}  {text}\n       {expected} -> {got}")?;
        }
        writeln!(
            f,
            "\n          in scope   right  answered  right of answered  suggested of rest  out of scope  answered"
        )?;
        for (language, shares) in &self.languages {
            row(f, language.as_str(), shares)?;
        }
        row(f, "all", &self.overall)?;
        if self.left_out > 0 {
            writeln!(f, "\n{} questions stand in the pack word for word and were left out.", self.left_out)?;
        }
        Ok(())
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, shares: &Shares) -> fmt::Result {
    writeln!(
        f,
        "{name:>8}  {:>8}  {:>5.1} %  {:>6.1} %  {:>15.1} %  {:>15.1} %  {:>12}  {:>6.1} %",
        shares.figures.in_scope,
        shares.accuracy * 100.0,
        shares.coverage * 100.0,
        shares.precision * 100.0,
        shares.suggestion_hit_rate * 100.0,
        shares.figures.out_of_scope,
        shares.false_answer_rate * 100.0
    )
}
