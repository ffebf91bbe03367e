//! `hoopoe knowledge ask`: what a pack answers, without a stack.

use std::fmt;

use clap::Args;
use hoopoe_knowledge::{Date, Decision, TextName};
use hoopoe_message::{Language, Timestamp};
use serde::Serialize;

use super::{Built, Sources, build};
use crate::{Global, output};

const EXAMPLES: &str = "\
Examples:
  hoopoe knowledge ask \"when are you open\" --pack my-bot
  hoopoe knowledge ask \"几点开门\" --json            the same for a program
";

/// How many of the nearest intents are shown.
const NEAREST: usize = 5;

/// Ask a pack a question, without a stack: the answer, and which intents are near.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Ask {
    /// The question.
    question: String,
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    built: Built,
}

#[derive(Serialize)]
struct Asked {
    /// `answer`, `suggestions` or `fallback`.
    outcome: &'static str,
    /// The intent of an answer.
    intent: Option<String>,
    probability: Option<f32>,
    language: Language,
    text: String,
    suggestions: Vec<String>,
    /// The most probable intents, and the background as null.
    nearest: Vec<(Option<String>, f32)>,
}

impl Ask {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<()> {
        let pack = self.sources.pack()?;
        let mut vectors = self.sources.vectors()?;
        let folder = build::folder(self.built.out, &self.sources.pack)?;
        let knowledge = build::built(&pack, &mut vectors, &folder)?;
        let embedding = vectors.encode(&self.question)?;
        let language = knowledge.language_of(&self.question, &embedding, None);
        let nearest = knowledge.nearest(&embedding, NEAREST);
        let text = |name| knowledge.text(name, language).to_owned();
        let mut asked = Asked {
            outcome: "fallback",
            intent: None,
            probability: None,
            language,
            text: text(TextName::Fallback),
            suggestions: Vec::new(),
            nearest: nearest
                .into_iter()
                .map(|(intent, probability)| (intent.map(str::to_owned), probability))
                .collect(),
        };
        match knowledge.decide(&embedding, &self.question, language, Date::of(Timestamp::now())) {
            Decision::Answer { intent, text, suggestions, probability } => {
                asked.outcome = "answer";
                (asked.intent, asked.probability) = (Some(intent.to_owned()), Some(probability));
                asked.text = text.to_owned();
                asked.suggestions = suggestions.into_iter().map(|next| next.title.to_owned()).collect();
            }
            Decision::Suggest { intents } => {
                asked.outcome = "suggestions";
                asked.text = text(TextName::DidYouMean);
                asked.suggestions = intents.into_iter().map(|near| near.title.to_owned()).collect();
            }
            Decision::Fallback => {}
        }
        if global.json { output::json(&asked) } else { output::line(asked.to_string().trim_end()) }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for suggestion in &self.suggestions {
            writeln!(f, "  [{suggestion}]")?;
        }
        match (&self.intent, self.outcome) {
            (Some(intent), _) if self.probability >= Some(1.0) => {
                writeln!(f, "\nAnswered with {intent}, which has these very words. Without them:")?;
            }
            (Some(intent), _) => writeln!(f, "\nAnswered with {intent}. How probable each is:")?,
            (None, "suggestions") => writeln!(f, "\nOffered, because none is sure enough. How probable each is:")?,
            (None, _) => writeln!(f, "\nThe fallback, because nothing is near. How probable each is:")?,
        }
        for (intent, probability) in &self.nearest {
            let intent = intent.as_deref().unwrap_or("(nothing that the bot answers)");
            writeln!(f, "{:>6.1} %  {intent}", probability * 100.0)?;
        }
        Ok(())
    }
}
