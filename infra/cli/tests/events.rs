//! The events that `docs/development.md` feeds to single functions are such as the functions read.

use std::path::Path;

use hoopoe_message::{InboundMessage, wire};
use serde_json::Value;

#[test]
fn the_event_for_inference_holds_messages() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/events/inference.json");
    let event: Value = serde_json::from_slice(&std::fs::read(&path).expect("the event is there")).expect("JSON");
    let records = event["Records"].as_array().expect("an SQS event has records");
    assert!(!records.is_empty());
    for record in records {
        let body = record["body"].as_str().expect("a record has a body");
        wire::decode::<InboundMessage>(body).expect("a message of the version that is read");
    }
}
