//! The command works in every folder: it finds the project by itself.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

const HOOPOE: &str = env!("CARGO_BIN_EXE_hoopoe");

fn run(command: &Path, folder: &Path, arguments: &[&str]) -> Output {
    let mut process = Command::new(command);
    process.current_dir(folder).args(arguments).env_remove("HOOPOE_STATE").env_remove("HOOPOE_MODEL_DIR");
    process.output().expect("the command starts")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `make install` makes such a link.
#[test]
fn a_link_on_the_path_finds_the_projects_files_from_any_folder() {
    let elsewhere = tempfile::tempdir().expect("a scratch folder");
    let link = elsewhere.path().join("hoopoe");
    symlink(HOOPOE, &link).expect("a link");
    let output = run(&link, elsewhere.path(), &["model", "info", "--json"]);
    assert!(output.status.success(), "this test needs the model of `make model`: {}", errors(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("model.onnx"), "{output:?}");
}

#[test]
fn a_path_that_is_typed_is_relative_to_the_current_folder() {
    let elsewhere = tempfile::tempdir().expect("a scratch folder");
    let output = run(Path::new(HOOPOE), elsewhere.path(), &["--state", "mine", "status"]);
    let expected = elsewhere.path().canonicalize().expect("there").join("mine/stack.json");
    assert!(errors(&output).contains(&expected.display().to_string()), "{}", errors(&output));
    let advised = format!("start it with `hoopoe --state {} up`", expected.parent().expect("a folder").display());
    assert!(errors(&output).contains(&advised), "{}", errors(&output));
}

#[test]
fn a_copy_outside_the_project_says_where_to_run_it() {
    let elsewhere = tempfile::tempdir().expect("a scratch folder");
    let copy = elsewhere.path().join("hoopoe");
    fs::copy(HOOPOE, &copy).expect("a copy");
    for arguments in [&["up"][..], &["status"], &["model", "info"], &["knowledge", "check", "--quick"]] {
        let output = run(&copy, elsewhere.path(), arguments);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(errors(&output).contains("the folder that holds template.yaml"), "{arguments:?}: {}", errors(&output));
    }
    // What needs no project runs.
    let output = run(&copy, elsewhere.path(), &["cost"]);
    assert!(output.status.success(), "{}", errors(&output));
}
