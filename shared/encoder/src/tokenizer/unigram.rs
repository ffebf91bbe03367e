//! SentencePiece's unigram tokenizer: every word is split into the pieces with the highest sum of scores.
//!
//! Characters are mapped one by one, neighbours are composed where Unicode has a composed character (no reordering of
//! marks: SentencePiece has none), white space separates words, and `▁` marks a word's start.

use unicode_normalization::char::compose;

use super::file::Contents;

const WORD_START: char = '\u{2581}';

/// Appends the ids of `text`, and stops at the end of a word once there are `limit`.
pub(super) fn encode(contents: &Contents, text: &str, limit: usize, ids: &mut Vec<u32>) {
    let text = normalise(contents, text);
    let mut word = String::new();
    let mut best = Vec::new();
    for part in text.split_whitespace() {
        if ids.len() >= limit {
            return;
        }
        word.clear();
        word.push(WORD_START);
        word.push_str(part);
        split(contents, &word, &mut best, ids);
    }
}

fn normalise(contents: &Contents, text: &str) -> String {
    let mut mapped = String::with_capacity(text.len() + 8);
    let mut push = |character: char| {
        // Nothing composes with ASCII as its second part.
        if !character.is_ascii()
            && let Some(composed) = mapped.chars().next_back().and_then(|last| compose(last, character))
        {
            mapped.pop();
            mapped.push(composed);
        } else {
            mapped.push(character);
        }
    };
    for character in text.chars() {
        match contents.replacement(character) {
            Some(replacement) => replacement.chars().for_each(&mut push),
            None => push(character),
        }
    }
    mapped
}

/// The best way to reach a byte of the word.
#[derive(Clone, Copy)]
struct Best {
    score: f64,
    start: usize,
    id: Option<u32>,
}

/// Viterbi's algorithm: the best way to each byte is the best way to where its last piece starts, and that piece.
fn split(contents: &Contents, word: &str, best: &mut Vec<Option<Best>>, ids: &mut Vec<u32>) {
    best.clear();
    best.resize(word.len() + 1, None);
    best[0] = Some(Best { score: 0.0, start: 0, id: None });
    for (start, character) in word.char_indices() {
        // Pieces are whole characters, and an unknown piece of one character is always possible.
        let Some(here) = best[start] else { continue };
        let mut reach = |end: usize, score: f64, id: Option<u32>| {
            let score = here.score + score;
            if best[end].is_none_or(|known| score > known.score) {
                best[end] = Some(Best { score, start, id });
            }
        };
        let next = start + character.len_utf8();
        let mut known = false;
        // The trie ends its keys with NUL, so it must not be asked for one.
        if character != '\0' {
            for (id, length) in contents.trie.common_prefix_search(&word[start..]) {
                reach(start + length, f64::from(contents.score(id)), Some(id));
                known |= start + length == next;
            }
        }
        if !known {
            reach(next, f64::from(contents.unknown_score), None);
        }
    }

    let first = ids.len();
    let mut end = word.len();
    while end > 0 {
        let Some(piece) = best[end] else { break };
        match piece.id {
            Some(id) => ids.push(id),
            // Neighbouring unknown characters are one unknown piece.
            None if ids.len() > first && ids.last() == Some(&contents.unknown) => {}
            None => ids.push(contents.unknown),
        }
        end = piece.start;
    }
    ids[first..].reverse();
}
