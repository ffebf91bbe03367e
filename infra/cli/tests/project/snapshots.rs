//! Snapshots: each is read by a test.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::{files, root};

/// The files of the snapshots that a test names: `assert_snapshot!("sent", ...)` in `line.rs` is in `line__sent.snap`.
fn named(test: &str, source: &str) -> BTreeSet<String> {
    let calls = source.split("snapshot!(").skip(1);
    let names = calls.filter_map(|call| call.trim_start().strip_prefix('"')?.split('"').next());
    names.map(|name| format!("{test}__{name}.snap")).collect()
}

fn name(path: &Path) -> String {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned()
}

#[test]
fn every_snapshot_is_named_by_its_test() {
    let all = files(&root(), ".snap");
    assert!(all.len() > 20, "only {} snapshots were found", all.len());
    let mut stray = Vec::new();
    for folder in all.iter().filter_map(|path| path.parent()).collect::<BTreeSet<_>>() {
        let tests = fs::read_dir(folder.join("..")).expect("the folder of the tests");
        let tests = tests.map(|entry| entry.expect("an entry").path()).filter(|path| name(path).ends_with(".rs"));
        let wanted: BTreeSet<String> = tests
            .flat_map(|path| named(name(&path).trim_end_matches(".rs"), &fs::read_to_string(&path).expect("a test")))
            .collect();
        let found = all.iter().filter(|path| path.parent() == Some(folder) && !wanted.contains(&name(path)));
        stray.extend(found.map(|path| path.display().to_string()));
    }
    assert!(stray.is_empty(), "no test reads these snapshots; delete them:\n{}", stray.join("\n"));
}

#[test]
fn a_snapshot_is_known_by_its_test_and_its_name() {
    let source = "insta::assert_snapshot!(\"steps\", x);\ninsta::assert_json_snapshot!(\n    \"sent\", y);";
    assert_eq!(named("line", source), ["line__sent.snap", "line__steps.snap"].map(str::to_owned).into());
}
