//! Accuracy on labelled files, each a JSON list of rows; the shape of the rows says what is measured.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use anyhow::{Context, ensure};
use hoopoe_encoder::{Embeddings, Encoder};
use serde::{Deserialize, Serialize};

use super::check::dot;

/// Texts of a label that serve as its examples; the rest are asked.
const EXAMPLES: usize = 10;

#[derive(Deserialize)]
#[serde(untagged)]
enum Rows {
    Labelled(Vec<(String, String)>),
    Pairs(Vec<(String, String, f64)>),
}

/// What was measured on a file.
#[derive(Debug, Serialize)]
pub(super) struct Score {
    file: String,
    measure: &'static str,
    score: f64,
    texts: usize,
    tokens_per_text: f64,
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, measure, score, texts, tokens_per_text } = self;
        write!(f, "{file}: {measure} {score:.4} ({texts} texts of {tokens_per_text:.1} tokens)")
    }
}

pub(super) fn run(encoder: &mut Encoder, path: &Path) -> anyhow::Result<Score> {
    let data = fs::read(path).with_context(|| format!("{} could not be read", path.display()))?;
    let rows: Rows = serde_json::from_slice(&data)
        .with_context(|| format!("{}: rows must be [text, label] or [text, text, number]", path.display()))?;
    let texts: Vec<&str> = match &rows {
        Rows::Labelled(rows) => rows.iter().map(|(text, _)| text.as_str()).collect(),
        Rows::Pairs(rows) => rows.iter().flat_map(|(a, b, _)| [a.as_str(), b]).collect(),
    };
    ensure!(!texts.is_empty(), "{}: there are no rows", path.display());
    let tokens: usize = texts.iter().map(|text| encoder.tokenizer().encode(text, 128).len()).sum();
    let vectors = encoder.encode(&texts)?;
    let (measure, score) = match &rows {
        Rows::Labelled(rows) => {
            let labels: Vec<&str> = rows.iter().map(|(_, label)| label.as_str()).collect();
            ("accuracy by the nearest of 10-shot means", nearest_mean(&labels, &vectors))
        }
        Rows::Pairs(rows) => {
            let found: Vec<f64> =
                (0..rows.len()).map(|row| dot(vectors.row(row * 2), vectors.row(row * 2 + 1))).collect();
            let wanted: Vec<f64> = rows.iter().map(|row| row.2).collect();
            if wanted.iter().all(|&value| value == 0.0 || value == 1.0) {
                ("area under the ROC curve", area(&found, &wanted))
            } else {
                ("Spearman's rank correlation", correlation(&ranks(&found), &ranks(&wanted)))
            }
        }
    };
    let count = texts.len();
    let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(Score { file, measure, score, texts: count, tokens_per_text: tokens as f64 / count as f64 })
}

fn nearest_mean(labels: &[&str], vectors: &Embeddings) -> f64 {
    let mut examples: BTreeMap<&str, (usize, Vec<f32>)> = BTreeMap::new();
    let mut asked = Vec::new();
    for (label, vector) in labels.iter().zip(vectors.rows()) {
        let (count, sum) = examples.entry(label).or_insert_with(|| (0, vec![0.0; vector.len()]));
        if *count < EXAMPLES {
            *count += 1;
            sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
        } else {
            asked.push((*label, vector));
        }
    }
    let means: Vec<(&str, &[f32], f64)> =
        examples.iter().map(|(label, (_, sum))| (*label, sum.as_slice(), dot(sum, sum).sqrt())).collect();
    let right = asked.iter().filter(|(label, vector)| {
        let nearest = means.iter().max_by(|a, b| (dot(a.1, vector) / a.2).total_cmp(&(dot(b.1, vector) / b.2)));
        nearest.is_some_and(|(found, _, _)| found == label)
    });
    right.count() as f64 / asked.len() as f64
}

/// The chance that a pair marked 1 scores higher than one marked 0.
fn area(found: &[f64], wanted: &[f64]) -> f64 {
    let ones = wanted.iter().sum::<f64>();
    let zeros = wanted.len() as f64 - ones;
    let of_ones: f64 = ranks(found).iter().zip(wanted).map(|(rank, mark)| rank * mark).sum();
    (of_ones - ones * (ones + 1.0) / 2.0) / (ones * zeros)
}

/// Ranks from 1; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let equal = order[start..].iter().take_while(|&&index| values[index] == values[order[start]]).count();
        let rank = (2 * start + equal + 1) as f64 / 2.0;
        order[start..start + equal].iter().for_each(|&index| ranks[index] = rank);
        start += equal;
    }
    ranks
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let sum = |x: &[f64], mean_x: f64, y: &[f64], mean_y: f64| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - mean_x) * (y - mean_y)).sum()
    };
    sum(a, mean_a, b, mean_b) / (sum(a, mean_a, a, mean_a) * sum(b, mean_b, b, mean_b)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_a_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
    }

    #[test]
    fn area_is_the_share_of_pairs_in_order() {
        let area = area(&[0.9, 0.8, 0.3, 0.1], &[1.0, 0.0, 1.0, 0.0]);
        assert!((area - 0.75).abs() < 1e-12);
    }

    #[test]
    fn correlation_of_the_same_order_is_one() {
        let (a, b) = (ranks(&[1.0, 5.0, 2.0]), ranks(&[10.0, 99.0, 11.0]));
        assert!((correlation(&a, &b) - 1.0).abs() < 1e-12);
    }
}
