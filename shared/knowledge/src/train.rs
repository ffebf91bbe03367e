//! Teaching a [`Classifier`]: multinomial logistic regression with an L2 penalty.
//!
//! The loss is convex, so where the descent starts does not matter and the same examples give the same classifier.

use ndarray::{Array1, Array2, ArrayView1, ArrayViewMut1, Axis};

use crate::Classifier;
use crate::vectors::matrix;

/// The weight of the penalty against the sum of the losses, where the examples of an intent together weigh 1. The table
/// of what was tried is in the crate's documentation.
const PENALTY: f32 = 1.0 / 300.0;

/// The descent ends when no part of the gradient is steeper, or after so many steps: nine times as many answer the same
/// questions, to a few in a thousand.
const FLAT: f32 = 1e-5;
const MAX_STEPS: usize = 100;

/// Learns to tell `classes` classes apart from labelled vectors, one after the other in `vectors`. The loss of each
/// counts by its weight.
///
/// `None` without an example, without a class, or where the lengths do not fit together.
#[must_use]
pub(crate) fn train(vectors: &[f32], labels: &[usize], weights: &[f32], classes: usize) -> Option<Classifier> {
    let mut x = matrix(vectors, labels.len())?.to_owned();
    let total: f32 = weights.iter().sum();
    if labels.iter().any(|&label| label >= classes) || weights.len() != labels.len() || total <= 0.0 {
        return None;
    }
    // Sentence vectors point nearly the same way: without their common part the descent is well conditioned.
    let mean = x.mean_axis(Axis(0))?;
    x -= &mean;
    let spread = (x.iter().map(|number| number * number).sum::<f32>() / count(labels.len())).sqrt().max(f32::EPSILON);
    x /= spread;

    let shares: Vec<f32> = weights.iter().map(|weight| weight / total).collect();
    let (mut slopes, mut biases) = descend(&x, labels, &shares, PENALTY / total, classes);
    // The same function of the vectors as they were.
    slopes /= spread;
    biases -= &slopes.dot(&mean);
    Classifier::new(x.ncols(), slopes.into_iter().collect(), biases.to_vec())
}

/// Nesterov's accelerated gradient descent, restarted where its momentum overshoots.
fn descend(
    x: &Array2<f32>,
    labels: &[usize],
    shares: &[f32],
    penalty: f32,
    classes: usize,
) -> (Array2<f32>, Array1<f32>) {
    // No gradient changes faster than half the greatest variance of what it belongs to, which is 1 for the biases. The
    // two have steps of their own: the data is centred, so neither bends the other's slope.
    let step = 1.0 / (0.5 * greatest_variance(x, shares) + penalty);
    let bias_step = 2.0;

    let mut weights = Array2::<f32>::zeros((classes, x.ncols()));
    let mut biases = Array1::<f32>::zeros(classes);
    let (mut ahead, mut ahead_biases) = (weights.clone(), biases.clone());
    let mut pace = 1.0_f32;
    for _ in 0..MAX_STEPS {
        let mut errors = x.dot(&ahead.t()) + &ahead_biases;
        for ((mut row, &label), &share) in errors.rows_mut().into_iter().zip(labels).zip(shares) {
            softmax(&mut row);
            row[label] -= 1.0;
            row *= share;
        }
        let mut slope = errors.t().dot(x);
        slope.scaled_add(penalty, &ahead);
        let bias_slope = errors.sum_axis(Axis(0));
        let steepest = slope.iter().chain(&bias_slope).fold(0.0_f32, |most, part| most.max(part.abs()));

        let next = &ahead - &(&slope * step);
        let next_biases = &ahead_biases - &(&bias_slope * bias_step);
        let moved = &next - &weights;
        let moved_biases = &next_biases - &biases;
        let uphill = (&slope * &moved).sum() + (&bias_slope * &moved_biases).sum() > 0.0;
        (weights, biases) = (next, next_biases);
        if steepest < FLAT {
            break;
        }
        let next_pace = if uphill { 1.0 } else { f32::midpoint(1.0, (1.0 + 4.0 * pace * pace).sqrt()) };
        let momentum = if uphill { 0.0 } else { (pace - 1.0) / next_pace };
        ahead = &weights + &(moved * momentum);
        ahead_biases = &biases + &(moved_biases * momentum);
        pace = next_pace;
    }
    (weights, biases)
}

