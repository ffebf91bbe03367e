//! How the bot came to its answers.
//!
//! That is no business of the page's visitors, so the web chat's API does not tell it. `deliver` writes it to the
//! transcript, which this reads with the operator's own rights.

use hoopoe_channels::webchat::SessionId;
use hoopoe_channels::webchat::api::Message;
use hoopoe_message::{BotId, Channel, Conversation, Decision, Timestamp};
use hoopoe_store::Transcripts;

use crate::stack::Stack;

/// The decisions in one conversation on the web chat.
pub(super) struct Decisions {
    transcripts: Transcripts,
    conversation: Conversation,
}

/// The decision behind one answer; none for commands and events.
pub(super) struct Decided(Option<Decision>);

impl Decisions {
    /// Those of the session that a token names.
    ///
    /// # Errors
    ///
    /// If an older template deployed the stack, or the token is not one of the web chat.
    pub(super) fn of_session(stack: &Stack, bot: &BotId, token: &str) -> anyhow::Result<Self> {
        let session: SessionId = token.split('.').next().unwrap_or_default().parse()?;
        let chat = session.as_str().to_owned();
        Ok(Self {
            transcripts: Transcripts::new(stack.config(), stack.output("TranscriptsTableName")?.to_owned()),
            conversation: Conversation { channel: Channel::Webchat, bot: bot.clone(), chat },
        })
    }

    /// The decision behind an answer.
    ///
    /// # Errors
    ///
    /// If the table of transcripts does not answer.
    pub(super) async fn of(&self, answer: &Message) -> anyhow::Result<Decided> {
        let before = answer.seq.saturating_sub(1);
        let entries = self.transcripts.after(&self.conversation, before, 1, Timestamp::now()).await?;
        let entry = entries.into_iter().find(|entry| entry.seq == answer.seq);
        Ok(Decided(entry.and_then(|entry| entry.decision)))
    }
}

impl Decided {
    /// `answer`, `suggest` or `fallback`.
    pub(super) const fn kind(&self) -> Option<&'static str> {
        match &self.0 {
            Some(Decision::Answer { .. }) => Some("answer"),
            Some(Decision::Suggest { .. }) => Some("suggest"),
            Some(Decision::Fallback) => Some("fallback"),
            Some(Decision::UnknownLanguage { .. }) | None => None,
        }
    }

    /// The id of the intent that was answered, or suggested first.
    pub(super) fn intent(&self) -> Option<&str> {
        match &self.0 {
            Some(Decision::Answer { intent, .. } | Decision::Suggest { intent, .. }) => Some(intent),
            _ => None,
        }
    }

    /// How probable that intent is, 0 to 1, to four digits.
    pub(super) fn probability(&self) -> Option<f64> {
        match &self.0 {
            Some(Decision::Answer { probability, .. } | Decision::Suggest { probability, .. }) => {
                Some((f64::from(*probability) * 1e4).round() / 1e4)
            }
            _ => None,
        }
    }

    /// The languages the bot has, if it was asked for another one.
    pub(super) fn languages_instead(&self) -> Option<String> {
        match &self.0 {
            Some(Decision::UnknownLanguage { languages }) => {
                Some(languages.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_decided_is_told_in_words_and_numbers() {
        let told = |decision| {
            let decided = Decided(decision);
            (decided.kind(), decided.intent().map(str::to_owned), decided.probability())
        };
        let answer = Decision::Answer { intent: "track_parcel".into(), probability: 0.973_14 };
        assert_eq!(told(Some(answer)), (Some("answer"), Some("track_parcel".into()), Some(0.9731)));
        assert_eq!(told(Some(Decision::Fallback)), (Some("fallback"), None, None));
        assert_eq!(told(None), (None, None, None));
        let languages = ["zh", "en"].map(|code| code.parse().expect("a code")).to_vec();
        let unknown = Decided(Some(Decision::UnknownLanguage { languages }));
        assert_eq!((unknown.kind(), unknown.languages_instead().as_deref()), (None, Some("zh, en")));
    }
}
