//! Writes the tokenizer's file from the vocabulary that the Python build exports.

use serde::Deserialize;
use yada::builder::DoubleArrayBuilder;

use super::file::{Field, HEADER_WORDS, LOWERCASE, MAGIC, SPLIT_IDEOGRAPHS, STRIP_ACCENTS, UNIGRAM, WORD_PIECE};

/// A character that no piece has costs this much more than the worst piece; SentencePiece's constant.
const UNKNOWN_PENALTY: f32 = 10.0;

/// What `infra/model` writes as `vocabulary.json`.
#[derive(Debug, Deserialize)]
pub struct Vocabulary {
    /// What stands before every text.
    pub prefix: String,
    /// The piece of each id.
    pub pieces: Vec<String>,
    /// Ids that no text may produce, such as the marks.
    pub specials: Vec<u32>,
    /// The mark before every text.
    pub begin: u32,
    /// The mark after every text.
    pub end: u32,
    /// What fills shorter texts of a batch.
    pub pad: u32,
    /// What stands for what no piece has.
    pub unknown: u32,
    /// What differs between the two kinds.
    #[serde(flatten)]
    pub kind: VocabularyKind,
}

/// What differs between the two kinds of vocabulary.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum VocabularyKind {
    /// SentencePiece.
    Unigram {
        /// The score of each id.
        scores: Vec<f32>,
        /// What single code points become, in their order.
        characters: Vec<(u32, String)>,
    },
    /// BERT.
    WordPiece {
        /// Letters become small.
        lowercase: bool,
        /// Accents are taken off.
        strip_accents: bool,
        /// Every ideograph is a word.
        split_ideographs: bool,
        /// Longer words, in characters, are unknown.
        word_limit: u32,
    },
}

/// Why a vocabulary cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The export is not what this version reads.
    #[error("the exported vocabulary is not readable: {0}")]
    Json(#[from] serde_json::Error),
    /// The export contradicts itself.
    #[error("the vocabulary is not usable: {0}")]
    Vocabulary(String),
}

/// The file's bytes, for a vocabulary as JSON and the id of the build that it belongs to.
///
/// # Errors
/// When the vocabulary is not readable, or contradicts itself.
pub fn compile(vocabulary: &[u8], model_id: &str) -> Result<Vec<u8>, CompileError> {
    let vocabulary: Vocabulary = serde_json::from_slice(vocabulary)?;
    let trie = trie(&vocabulary)?;
    let mut header = [0_u32; HEADER_WORDS];
    let mut set = |field: Field, value: u32| header[field as usize] = value;
    set(Field::Magic, MAGIC);
    set(Field::Begin, vocabulary.begin);
    set(Field::End, vocabulary.end);
    set(Field::Pad, vocabulary.pad);
    set(Field::Unknown, vocabulary.unknown);

    let (mut characters, mut replacements, mut scored) = (Vec::new(), Vec::new(), Vec::new());
    match &vocabulary.kind {
        VocabularyKind::Unigram { scores, characters: map } => {
            if scores.len() != vocabulary.pieces.len() {
                return Err(CompileError::Vocabulary("there is not one score for each piece".to_owned()));
            }
            if !map.is_sorted_by(|a, b| a.0 < b.0) {
                return Err(CompileError::Vocabulary("the characters are not in ascending order".to_owned()));
            }
            let worst = scores.iter().copied().fold(0.0, f32::min);
            set(Field::Kind, UNIGRAM);
            set(Field::UnknownScore, (worst - UNKNOWN_PENALTY).to_bits());
            scored.extend(scores.iter().flat_map(|score| score.to_le_bytes()));
            for (code, replacement) in map {
                characters.extend(code.to_le_bytes());
                characters.extend(size(replacements.len())?.to_le_bytes());
                replacements.extend(replacement.as_bytes());
            }
            characters.extend(u32::MAX.to_le_bytes());
            characters.extend(size(replacements.len())?.to_le_bytes());
        }
        VocabularyKind::WordPiece { lowercase, strip_accents, split_ideographs, word_limit } => {
            let rules =
                [(*lowercase, LOWERCASE), (*strip_accents, STRIP_ACCENTS), (*split_ideographs, SPLIT_IDEOGRAPHS)];
            set(Field::Kind, WORD_PIECE);
            set(Field::Rules, rules.iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum());
            set(Field::WordLimit, *word_limit);
        }
    }

    let sections = [
        (Field::PrefixBytes, vocabulary.prefix.as_bytes()),
        (Field::ModelBytes, model_id.as_bytes()),
        (Field::CharacterBytes, &characters),
        (Field::ReplacementBytes, &replacements),
        (Field::ScoreBytes, &scored),
        (Field::TrieBytes, &trie),
    ];
    for (field, bytes) in sections {
        header[field as usize] = size(bytes.len())?;
    }
    let mut file: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    for (_, bytes) in sections {
        file.extend(bytes);
        file.resize(file.len().next_multiple_of(4), 0);
    }
    Ok(file)
}

fn trie(vocabulary: &Vocabulary) -> Result<Vec<u8>, CompileError> {
    let mut keys = Vec::with_capacity(vocabulary.pieces.len());
    for (id, piece) in vocabulary.pieces.iter().enumerate() {
        let id = size(id)?;
        // No message contains NUL as the trie's end mark does, and some vocabularies have an empty piece.
        if !vocabulary.specials.contains(&id) && !piece.is_empty() && !piece.contains('\0') {
            keys.push((piece.as_bytes(), id));
        }
    }
    keys.sort_unstable();
    if let Some(twice) = keys.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let piece = String::from_utf8_lossy(twice[0].0);
        return Err(CompileError::Vocabulary(format!("the piece {piece:?} stands twice")));
    }
    DoubleArrayBuilder::build(&keys).map_err(|error| CompileError::Vocabulary(error.to_string()))
}

fn size(value: usize) -> Result<u32, CompileError> {
    u32::try_from(value).map_err(|_| CompileError::Vocabulary("it is larger than 4 GB".to_owned()))
}
