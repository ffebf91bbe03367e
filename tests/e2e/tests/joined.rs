//! What is written at the same time goes out as one request, and each write is still carried out or refused for itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_types::SdkConfig;
use e2e::Stack;
use futures_util::future::join_all;
use hoopoe_message::{BotId, Channel, Content, Conversation, InboundMessage, MessageId, Reply, Timestamp};
use hoopoe_store::sends::{Attempt, Settled};
use hoopoe_store::sessions::WriteError;
use hoopoe_store::{Begin, Departure, Sends, Session, Sessions};

/// More than a batch of a queue, fewer than DynamoDB takes.
const CONVERSATIONS: usize = 12;
const LIFETIME: Duration = Duration::from_secs(600);
const GAP: Duration = Duration::from_secs(2);

#[tokio::test]
async fn sessions_of_a_batch_are_one_request_and_a_stale_one_alone_conflicts() {
    let stack = Stack::open().await;
    let (config, calls) = counting(&stack.config);
    let sessions = Sessions::new(&config, stack.output("SessionsTableName").to_owned(), LIFETIME);
    let conversations = conversations();
    let names: Vec<&Conversation> = conversations.iter().collect();
    let now = Timestamp::now();

    let new = read(&sessions, &names, now).await;
    let written = write(&sessions, &conversations, &new, 1, now).await;
    assert!(written.iter().all(Result::is_ok), "{written:?}");
    assert_eq!(calls.take(), ["BatchGetItem", "BatchExecuteStatement"]);

    let mut known = read(&sessions, &names, now).await;
    known[3] = Session::default();
    let written = write(&sessions, &conversations, &known, 2, now).await;
    for (index, written) in written.iter().enumerate() {
        assert_eq!(matches!(written, Err(WriteError::Conflict)), index == 3, "{index}: {written:?}");
    }
    assert_eq!(calls.take(), ["BatchGetItem", "BatchExecuteStatement", "PutItem"], "the refused one is tried alone");

    let later = now.plus(LIFETIME + Duration::from_secs(1));
    let expired = read(&sessions, &names, later).await;
    let written = write(&sessions, &conversations, &expired, 3, later).await;
    assert!(written.iter().all(Result::is_ok), "an expired session is replaced: {written:?}");
    assert_eq!(calls.take(), ["BatchGetItem", "BatchExecuteStatement"], "also where the old items still stand");

    let one = read(&sessions, &names[..1], later).await;
    assert!(write(&sessions, &conversations[..1], &one, 4, later).await[0].is_ok());
    assert_eq!(calls.take(), ["BatchGetItem", "PutItem"], "one that is alone is no batch");
}

#[tokio::test]
async fn sends_of_a_batch_are_begun_and_settled_together_and_each_once() {
    let stack = Stack::open().await;
    let (config, calls) = counting(&stack.config);
    let sends = Sends::new(&config, stack.output("SendsTableName").to_owned(), GAP);
    let conversations = conversations();
    let replies = |number: u64, after: Option<u64>| -> Vec<Reply> {
        conversations.iter().map(|conversation| reply(conversation, number, after)).collect()
    };

    // The first number of a conversation is the time of its claim.
    let number = Timestamp::now().as_millis();
    let first = replies(number, None);
    let attempts = begin(&sends, &first).await;
    assert_eq!(calls.take(), ["BatchExecuteStatement"]);
    settle(&sends, &first, &attempts).await;
    assert_eq!(calls.take(), ["BatchExecuteStatement"]);

    // One is not settled when the replies after it come.
    let second = replies(number + 1, Some(number));
    let attempts = begin(&sends, &second).await;
    calls.take();
    settle(&sends, &second[1..], &attempts[1..]).await;
    let third = replies(number + 2, Some(number + 1));
    calls.take();
    let begun = join_all(third.iter().map(|reply| sends.begin(reply, departure(), Timestamp::now()))).await;
    for (index, begun) in begun.into_iter().enumerate() {
        match begun.expect("DynamoDB answers") {
            Begin::Wait(_) if index == 0 => {}
            Begin::Send(attempt) if index > 0 => assert_eq!((attempt.refusals, attempt.part), (0, 0)),
            begun => panic!("{index}: {begun:?}"),
        }
    }
    assert_eq!(calls.take(), ["BatchExecuteStatement", "UpdateItem"], "the one that waits asked alone");

    let repeated = join_all(second[1..].iter().map(|reply| sends.begin(reply, departure(), Timestamp::now()))).await;
    for begun in repeated {
        assert_eq!(begun.expect("DynamoDB answers"), Begin::Settled);
    }
}

