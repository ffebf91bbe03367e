//! Reading and writing attributes, and updates with a condition.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::StoreError;

pub(crate) type Item = HashMap<String, AttributeValue>;

pub(crate) fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A number attribute; `None` where it is missing or no whole number.
pub(crate) fn read_number(item: &Item, name: &str) -> Option<u64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

pub(crate) fn read_text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// What became of an update with a condition.
pub(crate) enum Conditional {
    /// It was made; what it returns.
    Made(Item),
    /// Its condition did not hold; the item as it is.
    Failed(Item),
}

/// Makes an update, if its condition holds.
///
/// # Errors
///
/// When DynamoDB does not answer; it is not known then whether the update was made.
pub(crate) async fn conditional(
    update: UpdateItemFluentBuilder,
    operation: &'static str,
) -> Result<Conditional, StoreError> {
    match update.send().await {
        Ok(output) => Ok(Conditional::Made(output.attributes.unwrap_or_default())),
        Err(error) => match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                Ok(Conditional::Failed(failed.item().cloned().unwrap_or_default()))
            }
            _ => Err(StoreError::call(operation, &error)),
        },
    }
}

/// The size of an item as DynamoDB counts it: its names, and its values ("Amazon DynamoDB item sizes and formats").
#[cfg(test)]
pub(crate) fn size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value_size(value)).sum()
}

#[cfg(test)]
fn value_size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::Bool(_) | AttributeValue::Null(_) => 1,
        AttributeValue::Ns(numbers) => numbers.iter().map(|digits| digits.len().div_ceil(2) + 1).sum(),
        AttributeValue::Ss(texts) => texts.iter().map(String::len).sum(),
        AttributeValue::L(values) => 3 + values.iter().map(|value| 1 + value_size(value)).sum::<usize>(),
        AttributeValue::M(map) => 3 + map.iter().map(|(name, value)| 1 + name.len() + value_size(value)).sum::<usize>(),
        other => unreachable!("no item here holds {other:?}"),
    }
}
