//! Quick replies as buttons ("Component Reference", `components/reference#button`).
//!
//! A button comes back with the id it was given, so the id holds the words: a press needs no memory, and works under
//! old messages too.

use hoopoe_message::Reply;
use serde_json::{Value, json};

use crate::contract::sender::suggestions;

/// Of a label, in characters; and of an id. UTF-16 units are never fewer.
const MAX_LABEL: usize = 80;
const MAX_ID: usize = 100;

/// "Up to 5" buttons a row, and rows a message.
const PER_ROW: usize = 5;

/// What the ids of these buttons start with, before a number: no two buttons of a message may have the same.
const PREFIX: &str = "ask:";

/// The rows of buttons of a reply; empty without suggestions.
pub(super) fn rows(reply: &Reply) -> Vec<Value> {
    let buttons: Vec<_> = suggestions(reply)
        .take(PER_ROW * PER_ROW)
        .enumerate()
        .map(|(at, text)| {
            let id = format!("{PREFIX}{at}:{text}");
            json!({ "type": 2, "style": 2, "label": label(text), "custom_id": cut(&id, MAX_ID) })
        })
        .collect();
    buttons.chunks(PER_ROW).map(|row| json!({ "type": 1, "components": row })).collect()
}

/// The words of a button that [`rows`] made, by its id.
pub(super) fn pressed(custom_id: &str) -> Option<&str> {
    let (number, text) = custom_id.strip_prefix(PREFIX)?.split_once(':')?;
    let ours = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    Some(text.trim()).filter(|text| ours && !text.is_empty())
}

fn label(text: &str) -> String {
    let whole = cut(text, MAX_LABEL);
    if whole.len() == text.len() { whole.to_owned() } else { format!("{}…", cut(text, MAX_LABEL - 1)) }
}

/// As much of the text as fits, in UTF-16 units.
fn cut(text: &str, limit: usize) -> &str {
    let mut units = 0;
    let end = text.char_indices().find(|(_, character)| {
        units += character.len_utf16();
        units > limit
    });
    end.map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("🐦🐦🐦", 5), "🐦🐦");
        assert_eq!(cut("你好", 2), "你好");
        assert_eq!(label(&"你".repeat(81)).chars().count(), 80);
        assert_eq!(label(&"你".repeat(80)), "你".repeat(80));
    }

    #[test]
    fn only_our_buttons_are_ours() {
        assert_eq!(pressed("ask:0:联系人工"), Some("联系人工"));
        assert_eq!(pressed("ask:12:a:b"), Some("a:b"));
        for other in ["", "ask", "ask:", "ask:0", "ask:0:", "ask:0: ", "ask:x:y", "ask::y", "close:0:y"] {
            assert_eq!(pressed(other), None, "{other}");
        }
    }
}
