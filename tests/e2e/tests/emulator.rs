//! What `infra/local` adds to the emulator and turns off in it, but for the roles' policies (`permissions.rs`).

use std::fs;
use std::io::{Cursor, Write};

use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{FunctionCode, Runtime};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use e2e::Stack;
use e2e::wait::eventually;
use serde_json::Value;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

#[tokio::test]
async fn nothing_listens_for_other_machines() {
    let stack = Stack::open().await;
    let endpoint = stack.config.endpoint_url().expect("the emulator's");
    assert!(endpoint.starts_with("http://127.0.0.1:"), "{endpoint}");
    let health = stack.http.get(format!("{endpoint}/_ministack/health")).send().await.expect("the emulator answers");
    let health: Value = health.json().await.expect("JSON");
    assert_eq!(health["iot_mtls"], "disabled", "its broker listens on every address");
}

/// A function's zip with a program that does nothing.
fn code(version: u32) -> Blob {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("bootstrap", SimpleFileOptions::default()).expect("a file");
    writeln!(zip, "#!/bin/sh\n# {version}\nexit 1").expect("written");
    Blob::new(zip.finish().expect("a zip").into_inner())
}

/// The folders of the code that functions have run, by the hash of its zip.
fn folders(stack: &Stack) -> Vec<String> {
    let scratch = fs::read_dir(stack.state().join("emulator/tmp")).expect("the emulator's scratch folder");
    let caches = scratch.flatten().filter(|entry| entry.file_name().to_string_lossy().contains("provided-code"));
    let folders = caches.flat_map(|cache| fs::read_dir(cache.path()).into_iter().flatten().flatten());
    folders.map(|folder| folder.file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn code_that_no_function_runs_any_more_is_removed() {
    let stack = Stack::open().await;
    let lambda = aws_sdk_lambda::Client::new(&stack.config);
    let name = Stack::new_bot();
    // Any role that exists.
    let functions = lambda.list_functions().send().await.expect("the functions of the stack");
    let role = functions.functions().iter().find_map(|function| function.role()).expect("each has a role").to_owned();
    let folder = |zip: &str| hex::encode(STANDARD.decode(zip).expect("base64"));
    let created = lambda
        .create_function()
        .function_name(&name)
        .runtime(Runtime::Providedal2023)
        .handler("bootstrap")
        .role(role)
        .code(FunctionCode::builder().zip_file(code(1)).build())
        .send()
        .await
        .expect("it is created");
    let first = folder(created.code_sha256().expect("a hash"));
    eventually("the code of a function that was called", async || {
        lambda.invoke().function_name(&name).send().await.ok()?;
        folders(&stack).contains(&first).then_some(())
    })
    .await;
    let published = lambda.publish_version().function_name(&name).send().await.expect("it is published");
    let version = published.version().expect("a number");
    let update = lambda.update_function_code().function_name(&name).zip_file(code(2));
    let updated = update.send().await.expect("it is updated");
    assert_ne!(folder(updated.code_sha256().expect("a hash")), first);
    assert!(folders(&stack).contains(&first), "the version still runs it");
    lambda.delete_function().function_name(&name).qualifier(version).send().await.expect("the version is removed");
    eventually("its end", async || (!folders(&stack).contains(&first)).then_some(())).await;
    lambda.delete_function().function_name(&name).send().await.expect("it is deleted");
}

#[tokio::test]
async fn what_is_called_is_what_was_deployed_last() {
    let stack = Stack::open().await;
    let lambda = aws_sdk_lambda::Client::new(&stack.config);
    let mappings = lambda.list_event_source_mappings().send().await.expect("the mappings");
    let mapped = mappings.event_source_mappings().iter().filter_map(|mapping| mapping.function_arn());
    let mapped: Vec<&str> = mapped.filter(|arn| !arn.ends_with(":live")).collect();
    assert!(mapped.is_empty(), "the queues call {mapped:?} past the alias");
    for (output, name) in stack.outputs_ending("FunctionName") {
        let [latest, live] = [None, Some("live")].map(|alias| {
            lambda.get_function_configuration().function_name(name).set_qualifier(alias.map(str::to_owned)).send()
        });
        let (latest, live) = (latest.await.expect("the function"), live.await.expect("its alias"));
        assert_eq!(live.code_sha256(), latest.code_sha256(), "{name}");
        assert_eq!(live.environment(), latest.environment(), "{name}");
        assert_ne!(live.version(), latest.version(), "{name}: the alias leads to no version");
        let is_called =
            stack.outputs_ending("Url").any(|(url, _)| output.strip_suffix("FunctionName") == url.strip_suffix("Url"));
        let url = lambda.get_function_url_config().function_name(name).qualifier("live").send().await;
        assert_eq!(url.is_ok(), is_called, "the URL of {name}");
    }
}
