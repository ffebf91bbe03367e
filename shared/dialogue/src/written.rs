//! The answers that somebody wrote: the pack's, found by the model, and what the bot says of itself.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use hoopoe_encoder::{Embeddings, Encoder, EncoderError, EncoderFiles, Options};
use hoopoe_knowledge::{Date, Knowledge, LoadError, Suggestion, TextName};
use hoopoe_message::{ChannelEvent, Command, Content, Decision, InboundMessage, Language, Timestamp};
use hoopoe_store::Session;
use hoopoe_store::turns::Answer;
use hoopoe_telemetry::metrics;

use crate::responder::{Responder, Response};

/// The model and what the bot knows.
pub struct Written {
    encoder: Mutex<Encoder>,
    knowledge: Knowledge,
}

/// Why the bundle cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum WrittenError {
    /// The model.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// What the bot knows.
    #[error(transparent)]
    Knowledge(#[from] LoadError),
}

/// The questions of a batch, encoded together.
pub struct Questions {
    /// For each message the row of its question, where it has one.
    rows: Vec<Option<usize>>,
    /// `None` where ONNX Runtime failed on them together: each is encoded alone then.
    embeddings: Option<Embeddings>,
}

impl Written {
    /// Loads both from the function's bundle.
    ///
    /// # Errors
    ///
    /// Names the file that is missing or does not fit the others.
    pub fn load(bundle: &Path) -> Result<Self, WrittenError> {
        let encoder = {
            let _span = tracing::info_span!("load_encoder").entered();
            Encoder::load(&EncoderFiles::in_bundle(bundle), Options::from_environment())?
        };
        let _span = tracing::info_span!("load_knowledge").entered();
        let knowledge = Knowledge::load(&bundle.join("knowledge.idx"), encoder.model_id())?;
        Ok(Self { encoder: Mutex::new(encoder), knowledge })
    }

    /// Encodes texts, in one run where they fit.
    fn encode(&self, texts: &[&str]) -> Result<Embeddings, EncoderError> {
        self.encoder.lock().unwrap_or_else(PoisonError::into_inner).encode(texts)
    }

    fn obey(&self, command: Command, session: &mut Session, now: Timestamp) -> Response {
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

    fn decide(&self, question: &str, embedding: &[f32], session: &mut Session, now: Timestamp) -> Response {
        let language = session.chosen_language.unwrap_or_else(|| {
            let spoken = self.knowledge.language_of(question, embedding, session.spoken_language);
            session.spoken_language = Some(spoken);
            spoken
        });
        use hoopoe_knowledge::Decision as Decided;
        match self.knowledge.decide(embedding, question, language, Date::of(now)) {
            Decided::Answer { intent, text, suggestions, probability } => {
                metrics::ANSWERED.add(1, [self.knowledge.name(), intent]);
                let decision = Decision::Answer { intent: intent.to_owned(), probability };
                offer(session, text, &suggestions, Some(decision))
            }
            Decided::Suggest { intents } => {
                metrics::SUGGESTED.add(1, [self.knowledge.name()]);
                let nearest = intents.first().map(|nearest| Decision::Suggest {
                    intent: nearest.intent.to_owned(),
                    probability: nearest.probability,
                });
                offer(session, self.knowledge.text(TextName::DidYouMean, language), &intents, nearest)
            }
            Decided::Fallback => {
                metrics::FALLBACKS.add(1, [self.knowledge.name()]);
                offer(session, self.knowledge.text(TextName::Fallback, language), &[], Some(Decision::Fallback))
            }
        }
    }

    /// The welcome and the questions it offers; in every language of the pack to somebody whose language is not known yet.
    fn welcome(&self, session: &mut Session, now: Timestamp) -> Response {
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
        offer(session, &text, &starters, None)
    }

    fn say(&self, name: TextName, language: Language) -> Response {
        self.text(name, language, None)
    }

    fn text(&self, name: TextName, language: Language, decision: Option<Decision>) -> Response {
        let text = self.knowledge.text(name, language).to_owned();
        Response::Say(Answer { text, suggestions: Vec::new(), decision })
    }

    fn language(&self, session: &Session) -> Language {
        session.chosen_language.or(session.spoken_language).unwrap_or(self.knowledge.default_language())
    }

    /// The quick reply that a bare number means, on platforms that show them as a numbered list.
    fn picked(&self, text: &str, session: &Session) -> Option<&str> {
        let number: usize = text.trim().parse().ok()?;
        let intent = session.offered().get(number.checked_sub(1)?)?;
        self.knowledge.title(intent, self.language(session))
    }
}

impl Responder for Written {
    type Read = Questions;
    type Error = EncoderError;

    fn read(&self, messages: &[&InboundMessage]) -> Questions {
        let mut questions = Vec::with_capacity(messages.len());
        let rows = messages.iter().map(|message| {
            questions.push(question(message)?);
            Some(questions.len() - 1)
        });
        let rows = rows.collect();
        let embeddings = self.encode(&questions);
        if let Err(error) = &embeddings {
            tracing::error!(%error, "the questions of a batch cannot be encoded together");
        }
        Questions { rows, embeddings: embeddings.ok() }
    }

    fn respond(
        &self,
        read: &Questions,
        at: usize,
        message: &InboundMessage,
        session: &mut Session,
        now: Timestamp,
    ) -> Result<Response, EncoderError> {
        assume_language(session, message.language, self.knowledge.languages());
        let text = match &message.content {
            Content::Event(ChannelEvent::Left) => {
                session.forget();
                return Ok(Response::Nothing);
            }
            Content::Event(ChannelEvent::Joined) => return Ok(self.welcome(session, now)),
            Content::Unsupported if session.told_text_only => return Ok(Response::Nothing),
            Content::Unsupported => {
                session.told_text_only = true;
                return Ok(self.say(TextName::TextOnly, self.language(session)));
            }
            Content::Text(text) => text,
        };
        if let Some(command) = Command::parse(text) {
            return Ok(self.obey(command, session, now));
        }
        let picked = self.picked(text, session).map(str::to_owned);
        let text = picked.as_ref().unwrap_or(text);
        match (&picked, &read.embeddings, read.rows[at]) {
            (None, Some(embeddings), Some(row)) => Ok(self.decide(text, embeddings.row(row), session, now)),
            _ => Ok(self.decide(text, self.encode(&[text])?.row(0), session, now)),
        }
    }
}

/// Says a text and offers intents, which the session remembers.
fn offer(session: &mut Session, text: &str, offered: &[Suggestion<'_>], decision: Option<Decision>) -> Response {
    session.offer(offered.iter().map(|suggestion| suggestion.intent.to_owned()));
    let suggestions = offered.iter().map(|suggestion| suggestion.title.to_owned()).collect();
    Response::Say(Answer { text: text.to_owned(), suggestions, decision })
}

/// Takes the language that the platform states for the person's own, if the bot speaks it and nothing better is known.
fn assume_language(session: &mut Session, stated: Option<Language>, spoken_by_bot: &[Language]) {
    if session.spoken_language.is_none() {
        session.spoken_language = stated.filter(|language| spoken_by_bot.contains(language));
    }
}

/// The text of a message that the model has to read; `None` for events and commands.
fn question(message: &InboundMessage) -> Option<&str> {
    match &message.content {
        Content::Text(text) if Command::parse(text).is_none() => Some(text),
        _ => None,
    }
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
