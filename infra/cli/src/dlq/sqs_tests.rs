//! A thousand letters in each direction, with SQS on a bad day.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::Message;
use hoopoe_message::{BotId, Channel, Content, Conversation, InboundMessage, MessageId, Reply, Timestamp, wire};
use hoopoe_store::Sends;

use super::letters::{Bounds, DeadLetters};
use super::redrive::{Redrive, Redriven};
use super::server_clock::ServerClock;
use super::stand_in::{Mood, StandIn};
use super::{Queue, more};
use crate::progress::Step;

const LETTERS: usize = 1000;
/// Those of one conversation come far apart.
const CONVERSATIONS: usize = 37;
const BOUNDS: Bounds = Bounds { renewal: Duration::from_secs(20), pass: 10_000 };

fn letters(queue: Queue, count: usize) -> Vec<String> {
    (0..count)
        .map(|index| {
            let number = u64::try_from(index / CONVERSATIONS).expect("few") + 1;
            let id = MessageId::try_from(format!("m{index}")).expect("an id");
            let chat = (index % CONVERSATIONS).to_string();
            let conversation = Conversation { channel: Channel::Telegram, bot: BotId::default(), chat };
            let (address, received_at) = (String::new(), Timestamp::now());
            match queue {
                Queue::Inbound => wire::encode(&InboundMessage {
                    id,
                    conversation,
                    address,
                    number,
                    received_at,
                    previous_at: None,
                    language: None,
                    content: Content::text("where is my parcel"),
                }),
                Queue::Outbound => wire::encode(&Reply {
                    id,
                    conversation,
                    address,
                    number,
                    after: None,
                    complete: false,
                    pending_until: None,
                    received_at,
                    created_at: received_at,
                    text: "on its way".into(),
                    suggestions: vec![],
                    decision: None,
                }),
            }
        })
        .collect()
}

/// The conversation and number of a message that was queued again, and when it says it was.
fn place(body: &str) -> (String, u64, Option<Timestamp>) {
    let inbound = wire::decode::<InboundMessage>(body);
    inbound.map(|message| (message.conversation.to_string(), message.number, None)).unwrap_or_else(|_| {
        let reply: Reply = wire::decode(body).expect("a message or a reply");
        (reply.conversation.to_string(), reply.number, Some(reply.created_at))
    })
}

async fn redrive(sqs: &StandIn, queue: Queue, bounds: Bounds) -> anyhow::Result<Redriven> {
    let (config, url, source) = (sqs.config(), sqs.url(), sqs.url() + "/source");
    let (client, clock) = ServerClock::with_client(&config);
    let letters = DeadLetters::at(&client, &url, &source, bounds);
    let sends = Sends::new(&config, "sends".to_owned(), Duration::ZERO);
    Redrive::new(&letters, queue, sends, clock, false, &Step::start("Redrive", "moving")).run().await
}

/// Each message was queued again once, and those of a conversation in their order.
fn each_once_in_order(sent: &[String]) {
    let mut last = BTreeMap::new();
    for body in sent {
        let (conversation, number, _) = place(body);
        let before = last.insert(conversation.clone(), number).unwrap_or(0);
        assert_eq!(number, before + 1, "{conversation}");
    }
    assert_eq!(last.values().sum::<u64>(), u64::try_from(sent.len()).expect("few"), "{last:?}");
}

fn ids(messages: &[Message]) -> BTreeSet<String> {
    messages.iter().filter_map(|message| message.message_id.clone()).collect()
}

#[tokio::test]
async fn a_list_shows_each_letter_once_and_puts_all_back() {
    for queue in [Queue::Inbound, Queue::Outbound] {
        for (limit, counts) in [(5000, None), (5000, Some(0)), (5000, Some(3000)), (100, None)] {
            let sqs = StandIn::start(Mood { counts, ..Mood::default() }, letters(queue, LETTERS)).await;
            let (client, url) = (aws_sdk_sqs::Client::new(&sqs.config()), sqs.url());
            let letters = DeadLetters::at(&client, &url, &url, BOUNDS);
            let count = letters.count().await.expect("it counts");
            let collected = letters.collect(limit, count.visible, |_| ());
            let found = letters.while_hidden(collected).await.expect("it is read").letters;
            assert_eq!((found.len(), ids(&found).len()), (limit.min(LETTERS), limit.min(LETTERS)), "{counts:?}");
            let (left, hidden) = sqs.left();
            assert_eq!((left.len(), hidden), (LETTERS, 0), "all are back");
        }
    }
}

