//! How messages and replies stand in a queue: JSON with a version.
//!
//! A newer version of the functions must read what an older one queued during a deploy, so a change of shape gets a
//! new version here and keeps reading the one before.
//!
//! SQS refuses a message with certain characters. JSON has an escape for them, so a text may hold any character.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version written.
pub const VERSION: u8 = 1;

/// The largest body accepted; SQS itself allows 1 MiB.
pub const MAX_BYTES: usize = 256 * 1024;

#[derive(Serialize)]
struct Outgoing<'a, T> {
    v: u8,
    #[serde(flatten)]
    body: &'a T,
}

#[derive(Deserialize)]
struct Envelope {
    v: u8,
}

/// The queue form of an [`InboundMessage`](crate::InboundMessage) or a [`Reply`](crate::Reply).
///
/// # Panics
///
/// Never for the two types of this crate: they hold nothing that JSON cannot say.
#[must_use]
pub fn encode<T: Serialize>(body: &T) -> String {
    let body = serde_json::to_string(&Outgoing { v: VERSION, body }).expect("strings and numbers serialise");
    if body.chars().all(is_taken) {
        return body;
    }
    // JSON has such characters within texts only, and reads them back from an escape.
    let mut escaped = String::with_capacity(body.len() + 16);
    for character in body.chars() {
        if is_taken(character) {
            escaped.push(character);
        } else {
            escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
        }
    }
    escaped
}

