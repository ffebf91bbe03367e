//! `functions.env`: the variables of the deployed functions, for running one of them by hand with
//! `cargo lambda watch --env-file target/local/functions.env`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::anyhow;
use hoopoe_aws::cause;

use super::emulator;
use crate::stack::{CREDENTIALS, LOCAL_REGION, Stack};

/// Writes the file; the functions share the meaning of a variable's name, so one file serves them all.
pub(super) async fn write(stack: &Stack, endpoint: &str, state: &Path) -> anyhow::Result<()> {
    let client = aws_sdk_lambda::Client::new(stack.config());
    // What Lambda itself sets. The bundle is the one that `make build-InferenceFunction BINARIES=local` collects.
    let bundle = std::path::absolute("target/bundles/inference")?;
    let mut variables = BTreeMap::from([
        ("AWS_ENDPOINT_URL".to_owned(), endpoint.to_owned()),
        ("AWS_REGION".to_owned(), LOCAL_REGION.to_owned()),
        ("AWS_ACCESS_KEY_ID".to_owned(), CREDENTIALS.0.to_owned()),
        ("AWS_SECRET_ACCESS_KEY".to_owned(), CREDENTIALS.1.to_owned()),
        ("LAMBDA_TASK_ROOT".to_owned(), bundle.display().to_string()),
    ]);
    for name in stack.functions().into_values() {
        let found = client
            .get_function_configuration()
            .function_name(name)
            .send()
            .await
            .map_err(|error| anyhow!("the function {name} cannot be read: {}", cause(&error)))?;
        variables.extend(found.environment.and_then(|environment| environment.variables).unwrap_or_default());
    }
    let lines: String = variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    emulator::write(&state.join("functions.env"), lines.as_bytes())
}
