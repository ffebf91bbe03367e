//! How near a question comes to the examples of each class.
//!
//! A linear classifier tells intents apart, but knows little of what lies outside of all of them: a question about
//! nothing in the pack still falls on some side of every border. Whether an example of the intent says nearly the same
//! is what tells. In a trial outside the build, on 1,300 blind questions to the shop pack and with the threshold that answers 2 % of those out of scope, the
//! classifier alone answers 94 % of those in scope rightly, the nearest example alone 72 %, and both together 99 %.

use serde::{Deserialize, Serialize};

use crate::Classifier;

/// What the cosine of the nearest example counts for, beside the classifier's score. The table of what was tried is in
/// the crate's documentation.
const WEIGHT: f32 = 30.0;

/// What the logarithm of an intent's surplus of examples counts for, as a cosine: the nearest of many examples is nearer
/// by chance. The table of what was tried is in the crate's documentation.
#[cfg(feature = "pack")]
const SURPLUS: f32 = 0.015;

/// What each intent loses of its score for having more examples than the median one. `labels` are the classes of the
/// examples, of which the first `intents` are the pack's. The built-in classes lose nothing: their examples are the same
/// beside every pack.
#[cfg(feature = "pack")]
pub(crate) fn surplus(labels: &[usize], intents: usize) -> Vec<f32> {
    let mut counts = vec![0.0_f32; intents];
    for &label in labels {
        if let Some(count) = counts.get_mut(label) {
            *count += 1.0;
        }
    }
    let mut sorted = counts.clone();
    sorted.sort_by(f32::total_cmp);
    let median = sorted.get(intents / 2).copied().unwrap_or_default();
    counts.iter().map(|count| WEIGHT * SURPLUS * (count.max(median) / median).ln()).collect()
}

/// What a question scores in each class: by the classifier, and by its nearest example.
pub(crate) fn scores(
    classifier: &Classifier,
    examples: &Neighbours,
    embedding: &[f32],
) -> impl ExactSizeIterator<Item = f32> {
    let nearest = examples.nearest(embedding);
    classifier.scores(embedding).zip(nearest).map(|(score, nearest)| score + WEIGHT * nearest)
}

/// The examples' unit vectors, in bytes: near enough, and a quarter of the memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Neighbours {
    dimension: usize,
    /// Class after class, example after example, `dimension` signed bytes each.
    #[serde(with = "serde_bytes")]
    values: Vec<u8>,
    /// What a byte of an example is worth, for each example.
    scales: Vec<f32>,
    /// Where the examples of each class end.
    ends: Vec<usize>,
}

impl Neighbours {
    /// From labelled vectors, one after the other. `None` where the lengths do not fit together, or a class has no
    /// example.
    #[cfg(any(feature = "pack", test))]
    pub(crate) fn new(vectors: &[f32], labels: &[usize], classes: usize) -> Option<Self> {
        let dimension = vectors.len().checked_div(labels.len())?;
        let mut neighbours = Self { dimension, values: Vec::new(), scales: Vec::new(), ends: Vec::new() };
        let mut order: Vec<usize> = (0..labels.len()).collect();
        order.sort_by_key(|&nth| labels[nth]);
        for nth in order {
            let vector = &vectors[nth * dimension..][..dimension];
            let scale = greatest(vector) / 127.0;
            neighbours.values.extend(vector.iter().map(|number| byte(number / scale)));
            neighbours.scales.push(scale);
        }
        let mut end = 0;
        for class in 0..classes {
            end += labels.iter().filter(|&&label| label == class).count();
            neighbours.ends.push(end);
        }
        neighbours.validated()
    }

    /// Itself, where it could have come from [`Self::new`].
    pub(crate) fn validated(self) -> Option<Self> {
        let examples = self.scales.len();
        let fits = self.dimension > 0
            && examples.checked_mul(self.dimension) == Some(self.values.len())
            && self.ends.first().is_some_and(|&end| end > 0)
            && self.ends.is_sorted_by(|a, b| a < b)
            && self.ends.last() == Some(&examples)
            && self.scales.iter().all(|scale| scale.is_finite());
        fits.then_some(self)
    }

    /// The numbers of a vector.
    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    /// The number of classes.
    pub(crate) fn classes(&self) -> usize {
        self.ends.len()
    }

