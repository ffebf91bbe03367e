//! How Slack writes texts ("Formatting message text", <https://docs.slack.dev/messaging/formatting-message-text>).
//!
//! `&`, `<` and `>` are `&amp;`, `&lt;` and `&gt;`; between `<` and `>` stand links (`<https://a.example|words>`),
//! people (`<@U…>`), channels (`<#C…|name>`) and special mentions (`<!here>`).

use std::borrow::Cow;

use crate::text::group;

/// A text of an event as a person sees it.
pub(super) struct Heard {
    /// The words, without mentions of the bot.
    pub(super) words: String,
    /// Whether there was one.
    pub(super) mentions_bot: bool,
}

/// Reads a text that Slack wrote.
pub(super) fn heard(text: &str, bot: Option<&str>) -> Heard {
    let mut words = String::with_capacity(text.len());
    let mut mentions_bot = false;
    let mut rest = text;
    while let Some((before, from)) = rest.split_once('<') {
        words.push_str(&unescape(before));
        let Some((inner, after)) = from.split_once('>') else {
            // Slack escapes what is no markup, so this is not its writing.
            rest = &rest[before.len()..];
            break;
        };
        rest = after;
        if names(inner, bot) {
            mentions_bot = true;
            rest = after.trim_start_matches(' ');
        } else {
            words.push_str(&seen(inner));
        }
    }
    words.push_str(&unescape(rest));
    // "Hoopoe, are you open?"
    let start = if mentions_bot { group::unaddressed(&words) } else { words.trim_start() };
    Heard { words: start.trim_end().to_owned(), mentions_bot }
}

/// Whether the markup mentions the bot: `@U…`, or with a name after `|`.
fn names(inner: &str, bot: Option<&str>) -> bool {
    let person = inner.strip_prefix('@').and_then(|person| person.split('|').next());
    person.is_some() && person == bot
}

/// What a person sees of the markup between `<` and `>`, as far as the text alone tells.
fn seen(inner: &str) -> String {
    let (target, label) = match inner.split_once('|') {
        Some((target, label)) if !label.is_empty() => (target, Some(label)),
        Some((target, _)) => (target, None),
        None => (inner, None),
    };
    let sign = target.chars().next().filter(|sign| matches!(sign, '@' | '#' | '!'));
    match (sign, label) {
        (Some(sign @ ('@' | '#')), Some(label)) if !label.starts_with(sign) => format!("{sign}{}", unescape(label)),
        (_, Some(label)) => unescape(label).into_owned(),
        // `<!subteam^S…>` and `<!date^…>`, which come with a label.
        (Some('!'), None) => format!("@{}", unescape(target[1..].split('^').next().unwrap_or_default())),
        (_, None) => unescape(target.strip_prefix("mailto:").unwrap_or(target)).into_owned(),
    }
}

/// `&`, `<` and `>` written so that Slack shows them and reads nothing into them.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Undoes [`escape`].
pub(super) fn unescape(text: &str) -> Cow<'_, str> {
    if text.contains('&') {
        text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").into()
    } else {
        text.into()
    }
}

/// A stretch of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Words(&'a str),
    /// A web address.
    Link(&'a str),
}

/// The text as words and web addresses; none of them is empty.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut done = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find("http") {
        at += found;
        match address(&text[at..]) {
            Some(url) => {
                if done < at {
                    pieces.push(Piece::Words(&text[done..at]));
                }
                pieces.push(Piece::Link(url));
                at += url.len();
                done = at;
            }
            None => at += "http".len(),
        }
    }
    if done < text.len() {
        pieces.push(Piece::Words(&text[done..]));
    }
    pieces
}

/// The web address at the start of the text, without the punctuation of the sentence around it.
fn address(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_graphic() || matches!(c, '<' | '>' | '"')).unwrap_or(text.len());
    let mut url = &text[..end];
    while let Some(shorter) = url.strip_suffix(['.', ',', ';', ':', '!', '?', '\'', '*', '_', '~', '`', ')', ']', '}'])
    {
        // "…/wiki/Hoopoe_(bird)" has its bracket itself.
        if url.ends_with(')') && shorter.contains('(') {
            break;
        }
        url = shorter;
    }
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let formed = host.starts_with(|c: char| c.is_ascii_alphanumeric()) && url.parse::<http::Uri>().is_ok();
    formed.then_some(url)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn markup_is_read_as_a_person_sees_it() {
        for (text, words) in [
            ("Tom &amp; Jerry &lt;3 &amp;lt;", "Tom & Jerry <3 &lt;"),
            ("see <https://a.example/?x=1&amp;y=2> now", "see https://a.example/?x=1&y=2 now"),
            ("see <https://a.example/long|our page>", "see our page"),
            ("<http://a.example|a.example>", "a.example"),
            ("<mailto:a@b.example|a@b.example> or <mailto:a@b.example>", "a@b.example or a@b.example"),
            ("ask <@U2|ada>, <@U3> or <@U4|>", "ask @ada, @U3 or @U4"),
            ("in <#C1|shop> or <#C2>", "in #shop or #C2"),
            ("<!here> <!channel|@channel> <!subteam^S1|@ops> <!subteam^S1>", "@here @channel @ops @subteam"),
            ("<!date^1767225600^{date}|1 January>", "1 January"),
            ("<@U1>, are you open?", "are you open?"),
            ("hey <@U1|hoopoe> are you open?", "hey are you open?"),
            ("a < b", "a < b"),
            ("<>", ""),
            ("<|>", ""),
            ("<", "<"),
            ("", ""),
        ] {
            assert_eq!(heard(text, Some("U1")).words, words, "{text}");
        }
        assert!(heard("<@U1>", Some("U1")).mentions_bot);
        assert!(!heard("<@U1>", None).mentions_bot && !heard("<@U12>", Some("U1")).mentions_bot);
    }

    #[test]
    fn addresses_end_before_the_sentence_does() {
        for (text, url) in [
            ("https://a.example/x.", "https://a.example/x"),
            ("(https://a.example/x)。", "https://a.example/x"),
            ("请看https://a.example/b，谢谢", "https://a.example/b"),
            ("[here](https://a.example/x_y?z=1)", "https://a.example/x_y?z=1"),
            ("http://a.example/wiki/Hoopoe_(bird)", "http://a.example/wiki/Hoopoe_(bird)"),
            ("http https://a.example", "https://a.example"),
        ] {
            assert!(pieces(text).contains(&Piece::Link(url)), "{text}: {:?}", pieces(text));
        }
        for text in ["https://", "http:a.example", "https://…", "https://.", "httpd", "ftp://a.example"] {
            assert_eq!(pieces(text), [Piece::Words(text)]);
        }
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_heard_as_it_was(text in "[a-z&<>;|@# 你🐦]{0,40}") {
            prop_assert_eq!(heard(&escape(&text), Some("u")).words, text.trim());
        }

        #[test]
        fn any_markup_is_read(text in "[<>|@#!&^uU1 a,:]{0,40}") {
            let _ = heard(&text, Some("U1"));
        }

        #[test]
        fn pieces_are_the_text(text in "(https?://|[a-z.()/ 你]|http){0,20}") {
            let whole: String =
                pieces(&text).iter().map(|piece| match piece { Piece::Words(text) | Piece::Link(text) => *text }).collect();
            prop_assert_eq!(whole, text);
        }
    }
}
