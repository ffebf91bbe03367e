//! Cutting a long reply into messages a platform takes.

use std::ops::Range;

use unicode_segmentation::GraphemeCursor;

/// Cuts a text into pieces of at most `limit`, measured by summing `size` over the characters: `char::len_utf8` where
/// a platform counts bytes, `char::len_utf16` where it counts UTF-16 units, `|_| 1` where it counts characters.
///
/// A piece ends where a reader would pause: at the end of a paragraph, else of a line, a sentence, a word; within a
/// word or a text without spaces only between two characters as a reader sees them. A code block, an address or a
/// Markdown link is cut only where it is longer than a whole piece. No piece is empty; what is left out between two
/// pieces, and around all of them, is white space.
///
/// `limit` is at least 4, the size of the largest character; below that, a character too large is a piece by itself.
#[must_use]
pub fn split(text: &str, limit: usize, size: fn(char) -> usize) -> Vec<&str> {
    let text = text.trim_end();
    let whole = indivisible(text);
    let mut pieces = Vec::new();
    let mut start = content_start(text, 0, limit, size);
    while start < text.len() {
        let mut end = start + window(&text[start..], limit, size);
        if end < text.len() {
            end = cut(text, start..end, &whole);
        }
        pieces.push(text[start..end].trim_end());
        start = content_start(text, end, limit, size);
    }
    pieces
}

/// Skips the white space before a piece, but keeps the indentation of its first line where it fits.
fn content_start(text: &str, from: usize, limit: usize, size: fn(char) -> usize) -> usize {
    let content = text.len() - text[from..].trim_start().len();
    let indented = text[from..content].rfind('\n').map_or(content, |newline| from + newline + 1);
    let indentation: usize = text[indented..content].chars().map(size).sum();
    if indentation < limit / 2 { indented } else { content }
}

/// The length in bytes of the longest prefix within the limit; at least one character.
fn window(text: &str, limit: usize, size: fn(char) -> usize) -> usize {
    let mut used = 0;
    for (at, character) in text.char_indices() {
        used += size(character);
        if used > limit && at > 0 {
            return at;
        }
    }
    text.len()
}

/// Where to end the piece that may take up all of `piece`, which is not the last one.
fn cut(text: &str, piece: Range<usize>, whole: &[Range<usize>]) -> usize {
    if let Some(pause) = pause(text, &piece, whole) {
        return pause;
    }
    let inside = whole.iter().find(|span| span.start < piece.end && piece.end < span.end);
    match inside {
        Some(span) if !text[piece.start..span.start.max(piece.start)].trim().is_empty() => span.start,
        Some(_) => pause_anywhere(text, &piece),
        None => grapheme_boundary(text, &piece),
    }
}

/// The cut within a code block or address that is too long for a piece.
fn pause_anywhere(text: &str, piece: &Range<usize>) -> usize {
    pause(text, piece, &[]).unwrap_or_else(|| grapheme_boundary(text, piece))
}

/// The last boundary between two characters as a reader sees them.
fn grapheme_boundary(text: &str, piece: &Range<usize>) -> usize {
    let mut cursor = GraphemeCursor::new(piece.end, text.len(), true);
    if cursor.is_boundary(text, 0) == Ok(true) {
        return piece.end;
    }
    let before = cursor.prev_boundary(text, 0).ok().flatten();
    before.filter(|at| *at > piece.start).unwrap_or(piece.end)
}

/// Pauses from the strongest to the weakest.
const PARAGRAPH: usize = 0;
const LINE: usize = 1;
const SENTENCE: usize = 2;
const WORD: usize = 3;

