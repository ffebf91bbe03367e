//! When two texts are the same words: case, spaces, punctuation and full-width forms left aside.

/// The text reduced to what tells one question from another, so that `Where's my parcel?` and `wheres my parcel`
/// are one. Empty where nothing is left.
#[must_use]
pub fn key(text: &str) -> String {
    text.chars().map(half_width).filter(|&c| !is_ignored(c)).flat_map(char::to_lowercase).collect()
}

/// Chinese and Japanese keyboards write ASCII in full-width forms: `ＶＩＰ？`.
fn half_width(c: char) -> char {
    match c {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(c),
        c => c,
    }
}

/// Spaces and punctuation. Emoji and combining marks stay: they can be all there is, or tell two words apart.
fn is_ignored(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || c.is_ascii_punctuation()
        || matches!(c, '\u{00A1}' | '\u{00AB}' | '\u{00B7}' | '\u{00BB}' | '\u{00BF}')
        // General punctuation (which holds the zero-width joiners), CJK punctuation, and half-width 。「」、・.
        || matches!(c, '\u{2000}'..='\u{206F}' | '\u{3000}'..='\u{303F}' | '\u{FF61}'..='\u{FF65}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_space_and_punctuation_do_not_matter() {
        assert_eq!(key(" Where’s my  PARCEL?! "), key("wheres my parcel"));
        assert_eq!(key("怎么开发票？"), key("怎么 开发票"));
        assert_eq!(key("ＶＩＰ会员。"), key("vip会员"));
    }

    #[test]
    fn letters_digits_marks_and_emoji_do() {
        assert_ne!(key("order 12"), key("order 13"));
        assert_ne!(key("ไม่"), key("ไม้"));
        assert_ne!(key("👍"), key("👎"));
        assert_eq!(key("？！ …"), "");
    }
}
