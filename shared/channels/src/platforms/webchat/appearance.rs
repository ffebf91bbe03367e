//! How the page looks: name, logo and colour of the bot's owner.
//!
//! They stand in the file `page.json` of the function's bundle, which the knowledge pack is built into:
//!
//! ```json
//! {
//!   "name": {"zh": "莲园", "en": "Lotus Garden"},
//!   "default_language": "en",
//!   "logo": "data:image/png;base64,…",
//!   "color": "#b4552d"
//! }
//! ```
//!
//! `logo` and `color` may be `null` or missing. Without a logo the page shows the first letter of the name. Without the
//! file the page is Hoopoe's own, [`Appearance::default`].

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hoopoe_message::Language;
use serde::{Deserialize, Serialize};

/// Name, logo and colour of the page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct Appearance {
    names: BTreeMap<Language, Name>,
    default_language: Language,
    logo: Option<Logo>,
    color: Option<Color>,
}

/// [`Appearance`] as it stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    name: BTreeMap<Language, Name>,
    default_language: Language,
    #[serde(default)]
    logo: Option<Logo>,
    #[serde(default)]
    color: Option<Color>,
}

impl Appearance {
    /// From its parts. Readers whose language has no name see the one in `default_language`.
    ///
    /// # Errors
    ///
    /// If there is no name in `default_language`.
    pub fn new(
        names: BTreeMap<Language, Name>,
        default_language: Language,
        logo: Option<Logo>,
        color: Option<Color>,
    ) -> Result<Self, InvalidAppearance> {
        if !names.contains_key(&default_language) {
            return Err(InvalidAppearance::NoName(default_language));
        }
        Ok(Self { names, default_language, logo, color })
    }

    /// Reads the content of `page.json`.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it, with line and column where JSON has them.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// The bot's name by language.
    #[must_use]
    pub const fn names(&self) -> &BTreeMap<Language, Name> {
        &self.names
    }

    /// The language of readers whose own has no name.
    #[must_use]
    pub const fn default_language(&self) -> Language {
        self.default_language
    }

    /// The name in the default language.
    #[must_use]
    pub fn default_name(&self) -> &Name {
        &self.names[&self.default_language]
    }

    /// The picture beside the name.
    #[must_use]
    pub const fn logo(&self) -> Option<&Logo> {
        self.logo.as_ref()
    }

    /// The owner's colour.
    #[must_use]
    pub const fn color(&self) -> Option<Color> {
        self.color
    }
}

/// Hoopoe's own.
impl Default for Appearance {
    fn default() -> Self {
        let [en, zh] = ["en", "zh"].map(|code| code.parse().expect("a language code"));
        let names = BTreeMap::from([(en, Name("Hoopoe".to_owned())), (zh, Name("戴胜".to_owned()))]);
        Self { names, default_language: en, logo: None, color: None }
    }
}

impl TryFrom<Fields> for Appearance {
    type Error = InvalidAppearance;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        Self::new(fields.name, fields.default_language, fields.logo, fields.color)
    }
}

impl From<Appearance> for Fields {
    fn from(appearance: Appearance) -> Self {
        let Appearance { names, default_language, logo, color } = appearance;
        Self { name: names, default_language, logo, color }
    }
}

/// The bot's name: 1 to [`Name::MAX_CHARS`] characters on one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The longest name in characters (Unicode scalar values).
    pub const MAX_CHARS: usize = 60;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidAppearance;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        let name = name.trim();
        if (1..=Self::MAX_CHARS).contains(&name.chars().count()) && !name.chars().any(char::is_control) {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidAppearance::Name)
        }
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

/// A picture as a data URI with base64: SVG, PNG or WebP of at most [`Logo::MAX_BYTES`] bytes. Its content is what its
/// media type states.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Logo(String);

impl Logo {
    /// The largest picture in bytes, before base64.
    pub const MAX_BYTES: usize = 32 * 1024;

