//! `functions.env`: the variables of the deployed functions, for running one of them by hand with
//! `cargo lambda watch --env-file target/local/functions.env`.

use std::collections::BTreeMap;
use std::path::Path;

use super::update::Functions;
use crate::atomic;
use crate::stack::{CREDENTIALS, LOCAL_REGION};

/// Writes the file; the functions share the meaning of a variable's name, so one file serves them all.
pub(super) fn write(functions: &Functions, endpoint: &str, state: &Path) -> anyhow::Result<()> {
    // What Lambda itself sets. The bundle is the one that `make build-inferenceFunction BINARIES=local` collects.
    let bundle = std::path::absolute("target/bundles/inference")?;
    let mut variables = BTreeMap::from([
        ("AWS_ENDPOINT_URL".to_owned(), endpoint.to_owned()),
        ("AWS_REGION".to_owned(), LOCAL_REGION.to_owned()),
        ("AWS_ACCESS_KEY_ID".to_owned(), CREDENTIALS.0.to_owned()),
        ("AWS_SECRET_ACCESS_KEY".to_owned(), CREDENTIALS.1.to_owned()),
        ("LAMBDA_TASK_ROOT".to_owned(), bundle.display().to_string()),
    ]);
    for function in functions.values() {
        variables.extend(
            function.environment().and_then(|environment| environment.variables()).cloned().unwrap_or_default(),
        );
    }
    let lines: String = variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    atomic::write(&state.join("functions.env"), lines.as_bytes())
}
