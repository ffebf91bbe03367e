//! Words as a pack's files may give them: by language, or plain in a pack of one language.

use std::collections::BTreeMap;
use std::fmt;

use hoopoe_message::Language;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::source::Lined;

/// One text in several languages.
pub type Translated = BTreeMap<Language, Lined<String>>;

/// A text: `Menu`, or `{zh: 菜单, en: Menu}`.
#[derive(Clone, Debug)]
pub(super) enum Text {
    Plain(String),
    ByLanguage(Translated),
}

/// Texts: `[the menu, what is there to eat]`, or a list for each language.
#[derive(Clone, Debug)]
pub(super) enum Texts {
    Plain(Vec<Lined<String>>),
    ByLanguage(BTreeMap<Language, Vec<Lined<String>>>),
}

impl Text {
    /// By language; plain words are in all of `languages`.
    pub(super) fn in_each(self, languages: &[Language], line: u64) -> Translated {
        match self {
            Self::ByLanguage(texts) => texts,
            Self::Plain(value) => {
                languages.iter().map(|&language| (language, Lined { value: value.clone(), line })).collect()
            }
        }
    }

    /// By language; plain words are in the `only` one. `None` where there are plain words and more languages.
    pub(super) fn in_language(self, only: Option<Language>, line: u64) -> Option<Translated> {
        match self {
            Self::ByLanguage(texts) => Some(texts),
            Self::Plain(value) => Some([(only?, Lined { value, line })].into()),
        }
    }
}

impl Texts {
    /// As [`Text::in_language`].
    pub(super) fn in_language(self, only: Option<Language>) -> Option<BTreeMap<Language, Vec<Lined<String>>>> {
        match self {
            Self::ByLanguage(texts) => Some(texts),
            Self::Plain(texts) => Some([(only?, texts)].into()),
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text in quotes, or one for each language such as {zh: 菜单, en: Menu}")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text::Plain(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Text, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(map)).map(Text::ByLanguage)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of texts, or a list for each language")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Texts, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(list)).map(Texts::Plain)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Texts, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(map)).map(Texts::ByLanguage)
            }
        }

        deserializer.deserialize_any(Either)
    }
}
