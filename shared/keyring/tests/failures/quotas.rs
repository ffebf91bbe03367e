//! A bot's quota as several functions see it: what one of them learns from the platform holds for all.

use std::num::NonZeroU32;
use std::time::Duration;

use hoopoe_aws::SdkConfig;
use hoopoe_keyring::{KeyName, Purpose, Quota, Quotas, Turn};
use hoopoe_message::Channel;

use crate::bot;
use crate::fake::{Aws, Fault, Service, USAGE};

const PATIENCE: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn key() -> KeyName {
    KeyName { channel: Channel::Wecom, bot: bot(), purpose: Purpose::Send }
}

/// A function, one of three at most.
fn function(config: &SdkConfig) -> Quotas {
    Quotas::new(config, USAGE.into()).among(NonZeroU32::new(3))
}

async fn take(quotas: &Quotas) -> Turn {
    quotas.take(&key(), Quota::default(), 1, PATIENCE).await.expect("DynamoDB answers")
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_the_platform_holds_for_every_function() {
    let aws = Aws::start().await;
    let config = aws.config_without_network();
    let (refused, other) = (function(&config), function(&config));
    assert_eq!((take(&refused).await, take(&other).await), (Turn::Now, Turn::Now));
    refused.pause(&key(), MINUTE).await.expect("DynamoDB answers");
    let asked = aws.requests(Service::DynamoDb);
    assert_eq!(take(&refused).await, Turn::After(MINUTE));
    assert_eq!(aws.requests(Service::DynamoDb), asked, "it knows without asking");
    assert_eq!(take(&other).await, Turn::After(MINUTE));
    assert_eq!(take(&function(&config)).await, Turn::After(MINUTE), "one that is new");
    tokio::time::sleep(MINUTE / 2).await;
    assert_eq!(take(&other).await, Turn::After(MINUTE / 2), "of its share too");
    assert_eq!(aws.requests(Service::DynamoDb), asked + 2, "each asks once");
    tokio::time::sleep(MINUTE / 2).await;
    assert_eq!(take(&other).await, Turn::Now);
}

#[tokio::test(start_paused = true)]
async fn a_pause_never_becomes_shorter_and_is_an_hour_at_most() {
    let aws = Aws::start().await;
    let config = aws.config_without_network();
    let (long, short) = (function(&config), function(&config));
    long.pause(&key(), 24 * 60 * MINUTE).await.expect("DynamoDB answers");
    assert_eq!(take(&long).await, Turn::After(60 * MINUTE));
    short.pause(&key(), MINUTE).await.expect("DynamoDB answers");
    assert_eq!(take(&short).await, Turn::After(60 * MINUTE));
    assert_eq!(take(&function(&config)).await, Turn::After(60 * MINUTE));
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_refused_together_tell_it_once() {
    let aws = Aws::start().await;
    let config = aws.config_without_network();
    let quotas = function(&config);
    for _ in 0..10 {
        quotas.pause(&key(), MINUTE).await.expect("DynamoDB answers");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(aws.requests(Service::DynamoDb), 1);
}

#[tokio::test(start_paused = true)]
async fn a_function_knows_of_a_pause_that_it_cannot_tell() {
    let aws = Aws::start().await;
    let config = aws.config_without_network();
    let quotas = function(&config);
    aws.breaks(Service::DynamoDb, Fault::Denied);
    quotas.pause(&key(), MINUTE).await.expect_err("DynamoDB denies it");
    aws.recovers();
    assert_eq!(take(&quotas).await, Turn::After(MINUTE));
}

#[tokio::test(start_paused = true)]
async fn a_share_is_used_without_asking() {
    let aws = Aws::start().await;
    let config = aws.config_without_network();
    let quotas = function(&config);
    for _ in 0..20 {
        assert_eq!(take(&quotas).await, Turn::Now);
        tokio::time::sleep(PATIENCE).await;
    }
    assert_eq!(aws.requests(Service::DynamoDb), 1, "for the first call");
    let unknown = Quotas::new(&config, USAGE.into());
    for asked in 2..5 {
        assert_eq!(take(&unknown).await, Turn::Now);
        assert_eq!(aws.requests(Service::DynamoDb), asked, "nobody knows how many functions there are");
        tokio::time::sleep(2 * PATIENCE).await;
    }
}
