//! A webhook function that does nothing but the two calls of AWS that every one makes, with the SDK and as the claim and
//! the queue have them: what the runtime and the calls cost.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use hoopoe_aws::{Environment, client};
use lambda_http::{Body, Error, Request, Response, service_fn};

/// As long as a short question in a queue.
const MESSAGE: &str = r#"{"v":1,"id":"700000001","conversation":{"channel":"telegram","bot":"bench","chat":"-1:1"},"address":"{\"chat\":-1,\"reply_to\":1}","number":1,"received_at":1795564800000,"previous_at":null,"content":{"text":"where is my parcel"}}"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let config = client::config(Environment)?;
    let (dynamodb, sqs) = (aws_sdk_dynamodb::Client::new(&config), aws_sdk_sqs::Client::new(&config));
    let (table, queue) = (Environment.required("CLAIMS_TABLE")?, Environment.required("INBOUND_QUEUE_URL")?);
    let count = std::cell::Cell::new(0_u64);
    lambda_http::run(service_fn(|_: Request| {
        count.set(count.get() + 1);
        let conversation = format!("calls/bench/{}", count.get());
        let number = |value: &str| AttributeValue::N(value.to_owned());
        let claim = dynamodb
            .update_item()
            .table_name(&table)
            .key("conversation", AttributeValue::S(conversation.clone()))
            .update_expression(
                "SET #next = if_not_exists(#next, :zero) + :one, #event = if_not_exists(#next, :zero) + :one, \
                 #at = :now, #expires = :expires",
            )
            .condition_expression("attribute_not_exists(#event)")
            .expression_attribute_names("#next", "next")
            .expression_attribute_names("#event", "m:700000001")
            .expression_attribute_names("#at", "at")
            .expression_attribute_names("#expires", "expires_at")
            .expression_attribute_values(":zero", number("0"))
            .expression_attribute_values(":one", number("1"))
            .expression_attribute_values(":now", number("1795564800000"))
            .expression_attribute_values(":expires", number("1796256000"))
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send();
        let queue = sqs.send_message().queue_url(&queue).message_body(MESSAGE).message_group_id(conversation).send();
        async move {
            claim.await?;
            queue.await?;
            Ok::<_, Error>(Response::new(Body::Empty))
        }
    }))
    .await
}