    /// From a picture's file.
    ///
    /// # Errors
    ///
    /// If it is too large, or neither SVG, PNG nor WebP.
    pub fn from_file(content: &[u8]) -> Result<Self, InvalidAppearance> {
        if content.len() > Self::MAX_BYTES {
            return Err(InvalidAppearance::LargeLogo);
        }
        let media_type = media_type(content).ok_or(InvalidAppearance::LogoContent)?;
        Ok(Self(format!("data:{media_type};base64,{}", STANDARD.encode(content))))
    }

    /// The data URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The picture is long, and says nothing as text.
impl fmt::Debug for Logo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Logo({} characters)", self.0.len())
    }
}

impl TryFrom<String> for Logo {
    type Error = InvalidAppearance;

    fn try_from(uri: String) -> Result<Self, Self::Error> {
        let (stated, data) = uri
            .strip_prefix("data:")
            .and_then(|rest| rest.split_once(";base64,"))
            .filter(|(stated, _)| ["image/svg+xml", "image/png", "image/webp"].contains(stated))
            .ok_or(InvalidAppearance::LogoType)?;
        if data.len() > Self::MAX_BYTES.div_ceil(3) * 4 {
            return Err(InvalidAppearance::LargeLogo);
        }
        let content = STANDARD.decode(data).map_err(|_| InvalidAppearance::LogoType)?;
        if content.len() > Self::MAX_BYTES {
            return Err(InvalidAppearance::LargeLogo);
        }
        if media_type(&content) == Some(stated) { Ok(Self(uri)) } else { Err(InvalidAppearance::LogoContent) }
    }
}

impl From<Logo> for String {
    fn from(logo: Logo) -> Self {
        logo.0
    }
}

/// The media type of a picture's content. An SVG without its namespace is none: a browser would not show it.
fn media_type(content: &[u8]) -> Option<&'static str> {
    if content.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Some("image/png");
    }
    if content.starts_with(b"RIFF") && content.get(8..12) == Some(b"WEBP") {
        return Some("image/webp");
    }
    let text = std::str::from_utf8(content).ok()?;
    (text.contains("<svg") && text.contains("http://www.w3.org/2000/svg")).then_some("image/svg+xml")
}

/// A colour of the sRGB space, written `#rrggbb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Color {
    /// Red, green and blue.
    pub rgb: [u8; 3],
}

impl TryFrom<String> for Color {
    type Error = InvalidAppearance;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut rgb = [0; 3];
        let digits = text.strip_prefix('#').ok_or(InvalidAppearance::Color)?;
        hex::decode_to_slice(digits, &mut rgb).map_err(|_| InvalidAppearance::Color)?;
        Ok(Self { rgb })
    }
}

