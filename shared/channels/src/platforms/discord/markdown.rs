//! A text so that Discord shows it as it is.
//!
//! Discord reads Markdown, with words of its own in `<…>` ("API Reference", `reference#message-formatting`). A
//! backslash before a character that is no letter, digit or space makes it an ordinary one. An address goes in angle
//! brackets, which Discord does not show: so it ends where it ends, stays clickable, and has no preview.

/// The most a character takes once it is [`escaped`], in UTF-16 units, the brackets of an address counted with its
/// `://`.
pub(super) fn size(character: char) -> usize {
    match character {
        '/' | ':' | '@' | '#' | '-' | '.' | ')' => 2,
        special if is_special(special) => 2,
        other => other.len_utf16(),
    }
}

/// The text with everything escaped that Discord would read.
pub(super) fn escaped(text: &str) -> String {
    let mut written = String::with_capacity(text.len() + text.len() / 8);
    for line in text.split_inclusive(['\n', '\r', '\u{2028}', '\u{2029}']) {
        let content = line.trim_start_matches([' ', '\t']);
        written.push_str(&line[..line.len() - content.len()]);
        escape_line(content, &mut written);
    }
    written
}

fn escape_line(line: &str, written: &mut String) {
    let marker = marker(line);
    let mut at = 0;
    while let Some(character) = line[at..].chars().next() {
        let rest = &line[at..];
        if let Some(length) = address(rest) {
            written.push('<');
            written.push_str(&rest[..length]);
            written.push('>');
            at += length;
            continue;
        }
        let read = match character {
            ':' => is_emoji(rest),
            '@' => rest.starts_with("@everyone") || rest.starts_with("@here"),
            other => is_special(other) || marker == Some(at),
        };
        if read {
            written.push('\\');
        }
        written.push(character);
        at += character.len_utf8();
    }
}

/// What is read wherever it stands: emphasis, code, spoilers, links, mentions, quotes.
const fn is_special(character: char) -> bool {
    matches!(character, '\\' | '*' | '_' | '~' | '`' | '|' | '[' | ']' | '<' | '>')
}

/// What makes the line a heading, small print or an item of a list: `#`, `-#`, `-`, and the sign behind a number.
fn marker(line: &str) -> Option<usize> {
    if line.starts_with(['#', '-']) {
        return Some(0);
    }
    let digits = line.find(|c: char| !c.is_ascii_digit()).filter(|digits| *digits > 0)?;
    line[digits..].starts_with(['.', ')']).then_some(digits)
}

/// Whether the text starts with an emoji by its name, such as `:bird:`.
fn is_emoji(text: &str) -> bool {
    let name = &text[1..];
    let end = name.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '+' | '-'));
    end.is_some_and(|end| end > 0 && name[end..].starts_with(':'))
}

/// The length of the web address at the start of the text, without what closes the sentence around it.
fn address(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let end = rest.find(|c: char| !c.is_ascii_graphic() || matches!(c, '<' | '>' | '"')).unwrap_or(rest.len());
    let mut address = &rest[..end];
    while let Some(last) = address.chars().last() {
        let closes = match last {
            '.' | ',' | ':' | ';' | '!' | '?' | '\'' | '*' | '~' | '|' | '`' | '\\' => true,
            ')' => address.matches(')').count() > address.matches('(').count(),
            ']' => address.matches(']').count() > address.matches('[').count(),
            _ => false,
        };
        if !closes {
            break;
        }
        address = &address[..address.len() - 1];
    }
    (!address.is_empty()).then(|| text.len() - rest.len() + address.len())
}

/// What Discord shows of a text.
#[cfg(feature = "counterpart")]
pub(super) fn shown(written: &str) -> String {
    let mut text = String::with_capacity(written.len());
    let mut rest = written;
    while let Some(character) = rest.chars().next() {
        let behind = &rest[character.len_utf8()..];
        let address = behind.strip_prefix("https://").or_else(|| behind.strip_prefix("http://"));
        if character == '\\' && behind.starts_with(|c: char| !c.is_ascii_alphanumeric() && !c.is_whitespace()) {
            let next = behind.chars().next().expect("just seen");
            text.push(next);
            rest = &behind[next.len_utf8()..];
        } else if let (true, Some(end)) = (character == '<' && address.is_some(), behind.find('>')) {
            text.push_str(&behind[..end]);
            rest = &behind[end + 1..];
        } else {
            text.push(character);
            rest = behind;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_discord_would_read_is_escaped() {
        for (text, written) in [
            ("Two & three <days> now? 🐦 你好，世界", "Two & three \\<days\\> now? 🐦 你好，世界"),
            ("*a* _b_ ~~c~~ `d` ||e||", "\\*a\\* \\_b\\_ \\~\\~c\\~\\~ \\`d\\` \\|\\|e\\|\\|"),
            ("# a\n## b\n -# c\n#d", "\\# a\n\\## b\n \\-# c\n\\#d"),
            ("- a\n  * b\n12. c\n3) d\n1.5 e", "\\- a\n  \\* b\n12\\. c\n3\\) d\n1\\.5 e"),
            ("> a\n>>> b\na > b", "\\> a\n\\>\\>\\> b\na \\> b"),
            ("a # b - c 1. d", "a # b - c 1. d"),
            (
                "<@7> <@&8> <#9> </a:1> <t:5:R> <:b:2>",
                "\\<@7\\> \\<@&8\\> \\<#9\\> \\</a:1\\> \\<t\\:5:R\\> \\<\\:b:2\\>",
            ),
            ("@everyone @here a@b.example", "\\@everyone \\@here a@b.example"),
            (":bird: 9:30 a:b 10:30:15 ::", "\\:bird: 9:30 a:b 10\\:30:15 ::"),
            ("[a](https://a.example/b_c)", "\\[a\\](<https://a.example/b_c>)"),
            ("See https://a.example/x_(y)?z=*.", "See <https://a.example/x_(y)?z=>\\*."),
            ("请看https://a.example/b，谢谢", "请看<https://a.example/b>，谢谢"),
            ("<https://a.example>", "\\<<https://a.example>\\>"),
            ("https:// http://.", "https:// http://."),
            ("¯\\_(ツ)_/¯", "¯\\\\\\_(ツ)\\_/¯"),
            ("a\r# b", "a\r\\# b"),
        ] {
            assert_eq!(escaped(text), written);
            assert_eq!(shown(written), text);
        }
    }

    proptest! {
        #[test]
        fn any_text_shows_as_it_is_and_within_its_size(
            text in "([a-z0-9\\\\*_~`|<>@#:.()\\[\\] \n你🐦-]|https?://|@everyone|1\\. |\\PC){0,40}",
        ) {
            let written = escaped(&text);
            prop_assert_eq!(shown(&written), text.as_str());
            prop_assert!(written.encode_utf16().count() <= text.chars().map(size).sum::<usize>());
        }
    }
}
