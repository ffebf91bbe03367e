//! Compares the INT8 model with its FP32 form: both encode the project's own labelled questions.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use anyhow::{Context, ensure};
use hoopoe_encoder::{Embeddings, Encoder};
use serde::{Deserialize, Serialize};

/// The mean cosine of the two vectors of a text, at least.
const MEAN_COSINE: f64 = 0.98;
/// The cosine of the worst text, at least.
const MIN_COSINE: f64 = 0.95;
/// How much of the task's accuracy may be lost: 3 of the 300 questions.
const ACCURACY_LOSS: f64 = 0.01;

/// A labelled text of `infra/model/check/questions.tsv`.
#[derive(Debug)]
pub(super) struct Question {
    topic: String,
    text: String,
}

/// How close INT8 is to FP32.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Figures {
    texts: usize,
    mean_cosine: f64,
    min_cosine: f64,
    /// The share of texts nearest to their own topic, found by the other texts of each topic.
    accuracy_fp32: f64,
    accuracy_int8: f64,
}

impl Figures {
    /// Fails with the figures that a limit forbids.
    pub(super) fn accept(&self) -> anyhow::Result<()> {
        ensure!(
            self.mean_cosine >= MEAN_COSINE
                && self.min_cosine >= MIN_COSINE
                && self.accuracy_fp32 - self.accuracy_int8 <= ACCURACY_LOSS,
            "the INT8 model is too far from FP32, so it is not accepted: {self}; \
             allowed are a mean cosine of {MEAN_COSINE}, a lowest of {MIN_COSINE} and an accuracy lower by {ACCURACY_LOSS}"
        );
        Ok(())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cosine to FP32 {:.4} (lowest {:.4}), accuracy {:.3} (FP32 {:.3}) on {} texts",
            self.mean_cosine, self.min_cosine, self.accuracy_int8, self.accuracy_fp32, self.texts
        )
    }
}

/// The questions in `languages`; all of them when the list has none of theirs.
pub(super) fn read(path: &Path, languages: &str) -> anyhow::Result<Vec<Question>> {
    let text = fs::read_to_string(path).with_context(|| format!("{} could not be read", path.display()))?;
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [topic, language, text] = fields[..] else {
            anyhow::bail!("{}:{}: expected topic, language and text, separated by tabs", path.display(), index + 1);
        };
        rows.push((language, Question { topic: topic.to_owned(), text: text.to_owned() }));
    }
    let spoken = |language: &str| languages.split(',').any(|one| one.trim() == language);
    let some = rows.iter().any(|(language, _)| spoken(language));
    Ok(rows.into_iter().filter(|(language, _)| !some || spoken(language)).map(|(_, question)| question).collect())
}

/// The questions' vectors.
pub(super) fn measure(encoder: &mut Encoder, questions: &[Question]) -> anyhow::Result<Embeddings> {
    let texts: Vec<&str> = questions.iter().map(|question| question.text.as_str()).collect();
    Ok(encoder.encode(&texts)?)
}

pub(super) fn compare(questions: &[Question], fp32: &Embeddings, int8: &Embeddings) -> Figures {
    let cosines: Vec<f64> = fp32.rows().zip(int8.rows()).map(|(a, b)| dot(a, b)).collect();
    Figures {
        texts: questions.len(),
        mean_cosine: cosines.iter().sum::<f64>() / cosines.len() as f64,
        min_cosine: cosines.iter().copied().fold(1.0, f64::min),
        accuracy_fp32: accuracy(questions, fp32),
        accuracy_int8: accuracy(questions, int8),
    }
}

/// The share of texts that are nearest to the mean of their own topic, each taken out of its topic's mean.
fn accuracy(questions: &[Question], vectors: &Embeddings) -> f64 {
    let mut sums: BTreeMap<&str, Vec<f32>> = BTreeMap::new();
    for (question, vector) in questions.iter().zip(vectors.rows()) {
        let sum = sums.entry(&question.topic).or_insert_with(|| vec![0.0; vector.len()]);
        sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
    }
    let right = questions.iter().zip(vectors.rows()).filter(|(question, vector)| {
        let score = |(topic, sum): (&&str, &Vec<f32>)| {
            let own = **topic == question.topic;
            let mean: Vec<f32> =
                sum.iter().zip(*vector).map(|(sum, value)| if own { sum - value } else { *sum }).collect();
            (dot(&mean, vector) / dot(&mean, &mean).sqrt(), own)
        };
        sums.iter().map(score).max_by(|a, b| a.0.total_cmp(&b.0)).is_some_and(|(_, own)| own)
    });
    right.count() as f64 / questions.len() as f64
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(mean_cosine: f64, min_cosine: f64, accuracy_int8: f64) -> Figures {
        Figures { texts: 300, mean_cosine, min_cosine, accuracy_fp32: 0.9, accuracy_int8 }
    }

    #[test]
    fn a_model_far_from_its_source_is_not_accepted() {
        assert!(figures(0.995, 0.98, 0.895).accept().is_ok());
        assert!(figures(0.97, 0.98, 0.9).accept().is_err());
        assert!(figures(0.995, 0.9, 0.9).accept().is_err());
        let said = figures(0.995, 0.98, 0.8).accept().expect_err("a tenth of the accuracy is lost").to_string();
        assert!(said.contains("accuracy 0.800 (FP32 0.900)"), "{said}");
    }
}
