//! A pack's own utterances, asked as questions: each is judged by a decision that has not learned from it.
//!
//! The utterances are divided into folds, and the background by topic (its files are written topic after topic), because
//! what people ask out of scope is mostly of a topic that nobody thought of.

use std::collections::BTreeMap;
use std::thread;

use serde::Serialize;

use crate::Thresholds;
use crate::build::{Decider, LearnError, fitting};
use crate::corpus::{Corpus, Group};
use crate::pack::{Intent, Pack};
use crate::ranking::{Outcome, Ranking};

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

/// Why a pack cannot be asked its own texts.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeldOutError {
    /// All of the background is asked at once, so none is left to learn from.
    #[error(
        "the background has too few texts to ask some of them and learn from the others; write at least two in one \
         language to background.yaml, or remove `background: false` from pack.yaml"
    )]
    Background,
    /// Also with all texts nothing can be learned.
    #[error(transparent)]
    Learn(#[from] LearnError),
}

/// What a pack will be like, as far as its own utterances tell.
#[derive(Clone, Debug, Serialize)]
pub struct Forecast {
    /// Utterances that were asked.
    pub utterances: usize,
    /// Of these: answered with their intent.
    pub right: usize,
    /// Answered with another.
    pub wrong: usize,
    /// Not answered, but their intent is offered.
    pub offered: usize,
    /// The same of each intent.
    pub intents: Vec<OfIntent>,
}

/// What became of the utterances of an intent.
#[derive(Clone, Debug, Serialize)]
pub struct OfIntent {
    /// Its id.
    pub id: String,
    /// Its utterances.
    pub utterances: usize,
    /// Of these: answered with it.
    pub right: usize,
}

impl Asked {
    /// Counts what became of the utterances, by the thresholds of the pack.
    #[must_use]
    pub fn forecast(&self, pack: &Pack) -> Forecast {
        let thresholds = pack.settings.thresholds.as_ref().map_or(self.usual, |own| **own);
        let new = |intent: &Intent| OfIntent { id: intent.id.value.clone(), utterances: 0, right: 0 };
        let intents = pack.intents.iter().map(new).collect();
        let mut forecast = Forecast { utterances: 0, right: 0, wrong: 0, offered: 0, intents };
        for HeldOut { intent, ranking } in &self.texts {
            let Some(intent) = *intent else { continue };
            forecast.utterances += 1;
            forecast.intents[intent].utterances += 1;
            match thresholds.outcome(ranking) {
                Outcome::Answer if ranking.nearest()[0].intent == intent => {
                    forecast.right += 1;
                    forecast.intents[intent].right += 1;
                }
                Outcome::Answer => forecast.wrong += 1,
                Outcome::Suggest if ranking.nearest().iter().any(|near| near.intent == intent) => forecast.offered += 1,
                Outcome::Suggest | Outcome::Fallback => {}
            }
        }
        forecast
    }
}

/// Asks each utterance of the pack, and each text of the background, of a decision that was learned without it.
/// `vectors` are those of [`Corpus::texts`].
///
/// # Errors
/// When nothing can be learned from the vectors, or too little is left without the texts that are asked.
pub fn held_out(pack: &Pack, vectors: &[f32]) -> Result<Asked, HeldOutError> {
    let corpus = Corpus::new(pack);
    fitting(&corpus, vectors)?;
    let folds = folds(&corpus);
    let lessons = corpus.lessons(vectors, |_| false).expect("there is a vector for each text");
    let usual = Thresholds::of_evidence(lessons.evidence);
    let judge = |fold: usize| judge(pack, &corpus, vectors, |nth| folds[nth] == Some(fold));
    // Side by side: the time goes into learning, which is the same for each.
    thread::scope(|scope| {
        let judge = &judge;
        let judged: Vec<_> = (0..FOLDS).map(|fold| scope.spawn(move || judge(fold))).collect();
        let mut texts = Vec::new();
        for judged in judged {
            texts.extend(judged.join().expect("learning does not panic")?);
        }
        Ok(Asked { texts, usual })
    })
}

fn judge(
    pack: &Pack,
    corpus: &Corpus<'_>,
    vectors: &[f32],
    held_out: impl Fn(usize) -> bool,
) -> Result<Vec<HeldOut>, HeldOutError> {
    let rows = fitting(corpus, vectors)?;
    let lessons = corpus.lessons(vectors, &held_out).expect("there is a vector for each text");
    let background = || corpus.groups().any(|group| matches!(group, Group::Background(_)));
    let decider = Decider::learn(pack, &lessons, vectors).map_err(|error| match error {
        LearnError::NoBackground if background() => HeldOutError::Background,
        error => error.into(),
    })?;
    let asked = rows.rows().into_iter().zip(corpus.groups()).enumerate().filter(|(nth, _)| held_out(*nth));
    let judged = asked.map(|(_, (vector, group))| HeldOut {
        intent: group.intent(),
        ranking: Ranking::of(decider.scores(vector.as_slice().expect("rows are contiguous")), |_| true),
    });
    Ok(judged.collect())
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