    /// For each class the cosine between the embedding and its nearest example.
    ///
    /// # Panics
    /// When the embedding is not of this [`Self::dimension`].
    pub(crate) fn nearest(&self, embedding: &[f32]) -> impl ExactSizeIterator<Item = f32> {
        assert_eq!(embedding.len(), self.dimension, "an embedding is of the model that the index was built with");
        // In 15 bits, so that whole products of bytes are summed, which processors do many at a time.
        let scale = greatest(embedding).max(f32::MIN_POSITIVE) / 32_767.0;
        #[expect(clippy::cast_possible_truncation, reason = "the scale keeps it within 15 bits")]
        let question: Vec<i16> = embedding.iter().map(|number| (number / scale).round() as i16).collect();
        self.cosines(&question, scale).into_iter()
    }

    /// A pass over all examples, some 2 MB for the shop pack, by the widest instructions that this processor has.
    fn cosines(&self, question: &[i16], scale: f32) -> Vec<f32> {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            #[expect(unsafe_code, reason = "it takes what the line above found")]
            // SAFETY: the processor has AVX2.
            return unsafe { self.cosines_avx2(question, scale) };
        }
        self.cosines_by(scale, |example| dot(example, question))
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn cosines_avx2(&self, question: &[i16], scale: f32) -> Vec<f32> {
        self.cosines_by(scale, |example| avx2::dot(example, question))
    }

    /// Compiled into its callers, so that it may use the instructions that they may.
    #[inline(always)]
    fn cosines_by(&self, scale: f32, dot: impl Fn(&[u8]) -> i64) -> Vec<f32> {
        let mut nearest = Vec::with_capacity(self.ends.len());
        let mut start = 0;
        for &end in &self.ends {
            let examples = self.values[start * self.dimension..end * self.dimension].chunks_exact(self.dimension);
            let cosines = examples.zip(&self.scales[start..end]).map(|(example, example_scale)| {
                #[expect(clippy::cast_precision_loss, reason = "a cosine to seven digits is enough")]
                let product = dot(example) as f32;
                product * example_scale * scale
            });
            nearest.push(cosines.fold(f32::NEG_INFINITY, f32::max));
            start = end;
        }
        nearest
    }
}

/// At most 2^7 x 2^15 a product: 2^9 of them fit into 32 bits, and longer vectors are summed by parts.
const PART: usize = 512;

fn dot(example: &[u8], question: &[i16]) -> i64 {
    let parts = example.chunks(PART).zip(question.chunks(PART));
    let sum = |(example, question): (&[u8], &[i16])| -> i32 {
        example.iter().zip(question).map(|(&a, &b)| i32::from(a.cast_signed()) * i32::from(b)).sum()
    };
    parts.map(|part| i64::from(sum(part))).sum()
}

