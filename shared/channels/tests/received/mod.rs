//! Fixtures, and what they are read as in a form that snapshots can show.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use hoopoe_channels::{Received, Refusal};
use serde_json::{Value, json};

fn folder(channel: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(channel)
}

/// One fixture.
pub(crate) fn fixture(channel: &str, name: &str) -> Vec<u8> {
    let path = folder(channel).join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What each fixture of the channel is read as.
pub(crate) fn fixtures(
    channel: &str,
    extension: &str,
    read: impl Fn(&[u8]) -> Result<Received, Refusal>,
) -> BTreeMap<String, Value> {
    let files = fs::read_dir(folder(channel)).expect("the folder of the fixtures");
    let names = files.map(|file| file.expect("a file").file_name().into_string().expect("an ASCII name"));
    let chosen = names.filter(|name| name.ends_with(&format!(".{extension}")) && name != "vectors.json");
    chosen
        .map(|name| {
            let received = read(&fixture(channel, &name)).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
            (name, shown(received))
        })
        .collect()
}

fn shown(received: Received) -> Value {
    let Received { messages, ignored, answer } = received;
    let messages: Vec<Value> = messages
        .into_iter()
        .map(|message| {
            json!({
                "id": message.id,
                "chat": message.chat,
                "address": message.address,
                "content": message.content,
                "sent_at": message.sent_at,
            })
        })
        .collect();
    let mut shown = json!({ "messages": messages, "answer": answer.body });
    if ignored > 0 {
        shown["ignored"] = ignored.into();
    }
    shown
}
