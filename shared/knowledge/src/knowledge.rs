//! What the bot knows, loaded: answers questions that are already encoded.

use std::collections::BTreeMap;
use std::path::Path;

use hoopoe_message::Language;

use crate::index::{Index, Intent, LoadError};
use crate::neighbours;
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
        /// What may be asked next: other intents, at most 3.
        suggestions: Vec<Suggestion<'k>>,
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
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suggestion<'k> {
    /// The intent's id.
    pub intent: &'k str,
    /// The intent's title.
    pub title: &'k str,
    /// How probable it is that the intent is the right one; 0 where it is only what may be asked next.
    pub probability: f32,
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
        let ranking = Ranking::of(neighbours::scores(&self.index.topics, &self.index.examples, embedding), may_answer);
        match (self.index.thresholds.outcome(&ranking), ranking.nearest()) {
            (Outcome::Answer, [first, ..]) => self.answer(first.intent, language, today, first.probability),
            (Outcome::Suggest, nearest) => {
                let intents = nearest.iter().map(|ranked| (ranked, &self.index.intents[ranked.intent]));
                let offered: Vec<Suggestion<'_>> = intents
                    .filter(|(_, intent)| intent.offered)
                    .map(|(ranked, intent)| Suggestion {
                        intent: &intent.id,
                        title: self.translation(&intent.titles, language),
                        probability: ranked.probability,
                    })
                    .collect();
                if offered.is_empty() { Decision::Fallback } else { Decision::Suggest { intents: offered } }
            }
            _ => Decision::Fallback,
        }
    }

    /// The most probable classes for a question, most probable first, whatever the day and the thresholds: the ids of
    /// intents, and `None` for what the pack does not answer.
    ///
    /// # Panics
    /// When the embedding is not of the length the index was built with.
    #[must_use]
    pub fn nearest(&self, embedding: &[f32], most: usize) -> Vec<(Option<&str>, f32)> {
        let scores: Vec<f32> = neighbours::scores(&self.index.topics, &self.index.examples, embedding).collect();
        let greatest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = scores.iter().map(|score| (score - greatest).exp()).sum();
        let mut nearest: Vec<(Option<&str>, f32)> = (scores.iter().enumerate())
            .map(|(class, score)| {
                (self.index.intents.get(class).map(|intent| intent.id.as_str()), (score - greatest).exp() / sum)
            })
            .collect();
        nearest.sort_by(|a, b| b.1.total_cmp(&a.1));
        nearest.truncate(most);
        nearest
    }

    /// The intents that the welcome offers on a day, at most 3.
    #[must_use]
    pub fn starters(&self, language: Language, today: Date) -> Vec<Suggestion<'_>> {
        self.offer(&self.index.starters, language, today)
    }

    /// The title of an intent; `None` where the pack has no such intent.
    #[must_use]
    pub fn title(&self, intent: &str, language: Language) -> Option<&str> {
        let intent = self.index.intents.iter().find(|known| known.id == intent)?;
        Some(self.translation(&intent.titles, language))
    }

    fn offer(&self, intents: &[u32], language: Language, today: Date) -> Vec<Suggestion<'_>> {
        let intents = intents.iter().map(|&intent| &self.index.intents[place(intent)]);
        let open = intents.filter(|intent| intent.valid.includes(today));
        open.map(|intent| Suggestion {
            intent: &intent.id,
            title: self.translation(&intent.titles, language),
            probability: 0.0,
        })
        .collect()
    }

    fn answer(&self, intent: usize, language: Language, today: Date, probability: f32) -> Decision<'_> {
        let Intent { id, answers, suggestions, .. } = &self.index.intents[intent];
        Decision::Answer {
            intent: id,
            text: self.translation(answers, language),
            suggestions: self.offer(suggestions, language, today),
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

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use hoopoe_message::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::neighbours::Neighbours;
    use crate::{Classifier, Thresholds, Validity};

    fn language(code: &str) -> Language {
        code.parse().expect("a code")
    }

    fn date(text: &str) -> Date {
        text.parse().expect("a date")
    }

    fn both(zh: &str, en: &str) -> BTreeMap<Language, String> {
        [(language("zh"), zh.to_owned()), (language("en"), en.to_owned())].into()
    }

    /// Five intents, each along an axis of its own; the background along a sixth. The second is valid in 2026 only.
    pub(crate) fn sample() -> Index {
        let intents = (0..5_u32).map(|nth| Intent {
            id: format!("intent_{nth}"),
            valid: match nth {
                1 => Validity { from: Some(date("2026-01-01")), until: Some(date("2026-12-31")) },
                _ => Validity::default(),
            },
            titles: both(&format!("标题{nth}"), &format!("Title {nth}")),
            answers: match nth {
                4 => [(language("en"), "Only English".to_owned())].into(),
                _ => both(&format!("回答{nth}"), &format!("Answer {nth}")),
            },
            suggestions: if nth == 0 { vec![1, 2] } else { vec![] },
            offered: nth != 3,
        });
        let mut weights = vec![0.0; 36];
        (0..6).for_each(|class| weights[class * 7] = 8.0);
        let mut wordings: Vec<(String, u32)> =
            (0..5).flat_map(|nth| [(format!("title{nth}"), nth), (format!("标题{nth}"), nth)]).collect();
        wordings.sort();
        Index {
            name: "sample".into(),
            model: "model-a".into(),
            digest: [7; 32],
            languages: vec![language("zh"), language("en"), language("es")],
            default_language: language("en"),
            texts: TextName::ALL.map(|name| (name, both(&format!("{name} 中文"), &format!("{name} English")))).into(),
            starters: vec![0, 1],
            thresholds: Thresholds { answer: 0.6, scope: 0.5, suggest: 0.3 },
            intents: intents.collect(),
            wordings,
            topics: Classifier::new(6, weights, vec![0.0; 6]).expect("they fit"),
            // One example for all, so that it tells nothing.
            examples: Neighbours::new(&[1.0; 36], &[0, 1, 2, 3, 4, 5], 6).expect("they fit"),
            // Spanish is what points along the sixth axis, English what does not.
            tongues: Classifier::new(6, [vec![0.0; 17], vec![2.0]].concat(), vec![0.0, 1.0, 0.0]).expect("they fit"),
        }
    }

    fn knowledge() -> Knowledge {
        Knowledge::from_bytes(&sample().encode(), "model-a").expect("a whole index")
    }

    fn titles<'k>(suggestions: &[Suggestion<'k>]) -> Vec<&'k str> {
        suggestions.iter().map(|suggestion| suggestion.title).collect()
    }

    fn axis(nth: usize) -> [f32; 6] {
        let mut vector = [0.0; 6];
        vector[nth] = 1.0;
        vector
    }

    #[test]
    fn an_index_of_another_model_is_refused() {
        let error = Knowledge::from_bytes(&sample().encode(), "model-b").expect_err("another model");
        assert!(error.to_string().contains("model-a") && error.to_string().contains("model-b"), "{error}");
    }

    #[test]
    fn a_missing_file_says_how_to_get_one() {
        let error = Knowledge::load(Path::new("/nowhere/knowledge.idx"), "model-a").expect_err("no file");
        assert!(error.to_string().contains("hoopoe knowledge build"), "{error}");
    }

    #[test]
    fn a_near_question_is_answered_with_what_may_be_asked_next() {
        let knowledge = knowledge();
        let today = date("2026-06-01");
        match knowledge.decide(&axis(0), "something", language("zh"), today) {
            Decision::Answer { intent: "intent_0", text: "回答0", suggestions, probability } => {
                assert_eq!(titles(&suggestions), ["标题1", "标题2"]);
                assert!(probability > 0.9, "{probability}");
            }
            other => panic!("{other:?}"),
        }
        // Out of its dates a suggestion is not offered.
        let later = knowledge.decide(&axis(0), "something", language("zh"), date("2027-01-01"));
        assert!(matches!(later, Decision::Answer { suggestions, .. } if titles(&suggestions) == ["标题2"]));
    }

    #[test]
    fn between_intents_it_suggests_and_far_from_all_it_falls_back() {
        let knowledge = knowledge();
        let between = [0.5, 0.0, 0.5, 0.0, 0.0, 0.0];
        match knowledge.decide(&between, "something", language("en"), date("2026-06-01")) {
            Decision::Suggest { intents } => {
                let named: Vec<_> = intents.iter().map(|suggestion| (suggestion.intent, suggestion.title)).collect();
                assert_eq!(named[..2], [("intent_0", "Title 0"), ("intent_2", "Title 2")]);
                assert!(intents[0].probability >= intents[1].probability && intents[1].probability > 0.0);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(knowledge.decide(&axis(5), "x", language("en"), date("2026-06-01")), Decision::Fallback);
    }

    #[test]
    fn the_very_words_are_answered_whatever_the_vector() {
        let knowledge = knowledge();
        let decision = knowledge.decide(&axis(5), " title 3!", language("en"), date("2026-06-01"));
        assert!(matches!(decision, Decision::Answer { intent: "intent_3", probability: 1.0, .. }), "{decision:?}");
    }

    #[test]
    fn validity_includes_its_first_and_last_day() {
        let knowledge = knowledge();
        for (day, answered) in
            [("2025-12-31", false), ("2026-01-01", true), ("2026-12-31", true), ("2027-01-01", false)]
        {
            let decision = knowledge.decide(&axis(1), "Title 1", language("en"), date(day));
            assert_eq!(matches!(decision, Decision::Answer { intent: "intent_1", .. }), answered, "{day}");
        }
    }

    #[test]
    fn a_missing_translation_is_given_in_the_default_language() {
        let knowledge = knowledge();
        let decision = knowledge.decide(&axis(4), "x", language("zh"), date("2026-06-01"));
        assert!(matches!(decision, Decision::Answer { text: "Only English", .. }));
        assert_eq!(knowledge.text(TextName::Help, language("zh")), "help 中文");
        assert_eq!(knowledge.text(TextName::Help, language("es")), "help English");
    }

    #[test]
    fn a_text_is_answered_in_its_language_and_else_in_the_conversations() {
        let knowledge = knowledge();
        let zh = Some(language("zh"));
        assert_eq!(knowledge.language_of("忘记密码", &axis(0), None), language("zh"));
        assert_eq!(knowledge.language_of("where is it", &axis(0), zh), language("en"));
        assert_eq!(knowledge.language_of("donde esta", &axis(5), zh), language("es"));
        assert_eq!(knowledge.language_of("12345 👍", &axis(0), zh), language("zh"));
        assert_eq!(knowledge.language_of("где посылка", &axis(0), None), language("en"));
        assert_eq!(knowledge.language_of("👍", &axis(0), Some(language("fr"))), language("en"));
    }

    proptest! {
        #[test]
        fn what_is_said_is_open_today_and_said_once(
            embedding in prop::collection::vec(-1.0..1.0_f32, 6),
            text in "[a-z标题0-9 ]{0,12}",
            day in 1_700_000_000..1_900_000_000_u64,
            answer in 0.0..1.0_f32,
            suggest in 0.0..1.0_f32,
        ) {
            let mut index = sample();
            index.thresholds = Thresholds { answer, scope: 0.2, suggest };
            let knowledge = Knowledge { index };
            let today = Date::of(Timestamp::from_secs(day));
            let ended = !knowledge.index.intents[1].valid.includes(today);
            let said: Vec<&str> = match knowledge.decide(&embedding, &text, language("en"), today) {
                Decision::Answer { intent, suggestions, .. } => {
                    prop_assert!(!(ended && intent == "intent_1"));
                    titles(&suggestions)
                }
                Decision::Suggest { intents } => {
                    prop_assert!(!intents.is_empty());
                    intents.into_iter().map(|near| near.title).collect()
                }
                Decision::Fallback => vec![],
            };
            prop_assert!(said.len() <= crate::ranking::MAX_SUGGESTIONS);
            prop_assert!(!(ended && said.contains(&"Title 1")));
            prop_assert_eq!(said.iter().collect::<BTreeSet<_>>().len(), said.len());
        }
    }
}
