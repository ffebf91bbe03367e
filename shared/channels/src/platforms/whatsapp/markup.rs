//! WhatsApp reads `*bold*`, `_italic_`, `~struck~`, `` `code` ``, ```` ```code``` ```` and, at the start of a line,
//! `- ` and `> ` as formatting ("How to format your messages", <https://faq.whatsapp.com/539178204879377>), and has no
//! way to turn it off or to escape a character. A marker counts only where no letter, digit or the like precedes it; so
//! a word joiner (U+2060), which nobody sees, goes before each marker that could open something. Within words and
//! addresses nothing is put: there markers do not count, and an address has to stay what it is.

/// Zero width, no space, and nothing breaks there.
const WORD_JOINER: char = '\u{2060}';

/// How much of a limit a character takes at most, with what may go before it.
pub(super) const fn size(character: char) -> usize {
    match character {
        '*' | '_' | '~' | '`' | '-' | '>' => 2,
        _ => character.len_utf16(),
    }
}

/// The text so that WhatsApp shows it as it is written.
pub(super) fn literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len());
    let mut address_end = 0;
    let mut before = '\n';
    for (at, character) in text.char_indices() {
        let rest = &text[at..];
        if at >= address_end && (rest.starts_with("https://") || rest.starts_with("http://")) {
            address_end = at + rest.find(char::is_whitespace).unwrap_or(rest.len());
        }
        if at >= address_end && opens(before, rest) {
            literal.push(WORD_JOINER);
        }
        literal.push(character);
        before = character;
    }
    literal
}

fn opens(before: char, rest: &str) -> bool {
    match rest.bytes().next() {
        Some(b'`') => true,
        Some(b'*' | b'_' | b'~') => !before.is_ascii_alphanumeric(),
        Some(b'-' | b'>') => before == '\n' && rest[1..].starts_with(' '),
        _ => false,
    }
}

/// What a person reads: formatting applied, which takes its markers away, and then what has no width left out.
#[cfg(feature = "counterpart")]
pub(super) fn shown(text: &str) -> String {
    let mut shown: Vec<char> = text.chars().collect();
    for marker in ['*', '_', '~', '`'] {
        let mut from = 0;
        while let Some(open) = (from..shown.len()).find(|at| shown[*at] == marker) {
            from = open + 1;
            if let Some(close) = closed(&shown, open) {
                shown.remove(close);
                shown.remove(open);
                from = open;
            }
        }
    }
    shown.into_iter().filter(|character| *character != WORD_JOINER).collect()
}

/// Where what the marker opens is closed again, on the same line.
#[cfg(feature = "counterpart")]
fn closed(text: &[char], open: usize) -> Option<usize> {
    let spaced = |at: usize| text.get(at).is_none_or(|character| character.is_whitespace());
    let before = open.checked_sub(1).map(|at| text[at]);
    if before.is_some_and(|c| c.is_ascii_alphanumeric() || c == WORD_JOINER) || spaced(open + 1) {
        return None;
    }
    let line = (open + 2..text.len()).take_while(|at| text[*at] != '\n');
    line.into_iter().find(|at| {
        let ends = text.get(at + 1).is_none_or(|after| !after.is_ascii_alphanumeric());
        text[*at] == text[open] && !spaced(at - 1) && ends
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn formatting_takes_its_markers_away() {
        assert_eq!(shown("Two *days* _or_ ~so~, `now`."), "Two days or so, now.");
        assert_eq!(shown("2 * 3 * 4, a_b_c, *open"), "2 * 3 * 4, a_b_c, *open");
    }

    #[test]
    fn a_joiner_goes_only_where_formatting_could_start() {
        assert_eq!(literal("*now*, my_file_name"), "\u{2060}*now*, my_file_name");
        assert_eq!(literal("> said\n- one - two\n-3"), "\u{2060}> said\n\u{2060}- one - two\n-3");
        assert_eq!(literal("请看*这里*"), "请看\u{2060}*这里\u{2060}*");
        let address = "https://a.example/_x_/*y*?z=~1~";
        assert_eq!(literal(address), address);
        assert_eq!(literal(&format!("{address} _x_")), format!("{address} \u{2060}_x_"));
    }

    proptest! {
        #[test]
        fn any_text_is_shown_as_written(text in "([a-z*_~`>\\- \n。🐦]|https://){0,40}") {
            let literal = literal(&text);
            prop_assert_eq!(literal.replace(WORD_JOINER, ""), text.as_str());
            prop_assert!(literal.chars().map(char::len_utf16).sum::<usize>() <= text.chars().map(size).sum());
            if !text.contains("https://") {
                prop_assert_eq!(shown(&literal), text);
            }
        }
    }
}
