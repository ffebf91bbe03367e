//! Looking for a text everywhere in a stack, in every form in which it might stand there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::QueueAttributeName;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use e2e::Stack;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// What lies at one place.
pub(crate) struct Found {
    pub(crate) place: String,
    text: String,
}

impl Found {
    pub(crate) fn new(place: impl Into<String>, text: impl Into<String>) -> Self {
        Self { place: place.into(), text: text.into() }
    }
}

/// Where any of these marks lie, in any form. The mark itself is not repeated but named by its label.
pub(crate) fn places(all: &[Found], marks: &BTreeMap<String, String>) -> BTreeSet<String> {
    let mut places = BTreeSet::new();
    for (label, mark) in marks {
        for (form, needle) in forms(mark) {
            for found in all.iter().filter(|found| found.text.contains(&needle)) {
                let at = found.text.find(&needle).expect("it is there");
                let line = found.text[..at].rfind('\n').map_or(0, |at| at + 1);
                let around: String = found.text[line..at].chars().rev().take(160).collect();
                let around: String = around.chars().rev().collect();
                places.insert(format!("{label} as {form} in {}: {around}…", found.place));
            }
        }
    }
    places
}

/// The forms of a text: as it is, in hex, encoded for a URL, escaped for JSON, and within anything in base64.
fn forms(mark: &str) -> Vec<(&'static str, String)> {
    let bytes = mark.as_bytes();
    let json = serde_json::Value::from(mark).to_string();
    let mut forms = vec![
        ("itself", mark.to_owned()),
        ("hex", hex::encode(bytes)),
        ("hex", hex::encode_upper(bytes)),
        ("a URL", utf8_percent_encode(mark, NON_ALPHANUMERIC).to_string()),
        ("JSON", json[1..json.len() - 1].to_owned()),
        ("JSON", mark.escape_unicode().to_string().replace("\\u{", "\\u").replace('}', "")),
    ];
    for before in 0..3 {
        let shifted = [&b"\0\0"[..before], bytes].concat();
        // Only whole groups of the mark's own bytes stay the same whatever is around it.
        let whole = shifted.len() / 3 * 4;
        let from = [0, 2, 3][before];
        for engine in [STANDARD, URL_SAFE] {
            forms.push(("base64", engine.encode(&shifted)[from..whole].to_owned()));
        }
    }
    forms
}

/// Every log event of every function since `from`, in milliseconds of the epoch, as CloudWatch Logs has it.
pub(crate) async fn logs(stack: &Stack, from: i64) -> Vec<Found> {
    let client = aws_sdk_cloudwatchlogs::Client::new(&stack.config);
    let mut names = Vec::new();
    let mut groups = client.describe_log_groups().into_paginator().send();
    while let Some(page) = groups.next().await {
        let groups = page.expect("the groups are listed").log_groups.unwrap_or_default();
        names.extend(groups.into_iter().filter_map(|group| group.log_group_name));
    }
    let mut all = Vec::new();
    for group in names {
        let mut pages = client.filter_log_events().log_group_name(&group).start_time(from).into_paginator().send();
        let mut text = String::new();
        while let Some(page) = pages.next().await {
            for event in page.expect("the events are listed").events.unwrap_or_default() {
                text.push_str(event.message().unwrap_or_default());
                text.push('\n');
            }
        }
        all.push(Found::new(format!("log {group}"), text));
    }
    assert!(all.len() >= stack.outputs_ending("FunctionName").count() / 2, "not all functions have logs");
    all
}

/// How often something stands in these.
pub(crate) fn count(all: &[Found], words: &str) -> usize {
    all.iter().map(|found| found.text.matches(words).count()).sum()
}

/// Every item of every table, with its binary attributes as bytes.
pub(crate) async fn tables(stack: &Stack) -> Vec<Found> {
    let mut all = Vec::new();
    let mut tables = stack.dynamodb.list_tables().into_paginator().items().send();
    while let Some(table) = tables.next().await {
        let table = table.expect("the tables are listed");
        let mut items = stack.dynamodb.scan().table_name(&table).consistent_read(true).into_paginator().items().send();
        let mut text = String::new();
        while let Some(item) = items.next().await {
            for (name, value) in item.expect("the items are listed") {
                let _ = write!(text, "{name}=");
                write_attribute(&mut text, &value);
                text.push('\n');
            }
        }
        all.push(Found::new(format!("table {table}"), text));
    }
    assert!(all.len() >= stack.outputs_ending("TableName").count(), "a table is missing");
    all
}

