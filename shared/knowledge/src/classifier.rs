//! A linear classifier over embeddings: one weight vector and one bias for each class, softmax over their scores.
//!
//! Chosen by cross-validation on the shop pack, where it put more held-out utterances to their intent than nearest
//! neighbours, their mean, kernel density and least squares.

use serde::{Deserialize, Serialize};

/// Scores an embedding against each class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Classifier {
    dimension: usize,
    /// Class after class, each `dimension` weights.
    weights: Vec<f32>,
    /// One for each class.
    biases: Vec<f32>,
}

impl Classifier {
    /// From the weights of each class, one class after the other, and the bias of each.
    ///
    /// `None` where the lengths do not fit together, nothing is there, or a number is not finite.
    #[must_use]
    pub fn new(dimension: usize, weights: Vec<f32>, biases: Vec<f32>) -> Option<Self> {
        Self { dimension, weights, biases }.validated()
    }

    /// The same with a lower score for each class, by what `by` has for it.
    #[cfg(feature = "pack")]
    pub(crate) fn lowered(mut self, by: &[f32]) -> Self {
        for (bias, by) in self.biases.iter_mut().zip(by) {
            *bias -= by;
        }
        self
    }

    /// Itself, where it could have come from [`Self::new`].
    pub(crate) fn validated(self) -> Option<Self> {
        let fits = self.dimension > 0
            && !self.biases.is_empty()
            && self.biases.len().checked_mul(self.dimension) == Some(self.weights.len())
            && self.weights.iter().chain(&self.biases).all(|number| number.is_finite());
        fits.then_some(self)
    }

    /// The numbers of an embedding.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// The number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.biases.len()
    }

    /// The score of each class: the logarithm of its probability, up to a constant that all share.
    ///
    /// # Panics
    /// When the embedding is not of this [`Self::dimension`]: it came from another model than the classifier.
    pub fn scores(&self, embedding: &[f32]) -> impl ExactSizeIterator<Item = f32> {
        assert_eq!(embedding.len(), self.dimension, "an embedding is of the model that the index was built with");
        self.weights
            .chunks_exact(self.dimension)
            .zip(&self.biases)
            .map(|(weights, bias)| dot(weights, embedding) + bias)
    }
}

/// Eight sums side by side, which the compiler turns into vector instructions; one sum it may not reorder.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_weights_times_embedding_plus_bias() {
        let weights: Vec<f32> = (0..20_u8).map(f32::from).collect();
        let classifier = Classifier::new(10, weights, vec![0.5, -1.0]).expect("they fit");
        let mut embedding = [0.0; 10];
        embedding[1] = 1.0;
        embedding[9] = 2.0;
        assert_eq!(classifier.scores(&embedding).collect::<Vec<_>>(), [0.5 + 1.0 + 18.0, -1.0 + 11.0 + 38.0]);
    }

    #[test]
    fn what_does_not_fit_together_is_no_classifier() {
        assert!(Classifier::new(0, vec![], vec![0.0]).is_none());
        assert!(Classifier::new(2, vec![0.0; 2], vec![]).is_none());
        assert!(Classifier::new(2, vec![0.0; 3], vec![0.0]).is_none());
        assert!(Classifier::new(2, vec![f32::NAN, 0.0], vec![0.0]).is_none());
    }
}
