//! The crates: who may use whom, what each needs, and their version.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::{files, list, metadata, read, root, text};

/// The floor of each folder of `ARCHITECTURE.md`'s table, whose rows begin with the floor's number.
fn floors(document: &str) -> BTreeMap<String, usize> {
    let mut floors = BTreeMap::new();
    for line in document.lines() {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let (Some(number), Some(folders)) = (cells.next().and_then(|cell| cell.parse().ok()), cells.next()) else {
            continue;
        };
        floors.extend(folders.split('`').skip(1).step_by(2).map(|folder| (folder.to_owned(), number)));
    }
    floors
}

/// What breaks the rule that a crate uses lower floors only. Tests may use each other.
fn against_the_floors(floors: &BTreeMap<String, usize>, uses: &[(String, String)]) -> Vec<String> {
    let floor = |folder: &str| {
        let parent = folder.split_once('/').map(|(parent, _)| format!("{parent}/*")).unwrap_or_default();
        floors.get(folder).or_else(|| floors.get(&parent)).copied()
    };
    let mut faults = Vec::new();
    for (user, used) in uses {
        let (Some(above), Some(below)) = (floor(user), floor(used)) else {
            faults.push(format!("{user} or {used} is missing in the table of floors in ARCHITECTURE.md"));
            continue;
        };
        let tests = user.starts_with("tests/") && used.starts_with("tests/");
        if above <= below && !tests {
            faults.push(format!("{user} (floor {above}) uses {used} (floor {below}); only lower floors may be used"));
        }
    }
    faults
}

/// The folder of a package, from the project's folder.
fn folder(package: &Value) -> String {
    let manifest = Path::new(text(package, "manifest_path"));
    let folder = manifest.parent().expect("a manifest is in a folder");
    folder.strip_prefix(root()).expect("a package of the workspace").display().to_string()
}

#[test]
fn a_crate_uses_lower_floors_only() {
    let metadata = metadata(&["--no-deps"]);
    let floors = floors(&read("ARCHITECTURE.md"));
    let mut uses = Vec::new();
    for package in list(&metadata, "packages") {
        for dependency in list(package, "dependencies") {
            let Some(path) = dependency["path"].as_str() else { continue };
            let used = Path::new(path).strip_prefix(root()).expect("within the workspace").display().to_string();
            // A crate that depends on itself turns on a feature for its own tests.
            if used != folder(package) {
                uses.push((folder(package), used));
            }
        }
    }
    assert!(uses.len() > 50, "only {} dependencies were found", uses.len());
    let faults = against_the_floors(&floors, &uses);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_crate_that_uses_its_own_floor_or_a_higher_one_is_found() {
    let floors =
        floors("| 2 | `functions/*` | x |\n| 1 | `shared/store`, `shared/queue` | x |\n| 0 | `shared/message` | x |");
    let faults = |user: &str, used: &str| against_the_floors(&floors, &[(user.to_owned(), used.to_owned())]);
    assert!(faults("shared/store", "shared/message").is_empty());
    assert!(faults("functions/line", "shared/message").is_empty());
    assert!(faults("tests/a", "tests/b")[0].contains("missing"));
    for (user, used) in [("shared/store", "shared/queue"), ("shared/message", "shared/store")] {
        assert!(faults(user, used)[0].contains("only lower floors"), "{user} -> {used}");
    }
    assert!(faults("functions/line", "shared/new")[0].contains("missing"));
}

/// Whether a source names a crate in code: as `name::`, `use name` or `#[serde(with = "name")]`.
fn names(source: &str, name: &str) -> bool {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.into_iter().any(|line| {
        line.match_indices(name).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = &line[at + name.len()..];
            let begins = before.is_none_or(|before| !before.is_alphanumeric() && before != '_' && before != ':');
            let quoted = line[..at].ends_with("with = \"") && after.starts_with('"');
            let imported = line[..at].ends_with("use ") && after.starts_with([';', ' ']);
            begins && (after.starts_with("::") || imported || quoted)
        })
    })
}

