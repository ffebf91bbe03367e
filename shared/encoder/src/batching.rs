//! Which texts share a batch.
//!
//! A batch is padded to its longest text, and padding costs as much as text; a batch that the processor's cache does not
//! hold costs more than two that it does. Sorted by length, every best split is a list of runs, so dynamic programming
//! over the run ends finds the cheapest one exactly.

use std::ops::Range;

/// The most tokens in one batch, padding included, unless one text alone has more. What flows through a layer of so many
/// still fits the processor's cache: measured on a Zen 5, a token of texts of 64 costs least in a batch of ten, 1.03
/// times as much in one of four and 1.13 times in one of 32 (`tests/bench/encoder`). It bounds the memory of a run as well.
pub const MAX_BATCH_TOKENS: usize = 640;

/// What a run costs besides its tokens, in tokens: a batch of one more text must save more padding than this. Measured
/// as 3 on a processor without VNNI and 25 on one with it, where a token costs less; this lies between.
const RUN_COST: u64 = 12;

/// A token attends to every token of its text, so its cost grows with the length: doubled after this many tokens.
/// Measured as 390 and 510 on the same two.
const ATTENTION_TOKENS: u64 = 448;

/// The cost of a batch of `texts` texts padded to `tokens` tokens, in 1/`ATTENTION_TOKENS` of a token.
#[must_use]
pub fn cost(texts: usize, tokens: usize) -> u64 {
    let (texts, tokens) = (texts as u64, tokens as u64);
    RUN_COST * ATTENTION_TOKENS + texts * tokens * (ATTENTION_TOKENS + tokens)
}

/// The cheapest split of texts with these `lengths`, which must be in ascending order, into runs.
///
/// # Panics
/// In debug builds, when the lengths are not in ascending order.
#[must_use]
pub fn split(lengths: &[usize]) -> Vec<Range<usize>> {
    debug_assert!(lengths.is_sorted(), "lengths must be ascending");
    // best[end]: the cost of the texts before `end`, and where their last run starts.
    let mut best = vec![(0_u64, 0_usize)];
    for (last, &longest) in lengths.iter().enumerate() {
        let end = last + 1;
        let most = (MAX_BATCH_TOKENS / longest.max(1)).max(1);
        let cheapest = (end.saturating_sub(most)..end)
            .map(|start| (best[start].0 + cost(end - start, longest), start))
            .min()
            .unwrap_or_default();
        best.push(cheapest);
    }
    let mut runs = Vec::new();
    let mut end = lengths.len();
    while end > 0 {
        let start = best[end].1;
        runs.push(start..end);
        end = start;
    }
    runs.reverse();
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn total(lengths: &[usize], runs: &[Range<usize>]) -> u64 {
        runs.iter().map(|run| cost(run.len(), lengths[run.end - 1])).sum()
    }

    fn fits(lengths: &[usize], run: &Range<usize>) -> bool {
        run.len() == 1 || run.len() * lengths[run.end - 1] <= MAX_BATCH_TOKENS
    }

    /// Tries every set of cuts.
    fn cheapest_by_force(lengths: &[usize]) -> u64 {
        let gaps = lengths.len() - 1;
        (0_u32..1 << gaps)
            .map(|cuts| {
                let mut runs = Vec::new();
                let mut start = 0;
                for end in 1..=lengths.len() {
                    if end == lengths.len() || cuts & (1 << (end - 1)) != 0 {
                        runs.push(start..end);
                        start = end;
                    }
                }
                runs
            })
            .filter(|runs| runs.iter().all(|run| fits(lengths, run)))
            .map(|runs| total(lengths, &runs))
            .min()
            .expect("there is at least the split into single texts")
    }

    #[test]
    fn equal_lengths_share_a_batch() {
        assert_eq!(split(&[9; 10]), vec![0..10]);
        assert_eq!(split(&[]), Vec::<Range<usize>>::new());
    }

    #[test]
    fn a_long_text_does_not_pad_short_ones() {
        assert_eq!(split(&[6, 6, 7, 128]), vec![0..3, 3..4]);
    }

    #[test]
    fn a_batch_is_bounded() {
        assert!(split(&[5; 1000]).iter().all(|run| run.len() * 5 <= MAX_BATCH_TOKENS));
        assert!(split(&[128; 32]).iter().all(|run| run.len() * 128 <= MAX_BATCH_TOKENS));
        assert_eq!(split(&[MAX_BATCH_TOKENS + 1; 2]), vec![0..1, 1..2]);
    }

    proptest! {
        #[test]
        fn no_split_is_cheaper(mut lengths in prop::collection::vec(2_usize..=128, 1..=11)) {
            lengths.sort_unstable();
            let runs = split(&lengths);
            prop_assert!(runs.iter().all(|run| fits(&lengths, run)));
            prop_assert_eq!(total(&lengths, &runs), cheapest_by_force(&lengths));
            prop_assert_eq!(runs.into_iter().flatten().collect::<Vec<_>>(), (0..lengths.len()).collect::<Vec<_>>());
        }
    }
}
