//! One message, and what the bot says to it.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use hoopoe_encoder::{Embeddings, Encoder, EncoderError, EncoderFiles, Options};
use hoopoe_knowledge::{Date, Knowledge, TextName};
use hoopoe_message::{ChannelEvent, Command, Content, Decision, InboundMessage, Language, Timestamp};
use hoopoe_store::Session;
use hoopoe_telemetry::{count, count_with};
use lambda_runtime::Error;

/// Of a question the session keeps this much.
const MAX_KEPT: usize = 500;

/// The model and what the bot knows.
pub(crate) struct Answerer {
    encoder: Mutex<Encoder>,
    knowledge: Knowledge,
}

/// What the bot says.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    /// This, to this question.
    Say { question: String, text: String, suggestions: Vec<String>, decision: Option<Decision> },
    /// Nothing: it was said before, or nobody is there to hear it.
    Nothing,
    /// Nothing, and the session is to be forgotten.
    Leave,
}

impl Answerer {
    /// Loads both from the function's bundle.
    ///
    /// # Errors
    ///
    /// Names the file that is missing or does not fit the others.
    pub(crate) fn load(bundle: &Path) -> Result<Self, Error> {
        let encoder = {
            let _span = tracing::info_span!("load_encoder").entered();
            Encoder::load(&EncoderFiles::in_bundle(bundle), Options::from_environment())?
        };
        let _span = tracing::info_span!("load_knowledge").entered();
        let knowledge = Knowledge::load(&bundle.join("knowledge.idx"), encoder.model_id())?;
        Ok(Self { encoder: Mutex::new(encoder), knowledge })
    }

    /// Encodes texts, in one run where they fit.
    ///
    /// # Errors
    ///
    /// When ONNX Runtime fails.
    pub(crate) fn encode(&self, texts: &[&str]) -> Result<Embeddings, EncoderError> {
        self.encoder.lock().unwrap_or_else(PoisonError::into_inner).encode(texts)
    }

    /// What the bot says to a message. `embedding` is that of its [`question`], where it has one. The session learns
    /// the language of the message, or, until one showed any, the language that the platform states.
    ///
    /// # Errors
    ///
    /// When ONNX Runtime fails.
    pub(crate) fn answer(
        &self,
        message: &InboundMessage,
        session: &mut Session,
        embedding: Option<&[f32]>,
        now: Timestamp,
    ) -> Result<Answer, EncoderError> {
        assume_language(session, message.language, self.knowledge.languages());
        match &message.content {
            Content::Event(ChannelEvent::Left) => Ok(Answer::Leave),
            Content::Event(ChannelEvent::Joined) => Ok(self.welcome(session, now)),
            Content::Unsupported if session.told_text_only => Ok(Answer::Nothing),
            Content::Unsupported => {
                session.told_text_only = true;
                Ok(self.say(TextName::TextOnly, self.language(session)))
            }
            Content::Text(text) => match Command::parse(text) {
                Some(command) => Ok(self.obey(command, session, now)),
                None => match picked(text, session) {
                    Some(title) => {
                        let embedding = self.encode(&[&title])?;
                        Ok(self.decide(&title, embedding.row(0), session, now))
                    }
                    None => match embedding {
                        Some(embedding) => Ok(self.decide(text, embedding, session, now)),
                        None => {
                            let embedding = self.encode(&[text])?;
                            Ok(self.decide(text, embedding.row(0), session, now))
                        }
                    },
                },
            },
        }
    }

    fn obey(&self, command: Command, session: &mut Session, now: Timestamp) -> Answer {
        match command {
            Command::Start => self.welcome(session, now),
            Command::Help | Command::Lang(None) => self.say(TextName::Help, self.language(session)),
            Command::New => {
                let language = self.language(session);
                session.forget();
                self.say(TextName::Forgotten, language)
            }
            Command::Lang(Some(language)) if self.knowledge.languages().contains(&language) => {
                session.chosen_language = Some(language);
                self.say(TextName::LanguageSet, language)
            }
            Command::Lang(Some(_)) => {
                let languages = self.knowledge.languages().to_vec();
                self.text(TextName::Help, self.language(session), Some(Decision::UnknownLanguage { languages }))
            }
        }
    }

