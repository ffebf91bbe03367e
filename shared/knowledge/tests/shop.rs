//! The promise of the default pack, held with the real model: at least 95 % of the test questions in scope answered
//! rightly, at most 5 % of those out of scope answered at all. Needs `make model` and `make shop`.

use std::path::Path;

use hoopoe_encoder::{Encoder, EncoderFiles, Options};
use hoopoe_knowledge::evaluate::evaluate;
use hoopoe_knowledge::{Date, Knowledge, Pack};
use hoopoe_message::Timestamp;

#[test]
fn the_shop_pack_keeps_its_promise() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let pack = Pack::read(&root.join("infra/packs/shop")).expect("a readable pack");
    let files = EncoderFiles::in_build(&root.join("target/model/current"));
    let mut encoder = Encoder::load(&files, Options::from_environment())
        .unwrap_or_else(|error| panic!("{error}\nThis test needs the model: run `make model` first."));
    let knowledge = Knowledge::load(&root.join("target/knowledge/shop/knowledge.idx"), encoder.model_id())
        .unwrap_or_else(|error| panic!("{error}\nThis test needs the index: run `make shop` first."));
    assert_eq!(*knowledge.digest(), pack.digest, "the index is older than the pack: run `make shop` first");

    let questions: Vec<&str> = pack.test.texts().collect();
    let embeddings = encoder.encode(&questions).expect("texts the model can read");
    let figures = evaluate(&knowledge, &pack, &pack.test, embeddings.rows(), Date::of(Timestamp::now())).overall;
    assert!(figures.in_scope >= 1000 && figures.out_of_scope >= 500, "too few questions to tell: {figures:?}");
    assert!(figures.accuracy() >= 0.95, "{:.3} of the questions in scope: {figures:?}", figures.accuracy());
    assert!(
        figures.false_answer_rate() <= 0.05,
        "{:.3} of those out of scope: {figures:?}",
        figures.false_answer_rate()
    );
}
