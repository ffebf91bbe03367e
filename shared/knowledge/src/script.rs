//! Which language a text is in, as far as its script tells.

use hoopoe_message::Language;
use unicode_script::{Script, UnicodeScript};

/// The languages among `known` that are written in the script most of the text is written in. None for a text
/// without letters, and for a script that none of the languages uses.
pub(crate) fn candidates<'l>(text: &str, known: &'l [Language]) -> impl Iterator<Item = Language> + use<'l> {
    let writing = Writing::of(text);
    known.iter().copied().filter(move |&language| writing.is_some_and(|writing| writing == Writing::used_by(language)))
}

/// What a text is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    Chinese,
    Japanese,
    /// A script that one language or many write with; it alone does not say which.
    Script(Script),
}

impl Writing {
    /// The writing of most of the words; the first of them at a tie.
    ///
    /// Where no spaces divide words each character counts as one, so that the brand in `iPhone 充电器坏了` does not
    /// make it English. Japanese is told from Chinese by its kana; a shop's name with one の in it is not enough.
    fn of(text: &str) -> Option<Self> {
        let mut counts: Vec<(Script, usize)> = Vec::with_capacity(4);
        let mut kana = 0;
        let mut word = None;
        for c in text.chars() {
            let script = match c.script() {
                Script::Hiragana | Script::Katakana => {
                    kana += 1;
                    Script::Han
                }
                Script::Common | Script::Inherited | Script::Unknown => {
                    // An apostrophe or an accent does not end a word, a space does.
                    if c.is_whitespace() {
                        word = None;
                    }
                    continue;
                }
                script => script,
            };
            if script == Script::Han || word != Some(script) {
                match counts.iter_mut().find(|(counted, _)| *counted == script) {
                    Some((_, count)) => *count += 1,
                    None => counts.push((script, 1)),
                }
            }
            word = Some(script);
        }
        let (script, count) = counts.into_iter().rev().max_by_key(|&(_, count)| count)?;
        Some(match script {
            Script::Han if kana * 5 >= count => Self::Japanese,
            Script::Han => Self::Chinese,
            script => Self::Script(script),
        })
    }

    /// Latin unless the language is known to be written otherwise.
    fn used_by(language: Language) -> Self {
        Self::Script(match language.as_str() {
            "zh" => return Self::Chinese,
            "ja" => return Self::Japanese,
            "ko" => Script::Hangul,
            "th" => Script::Thai,
            "lo" => Script::Lao,
            "km" => Script::Khmer,
            "my" => Script::Myanmar,
            "ru" | "uk" | "be" | "bg" | "mk" | "sr" | "kk" | "ky" | "mn" | "tg" => Script::Cyrillic,
            "el" => Script::Greek,
            "he" | "yi" => Script::Hebrew,
            "ar" | "fa" | "ur" | "ps" | "ug" | "ckb" | "sd" => Script::Arabic,
            "hi" | "mr" | "ne" => Script::Devanagari,
            "bn" | "as" => Script::Bengali,
            "pa" => Script::Gurmukhi,
            "gu" => Script::Gujarati,
            "or" => Script::Oriya,
            "ta" => Script::Tamil,
            "te" => Script::Telugu,
            "kn" => Script::Kannada,
            "ml" => Script::Malayalam,
            "si" => Script::Sinhala,
            "ka" => Script::Georgian,
            "hy" => Script::Armenian,
            "am" | "ti" => Script::Ethiopic,
            _ => Script::Latin,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn languages(codes: &str) -> Vec<Language> {
        codes.split(' ').map(|code| code.parse().expect("a code")).collect()
    }

    #[test]
    fn the_script_of_most_words_decides() {
        let known = languages("zh en ja ko th ru");
        for (text, language) in [
            ("忘记密码怎么办", "zh"),
            ("iPhone 充电器坏了", "zh"),
            ("奈雪の茶有货吗", "zh"),
            ("パスワードを忘れました", "ja"),
            ("注文番号の確認方法を教えて", "ja"),
            ("비밀번호를 잊어버렸어요", "ko"),
            ("ลืมรหัสผ่าน", "th"),
            ("где моя посылка", "ru"),
            ("how do I say 谢谢 to you", "en"),
            ("WHERE’S MY PARCEL?", "en"),
            ("où est mon colis", "en"),
        ] {
            assert_eq!(candidates(text, &known).collect::<Vec<_>>(), languages(language), "{text}");
        }
    }

    #[test]
    fn several_languages_may_share_a_script_and_a_text_may_have_none() {
        assert_eq!(candidates("hola", &languages("en zh es")).collect::<Vec<_>>(), languages("en es"));
        for text in ["", "12345", "👍", "？！", "ลืม"] {
            assert_eq!(candidates(text, &languages("zh en")).count(), 0, "{text}");
        }
    }
}
