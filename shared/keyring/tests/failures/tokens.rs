//! Access tokens while KMS or DynamoDB fails.

use std::time::Duration;

use futures_util::future::join_all;
use hoopoe_keyring::{TokenError, Tokens};
use hoopoe_message::{Channel, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use crate::fake::{Aws, DEADLINE, Fault, Service, TOKENS, until};
use crate::{FAULTS, LONG, PLANTED, bot, is_clear, most_requests};

pub(crate) fn tokens(aws: &Aws) -> Tokens<&'static str> {
    Tokens::new(&aws.config(), TOKENS.into(), "alias/hoopoe".into())
}

/// Gets a token from a platform that gives `planted-secret-<number>` for so long.
pub(crate) async fn get(
    tokens: &Tokens<&'static str>,
    number: u64,
    lifetime: Duration,
) -> Result<String, TokenError<&'static str>> {
    let fetch = || async move { Ok((SecretString::from(format!("{PLANTED}-{number}")), lifetime)) };
    let deadline = Timestamp::now().plus(DEADLINE);
    let token = tokens.get(Channel::Wecom, &bot(), 1, deadline, fetch).await?;
    Ok(token.secret.expose_secret().to_owned())
}

#[tokio::test]
async fn a_token_that_cannot_be_had_is_told_clearly_costs_one_round_for_a_batch_and_comes_once_it_can() {
    for (service, operation) in
        [(Service::Kms, "decrypting an access token"), (Service::DynamoDb, "reading an access token")]
    {
        for fault in FAULTS {
            let aws = Aws::start_for(fault).await;
            let token = until("the first token", async || get(&tokens(&aws), 1, LONG).await.ok()).await;
            assert_eq!(token, "planted-secret-1");
            // Another function, with nothing in memory.
            let tokens = tokens(&aws);
            let before = aws.requests(service);
            aws.breaks(service, fault);
            let began = Instant::now();
            for got in join_all((0..10).map(|_| get(&tokens, 2, LONG))).await {
                is_clear(&got.expect_err("no token"), operation, service, fault);
            }
            let asked = aws.requests(service) - before;
            assert!(asked <= most_requests(fault, began), "{service:?} {fault:?}: {asked} requests");
            aws.recovers();
            let token = until("the token", async || get(&tokens, 2, LONG).await.ok()).await;
            assert_eq!(token, "planted-secret-1", "nothing was fetched anew");
        }
    }
}

#[tokio::test]
async fn a_token_in_memory_serves_until_its_end_and_not_after() {
    // It is renewed after 5/6 of its life, and used for the rest of it where that fails (less 30 seconds or 1/6).
    let lifetime = Duration::from_millis(1800);
    let aws = Aws::start().await;
    let tokens = tokens(&aws);
    let began = Instant::now();
    assert_eq!(get(&tokens, 1, lifetime).await.expect("a token"), "planted-secret-1");
    let fetched = Instant::now();
    aws.breaks(Service::DynamoDb, Fault::Denied);
    let error = until("its end", async || {
        let asked = Instant::now();
        let error = get(&tokens, 2, LONG).await.err();
        assert!(error.is_some() || asked - fetched < lifetime, "used after {:?}", asked - fetched);
        error
    })
    .await;
    assert!(began.elapsed() >= lifetime * 4 / 5, "after {:?}", began.elapsed());
    is_clear(&error, "reading an access token", Service::DynamoDb, Fault::Denied);
    aws.recovers();
    let token = until("a token", async || get(&tokens, 2, LONG).await.ok()).await;
    assert_eq!(token, "planted-secret-2");
}

#[tokio::test]
async fn a_token_that_cannot_be_shared_is_used_all_the_same() {
    for (service, fault) in [(Service::Kms, Fault::Denied), (Service::Kms, Fault::Garbage)] {
        let aws = Aws::start().await;
        let tokens = tokens(&aws);
        aws.breaks(service, fault);
        assert_eq!(get(&tokens, 1, LONG).await.expect("a token"), "planted-secret-1");
        let before = aws.requests(Service::DynamoDb);
        assert_eq!(get(&tokens, 2, LONG).await.expect("a token"), "planted-secret-1");
        assert_eq!(aws.requests(Service::DynamoDb), before, "it is in memory");
    }
}