    fn decide(&self, question: &str, embedding: &[f32], session: &mut Session, now: Timestamp) -> Answer {
        let language = session.chosen_language.unwrap_or_else(|| {
            let spoken = self.knowledge.language_of(question, embedding, session.spoken_language);
            session.spoken_language = Some(spoken);
            spoken
        });
        let question_kept = question[..question.floor_char_boundary(MAX_KEPT)].to_owned();
        use hoopoe_knowledge::Decision as Decided;
        match self.knowledge.decide(embedding, question, language, Date::of(now)) {
            Decided::Answer { intent, text, suggestions, probability } => {
                count_with("Answered", 1, ("Pack", self.knowledge.name()), ("Intent", intent));
                Answer::Say {
                    question: question_kept,
                    text: text.to_owned(),
                    suggestions: suggestions.into_iter().map(str::to_owned).collect(),
                    decision: Some(Decision::Answer { intent: intent.to_owned(), probability }),
                }
            }
            Decided::Suggest { intents } => {
                count("Suggested", 1, ("Pack", self.knowledge.name()));
                Answer::Say {
                    question: question_kept,
                    text: self.knowledge.text(TextName::DidYouMean, language).to_owned(),
                    suggestions: intents.iter().map(|suggestion| suggestion.title.to_owned()).collect(),
                    decision: intents.first().map(|nearest| Decision::Suggest {
                        intent: nearest.intent.to_owned(),
                        probability: nearest.probability,
                    }),
                }
            }
            Decided::Fallback => {
                count("Fallbacks", 1, ("Pack", self.knowledge.name()));
                Answer::Say {
                    question: question_kept,
                    text: self.knowledge.text(TextName::Fallback, language).to_owned(),
                    suggestions: Vec::new(),
                    decision: Some(Decision::Fallback),
                }
            }
        }
    }

    /// The welcome and the questions it offers; in every language of the pack to somebody whose language is not known yet.
    fn welcome(&self, session: &Session, now: Timestamp) -> Answer {
        let text = match session.chosen_language.or(session.spoken_language) {
            Some(language) => self.knowledge.text(TextName::Welcome, language).to_owned(),
            None => {
                let all: Vec<&str> = self
                    .knowledge
                    .languages()
                    .iter()
                    .map(|language| self.knowledge.text(TextName::Welcome, *language))
                    .collect();
                all.join("\n\n")
            }
        };
        let starters = self.knowledge.starters(self.language(session), Date::of(now));
        let suggestions = starters.into_iter().map(str::to_owned).collect();
        Answer::Say { question: String::new(), text, suggestions, decision: None }
    }

    fn say(&self, name: TextName, language: Language) -> Answer {
        self.text(name, language, None)
    }

    fn text(&self, name: TextName, language: Language, decision: Option<Decision>) -> Answer {
        let text = self.knowledge.text(name, language).to_owned();
        Answer::Say { question: String::new(), text, suggestions: Vec::new(), decision }
    }

    fn language(&self, session: &Session) -> Language {
        session.chosen_language.or(session.spoken_language).unwrap_or(self.knowledge.default_language())
    }
}

/// Takes the language that the platform states for the person's own, if the bot speaks it and nothing better is known.
fn assume_language(session: &mut Session, stated: Option<Language>, spoken_by_bot: &[Language]) {
    if session.spoken_language.is_none() {
        session.spoken_language = stated.filter(|language| spoken_by_bot.contains(language));
    }
}

/// The text of a message that the model has to read; `None` for events and commands.
pub(crate) fn question(message: &InboundMessage) -> Option<&str> {
    match &message.content {
        Content::Text(text) if Command::parse(text).is_none() => Some(text),
        _ => None,
    }
}

/// The quick reply that a bare number means, on platforms that show them as a numbered list.
fn picked(text: &str, session: &Session) -> Option<String> {
    let number: usize = text.trim().parse().ok()?;
    session.last_turn()?.suggestions.get(number.checked_sub(1)?).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stated_language_counts_until_a_better_one_is_known() {
        let [zh, en, fr] = ["zh", "en", "fr"].map(|code| code.parse::<Language>().expect("a language"));
        let mut session = Session::default();
        assume_language(&mut session, None, &[zh, en]);
        assume_language(&mut session, Some(fr), &[zh, en]);
        assert_eq!(session.spoken_language, None, "the bot does not speak it");
        assume_language(&mut session, Some(zh), &[zh, en]);
        assert_eq!(session.spoken_language, Some(zh));
        session.spoken_language = Some(en);
        assume_language(&mut session, Some(zh), &[zh, en]);
        assert_eq!(session.spoken_language, Some(en), "the person's words count for more");
        session.forget();
        assume_language(&mut session, Some(zh), &[zh, en]);
        assert_eq!(session.spoken_language, Some(zh), "it is stated again with each message");
    }
}
