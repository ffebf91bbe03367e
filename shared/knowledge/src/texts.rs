//! What the bot says of itself.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names the texts under `texts` in `pack.yaml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextName {
    /// To somebody new, and to `/start`.
    Welcome,
    /// To `/help`.
    Help,
    /// To a question it has no answer to.
    Fallback,
    /// Before the titles of the intents it takes to be near.
    DidYouMean,
    /// To `/new`.
    Forgotten,
    /// To `/lang`, in the language that was chosen.
    LanguageSet,
    /// To a picture, a voice message and whatever else is not text.
    TextOnly,
    /// Where a person takes over.
    Handover,
}

impl TextName {
    /// Every text a pack has to have.
    pub const ALL: [Self; 8] = [
        Self::Welcome,
        Self::Help,
        Self::Fallback,
        Self::DidYouMean,
        Self::Forgotten,
        Self::LanguageSet,
        Self::TextOnly,
        Self::Handover,
    ];

    /// The name in `pack.yaml`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Welcome => "welcome",
            Self::Help => "help",
            Self::Fallback => "fallback",
            Self::DidYouMean => "did_you_mean",
            Self::Forgotten => "forgotten",
            Self::LanguageSet => "language_set",
            Self::TextOnly => "text_only",
            Self::Handover => "handover",
        }
    }
}

impl fmt::Display for TextName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
