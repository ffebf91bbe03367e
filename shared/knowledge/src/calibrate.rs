//! Finding a pack's [`Thresholds`] by cross-validation on its own examples; its test questions play no part.
//!
//! The examples are divided into folds. Each fold is judged by a classifier that has not seen it. The background is
//! divided by topic (its file is written topic after topic), because what people ask out of scope is mostly of a topic
//! that nobody thought of.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use ndarray::Axis;

use crate::Thresholds;
use crate::evaluate::share;
use crate::neighbours::{self, Neighbours};
use crate::pack::{Pack, SETTINGS};
use crate::ranking::{Outcome, Ranking};
use crate::train::train;
use crate::vectors::matrix;

const FOLDS: usize = 5;

/// What may be suggested to of the held-out background: a suggestion too many costs a glance.
const MAX_FALSE_SUGGESTIONS: f64 = 0.25;

/// Finds the thresholds for a pack whose examples have these vectors, one after the other.
///
/// `None` where the vectors do not fit the examples, or there are too few examples to hold some out.
#[must_use]
pub fn calibrate(pack: &Pack, vectors: &[f32]) -> Option<Thresholds> {
    let background = pack.intents.len();
    let labels: Vec<usize> = pack.examples().map(|example| example.intent.unwrap_or(background)).collect();
    let folds = folds(pack);
    let vectors = matrix(vectors, labels.len())?;

    let mut judged: Vec<(usize, Vec<f32>)> = Vec::with_capacity(labels.len());
    for fold in 0..FOLDS {
        let (held_out, seen): (Vec<usize>, Vec<usize>) = (0..labels.len()).partition(|&nth| folds[nth] == fold);
        let seen_labels: Vec<usize> = seen.iter().map(|&nth| labels[nth]).collect();
        let seen = vectors.select(Axis(0), &seen);
        let seen = seen.as_slice().expect("a selection is contiguous");
        let classifier = train(seen, &seen_labels, background + 1)?;
        let examples = Neighbours::new(seen, &seen_labels, background + 1)?;
        judged.extend(held_out.into_iter().map(|nth| {
            let vector = vectors.row(nth);
            let vector = vector.as_slice().expect("the rows of a slice are contiguous");
            let scores = classifier.scores(vector).zip(examples.nearest(vector));
            (labels[nth], scores.map(|(score, nearest)| score + neighbours::WEIGHT * nearest).collect())
        }));
    }

    let temperature = round(temperature(&judged));
    let rankings: Vec<(Option<usize>, Ranking)> = judged
        .iter()
        .map(|(label, scores)| {
            let ranking = Ranking::of(scores.iter().map(|score| score / temperature), |_| true);
            (Some(*label).filter(|&label| label != background), ranking)
        })
        .collect();
    Some(search(&rankings, temperature))
}

/// The fold of each example: an intent's utterances in turn, the background of a language in blocks.
fn folds(pack: &Pack) -> Vec<usize> {
    let mut sizes = BTreeMap::new();
    for example in pack.examples() {
        *sizes.entry((example.intent, example.language)).or_insert(0) += 1;
    }
    let mut seen = BTreeMap::new();
    let fold = |example: crate::pack::Example<'_>| {
        let group = (example.intent, example.language);
        let nth = seen.entry(group).or_insert(0);
        let fold = if example.intent.is_some() { *nth % FOLDS } else { *nth * FOLDS / sizes[&group] };
        *nth += 1;
        fold
    };
    pack.examples().map(fold).collect()
}

/// The temperature at which the right classes are most probable, by golden-section search over its logarithm.
fn temperature(judged: &[(usize, Vec<f32>)]) -> f32 {
    let loss = |logarithm: f64| -> f64 {
        let temperature = logarithm.exp();
        judged
            .iter()
            .map(|(label, scores)| {
                let score = |class: usize| f64::from(scores[class]) / temperature;
                let greatest =
                    scores.iter().fold(f64::NEG_INFINITY, |most, &score| most.max(f64::from(score) / temperature));
                let sum: f64 = (0..scores.len()).map(|class| (score(class) - greatest).exp()).sum();
                greatest + sum.ln() - score(*label)
            })
            .sum()
    };
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let (mut low, mut high) = (0.05_f64.ln(), 5.0_f64.ln());
    while high - low > 1e-3 {
        let (left, right) = (high - GOLDEN * (high - low), low + GOLDEN * (high - low));
        if loss(left) < loss(right) { high = right } else { low = left }
    }
    #[expect(clippy::cast_possible_truncation, reason = "three digits are kept of it")]
    let temperature = f64::midpoint(low, high).exp() as f32;
    temperature
}

