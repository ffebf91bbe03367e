//! Which knowledge the Makefile puts into the bundles: the one that was named, and never an old one or the shop's unasked.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// A pack, the folder of what was built from it, and the place for what `sam build` ships.
struct Scratch {
    folder: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Self {
        let scratch = Self { folder: tempfile::tempdir().expect("a scratch folder") };
        for folder in ["lotus pack", "built", "bundle"] {
            fs::create_dir(scratch.path(folder)).expect("a folder");
        }
        fs::write(scratch.path("lotus pack/pack.yaml"), "id: lotus").expect("written");
        fs::write(scratch.path("built/knowledge.idx"), "index").expect("written");
        fs::write(scratch.path("built/page.json"), "{}").expect("written");
        // In the place of `hoopoe knowledge build`.
        let command = scratch.path("hoopoe");
        fs::write(&command, format!("#!/bin/sh\necho {}\n", scratch.path("built").display())).expect("written");
        fs::set_permissions(&command, fs::Permissions::from_mode(0o755)).expect("it can be run");
        scratch
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `make` with a target that needs nothing to be compiled, and returns whether it worked and all that it said.
    fn make(&self, target: &str, pack: Option<&Path>) -> (bool, String) {
        let mut make = Command::new("make");
        make.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).args(["--old-file=model", target]);
        for (name, path) in [("HOOPOE", "hoopoe"), ("STAGED", "staged"), ("ARTIFACTS_DIR", "bundle")] {
            make.arg(format!("{name}={}", self.path(path).display()));
        }
        // Any file for the binary.
        make.arg("binary=Makefile").env_remove("PACK").env_remove("MAKEFLAGS").env_remove("KNOWLEDGE");
        make.args(pack.map(|pack| format!("PACK={}", pack.display())));
        let output = make.output().expect("make is there");
        (
            output.status.success(),
            [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat(),
        )
    }
}

#[test]
fn what_goes_to_aws_is_the_pack_that_was_named_last() {
    let scratch = Scratch::new();
    let (worked, said) = scratch.make("knowledge", None);
    assert!(!worked && said.contains("which knowledge pack? PACK=folder"), "{said}");
    let (worked, said) = scratch.make("build-webchatFunction", None);
    assert!(!worked && said.contains("run 'make functions PACK=folder' first"), "{said}");

    let pack = scratch.path("lotus pack");
    for pack in [Some(pack.as_path()), None] {
        let (worked, said) = scratch.make("knowledge", pack);
        assert!(worked && said.contains("now ships the knowledge pack") && said.contains("lotus pack"), "{said}");
        assert_eq!(fs::read_to_string(scratch.path("staged/knowledge.idx")).expect("there"), "index");
    }
    let (worked, said) = scratch.make("build-webchatFunction", None);
    assert!(worked && said.contains("Knowledge pack: ") && said.contains("lotus pack"), "{said}");
    assert_eq!(fs::read_to_string(scratch.path("bundle/page.json")).expect("there"), "{}");
}

#[test]
fn a_pack_that_has_changed_since_it_was_built_is_not_shipped() {
    let scratch = Scratch::new();
    let pack = scratch.path("lotus pack");
    assert!(scratch.make("knowledge", Some(&pack)).0);
    let edited = fs::File::options().append(true).open(pack.join("pack.yaml")).expect("there");
    edited.set_modified(SystemTime::now() + Duration::from_secs(2)).expect("its time is set");
    let (worked, said) = scratch.make("build-webchatFunction", None);
    assert!(!worked && said.contains("has changed since it was built: run 'make knowledge' first"), "{said}");
}
