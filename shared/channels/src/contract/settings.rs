//! What an operator enters once for a bot: read from JSON, checked, and split into the keys each function gets.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;

use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::contract::setup::{Setup, SetupCall};

/// The settings of one bot on a channel.
pub trait Settings: Sized {
    /// The fields, for a person: the required ones, then the optional ones.
    const FIELDS: &'static str;

    /// How an operator changes the secrets without stranding the bot, as numbered lines: what is done in the platform's
    /// console, and when the keys are added and put in force here. Once they are added, what the platform posts is
    /// accepted with either version. "Take it that" stands where the platform does not document how long an old secret
    /// stays good.
    const ROTATION: &'static str;

    /// Whether anything of what is stored has to be kept secret.
    const HAS_SECRETS: bool = true;

    /// What of the console's work the platform's API does.
    const SETUPS: &'static [Setup] = &[];

    /// Reads and checks them.
    ///
    /// # Errors
    ///
    /// Names the field and its rule, and never quotes a value: most of them are secret.
    fn parse(json: &str) -> Result<Self, InvalidSettings>;

    /// The calls of a setup, in their order; none if it is not among [`Settings::SETUPS`].
    ///
    /// # Errors
    ///
    /// If the settings lack what the calls need.
    fn setup_calls(&self, _setup: Setup, _webhook_url: &str) -> Result<Vec<SetupCall<Self>>, InvalidSettings> {
        Ok(Vec::new())
    }

    /// The keys to store.
    fn keys(&self) -> StoredKeys;

    /// What is left to do by hand in the platform's console once the keys are stored, as numbered lines.
    fn console_steps(&self, webhook_url: &str) -> String;
}

/// The two JSON objects to encrypt and store; what verifies and what sends never share one.
#[derive(Debug)]
pub struct StoredKeys {
    /// Under the name `webhook`: [`Webhook::Keys`](crate::Webhook::Keys).
    pub webhook: SecretString,
    /// Under the name `send`: [`Sender::Keys`](crate::Sender::Keys).
    pub send: SecretString,
}

impl StoredKeys {
    /// Both as JSON, with the fields in the order of their names: the same settings are always the same bytes. Their secrets
    /// are written by [`exposed`] and [`exposed_if_any`].
    pub(crate) fn new(webhook: &impl Serialize, send: &impl Serialize) -> Self {
        let [webhook, send] =
            [secret_json(webhook), secret_json(send)].map(|json| json.expect("texts and numbers serialise"));
        Self { webhook, send }
    }
}

/// Writes a secret of keys that are stored.
pub(crate) fn exposed<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

/// Writes a secret that keys may have.
pub(crate) fn exposed_if_any<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(ExposeSecret::expose_secret).serialize(serializer)
}

/// JSON that holds secrets. It is measured first: a buffer that grew, or was cut to size, would leave a copy where it
/// was.
pub(crate) fn secret_json(value: &impl Serialize) -> serde_json::Result<SecretString> {
    struct Length(usize);
    impl io::Write for Length {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut length = Length(0);
    serde_json::to_writer(&mut length, value)?;
    let mut json = Vec::with_capacity(length.0);
    serde_json::to_writer(&mut json, value)?;
    Ok(String::from_utf8(json).expect("JSON is UTF-8").into())
}

/// Why settings are not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSettings {
    /// Not JSON at all.
    #[error("the settings are not valid JSON: look at line {line}, column {column}")]
    NotJson {
        /// Where, from 1.
        line: usize,
        /// Where, from 1.
        column: usize,
    },
    /// JSON, but not an object.
    #[error("the settings have to be a JSON object with the fields {expected}")]
    NotAnObject {
        /// The known fields.
        expected: String,
    },
    /// A field nobody reads, which is mostly a misspelt one.
    #[error("the settings have no field \"{field}\"; the fields are {expected}")]
    Unknown {
        /// The field; `…` where that has not the form of one and may be a value at the wrong place.
        field: String,
        /// The known fields.
        expected: String,
    },
    /// A field that has to be there.
    #[error("the field \"{0}\" is missing")]
    Missing(&'static str),
    /// A value that breaks its field's rule.
    #[error("the field \"{field}\" {rule}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What its value has to be.
        rule: &'static str,
    },
}

/// The fields of a settings object, taken out one by one.
pub(crate) struct Fields(BTreeMap<String, Value>);

impl Fields {
    /// Reads the object; a field that is not among `known` is an error.
    pub(crate) fn read(json: &str, known: &[&str]) -> Result<Self, InvalidSettings> {
        let value: Value = serde_json::from_str(json)
            .map_err(|error| InvalidSettings::NotJson { line: error.line(), column: error.column() })?;
        let expected = || known.join(", ");
        let Value::Object(fields) = value else {
            return Err(InvalidSettings::NotAnObject { expected: expected() });
        };
        if let Some(field) = fields.keys().find(|field| !known.contains(&field.as_str())) {
            let is_a_name = field.len() <= 40 && field.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
            let field = if is_a_name { field.clone() } else { "…".to_owned() };
            return Err(InvalidSettings::Unknown { field, expected: expected() });
        }
        Ok(Self(fields.into_iter().filter(|(_, value)| !value.is_null()).collect()))
    }

    /// Takes a value of any type; `None` where it is absent or null.
    pub(crate) fn take(&mut self, field: &'static str) -> Option<Value> {
        self.0.remove(field)
    }

