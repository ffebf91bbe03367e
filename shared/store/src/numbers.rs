//! Sets of message numbers.

use serde::{Deserialize, Serialize};

/// A set of message numbers as ranges `[first, last]`, the lowest first, none touching the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Numbers(Vec<(u64, u64)>);

impl Numbers {
    pub(crate) fn contains(&self, number: u64) -> bool {
        self.touches(number, number)
    }

    /// Whether any of the numbers from `first` to `last` is in the set.
    pub(crate) fn touches(&self, first: u64, last: u64) -> bool {
        self.0.iter().any(|&(from, to)| from <= last && first <= to)
    }

    /// Adds the numbers from `first` to `last`.
    pub(crate) fn insert(&mut self, first: u64, last: u64) {
        let (mut first, mut last) = (first, last);
        self.0.retain(|&(from, to)| {
            let apart = to.saturating_add(1) < first || last.saturating_add(1) < from;
            if !apart {
                first = first.min(from);
                last = last.max(to);
            }
            apart
        });
        let at = self.0.partition_point(|&(from, _)| from < first);
        self.0.insert(at, (first, last));
    }

    pub(crate) fn remove(&mut self, number: u64) {
        let Some(at) = self.0.iter().position(|&(from, to)| from <= number && number <= to) else { return };
        let (from, to) = self.0.remove(at);
        if number < to {
            self.0.insert(at, (number + 1, to));
        }
        if from < number {
            self.0.insert(at, (from, number - 1));
        }
    }

    /// Joins the lowest ranges, with what lies between them, until there are at most `most`.
    pub(crate) fn join_oldest(&mut self, most: usize) {
        while self.0.len() > most.max(1) {
            let (_, to) = self.0.remove(1);
            self.0[0].1 = to;
        }
    }

    /// Drops the lowest ranges until there are at most `most`, and says the highest number dropped.
    pub(crate) fn drop_oldest(&mut self, most: usize) -> Option<u64> {
        let surplus = self.0.len().saturating_sub(most);
        self.0.drain(..surplus).next_back().map(|(_, to)| to)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_set_of_what_was_put_in(changes in proptest::collection::vec((any::<bool>(), 0..60_u64, 0..8_u64), 0..60)) {
            let (mut numbers, mut model) = (Numbers::default(), BTreeSet::new());
            for (insert, first, length) in changes {
                if insert {
                    numbers.insert(first, first + length);
                    model.extend(first..=first + length);
                } else {
                    numbers.remove(first);
                    model.remove(&first);
                }
                for number in 0..70 {
                    prop_assert_eq!(numbers.contains(number), model.contains(&number), "{}", number);
                }
                prop_assert!(numbers.0.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{:?}", numbers);
            }
            let (before, mut kept) = (numbers.clone(), numbers.clone());
            let dropped = kept.drop_oldest(3).map_or(0, |dropped| dropped + 1);
            prop_assert!((dropped..70).all(|number| before.contains(number) == kept.contains(number)));
            prop_assert!(kept.0.len() <= 3 && !kept.0.iter().any(|(from, _)| *from < dropped));
            numbers.join_oldest(3);
            prop_assert!(numbers.0.len() <= 3);
            prop_assert!((0..70).all(|number| !before.contains(number) || numbers.contains(number)));
        }
    }
}