/// The end of the strongest pause in the second half of the piece, else of the latest in the first half.
fn pause(text: &str, piece: &Range<usize>, whole: &[Range<usize>]) -> Option<usize> {
    let mut latest = [None; 4];
    let mut content = false;
    let mut sentence_ended = false;
    for (offset, character) in text[piece.clone()].char_indices() {
        let at = piece.start + offset + character.len_utf8();
        sentence_ended = match character {
            '。' | '！' | '？' | '；' | '…' | '.' | '!' | '?' => true,
            '”' | '’' | '」' | '』' | '）' | '》' | '"' | '\'' | ')' => sentence_ended,
            _ => false,
        };
        content |= !character.is_whitespace();
        if content
            && !within(whole, at)
            && let Some(strength) = strength(&text[at..], character, sentence_ended)
        {
            latest[strength] = Some(at);
        }
    }
    let half = piece.start + piece.len() / 2;
    latest.iter().flatten().find(|at| **at >= half).or_else(|| latest.iter().flatten().max()).copied()
}

/// How strong the pause between `before` and `after` is, if it is one.
fn strength(after: &str, before: char, sentence_ended: bool) -> Option<usize> {
    let next = after.chars().next()?;
    if let Some(line) = after.trim_start_matches([' ', '\t', '\r']).strip_prefix('\n') {
        let blank = line.trim_start_matches([' ', '\t', '\r']).starts_with('\n');
        Some(if blank { PARAGRAPH } else { LINE })
    } else if next.is_whitespace() {
        Some(if sentence_ended { SENTENCE } else { WORD })
    } else {
        // Chinese sets no space after a sentence; a closing quote or bracket still belongs to it.
        let closes = matches!(next, '。' | '！' | '？' | '；' | '…' | '”' | '’' | '」' | '』' | '）' | '》');
        (sentence_ended && !closes && !before.is_ascii()).then_some(SENTENCE)
    }
}

/// Whether a cut there would be inside one of the spans.
fn within(spans: &[Range<usize>], at: usize) -> bool {
    let next = spans.partition_point(|span| span.end <= at);
    spans.get(next).is_some_and(|span| span.start < at)
}

/// Code blocks, addresses and Markdown links, in order.
fn indivisible(text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut open = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let fence = line.trim_start().strip_prefix("```").is_some_and(|info| !info.contains('`'));
        match (open, fence) {
            (None, true) => open = Some(at),
            (None, false) => addresses(text, at..at + line.len(), &mut spans),
            (Some(start), true) => {
                spans.push(start..at + line.trim_end().len());
                open = None;
            }
            (Some(_), false) => {}
        }
        at += line.len();
    }
    spans.extend(open.map(|start| start..text.len()));
    spans
}

/// The addresses and Markdown links of one line.
fn addresses(text: &str, line: Range<usize>, spans: &mut Vec<Range<usize>>) {
    let mut at = line.start;
    while let Some(found) = text[at..line.end].find(['[', 'h']) {
        at += found;
        let rest = &text[at..line.end];
        match link(rest).or_else(|| address(rest)) {
            Some(length) => {
                spans.push(at..at + length);
                at += length;
            }
            None => at += 1,
        }
    }
}

/// The length of the Markdown link `[words](address)` at the start of the text.
fn link(text: &str) -> Option<usize> {
    let words = text.strip_prefix('[')?;
    let closed = words.find(['[', ']'])?;
    let target = words[closed..].strip_prefix("](")?;
    let end = target.find(|c: char| c == ')' || c == '[' || c.is_whitespace())?;
    target[end..].starts_with(')').then(|| text.len() - target.len() + end + 1)
}