async fn read(sessions: &Sessions, names: &[&Conversation], now: Timestamp) -> Vec<Session> {
    sessions.read(names, now).await.into_iter().map(|session| session.expect("DynamoDB answers")).collect()
}

async fn write(
    sessions: &Sessions,
    conversations: &[Conversation],
    read: &[Session],
    number: u64,
    now: Timestamp,
) -> Vec<Result<(), WriteError>> {
    let changed: Vec<Session> = conversations
        .iter()
        .zip(read)
        .map(|(conversation, session)| {
            let mut session = session.clone();
            session.pass(&message(conversation, number), now);
            session
        })
        .collect();
    join_all(
        conversations.iter().zip(&changed).map(|(conversation, session)| sessions.write(conversation, session, now)),
    )
    .await
}

async fn begin(sends: &Sends, replies: &[Reply]) -> Vec<Attempt> {
    let begun = join_all(replies.iter().map(|reply| sends.begin(reply, departure(), Timestamp::now()))).await;
    let attempts = begun.into_iter().map(|begun| match begun.expect("DynamoDB answers") {
        Begin::Send(attempt) => attempt,
        begun => panic!("it is to be sent: {begun:?}"),
    });
    attempts.collect()
}

async fn settle(sends: &Sends, replies: &[Reply], attempts: &[Attempt]) {
    let settled = replies
        .iter()
        .zip(attempts)
        .map(|(reply, attempt)| sends.settle(reply, attempt, Settled::Sent, Timestamp::now()));
    for settled in join_all(settled).await {
        settled.expect("DynamoDB answers");
    }
}

fn departure() -> Departure {
    let deadline = Timestamp::now().plus(Duration::from_secs(30));
    Departure { deadline, waited: Duration::ZERO, repeatable_until: None, owner: fastrand::u32(1..) }
}

fn conversations() -> Vec<Conversation> {
    let bot = BotId::try_from(Stack::new_bot()).expect("a name");
    (0..CONVERSATIONS)
        .map(|chat| Conversation { channel: Channel::Telegram, bot: bot.clone(), chat: format!("it's \"{chat}\"") })
        .collect()
}

/// An id with what a statement has to quote.
fn id(number: u64) -> MessageId {
    MessageId::try_from(format!("m'{number}\" = ?")).expect("a valid id")
}

fn message(conversation: &Conversation, number: u64) -> InboundMessage {
    InboundMessage {
        id: id(number),
        conversation: conversation.clone(),
        address: String::new(),
        number,
        received_at: Timestamp::now(),
        previous_at: None,
        language: None,
        content: Content::text("hello"),
    }
}

/// The reply to a message of this number, which is the time of its claim where it is the conversation's first.
fn reply(conversation: &Conversation, number: u64, after: Option<u64>) -> Reply {
    Reply {
        id: id(number),
        conversation: conversation.clone(),
        address: String::new(),
        number,
        after,
        complete: true,
        pending_until: None,
        received_at: Timestamp::from_millis(number),
        created_at: Timestamp::now(),
        text: "hello".into(),
        suggestions: vec![],
        decision: None,
    }
}

/// The operations that were called, in their order.
#[derive(Clone, Debug, Default)]
struct Calls(Arc<Mutex<Vec<String>>>);

impl Calls {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Takes note of what goes through it.
#[derive(Debug)]
struct Counting<T> {
    through: T,
    calls: Calls,
}

/// The configuration with a client that counts.
fn counting(config: &SdkConfig) -> (SdkConfig, Calls) {
    let calls = Calls::default();
    let through = config.http_client().expect("a client");
    let client = SharedHttpClient::new(Counting { through, calls: calls.clone() });
    (config.to_builder().http_client(client).build(), calls)
}

impl HttpClient for Counting<SharedHttpClient> {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let through = self.through.http_connector(settings, components);
        SharedHttpConnector::new(Counting { through, calls: self.calls.clone() })
    }
}

impl HttpConnector for Counting<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        self.calls.0.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
        self.through.call(request)
    }
}