impl From<Color> for String {
    fn from(color: Color) -> Self {
        color.to_string()
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.rgb;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

/// Why something is not an [`Appearance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAppearance {
    /// The default language has no name.
    #[error("there is no name in {0}, the default language")]
    NoName(Language),
    /// Empty, too long, or with line breaks.
    #[error("a name has 1 to {} characters and no line breaks", Name::MAX_CHARS)]
    Name,
    /// Not a data URI of one of the three types.
    #[error("a logo is a data URI with base64 of the type image/svg+xml, image/png or image/webp")]
    LogoType,
    /// Another kind of file, or one with another media type.
    #[error(
        "the logo is not the SVG, PNG or WebP picture that it should be (an SVG needs \
         xmlns=\"http://www.w3.org/2000/svg\")"
    )]
    LogoContent,
    /// Too large.
    #[error("the logo is larger than {} bytes", Logo::MAX_BYTES)]
    LargeLogo,
    /// Not of the form.
    #[error("a color is # and six hexadecimal digits, such as #b4552d")]
    Color,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and the rest";
    const SVG: &str = r#"<svg xmlns="http://www.w3.org/2000/svg"/>"#;

    fn uri(media_type: &str, content: &[u8]) -> String {
        format!("data:{media_type};base64,{}", STANDARD.encode(content))
    }

    /// The file with some of its fields replaced.
    fn parse(replaced: serde_json::Value) -> Result<Appearance, String> {
        let mut file = serde_json::json!({
            "name": {"zh": "莲园", "en": "Lotus Garden"}, "default_language": "en",
            "logo": uri("image/png", PNG), "color": "#B4552d",
        });
        let replaced = replaced.as_object().expect("an object").clone();
        file.as_object_mut().expect("an object").extend(replaced);
        Appearance::parse(file.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_file_is_read_and_written() {
        let appearance = parse(serde_json::json!({})).expect("valid");
        assert_eq!(appearance.default_name().as_str(), "Lotus Garden");
        assert_eq!(appearance.names()[&"zh".parse().expect("a language")].as_str(), "莲园");
        assert_eq!(
            appearance.color().map(|color| (color.rgb, color.to_string())),
            Some(([180, 85, 45], "#b4552d".into()))
        );
        assert_eq!(appearance.logo().map(Logo::as_str), Some(uri("image/png", PNG).as_str()));
        let written = serde_json::to_vec(&appearance).expect("strings");
        assert_eq!(Appearance::parse(&written).expect("our own"), appearance);

        let plain = parse(serde_json::json!({"logo": null, "color": null})).expect("valid");
        assert_eq!((plain.logo(), plain.color()), (None, None));
        let bare = br#"{"name": {"fr": "Lotus"}, "default_language": "fr"}"#;
        assert_eq!(Appearance::parse(bare).expect("valid").default_name().as_str(), "Lotus");
        let written = serde_json::to_vec(&Appearance::default()).expect("strings");
        assert_eq!(Appearance::parse(&written).expect("our own"), Appearance::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        use serde_json::json;
        for (replaced, expected) in [
            (json!({"color": "b4552d"}), "a color is #"),
            (json!({"color": "#b45"}), "a color is #"),
            (json!({"color": "#b4552d80"}), "a color is #"),
            (json!({"color": "#b4552g"}), "a color is #"),
            (json!({"color": "red; } body { display: none"}), "a color is #"),
            (json!({"name": {"en": " "}}), "a name has 1 to 60"),
            (json!({"name": {"en": "x".repeat(61)}}), "a name has 1 to 60"),
            (json!({"name": {"en": "a\nb"}}), "a name has 1 to 60"),
            (json!({"name": {"zh": "莲园"}}), "there is no name in en"),
            (json!({"name": {"English": "x"}}), "a language is an ISO 639 code"),
            (json!({"logo": "https://lotus.example/logo.png"}), "a logo is a data URI"),
            (json!({"logo": uri("image/gif", b"GIF89a")}), "a logo is a data URI"),
            (json!({"logo": "data:image/png;base64,\" onerror=\"x"}), "a logo is a data URI"),
            (json!({"logo": uri("image/png", SVG.as_bytes())}), "the logo is not the SVG, PNG or WebP"),
            (json!({"logo": uri("image/svg+xml", b"<svg/>")}), "xmlns"),
            (json!({"logo": uri("image/png", &[PNG, &[0; Logo::MAX_BYTES]].concat())}), "larger than 32768 bytes"),
            (json!({"logo": uri("image/png", &[0; 1 << 20])}), "larger than 32768 bytes"),
            (json!({"colour": "#b4552d"}), "unknown field `colour`"),
            (json!({"default_language": null}), "invalid type: null"),
        ] {
            let error = parse(replaced.clone()).expect_err(expected);
            assert!(error.contains(expected), "{replaced}: {error}");
        }
        assert!(Appearance::parse(b"{").expect_err("no JSON").to_string().contains("line 1 column 1"));
    }

    #[test]
    fn a_file_becomes_a_logo() {
        let largest = [PNG, &vec![0; Logo::MAX_BYTES - PNG.len()]].concat();
        for (content, media_type) in [
            (PNG, "image/png"),
            (SVG.as_bytes(), "image/svg+xml"),
            (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
            (&largest, "image/png"),
        ] {
            let logo = Logo::from_file(content).expect("a picture");
            assert_eq!(logo.as_str(), uri(media_type, content));
            assert_eq!(Logo::try_from(logo.as_str().to_owned()).expect("our own"), logo);
        }
        assert_eq!(Logo::from_file(b"GIF89a").expect_err("GIF"), InvalidAppearance::LogoContent);
        assert_eq!(Logo::from_file(&[0; Logo::MAX_BYTES + 1]).expect_err("large"), InvalidAppearance::LargeLogo);
    }
}
