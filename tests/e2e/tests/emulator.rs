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
    let update = lambda.update_function_code().function_name(&name).zip_file(code(2));
    let updated = update.send().await.expect("it is updated");
    assert_ne!(folder(updated.code_sha256().expect("a hash")), first);
    eventually("its end", async || (!folders(&stack).contains(&first)).then_some(())).await;
    lambda.delete_function().function_name(&name).send().await.expect("it is deleted");
}
