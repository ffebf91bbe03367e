//! A pack and its vectors become an index.

use std::collections::BTreeMap;

use hoopoe_message::Language;
use ndarray::{ArrayView1, ArrayView2};

use crate::builtin::{Topic, builtin};
use crate::check::{Finding, Severity, check};
use crate::corpus::{Corpus, Lessons};
use crate::index::{Index, Intent};
use crate::neighbours::{self, Neighbours};
use crate::pack::{Lined, Pack, Translated};
use crate::train::train;
use crate::vectors::matrix;
use crate::{Classifier, TextName, Thresholds, Validity, wording};

/// Vectors of [`Corpus::texts`], in their order, and the model they come from.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'e> {
    /// The identity of the model.
    pub model: &'e str,
    /// One vector after the other.
    pub vectors: &'e [f32],
}

/// Why a pack gives no index.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The pack has errors.
    #[error("the pack has {} that `hoopoe knowledge check` lists, the first: {}", errors(.0.len()), .0[0])]
    Pack(Vec<Finding>),
    /// Its vectors teach nothing.
    #[error(transparent)]
    Learn(#[from] LearnError),
}

/// Why nothing can be learned from a pack and its vectors.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LearnError {
    /// There is not one vector for each text.
    #[error(
        "{numbers} numbers are not {texts} vectors of one length, one for each text that the pack is learned from; \
         encode these texts again, all with the same model"
    )]
    Vectors {
        /// The number of texts.
        texts: usize,
        /// The number of numbers.
        numbers: usize,
    },
    /// A vector holds what is no number.
    #[error(
        "the model gives a vector with an infinite or undefined number for the text \"{text}\"; build the model again with \
         `hoopoe model build`"
    )]
    NotFinite {
        /// The text.
        text: String,
    },
    /// Nothing is known of an intent.
    #[error("nothing says how people ask for the intent {id}; give it a title and utterances")]
    NoExample {
        /// The intent's id.
        id: String,
    },
    /// Nothing is known of what the bot does not answer.
    #[error(
        "nothing tells the bot what not to answer; write such questions to background.yaml, or remove `background: false` \
         from pack.yaml"
    )]
    NoBackground,
}

fn errors(count: usize) -> String {
    if count == 1 { "an error".to_owned() } else { format!("{count} errors") }
}

/// The bytes of the pack's index. The same pack and vectors give the same bytes.
///
/// # Errors
/// When [`check`] finds errors, or the vectors are not those of the corpus's texts or teach nothing.
pub fn build(pack: &Pack, encoded: Encoded<'_>) -> Result<Vec<u8>, BuildError> {
    let errors: Vec<Finding> = check(pack).into_iter().filter(|finding| finding.severity == Severity::Error).collect();
    if !errors.is_empty() {
        return Err(BuildError::Pack(errors));
    }
    let corpus = Corpus::new(pack);
    fitting(&corpus, encoded.vectors)?;
    let lessons = corpus.lessons(encoded.vectors, |_| false).expect("there is a vector for each text");
    let Decider { topics, examples } = Decider::learn(pack, &lessons, encoded.vectors)?;

    let settings = &pack.settings;
    let places: BTreeMap<&str, u32> = pack.intents.iter().map(|intent| intent.id.as_str()).zip(0..).collect();
    let place = |id: &Lined<String>| places[id.as_str()];
    let own = pack.intents.iter().map(|intent| Intent {
        id: intent.id.value.clone(),
        valid: intent.valid.as_ref().map(|valid| **valid).unwrap_or_default(),
        titles: plain(&intent.title),
        answers: plain(&intent.answers),
        suggestions: intent.suggestions.iter().map(place).collect(),
        offered: true,
    });
    let small_talk = lessons.small_talk.iter().map(|topic| small_talk(topic, &settings.languages));
    let index = Index {
        name: settings.name.value.clone(),
        model: encoded.model.to_owned(),
        digest: pack.digest,
        languages: settings.languages.value.clone(),
        default_language: *settings.default_language,
        texts: texts(pack),
        starters: settings.starters.iter().map(place).collect(),
        thresholds: pack
            .settings
            .thresholds
            .as_ref()
            .map_or_else(|| Thresholds::of_evidence(lessons.evidence), |own| **own),
        intents: own.chain(small_talk).collect(),
        wordings: wordings(pack, &lessons),
        topics,
        examples,
        tongues: tongues(&corpus, &settings.languages, encoded.vectors)
            .expect("each intent has a title in the default language, and each text a vector"),
    };
    Ok(index.validated().expect("a pack without errors gives a valid index").encode())
}

