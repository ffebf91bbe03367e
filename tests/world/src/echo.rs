//! The smallest engine that keeps the promises, and what it is like when it does not: it shows that the checks find what
//! is wrong and nothing else.
//!
//! One webhook function numbers messages, one answers them in order, one delivers the replies in order: three functions,
//! three tables, one platform. Each keeps no more than a number a conversation.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use aws_sdk_sqs::Client as Sqs;
use aws_sdk_sqs::types::MessageAttributeValue;
use hoopoe_channels::telegram::Telegram;
use hoopoe_message::Timestamp;
use http::{Request, StatusCode};
use serde_json::{Value as Json, json};

use crate::checks::Bounds;
use crate::environment::Environment;
use crate::function::{Handler, Invocation, Start};
use crate::history::World;
use crate::ledger::{Tag, tags_in};
use crate::platform::{Broken, Platform};

/// How a dead letter says that the platform may have the reply.
pub const DOUBT: &str = "may have it";

/// A fault that is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Planted {
    /// None: it keeps its promises in any weather.
    #[default]
    Nothing,
    /// Some messages are dropped.
    Forgets,
    /// Some replies are sent twice.
    Doubles,
    /// Replies are sent as they come.
    Reorders,
    /// Some replies go to another person.
    Strays,
    /// Some replies become dead letters without a reason.
    BuriesSilently,
    /// A send without an answer is repeated.
    Repeats,
    /// Whoever finds his own mark takes it for another's.
    Doubts,
    /// An update writes the same path twice.
    Overlaps,
    /// An item grows with the conversation.
    Grows,
}

/// What the echo is held to.
#[must_use]
pub fn bounds() -> Bounds {
    Bounds {
        queues: vec!["inbound", "outbound"],
        letters: vec!["inbound-dlq", "outbound-dlq"],
        gap: Duration::from_secs(2),
        units: BTreeMap::from([("claims", 1.0), ("sessions", 1.0), ("sends", 1.0)]),
        doubt: DOUBT,
    }
}

/// Sets the functions up, and lets people write for a minute.
pub fn scenario(world: &Rc<World>, planted: Planted) {
    let platform = Platform::of::<Telegram>();
    let start = |make: fn(&Parts) -> Handler| -> Start {
        let platform = platform.clone();
        Rc::new(move |environment| make(&Parts::new(environment, platform.clone(), planted)))
    };
    let webhook = world.function("webhook", Duration::from_secs(10), 100, start(webhook));
    let answer = world.function("answer", Duration::from_secs(30), 3, start(answer));
    let deliver = world.function("deliver", Duration::from_secs(30), 3, start(deliver));
    world.map("inbound", &answer);
    world.map("outbound", &deliver);
    let dice = &world.cloud.dice;
    for conversation in 1..=3 {
        let mut at = Duration::ZERO;
        for message in 1..=u32::try_from(1 + dice.below(6)).expect("a few") {
            at += dice.up_to(Duration::from_secs(10));
            let (of, webhook, tag) = (Rc::clone(world), Rc::clone(&webhook), Tag::message(conversation, message));
            world.at(at, async move { of.deliver(&webhook, tag, 1, tag.to_string()).await });
        }
    }
}

/// What a function of the echo has.
#[derive(Clone)]
struct Parts {
    environment: Environment,
    platform: Platform,
    dynamodb: DynamoDb,
    sqs: Sqs,
    planted: Planted,
}

/// What becomes of a message in a queue.
enum Next {
    Done,
    Again,
}

type Failure = String;

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn read(item: &std::collections::HashMap<String, AttributeValue>, name: &str) -> u64 {
    item.get(name).and_then(|value| value.as_n().ok()?.parse().ok()).unwrap_or(0)
}

fn url(queue: &str) -> String {
    format!("https://sqs.us-east-1.amazonaws.com/000000000000/{queue}")
}

fn failed<E: std::fmt::Debug, R: std::fmt::Debug>(error: &SdkError<E, R>) -> Failure {
    format!("{error:?}")
}

