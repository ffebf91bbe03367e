//! The file in which a built pack travels: `knowledge.idx`.
//!
//! A header of 16 bytes, then `Index` in [postcard](https://docs.rs/postcard)'s encoding, little endian:
//!
//! | bytes | what |
//! |---|---|
//! | 0–7 | `HOOPOEKN` |
//! | 8–11 | `FORMAT` |
//! | 12–15 | CRC-32 of everything that follows |

use std::collections::BTreeMap;
use std::path::PathBuf;

use hoopoe_message::Language;
use serde::{Deserialize, Serialize};

use crate::neighbours::Neighbours;
use crate::ranking::MAX_SUGGESTIONS;
use crate::{Classifier, TextName, Thresholds, Validity};

const MAGIC: [u8; 8] = *b"HOOPOEKN";
const HEADER: usize = 16;

/// Raised whenever the same pack gives another index: the layout, or how it is trained.
pub(crate) const FORMAT: u32 = 4;

/// The largest file that is read.
pub(crate) const MAX_BYTES: usize = 64 << 20;

/// Everything the bot knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Index {
    /// The pack's name.
    pub(crate) name: String,
    /// The model that the classifiers read embeddings of.
    pub(crate) model: String,
    /// The digest of the pack.
    pub(crate) digest: [u8; 32],
    pub(crate) languages: Vec<Language>,
    pub(crate) default_language: Language,
    /// In each language; the default one is always there.
    pub(crate) texts: BTreeMap<TextName, BTreeMap<Language, String>>,
    /// Places in [`Index::intents`] of those that the welcome offers; none twice.
    pub(crate) starters: Vec<u32>,
    pub(crate) thresholds: Thresholds,
    pub(crate) intents: Vec<Intent>,
    /// Every utterance and title by its [`key`](crate::wording::key), sorted, and the intent it asks for.
    pub(crate) wordings: Vec<(String, u32)>,
    /// A class for each intent, and one for the background.
    pub(crate) topics: Classifier,
    /// The examples of the same classes.
    pub(crate) examples: Neighbours,
    /// A class for each language.
    pub(crate) tongues: Classifier,
}

/// An intent, as far as it is needed to answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Intent {
    pub(crate) id: String,
    pub(crate) valid: Validity,
    /// In each language; the default one is always there, here and in `answers`.
    pub(crate) titles: BTreeMap<Language, String>,
    pub(crate) answers: BTreeMap<Language, String>,
    /// Places in [`Index::intents`]; none twice, never its own.
    pub(crate) suggestions: Vec<u32>,
    /// Whether it may be offered where the bot is not sure.
    pub(crate) offered: bool,
}

/// Why an index could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("the knowledge index {path} could not be read: {source}; `hoopoe knowledge build` writes it")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not an index, or not all of one.
    #[error("the knowledge index is damaged: {0}; build it again with `hoopoe knowledge build`")]
    Damaged(&'static str),
    /// The index was written by another version.
    #[error(
        "the knowledge index has format {found}, this version reads {FORMAT}; build it again with `hoopoe knowledge build`"
    )]
    Format {
        /// The format of the file.
        found: u32,
    },
    /// The index was built with another model, whose vectors mean something else.
    #[error(
        "the knowledge index was built with model {index}, but model {loaded} is loaded; build it again with \
         `hoopoe knowledge build`"
    )]
    Model {
        /// The model it was built with.
        index: String,
        /// The model that was given.
        loaded: String,
    },
}

