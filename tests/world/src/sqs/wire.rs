//! SQS's requests and answers, and what it refuses.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::Received;

/// "The minimum message size is 1 byte … the maximum is 1,048,576 bytes (1 MiB)", with its attributes.
const MAX_BYTES: usize = 1024 * 1024;
const MAX_GROUP: usize = 128;

/// What SQS does not do.
#[derive(Debug)]
pub struct Refusal {
    /// SQS's name for it; empty where this stand-in does not know the call.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
}

impl Refusal {
    pub(crate) const fn new(code: &'static str, message: String) -> Self {
        Self { code, message }
    }

    pub(crate) const fn unknown(message: String) -> Self {
        Self { code: "", message }
    }

    pub(crate) fn missing(parameter: &str) -> Self {
        Self::new("MissingParameter", format!("the request has no {parameter}"))
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Request {
    pub(crate) queue_url: String,
    #[serde(flatten)]
    pub(crate) entry: Entry,
    pub(crate) receipt_handle: Option<String>,
    pub(crate) visibility_timeout: Option<u64>,
    pub(crate) max_number_of_messages: Option<usize>,
    pub(crate) entries: Vec<Entry>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) message_body: String,
    pub(crate) message_group_id: Option<String>,
    pub(crate) delay_seconds: Option<u64>,
    pub(crate) message_attributes: BTreeMap<String, Attribute>,
    pub(crate) receipt_handle: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Attribute {
    data_type: String,
    string_value: Option<String>,
}

impl Entry {
    /// What counts for its size: the body, and names, types and values of its attributes.
    pub(crate) fn bytes(&self) -> usize {
        let attributes = self.message_attributes.iter();
        let value = |attribute: &Attribute| attribute.string_value.as_ref().map_or(0, String::len);
        self.message_body.len()
            + attributes.map(|(name, one)| name.len() + one.data_type.len() + value(one)).sum::<usize>()
    }

    pub(crate) fn attributes(&self) -> BTreeMap<String, String> {
        let value = |(name, attribute): (&String, &Attribute)| Some((name.clone(), attribute.string_value.clone()?));
        self.message_attributes.iter().filter_map(value).collect()
    }
}

/// "#x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF"
const fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

fn check_text(code: &'static str, what: &str, text: &str) -> Result<(), Refusal> {
    if text.is_empty() {
        return Err(Refusal::new(code, format!("{what} is empty")));
    }
    match text.chars().find(|character| !is_allowed(*character)) {
        None => Ok(()),
        Some(character) => Err(Refusal::new(code, format!("{what} has the character {:#x}", u32::from(character)))),
    }
}

pub(crate) fn check_body(entry: &Entry) -> Result<(), Refusal> {
    check_text("InvalidMessageContents", "the body", &entry.message_body)?;
    if entry.bytes() > MAX_BYTES {
        return Err(Refusal::new("InvalidParameterValue", format!("a message has {MAX_BYTES} bytes at most")));
    }
    Ok(())
}

pub(crate) fn check_attributes(entry: &Entry) -> Result<(), Refusal> {
    const CODE: &str = "InvalidParameterValue";
    if entry.message_attributes.len() > 10 {
        return Err(Refusal::new(CODE, "a message has ten attributes at most".to_owned()));
    }
    for (name, Attribute { data_type, string_value }) in &entry.message_attributes {
        if data_type != "String" || name.is_empty() {
            return Err(Refusal::new(CODE, format!("the attribute {name:?} is no String")));
        }
        check_text(CODE, name, string_value.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

/// "MessageGroupId can contain alphanumeric characters (a-z, A-Z, 0-9) and punctuation", 128 at most.
pub(crate) fn check_group(group: Option<&str>) -> Result<(), Refusal> {
    let valid =
        |group: &str| (1..=MAX_GROUP).contains(&group.len()) && group.bytes().all(|byte| byte.is_ascii_graphic());
    if group.is_none_or(valid) {
        return Ok(());
    }
    Err(Refusal::new("InvalidParameterValue", "MessageGroupId is empty, too long or has other characters".to_owned()))
}

/// SQS's own attributes of a received message.
pub(crate) fn system_attributes(received: &Received) -> Json {
    let message = &received.message;
    let mut attributes = json!({
        "ApproximateReceiveCount": message.receives.to_string(),
        "SentTimestamp": message.sent.to_string(),
        "SenderId": "AROAEXAMPLE:function",
        "ApproximateFirstReceiveTimestamp": message.first_received.unwrap_or(message.sent).to_string(),
    });
    if let Some(group) = &message.group {
        attributes["MessageGroupId"] = json!(group);
    }
    attributes
}

/// As `ReceiveMessage` shows it.
pub(crate) fn shown(received: &Received) -> Json {
    let message = &received.message;
    let attributes = message.attributes.iter();
    let attributes = attributes.map(|(name, value)| (name, json!({"DataType": "String", "StringValue": value})));
    json!({
        "MessageId": message.id,
        "ReceiptHandle": received.receipt,
        "Body": message.body,
        "Attributes": system_attributes(received),
        "MessageAttributes": attributes.collect::<BTreeMap<_, _>>(),
    })
}

/// As an event source mapping shows it to a function.
pub(crate) fn record(queue: &str, received: &Received) -> Json {
    let message = &received.message;
    let attributes = message.attributes.iter();
    let attributes = attributes.map(|(name, value)| (name, json!({"dataType": "String", "stringValue": value})));
    json!({
        "messageId": message.id,
        "receiptHandle": received.receipt,
        "body": message.body,
        "attributes": system_attributes(received),
        "messageAttributes": attributes.collect::<BTreeMap<_, _>>(),
        "md5OfBody": "00000000000000000000000000000000",
        "eventSource": "aws:sqs",
        "eventSourceARN": format!("arn:aws:sqs:us-east-1:000000000000:{queue}"),
        "awsRegion": "us-east-1",
    })
}
