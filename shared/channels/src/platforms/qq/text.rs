//! Texts in QQ's two ways of writing.
//!
//! Both know tags such as `<@id>`. In guilds `&`, `<` and `>` stand as entities on the way in and out ("内嵌格式",
//! `server-inter/message/message_format.html`). In private chats and groups QQ shows entities as they are
//! (nonebot/adapter-qq, issue 92 and pull request 144), so there a tag can only be broken up.

use std::ops::Range;

use super::Room;

/// Stands between the parts of what QQ would read as a tag or a mention, and shows as nothing.
const JOINT: char = '\u{200b}';

const EVERYONE: &str = "@everyone";

/// No number is documented. QQ's own connector cuts "at about 5000" (tencent-connect/dsh-qqbot, `chunker.ts`); what is
/// longer is refused with 40054007.
const MAX_UTF16: usize = 4000;

/// Nor is one for guilds, where developers found 2500 to be the end.
const MAX_GUILD_UTF16: usize = 2000;

impl Room {
    const fn is_guild(&self) -> bool {
        matches!(self, Self::Channel(_) | Self::Direct(_))
    }

    /// The most a message may hold, in UTF-16 units, which no way of counting exceeds.
    pub(super) const fn limit(&self) -> usize {
        if self.is_guild() { MAX_GUILD_UTF16 } else { MAX_UTF16 }
    }

    /// How much of the limit a character may take once it is [`written`](Self::written).
    pub(super) const fn size(&self) -> fn(char) -> usize {
        if self.is_guild() { guild_size } else { plain_size }
    }

    /// The text so that it shows as it is.
    pub(super) fn written(&self, text: &str) -> String {
        if self.is_guild() {
            let entities = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            entities.replace(EVERYONE, &format!("@{JOINT}everyone"))
        } else {
            text.replace("<@", &format!("<{JOINT}@"))
        }
    }

    /// The text that a person reads where [`written`](Self::written) was sent.
    #[cfg(feature = "counterpart")]
    pub(super) fn shown(&self, written: &str) -> String {
        let text = written.replace(JOINT, "");
        if self.is_guild() { without_entities(&text) } else { text }
    }
}

fn guild_size(character: char) -> usize {
    match character {
        '&' => "&amp;".len(),
        '<' | '>' => "&lt;".len(),
        '@' => 2,
        _ => character.len_utf16(),
    }
}

fn plain_size(character: char) -> usize {
    if character == '<' { 2 } else { character.len_utf16() }
}

/// What a message says without its tags, and whether one of them was a face (表情).
pub(super) struct Said {
    pub(super) text: String,
    pub(super) faces: bool,
}

impl Said {
    /// Reads the `content` of a message. Mentions are tags only where several people talk.
    pub(super) fn of(content: &str, room: &Room) -> Self {
        let mentions = !matches!(room, Room::User(_));
        let mut said = Self { text: String::with_capacity(content.len()), faces: false };
        let mut done = 0;
        for (start, _) in content.match_indices('<') {
            let Some((tag, kind)) = tag(content, start) else { continue };
            match kind {
                Tag::Face => said.faces = true,
                Tag::Mention if mentions => {}
                Tag::Mention => continue,
            }
            if tag.start >= done {
                said.text.push_str(&content[done..tag.start]);
                done = tag.end;
            }
        }
        said.text.push_str(&content[done..]);
        if room.is_guild() {
            said.text = without_entities(&said.text);
        }
        said.text = said.text.trim().to_owned();
        said
    }
}

enum Tag {
    Mention,
    Face,
}

/// The tag that starts at the `<`, if one does: `<@id>`, `<@!id>`, `<emoji:4>`, `<faceType=1,faceId="13",ext="…">`.
fn tag(content: &str, start: usize) -> Option<(Range<usize>, Tag)> {
    let inside = &content[start + 1..];
    let end = inside.find(['<', '>']).filter(|end| inside[*end..].starts_with('>'))?;
    let inside = &inside[..end];
    let kind = if let Some(id) = inside.strip_prefix('@') {
        let id = id.strip_prefix('!').unwrap_or(id);
        super::is_id(id).then_some(Tag::Mention)
    } else if let Some(number) = inside.strip_prefix("emoji:") {
        number.bytes().all(|byte| byte.is_ascii_digit()).then_some(Tag::Face)
    } else {
        inside.starts_with("faceType=").then_some(Tag::Face)
    };
    Some((start..start + end + 2, kind?))
}

fn without_entities(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_taken_out_where_they_are_tags() {
        let group = Room::Group("G".into());
        let (user, channel) = (Room::User("U".into()), Room::Channel("1".into()));
        for (room, content, text, faces) in [
            (&group, " where is it", "where is it", false),
            (&group, "<@A1B2> hi <@!7>", "hi", false),
            (&user, "<@A1B2> hi", "<@A1B2> hi", false),
            (&user, "ok<faceType=1,faceId=\"13\",ext=\"eyJ0\">", "ok", true),
            (&channel, "<@!7> 1 &lt; 2 &amp;amp; <emoji:4>", "1 < 2 &amp;", true),
            (&group, "a < b and <b> <@> <@a b> <<@7>", "a < b and <b> <@> <@a b> <", false),
            (&group, "<@7", "<@7", false),
            (&group, "&lt;", "&lt;", false),
        ] {
            let said = Said::of(content, room);
            assert_eq!((said.text.as_str(), said.faces), (text, faces), "{content}");
        }
    }

    #[test]
    fn what_is_written_shows_as_it_is_and_within_its_size() {
        for room in [Room::User("U".into()), Room::Group("G".into()), Room::Channel("1".into())] {
            for text in ["<@7> & <b> @everyone", "&lt;", "你好 🐦 <emoji:4>"] {
                let written = room.written(text);
                assert_eq!(room.shown(&written), text);
                assert!(!written.contains("<@7>"));
                let most: usize = text.chars().map(room.size()).sum();
                assert!(written.encode_utf16().count() <= most, "{written}");
            }
        }
        assert!(!Room::Channel("1".into()).written("@everyone").contains("@everyone"));
    }
}