/// A text for an attribute of a message, such as the reason why it is a dead letter: with U+FFFD in place of each character
/// that SQS does not take.
#[must_use]
pub fn attribute(text: &str) -> String {
    text.chars().map(|character| if is_taken(character) { character } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// Whether SQS takes a message with this character: "#x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to
/// #x10FFFF" (`SendMessage`, `MessageBody`). It refuses the message otherwise.
const fn is_taken(character: char) -> bool {
    matches!(
        character,
        '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}'
    )
}

/// Reads what [`encode`] wrote.
///
/// # Errors
///
/// Says what is wrong without quoting the body: it holds a person's words.
pub fn decode<T: DeserializeOwned>(body: &str) -> Result<T, DecodeError> {
    if body.len() > MAX_BYTES {
        return Err(DecodeError::TooLarge);
    }
    let envelope: Envelope = serde_json::from_str(body).map_err(|error| DecodeError::at(&error))?;
    if envelope.v != VERSION {
        return Err(DecodeError::Version(envelope.v));
    }
    serde_json::from_str(body).map_err(|error| DecodeError::at(&error))
}

/// Why a queue body cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Longer than [`MAX_BYTES`].
    #[error("the body is larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// Not JSON, or not of the expected shape.
    #[error("the body is not a valid message: {kind} at line {line}, column {column}")]
    Malformed {
        /// The kind of fault.
        kind: &'static str,
        /// Where, from 1.
        line: usize,
        /// Where, from 1.
        column: usize,
    },
    /// Written by a version this one does not know.
    #[error("the body has version {0}, this function reads version {VERSION}")]
    Version(u8),
}

impl DecodeError {
    fn at(error: &serde_json::Error) -> Self {
        let kind = match error.classify() {
            serde_json::error::Category::Eof => "unexpected end",
            serde_json::error::Category::Data => "wrong shape",
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => "not JSON",
        };
        Self::Malformed { kind, line: error.line(), column: error.column() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::{BotId, Channel, Content, Conversation, Decision, InboundMessage, MessageId, Reply, Timestamp};

    fn message(text: &str) -> InboundMessage {
        InboundMessage {
            id: MessageId::try_from("42".to_owned()).expect("a valid id"),
            conversation: Conversation { channel: Channel::Telegram, bot: BotId::default(), chat: "7".into() },
            address: "{\"chat\":7}".into(),
            number: 3,
            received_at: Timestamp::from_millis(1_700_000_000_123),
            previous_at: None,
            language: None,
            content: Content::text(text),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let message = message("忘记密码怎么办 \u{1F426} \"quoted\"\n");
        assert_eq!(decode::<InboundMessage>(&encode(&message)).expect("our own"), message);
    }

    /// Functions of the release before wrote no language, and read messages without knowing the field.
    #[test]
    fn a_message_without_a_language_stands_in_the_queue_as_before() {
        let mut message = message("hello");
        let before = encode(&message);
        assert!(!before.contains("language"), "{before}");
        assert_eq!(decode::<InboundMessage>(&before).expect("our own").language, None);
        message.language = Some("zh".parse().expect("a language"));
        assert!(encode(&message).contains(r#""v":1"#));
        assert_eq!(decode::<InboundMessage>(&encode(&message)).expect("our own"), message);
    }

    #[test]
    fn a_reply_is_read_with_and_without_how_the_bot_came_to_it() {
        let of_message = message("x");
        let decided = |decision| Reply {
            id: of_message.id.clone(),
            conversation: of_message.conversation.clone(),
            address: String::new(),
            number: 3,
            after: Some(2),
            complete: false,
            pending_until: None,
            received_at: of_message.received_at,
            created_at: of_message.received_at,
            text: "hello".into(),
            suggestions: vec![],
            decision,
        };
        let reply = decided(Some(Decision::Answer { intent: "track_parcel".into(), probability: 0.97 }));
        assert_eq!(decode::<Reply>(&encode(&reply)).expect("our own"), reply);
        // As an older version of the functions queues it.
        let body = encode(&decided(None));
        assert!(!body.contains("decision"), "{body}");
        assert_eq!(decode::<Reply>(&body).expect("an older one"), decided(None));
    }

    #[test]
    fn an_error_says_where_and_never_what() {
        let secret = r#"{"v":1,"id":"my secret words"}"#;
        let error = decode::<InboundMessage>(secret).expect_err("fields are missing").to_string();
        assert!(error.contains("wrong shape at line 1"), "{error}");
        assert!(!error.contains("secret"), "{error}");
        assert!(!format!("{:?}", message("my secret words")).contains("secret"));
    }

    /// Any characters, those among them that SQS does not take.
    fn a_text() -> impl Strategy<Value = String> {
        let odd =
            prop_oneof![Just('\u{FFFE}'), Just('\u{FFFF}'), Just('\\'), Just('"'), prop::char::range('\0', '\u{A0}')];
        prop::collection::vec(prop_oneof![any::<char>(), odd], 0..60).prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn any_text_survives_the_queue_and_the_queue_takes_it(text in a_text()) {
            let mut message = message(&text);
            message.address.clone_from(&text);
            message.conversation.chat.clone_from(&text);
            let body = encode(&message);
            prop_assert!(body.chars().all(is_taken), "{}", body);
            prop_assert_eq!(decode::<InboundMessage>(&body).expect("our own"), message);
        }

        #[test]
        fn an_attribute_is_taken_and_as_it_was_where_it_could_be(text in a_text()) {
            let (attribute, replaced) = (attribute(&text), char::REPLACEMENT_CHARACTER);
            prop_assert!(attribute.chars().all(is_taken));
            for (after, before) in attribute.chars().zip(text.chars()) {
                prop_assert!(after == before || (after == replaced && !is_taken(before)));
            }
        }
    }

    #[test]
    fn what_sqs_does_not_take_is_escaped() {
        let body = encode(&message("a\u{FFFE}b\u{FFFF}"));
        assert!(body.contains(r"a\ufffeb\uffff"), "{body}");
        assert_eq!(attribute("a\u{FFFE}b\u{0}\n"), "a\u{FFFD}b\u{FFFD}\n");
    }

    #[test]
    fn a_foreign_version_is_named() {
        let body = encode(&message("x")).replacen("\"v\":1", "\"v\":9", 1);
        assert!(matches!(decode::<InboundMessage>(&body), Err(DecodeError::Version(9))));
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let Content::Text(text) = Content::text(&"汉".repeat(10_000)) else { unreachable!("made as text") };
        assert!(text.len() <= Content::MAX_TEXT_BYTES && text.len() > Content::MAX_TEXT_BYTES - 3);
    }
}
