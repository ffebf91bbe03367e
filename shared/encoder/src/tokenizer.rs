//! Text to token ids.
//!
//! Two kinds, each reproducing its reference implementation: `unigram` (SentencePiece, as XLM-R has it) and
//! `wordpiece` (BERT). What a model knows comes from one file (`file`) that is mapped into memory and used as it
//! lies there; `compile` writes it.

#[cfg(feature = "compile")]
pub mod compile;
mod file;
mod unigram;
mod wordpiece;

use std::path::{Path, PathBuf};

pub use file::MAGIC;
use file::{Contents, Kind};

/// What is read of a text: more than any platform's longest message, and far more than the model's tokens.
pub const MAX_TEXT_BYTES: usize = 16 * 1024;

/// Why a tokenizer could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file is missing or may not be read.
    #[error("the tokenizer {path} could not be opened: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is damaged or of another version.
    #[error("the tokenizer {path} is not usable: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Turns texts into the ids that the model was trained with.
#[derive(Debug)]
pub struct Tokenizer {
    contents: Contents,
}

impl Tokenizer {
    /// Maps a tokenizer's file.
    ///
    /// # Errors
    /// When the file is missing or not one that `hoopoe model build` of this version wrote.
    pub fn open(path: &Path) -> Result<Self, TokenizerError> {
        let mapped = file::map(path).map_err(|source| TokenizerError::Open { path: path.to_owned(), source })?;
        let contents =
            Contents::new(mapped).map_err(|reason| TokenizerError::Format { path: path.to_owned(), reason })?;
        Ok(Self { contents })
    }

    /// The ids of a text after the model's prefix, between its begin and end marks; at least these two, at most
    /// `max_tokens`. Of a text only the first [`MAX_TEXT_BYTES`] are read.
    #[must_use]
    pub fn encode(&self, text: &str, max_tokens: usize) -> Vec<u32> {
        let contents = &self.contents;
        let text = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
        let text = [contents.prefix(), text].concat();
        let limit = max_tokens.max(2) - 1;
        let mut ids = vec![contents.begin];
        match contents.kind {
            Kind::Unigram => unigram::encode(contents, &text, limit, &mut ids),
            Kind::WordPiece(rules) => wordpiece::encode(contents, rules, &text, limit, &mut ids),
        }
        ids.truncate(limit);
        ids.push(contents.end);
        ids
    }

    /// Whether `ids`, which [`Self::encode`] gave for `text`, tell the model anything: some letter or digit is not
    /// unknown, or some other character of a text that has neither.
    #[must_use]
    pub fn knows(&self, text: &str, ids: &[u32]) -> bool {
        let unknown = self.contents.unknown;
        if !ids.contains(&unknown) {
            return true;
        }
        let words: String = text.chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
        let read = if words.trim().is_empty() { text } else { &words };
        // What stands around every text, and before a word that is unknown: a character for private use is one.
        let frame = self.encode("\u{e000}", ids.len().max(16));
        self.encode(read, ids.len()).iter().any(|id| *id != unknown && !frame.contains(id))
    }

    /// The id that fills a batch's shorter texts.
    #[must_use]
    pub fn pad(&self) -> u32 {
        self.contents.pad
    }

    /// The build that this tokenizer belongs to.
    #[must_use]
    pub fn model_id(&self) -> &str {
        self.contents.model_id()
    }
}