fn write_attribute(text: &mut String, value: &AttributeValue) {
    match value {
        AttributeValue::B(bytes) => text.push_str(&String::from_utf8_lossy(bytes.as_ref())),
        AttributeValue::Bs(all) => all.iter().for_each(|one| text.push_str(&String::from_utf8_lossy(one.as_ref()))),
        AttributeValue::S(words) | AttributeValue::N(words) => text.push_str(words),
        AttributeValue::Ss(all) | AttributeValue::Ns(all) => text.push_str(&all.join("\n")),
        AttributeValue::L(all) => all.iter().for_each(|one| write_attribute(text, one)),
        AttributeValue::M(all) => all.iter().for_each(|(name, one)| {
            let _ = write!(text, "{name}=");
            write_attribute(text, one);
        }),
        _ => {}
    }
}

/// Every message that can be received from a queue or dead-letter queue. They are to be received again at once.
pub(crate) async fn queues(stack: &Stack) -> Vec<Found> {
    let mut all = Vec::new();
    for (name, url) in stack.outputs_ending("QueueUrl").chain(stack.outputs_ending("DeadLettersUrl")) {
        let mut messages = BTreeMap::new();
        // As often as nothing new comes a few times.
        let mut idle = 0;
        while idle < 5 {
            let known = messages.len();
            let received = stack
                .sqs
                .receive_message()
                .queue_url(url)
                .max_number_of_messages(10)
                .visibility_timeout(if name.ends_with("DeadLettersUrl") { 2 } else { 0 })
                .message_attribute_names("All")
                .message_system_attribute_names(aws_sdk_sqs::types::MessageSystemAttributeName::All)
                .send()
                .await
                .expect("the queue answers");
            for message in received.messages() {
                messages.insert(message.message_id().unwrap_or_default().to_owned(), format!("{message:?}"));
            }
            idle = if messages.len() > known { 0 } else { idle + 1 };
        }
        let texts: Vec<String> = messages.into_values().collect();
        all.push(Found::new(format!("queue {name}"), texts.join("\n")));
    }
    assert_eq!(all.len(), 4, "there are four queues");
    all
}

/// What Lambda, SNS and SQS keep as settings, where the functions' environments are.
pub(crate) async fn settings(stack: &Stack) -> Vec<Found> {
    let lambda = aws_sdk_lambda::Client::new(&stack.config);
    let mut all = Vec::new();
    for (name, function) in stack.outputs_ending("FunctionName") {
        let configuration = lambda.get_function_configuration().function_name(function).send().await;
        let configuration = configuration.expect("the function is there");
        let environment = configuration.environment().and_then(|all| all.variables()).expect("variables");
        assert!(!environment.is_empty(), "{name} has no environment");
        all.push(Found::new(format!("settings of {name}"), format!("{environment:?} {configuration:?}")));
    }
    let topic = aws_sdk_sns::Client::new(&stack.config)
        .get_topic_attributes()
        .topic_arn(stack.output("NoticesTopicArn"))
        .send()
        .await
        .expect("the topic is there");
    all.push(Found::new("the topic", format!("{topic:?}")));
    for (name, url) in stack.outputs_ending("QueueUrl") {
        let queue = stack.sqs.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All);
        all.push(Found::new(format!("settings of {name}"), format!("{:?}", queue.send().await.expect("a queue"))));
    }
    all
}

/// The files of the local stack but for the functions' programs: what the emulator and `hoopoe up` wrote.
pub(crate) fn files(folder: &Path) -> Vec<Found> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // The emulator changes its folders meanwhile.
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.metadata() {
                Ok(about) if about.is_dir() => folders.push(path),
                Ok(about) if about.is_file() && about.len() < 4 << 20 => {
                    let bytes = std::fs::read(&path).unwrap_or_default();
                    all.push(Found::new(format!("file {}", path.display()), String::from_utf8_lossy(&bytes)));
                }
                _ => {}
            }
        }
    }
    all
}
