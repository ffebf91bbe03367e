//! Access tokens are fetched by one function for all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use e2e::Stack;
use e2e::wait::eventually;
use hoopoe_keyring::{AccessToken, Tokens};
use hoopoe_message::{BotId, Channel, Timestamp};
use secrecy::{ExposeSecret, SecretString};

/// As many functions, each with a memory of its own.
const FUNCTIONS: usize = 50;

fn functions(stack: &Stack) -> Vec<Arc<Tokens<&'static str>>> {
    let table = stack.output("TokensTableName");
    let key = stack.output("KeyAlias");
    (0..FUNCTIONS).map(|_| Arc::new(Tokens::new(&stack.config, table.to_owned(), key.to_owned()))).collect()
}

/// Asks all at once and returns the tokens they got.
async fn all_ask(
    functions: &[Arc<Tokens<&'static str>>],
    bot: &BotId,
    fetches: &Arc<AtomicU32>,
    lifetime: Duration,
) -> Vec<AccessToken> {
    let asked = functions.iter().map(|tokens| {
        let (tokens, bot, fetches) = (Arc::clone(tokens), bot.clone(), Arc::clone(fetches));
        tokio::spawn(async move {
            let fetch = || {
                let fetches = Arc::clone(&fetches);
                async move {
                    let count = fetches.fetch_add(1, Ordering::SeqCst) + 1;
                    // The platform takes its time, and the others come meanwhile.
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    Ok((SecretString::from(format!("token-{count}")), lifetime))
                }
            };
            tokens.get(Channel::Wecom, &bot, 1, deadline(), fetch).await.expect("a token")
        })
    });
    let mut tokens = Vec::new();
    for asked in asked.collect::<Vec<_>>() {
        tokens.push(asked.await.expect("it does not panic"));
    }
    tokens
}

/// As [`all_ask`], the secrets alone.
async fn all_get(
    functions: &[Arc<Tokens<&'static str>>],
    bot: &BotId,
    fetches: &Arc<AtomicU32>,
    lifetime: Duration,
) -> Vec<String> {
    let tokens = all_ask(functions, bot, fetches, lifetime).await;
    tokens.iter().map(|token| token.secret.expose_secret().to_owned()).collect()
}

/// Nobody waits so long here.
fn deadline() -> Timestamp {
    Timestamp::now().plus(Duration::from_secs(300))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stampede_makes_one_call_and_a_rejected_token_one_more() {
    let stack = Stack::open().await;
    let bot: BotId = Stack::new_bot().parse().expect("a name");
    let (functions, fetches) = (functions(&stack), Arc::new(AtomicU32::new(0)));
    let hours = Duration::from_secs(7200);

    let tokens = all_ask(&functions, &bot, &fetches, hours).await;
    assert!(tokens.iter().all(|token| token.secret.expose_secret() == "token-1"), "not one token for all");
    let refused = tokens[0].generation;
    assert_eq!(fetches.load(Ordering::SeqCst), 1);

    // The platform says it is no good: whoever hears of it says so, and it is fetched once more.
    for tokens in &functions[..5] {
        tokens.reject(Channel::Wecom, &bot, refused);
    }
    let tokens = all_get(&functions[..5], &bot, &fetches, hours).await;
    assert!(tokens.iter().all(|token| token == "token-2"), "{tokens:?}");
    assert_eq!(fetches.load(Ordering::SeqCst), 2);
    // A function that hears late that the first one is no good does not end the second one.
    functions[9].reject(Channel::Wecom, &bot, refused);
    assert_eq!(all_get(&functions[9..10], &bot, &fetches, hours).await, ["token-2"]);
    assert_eq!(fetches.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_never_used_past_its_end_and_never_readable_in_the_table() {
    let stack = Stack::open().await;
    let bot: BotId = Stack::new_bot().parse().expect("a name");
    let (functions, fetches) = (functions(&stack), Arc::new(AtomicU32::new(0)));
    // The first one has to be in the second function's hands before its end, on whatever machine: its life is doubled
    // until it is.
    let mut lifetime = Duration::from_millis(900);
    let (first, since) = loop {
        let began = Instant::now();
        let tokens = all_get(&functions[..2], &bot, &fetches, lifetime).await;
        if began.elapsed() < lifetime {
            break (tokens, Instant::now());
        }
        lifetime *= 2;
    };
    assert_eq!(first[0], first[1], "one was fetched for both");
    let items = stack.dynamodb.scan().table_name(stack.output("TokensTableName")).send().await.expect("a table");
    assert!(!format!("{items:?}").contains(&first[0]), "it stands there encrypted");
    eventually("the end of the first token", async || {
        let asked = since.elapsed();
        let tokens = all_get(&functions[..2], &bot, &fetches, Duration::from_secs(7200)).await;
        let ended = tokens.iter().all(|token| *token != first[0]);
        assert!(ended || asked < lifetime, "it is used {asked:?} after it was fetched for {lifetime:?}");
        ended.then(|| assert_eq!(tokens[0], tokens[1]))
    })
    .await;
}

#[tokio::test]
async fn a_function_that_cannot_fetch_leaves_the_way_free() {
    let stack = Stack::open().await;
    let bot: BotId = Stack::new_bot().parse().expect("a name");
    let functions = functions(&stack);
    let refused = functions[0].get(Channel::Wecom, &bot, 1, deadline(), || async { Err("the platform is down") }).await;
    assert!(refused.is_err());
    let fetches = Arc::new(AtomicU32::new(0));
    assert_eq!(all_get(&functions[1..2], &bot, &fetches, Duration::from_secs(7200)).await, ["token-1"]);
}
