//! The flat XML of WeCom's and WeChat's callbacks: reading the text of named elements directly below the root, and
//! writing text.
//!
//! The outer document is read before its signature can be checked, so everything here is bounded: size, depth, no
//! document type, and no entities but the five of XML and characters by number.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

/// Far above what is posted: a text message of 2048 bytes is below 5 KiB when sealed.
const MAX_BYTES: usize = 64 * 1024;

/// Both nest four deep, in their events about scanned codes and pictures.
const MAX_DEPTH: usize = 16;

/// The texts of the root's children with these names, in the order of the names; `None` for one that is not there.
pub(crate) fn children<const N: usize>(xml: &[u8], names: [&str; N]) -> Result<[Option<String>; N], &'static str> {
    if xml.len() > MAX_BYTES {
        return Err("the XML is larger than 64 KiB");
    }
    let xml = std::str::from_utf8(xml).map_err(|_| "the XML is not UTF-8")?;
    let mut reader = Reader::from_str(xml);
    let mut texts = [const { None }; N];
    let mut depth = 0_usize;
    let mut current: Option<usize> = None;
    let begin = |name: &str, texts: &mut [Option<String>; N]| match names.iter().position(|known| *known == name) {
        Some(at) if texts[at].is_some() => Err("the XML has an element twice"),
        Some(at) => {
            texts[at] = Some(String::new());
            Ok(Some(at))
        }
        None => Ok(None),
    };
    loop {
        let piece = match reader.read_event().map_err(|_| "the XML is not well-formed")? {
            Event::Start(element) => {
                depth += 1;
                match depth {
                    2 => current = begin(element.name().into_inner(), &mut texts)?,
                    3..=MAX_DEPTH if current.is_some() => return Err("the XML has elements where text belongs"),
                    1..=MAX_DEPTH => {}
                    _ => return Err("the XML is nested too deeply"),
                }
                continue;
            }
            Event::Empty(element) => {
                if depth == 1 {
                    begin(element.name().into_inner(), &mut texts)?;
                }
                continue;
            }
            Event::End(_) => {
                depth -= 1;
                if depth == 1 {
                    current = None;
                }
                continue;
            }
            Event::Text(text) => text.into_inner(),
            Event::CData(text) => text.into_inner(),
            Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(character)) => character.to_string().into(),
                Ok(None) => {
                    resolve_predefined_entity(&reference.into_inner()).ok_or("the XML has an unknown entity")?.into()
                }
                Err(_) => return Err("the XML has an impossible character"),
            },
            Event::DocType(_) => return Err("the XML has a document type"),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => continue,
            Event::Eof => break,
        };
        if let Some(text) = current.and_then(|at| texts[at].as_mut()) {
            text.push_str(&piece);
        }
    }
    if depth == 0 { Ok(texts) } else { Err("the XML ends too early") }
}

/// A text as character data, in which nothing but its end could mean anything: that is cut in two.
pub(crate) fn cdata(text: &str) -> String {
    format!("<![CDATA[{}]]>", text.replace("]]>", "]]]]><![CDATA[>"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ab(xml: &str) -> Result<[Option<String>; 2], &'static str> {
        children(xml.as_bytes(), ["a", "b"])
    }

    #[test]
    fn named_children_are_read_with_all_their_text() {
        let texts = ab("<xml><b>1 &lt; <![CDATA[2 & <3>]]>&#x4f60;</b><c><a>deeper</a></c><a/></xml>").expect("valid");
        assert_eq!(texts, [Some(String::new()), Some("1 < 2 & <3>你".into())]);
        assert_eq!(ab("<?xml version=\"1.0\"?><!-- --><xml>\n</xml>\n"), Ok([None, None]));
    }

    #[test]
    fn what_neither_platform_writes_is_refused() {
        let deep = format!("<xml>{}{}</xml>", "<c>".repeat(20), "</c>".repeat(20));
        let large = format!("<xml><a>{}</a></xml>", "x".repeat(MAX_BYTES));
        for (xml, fault) in [
            ("<xml><a>1</a><a>2</a></xml>", "an element twice"),
            ("<xml><a>1</a><a/></xml>", "an element twice"),
            ("<xml><a><b>1</b></a></xml>", "elements where text belongs"),
            ("<xml><a>1</a>", "ends too early"),
            ("<xml><a>1</b></xml>", "not well-formed"),
            ("<xml><a>&bomb;</a></xml>", "unknown entity"),
            ("<xml><a>&#xD800;</a></xml>", "impossible character"),
            ("<!DOCTYPE xml [<!ENTITY bomb \"x\">]><xml><a>&bomb;</a></xml>", "document type"),
            (&deep, "nested too deeply"),
            (&large, "larger than 64 KiB"),
        ] {
            let error = ab(xml).expect_err(xml);
            assert!(error.contains(fault), "{error}");
        }
        assert_eq!(children(b"<xml>\xFF</xml>", ["a"]), Err("the XML is not UTF-8"));
    }

    proptest! {
        #[test]
        fn a_written_text_is_read_as_it_was(text in "(\\]|>|\\]\\]>|<!\\[CDATA\\[|&amp;|<|你|[a-z]){0,20}") {
            let xml = format!("<xml><a>{}</a></xml>", cdata(&text));
            prop_assert_eq!(children(xml.as_bytes(), ["a"]), Ok([Some(text)]));
        }

        #[test]
        fn no_text_makes_it_panic(xml in "(<xml>|</xml>|<a>|</a>|<a/>|<!\\[CDATA\\[|\\]\\]>|&lt;|&#1;|<!--|-->|.){0,40}") {
            let _ = ab(&xml);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = children(&bytes, ["a"]);
        }
    }
}