#[test]
fn a_list_says_how_many_more_there_are() {
    assert_eq!(more(Queue::Inbound, 100, 100, 100), None);
    assert_eq!(more(Queue::Inbound, 98, 100, 100), None);
    let cut = more(Queue::Outbound, 1000, 100, 100).expect("more");
    assert!(cut.contains("about 900 more outbound") && cut.contains("list outbound --limit 1000"), "{cut}");
    let held = more(Queue::Outbound, 1000, 990, 5000).expect("more");
    assert!(held.contains("about 10 more") && held.contains("another command holds"), "{held}");
}

/// The work lasts longer than what is received stays hidden.
#[tokio::test]
async fn what_is_held_stays_hidden_while_the_work_goes_on() {
    let mood = Mood { minute: Duration::from_millis(1500), takes: Duration::from_millis(30), ..Mood::default() };
    let sqs = StandIn::start(mood, letters(Queue::Outbound, LETTERS)).await;
    let (client, url) = (aws_sdk_sqs::Client::new(&sqs.config()), sqs.url());
    let letters = DeadLetters::at(&client, &url, &url, Bounds { renewal: Duration::from_millis(100), ..BOUNDS });
    let work = async {
        let found = letters.collect(5000, LETTERS, |_| ()).await?.letters;
        let deadline = Instant::now() + Duration::from_secs(120);
        while sqs.renewed() < 3 * LETTERS {
            assert!(Instant::now() < deadline, "{} were hidden anew", sqs.renewed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(found)
    };
    let found = letters.while_hidden(work).await.expect("it is read");
    assert_eq!((found.len(), ids(&found).len()), (LETTERS, LETTERS));
    assert_eq!(sqs.left().1, 0);
}

#[tokio::test]
async fn a_redrive_moves_each_letter_once_and_in_order_whatever_the_time_is_here() {
    const HOURS: i64 = 5 * 3600;
    for queue in [Queue::Inbound, Queue::Outbound] {
        for (ahead, counts) in [(0, None), (HOURS, Some(0)), (-HOURS, Some(3000))] {
            let sqs = StandIn::start(Mood { ahead, counts, ..Mood::default() }, letters(queue, LETTERS)).await;
            let done = redrive(&sqs, queue, BOUNDS).await.expect("all are moved");
            assert_eq!((done.moved, done.seen_before, done.stopped), (LETTERS, 0, false), "{done}");
            let sent = sqs.sent();
            assert_eq!(sent.len(), LETTERS);
            each_once_in_order(&sent);
            assert_eq!(sqs.left().0.len(), 0);
            // Ten a call, but for the last of each conversation that is worked on.
            for action in ["SendMessageBatch", "DeleteMessageBatch"] {
                assert!(sqs.calls(action) <= LETTERS / 10 + 16, "{} of {action}", sqs.calls(action));
            }
            // The time of SQS, which the functions have too.
            let there = Timestamp::now().as_secs().saturating_add_signed(ahead);
            for at in sent.iter().filter_map(|body| place(body).2) {
                assert!(at.as_secs().abs_diff(there) < 3600, "{at:?} with SQS {ahead} s ahead");
            }
        }
    }
}

#[tokio::test]
async fn what_dies_anew_is_not_moved_again() {
    for bounds in [BOUNDS, Bounds { pass: 300, ..BOUNDS }] {
        let mood = Mood { dies_anew: true, repeats: 0, ..Mood::default() };
        let sqs = StandIn::start(mood, letters(Queue::Outbound, LETTERS)).await;
        let done = redrive(&sqs, Queue::Outbound, bounds).await.expect("some are moved");
        let sent: BTreeSet<_> =
            sqs.sent().iter().map(|body| place(body)).map(|(chat, number, _)| (chat, number)).collect();
        assert_eq!(
            (done.moved, sent.len(), sqs.sent().len()),
            (sent.len(), done.moved, done.moved),
            "each once: {done}"
        );
        let (left, hidden) = sqs.left();
        assert_eq!((left.len(), hidden), (LETTERS, 0), "{done}");
        if bounds.pass > LETTERS {
            assert_eq!((done.moved, done.seen_before), (LETTERS, 0), "{done}");
        }
    }
}

#[tokio::test]
async fn more_letters_than_fit_in_memory_are_moved_in_passes() {
    let sqs = StandIn::start(Mood::default(), letters(Queue::Inbound, LETTERS)).await;
    let done = redrive(&sqs, Queue::Inbound, Bounds { pass: 128, ..BOUNDS }).await.expect("all are moved");
    assert_eq!((done.moved, sqs.sent().len(), sqs.left().0.len()), (LETTERS, LETTERS, 0), "{done}");
}

#[tokio::test]
async fn a_letter_that_sqs_does_not_take_keeps_no_other() {
    let mood = Mood { refuses: Some("\"m500\""), ..Mood::default() };
    let sqs = StandIn::start(mood, letters(Queue::Outbound, LETTERS)).await;
    let error = format!("{:#}", redrive(&sqs, Queue::Outbound, BOUNDS).await.expect_err("one is not taken"));
    assert!(error.contains("999 moved back") && error.contains("InvalidMessageContents"), "{error}");
    let (left, hidden) = sqs.left();
    assert_eq!((left.len(), hidden, sqs.sent().len()), (1, 0, LETTERS - 1));
    assert!(left[0].contains("\"m500\""), "{}", left[0]);
}

#[tokio::test]
async fn after_a_failure_what_moved_is_counted_and_the_rest_is_put_back() {
    let mood = Mood { vanishes_after: Some(7), ..Mood::default() };
    let sqs = StandIn::start(mood, letters(Queue::Inbound, LETTERS)).await;
    let error = format!("{:#}", redrive(&sqs, Queue::Inbound, BOUNDS).await.expect_err("the queue is gone"));
    assert!(error.contains("70 moved back") && error.contains("could not be queued again"), "{error}");
    let (left, hidden) = sqs.left();
    assert_eq!((left.len(), hidden, sqs.sent().len()), (LETTERS - 70, 0, 70));
}

#[tokio::test]
async fn a_command_that_is_stopped_puts_the_rest_back() {
    let sqs = StandIn::start(Mood::default(), letters(Queue::Outbound, LETTERS)).await;
    let (config, url) = (sqs.config(), sqs.url());
    let (client, clock) = ServerClock::with_client(&config);

    let letters = DeadLetters::at(&client, &url, &url, BOUNDS);
    let collected = letters.while_hidden(letters.collect(5000, LETTERS, |_| letters.stop())).await.expect("some");
    assert!(collected.letters.len() < LETTERS && !collected.complete);
    assert_eq!((sqs.left().0.len(), sqs.left().1), (LETTERS, 0));

    let letters = DeadLetters::at(&client, &url, &url, BOUNDS);
    let sends = Sends::new(&config, "sends".to_owned(), Duration::ZERO);
    let step = Step::start("Redrive", "moving");
    let redrive = Redrive::new(&letters, Queue::Outbound, sends, clock, false, &step);
    let ctrl_c = async {
        while sqs.calls("SendMessageBatch") < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        letters.stop();
    };
    let (done, ()) = tokio::join!(redrive.run(), ctrl_c);
    let done = done.expect("it stops in peace");
    let (left, hidden) = sqs.left();
    assert_eq!((done.moved, left.len(), hidden), (sqs.sent().len(), LETTERS - done.moved, 0), "{done}");
    assert!(done.stopped && done.moved >= 20, "{done}");
}