impl Index {
    /// Reads a file's bytes.
    ///
    /// # Errors
    /// Anything that is not a whole index of this version; no input makes it panic.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, LoadError> {
        let (header, payload) = bytes.split_at_checked(HEADER).ok_or(LoadError::Damaged("it is too short"))?;
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if header[..8] != MAGIC {
            return Err(LoadError::Damaged("it does not begin like one"));
        }
        if word(8) != FORMAT {
            return Err(LoadError::Format { found: word(8) });
        }
        if bytes.len() > MAX_BYTES {
            return Err(LoadError::Damaged("it is larger than 64 MiB"));
        }
        if word(12) != crc32fast::hash(payload) {
            return Err(LoadError::Damaged("its checksum does not match"));
        }
        let index: Self =
            postcard::from_bytes(payload).map_err(|_| LoadError::Damaged("its contents cannot be read"))?;
        index.validated().ok_or(LoadError::Damaged("its parts do not fit together"))
    }

    /// The bytes of the file. The same index gives the same bytes.
    #[cfg(any(feature = "pack", test))]
    pub(crate) fn encode(&self) -> Vec<u8> {
        let payload = postcard::to_allocvec(self).expect("an index holds nothing that postcard cannot write");
        let mut bytes = Vec::with_capacity(HEADER + payload.len());
        bytes.extend(MAGIC);
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(crc32fast::hash(&payload).to_le_bytes());
        bytes.extend(payload);
        bytes
    }

    /// Itself, where everything that answering relies on holds.
    pub(crate) fn validated(mut self) -> Option<Self> {
        let Self { default_language, intents, wordings, starters, .. } = &self;
        let exists = |intent: u32| usize::try_from(intent).is_ok_and(|intent| intent < intents.len());
        let translated = |texts: &BTreeMap<Language, String>| texts.contains_key(default_language);
        let can_be_shown = |shown: &[u32]| {
            shown.len() <= MAX_SUGGESTIONS
                && shown.iter().all(|&intent| exists(intent))
                && (1..shown.len()).all(|nth| !shown[..nth].contains(&shown[nth]))
        };
        let intents_fit = intents.iter().enumerate().all(|(place, intent)| {
            translated(&intent.titles)
                && translated(&intent.answers)
                && can_be_shown(&intent.suggestions)
                && intent.suggestions.iter().all(|&other| usize::try_from(other) != Ok(place))
        });
        let fits = self.languages.contains(default_language)
            && TextName::ALL.iter().all(|name| self.texts.get(name).is_some_and(translated))
            && self.thresholds.are_possible()
            && intents_fit
            && can_be_shown(starters)
            && wordings.iter().all(|&(_, intent)| exists(intent))
            && wordings.is_sorted_by(|(a, _), (b, _)| a < b)
            && self.topics.classes() == intents.len() + 1
            && self.examples.classes() == self.topics.classes()
            && self.tongues.classes() == self.languages.len()
            && self.topics.dimension() == self.tongues.dimension()
            && self.topics.dimension() == self.examples.dimension();
        self.topics = self.topics.validated()?;
        self.examples = self.examples.validated()?;
        self.tongues = self.tongues.validated()?;
        fits.then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::knowledge::tests::sample;

    /// What follows the header, with a header that fits it.
    fn sealed(payload: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(crc32fast::hash(payload).to_le_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn what_is_written_is_read_back() {
        let index = sample();
        let bytes = index.encode();
        assert_eq!(bytes, index.encode());
        assert_eq!(Index::decode(&bytes).expect("a whole index"), index);
    }

    #[test]
    fn another_version_is_told_from_damage() {
        let mut bytes = sample().encode();
        bytes[8] += 1;
        assert!(matches!(Index::decode(&bytes), Err(LoadError::Format { found }) if found == FORMAT + 1));
        bytes[0] = b'x';
        assert!(matches!(Index::decode(&bytes), Err(LoadError::Damaged(_))));
    }

    #[test]
    fn parts_that_do_not_fit_together_are_refused() {
        let breakages: [fn(&mut Index); 10] = [
            |index| index.default_language = "fr".parse().expect("a code"),
            |index| drop(index.texts.remove(&TextName::Help)),
            |index| index.intents[0].answers.clear(),
            |index| index.intents[0].suggestions = vec![9],
            |index| index.intents[0].suggestions = vec![0],
            |index| index.intents[0].suggestions = vec![1, 1],
            |index| index.starters = vec![5],
            |index| index.wordings.reverse(),
            |index| drop(index.intents.pop()),
            |index| index.thresholds.answer = f32::NAN,
        ];
        for (nth, damage) in breakages.into_iter().enumerate() {
            let mut index = sample();
            damage(&mut index);
            assert!(Index::decode(&index.encode()).is_err(), "breakage {nth}");
        }
    }

    proptest! {
        #[test]
        fn a_changed_or_shortened_file_is_an_error(at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
            let bytes = sample().encode();
            let at = at.index(bytes.len());
            prop_assert!(Index::decode(&bytes[..at]).is_err());
            let mut changed = bytes;
            changed[at] ^= flip;
            prop_assert!(Index::decode(&changed).is_err());
        }

        #[test]
        fn no_payload_makes_it_panic(payload in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(Index::decode(&sealed(&payload)).is_err());
        }

        #[test]
        fn a_forged_payload_is_refused_or_fits_together(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut payload = sample().encode().split_off(HEADER);
            let at = at.index(payload.len());
            payload[at] = byte;
            if let Ok(index) = Index::decode(&sealed(&payload)) {
                prop_assert!(index.validated().is_some());
            }
        }
    }
}