/// The vectors of a corpus's texts, a row for each.
///
/// # Errors
/// When they are not as many as the texts, or one holds what is no number.
pub(crate) fn fitting<'v>(corpus: &Corpus<'_>, vectors: &'v [f32]) -> Result<ArrayView2<'v, f32>, LearnError> {
    let texts = corpus.texts().len();
    let rows = matrix(vectors, texts).ok_or(LearnError::Vectors { texts, numbers: vectors.len() })?;
    let is_finite = |vector: ArrayView1<'_, f32>| vector.iter().all(|number| number.is_finite());
    match corpus.texts().zip(rows.rows()).find(|(_, vector)| !is_finite(*vector)) {
        Some((text, _)) => Err(LearnError::NotFinite { text: text.to_owned() }),
        None => Ok(rows),
    }
}

/// What scores a question, for each class of [`Lessons`].
#[derive(Debug)]
pub(crate) struct Decider {
    pub(crate) topics: Classifier,
    pub(crate) examples: Neighbours,
}

impl Decider {
    /// The score of each class for a question, the background's last.
    pub(crate) fn scores(&self, vector: &[f32]) -> impl ExactSizeIterator<Item = f32> {
        neighbours::scores(&self.topics, &self.examples, vector)
    }

    /// Learns from vectors that are [`fitting`], one for each lesson.
    ///
    /// # Errors
    /// When a class has no example.
    pub(crate) fn learn(pack: &Pack, lessons: &Lessons<'_>, vectors: &[f32]) -> Result<Self, LearnError> {
        let classes = lessons.classes();
        let has_example =
            |class| lessons.lessons.iter().flatten().any(|lesson| lesson.class == class && lesson.neighbour);
        if let Some(class) = (0..classes).find(|&class| !has_example(class)) {
            let ids = pack.intents.iter().map(|intent| intent.id.as_str());
            let mut ids = ids.chain(lessons.small_talk.iter().map(|topic| topic.id.as_str()));
            return Err(match ids.nth(class) {
                Some(id) => LearnError::NoExample { id: id.to_owned() },
                None => LearnError::NoBackground,
            });
        }
        Self::of(lessons, vectors)
    }

    /// Learns from lessons of which each class has one.
    fn of(lessons: &Lessons<'_>, vectors: &[f32]) -> Result<Self, LearnError> {
        let classes = lessons.classes();
        let matrix = matrix(vectors, lessons.lessons.len()).expect("there is a vector for each lesson");
        let (mut known, mut labels, mut weights) = (Vec::with_capacity(vectors.len()), Vec::new(), Vec::new());
        let (mut near, mut near_labels) = (Vec::with_capacity(vectors.len()), Vec::new());
        for (lesson, vector) in lessons.lessons.iter().zip(matrix.rows()) {
            let Some(lesson) = lesson else { continue };
            known.extend(vector);
            labels.push(lesson.class);
            weights.push(lesson.weight);
            if lesson.neighbour {
                near.extend(vector);
                near_labels.push(lesson.class);
            }
        }
        let surplus = neighbours::surplus(&near_labels, lessons.intents());
        let topics = train(&known, &labels, &weights, classes).expect("each class has an example with a weight");
        Ok(Self {
            // Beside the classifier's score and not with each example: to decide costs the same.
            topics: topics.lowered(&surplus),
            examples: Neighbours::new(&near, &near_labels, classes).expect("each class has an example"),
        })
    }
}