/// The greatest eigenvalue of the covariance, by power iteration, and a little more.
fn greatest_variance(x: &Array2<f32>, shares: &[f32]) -> f32 {
    let shares = ArrayView1::from(shares);
    let mut direction = Array1::from_elem(x.ncols(), 1.0_f32);
    let mut variance = 0.0;
    for _ in 0..30 {
        let length = direction.dot(&direction).sqrt().max(f32::EPSILON);
        direction /= length;
        direction = x.t().dot(&(x.dot(&direction) * shares));
        variance = direction.dot(&direction).sqrt();
    }
    variance * 1.1
}

fn softmax(scores: &mut ArrayViewMut1<'_, f32>) {
    let greatest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.mapv_inplace(|score| (score - greatest).exp());
    *scores /= scores.sum();
}

#[expect(clippy::cast_precision_loss, reason = "a pack has fewer examples than f32 counts exactly")]
fn count(examples: usize) -> f32 {
    examples as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three clusters in four dimensions, all far from the origin as sentence vectors are.
    fn clusters() -> (Vec<f32>, Vec<usize>) {
        let labels: Vec<usize> = (0..30).map(|nth| nth % 3).collect();
        let vectors = labels.iter().enumerate().flat_map(|(nth, &label)| {
            let mut vector = [0.1, 0.1, 0.1, 0.9];
            vector[label] += 0.2 + count(nth) * 0.001;
            vector
        });
        (vectors.collect(), labels)
    }

    #[test]
    fn it_learns_what_can_be_told_apart_and_the_same_each_time() {
        let (vectors, labels) = clusters();
        let classifier = train(&vectors, &labels, &[1.0; 30], 3).expect("examples that fit");
        for (vector, label) in vectors.chunks(4).zip(&labels) {
            let scores: Vec<f32> = classifier.scores(vector).collect();
            let best = (0..3).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            assert_eq!(best, Some(*label), "{scores:?}");
        }
        assert_eq!(train(&vectors, &labels, &[1.0; 30], 3), Some(classifier));
    }

    #[test]
    fn it_ends_at_the_bottom() {
        // One dimension, two classes, -1 and 1 after scaling: by symmetry w and -w, with
        // w = 2 weight (1 - p) / PENALTY and p = 1 / (1 + exp(-2 w)), two examples for each unit of the mean loss.
        let weight = 0.1;
        let classifier = train(&[3.0, 5.0], &[0, 1], &[weight; 2], 2).expect("examples that fit");
        let scores: Vec<f32> = classifier.scores(&[5.0]).collect();
        let w = (scores[1] - scores[0]) / 2.0;
        let p = 1.0 / (1.0 + (-2.0 * w).exp());
        assert!((w * PENALTY - 2.0 * weight * (1.0 - p)).abs() < 1e-3, "w {w} p {p}");
    }

    #[test]
    fn what_weighs_more_is_believed_more() {
        // Each place is claimed by both classes, three to one.
        let claims = train(&[3.0, 3.0, 5.0, 5.0], &[0, 1, 1, 0], &[3.0, 1.0, 3.0, 1.0], 2).expect("examples that fit");
        for (place, expected) in [(3.0, 0.75), (5.0, 0.25)] {
            let scores: Vec<f32> = claims.scores(&[place]).collect();
            let first = 1.0 / (1.0 + (scores[1] - scores[0]).exp());
            assert!((first - expected).abs() < 0.01, "{first} at {place}");
        }
    }

    #[test]
    fn what_does_not_fit_together_teaches_nothing() {
        assert!(train(&[], &[], &[], 2).is_none());
        assert!(train(&[1.0, 2.0, 3.0], &[0, 1], &[1.0, 1.0], 2).is_none());
        assert!(train(&[1.0, 2.0], &[0, 2], &[1.0, 1.0], 2).is_none());
        assert!(train(&[1.0, 2.0], &[0, 1], &[1.0], 2).is_none());
    }
}
