//! One endpoint for the AWS services that the functions call.

use std::sync::Arc;

use ::world::dynamodb::DynamoDb;
use ::world::kms;
use serde_json::json;

use crate::counts::{Counts, Tally};
use crate::http::{Answer, Call, answer};
use crate::latency::{Latencies, wait};
use crate::sqs::Sqs;

/// DynamoDB, SQS and KMS.
pub(crate) struct Aws {
    pub(crate) dynamodb: DynamoDb,
    pub(crate) sqs: Arc<Sqs>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) latencies: Latencies,
}

impl Aws {
    /// Answers a call in the services' JSON protocols.
    pub(crate) async fn handle(self: Arc<Self>, call: Call) -> Answer {
        match self.answer(&call).await {
            Ok(answer) => answer,
            Err(error) => {
                self.counts.unknown(format!("{} {}: {error}", call.target, String::from_utf8_lossy(&call.body)));
                answer(400, json!({"__type": "ValidationException", "message": error}).to_string())
            }
        }
    }

    async fn answer(&self, call: &Call) -> Result<Answer, String> {
        let (service, operation) = call.target.split_once('.').ok_or("no X-Amz-Target")?;
        let mut tally = Tally { requests: 1, bytes_in: call.body.len() as u64, ..Tally::default() };
        let (service, target, status, body) = match service {
            "DynamoDB_20120810" => {
                let done = self.dynamodb.call(operation, &call.body)?;
                if let Some(invalid) = done.invalid {
                    return Err(invalid);
                }
                let each = (0..done.items).map(|_| self.latencies.dynamodb.sample());
                wait(each.max().unwrap_or_default()).await;
                (tally.read_units, tally.write_units) = (done.read_units, done.write_units.iter().sum());
                ("dynamodb", done.table, done.status, done.body)
            }
            "AmazonSQS" => {
                let takes = self.latencies.sqs.sample();
                let (queue, done) = self.sqs.call(operation, &call.body, takes)?;
                wait(takes).await;
                ("sqs", queue, 200, done.to_string().into_bytes())
            }
            "TrentService" => {
                wait(self.latencies.kms.sample()).await;
                let (status, body) = kms::call(operation, &call.body)?;
                ("kms", "", status, body.to_string().into_bytes())
            }
            _ => return Err("a service that the functions of this path do not call".to_owned()),
        };
        tally.bytes_out = body.len() as u64;
        tally.refused = u64::from(status != 200);
        self.counts.add((service, operation.to_owned(), target), tally);
        Ok(answer(status, body))
    }
}
