//! A pack's own utterances, asked as questions: each is judged by a decision that has not learned from it.
//!
//! The utterances are divided into folds, and the background by topic (its files are written topic after topic), because
//! what people ask out of scope is mostly of a topic that nobody thought of.

use std::collections::BTreeMap;
use std::thread;

use crate::build::Decider;
use crate::corpus::{Corpus, Group};
use crate::pack::Pack;
use crate::ranking::Ranking;
use crate::vectors::matrix;
use crate::Thresholds;

const FOLDS: usize = 5;

/// What became of a pack's own texts.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Each text.
    pub texts: Vec<HeldOut>,
    /// The thresholds that follow from the pack's evidence.
    pub usual: Thresholds,
}

/// A text of the pack, and what a decision thinks of it that was learned without it.
#[derive(Clone, Copy, Debug)]
pub struct HeldOut {
    /// The intent that the text belongs to; `None` for the background.
    pub intent: Option<usize>,
    /// The intents that the decision takes for the nearest.
    pub ranking: Ranking,
}

/// Asks each utterance of the pack, and each text of the background, of a decision that was learned without it.
/// `vectors` are those of [`Corpus::texts`].
///
/// `None` where the vectors do not fit the texts.
#[must_use]
pub fn held_out(pack: &Pack, vectors: &[f32]) -> Option<Asked> {
    let corpus = Corpus::new(pack);
    let folds = folds(&corpus);
    let usual = Thresholds::of_evidence(corpus.lessons(vectors, |_| false)?.evidence);
    let judge = |fold: usize| judge(&corpus, vectors, |nth| folds[nth] == Some(fold));
    // Side by side: the time goes into learning, which is the same for each.
    thread::scope(|scope| {
        let judge = &judge;
        let judged: Vec<_> = (0..FOLDS).map(|fold| scope.spawn(move || judge(fold))).collect();
        let mut texts = Vec::new();
        for judged in judged {
            texts.extend(judged.join().expect("learning does not panic")?);
        }
        Some(Asked { texts, usual })
    })
}

fn judge(corpus: &Corpus<'_>, vectors: &[f32], held_out: impl Fn(usize) -> bool) -> Option<Vec<HeldOut>> {
    let lessons = corpus.lessons(vectors, &held_out)?;
    let decider = Decider::learn(&lessons, vectors)?;
    let rows = matrix(vectors, corpus.texts().len())?;
    let asked = rows.rows().into_iter().zip(corpus.groups()).enumerate().filter(|(nth, _)| held_out(*nth));
    let judged = asked.map(|(_, (vector, group))| HeldOut {
        intent: group.intent(),
        ranking: Ranking::of(decider.scores(vector.as_slice().expect("rows are contiguous")), |_| true),
    });
    Some(judged.collect())
}

/// The fold of each text that may be held out: the utterances of an intent in a language in turn, the background of a
/// language in blocks.
fn folds(corpus: &Corpus<'_>) -> Vec<Option<usize>> {
    let mut sizes = BTreeMap::new();
    for group in corpus.groups() {
        *sizes.entry(group).or_insert(0) += 1;
    }
    let mut seen = BTreeMap::new();
    let fold = |group: Group| {
        let nth = seen.entry(group).or_insert(0);
        let fold = match group {
            Group::Utterances(..) => Some(*nth % FOLDS),
            Group::Background(_) => Some(*nth * FOLDS / sizes[&group]),
            Group::Kept => None,
        };
        *nth += 1;
        fold
    };
    corpus.groups().map(fold).collect()
}