impl Parts {
    fn new(environment: &Environment, platform: Platform, planted: Planted) -> Self {
        let config = environment.config();
        let (dynamodb, sqs) = (DynamoDb::new(&config), Sqs::new(&config));
        Self { environment: environment.clone(), platform, dynamodb, sqs, planted }
    }

    /// Whether the fault is planted and this message is one of those it hits.
    fn hits(&self, planted: Planted, tag: Tag) -> bool {
        self.planted == planted && tag.message % 3 == 2
    }

    async fn send(&self, queue: &str, body: &Json) -> Result<(), Failure> {
        let sent = self.sqs.send_message().queue_url(url(queue)).message_body(body.to_string()).send().await;
        sent.map(drop).map_err(|error| failed(&error))
    }

    /// Handles the records of a batch one after the other, in their order; what is left comes again in a second.
    async fn each<F>(self, invocation: Invocation, queue: &'static str, handle: F) -> Result<String, Failure>
    where
        F: AsyncFn(&Self, &Json, Timestamp) -> Result<Next, Failure>,
    {
        let event: Json = serde_json::from_str(&invocation.event).map_err(|error| error.to_string())?;
        let mut records: Vec<(Json, &Json)> = event["Records"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|record| {
                (serde_json::from_str(record["body"].as_str().unwrap_or_default()).unwrap_or_default(), record)
            })
            .collect();
        records.sort_by_key(|(body, _)| body["number"].as_u64());
        let mut left = Vec::new();
        for (body, record) in records {
            match handle(&self, &body, invocation.deadline).await {
                Ok(Next::Done) => {}
                Ok(Next::Again) | Err(_) => {
                    if !self.put_off(queue, record).await {
                        left.push(json!({"itemIdentifier": record["messageId"]}));
                    }
                }
            }
        }
        Ok(json!({"batchItemFailures": left}).to_string())
    }

    /// Whether a copy comes instead of the record.
    async fn put_off(&self, queue: &str, record: &Json) -> bool {
        let receives: u32 =
            record["attributes"]["ApproximateReceiveCount"].as_str().and_then(|n| n.parse().ok()).unwrap_or(1);
        if receives >= 5 {
            let copy = self.sqs.send_message().queue_url(url(queue)).delay_seconds(1);
            return copy.message_body(record["body"].as_str().unwrap_or_default()).send().await.is_ok();
        }
        let hidden = self.sqs.change_message_visibility().queue_url(url(queue)).visibility_timeout(1);
        let _ = hidden.receipt_handle(record["receiptHandle"].as_str().unwrap_or_default()).send().await;
        false
    }

    async fn item(
        &self,
        table: &str,
        conversation: &str,
    ) -> Result<std::collections::HashMap<String, AttributeValue>, Failure> {
        let key = AttributeValue::S(conversation.to_owned());
        let got =
            self.dynamodb.get_item().table_name(table).key("conversation", key).consistent_read(true).send().await;
        Ok(got.map_err(|error| failed(&error))?.item.unwrap_or_default())
    }

    /// Whether the update was made; its values are numbers.
    async fn update(
        &self,
        table: &str,
        conversation: &str,
        change: &str,
        condition: &str,
        values: &[(&str, u64)],
    ) -> Result<bool, Failure> {
        let mut update = self.dynamodb.update_item().table_name(table);
        update = update.key("conversation", AttributeValue::S(conversation.to_owned()));
        update = update.update_expression(change).condition_expression(condition);
        for name in ["last", "sending", "until", "owner", "tries"] {
            if format!("{change} {condition}").contains(&format!("#{name}")) {
                update = update.expression_attribute_names(format!("#{name}"), name);
            }
        }
        for (name, value) in values {
            update = update.expression_attribute_values(*name, number(*value));
        }
        match update.send().await {
            Ok(_) => Ok(true),
            Err(error)
                if error.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(failed(&error)),
        }
    }
}

/// Numbers a message and queues it; a repeated one is queued again under its number.
fn webhook(parts: &Parts) -> Handler {
    let parts = parts.clone();
    Rc::new(move |Invocation { event, .. }| {
        let parts = parts.clone();
        Box::pin(async move {
            let tag = *tags_in(&event).first().ok_or("no tag")?;
            let conversation = tag.conversation.to_string();
            let event = if parts.planted == Planted::Grows {
                "x".repeat(400) + &tag.to_string()
            } else {
                format!("e{}", tag.message)
            };
            let claimed = parts
                .dynamodb
                .update_item()
                .table_name("claims")
                .key("conversation", AttributeValue::S(conversation.clone()))
                .update_expression(
                    "SET #next = if_not_exists(#next, :zero) + :one, #event = if_not_exists(#next, :zero) + :one",
                )
                .condition_expression("attribute_not_exists(#event)")
                .expression_attribute_names("#next", "next")
                .expression_attribute_names("#event", &event)
                .expression_attribute_values(":zero", number(0))
                .expression_attribute_values(":one", number(1))
                .return_values(ReturnValue::AllNew)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .send()
                .await;
            let item = match claimed {
                Ok(output) => output.attributes,
                Err(error) => match error.as_service_error() {
                    Some(UpdateItemError::ConditionalCheckFailedException(known)) => known.item.clone(),
                    _ => return Err(failed(&error)),
                },
            };
            let number = read(&item.unwrap_or_default(), &event);
            let body = json!({"number": number, "conversation": conversation, "tag": tag.to_string()});
            parts.send("inbound", &body).await?;
            Ok("200".to_owned())
        })
    })
}

/// Answers the messages of a conversation in order: queues the reply, then notes the number.
fn answer(parts: &Parts) -> Handler {
    let parts = parts.clone();
    Rc::new(move |invocation| {
        let parts = parts.clone();
        Box::pin(parts.each(invocation, "inbound", async |parts: &Parts, body: &Json, _| {
            let (number, conversation) = of(body);
            let tag = *tags_in(&body.to_string()).first().ok_or("no tag")?;
            let last = read(&parts.item("sessions", &conversation).await?, "last");
            if number <= last || parts.hits(Planted::Forgets, tag) {
                return Ok(Next::Done);
            }
            if number > last + 1 && parts.planted != Planted::Forgets {
                return Ok(Next::Again);
            }
            let reply = json!({"number": number, "conversation": conversation, "tag": tag.reply(1).to_string()});
            if parts.hits(Planted::BuriesSilently, tag) {
                parts.send("outbound-dlq", &reply).await?;
            }
            parts.send("outbound", &reply).await?;
            let (change, condition) = match parts.planted {
                Planted::Overlaps => {
                    ("SET #last = :number REMOVE #last", "attribute_not_exists(#last) OR #last < :number")
                }
                _ => ("SET #last = :number", "attribute_not_exists(#last) OR #last < :number"),
            };
            let written = parts.update("sessions", &conversation, change, condition, &[(":number", number)]).await?;
            Ok(if written { Next::Done } else { Next::Again })
        }))
    })
}

/// Sends the replies of a conversation in order.
fn deliver(parts: &Parts) -> Handler {
    let parts = parts.clone();
    Rc::new(move |invocation| {
        let parts = parts.clone();
        Box::pin(parts.each(invocation, "outbound", deliver_one))
    })
}

async fn deliver_one(parts: &Parts, body: &Json, deadline: Timestamp) -> Result<Next, Failure> {
    let (number, conversation) = of(body);
    let now = parts.environment.clock().now();
    if deadline.since(now) < Duration::from_secs(20) {
        return Ok(Next::Again);
    }
    let item = parts.item("sends", &conversation).await?;
    let last = read(&item, "last");
    let strict = !matches!(parts.planted, Planted::Reorders | Planted::Forgets);
    if strict && number <= last {
        return Ok(Next::Done);
    }
    if strict && number > last + 1 {
        return Ok(Next::Again);
    }
    let (sending, tries) = (item.contains_key("sending"), read(&item, "tries"));
    if strict && sending {
        if read(&item, "until") > now.as_millis() {
            return Ok(Next::Again);
        }
        return bury(parts, body, "the function ended during the send, so the platform may have it").await;
    }
    let owner = fastrand::u64(..1 << 53);
    if strict {
        let begun = parts
            .update(
                "sends",
                &conversation,
                "SET #sending = :number, #until = :until, #owner = :owner",
                "attribute_not_exists(#sending) AND (attribute_not_exists(#last) OR #last = :before) AND \
                 (attribute_not_exists(#tries) OR #tries = :tries)",
                &[
                    (":number", number),
                    (":before", number - 1),
                    (":until", deadline.as_millis() + 1000),
                    (":owner", owner),
                    (":tries", tries),
                ],
            )
            .await;
        let mine = || async { Ok::<_, Failure>(read(&parts.item("sends", &conversation).await?, "owner") == owner) };
        let begun = match begun {
            Ok(begun) => begun || (parts.planted != Planted::Doubts && mine().await?),
            // It may be made all the same.
            Err(_) => mine().await?,
        };
        if !begun {
            return Ok(Next::Again);
        }
    }
    send(parts, body, number, &conversation, tries).await
}

async fn send(parts: &Parts, body: &Json, number: u64, conversation: &str, tries: u64) -> Result<Next, Failure> {
    let tag = *tags_in(&body.to_string()).first().ok_or("no tag")?;
    let to = tag.conversation + u32::from(parts.hits(Planted::Strays, tag));
    let keys = parts.platform.settings();
    let request = || {
        let uri =
            format!("{}/bot{}/sendMessage", parts.platform.api_base(), keys["bot_token"].as_str().unwrap_or_default());
        let message = json!({"chat_id": Platform::person(to), "text": format!("you wrote something {tag}")});
        Request::post(uri).body(message.to_string().into_bytes()).expect("a valid request")
    };
    let mut answered = parts.platform.exchange(&parts.environment, request(), Duration::from_secs(8)).await;
    if parts.hits(Planted::Doubles, tag)
        || (parts.planted == Planted::Repeats && matches!(answered, Err(Broken::TimedOut | Broken::Reset)))
    {
        answered = parts.platform.exchange(&parts.environment, request(), Duration::from_secs(8)).await;
    }
    match answered.map(|answer| answer.status()) {
        Ok(StatusCode::OK) => settle(parts, number, conversation).await,
        Ok(StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT) | Err(Broken::Reset | Broken::TimedOut) => {
            bury(parts, body, "there was no answer, so the platform may have it").await
        }
        Ok(_) | Err(Broken::Unreached) => {
            // It was not taken: the next attempt is a new one.
            let condition = "#sending = :number AND (attribute_not_exists(#tries) OR #tries = :tries)";
            let change = "SET #tries = :next REMOVE #sending, #until";
            let values = [(":number", number), (":tries", tries), (":next", tries + 1)];
            for _ in 0..6 {
                if parts.update("sends", conversation, change, condition, &values).await.is_ok() {
                    break;
                }
            }
            Ok(Next::Again)
        }
    }
}

async fn settle(parts: &Parts, number: u64, conversation: &str) -> Result<Next, Failure> {
    for _ in 0..6 {
        let change = "SET #last = :number REMOVE #sending, #until, #tries, #owner";
        let condition = "attribute_not_exists(#last) OR #last < :number";
        if parts.update("sends", conversation, change, condition, &[(":number", number)]).await.is_ok() {
            break;
        }
    }
    Ok(Next::Done)
}

async fn bury(parts: &Parts, body: &Json, reason: &str) -> Result<Next, Failure> {
    let attribute = MessageAttributeValue::builder().data_type("String").string_value(reason).build();
    let attribute = attribute.map_err(|error| error.to_string())?;
    let letter = parts.sqs.send_message().queue_url(url("outbound-dlq")).message_body(body.to_string());
    letter.message_attributes("reason", attribute).send().await.map_err(|error| failed(&error))?;
    let (number, conversation) = of(body);
    settle(parts, number, &conversation).await
}

fn of(body: &Json) -> (u64, String) {
    (body["number"].as_u64().unwrap_or(0), body["conversation"].as_str().unwrap_or_default().to_owned())
}