/// The sources in some folders of a package, with those that they take from elsewhere by `#[path = "..."]`.
fn sources(package: &Path, folders: &[&str]) -> Vec<String> {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut sources = Vec::new();
    for path in folders.iter().flat_map(|below| files(&package.join(below), ".rs")) {
        let source = read(&path);
        let elsewhere =
            source.lines().filter_map(|line| line.trim_start().strip_prefix("#[path = \"")?.split('"').next());
        sources.extend(elsewhere.map(|file| read(&path.with_file_name(file))));
        sources.push(source);
    }
    sources
}

#[test]
fn each_dependency_is_named_in_its_crates_sources() {
    let metadata = metadata(&["--no-deps"]);
    let mut unused = Vec::new();
    for package in list(&metadata, "packages") {
        let folder = folder(package);
        let tests = sources(&root().join(&folder), &["src", "tests", "examples", "benches"]);
        // What only tests need is a dependency of the tests, but in crates that are nothing else.
        let own = if folder.starts_with("tests/") { tests.clone() } else { sources(&root().join(&folder), &["src"]) };
        for dependency in list(package, "dependencies") {
            let name = dependency["rename"].as_str().unwrap_or(text(dependency, "name"));
            let is_dev = dependency["kind"] == "dev";
            let is_own = dependency["path"].as_str().is_some_and(|path| root().join(&folder) == Path::new(path));
            let searched = if is_dev { &tests } else { &own };
            if !is_own && !searched.iter().any(|source| names(source, &name.replace('-', "_"))) {
                unused.push(format!("{folder}/Cargo.toml: {name} is used nowhere; remove it"));
            }
        }
    }
    assert!(unused.is_empty(), "{}", unused.join("\n"));
}

#[test]
fn a_crate_is_named_by_its_path_and_not_by_a_module_of_its_name() {
    for source in ["use time::Date;", "    let x = time::now();", "use time;", "use {time::Date};", "#[time::main]"] {
        assert!(names(source, "time"), "{source}");
    }
    assert!(names("#[serde(with = \"serde_bytes\")]", "serde_bytes"));
    for source in ["use std::time::Date;", "// time::Date", "let time = 3;", "use crate::time::Date;", "runtime::Date"]
    {
        assert!(!names(source, "time"), "{source}");
    }
}

#[test]
fn there_is_one_version() {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("TOML");
    let version = manifest["workspace"]["package"]["version"].as_str().expect("the workspace's version");
    let metadata = metadata(&["--no-deps"]);
    for package in list(&metadata, "packages") {
        assert_eq!(text(package, "version"), version, "{}: write version.workspace = true", folder(package));
    }
    let output = Command::new(env!("CARGO_BIN_EXE_hoopoe")).arg("--version").output().expect("the command starts");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), format!("hoopoe {version}"));
    for other in ["tests/fuzz/Cargo.toml", "tests/bench/encoder/Cargo.toml"] {
        assert!(!read(other).contains("\nversion = "), "{other}: what is not in the workspace has no version");
    }
    let changes = read("CHANGELOG.md");
    let mut headings = changes.lines().filter_map(|line| line.strip_prefix("## ["));
    assert_eq!(headings.next(), Some("Unreleased]"), "CHANGELOG.md begins with what is not released yet");
    if let Some(released) = headings.next() {
        assert!(released.starts_with(&format!("{version}]")), "the last release in CHANGELOG.md is not {version}");
    }
}

#[test]
fn one_oldest_rust_is_named_everywhere() {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("TOML");
    let rust = manifest["workspace"]["package"]["rust-version"].as_str().expect("the oldest Rust");
    for (file, named) in [
        ("README.md", format!("Rust {rust} or later")),
        ("README.zh-CN.md", format!("Rust {rust} 或更新版本")),
        (".github/workflows/ci.yml", format!("rust:{rust}-")),
        ("tests/fuzz/Cargo.toml", format!("rust-version = \"{rust}\"")),
        ("tests/bench/encoder/Cargo.toml", format!("rust-version = \"{rust}\"")),
    ] {
        assert!(read(file).contains(&named), "{file} should say {named}");
    }
}
