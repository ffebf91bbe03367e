//! The SDK's own clients in the world: what they read of answers, and how they repeat what fails.

use std::rc::Rc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use world::echo::bounds;
use world::environment::Environment;
use world::history::{World, play};
use world::weather::Weather;

/// Runs something in a world of this weather.
fn within<F: Future<Output = ()> + 'static>(weather: Weather, what: impl FnOnce(Rc<World>, Environment) -> F) {
    play(7, weather, true, &bounds(), |world| {
        let environment = Environment::new(&world.cloud, "test-1".to_owned(), 0);
        world.at(Duration::ZERO, what(Rc::clone(world), environment));
    });
}

fn put(environment: &Environment) -> aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder {
    let client = aws_sdk_dynamodb::Client::new(&environment.config());
    client.put_item().table_name("sessions").item("conversation", AttributeValue::S("c".into()))
}

#[test]
fn a_condition_that_does_not_hold_is_the_sdks_error() {
    within(Weather::calm(), async |_, environment| {
        let new = || {
            put(&environment)
                .condition_expression("attribute_not_exists(#c)")
                .expression_attribute_names("#c", "conversation")
        };
        new().send().await.expect("it is new");
        let error = new().send().await.expect_err("it is there");
        assert!(error.as_service_error().is_some_and(|error| error.is_conditional_check_failed_exception()));
    });
}

#[test]
fn a_lost_answer_is_asked_for_again_and_the_effect_is_there_twice() {
    let weather = Weather { lost: 1.0, budget: 1, ..Weather::calm() };
    within(weather, async |world, environment| {
        let sqs = aws_sdk_sqs::Client::new(&environment.config());
        let sent = sqs.send_message().queue_url("https://sqs.us-east-1.amazonaws.com/0/inbound-dlq").message_body("x");
        sent.send().await.expect("the second attempt is answered");
        assert_eq!(world.cloud.sqs.messages("inbound-dlq").len(), 2);
    });
}

#[test]
fn throttles_and_hangs_are_repeated_to_their_end() {
    for weather in [
        Weather { throttled: 1.0, budget: 2, ..Weather::calm() },
        Weather { failed: 1.0, budget: 2, ..Weather::calm() },
        Weather { unreached: 1.0, budget: 2, ..Weather::calm() },
        Weather { hanging: 1.0, budget: 1, ..Weather::calm() },
    ] {
        within(weather, async |world, environment| {
            put(&environment).send().await.expect("the last attempt is answered");
            assert_eq!(world.cloud.dice.left(), 0);
        });
    }
    within(Weather { throttled: 1.0, budget: 9, ..Weather::calm() }, async |world, environment| {
        put(&environment).send().await.expect_err("three attempts");
        assert_eq!(world.cloud.dice.left(), 6);
    });
}

#[test]
fn a_clock_that_is_off_is_that_of_its_environment_alone() {
    within(Weather::calm(), async |world, environment| {
        let ahead = Environment::new(&world.cloud, "test-2".to_owned(), 1500);
        assert_eq!(ahead.clock().millis() - environment.clock().millis(), 1500);
        tokio::time::sleep(Duration::from_secs(3 * 24 * 3600)).await;
        assert_eq!(environment.clock().millis(), world.cloud.clock.millis());
    });
}