    /// Takes an optional text, which has to keep the rule.
    pub(crate) fn optional(
        &mut self,
        field: &'static str,
        rule: &'static str,
        keeps: impl Fn(&str) -> bool,
    ) -> Result<Option<String>, InvalidSettings> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) if keeps(&text) => Ok(Some(text)),
            Some(_) => Err(InvalidSettings::Invalid { field, rule }),
        }
    }

    /// Takes a text that has to be there and to keep the rule.
    pub(crate) fn required(
        &mut self,
        field: &'static str,
        rule: &'static str,
        keeps: impl Fn(&str) -> bool,
    ) -> Result<String, InvalidSettings> {
        self.optional(field, rule, keeps)?.ok_or(InvalidSettings::Missing(field))
    }

    /// Takes an id that is a number, and may be written as one.
    pub(crate) fn digits(
        &mut self,
        field: &'static str,
        rule: &'static str,
        at_most: usize,
    ) -> Result<String, InvalidSettings> {
        let id = match self.take(field).ok_or(InvalidSettings::Missing(field))? {
            Value::Number(number) => number.to_string(),
            Value::String(digits) => digits,
            _ => String::new(),
        };
        let formed = (1..=at_most).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit());
        if formed { Ok(id) } else { Err(InvalidSettings::Invalid { field, rule }) }
    }

    /// Takes a secret that the operator invents, and that the platform only repeats.
    pub(crate) fn invented(&mut self, field: &'static str) -> Result<String, InvalidSettings> {
        let rule = "has to be 1 to 256 characters of A-Z, a-z, 0-9, _ and -";
        self.required(field, rule, is_invented)
    }

    /// Takes the optional prefix by which a group may call the bot. A `/` is left to commands.
    pub(crate) fn group_prefix(&mut self) -> Result<Option<String>, InvalidSettings> {
        let rule = "has to be 1 to 16 characters without white space, not beginning with /";
        self.optional("group_prefix", rule, |prefix| {
            (1..=16).contains(&prefix.chars().count())
                && !prefix.starts_with('/')
                && !prefix.chars().any(|c| c.is_whitespace() || c.is_control())
        })
    }

    /// Takes an optional address of an API, without its trailing slashes.
    pub(crate) fn base_url(&mut self, field: &'static str) -> Result<Option<String>, InvalidSettings> {
        let rule = "has to be an http:// or https:// address without a query, such as https://api.example.com";
        let url = self.optional(field, rule, |url| {
            let authority = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            authority.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
                && url.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'))
                && url.parse::<http::Uri>().is_ok()
        })?;
        Ok(url.map(|url| url.trim_end_matches('/').to_owned()))
    }
}

/// Whether a text can be a secret that the operator invents: what Telegram takes as a `secret_token`, and Meta takes it
/// as well.
pub(crate) fn is_invented(secret: &str) -> bool {
    is_name(secret, 1..=256)
}

/// Whether a text has so many characters, all of them visible and of ASCII: what any secret of a console is made of.
pub(crate) fn is_visible(text: &str, length: RangeInclusive<usize>) -> bool {
    length.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a text has so many characters, all of them letters and digits of ASCII, `_` or `-`.
pub(crate) fn is_name(text: &str, length: RangeInclusive<usize>) -> bool {
    length.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_word_that_is_no_command() {
        let read = |prefix: &str| {
            let json = serde_json::json!({ "group_prefix": prefix }).to_string();
            Fields::read(&json, &["group_prefix"])?.group_prefix()
        };
        for prefix in ["!", "小鸟", "Hoopoe,", &"长".repeat(16)] {
            assert_eq!(read(prefix), Ok(Some(prefix.to_owned())));
        }
        for wrong in ["", " bot", "hey bot", "/bot", "a\u{0}b", &"长".repeat(17)] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fault_names_its_field_and_never_quotes_a_value() {
        let read = |json: &str| {
            let mut fields = Fields::read(json, &["secret", "url"])?;
            let secret = fields.required("secret", "has to be digits", |text| text.bytes().all(|b| b.is_ascii_digit()));
            Ok::<_, InvalidSettings>((secret?, fields.base_url("url")?))
        };
        assert_eq!(
            read(r#"{"secret":"12","url":"https://a.example/x/"}"#).expect("valid").1.expect("given"),
            "https://a.example/x"
        );
        for (json, says) in [
            ("{", "line 1, column 1"),
            ("[]", "a JSON object with the fields secret, url"),
            ("{}", "\"secret\" is missing"),
            (r#"{"secret":null}"#, "\"secret\" is missing"),
            (r#"{"secret":"hush"}"#, "\"secret\" has to be digits"),
            (r#"{"secret":["hush"]}"#, "\"secret\" has to be digits"),
            (r#"{"secret":"1","sceret":"hush"}"#, "no field \"sceret\""),
            (r#"{"secret":"1","hush-12345":"hush"}"#, "no field \"…\""),
            (r#"{"secret":"1","url":"ftp://hush"}"#, "\"url\" has to be an http://"),
            (r#"{"secret":"1","url":"https:///hush"}"#, "\"url\" has to be an http://"),
            (r#"{"secret":"1","url":"https://a/?hush"}"#, "\"url\" has to be an http://"),
        ] {
            let error = read(json).expect_err(json).to_string();
            assert!(error.contains(says), "{json} gave {error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
