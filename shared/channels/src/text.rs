//! What the platforms share in reading and cutting text.
//!
//! | module | what is in it |
//! |---|---|
//! | [`split`] | cutting a long reply at a platform's limit |
//! | `group` | what is for the bot where several people talk |
//! | `xml` | reading the XML of WeCom and WeChat |

pub(crate) mod group;
pub mod split;
pub(crate) mod xml;

/// Whether a character shows something, or begins a line or a column. The control characters show nothing, and take six
/// times their size in JSON.
pub(crate) fn is_printable(character: char) -> bool {
    !character.is_control() || matches!(character, '\n' | '\t')
}

/// The text without control characters.
pub(crate) fn printable(mut text: String) -> String {
    text.retain(is_printable);
    text
}

/// The words as English counts them: "a, b and c".
pub(crate) fn enumerated(words: impl IntoIterator<Item = String>) -> String {
    let mut words: Vec<String> = words.into_iter().collect();
    match words.pop() {
        Some(last) if !words.is_empty() => format!("{} and {last}", words.join(", ")),
        only => only.unwrap_or_default(),
    }
}
