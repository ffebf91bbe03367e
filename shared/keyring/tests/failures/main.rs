//! What a function sees of its secrets while KMS or DynamoDB fails, and what it asks them for meanwhile.

mod fake;
mod quotas;
mod renewals;
mod tokens;

use std::time::Duration;

use fake::{Aws, DEADLINE, Fault, KEYS, Service, USAGE, until};
use futures_util::future::join_all;
use hoopoe_aws::SdkConfig;
use hoopoe_keyring::keyring::LOOK_AGAIN;
use hoopoe_keyring::{
    Actor, Audit, KeyName, Keyring, KeyringError, Operator, Place, Purpose, Uses, Vault, VerifyError,
};
use hoopoe_message::{BotId, Channel};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

const KEY: &str = "telegram/main/send";
const PLANTED: &str = "planted-secret";
const LONG: Duration = Duration::from_secs(300);
/// A failure is known for one second ("FAILURE_CACHED").
const FAILURE: Duration = Duration::from_secs(1);
/// What an SDK does for one call: three attempts.
const ATTEMPTS: usize = 3;

const FAULTS: [Fault; 6] =
    [Fault::Throttled, Fault::Denied, Fault::Disabled, Fault::Garbage, Fault::Hanging, Fault::Unreachable];

#[derive(Debug, Deserialize)]
struct Keys {
    token: SecretString,
}

fn bot() -> BotId {
    "main".parse().expect("a name")
}

fn keyring(aws: &Aws, cached: Duration) -> Keyring<Keys> {
    let config = aws.config();
    let place = Place::at(&config, KEYS.into(), Uses::new(&config, USAGE.into()), cached);
    Keyring::new(place, Channel::Telegram, Purpose::Send)
}

fn secret(number: u64) -> serde_json::Value {
    json!({ "token": format!("{PLANTED}-{number}") })
}

/// Whether the versions that the keyring knows accept a request made with version `number`.
async fn accepts(keyring: &Keyring<Keys>, number: u64) -> Result<bool, KeyringError> {
    let wanted = format!("{PLANTED}-{number}");
    let verify = |keys: &Keys| if keys.token.expose_secret() == wanted { Ok(()) } else { Err("forged") };
    match keyring.verify(&bot(), verify, |_| true).await {
        Ok(_) => Ok(true),
        Err(VerifyError::Rejected(_)) => Ok(false),
        Err(VerifyError::Keyring(error)) => Err(error),
    }
}

/// What the fault is called in the error of a call.
fn code(service: Service, fault: Fault) -> &'static str {
    match (fault, service) {
        (Fault::Throttled, Service::Kms) => "ThrottlingException: ",
        (Fault::Throttled, Service::DynamoDb) => "ProvisionedThroughputExceededException: ",
        (Fault::Denied, _) => "AccessDeniedException: ",
        (Fault::Disabled, Service::Kms) => "DisabledException: ",
        (Fault::Disabled, Service::DynamoDb) => "ResourceNotFoundException: ",
        (Fault::Garbage, _) => "the answer cannot be read",
        (Fault::Hanging, _) => "timeout",
        (Fault::Unreachable, _) => "dispatch failure",
    }
}