/// The length of the web address at the start of the text.
fn address(text: &str) -> Option<usize> {
    text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    Some(text.find(|c: char| !c.is_ascii_graphic() || matches!(c, '<' | '>' | '"')).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by_bytes(text: &str, limit: usize) -> Vec<&str> {
        split(text, limit, char::len_utf8)
    }

    #[test]
    fn a_text_within_the_limit_stays_whole() {
        assert_eq!(by_bytes("a short one.\n", 20), ["a short one."]);
        assert_eq!(by_bytes("", 20), [""; 0]);
        assert_eq!(by_bytes(" \n\t", 20), [""; 0]);
    }

    #[test]
    fn the_strongest_pause_of_the_second_half_is_taken() {
        assert_eq!(
            by_bytes("One two.\n\nThree four. Five six seven.", 24),
            ["One two.\n\nThree four.", "Five six seven."]
        );
        assert_eq!(by_bytes("One, two, three.\n\nFour\nfive six.", 24), ["One, two, three.", "Four\nfive six."]);
        assert_eq!(by_bytes("One, two, three\nfour. Five six.", 24), ["One, two, three", "four. Five six."]);
        assert_eq!(by_bytes("one two three four five six", 13), ["one two three", "four five six"]);
    }

    #[test]
    fn chinese_is_cut_after_its_sentences() {
        let text = "你好。“请重置密码！”然后登录。谢谢";
        assert_eq!(split(text, 12, |_| 1), ["你好。“请重置密码！”", "然后登录。谢谢"]);
        assert_eq!(split("没有标点的一句话", 3, |_| 1), ["没有标", "点的一", "句话"]);
    }

    #[test]
    fn each_way_of_counting_has_its_own_limit() {
        assert_eq!(split("🐦🐦🐦", 4, char::len_utf16), ["🐦🐦", "🐦"]);
        assert_eq!(split("🐦🐦🐦", 4, char::len_utf8), ["🐦", "🐦", "🐦"]);
        assert_eq!(split("🐦🐦🐦", 2, |_| 1), ["🐦🐦", "🐦"]);
    }

    #[test]
    fn what_reads_as_one_character_stays_one() {
        let family = "👨‍👩‍👧";
        let text = format!("ab{family}cd");
        assert_eq!(split(&text, 6, |_| 1), ["ab", &format!("{family}c"), "d"]);
        assert_eq!(split("xe\u{301}", 2, |_| 1), ["x", "e\u{301}"]);
    }

    #[test]
    fn a_code_block_keeps_its_lines_together_and_indented() {
        let text = "Do this first, please:\n\n```\nif a:\n    b()\n```\nDone.";
        assert_eq!(by_bytes(text, 40), ["Do this first, please:", "```\nif a:\n    b()\n```\nDone."]);
        let long = "```\nfirst_line()\n    second_line()\n```";
        assert_eq!(by_bytes(long, 22), ["```\nfirst_line()", "    second_line()\n```"]);
    }

    #[test]
    fn an_address_is_cut_only_where_it_cannot_fit() {
        let text = "See https://shop.example/orders?id=1234567 for it";
        assert_eq!(by_bytes(text, 38), ["See", "https://shop.example/orders?id=1234567", "for it"]);
        assert_eq!(
            by_bytes("Go to [our help page now](https://a.example/b) ok", 42),
            ["Go to", "[our help page now](https://a.example/b)", "ok"]
        );
        let endless = format!("https://{}", "a".repeat(40));
        assert_eq!(by_bytes(&endless, 20).concat(), endless);
        assert_eq!(
            by_bytes("请看https://a.example/b，谢谢您的耐心", 28),
            ["请看https://a.example/b，", "谢谢您的耐心"]
        );
    }

    proptest! {
        #[test]
        fn nothing_but_white_space_is_lost_and_every_piece_fits(
            text in "([a-z\\[\\]()`。！“”🐦é\u{301}\u{200d} \n\t]|https://|```\n|\n\n|[a-z]{1,12}\\. ){0,120}",
            limit in 4_usize..60,
            size in prop::sample::select(vec![char::len_utf8 as fn(char) -> usize, char::len_utf16, |_| 1]),
        ) {
            let pieces = split(&text, limit, size);
            let mut rest = text.as_str();
            for piece in pieces {
                prop_assert!(!piece.trim().is_empty());
                prop_assert!(piece.chars().map(size).sum::<usize>() <= limit, "{piece:?}");
                let at = rest.find(piece).expect("a piece of the text");
                prop_assert!(rest[..at].trim().is_empty());
                rest = &rest[at + piece.len()..];
            }
            prop_assert!(rest.trim().is_empty());
        }
    }
}
