//! The tokenizers against the reference implementations (`fixtures/make.py`), and against any text at all.

use std::{fs, path::Path};

use hoopoe_encoder::tokenizer::{MAX_TEXT_BYTES, Tokenizer, TokenizerError, compile::compile};
use proptest::prelude::*;
use serde_json::Value;

struct Fixture {
    tokenizer: Tokenizer,
    specials: Vec<u32>,
    unknown: u32,
    texts: Vec<(String, Vec<u32>)>,
}

fn fixture(name: &str) -> Fixture {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.json"));
    let mut stored: Value = serde_json::from_slice(&fs::read(path).expect("the fixture is committed")).expect("JSON");
    let vocabulary = stored["vocabulary"].take();
    let compiled = compile(vocabulary.to_string().as_bytes(), "fixture").expect("a usable vocabulary");
    // Tests run side by side: each writes a file of its own, then moves it into place.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let own = folder.join(format!("{name}-{:?}.bin", std::thread::current().id()));
    fs::write(&own, compiled).expect("written");
    Fixture {
        tokenizer: Tokenizer::open(&own).expect("it was just compiled"),
        specials: serde_json::from_value(vocabulary["specials"].clone()).expect("ids"),
        unknown: serde_json::from_value(vocabulary["unknown"].clone()).expect("an id"),
        texts: serde_json::from_value(stored["texts"].take()).expect("texts with ids"),
    }
}

fn matches_the_reference(name: &str) {
    let fixture = fixture(name);
    for (text, ids) in &fixture.texts {
        assert_eq!(&fixture.tokenizer.encode(text, 1000), ids, "{name}: {text:?}");
    }
}

#[test]
fn unigram_matches_sentencepiece() {
    matches_the_reference("unigram");
}

#[test]
fn wordpiece_matches_hugging_face() {
    matches_the_reference("wordpiece");
}

#[test]
fn a_long_text_keeps_its_beginning_and_its_end_mark() {
    for name in ["unigram", "wordpiece"] {
        let fixture = fixture(name);
        for (text, ids) in &fixture.texts {
            for limit in [2, 3, 7, 16] {
                let cut = fixture.tokenizer.encode(text, limit);
                let kept = ids.len().min(limit) - 1;
                assert_eq!(cut[..kept], ids[..kept], "{name}: {text:?}");
                assert_eq!(cut[kept..], ids[ids.len() - 1..], "{name}: {text:?}");
            }
        }
    }
}

#[test]
fn what_is_beyond_the_bound_is_not_read() {
    let fixture = fixture("unigram");
    // 3 bytes each, so that the bound falls inside a character.
    let text = "忘".repeat(MAX_TEXT_BYTES);
    let tokens = fixture.tokenizer.encode(&text, usize::MAX);
    assert!(tokens.len() <= MAX_TEXT_BYTES / 3 + 8, "{} tokens", tokens.len());
}

#[test]
fn a_damaged_file_is_refused() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wordpiece.json");
    let stored: Value = serde_json::from_slice(&fs::read(fixture).expect("the fixture is committed")).expect("JSON");
    let whole = compile(stored["vocabulary"].to_string().as_bytes(), "fixture").expect("a usable vocabulary");
    let damaged = [("empty", Vec::new()), ("short", whole[..whole.len() / 2].to_vec()), ("other", vec![7; 4096])];
    for (name, bytes) in damaged {
        let path = folder.join(format!("damaged-{name}.bin"));
        fs::write(&path, bytes).expect("written");
        let error = Tokenizer::open(&path).expect_err("it is damaged");
        assert!(!matches!(error, TokenizerError::Open { .. }) || name == "empty", "{name}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_becomes_bounded_ids(texts in prop::collection::vec(any_text(), 8), limit in 0_usize..40) {
        for name in ["unigram", "wordpiece"] {
            let Fixture { tokenizer, specials, unknown, .. } = fixture(name);
            for text in &texts {
                let ids = tokenizer.encode(text, limit);
                prop_assert!((2..=limit.max(2)).contains(&ids.len()));
                let inner = &ids[1..ids.len() - 1];
                prop_assert!(inner.iter().all(|id| *id == unknown || !specials.contains(id)), "{:?}: {:?}", text, ids);
            }
        }
    }
}

/// Any characters, and the names of marks among them.
fn any_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        any::<char>().prop_map(String::from),
        "[a-z ]{1,5}",
        Just("<s>".to_owned()),
        Just("[SEP]".to_owned()),
        Just("\0".to_owned()),
        Just("▁".to_owned()),
    ];
    prop::collection::vec(part, 0..30).prop_map(|parts| parts.concat())
}
