//! What the bot knows, loaded: answers questions that are already encoded.

use std::collections::BTreeMap;
use std::path::Path;

use hoopoe_message::Language;

use crate::index::{Index, Intent, LoadError};
use crate::ranking::{Outcome, Ranking};
use crate::{Date, TextName, script, wording};

/// A built pack.
#[derive(Debug)]
pub struct Knowledge {
    index: Index,
}

/// What the bot says to a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision<'k> {
    /// It knows.
    Answer {
        /// The intent's id.
        intent: &'k str,
        /// The answer.
        text: &'k str,
        /// What may be asked next: titles of other intents, at most 3.
        suggestions: Vec<&'k str>,
        /// How probable it is that the intent is the right one; 1 where the pack has these very words.
        probability: f32,
    },
    /// It may be one of these: at most 3, the most probable first, at least one.
    Suggest {
        /// The intents to choose from.
        intents: Vec<Suggestion<'k>>,
    },
    /// Nothing in the pack is near.
    Fallback,
}

/// An intent that is offered; its title, sent as a message, is answered with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suggestion<'k> {
    /// The intent's id.
    pub intent: &'k str,
    /// The intent's title.
    pub title: &'k str,
}

impl Knowledge {
    /// Reads an index from its file. `model` is the identity of the encoder whose embeddings will be asked about.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or was built with another model.
    pub fn load(path: &Path, model: &str) -> Result<Self, LoadError> {
        let bytes = std::fs::read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        Self::from_bytes(&bytes, model)
    }

    /// Reads an index from the bytes of its file.
    ///
    /// # Errors
    /// When they are damaged, or were built with another model.
    pub fn from_bytes(bytes: &[u8], model: &str) -> Result<Self, LoadError> {
        let index = Index::decode(bytes)?;
        if index.model == model {
            Ok(Self { index })
        } else {
            Err(LoadError::Model { index: index.model, loaded: model.to_owned() })
        }
    }

    /// The pack's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.index.name
    }

    /// The languages it answers in.
    #[must_use]
    pub fn languages(&self) -> &[Language] {
        &self.index.languages
    }

    /// The language that stands in for one it does not have.
    #[must_use]
    pub fn default_language(&self) -> Language {
        self.index.default_language
    }

    /// The number of intents.
    #[must_use]
    pub fn intents(&self) -> usize {
        self.index.intents.len()
    }

    /// The digest of the pack it was built from.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.index.digest
    }

    /// What the bot says of itself, in the default language where the pack has no other.
    #[must_use]
    pub fn text(&self, name: TextName, language: Language) -> &str {
        self.translation(&self.index.texts[&name], language)
    }

    /// The language to answer a text in, among [`Self::languages`].
    ///
    /// Its script decides; among several languages of that script, its embedding. Where the text does not tell (an
    /// order number, an emoji, a language the pack does not have), it is the `conversation`'s language so far, and
    /// without one the default.
    ///
    /// # Panics
    /// When the embedding is not of the length the index was built with.
    #[must_use]
    pub fn language_of(&self, text: &str, embedding: &[f32], conversation: Option<Language>) -> Language {
        let languages = &self.index.languages;
        let mut candidates = script::candidates(text, languages);
        match (candidates.next(), candidates.next()) {
            (Some(only), None) => only,
            (Some(first), Some(second)) => {
                let scores = self.index.tongues.scores(embedding);
                let candidates: Vec<Language> = [first, second].into_iter().chain(candidates).collect();
                let scored = languages.iter().zip(scores).filter(|(language, _)| candidates.contains(language));
                scored.max_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(first, |(&language, _)| language)
            }
            _ => conversation.filter(|known| languages.contains(known)).unwrap_or(self.index.default_language),
        }
    }

    /// What to say to a question on a day, in a language.
    ///
    /// The very words of a title or an utterance, case, spaces and punctuation aside, are answered without doubt.
    ///
    /// # Panics
    /// When the embedding is not of the length the index was built with.
    #[must_use]
    pub fn decide(&self, embedding: &[f32], text: &str, language: Language, today: Date) -> Decision<'_> {
        let may_answer = |intent: usize| self.index.intents[intent].valid.includes(today);
        if let Some(intent) = self.worded(text).filter(|&intent| may_answer(intent)) {
            return self.answer(intent, language, today, 1.0);
        }
        let ranking = Ranking::of(self.index.topics.scores(embedding), may_answer);
        match (self.index.thresholds.outcome(&ranking), ranking.nearest()) {
            (Outcome::Answer, [first, ..]) => self.answer(first.intent, language, today, first.probability),
            (Outcome::Suggest, nearest) => {
                let intents = nearest.iter().map(|ranked| {
                    let intent = &self.index.intents[ranked.intent];
                    Suggestion { intent: &intent.id, title: self.translation(&intent.titles, language) }
                });
                Decision::Suggest { intents: intents.collect() }
            }
            _ => Decision::Fallback,
        }
    }

    fn answer(&self, intent: usize, language: Language, today: Date, probability: f32) -> Decision<'_> {
        let Intent { id, answers, suggestions, .. } = &self.index.intents[intent];
        let others = suggestions.iter().map(|&other| &self.index.intents[place(other)]);
        let titles = others.filter(|other| other.valid.includes(today));
        Decision::Answer {
            intent: id,
            text: self.translation(answers, language),
            suggestions: titles.map(|other| self.translation(&other.titles, language)).collect(),
            probability,
        }
    }

    /// The intent that has these very words among its titles and utterances.
    fn worded(&self, text: &str) -> Option<usize> {
        let wordings = &self.index.wordings;
        let key = wording::key(text);
        let found = wordings.binary_search_by(|(wording, _)| wording.as_str().cmp(&key)).ok()?;
        Some(place(wordings[found].1))
    }

    fn translation<'k>(&self, texts: &'k BTreeMap<Language, String>, language: Language) -> &'k str {
        texts.get(&language).unwrap_or_else(|| &texts[&self.index.default_language])
    }
}

fn place(intent: u32) -> usize {
    usize::try_from(intent).expect("a validated index names intents that it holds")
}
