//! What a message says: its text without mentions of the bot and without markup.

use serde_json::Value;

use crate::text::group;

/// The most mentions of a message that are looked at.
const MAX_MENTIONS: usize = 64;

/// Somebody is mentioned ("Channel and group chat conversations with a bot",
/// platform/bots/how-to/conversations/channel-and-group-conversations, "Work with mentions").
struct Mention<'a> {
    id: &'a str,
    /// The part of the text that is the mention, such as `<at>Hoopoe</at>`.
    tag: &'a str,
    name: &'a str,
}

impl<'a> Mention<'a> {
    fn of(entity: &'a Value) -> Option<Self> {
        let text = |value: &'a Value| value.as_str().unwrap_or_default();
        let mention = text(&entity["type"]).eq_ignore_ascii_case("mention");
        mention.then(|| Self {
            id: text(&entity["mentioned"]["id"]),
            tag: text(&entity["text"]),
            name: text(&entity["mentioned"]["name"]),
        })
    }
}

/// The text without the mentions of the bot, with the bare names of others, and whether the bot was mentioned.
///
/// Whom a mention means, its id tells alone: "don't rely on the text in the message".
pub(super) fn without_mentions(text: &str, entities: &[Value], bot: &str) -> (String, bool) {
    let mut rest = text.to_owned();
    let mut mentioned = false;
    for mention in entities.iter().filter_map(Mention::of).take(MAX_MENTIONS) {
        let ours = is_same(mention.id, bot);
        mentioned |= ours;
        let at = (!mention.tag.is_empty()).then(|| rest.find(mention.tag)).flatten();
        let Some(at) = at else { continue };
        let end = at + mention.tag.len();
        if ours {
            let end = rest.len() - rest[end..].trim_start_matches([' ', '\u{a0}']).len();
            rest.replace_range(at..end, "");
        } else {
            rest.replace_range(at..end, mention.name);
        }
    }
    if mentioned {
        // "Hoopoe, are you open?"
        rest = group::unaddressed(&rest).to_owned();
    }
    (rest.trim().to_owned(), mentioned)
}

/// Whether two ids of accounts are the same one's. Nobody has the empty id.
pub(super) fn is_same(id: &str, other: &str) -> bool {
    !id.is_empty() && id.eq_ignore_ascii_case(other)
}

/// The words of a piece of HTML: tags left out, a line for each paragraph, entities decoded once.
pub(super) fn of_html(html: &str) -> String {
    let mut words = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = rest.find(['<', '&']) {
        words.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(tag) = rest.strip_prefix('<') {
            let Some(end) = tag.find('>') else { break };
            if ends_line(&tag[..end]) && !words.ends_with('\n') {
                words.push('\n');
            }
            rest = &tag[end + 1..];
        } else {
            let (character, length) = entity(rest).unwrap_or(('&', 1));
            words.push(character);
            rest = &rest[length..];
        }
    }
    if !rest.starts_with('<') {
        words.push_str(rest);
    }
    words.trim().to_owned()
}

/// Whether a tag, without its brackets, ends a line.
fn ends_line(tag: &str) -> bool {
    let name = tag.trim_end_matches('/').split_whitespace().next().unwrap_or_default();
    ["br", "/p", "/div", "/li", "/blockquote", "/tr"].iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// The character that the entity at the start of the text stands for, and the entity's length; `None` where it is none
/// that is known.
fn entity(text: &str) -> Option<(char, usize)> {
    /// The longest one read: `&#x10FFFF;`
    const MAX_BYTES: usize = 10;
    let end = text.bytes().take(MAX_BYTES).position(|byte| byte == b';')?;
    let name = &text[1..end];
    let character = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => ' ',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)?
        }
    };
    Some((character, end + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const BOT: &str = "28:0f8fad5b-d9cb-469f-a165-70867728950e";

    fn said(text: &str, mentions: &[(&str, &str, &str)]) -> (String, bool) {
        let entities: Vec<_> = mentions
            .iter()
            .map(|(id, name, tag)| json!({ "type": "mention", "mentioned": { "id": id, "name": name }, "text": tag }))
            .chain([json!({ "type": "clientInfo", "text": 1 }), json!("?")])
            .collect();
        without_mentions(text, &entities, BOT)
    }

    #[test]
    fn the_bot_is_left_out_and_others_keep_their_names() {
        let bot = (BOT, "Hoopoe", "<at>Hoopoe</at>");
        let ada = ("29:1ada", "Ada & Co", "<at>Ada &amp; Co</at>");
        let yes = |text: &str| (text.to_owned(), true);
        assert_eq!(said("<at>Hoopoe</at> are you open?\n", &[bot]), yes("are you open?"));
        assert_eq!(said("<at>Hoopoe</at>, are you open?", &[bot]), yes("are you open?"));
        assert_eq!(said("<at>Hoopoe</at>\u{a0}/lang zh", &[bot]), yes("/lang zh"));
        assert_eq!(said("hey <at>Hoopoe</at> are you open?", &[bot]), yes("hey are you open?"));
        assert_eq!(said("<at>Hoopoe</at>", &[bot]), yes(""));
        assert_eq!(said("<at>Hoopoe</at> <at>Hoopoe</at> hi", &[bot, bot]), yes("hi"));
        assert_eq!(said("<at>Ada &amp; Co</at> <at>Hoopoe</at> a < b", &[ada, bot]), yes("Ada & Co a < b"));
        assert_eq!(said("<at>Ada &amp; Co</at> hi", &[ada]), ("Ada & Co hi".into(), false));
        // A name that looks like the bot's is not the bot's.
        assert!(!said("<at>Hoopoe</at> hi", &[("29:1eve", "Hoopoe", "<at>Hoopoe</at>")]).1);
        assert!(!said("<at>Hoopoe</at> hi", &[("", "Hoopoe", "<at>Hoopoe</at>")]).1);
        // The entity counts even where its text is not in the message.
        assert_eq!(said("hi", &[(BOT, "Hoopoe", "<at>@Hoopoe</at>")]), yes("hi"));
        assert_eq!(said("hi", &[(BOT, "Hoopoe", "")]), yes("hi"));
    }

    #[test]
    fn html_is_read_as_its_words() {
        for (html, words) in [
            ("<p>Use x &lt; 5 &amp;lt; &#39;now&#x27;&nbsp;&copy;</p>", "Use x < 5 &lt; 'now' &copy;"),
            ("<div><div>One</div><div>two<br/>three</div>\n</div>", "One\ntwo\nthree"),
            ("<p><img src=\"a>b\"></p>", "b\">"),
            ("a & b", "a & b"),
            ("a &#xFFFFFFFF; &#; &; &", "a &#xFFFFFFFF; &#; &; &"),
            ("a <b", "a"),
            ("", ""),
        ] {
            assert_eq!(of_html(html), words, "{html}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_read(text in ".{0,60}", tag in ".{0,6}", name in ".{0,6}", html in "([<>&;#x/]|amp|br|.){0,60}") {
            let _ = said(&text, &[(BOT, &name, &tag), ("29:1", &name, &tag)]);
            let _ = of_html(&html);
        }
    }
}
