//! The nearest intents to a question, and what their probabilities allow the bot to say.

use serde::{Deserialize, Serialize};

/// How many intents are offered where none is certain.
pub const MAX_SUGGESTIONS: usize = 3;

/// The most probable intents that may be answered, at most [`MAX_SUGGESTIONS`], most probable first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranking {
    nearest: [Ranked; MAX_SUGGESTIONS],
    count: usize,
    in_scope: f32,
}

/// An intent and the probability that it is what the question asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// The intent's place in the pack.
    pub intent: usize,
    /// From 0 to 1.
    pub probability: f32,
}

impl Ranking {
    /// Ranks intents by a classifier's scores, of which the last is the background's.
    ///
    /// An intent that may not be answered today keeps its share of the probability: a question about an offer that
    /// has ended is not turned into the answer to something else.
    pub fn of(scores: impl ExactSizeIterator<Item = f32>, may_answer: impl Fn(usize) -> bool) -> Self {
        let background = scores.len().saturating_sub(1);
        let none = Ranked { intent: 0, probability: f32::NEG_INFINITY };
        let mut ranking = Self { nearest: [none; _], count: 0, in_scope: 0.0 };
        // The softmax in one pass: the sum is kept relative to the greatest score so far.
        let (mut greatest, mut sum, mut last) = (f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY);
        for (class, score) in scores.enumerate() {
            if score > greatest {
                sum *= (greatest - score).exp();
                greatest = score;
            }
            sum += (score - greatest).exp();
            last = score;
            if class != background && may_answer(class) {
                ranking.insert(class, score);
            }
        }
        for ranked in &mut ranking.nearest[..ranking.count] {
            ranked.probability = (ranked.probability - greatest).exp() / sum;
        }
        ranking.in_scope = 1.0 - (last - greatest).exp() / sum;
        ranking
    }

    fn insert(&mut self, intent: usize, score: f32) {
        let place = self.nearest[..self.count].partition_point(|ranked| ranked.probability >= score);
        if place < MAX_SUGGESTIONS {
            self.nearest[place..].rotate_right(1);
            self.nearest[place] = Ranked { intent, probability: score };
            self.count = (self.count + 1).min(MAX_SUGGESTIONS);
        }
    }

    /// The intents, most probable first.
    #[must_use]
    pub fn nearest(&self) -> &[Ranked] {
        &self.nearest[..self.count]
    }

    /// The probability of the first; 0 where no intent may be answered.
    #[must_use]
    pub fn probability(&self) -> f32 {
        self.nearest().first().map_or(0.0, |ranked| ranked.probability)
    }

    /// The probability that the question is for any intent, and not for the background.
    #[must_use]
    pub fn in_scope(&self) -> f32 {
        self.in_scope
    }

    /// The probability that the right intent is among them.
    #[must_use]
    pub fn coverage(&self) -> f32 {
        self.nearest().iter().map(|ranked| ranked.probability).sum()
    }
}

/// What a ranking allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Nothing in the pack is near.
    Fallback,
    /// One of the nearest intents may be meant.
    Suggest,
    /// The first intent is meant.
    Answer,
}

/// Where answers end and suggestions end, as probabilities. `hoopoe knowledge eval --calibrate` finds them for a pack.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// The least share of an answer's [`Ranking::probability`] in [`Ranking::in_scope`]: how much surer the bot has to be
    /// of one intent than of all others together.
    pub answer: f32,
    /// The least [`Ranking::in_scope`] of an answer.
    pub scope: f32,
    /// The least [`Ranking::coverage`] of suggestions.
    pub suggest: f32,
}

impl Thresholds {
    /// What the probabilities allow.
    #[must_use]
    pub fn outcome(&self, ranking: &Ranking) -> Outcome {
        if ranking.nearest().is_empty() {
            Outcome::Fallback
        } else if ranking.in_scope() >= self.scope && ranking.probability() >= self.answer * ranking.in_scope() {
            Outcome::Answer
        } else if ranking.coverage() >= self.suggest {
            Outcome::Suggest
        } else {
            Outcome::Fallback
        }
    }

    /// Whether all are probabilities.
    #[must_use]
    pub fn are_possible(&self) -> bool {
        [self.answer, self.scope, self.suggest].iter().all(|threshold| (0.0..=1.0).contains(threshold))
    }
}

impl Thresholds {
    /// For a pack that was not calibrated, by the evidence that there is for its median intent in a language, counted in
    /// utterances: the less it is, the surer an answer has to be. The table of what was tried is in the crate's documentation.
    #[cfg(feature = "pack")]
    #[must_use]
    pub fn of_evidence(utterances: f32) -> Self {
        let answer = (0.68 - 0.0265 * utterances).clamp(0.3, 0.5);
        let scope = (0.2 + 0.012 * utterances).clamp(0.25, 0.6);
        let round = |threshold: f32| (threshold * 100.0).round() / 100.0;
        Self { answer: round(answer), scope: round(scope), suggest: 0.02 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn thresholds() -> impl Strategy<Value = Thresholds> {
        (0.0..=1.0_f32, 0.0..=1.0_f32, 0.0..=1.0_f32).prop_map(|(answer, scope, suggest)| Thresholds {
            answer,
            scope,
            suggest,
        })
    }

    proptest! {
        #[test]
        fn it_is_the_softmax_of_the_best_that_may_be_answered(
            scores in prop::collection::vec(-30.0..30.0_f32, 1..40),
            closed in prop::collection::vec(any::<bool>(), 40),
        ) {
            let ranking = Ranking::of(scores.iter().copied(), |intent| !closed[intent]);
            let sum: f64 = scores.iter().map(|&score| f64::from(score).exp()).sum();
            let mut expected: Vec<usize> = (0..scores.len() - 1).filter(|&intent| !closed[intent]).collect();
            expected.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            expected.truncate(MAX_SUGGESTIONS);
            prop_assert_eq!(ranking.nearest().iter().map(|ranked| ranked.intent).collect::<Vec<_>>(), expected);
            for ranked in ranking.nearest() {
                let probability = f64::from(scores[ranked.intent]).exp() / sum;
                prop_assert!((f64::from(ranked.probability) - probability).abs() < 1e-4);
            }
        }

        #[test]
        fn a_higher_threshold_never_allows_more(
            scores in prop::collection::vec(-5.0..5.0_f32, 1..10),
            low in thresholds(),
            high in thresholds(),
        ) {
            let ranking = Ranking::of(scores.iter().copied(), |_| true);
            let stricter =
                Thresholds {
                    answer: low.answer.max(high.answer),
                    scope: low.scope.max(high.scope),
                    suggest: low.suggest.max(high.suggest),
                };
            prop_assert!(stricter.outcome(&ranking) <= low.outcome(&ranking));
        }
    }

    #[test]
    fn nothing_to_answer_is_a_fallback_whatever_the_thresholds() {
        let open = Thresholds { answer: 0.0, scope: 0.0, suggest: 0.0 };
        let ranking = Ranking::of([3.0, 0.0].iter().copied(), |_| false);
        assert_eq!(open.outcome(&ranking), Outcome::Fallback);
        assert_eq!((ranking.probability(), ranking.coverage()), (0.0, 0.0));
    }
}
