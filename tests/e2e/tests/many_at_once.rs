//! A platform that posts many messages with one request, as WhatsApp does after an outage.

use e2e::Stack;
use e2e::platform::PlatformBot;
use hoopoe_channels::contract::counterpart::Counterpart;
use hoopoe_channels::whatsapp::Whatsapp;
use hoopoe_message::Timestamp;
use reqwest::StatusCode;
use serde_json::Value;

/// More than fit into any other request.
const PEOPLE: u32 = 150;

#[tokio::test]
async fn all_messages_of_one_request_are_answered_once() {
    let stack = Stack::open().await;
    let bot = PlatformBot::<Whatsapp>::connect(&stack).await;
    let now = Timestamp::now();
    let run = u32::try_from(now.as_secs() % 1_000_000).expect("a million fits") * 1000;
    let told = (0..PEOPLE).map(|person| Whatsapp::message(person, run + person, "/help", &bot.api.uri(), now));
    let mut notifications = told.map(|told| serde_json::from_slice::<Value>(&told).expect("JSON"));
    let mut all = notifications.next().expect("some");
    for other in notifications {
        let entry = other["entry"][0].clone();
        all["entry"].as_array_mut().expect("entries").push(entry);
    }
    let posted = Whatsapp::posts(&serde_json::to_vec(&all).expect("JSON"), &bot.api.uri(), now);
    // Where the machine is slow, the function's time is over first, and WhatsApp repeats the request.
    e2e::wait::eventually("the request to be taken", async || {
        (bot.post(&posted).await == StatusCode::OK).then_some(())
    })
    .await;
    // Once more, as after a lost answer.
    bot.post(&posted).await;
    let shown = bot.shows(PEOPLE as usize).await;
    assert_eq!(shown.len(), PEOPLE as usize);
}
