//! BERT's tokenizer: white space and punctuation separate words, and each word is cut into the longest pieces from its
//! start; a piece that continues a word is written with `##`.

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

use super::file::{Contents, Rules};

const CONTINUATION: &str = "##";

/// Appends the ids of `text`, and stops at the end of a word once there are `limit`.
pub(super) fn encode(contents: &Contents, rules: Rules, text: &str, limit: usize, ids: &mut Vec<u32>) {
    let text = normalise(rules, text);
    let mut key = String::new();
    for part in text.split_whitespace() {
        let mut rest = part;
        while let Some(first) = rest.chars().next() {
            if ids.len() >= limit {
                return;
            }
            let end =
                if is_punctuation(first) { first.len_utf8() } else { rest.find(is_punctuation).unwrap_or(rest.len()) };
            let (word, after) = rest.split_at(end);
            split(contents, rules, word, &mut key, ids);
            rest = after;
        }
    }
}

/// Drops control characters, sets ideographs apart, takes accents off, makes letters small.
fn normalise(rules: Rules, text: &str) -> String {
    let mut clean = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_dropped(character) {
            continue;
        }
        if character.is_whitespace() {
            clean.push(' ');
        } else if rules.split_ideographs && is_ideograph(character) {
            clean.extend([' ', character, ' ']);
        } else {
            clean.push(character);
        }
    }
    if rules.strip_accents {
        clean = clean.nfd().filter(|&c| c.general_category() != GeneralCategory::NonspacingMark).collect();
    }
    if rules.lowercase {
        clean = clean.chars().flat_map(char::to_lowercase).collect();
    }
    clean
}

fn split(contents: &Contents, rules: Rules, word: &str, key: &mut String, ids: &mut Vec<u32>) {
    if word.chars().count() > rules.word_limit {
        ids.push(contents.unknown);
        return;
    }
    let first = ids.len();
    let mut start = 0;
    while start < word.len() {
        key.clear();
        if start > 0 {
            key.push_str(CONTINUATION);
        }
        let mark = key.len();
        key.push_str(&word[start..]);
        // Pieces shorter than the mark are not pieces of this word.
        let longest = contents.trie.common_prefix_search(key.as_str()).filter(|&(_, length)| length > mark).last();
        let Some((id, length)) = longest else {
            ids.truncate(first);
            ids.push(contents.unknown);
            return;
        };
        ids.push(id);
        start += length - mark;
    }
}

/// Control, format and private characters; of the control characters that are white space, only three stay.
fn is_dropped(character: char) -> bool {
    use GeneralCategory::{Control, Format, PrivateUse};
    match character {
        '\t' | '\n' | '\r' => false,
        '\0' | '\u{fffd}' => true,
        _ => matches!(character.general_category(), Control | Format | PrivateUse),
    }
}

fn is_punctuation(character: char) -> bool {
    character.is_ascii_punctuation() || character.general_category_group() == GeneralCategoryGroup::Punctuation
}

/// The blocks that BERT calls Chinese; kana and Hangul are not among them.
fn is_ideograph(character: char) -> bool {
    matches!(
        u32::from(character),
        0x3400..=0x4dbf
            | 0x4e00..=0x9fff
            | 0xf900..=0xfaff
            | 0x20000..=0x2a6df
            | 0x2a700..=0x2b73f
            | 0x2b740..=0x2b81f
            | 0x2b820..=0x2ceaf
            | 0x2f800..=0x2fa1f
    )
}
