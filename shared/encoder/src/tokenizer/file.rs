//! The tokenizer's file: used as it lies in memory, so that opening it costs no parsing.
//!
//! Little endian. A header of 32-bit words ([`Field`]), then sections, each starting at a multiple of four bytes:
//!
//! | section | content |
//! |---|---|
//! | prefix | UTF-8, what stands before every text |
//! | model | UTF-8, the build's id |
//! | characters | pairs (code point, start in replacements), ascending; a last pair closes the list |
//! | replacements | UTF-8, what a listed code point becomes |
//! | scores | f32 for each id; empty for WordPiece |
//! | trie | a double array: a piece's bytes to its id |

use std::{
    cmp::Ordering,
    fmt,
    fs::File,
    io,
    ops::{Deref, Range},
    path::Path,
    sync::Arc,
};

use memmap2::Mmap;
use yada::DoubleArray;

/// The first word of the file, which also names the layout's version.
pub const MAGIC: u32 = u32::from_le_bytes(*b"HTK1");

/// The header's words, by position.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub(super) enum Field {
    Magic,
    Kind,
    Rules,
    WordLimit,
    Begin,
    End,
    Pad,
    Unknown,
    UnknownScore,
    PrefixBytes,
    ModelBytes,
    CharacterBytes,
    ReplacementBytes,
    ScoreBytes,
    TrieBytes,
}

/// Words of the header.
pub(super) const HEADER_WORDS: usize = 15;

/// [`Field::Kind`] of a unigram vocabulary.
pub(super) const UNIGRAM: u32 = 1;
/// [`Field::Kind`] of a WordPiece vocabulary.
pub(super) const WORD_PIECE: u32 = 2;

/// Bit of [`Field::Rules`]: letters become small.
pub(super) const LOWERCASE: u32 = 1;
/// Bit of [`Field::Rules`]: accents are taken off.
pub(super) const STRIP_ACCENTS: u32 = 2;
/// Bit of [`Field::Rules`]: every ideograph is a word.
pub(super) const SPLIT_IDEOGRAPHS: u32 = 4;

/// How a text becomes pieces.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Unigram,
    WordPiece(Rules),
}

/// What BERT's basic tokenizer does to a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) lowercase: bool,
    pub(super) strip_accents: bool,
    pub(super) split_ideographs: bool,
    /// Longer words, in characters, are unknown.
    pub(super) word_limit: usize,
}

/// A part of the mapped file.
pub(super) struct Section {
    file: Arc<Mmap>,
    range: Range<usize>,
}

impl Deref for Section {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.file[self.range.clone()]
    }
}

/// A checked file.
pub(super) struct Contents {
    pub(super) kind: Kind,
    pub(super) begin: u32,
    pub(super) end: u32,
    pub(super) pad: u32,
    pub(super) unknown: u32,
    /// What a character that no piece has costs.
    pub(super) unknown_score: f32,
    pub(super) trie: DoubleArray<Section>,
    prefix: String,
    model_id: String,
    characters: Section,
    replacements: Section,
    scores: Section,
}

impl Contents {
    /// Checks all that a lookup relies on.
    pub(super) fn new(file: Mmap) -> Result<Self, &'static str> {
        if file.len() < HEADER_WORDS * 4 || word(&file, Field::Magic as usize) != MAGIC {
            return Err("it was not written by this version of `hoopoe model build`");
        }
        let file = Arc::new(file);
        let header = |field: Field| word(&file, field as usize);
        let mut at = HEADER_WORDS * 4;
        let mut section = |field: Field| {
            let length = word(&file, field as usize) as usize;
            let range = at..at.checked_add(length).filter(|&end| end <= file.len()).ok_or("it is cut short")?;
            at = range.end.next_multiple_of(4);
            Ok::<_, &str>(Section { file: Arc::clone(&file), range })
        };
        let text =
            |section: Section| String::from_utf8(section.to_vec()).map_err(|_| "it holds text that is not UTF-8");
        let prefix = text(section(Field::PrefixBytes)?)?;
        let model_id = text(section(Field::ModelBytes)?)?;
        let characters = section(Field::CharacterBytes)?;
        let replacements = section(Field::ReplacementBytes)?;
        let scores = section(Field::ScoreBytes)?;
        let trie = DoubleArray::new(section(Field::TrieBytes)?).map_err(|_| "its trie is damaged")?;
        let kind = match header(Field::Kind) {
            UNIGRAM => Kind::Unigram,
            WORD_PIECE => Kind::WordPiece(Rules {
                lowercase: header(Field::Rules) & LOWERCASE != 0,
                strip_accents: header(Field::Rules) & STRIP_ACCENTS != 0,
                split_ideographs: header(Field::Rules) & SPLIT_IDEOGRAPHS != 0,
                word_limit: header(Field::WordLimit) as usize,
            }),
            _ => return Err("it is of an unknown kind"),
        };
        Ok(Self {
            kind,
            begin: header(Field::Begin),
            end: header(Field::End),
            pad: header(Field::Pad),
            unknown: header(Field::Unknown),
            unknown_score: f32::from_bits(header(Field::UnknownScore)),
            trie,
            prefix,
            model_id,
            characters,
            replacements,
            scores,
        })
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn model_id(&self) -> &str {
        &self.model_id
    }

    /// The score of a piece; of an id that the file does not score, the unknown one.
    pub(super) fn score(&self, id: u32) -> f32 {
        let at = id as usize * 4;
        self.scores.get(at..at + 4).map_or(self.unknown_score, |_| f32::from_bits(word(&self.scores, id as usize)))
    }

    /// What a character becomes; None when it stays.
    pub(super) fn replacement(&self, character: char) -> Option<&str> {
        let (code, pairs) = (u32::from(character), self.characters.len() / 8);
        let (mut low, mut high) = (0, pairs.saturating_sub(1));
        while low < high {
            let middle = low.midpoint(high);
            match word(&self.characters, middle * 2).cmp(&code) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => {
                    let start = word(&self.characters, middle * 2 + 1) as usize;
                    let end = word(&self.characters, middle * 2 + 3) as usize;
                    return self.replacements.get(start..end).and_then(|bytes| std::str::from_utf8(bytes).ok());
                }
            }
        }
        None
    }
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents").field("kind", &self.kind).field("model_id", &self.model_id).finish_non_exhaustive()
    }
}

/// Maps the file at `path`.
pub(super) fn map(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    #[expect(unsafe_code, reason = "mapping is unsafe because another process could change the file under it")]
    // SAFETY: a built model is never changed: it is written elsewhere, then moved into place as a whole.
    unsafe {
        Mmap::map(&file)
    }
}

fn word(bytes: &[u8], index: usize) -> u32 {
    let at = index * 4;
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
