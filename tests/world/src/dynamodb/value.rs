//! Items and their values, and how many bytes they take.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An item.
pub type Item = BTreeMap<String, Value>;

/// A value, in the form of the JSON protocol. Sets are not stored by anything here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// A text.
    S(String),
    /// A number, in decimal.
    N(String),
    /// Bytes, in base64.
    B(String),
    /// A truth value.
    #[serde(rename = "BOOL")]
    Bool(bool),
    /// Null.
    #[serde(rename = "NULL")]
    Null(bool),
    /// A list.
    L(Vec<Value>),
    /// A map.
    M(Item),
}

/// "Numbers can have up to 38 digits of precision."
const MAX_DIGITS: usize = 38;

impl Value {
    /// A whole number, the only kind that the functions store.
    #[must_use]
    pub fn number(&self) -> Option<i128> {
        if let Self::N(number) = self { number.parse().ok() } else { None }
    }

    /// Bytes that it takes ("DynamoDB item sizes and formats"): a number takes one for each two significant digits and
    /// one more, a list or map three, and each of its elements one more.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::S(text) => text.len(),
            Self::N(number) => {
                let digits = number.trim_start_matches(['-', '0']);
                let digits = if digits.contains('.') { digits } else { digits.trim_end_matches('0') };
                digits.len().div_ceil(2) + 1 + usize::from(number.starts_with('-'))
            }
            Self::B(base64) => base64.trim_end_matches('=').len() * 3 / 4,
            Self::Bool(_) | Self::Null(_) => 1,
            Self::L(values) => 3 + values.iter().map(|value| 1 + value.size()).sum::<usize>(),
            Self::M(values) => 3 + values.iter().map(|(name, value)| 1 + name.len() + value.size()).sum::<usize>(),
        }
    }

    /// Refuses a number that is none, also inside of lists and maps.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Self::N(number) => {
                let unsigned = number.strip_prefix('-').unwrap_or(number);
                let digits = unsigned.bytes().filter(u8::is_ascii_digit).count();
                let decimal = unsigned.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                if digits == 0 || !decimal || unsigned.matches('.').count() > 1 {
                    return Err(format!("The parameter cannot be converted to a numeric value: {number:?}"));
                }
                if digits > MAX_DIGITS {
                    return Err("Attempting to store more than 38 significant digits in a Number".to_owned());
                }
                Ok(())
            }
            Self::L(values) => values.iter().try_for_each(Self::check),
            Self::M(values) => values.values().try_for_each(Self::check),
            _ => Ok(()),
        }
    }
}

/// Bytes that an item takes: names and values.
#[must_use]
pub fn size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value.size()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_documentation() {
        let number = |text: &str| Value::N(text.to_owned()).size();
        assert_eq!([number("1"), number("12"), number("123"), number("0")], [2, 2, 3, 1]);
        assert_eq!(number("1795564800000"), 1 + 4, "zeros at the end are not significant");
        assert_eq!(Value::B("AAAA".into()).size() + Value::B("AA==".into()).size(), 3 + 1);
        let map = Value::M([("x".to_owned(), Value::S("s".into()))].into());
        assert_eq!(
            size(&[("a".to_owned(), Value::N("1".into())), ("m".to_owned(), map)].into()),
            3 + (1 + 3 + 1 + 1 + 1)
        );
    }

    #[test]
    fn a_number_that_is_none_is_refused() {
        for number in ["", "-", "x", "1x", "1.2.3", "1e5", "+1", "٣", &"1".repeat(39)] {
            assert!(Value::L(vec![Value::N(number.into())]).check().is_err(), "{number}");
        }
        for number in ["0", "-1", "1.5", &"1".repeat(38)] {
            assert_eq!(Value::N(number.into()).check(), Ok(()), "{number}");
        }
    }
}
