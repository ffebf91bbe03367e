//! One endpoint for the AWS services that the functions call.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value as Json, json};

use crate::counts::{Counts, Tally};
use crate::dynamodb::DynamoDb;
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
                let each = (0..done.items).map(|_| self.latencies.dynamodb.sample());
                wait(each.max().unwrap_or_default()).await;
                (tally.read_units, tally.write_units) = (done.read_units, done.write_units);
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
                ("kms", "", 200, decrypt(operation, &call.body)?.to_string().into_bytes())
            }
            _ => return Err("a service that the functions of this path do not call".to_owned()),
        };
        tally.bytes_out = body.len() as u64;
        tally.refused = u64::from(status != 200);
        self.counts.add((service, operation.to_owned(), target), tally);
        Ok(answer(status, body))
    }
}

/// What stands for a ciphertext: the secret with its context, which has to be the same for decrypting.
pub(crate) fn encrypt(context: &Json, secret: &str) -> String {
    BASE64.encode(json!({"context": context, "secret": secret}).to_string())
}

fn decrypt(operation: &str, body: &[u8]) -> Result<Json, String> {
    if operation != "Decrypt" {
        return Err(format!("KMS's {operation} is not called by the functions of this path"));
    }
    let request: Json = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let sealed = BASE64.decode(request["CiphertextBlob"].as_str().unwrap_or_default()).map_err(|e| e.to_string())?;
    let sealed: Json = serde_json::from_slice(&sealed).map_err(|error| error.to_string())?;
    if sealed["context"] != request["EncryptionContext"] {
        return Err("the encryption context is another one".to_owned());
    }
    let secret = sealed["secret"].as_str().unwrap_or_default();
    Ok(json!({"KeyId": "arn:aws:kms:us-east-1:000000000000:key/1", "Plaintext": BASE64.encode(secret)}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ciphertext_is_bound_to_its_context() {
        let context = json!({"channel": "telegram"});
        let decrypt = |context: &Json| {
            let request =
                json!({"CiphertextBlob": encrypt(&json!({"channel": "telegram"}), "s"), "EncryptionContext": context});
            decrypt("Decrypt", request.to_string().as_bytes())
        };
        assert_eq!(decrypt(&context).expect("it opens")["Plaintext"], "cw==");
        assert!(decrypt(&json!({"channel": "wecom"})).is_err());
    }
}
