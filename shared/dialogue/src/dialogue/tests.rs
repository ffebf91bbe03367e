//! One conversation, without any service.

use std::io;

use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use hoopoe_message::{BotId, Channel, Content, MessageId};
use hoopoe_store::turns::Answer;

use super::*;

/// Echoes, and cannot answer two words.
struct Words;

impl Responder for Words {
    type Read = ();
    type Error = io::Error;

    fn read(&self, _: &[&InboundMessage]) {}

    fn respond(
        &self,
        (): &(),
        _: usize,
        message: &InboundMessage,
        session: &mut Session,
        _: Timestamp,
    ) -> Result<Response, io::Error> {
        session.told_text_only = true;
        match &message.content {
            Content::Text(text) if text == "panic" => panic!("this test means it"),
            Content::Text(text) if text == "fail" => Err(io::Error::other("no model")),
            Content::Text(text) => {
                Ok(Response::Say(Answer { text: text.clone(), suggestions: Vec::new(), decision: None }))
            }
            _ => Ok(Response::Nothing),
        }
    }
}

fn dialogue() -> Dialogue<Words> {
    let config = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
    let queue = |name: &str| format!("http://aws/0/{name}");
    Dialogue {
        clock: Clock::new(&config),
        responder: Words,
        inbound: Consumer::new(&config, queue("inbound"), queue("inbound-dlq")),
        outbound: QueueSender::new(&config, queue("outbound")),
        pending: None,
        sessions: Sessions::new(&config, "sessions".into(), Duration::from_secs(1800)),
        turns: Turns::new(&config, "sessions".into()),
        gap: Duration::from_secs(2),
    }
}

fn waiting(number: u64, text: &str) -> Waiting {
    let message = InboundMessage {
        id: MessageId::try_from(format!("e{number}")).expect("a valid id"),
        conversation: Conversation { channel: Channel::Telegram, bot: BotId::default(), chat: "7".into() },
        address: String::new(),
        number,
        received_at: Timestamp::from_secs(100),
        previous_at: (number > 1).then(|| Timestamp::from_secs(100)),
        language: None,
        content: Content::text(text),
    };
    let (message_id, receipt_handle) = (number.to_string(), String::new());
    let record = Record { message_id, receipt_handle, body: String::new(), attributes: Default::default() };
    Waiting { message, record, at: 0, alone: false }
}

fn numbers(waiting: &[Waiting]) -> Vec<u64> {
    waiting.iter().map(|waiting| waiting.message.number).collect()
}

#[test]
fn what_cannot_be_answered_stays_with_its_message_and_those_after_it() {
    for (word, reason) in [("panic", "answering it panicked"), ("fail", "no model")] {
        let messages = vec![waiting(1, "hello"), waiting(2, word), waiting(3, "hello again")];
        let outcome = dialogue().converse(messages, Session::default(), &(), Timestamp::from_secs(101));
        let handled: Vec<u64> = outcome.handled.iter().map(|handled| handled.waiting.message.number).collect();
        assert_eq!((handled, numbers(&outcome.failed)), (vec![1], vec![2, 3]), "{word}");
        assert_eq!(outcome.reason, reason);
    }
}

#[test]
fn what_a_failed_message_did_to_its_session_is_forgotten() {
    let session = dialogue().converse(vec![waiting(1, "hello")], Session::default(), &(), Timestamp::from_secs(101));
    let before = session.handled.into_iter().next().expect("it is answered").session;
    let again = vec![waiting(2, "panic")];
    let outcome = dialogue().converse(again, before.clone(), &(), Timestamp::from_secs(102));
    assert!(outcome.handled.is_empty(), "nothing is written");
    let outcome = dialogue().converse(vec![waiting(2, "hello")], before, &(), Timestamp::from_secs(103));
    assert_eq!(outcome.handled.len(), 1, "it is its turn when it comes again");
}
