//! Taking many messages in at once, with the table and the queue in memory and calls that take as long as they may on AWS.
//! Time is virtual: it passes where something is waited for.

#[path = "../../store/tests/table/mod.rs"]
#[allow(dead_code, reason = "the tests of the store use all of it")]
mod table;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use hoopoe_channels::Incoming;
use hoopoe_message::{BotId, Channel, Content, InboundMessage, MessageId, Timestamp, wire};
use hoopoe_webhook::{Intake, IntakeError};
use serde_json::{Value, json};
use table::Table;
use tokio::time::Instant;

/// Slower than DynamoDB and SQS usually are.
const CALL: Duration = Duration::from_millis(20);

#[derive(Clone, Debug, Default)]
struct Aws {
    table: Table,
    queue: Arc<Mutex<Vec<InboundMessage>>>,
    /// The queue refuses messages with these words.
    refused: Option<&'static str>,
}

impl HttpClient for Aws {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Aws {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let aws = self.clone();
        HttpConnectorFuture::new(async move {
            tokio::time::sleep(CALL).await;
            let (status, body) = match request.headers().get("x-amz-target") {
                Some("AmazonSQS.SendMessageBatch") => (200, aws.queued(&request)),
                _ => aws.table.state().answer(&request),
            };
            Ok(HttpResponse::new(status.try_into().expect("a status"), SdkBody::from(body.to_string())))
        })
    }
}

impl Aws {
    fn queued(&self, request: &HttpRequest) -> Value {
        let body: Value = serde_json::from_slice(request.body().bytes().expect("a body")).expect("JSON");
        let entries = body["Entries"].as_array().expect("entries");
        assert!(entries.len() <= 10);
        let (mut taken, mut failed) = (Vec::new(), Vec::new());
        for entry in entries {
            let body = entry["MessageBody"].as_str().expect("a body");
            if self.refused.is_some_and(|words| body.contains(words)) {
                failed.push(json!({"Id": entry["Id"], "Code": "InvalidMessageContents", "SenderFault": true}));
            } else {
                self.queue.lock().expect("no panic").push(wire::decode(body).expect("a message"));
                taken.push(json!({"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "0"}));
            }
        }
        json!({"Successful": taken, "Failed": failed})
    }

    fn intake(&self) -> Intake {
        let config = self.table.config().to_builder().http_client(self.clone()).build();
        Intake::of(Channel::Whatsapp, &config, "claims".into(), "http://localhost/0/inbound".into())
    }

    /// What was queued since it was asked last.
    fn queue(&self) -> Vec<InboundMessage> {
        std::mem::take(&mut *self.queue.lock().expect("no panic"))
    }
}

/// Messages of so many people, in turn.
fn messages(count: usize, people: usize) -> Vec<Incoming> {
    (0..count)
        .map(|message| Incoming {
            id: MessageId::try_from(format!("wamid.{message}")).expect("a valid id"),
            chat: (message % people).to_string(),
            address: String::new(),
            sent_at: Some(Timestamp::now()),
            language: None,
            content: Content::text(&format!("message {message}.")),
        })
        .collect()
}

fn within(time: Duration) -> Instant {
    Instant::now() + time
}

/// Each message once, and those of a person with numbers in their order.
fn assert_in_order(queued: &[InboundMessage], count: usize) {
    assert_eq!(queued.iter().map(|message| &message.id).collect::<HashSet<_>>().len(), count);
    assert_eq!(queued.len(), count);
    let mut people: HashMap<&str, Vec<(usize, u64)>> = HashMap::new();
    for message in queued {
        let at = message.id.as_str().strip_prefix("wamid.").and_then(|at| at.parse().ok()).expect("a number");
        people.entry(&message.conversation.chat).or_default().push((at, message.number));
    }
    for messages in people.values_mut() {
        messages.sort_unstable();
        assert!(messages.windows(2).all(|pair| pair[0].1 + 1 == pair[1].1), "{messages:?}");
    }
}

/// With calls of 20 ms 0.7 s for as many people, and 4 s where one person said all of it.
#[tokio::test(start_paused = true)]
async fn a_thousand_messages_are_taken_in_within_the_functions_time_and_again_when_they_are_repeated() {
    for people in [1000, 40, 1] {
        let aws = Aws::default();
        let (intake, bot) = (aws.intake(), BotId::default());
        let messages = messages(1000, people);
        let mut numbers: Vec<u64> = Vec::new();
        for repetition in [false, true] {
            let (taken, fault) = intake.accept_all(&bot, messages.clone(), within(Duration::from_secs(9))).await;
            assert!(fault.is_none(), "{fault:?}");
            assert!(taken.iter().all(|message| message.accepted.duplicate == repetition));
            let known: Vec<u64> = taken.iter().map(|message| message.accepted.number).collect();
            assert!(numbers.is_empty() || numbers == known);
            numbers = known;
            assert_in_order(&aws.queue(), 1000);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_time_is_over_what_was_taken_in_stays_and_the_rest_comes_with_the_repetition() {
    let aws = Aws::default();
    let (intake, bot) = (aws.intake(), BotId::default());
    let messages = messages(1000, 500);
    let (taken, fault) = intake.accept_all(&bot, messages.clone(), within(CALL * 9)).await;
    assert!(matches!(fault, Some(IntakeError::Late)), "{fault:?}");
    assert!((10..1000).contains(&taken.len()), "{}", taken.len());
    let first: HashMap<MessageId, u64> = aws.queue().into_iter().map(|message| (message.id, message.number)).collect();
    let (_, fault) = intake.accept_all(&bot, messages, within(Duration::from_secs(9))).await;
    assert!(fault.is_none(), "{fault:?}");
    let queued = aws.queue();
    assert_in_order(&queued, 1000);
    assert!(queued.iter().all(|message| first.get(&message.id).is_none_or(|number| *number == message.number)));
}

#[tokio::test(start_paused = true)]
async fn one_that_the_queue_refuses_does_not_hold_up_the_others() {
    let aws = Aws { refused: Some("message 7."), ..Aws::default() };
    let (taken, fault) =
        aws.intake().accept_all(&BotId::default(), messages(25, 5), within(Duration::from_secs(9))).await;
    assert!(matches!(fault, Some(IntakeError::Queue(_))), "{fault:?}");
    assert_eq!((taken.len(), aws.queue().len()), (24, 24));
}

#[tokio::test(start_paused = true)]
async fn where_the_time_is_never_enough_each_message_is_taken_in_with_some_repetition() {
    let aws = Aws::default();
    let (intake, bot) = (aws.intake(), BotId::default());
    let messages = messages(100, 100);
    let mut queued: HashMap<MessageId, u64> = HashMap::new();
    // Each repetition begins at random; that one is left out by so many is as good as impossible.
    for _ in 0..100 {
        if queued.len() == messages.len() {
            break;
        }
        let (_, fault) = intake.accept_all(&bot, messages.clone(), within(CALL * 7 / 2)).await;
        assert!(matches!(fault, Some(IntakeError::Late)), "{fault:?}");
        for message in aws.queue() {
            let number = *queued.entry(message.id).or_insert(message.number);
            assert_eq!(number, message.number);
        }
    }
    assert_eq!(queued.len(), messages.len());
}
