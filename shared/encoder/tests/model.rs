//! The encoder with a built model.

use std::path::PathBuf;
use std::sync::Mutex;

use hoopoe_encoder::{Encoder, EncoderError, EncoderFiles, Options};
use proptest::prelude::*;

/// Vectors of the same text in other batches differ by this much at most: sums of numbers are rounded in another order.
const BATCH_TOLERANCE: f32 = 1e-3;

fn files() -> EncoderFiles {
    let folder = std::env::var_os("HOOPOE_MODEL_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/model/current"), PathBuf::from);
    assert!(folder.join("manifest.json").exists(), "no model at {}: run `make model` first", folder.display());
    EncoderFiles::in_build(&folder)
}

fn encoder() -> Encoder {
    Encoder::load(&files(), Options::default()).expect("a built model")
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn vectors_are_unit_and_in_the_texts_order() {
    let mut encoder = encoder();
    let long = "where is my parcel ".repeat(200);
    let texts = ["", " \n\t", "hi", &long, "where is my parcel", "忘记密码怎么办", "สวัสดี ok", "\u{0}\u{1}!", "123"];
    let vectors = encoder.encode(&texts).expect("encoded");
    assert_eq!(vectors.rows().len(), texts.len());
    for (text, vector) in texts.iter().zip(vectors.rows()) {
        assert_eq!(vector.len(), encoder.dimension());
        assert!((cosine(vector, vector) - 1.0).abs() < 1e-4, "{text:?}");
        let alone = encoder.encode(&[text]).expect("encoded");
        assert!(cosine(vector, alone.row(0)) > 1.0 - BATCH_TOLERANCE, "{text:?}");
    }
}

/// The default model reads Chinese and English, and the Latin script.
#[test]
fn a_question_of_which_the_model_knows_nothing_is_near_to_nothing() {
    let mut encoder = encoder();
    let texts = ["こんにちは", "ありがとう!", "สวัสดีครับ", "안녕하세요, 안녕", "🦤"];
    let vectors = encoder.encode(&texts).expect("encoded");
    for (text, vector) in texts.iter().zip(vectors.rows()) {
        assert!(vector.iter().all(|&number| number == 0.0), "{text}");
    }
    let learned = encoder.encode_watched(&texts, |_| {}).expect("encoded");
    assert!(
        learned.rows().all(|vector| (cosine(vector, vector) - 1.0).abs() < 1e-4),
        "what is learned from is not lost"
    );
}

/// Enough texts of all lengths for several runs at the same time.
fn many() -> Vec<String> {
    (0..160).map(|index| "where is my parcel 忘记密码怎么办 ".repeat(1 + index % 7) + &index.to_string()).collect()
}

#[test]
fn more_threads_and_more_runs_give_the_very_same_vectors() {
    let texts = many();
    let expected = encoder().encode(&texts).expect("encoded");
    for options in [Options { runs: 3, ..Options::default() }, Options { threads: 2, ..Options::default() }] {
        let mut encoder = Encoder::load(&files(), options).expect("a built model");
        for _ in 0..2 {
            assert!(encoder.encode(&texts).expect("encoded") == expected, "{options:?}");
        }
    }
}

#[test]
fn who_watches_hears_of_every_text() {
    for runs in [1, 3] {
        let mut encoder = Encoder::load(&files(), Options { runs, ..Options::default() }).expect("a built model");
        let heard = Mutex::new(Vec::new());
        encoder.encode_watched(&many(), |done| heard.lock().expect("no panic").push(done)).expect("encoded");
        let mut heard = heard.into_inner().expect("no panic");
        heard.sort_unstable();
        assert!(heard.len() > 1 && heard.is_sorted_by(|one, next| one < next), "{heard:?}");
        assert_eq!(heard.last(), Some(&160));
    }
}

#[test]
fn nothing_in_nothing_out() {
    assert_eq!(encoder().encode::<&str>(&[]).expect("encoded").rows().len(), 0);
}

#[test]
fn the_same_question_is_nearer_than_another() {
    let texts = ["where is my parcel", "when will my package arrive", "how do I reset my password"];
    let vectors = encoder().encode(&texts).expect("encoded");
    assert!(cosine(vectors.row(0), vectors.row(1)) > cosine(vectors.row(0), vectors.row(2)));
}

#[test]
fn loading_names_what_is_missing() {
    let whole = files();
    let load = |files: EncoderFiles| Encoder::load(&files, Options::default()).expect_err("a file is missing");
    // The library is loaded once for the process, so a wrong one can only be told by whoever comes first.
    Encoder::load(&whole, Options::default()).expect("a built model");
    let error = load(EncoderFiles { graph: "no/model.onnx".into(), ..whole.clone() });
    assert!(matches!(&error, EncoderError::Graph { path, .. } if path.ends_with("no/model.onnx")), "{error}");
    let error = load(EncoderFiles { tokenizer: "no/tokenizer.bin".into(), ..whole });
    assert!(error.to_string().contains("no/tokenizer.bin"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_batch_gives_what_each_text_gives_alone(texts in prop::collection::vec("[a-z忘记密码 ]{0,60}", 1..12)) {
        let mut encoder = encoder();
        let together = encoder.encode(&texts).expect("encoded");
        for (text, vector) in texts.iter().zip(together.rows()) {
            let alone = encoder.encode(&[text]).expect("encoded");
            prop_assert!(cosine(vector, alone.row(0)) > 1.0 - BATCH_TOLERANCE, "{:?}", text);
        }
    }
}
