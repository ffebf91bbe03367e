//! Packs of few examples, for measuring how many a pack needs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use hoopoe_message::Language;

use crate::pack::{Builtin, InScope, Intent, Lined, OutOfScope, Pack, Page, Settings, SmallTalk, TestSet};

/// The pack with at most so many utterances of each intent in each language, drawn at random; the same for the same
/// seed. The thresholds are left out: they were found with all utterances.
#[must_use]
pub fn few(pack: &Pack, utterances: usize, seed: u64) -> Pack {
    let mut few = pack.clone();
    few.settings.thresholds = None;
    let mut random = fastrand::Rng::with_seed(seed);
    for texts in few.intents.iter_mut().flat_map(|intent| intent.utterances.value.values_mut()) {
        random.shuffle(texts);
        texts.truncate(utterances);
    }
    few
}

/// A pack of rows of a question and its label, and what is asked of it.
///
/// Each label is an intent with at most so many of its rows as utterances and its words as title; every third label, in
/// an order that the seed gives, is left out, and its questions are out of scope. Asked are `asked`, or where there are
/// none the rows that are no utterances.
#[must_use]
pub fn of_rows(
    rows: &[(String, String)],
    asked: &[(String, String)],
    language: Language,
    utterances: usize,
    seed: u64,
) -> (Pack, TestSet) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut labels: Vec<&str> =
        rows.iter().map(|(_, label)| label.as_str()).collect::<BTreeSet<_>>().into_iter().collect();
    random.shuffle(&mut labels);
    let out: BTreeSet<&str> = labels.iter().copied().step_by(3).collect();
    let mut by_label: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (text, label) in rows {
        by_label.entry(label).or_default().push(text);
    }
    let mut intents = Vec::new();
    let mut rest: Vec<(&str, &str)> = Vec::new();
    for (label, mut texts) in by_label {
        random.shuffle(&mut texts);
        if !out.contains(label) {
            intents.push(intent(label, &texts[..texts.len().min(utterances)], language));
            texts.drain(..texts.len().min(utterances));
        }
        rest.extend(texts.into_iter().map(|text| (text, label)));
    }
    let mut test = TestSet::default();
    let given = asked.iter().map(|(text, label)| (text.as_str(), label.as_str()));
    for (text, label) in if asked.is_empty() { rest } else { given.collect() } {
        let text = lined(text.to_owned());
        if out.contains(label) {
            test.out_of_scope.push(OutOfScope { text, language });
        } else {
            test.in_scope.push(InScope { text, language, intent: lined(id(label)) });
        }
    }
    let settings = Settings {
        name: lined("rows".to_owned()),
        languages: lined(vec![language]),
        default_language: lined(language),
        texts: BTreeMap::new(),
        starters: Vec::new(),
        builtin: Builtin { small_talk: SmallTalk::All, background: true },
        page: Page::default(),
        thresholds: None,
    };
    let pack = Pack {
        folder: PathBuf::new(),
        settings,
        intents,
        background: BTreeMap::new(),
        test: TestSet::default(),
        digest: [0; 32],
    };
    (pack, test)
}

fn intent(label: &str, utterances: &[&str], language: Language) -> Intent {
    let one = |text: String| lined([(language, lined(text))].into());
    let utterances = utterances.iter().map(|text| lined(text.chars().take(300).collect::<String>())).collect();
    let title: String = label.replace('_', " ").chars().take(60).collect();
    Intent {
        file: PathBuf::from("rows"),
        id: lined(id(label)),
        // Nothing is known of the answers: they repeat the title.
        answers: one(title.clone()),
        title: one(title),
        tags: Vec::new(),
        valid: None,
        utterances: lined([(language, utterances)].into()),
        suggestions: Vec::new(),
    }
}

/// A label as an intent's id; labels that differ in other than legal characters stay apart.
fn id(label: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    format!("{}_{:08x}", label.chars().map(legal).collect::<String>(), crc32fast::hash(label.as_bytes()))
}

fn lined<T>(value: T) -> Lined<T> {
    Lined { value, line: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<(String, String)> {
        (0..60).map(|nth| (format!("question {nth}"), format!("label {}", nth % 6))).collect()
    }

    #[test]
    fn a_third_of_the_labels_is_out_of_scope_and_the_seed_decides() {
        let language = "en".parse().expect("a code");
        let (pack, test) = of_rows(&rows(), &[], language, 3, 1);
        assert_eq!((pack.intents.len(), test.in_scope.len(), test.out_of_scope.len()), (4, 4 * 7, 20));
        let questions = |seed| of_rows(&rows(), &[], language, 3, seed).1.texts().collect::<Vec<_>>().join("|");
        let same = questions(1);
        assert_eq!(same, questions(1));
        assert_ne!(same, questions(2));
        assert!(pack.intents.iter().all(|intent| intent.utterances[&language].len() == 3));
        let few = few(&pack, 1, 1);
        assert!(few.intents.iter().all(|intent| intent.utterances[&language].len() == 1));
    }
}
