//! How well built knowledge answers a pack's test questions.

use std::collections::{BTreeMap, HashSet};

use hoopoe_message::Language;
use serde::Serialize;

use crate::pack::{Pack, TestSet};
use crate::{Date, Decision, Knowledge, wording};

/// What became of the questions of a test set.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Over all questions.
    pub overall: Figures,
    /// Over the questions of each language.
    pub languages: BTreeMap<Language, Figures>,
    /// Questions left out, because the pack has their very words.
    pub left_out: usize,
    /// Every question that was not dealt with as its label says.
    pub mistakes: Vec<Mistake>,
}

/// Counts of questions, and what follows from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Questions that an intent answers.
    pub in_scope: usize,
    /// Of these: answered with that intent.
    pub right: usize,
    /// Answered with another.
    pub wrong: usize,
    /// Not answered, but that intent is among the suggestions.
    pub suggested: usize,
    /// Not answered, and it is not.
    pub missed: usize,
    /// Questions that no intent answers.
    pub out_of_scope: usize,
    /// Of these: answered all the same.
    pub false_answers: usize,
    /// Not answered, but something is suggested.
    pub false_suggestions: usize,
    /// Neither.
    pub declined: usize,
}

impl Figures {
    /// Rightly answered questions among those in scope.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        share(self.right, self.in_scope)
    }

    /// Answered questions, rightly or not, among those in scope.
    #[must_use]
    pub fn coverage(&self) -> f64 {
        share(self.right + self.wrong, self.in_scope)
    }

    /// Rightly answered questions among the answered ones.
    #[must_use]
    pub fn precision(&self) -> f64 {
        share(self.right, self.right + self.wrong)
    }

    /// Questions whose intent is among the suggestions, among those in scope that were not answered.
    #[must_use]
    pub fn suggestion_hit_rate(&self) -> f64 {
        share(self.suggested, self.suggested + self.missed)
    }

    /// Answered questions among those out of scope.
    #[must_use]
    pub fn false_answer_rate(&self) -> f64 {
        share(self.false_answers, self.out_of_scope)
    }
}

/// A question that was not dealt with as its label says.
#[derive(Clone, Debug, Serialize)]
pub struct Mistake {
    /// The question.
    pub text: String,
    /// The language it is in.
    pub language: Language,
    /// The line of `test.yaml`.
    pub line: u64,
    /// The intent it asks for; none where it is out of scope.
    pub expected: Option<String>,
    /// The intent it was answered with; none where it was not answered.
    pub answered: Option<String>,
    /// The probability of the answer.
    pub probability: Option<f32>,
    /// The intents that were suggested instead of an answer.
    pub suggested: Vec<String>,
}

/// Asks every question of `test`, whose vectors are `embeddings`: first those in scope, then those out of it. What
/// stands in the pack word for word measures nothing and is left out.
///
/// # Panics
/// When an embedding is not of the length the index was built with.
pub fn evaluate<'e>(
    knowledge: &Knowledge,
    pack: &Pack,
    test: &TestSet,
    embeddings: impl IntoIterator<Item = &'e [f32]>,
    today: Date,
) -> Report {
    let in_scope = test.in_scope.iter().map(|question| (&question.text, question.language, Some(&*question.intent)));
    let out_of_scope = test.out_of_scope.iter().map(|question| (&question.text, question.language, None));
    let mut report =
        Report { overall: Figures::default(), languages: BTreeMap::new(), left_out: 0, mistakes: Vec::new() };
    let known: HashSet<String> = pack.examples().map(|example| wording::key(example.text)).collect();
    for ((text, language, expected), embedding) in in_scope.chain(out_of_scope).zip(embeddings) {
        if known.contains(&wording::key(text)) {
            report.left_out += 1;
            continue;
        }
        let (mut answered, mut suggested) = (None, Vec::new());
        match knowledge.decide(embedding, text, language, today) {
            Decision::Answer { intent, probability, .. } => answered = Some((intent.to_owned(), probability)),
            Decision::Suggest { intents } => suggested.extend(intents.iter().map(|near| near.intent.to_owned())),
            Decision::Fallback => {}
        }
        let answer = answered.as_ref().map(|(intent, _)| intent.as_str());
        let expected = expected.map(String::as_str);
        for figures in [&mut report.overall, report.languages.entry(language).or_default()] {
            let count = match (expected, answer) {
                (Some(expected), Some(answer)) if answer == expected => &mut figures.right,
                (Some(_), Some(_)) => &mut figures.wrong,
                (Some(expected), None) if suggested.iter().any(|near| near == expected) => &mut figures.suggested,
                (Some(_), None) => &mut figures.missed,
                (None, Some(_)) => &mut figures.false_answers,
                (None, None) if suggested.is_empty() => &mut figures.declined,
                (None, None) => &mut figures.false_suggestions,
            };
            *count += 1;
            *if expected.is_some() { &mut figures.in_scope } else { &mut figures.out_of_scope } += 1;
        }
        if answer != expected {
            report.mistakes.push(Mistake {
                text: text.value.clone(),
                language,
                line: text.line,
                expected: expected.map(str::to_owned),
                probability: answered.as_ref().map(|(_, probability)| *probability),
                answered: answered.map(|(intent, _)| intent),
                suggested,
            });
        }
    }
    report
}

#[expect(clippy::cast_precision_loss, reason = "a test set has fewer questions than f64 counts exactly")]
pub(crate) fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
