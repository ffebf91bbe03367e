//! What is for the bot where several people talk: what calls it by a prefix, and what is left of the words then.

use hoopoe_message::Content;

/// What follows the prefix; `None` where the text does not begin with it, or goes on with the same word.
pub(crate) fn without_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let mut rest = text.trim_start().chars();
    for expected in prefix.chars() {
        rest.next().filter(|given| given.to_lowercase().eq(expected.to_lowercase()))?;
    }
    let rest = rest.as_str();
    let inside = |character: Option<char>| character.is_some_and(|c| c.is_ascii_alphanumeric());
    let same_word = inside(prefix.chars().next_back()) && inside(rest.chars().next());
    (!same_word).then(|| unaddressed(rest))
}

/// "Hoopoe, are you open?", of which the name is taken out already, without what divides the two.
pub(crate) fn unaddressed(text: &str) -> &str {
    text.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ',' | '，' | '、' | ':' | '：'))
}

/// What is said to the bot: words, or only something that it cannot read. Who calls it and says nothing wants help.
pub(crate) fn said(words: &str, unreadable: bool) -> Content {
    match words.trim() {
        "" if unreadable => Content::Unsupported,
        "" => Content::text("/help"),
        words => Content::text(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_word_or_a_sign() {
        for (text, prefix, rest) in [
            ("Bot, are you open?", "bot", Some("are you open?")),
            (" bot:hello", "bot", Some("hello")),
            ("bot: opening hours?", "bot", Some("opening hours?")),
            ("bot", "bot", Some("")),
            ("bottle is empty", "bot", None),
            ("ask bot", "bot", None),
            ("bo", "bot", None),
            ("戴胜你好", "戴胜", Some("你好")),
            ("戴胜，几点开门？", "戴胜", Some("几点开门？")),
            ("戴", "戴胜", None),
            ("戴我", "bot", None),
            ("ÖFFNUNG: wann?", "öffnung", Some("wann?")),
            ("!where is it", "!", Some("where is it")),
            ("!bot  opening hours", "!bot", Some("opening hours")),
        ] {
            assert_eq!(without_prefix(text, prefix), rest, "{text}");
        }
    }

    #[test]
    fn who_calls_the_bot_and_says_nothing_wants_help() {
        assert_eq!(said(" \n", false), Content::text("/help"));
        assert_eq!(said(" ", true), Content::Unsupported);
        assert_eq!(said(" hello ", true), Content::text("hello"));
    }
}
