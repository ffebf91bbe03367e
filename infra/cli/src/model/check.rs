//! Compares the INT8 model with its FP32 form: both encode the project's own labelled questions.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::Path,
};

use anyhow::{Context, ensure};
use hoopoe_encoder::{Embeddings, Encoder};
use serde::{Deserialize, Serialize};

/// The mean cosine of the two vectors of a text, at least.
const MEAN_COSINE: f64 = 0.98;
/// The cosine of the worst text, at least.
const MIN_COSINE: f64 = 0.95;
/// How much of the task's accuracy may be lost: 3 of the 150 questions of a language, and what a division loses.
const ACCURACY_LOSS: f64 = 0.02 + 1e-9;

/// A language in which even FP32 finds fewer topics than this is not one of the model's, and says nothing about INT8.
const UNDERSTOOD: f64 = 0.5;

/// A labelled text of `infra/model/check/questions.tsv`.
#[derive(Debug)]
pub(super) struct Question {
    topic: String,
    language: String,
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
             allowed are a mean cosine of {MEAN_COSINE}, a lowest of {MIN_COSINE} and an accuracy lower by {ACCURACY_LOSS:.2}"
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
        rows.push(Question { topic: topic.to_owned(), language: language.to_owned(), text: text.to_owned() });
    }
    let kept = |question: &Question| languages.split(',').any(|one| one.trim() == question.language);
    if rows.iter().any(kept) {
        rows.retain(kept);
    }
    Ok(rows)
}

/// The questions' vectors.
pub(super) fn measure(encoder: &mut Encoder, questions: &[Question]) -> anyhow::Result<Embeddings> {
    let texts: Vec<&str> = questions.iter().map(|question| question.text.as_str()).collect();
    Ok(encoder.encode(&texts)?)
}

/// INT8 against FP32, in the languages that the model understands; in all of them when it understands none.
pub(super) fn compare(questions: &[Question], fp32: &Embeddings, int8: &Embeddings) -> Figures {
    let rows: Vec<Row<'_>> = questions
        .iter()
        .zip(fp32.rows().zip(int8.rows()))
        .map(|(question, (fp32, int8))| Row { question, fp32, int8 })
        .collect();
    let languages: BTreeSet<&str> = questions.iter().map(|question| question.language.as_str()).collect();
    let in_language = |language: &str| -> Vec<Row<'_>> {
        rows.iter().copied().filter(|row| row.question.language == language).collect()
    };
    let understood: Vec<Row<'_>> = languages
        .into_iter()
        .map(in_language)
        .filter(|rows| accuracy(rows, |row| row.fp32) >= UNDERSTOOD)
        .flatten()
        .collect();
    let rows = if understood.is_empty() { rows } else { understood };
    let cosines: Vec<f64> = rows.iter().map(|row| dot(row.fp32, row.int8)).collect();
    Figures {
        texts: rows.len(),
        mean_cosine: cosines.iter().sum::<f64>() / cosines.len() as f64,
        min_cosine: cosines.iter().copied().fold(1.0, f64::min),
        accuracy_fp32: accuracy(&rows, |row| row.fp32),
        accuracy_int8: accuracy(&rows, |row| row.int8),
    }
}

#[derive(Clone, Copy)]
struct Row<'a> {
    question: &'a Question,
    fp32: &'a [f32],
    int8: &'a [f32],
}

/// The share of texts that are nearest to the mean of their own topic, each taken out of its topic's mean.
fn accuracy<'a>(rows: &[Row<'a>], vector: impl Fn(&Row<'a>) -> &'a [f32]) -> f64 {
    let mut sums: BTreeMap<&str, Vec<f32>> = BTreeMap::new();
    for row in rows {
        let sum = sums.entry(&row.question.topic).or_insert_with(|| vec![0.0; vector(row).len()]);
        sum.iter_mut().zip(vector(row)).for_each(|(sum, value)| *sum += value);
    }
    let right = rows.iter().filter(|row| {
        let vector = vector(row);
        let score = |(topic, sum): (&&str, &Vec<f32>)| {
            let own = **topic == row.question.topic;
            let mean: Vec<f32> =
                sum.iter().zip(vector).map(|(sum, value)| if own { sum - value } else { *sum }).collect();
            (dot(&mean, vector) / dot(&mean, &mean).sqrt(), own)
        };
        sums.iter().map(score).max_by(|a, b| a.0.total_cmp(&b.0)).is_some_and(|(_, own)| own)
    });
    right.count() as f64 / rows.len() as f64
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
    fn a_text_is_nearest_to_the_rest_of_its_topic() {
        let question = |topic: &str| Question { topic: topic.into(), language: "en".into(), text: String::new() };
        let questions = ["a", "a", "b", "b", "b"].map(question);
        let vectors = [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9], [1.0, 0.1]];
        let rows: Vec<Row<'_>> =
            questions.iter().zip(&vectors).map(|(question, v)| Row { question, fp32: v, int8: v }).collect();
        // The last b lies among the a.
        assert!((accuracy(&rows, |row| row.fp32) - 0.8).abs() < 1e-12);
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
