//! Language codes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An ISO 639 code of two or three lower-case letters, such as `zh` or `en`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Language {
    letters: [u8; 3],
    length: u8,
}

impl Language {
    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.letters[..usize::from(self.length)]).expect("made from ASCII letters only")
    }

    /// The language of a locale as browsers and platforms write it: `zh` of `zh-CN`, `zh-Hant-TW` and `zh_TW`, `en` of
    /// `EN-gb`. Mandarin (`cmn`) and Cantonese (`yue`) are written in Chinese and count as `zh`. `None` if the part
    /// before the first `-` or `_` is not a language code.
    #[must_use]
    pub fn of_locale(locale: &str) -> Option<Self> {
        let code = locale.split(['-', '_']).next()?.to_ascii_lowercase();
        match code.as_str() {
            "cmn" | "yue" => "zh".parse().ok(),
            code => code.parse().ok(),
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Language {
    type Err = InvalidLanguage;

    fn from_str(code: &str) -> Result<Self, Self::Err> {
        let mut letters = [0; 3];
        match (code.len(), code.bytes().all(|byte| byte.is_ascii_lowercase())) {
            (length @ 2..=3, true) => {
                letters[..length].copy_from_slice(code.as_bytes());
                Ok(Self { letters, length: if length == 2 { 2 } else { 3 } })
            }
            _ => Err(InvalidLanguage),
        }
    }
}

impl TryFrom<String> for Language {
    type Error = InvalidLanguage;

    fn try_from(code: String) -> Result<Self, Self::Error> {
        code.parse()
    }
}

impl From<Language> for String {
    fn from(language: Language) -> Self {
        language.as_str().to_owned()
    }
}

/// The text does not fit [`Language`].
#[derive(Debug, thiserror::Error)]
#[error("a language is an ISO 639 code of two or three lower-case letters, such as zh or en")]
pub struct InvalidLanguage;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_names_its_language() {
        for (locale, language) in [
            ("zh", Some("zh")),
            ("zh-CN", Some("zh")),
            ("zh-TW", Some("zh")),
            ("zh-Hant", Some("zh")),
            ("zh-Hant-HK", Some("zh")),
            ("zh_CN", Some("zh")),
            ("yue-Hant-HK", Some("zh")),
            ("cmn-Hans-CN", Some("zh")),
            ("en-US", Some("en")),
            ("EN-gb", Some("en")),
            ("fil-PH", Some("fil")),
            ("", None),
            ("-CN", None),
            ("C", None),
            ("klingon", None),
            ("中文", None),
        ] {
            assert_eq!(Language::of_locale(locale).as_ref().map(Language::as_str), language, "{locale}");
        }
    }
}
