//! The items of the Usage table.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};

use super::{KEPT, QuotaError, Quotas};
use crate::{KeyName, number, text};

pub(super) type Item = HashMap<String, AttributeValue>;

/// A number of an item; 0 if it has none of this name.
pub(super) fn read(item: &Item, name: &str) -> Result<u64, QuotaError> {
    item.get(name)
        .map_or(Ok(0), |value| value.as_n().ok().and_then(|number| number.parse().ok()).ok_or(QuotaError::Shape))
}

/// What became of an update with a condition.
pub(super) enum Conditional {
    /// It was made; what was changed, as it is now.
    Made(Item),
    /// Its condition did not hold; the item as it is.
    Failed(Item),
}

impl Quotas {
    /// An update of an item that says what it did, or what stands there if its condition does not hold.
    pub(super) fn item(&self, key: &KeyName, name: String) -> UpdateItemFluentBuilder {
        self.dynamodb
            .update_item()
            .table_name(&self.table)
            .key("key", text(key.to_string()))
            .key("name", text(name))
            .expression_attribute_names("#expires", "expires_at")
            .expression_attribute_values(":expires", number(self.now() / 1_000_000 + KEPT))
            .return_values(ReturnValue::UpdatedNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    /// Makes an update, if its condition holds.
    pub(super) async fn update(&self, update: UpdateItemFluentBuilder) -> Result<Conditional, QuotaError> {
        match update.send().await {
            Ok(output) => Ok(Conditional::Made(output.attributes.unwrap_or_default())),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    Ok(Conditional::Failed(failed.item().cloned().unwrap_or_default()))
                }
                _ => Err(QuotaError::Call { operation: "reserving calls", cause: hoopoe_aws::cause(&error) }),
            },
        }
    }
}