/// The thresholds whose answers are worth most, and suggestions as often as the background bears it. Of several that
/// are worth the same, the ones that answer least of the background are taken.
fn search(rankings: &[(Option<usize>, Ranking)], temperature: f32) -> Thresholds {
    let strict = Thresholds { temperature, answer: 1.0, margin: 0.0, suggest: 1.0 };
    let candidates = hundredths(5..=95)
        .flat_map(|answer| hundredths(0..=30).map(move |margin| Thresholds { answer, margin, ..strict }));
    let best = candidates
        .map(|thresholds| (thresholds, Tally::of(rankings, &thresholds)))
        .min_by_key(|(_, tally)| (-tally.worth(), tally.false_answers));
    let mut thresholds = best.expect("there are thresholds to try").0;

    let background = rankings.iter().filter(|(label, _)| label.is_none());
    let suggest = hundredths(0..=100).find(|&suggest| {
        let thresholds = Thresholds { suggest, ..thresholds };
        let spoken_to = background.clone().filter(|(_, ranking)| thresholds.outcome(ranking) > Outcome::Fallback);
        share(spoken_to.count(), background.clone().count()) <= MAX_FALSE_SUGGESTIONS
    });
    thresholds.suggest = suggest.unwrap_or(1.0);
    thresholds
}

/// What thresholds make of held-out examples.
#[derive(Clone, Copy)]
struct Tally {
    right: i64,
    wrong: i64,
    false_answers: i64,
}

impl Tally {
    fn of(rankings: &[(Option<usize>, Ranking)], thresholds: &Thresholds) -> Self {
        let mut tally = Self { right: 0, wrong: 0, false_answers: 0 };
        for (label, ranking) in rankings {
            if thresholds.outcome(ranking) == Outcome::Answer {
                match label {
                    Some(intent) if *intent == ranking.nearest()[0].intent => tally.right += 1,
                    Some(_) => tally.wrong += 1,
                    None => tally.false_answers += 1,
                }
            }
        }
        tally
    }

    /// A wrong answer, whether to a question of another intent or to one out of scope, is as bad as a right one is good: in
    /// its place would have stood the suggestions or the fallback.
    fn worth(&self) -> i64 {
        self.right - self.wrong - self.false_answers
    }
}

fn hundredths(range: std::ops::RangeInclusive<u8>) -> impl Iterator<Item = f32> {
    range.map(|hundredth| f32::from(hundredth) / 100.0)
}

fn round(number: f32) -> f32 {
    (number * 1000.0).round() / 1000.0
}

/// Writes thresholds to `pack.yaml`, leaving every other line, the comments included, as it is.
///
/// # Errors
/// When the file cannot be read or written.
pub fn store(pack: &Path, thresholds: &Thresholds) -> io::Result<()> {
    let file = pack.join(SETTINGS);
    let text = replaced(&std::fs::read_to_string(&file)?, thresholds);
    let scratch = file.with_extension("yaml.new");
    std::fs::write(&scratch, text)?;
    std::fs::rename(&scratch, &file)
}

/// The text with its `thresholds`, on one line or several, replaced; at its end where it has none.
fn replaced(text: &str, thresholds: &Thresholds) -> String {
    let Thresholds { temperature, answer, margin, suggest } = thresholds;
    let line =
        format!("thresholds: {{temperature: {temperature}, answer: {answer}, margin: {margin}, suggest: {suggest}}}\n");
    let mut lines = text.split_inclusive('\n').peekable();
    let mut new = String::with_capacity(text.len() + line.len());
    let mut written = false;
    while let Some(old) = lines.next() {
        if !written && old.starts_with("thresholds:") {
            new.push_str(&line);
            written = true;
            while lines.next_if(|next| next.starts_with([' ', '}'])).is_some() {}
        } else {
            new.push_str(old);
        }
    }
    if !written {
        if !new.is_empty() && !new.ends_with('\n') {
            new.push('\n');
        }
        new.push_str(&line);
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUND: Thresholds = Thresholds { temperature: 0.5, answer: 0.25, margin: 0.0, suggest: 0.75 };
    const LINE: &str = "thresholds: {temperature: 0.5, answer: 0.25, margin: 0, suggest: 0.75}\n";

    #[test]
    fn only_the_thresholds_of_a_file_are_rewritten() {
        let old = "name: shop # ours\n# why\nthresholds: {answer: 1}\n# after\ntexts: {}\n";
        assert_eq!(replaced(old, &FOUND), format!("name: shop # ours\n# why\n{LINE}# after\ntexts: {{}}\n"));
        let block = "thresholds:\n  answer: 1\n  suggest: 2\ntexts: {}\n";
        assert_eq!(replaced(block, &FOUND), format!("{LINE}texts: {{}}\n"));
        assert_eq!(replaced("name: shop", &FOUND), format!("name: shop\n{LINE}"));
    }

    #[test]
    fn the_temperature_makes_confidence_match_success() {
        // Sure of itself by e^4 to 1, right three times in four, which is e^1.1 to 1.
        let judged: Vec<_> = (0..400).map(|nth| (usize::from(nth % 4 == 0), vec![4.0, 0.0])).collect();
        assert!((temperature(&judged) - 4.0 / 3.0_f32.ln()).abs() < 0.02);
    }
}