/// The texts of the pack, and where it has none the built-in ones in its languages.
fn texts(pack: &Pack) -> BTreeMap<TextName, BTreeMap<Language, String>> {
    let languages = &pack.settings.languages;
    let text = |name: TextName| {
        let builtin = builtin().texts[&name].iter().filter(|(language, _)| languages.contains(language));
        let mut text: BTreeMap<Language, String> =
            builtin.map(|(&language, text)| (language, text.trim().to_owned())).collect();
        text.extend(pack.settings.texts.get(&name).map(|texts| plain(texts)).unwrap_or_default());
        (name, text)
    };
    TextName::ALL.map(text).into()
}

fn small_talk(topic: &Topic, languages: &[Language]) -> Intent {
    let reply = topic.reply.as_ref().expect("small talk has a reply");
    let known = |texts: &BTreeMap<Language, String>| -> BTreeMap<Language, String> {
        let texts = texts.iter().filter(|(language, _)| languages.contains(language));
        texts.map(|(&language, text)| (language, text.clone())).collect()
    };
    Intent {
        id: topic.id.clone(),
        valid: Validity::default(),
        titles: known(&reply.title),
        answers: known(&reply.answers),
        suggestions: Vec::new(),
        // "Did you mean: Hello?"
        offered: false,
    }
}

/// The very words that are answered without doubt: titles and utterances of the pack, then of the small talk what the
/// pack does not have.
fn wordings(pack: &Pack, lessons: &Lessons<'_>) -> Vec<(String, u32)> {
    let mut wordings: BTreeMap<String, u32> = BTreeMap::new();
    let place = |class: usize| u32::try_from(class).expect("a pack has at most 2000 intents");
    let own = pack.examples().filter_map(|example| Some((example.text, place(example.intent?))));
    let small_talk =
        lessons.small_talk.iter().zip(pack.intents.len()..).flat_map(|(topic, class)| {
            topic.wordings.values().flatten().map(move |text| (text.as_str(), place(class)))
        });
    for (text, intent) in own.chain(small_talk) {
        wordings.entry(wording::key(text)).or_insert(intent);
    }
    wordings.into_iter().collect()
}

/// Tells the pack's languages apart, by what is written in them.
fn tongues(corpus: &Corpus<'_>, languages: &[Language], vectors: &[f32]) -> Option<Classifier> {
    let vectors = matrix(vectors, corpus.texts().len())?;
    let (mut known, mut labels) = (Vec::new(), Vec::new());
    for (text_language, vector) in corpus.languages().zip(vectors.rows()) {
        if let Some(label) = languages.iter().position(|&language| language == text_language) {
            known.extend(vector);
            labels.push(label);
        }
    }
    let weights = vec![1.0; labels.len()];
    train(&known, &labels, &weights, languages.len())
}

fn plain(texts: &Translated) -> BTreeMap<Language, String> {
    texts.iter().map(|(&language, Lined { value, .. })| (language, value.trim().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Lesson;

    #[test]
    fn an_intent_of_many_examples_has_to_be_nearer() {
        // Three intents and the background, each along an axis of its own; the second has its example four times.
        let classes = [0, 1, 1, 1, 1, 2, 3];
        let vectors: Vec<f32> =
            classes.iter().flat_map(|&class| (0..4).map(move |axis| if axis == class { 1.0 } else { 0.0 })).collect();
        let lesson = |&class: &usize| {
            let weight = if class == 1 { 0.25 } else { 1.0 };
            Some(Lesson { class, weight, neighbour: true })
        };
        let lessons = Lessons {
            small_talk: Vec::new(),
            lessons: classes.iter().map(lesson).collect(),
            background: 3,
            evidence: 1.0,
            notices: Vec::new(),
        };
        let decider = Decider::of(&lessons, &vectors).expect("examples that fit");
        let scores: Vec<f32> = decider.scores(&[0.5; 4]).collect();
        assert!((scores[0] - scores[2]).abs() < 0.01, "{scores:?}");
        let lower = scores[0] - scores[1];
        assert!((0.5..0.8).contains(&lower), "{lower} lower, of 0.62 for four times the examples");
    }
}
