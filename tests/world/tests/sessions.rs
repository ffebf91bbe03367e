//! The Sessions table in the world: what stands there too long, cannot be read, or does not come.

use std::rc::Rc;
use std::time::Duration;

use hoopoe_message::{BotId, Channel, ChannelEvent, Content, Conversation, InboundMessage, MessageId, Timestamp};
use hoopoe_store::Sessions;
use serde_json::json;
use world::echo::bounds;
use world::environment::Environment;
use world::history::{World, play};
use world::weather::Weather;

const LIFETIME: Duration = Duration::from_secs(1800);

/// Runs something in a world of this weather.
fn within<F: Future<Output = ()> + 'static>(weather: Weather, what: impl FnOnce(Rc<World>, Environment) -> F) {
    play(7, weather, true, &bounds(), |world| {
        let environment = Environment::new(&world.cloud, "test-1".to_owned(), 0);
        world.at(Duration::ZERO, what(Rc::clone(world), environment));
    });
}

fn conversation(chat: &str) -> Conversation {
    Conversation { channel: Channel::Telegram, bot: BotId::default(), chat: chat.to_owned() }
}

fn left(number: u64, now: Timestamp) -> InboundMessage {
    InboundMessage {
        id: MessageId::try_from(number.to_string()).expect("a valid id"),
        conversation: conversation("a"),
        address: String::new(),
        number,
        received_at: now,
        previous_at: None,
        language: None,
        content: Content::Event(ChannelEvent::Left),
    }
}

/// Whoever leaves long after the last message finds the item of a session that has expired.
#[test]
fn a_session_that_has_expired_is_written_anew_while_its_item_still_stands() {
    within(Weather { deleted_at_once: 0, ..Weather::calm() }, async |_, environment| {
        let sessions = Sessions::new(&environment.config(), "sessions".to_owned(), LIFETIME);
        let a = conversation("a");
        // Three times: an item whose version is far from that of a new session.
        for number in 1..=3 {
            let now = environment.clock().now();
            let mut session = sessions.read(&[&a], now).await.remove(0).expect("it is readable");
            session.chosen_language = "zh".parse().ok();
            session.pass(&left(number, now), now);
            sessions.write(&a, &session, now).await.expect("nobody else writes it");
        }
        tokio::time::sleep(LIFETIME + Duration::from_secs(1)).await;
        let now = environment.clock().now();
        let mut session = sessions.read(&[&a], now).await.remove(0).expect("it is readable");
        assert_eq!(session.chosen_language, None, "what has expired is not read");
        session.pass(&left(4, now), now);
        sessions.write(&a, &session, now).await.expect("what has expired is no conflict");
    });
}

#[test]
fn a_session_that_cannot_be_read_fails_alone() {
    within(Weather::calm(), async |world, environment| {
        let sessions = Sessions::new(&environment.config(), "sessions".to_owned(), LIFETIME);
        let (now, chats) = (environment.clock().now(), ["a", "b", "c"].map(conversation));
        let expires = now.plus(LIFETIME).as_secs().to_string();
        let state = r#"{"last":"of a release to come"}"#;
        let item = json!({"conversation": {"S": chats[1].to_string()}, "version": {"N": "1"}, "expires_at": {"N": expires}, "state": {"S": state}});
        world.cloud.dynamodb.seed("sessions", item);
        let read = sessions.read(&chats.each_ref(), now).await;
        assert_eq!(read.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    });
}

#[test]
fn what_a_busy_table_leaves_is_asked_for_a_few_times_and_not_for_ever() {
    let weather = Weather { partial: 1.0, budget: 1000, ..Weather::calm() };
    within(weather, async |world, environment| {
        let sessions = Sessions::new(&environment.config(), "sessions".to_owned(), LIFETIME);
        let chats = ["a", "b"].map(conversation);
        let read = sessions.read(&chats.each_ref(), environment.clock().now()).await;
        assert!(read.iter().any(Result::is_err), "they come again with their messages");
        assert!(world.cloud.dice.left() > 900, "it is no storm of reads: {} are left", world.cloud.dice.left());
    });
}
