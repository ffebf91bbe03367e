//! What of `cargo deny check` needs no network but the registry: sources, licences and refused packages, by `deny.toml`.
//! Known vulnerabilities are asked for in `.github/workflows/ci.yml`, with the program itself.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use spdx::{Expression, ParseMode};

use crate::{list, metadata, read, text};

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What `deny.toml` says.
struct Policy {
    targets: Vec<String>,
    licences: BTreeSet<String>,
    refused: BTreeSet<String>,
}

impl Policy {
    fn of_the_project() -> Self {
        let table: toml::Table = read("deny.toml").parse().expect("deny.toml is TOML");
        let texts = |section: &str, field: &str| -> Vec<String> {
            let all = table[section][field].as_array().expect("a list");
            all.iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
        };
        Self {
            targets: texts("graph", "targets"),
            licences: texts("licenses", "allow").into_iter().collect(),
            refused: texts("bans", "deny").into_iter().collect(),
        }
    }

    /// Why a package must not be used.
    fn faults(&self, package: &Value) -> Vec<String> {
        let (name, version) = (text(package, "name"), text(package, "version"));
        let mut faults = Vec::new();
        let mut fault = |what: String| faults.push(format!("{name} {version}: {what}"));
        if package["source"].is_null() {
            return Vec::new();
        }
        if package["source"] != REGISTRY {
            fault(format!("it comes from {} and not from crates.io", package["source"]));
        }
        if self.refused.contains(name) {
            fault("deny.toml refuses it".to_owned());
        }
        match Expression::parse_mode(text(package, "license"), ParseMode::LAX) {
            Ok(expression) => {
                let is_allowed = |licence: &spdx::LicenseReq| self.licences.contains(&licence.to_string());
                if !expression.evaluate(is_allowed) {
                    fault(format!("deny.toml does not allow its licence, {expression}"));
                }
            }
            Err(error) => fault(format!("its licence cannot be read: {error}")),
        }
        faults
    }
}

#[test]
fn every_package_is_from_the_registry_under_an_allowed_licence() {
    let policy = Policy::of_the_project();
    for target in &policy.targets {
        let metadata = metadata(&["--all-features", "--filter-platform", target]);
        // All that are in the lock file are listed; those that this target uses are in the graph.
        let graph = list(&metadata["resolve"], "nodes");
        let used: BTreeSet<&str> = graph.iter().map(|node| text(node, "id")).collect();
        let packages = list(&metadata, "packages").iter().filter(|package| used.contains(text(package, "id")));
        let packages: Vec<&Value> = packages.collect();
        assert!(packages.len() > 100, "only {} packages were found", packages.len());
        let faults: Vec<String> = packages.iter().flat_map(|package| policy.faults(package)).collect();
        assert!(faults.is_empty(), "for {target}:\n{}", faults.join("\n"));
    }
}

#[test]
fn what_deny_toml_does_not_allow_is_found() {
    let policy = Policy::of_the_project();
    let package = |name: &str, source: &str, license: &str| {
        policy.faults(&json!({ "name": name, "version": "1.0.0", "source": source, "license": license })).join("; ")
    };
    assert_eq!(package("good", REGISTRY, "MIT/Apache-2.0"), "");
    assert_eq!(package("good", REGISTRY, "GPL-3.0-only OR (MIT AND Unicode-3.0)"), "");
    assert!(package("bad", REGISTRY, "MIT AND GPL-3.0-only").contains("does not allow its licence"));
    assert!(package("bad", REGISTRY, "").contains("licence cannot be read"));
    assert!(package("openssl-sys", REGISTRY, "MIT").contains("refuses it"));
    assert!(package("bad", "git+https://github.com/somebody/bad", "MIT").contains("not from crates.io"));
}