/// The same with AVX2, which every x86 processor of Lambda has. Two products and their sum are one instruction there;
/// the compiler does not find it by itself, and needs nearly twice the instructions for a decision (`make guard`).
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm_add_epi32, _mm_cvtsi128_si32, _mm_loadu_si128, _mm_shuffle_epi32, _mm256_add_epi32,
        _mm256_castsi256_si128, _mm256_cvtepi8_epi16, _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_madd_epi16,
        _mm256_setzero_si256,
    };

    use super::PART;

    /// Numbers that a register holds.
    const LANES: usize = 16;
    /// Sums side by side, so that none waits for another.
    const SUMS: usize = 4;

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn dot(example: &[u8], question: &[i16]) -> i64 {
        // A vector of one part, as the default model's are, needs no loop over parts. Without it the compiler inlines the
        // rest and keeps it in registers: a third fewer instructions for a decision (`make guard`).
        if example.len() <= PART {
            return part(example, question);
        }
        let parts = example.chunks(PART).zip(question.chunks(PART));
        parts.map(|(example, question)| part(example, question)).sum()
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn part(example: &[u8], question: &[i16]) -> i64 {
        let (examples, example) = example.as_chunks::<{ SUMS * LANES }>();
        let (questions, question) = question.as_chunks::<{ SUMS * LANES }>();
        let mut sums = [_mm256_setzero_si256(); SUMS];
        for (example, question) in examples.iter().zip(questions) {
            let lanes = example.as_chunks::<LANES>().0.iter().zip(question.as_chunks::<LANES>().0);
            for (sum, (example, question)) in sums.iter_mut().zip(lanes) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(widened(example), loaded(question)));
            }
        }
        let [a, b, c, d] = sums;
        i64::from(total(_mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d))))
            + super::dot(example, question)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn total(sums: __m256i) -> i32 {
        let sums = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
        let sums = _mm_add_epi32(sums, _mm_shuffle_epi32::<0b1110>(sums));
        _mm_cvtsi128_si32(_mm_add_epi32(sums, _mm_shuffle_epi32::<0b01>(sums)))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    #[expect(unsafe_code, reason = "loads are by pointer")]
    fn widened(bytes: &[u8; LANES]) -> __m256i {
        // SAFETY: it reads the 16 bytes of the array.
        _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    #[expect(unsafe_code, reason = "loads are by pointer")]
    fn loaded(numbers: &[i16; LANES]) -> __m256i {
        // SAFETY: it reads the 16 numbers of the array.
        unsafe { _mm256_loadu_si256(numbers.as_ptr().cast()) }
    }
}

fn greatest(vector: &[f32]) -> f32 {
    vector.iter().fold(0.0, |most: f32, number| most.max(number.abs()))
}

#[cfg(any(feature = "pack", test))]
fn byte(number: f32) -> u8 {
    #[expect(clippy::cast_possible_truncation, reason = "the scale keeps it within a byte; no number becomes 0")]
    let signed = number.round() as i8;
    signed.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_nearest_example_of_each_class_counts() {
        let vectors = [1.0, 0.0, 0.0, 1.0, 0.6, 0.8, -1.0, 0.0];
        let neighbours = Neighbours::new(&vectors, &[1, 0, 1, 0], 2).expect("they fit");
        let nearest: Vec<f32> = neighbours.nearest(&[0.6, 0.8]).collect();
        assert!((nearest[0] - 0.8).abs() < 0.01 && (nearest[1] - 1.0).abs() < 0.01, "{nearest:?}");
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        assert!(Neighbours::new(&[], &[], 0).is_none());
        assert!(Neighbours::new(&[1.0, 0.0], &[0], 2).is_none(), "a class without an example");
        let whole = Neighbours::new(&[1.0, 0.0], &[0], 1).expect("they fit");
        assert!(Neighbours { ends: vec![2], ..whole.clone() }.validated().is_none());
        assert!(Neighbours { dimension: 1, ..whole.clone() }.validated().is_none());
        assert!(Neighbours { scales: vec![f32::NAN], ..whole }.validated().is_none());
    }

    /// Two whole parts, and in the rest more than the sums side by side take.
    const NUMBERS: usize = 2 * PART + 76;

    #[test]
    fn the_largest_products_do_not_overflow() {
        for (example, number) in [(127, 32_767), (-127, 32_767), (-127, -32_767)] {
            let product = dot(&[i8::cast_unsigned(example); NUMBERS], &[number; NUMBERS]);
            assert_eq!(product, i64::from(example) * i64::from(number) * NUMBERS as i64);
        }
    }

    proptest! {
        #[test]
        fn cosines_are_those_of_the_vectors(
            seed in prop::collection::vec(-1.0..1.0_f32, 3 * NUMBERS),
            numbers in prop::sample::select(vec![PART - 128, PART, NUMBERS]),
            extreme: bool,
        ) {
            let unit = |vector: &[f32]| -> Vec<f32> {
                let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt().max(1e-3);
                vector.iter().map(|number| if extreme { number.signum() / (numbers as f32).sqrt() } else { number / length }).collect()
            };
            let [a, b, question] = [0, 1, 2].map(|nth| unit(&seed[nth * numbers..][..numbers]));
            let neighbours = Neighbours::new(&[a.clone(), b.clone()].concat(), &[0, 1], 2).expect("they fit");
            for (found, example) in neighbours.nearest(&question).zip([a, b]) {
                let exact: f32 = example.iter().zip(&question).map(|(a, b)| a * b).sum();
                prop_assert!((found - exact).abs() < 0.01, "{found} {exact}");
            }
        }
    }
}