/// The error names what was done and the service's code, and holds nothing of a secret or of an answer.
fn is_clear(error: &(impl std::error::Error + 'static), operation: &str, service: Service, fault: Fault) {
    let said = error.to_string();
    assert!(said.starts_with(&format!("{operation} failed: ")), "{service:?} {fault:?}: {said}");
    assert!(said.contains(code(service, fault)), "{service:?} {fault:?}: {said}");
    for shown in [said, format!("{error:?}")] {
        assert!(!shown.contains("planted"), "{service:?} {fault:?}: {shown}");
    }
}

/// The most requests of a batch that began at a time: one round of attempts, and another one once the failure is not known
/// any more.
fn most_requests(fault: Fault, began: Instant) -> usize {
    // What cannot be helped by asking again is not asked again.
    let round = if matches!(fault, Fault::Denied | Fault::Disabled | Fault::Garbage) { 1 } else { ATTEMPTS };
    (1 + times(began, FAILURE)) * round
}

/// How often a span of whole seconds went by since a time.
fn times(since: Instant, span: Duration) -> usize {
    usize::try_from(since.elapsed().as_secs() / span.as_secs()).unwrap_or(usize::MAX)
}

#[tokio::test]
async fn each_failure_is_told_clearly_costs_one_round_for_a_batch_and_ends_with_its_cause() {
    for (service, operation) in [(Service::Kms, "decrypting a key"), (Service::DynamoDb, "reading a key")] {
        for fault in FAULTS {
            let aws = Aws::start_for(fault).await;
            let keyring = keyring(&aws, LONG);
            aws.put(KEY, 1, "current", &secret(1));
            aws.breaks(service, fault);
            let (bot, began) = (bot(), Instant::now());
            let failed = join_all((0..10).map(|_| keyring.get(&bot))).await;
            for got in failed {
                is_clear(&got.expect_err("no secret"), operation, service, fault);
            }
            let after = accepts(&keyring, 1).await.expect_err("no secret to verify with");
            is_clear(&after, operation, service, fault);
            assert!(
                aws.requests(service) <= most_requests(fault, began),
                "{fault:?}: {} requests",
                aws.requests(service)
            );
            aws.recovers();
            let live = until("the secret", async || keyring.get(&bot).await.ok()).await;
            assert_eq!(live.current().keys.token.expose_secret(), "planted-secret-1");
            let before = aws.requests(service);
            assert!(accepts(&keyring, 1).await.expect("a secret"));
            assert_eq!(aws.requests(service), before, "it is in memory");
        }
    }
}

#[tokio::test]
async fn without_any_endpoint_the_error_says_so() {
    // Nobody listens where somebody has just stopped.
    let address =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let config = fake::config(format!("http://{address}"), DEADLINE);
    let place = Place::at(&config, KEYS.into(), Uses::new(&config, USAGE.into()), LONG);
    let keyring: Keyring<Keys> = Keyring::new(place, Channel::Telegram, Purpose::Send);
    let error = keyring.get(&bot()).await.expect_err("no secret").to_string();
    assert!(error.starts_with("reading a key failed: dispatch failure"), "{error}");
}

#[tokio::test]
async fn a_secret_in_memory_serves_until_its_time_is_over_and_not_after() {
    let cached = Duration::from_millis(1500);
    for service in [Service::Kms, Service::DynamoDb] {
        let aws = Aws::start().await;
        let keyring = keyring(&aws, cached);
        aws.put(KEY, 1, "current", &secret(1));
        let began = Instant::now();
        keyring.get(&bot()).await.expect("a secret");
        let fetched = Instant::now();
        aws.breaks(service, Fault::Denied);
        let (error, failed) = until("the end of the secret", async || {
            let asked = Instant::now();
            let error = accepts(&keyring, 1).await.err();
            assert!(error.is_some() || asked - fetched < cached, "{service:?}: used after {:?}", asked - fetched);
            error.map(|error| (error, asked))
        })
        .await;
        assert!(began.elapsed() >= cached, "{service:?}: after {:?}", began.elapsed());
        assert!(matches!(error, KeyringError::Call { .. }), "{error}");
        // While it fails it is asked for once a second.
        let before = aws.requests(Service::DynamoDb);
        until("a second round", async || {
            accepts(&keyring, 1).await.expect_err("no secret");
            (aws.requests(Service::DynamoDb) > before).then_some(())
        })
        .await;
        assert!(failed.elapsed() >= FAILURE, "{service:?}: after {:?}", failed.elapsed());
        assert_eq!(aws.requests(Service::DynamoDb), before + 1);
    }
}

#[tokio::test]
async fn a_revoked_version_is_refused_after_the_cache_time() {
    let cached = Duration::from_millis(1500);
    let aws = Aws::start().await;
    let keyring = keyring(&aws, cached);
    aws.put(KEY, 1, "previous", &secret(1));
    aws.put(KEY, 2, "current", &secret(2));
    let began = Instant::now();
    assert!(accepts(&keyring, 1).await.expect("a secret") && accepts(&keyring, 2).await.expect("a secret"));
    let fetched = Instant::now();
    aws.moves(KEY, 1, "revoked");
    until("the refusal", async || {
        let asked = Instant::now();
        let refused = !accepts(&keyring, 1).await.expect("a secret");
        assert!(refused || asked - fetched < cached, "accepted after {:?}", asked - fetched);
        refused.then_some(())
    })
    .await;
    assert!(began.elapsed() >= cached, "after {:?}", began.elapsed());
    assert!(accepts(&keyring, 2).await.expect("a secret"), "the other one is not");
}

#[tokio::test]
async fn forged_requests_cause_one_more_read_per_while_and_no_decryption() {
    let aws = Aws::start().await;
    let keyring = keyring(&aws, LONG);
    aws.put(KEY, 1, "current", &secret(1));
    let began = Instant::now();
    keyring.get(&bot()).await.expect("a secret");
    until("two more reads", async || {
        // Many at a time, however fast they are.
        for _ in 0..100 {
            assert!(!accepts(&keyring, 9).await.expect("a secret"));
        }
        (aws.requests(Service::DynamoDb) >= 3).then_some(())
    })
    .await;
    let reads = aws.requests(Service::DynamoDb) - 1;
    let most = times(began, LOOK_AGAIN);
    assert!(reads <= most, "{reads} more reads in {:?}", began.elapsed());
    assert_eq!(aws.requests(Service::Kms), 1, "what is known is not decrypted again");
}

#[tokio::test]
async fn forged_requests_cause_no_more_reads_while_the_table_fails() {
    let aws = Aws::start().await;
    let keyring = keyring(&aws, LONG);
    aws.put(KEY, 1, "current", &secret(1));
    keyring.get(&bot()).await.expect("a secret");
    aws.breaks(Service::DynamoDb, Fault::Denied);
    // One of them finds out that newer versions cannot be read; the others are refused by what is known.
    let (error, failed) = until("a failed read", async || {
        let asked = Instant::now();
        Some((accepts(&keyring, 9).await.err()?, asked))
    })
    .await;
    is_clear(&error, "reading a key", Service::DynamoDb, Fault::Denied);
    let mut reads = 2;
    for _ in 0..100 {
        match accepts(&keyring, 9).await {
            Ok(accepted) => assert!(!accepted),
            // The machine took so long that it was time to look again.
            Err(_) => reads += 1,
        }
    }
    assert!(accepts(&keyring, 1).await.expect("a secret"), "what is in memory goes on");
    assert_eq!(aws.requests(Service::DynamoDb), reads);
    let most = 2 + times(failed, LOOK_AGAIN);
    assert!(reads <= most, "{reads} reads in {:?}", failed.elapsed());
}

#[tokio::test]
async fn a_pending_version_is_found_without_waiting_for_the_cache() {
    let aws = Aws::start().await;
    let keyring = keyring(&aws, LONG);
    aws.put(KEY, 1, "current", &secret(1));
    assert!(!accepts(&keyring, 2).await.expect("a secret"));
    let looked = Instant::now();
    aws.put(KEY, 2, "pending", &secret(2));
    until("the new version", async || {
        let asked = Instant::now();
        let accepted = accepts(&keyring, 2).await.expect("a secret");
        assert!(accepted || asked - looked < LOOK_AGAIN, "not found after {:?}", asked - looked);
        accepted.then_some(())
    })
    .await;
    assert_eq!(aws.requests(Service::Kms), 2, "only the new version was decrypted");
    assert!(accepts(&keyring, 1).await.expect("a secret"), "the one before still works");
}

#[tokio::test]
async fn a_secret_of_another_shape_is_not_quoted() {
    let aws = Aws::start().await;
    let keyring = keyring(&aws, LONG);
    aws.put(KEY, 1, "current", &json!({"tokne": PLANTED, "token": [PLANTED]}));
    let error = keyring.get(&bot()).await.expect_err("no keys");
    assert!(matches!(error, KeyringError::Shape(_)), "{error}");
    assert!(!format!("{error} {error:?}").contains(PLANTED), "{error:?}");
}

fn vault(aws: &Aws) -> Vault {
    let config = aws.config();
    Vault::new(&config, KEYS.into(), "alias/hoopoe".into(), audit(&config))
}

fn audit(config: &SdkConfig) -> Audit {
    Audit::new(config, "audit".into(), Actor { who: "test".into(), origin: "test".into() }, LONG)
}

#[tokio::test]
async fn only_a_condition_that_does_not_hold_is_told_as_somebody_elses_change() {
    let aws = Aws::start().await;
    let (vault, config) = (vault(&aws), aws.config());
    let operator = Operator::new(&config, KEYS.into(), audit(&config));
    let name = KeyName { channel: Channel::Telegram, bot: bot(), purpose: Purpose::Send };
    for reasons in [["ThrottlingError", "None"], ["None", "TransactionConflict"], ["ValidationError", "None"]] {
        aws.cancels(&reasons);
        let error = vault.add(&name, b"{}").await.expect_err("nothing is stored");
        assert!(matches!(error, KeyringError::Call { .. }), "{reasons:?}: {error}");
        assert!(error.to_string().contains(reasons.join(", ").as_str()), "{reasons:?}: {error}");
        let error = operator.create(false).await.expect_err("nothing is stored");
        assert!(matches!(error, KeyringError::Call { .. }), "{reasons:?}: {error}");
    }
    aws.cancels(&["ConditionalCheckFailed", "None"]);
    let error = vault.add(&name, b"{}").await.expect_err("nothing is stored");
    assert!(matches!(error, KeyringError::Conflict(_)), "{error}");
    assert!(operator.create(false).await.expect("an answer").is_none(), "there is one already");
}

#[tokio::test]
async fn of_more_bots_than_are_kept_those_used_last_are_in_memory() {
    const KEPT: usize = 64;
    let aws = Aws::start().await;
    let keyring = keyring(&aws, DEADLINE);
    let name = |number: usize| format!("bot-{number}").parse::<BotId>().expect("a name");
    let get = async |number| {
        let before = aws.requests(Service::DynamoDb);
        keyring.get(&name(number)).await.expect("a secret");
        aws.requests(Service::DynamoDb) > before
    };
    for number in 0..KEPT + 10 {
        aws.put(&format!("telegram/bot-{number}/send"), 1, "current", &secret(1));
        assert!(get(number).await, "bot {number} is asked for");
        assert!(!get(0).await, "bot 0 is used all the time");
    }
    for number in 11..KEPT + 10 {
        assert!(!get(number).await, "bot {number} is in memory");
    }
    for number in 1..11 {
        assert!(get(number).await, "bot {number} had to go");
    }
    // Names that do not exist drive nobody out, nor do those that cannot be read.
    for number in 200..300 {
        keyring.get(&name(number)).await.expect_err("no secret");
    }
    aws.breaks(Service::DynamoDb, Fault::Denied);
    for number in 300..400 {
        keyring.get(&name(number)).await.expect_err("no secret");
    }
    assert!(!get(10).await && !get(KEPT + 9).await);
}

#[tokio::test]
async fn a_secret_that_is_long_in_coming_keeps_no_other_bot_waiting() {
    let aws = Aws::start_for(Fault::Hanging).await;
    let keyring = keyring(&aws, DEADLINE);
    aws.put(KEY, 1, "current", &secret(1));
    until("the secret", async || keyring.get(&bot()).await.ok()).await;
    aws.breaks(Service::DynamoDb, Fault::Hanging);
    let other = "other".parse().expect("a name");
    let mut long = std::pin::pin!(keyring.get(&other));
    assert!(futures_util::poll!(&mut long).is_pending());
    let bot = bot();
    let known = std::pin::pin!(keyring.get(&bot));
    assert!(futures_util::poll!(known).is_ready(), "it is in memory");
    long.await.expect_err("no secret");
}

#[tokio::test]
async fn a_large_secret_is_sealed_in_an_envelope_that_opens_at_its_place_only() {
    let aws = Aws::start().await;
    let vault = vault(&aws);
    let name =
        |bot: &str| KeyName { channel: Channel::Telegram, bot: bot.parse().expect("a name"), purpose: Purpose::Send };
    let (large, other) = (PLANTED.repeat(1500), "other".repeat(4000));
    assert!(large.len() > 20_000 && other.len() == 20_000);
    for (bot, token) in [("main", &large), ("other", &other)] {
        let keys = json!({ "token": token }).to_string();
        assert_eq!(vault.add(&name(bot), keys.as_bytes()).await.expect("stored").number, 1);
    }
    for part in ["ciphertext", "sealed"] {
        let stored = aws.attribute(KEY, 1, part).expect("it is there");
        assert!(!stored.windows(PLANTED.len()).any(|window| window == PLANTED.as_bytes()), "{part} is readable");
    }
    assert!(aws.attribute(KEY, 1, "sealed").is_some_and(|sealed| sealed.len() > 20_000));

    let keyring = keyring(&aws, LONG);
    let get = async |bot: &str| keyring.get(&bot.parse().expect("a name")).await;
    assert_eq!(get("main").await.expect("a secret").current().keys.token.expose_secret(), large);

    // All of it at another place: the context is another, and KMS refuses.
    aws.copies((KEY, 1), "telegram/thief/send", &[]);
    let error = get("thief").await.expect_err("no secret");
    assert!(error.to_string().starts_with("decrypting a key failed: InvalidCiphertextException"), "{error}");
    // The sealed part alone beside another bot's data key: KMS agrees, and the seal does not open.
    aws.copies((KEY, 1), "telegram/other/send", &["sealed"]);
    let error = get("other").await.expect_err("no secret");
    assert_eq!(error.to_string(), "decrypting a key failed: the answer is not what KMS documents");
}

#[tokio::test]
async fn what_is_in_memory_is_not_shown() {
    let aws = Aws::start().await;
    let (keyring, tokens) = (keyring(&aws, LONG), tokens::tokens(&aws));
    aws.put(KEY, 1, "current", &secret(1));
    let live = keyring.get(&bot()).await.expect("a secret");
    tokens::get(&tokens, 1, LONG).await.expect("a token");
    assert_eq!(live.current().keys.token.expose_secret(), "planted-secret-1");
    for shown in [format!("{live:?}"), format!("{keyring:?}"), format!("{tokens:?}")] {
        assert!(!shown.contains(PLANTED), "{shown}");
    }
}
