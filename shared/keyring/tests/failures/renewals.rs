//! Renewals of access tokens, with tokio's time paused: who waits for what, and how often the platform is asked.

use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use hoopoe_aws::{Clock, SdkConfig};
use hoopoe_keyring::{AccessToken, TokenError, Tokens};
use hoopoe_message::{BotId, Channel};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, sleep};

use crate::fake::{Aws, DEADLINE, TOKENS};
use crate::{LONG, PLANTED, bot};

type Fetched = Result<(SecretString, Duration), &'static str>;

const HOURS: Duration = Duration::from_secs(7200);
const SLOW: Duration = Duration::from_secs(8);

/// A function in a test whose time is paused, and the platform as it sees it.
struct Function {
    tokens: Tokens<&'static str>,
    clock: Clock,
}

impl Function {
    fn start(config: &SdkConfig) -> Self {
        Self { tokens: Tokens::new(config, TOKENS.into(), "alias/hoopoe".into()), clock: Clock::new(config) }
    }

    /// Gets the token of a bot, with a deadline in so much time.
    async fn get_of<F: Future<Output = Fetched> + Send + 'static>(
        &self,
        bot: &str,
        within: Duration,
        fetch: impl Fn() -> F,
    ) -> Result<AccessToken, TokenError<&'static str>> {
        let bot: BotId = bot.parse().expect("a name");
        self.tokens.get(Channel::Wecom, &bot, 1, self.clock.now().plus(within), fetch).await
    }

    async fn get<F: Future<Output = Fetched> + Send + 'static>(
        &self,
        fetch: impl Fn() -> F,
    ) -> Result<AccessToken, TokenError<&'static str>> {
        self.get_of("main", DEADLINE, fetch).await
    }
}

/// A platform's token endpoint that takes its time and counts.
#[derive(Clone)]
struct Endpoint {
    takes: Duration,
    works: bool,
    asked: Arc<AtomicUsize>,
}

impl Endpoint {
    fn new(takes: Duration) -> Self {
        Self { takes, works: true, asked: Arc::default() }
    }

    fn broken(&self) -> Self {
        Self { works: false, ..self.clone() }
    }

    fn fetch(&self) -> impl Future<Output = Fetched> + Send + 'static + use<> {
        let Self { takes, works, asked } = self.clone();
        async move {
            let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
            sleep(takes).await;
            if works { Ok((SecretString::from(format!("{PLANTED}-{number}")), HOURS)) } else { Err("no") }
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn secret_of(token: &AccessToken) -> &str {
    token.secret.expose_secret()
}

#[tokio::test(start_paused = true)]
async fn ten_callers_wait_for_one_fetch_and_hear_of_its_failure_together() {
    let (aws, endpoint) = (Aws::start().await, Endpoint::new(SLOW).broken());
    let function = Function::start(&aws.config_without_network());
    let began = Instant::now();
    for got in join_all((0..10).map(|_| function.get(|| endpoint.fetch()))).await {
        assert!(matches!(got, Err(TokenError::Fetch("no"))), "{got:?}");
    }
    assert_eq!(endpoint.asked(), 1);
    assert_eq!(began.elapsed().as_secs(), SLOW.as_secs());
    // It is known for a moment.
    let got = function.get(|| endpoint.fetch()).await;
    assert!(matches!(got, Err(TokenError::Fetch("no"))), "{got:?}");
    assert_eq!((endpoint.asked(), began.elapsed().as_secs()), (1, SLOW.as_secs()));
    // And not longer: nobody is told of an old failure.
    sleep(LONG).await;
    let mended = Endpoint { works: true, ..endpoint.clone() };
    assert_eq!(secret_of(&function.get(|| mended.fetch()).await.expect("a token")), "planted-secret-2");
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_nobody_waited_for_is_told_to_nobody_later() {
    let (aws, endpoint) = (Aws::start().await, Endpoint::new(SLOW));
    let function = Function::start(&aws.config_without_network());
    let broken = endpoint.broken();
    let got = function.get_of("main", Duration::from_secs(1), || broken.fetch()).await;
    assert!(matches!(got, Err(TokenError::Late)), "{got:?}");
    sleep(LONG).await;
    function.get(|| endpoint.fetch()).await.expect("a token");
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_are_known_for_longer_and_a_token_ends_the_row() {
    let (aws, endpoint) = (Aws::start().await, Endpoint::new(Duration::ZERO));
    let function = Function::start(&aws.config_without_network());
    let broken = endpoint.broken();
    for round in 0..2 {
        let (mut pauses, mut last) = (Vec::new(), Instant::now());
        let mut asked = endpoint.asked();
        while pauses.len() < 7 {
            function.get(|| broken.fetch()).await.expect_err("no token");
            if endpoint.asked() > asked {
                asked = endpoint.asked();
                pauses.push(last.elapsed().as_secs());
                last = Instant::now();
            }
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(pauses, [0, 1, 2, 4, 8, 10, 10], "round {round}");
        let token = until_given(&function, &endpoint).await;
        // The token is refused, and the next one is not to be had.
        function.tokens.reject(Channel::Wecom, &bot(), token.generation);
    }
}

async fn until_given(function: &Function, endpoint: &Endpoint) -> AccessToken {
    loop {
        if let Ok(token) = function.get(|| endpoint.fetch()).await {
            return token;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_bot_whose_platform_hangs_keeps_no_other_bot_waiting() {
    let (aws, endpoint) = (Aws::start().await, Endpoint::new(Duration::ZERO));
    let function = Function::start(&aws.config_without_network());
    let began = Instant::now();
    let hanging = function.get_of("hanging", SLOW, pending);
    let other = async {
        function.get_of("other", SLOW, || endpoint.fetch()).await.expect("a token");
        began.elapsed()
    };
    let (hanging, other) = tokio::join!(hanging, other);
    assert!(matches!(hanging, Err(TokenError::Late)), "{hanging:?}");
    assert_eq!((other.as_secs(), began.elapsed().as_secs()), (0, SLOW.as_secs()));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_still_good_is_given_at_once_while_one_renews_it() {
    let (aws, endpoint) = (Aws::start().await, Endpoint::new(SLOW));
    let config = aws.config_without_network();
    let function = Function::start(&config);
    let old = function.get(|| endpoint.fetch()).await.expect("a token");
    sleep(HOURS - Duration::from_secs(200)).await;
    let asked = Instant::now();
    for got in join_all((0..10).map(|_| function.get(|| endpoint.fetch()))).await {
        assert_eq!(got.expect("the old one").generation, old.generation);
    }
    assert_eq!(asked.elapsed(), Duration::ZERO);
    // Nor does a function wait that knows of none yet.
    let other = Function::start(&config);
    assert_eq!(other.get(|| endpoint.fetch()).await.expect("the old one").generation, old.generation);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    sleep(SLOW + Duration::from_secs(1)).await;
    for function in [function, other] {
        function.get(|| endpoint.fetch()).await.expect("a token");
        // The other one looks into the table meanwhile.
        sleep(Duration::from_secs(1)).await;
        let new = function.get(|| endpoint.fetch()).await.expect("the new one");
        assert_eq!((new.generation, secret_of(&new)), (old.generation + 1, "planted-secret-2"));
    }
    assert_eq!(endpoint.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_function_without_a_token_is_given_the_tables_while_it_renews_it() {
    let (aws, endpoint) = (Aws::start().await, Endpoint::new(SLOW));
    let config = aws.config_without_network();
    let old = Function::start(&config).get(|| endpoint.fetch()).await.expect("a token");
    sleep(HOURS - Duration::from_secs(200)).await;
    let (function, asked) = (Function::start(&config), Instant::now());
    let given = function.get(|| endpoint.fetch()).await.expect("the old one");
    assert_eq!((given.generation, secret_of(&given)), (old.generation, "planted-secret-1"));
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    sleep(SLOW + Duration::from_secs(1)).await;
    assert_eq!(secret_of(&function.get(|| endpoint.fetch()).await.expect("the new one")), "planted-secret-2");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_renewed_serves_until_its_end() {
    let (aws, endpoint) = (Aws::start().await, Endpoint::new(SLOW));
    let function = Function::start(&aws.config_without_network());
    let old = function.get(|| endpoint.fetch()).await.expect("a token");
    let (began, broken) = (Instant::now(), endpoint.broken());
    loop {
        sleep(Duration::from_secs(10)).await;
        let asked = Instant::now();
        match function.get(|| broken.fetch()).await {
            Ok(token) => {
                assert_eq!((token.generation, asked.elapsed()), (old.generation, Duration::ZERO));
                assert!(began.elapsed() < HOURS);
            }
            Err(error) => {
                assert!(matches!(error, TokenError::Fetch("no")), "{error}");
                break;
            }
        }
    }
    // Half a minute before its end, and the last round.
    assert!(began.elapsed() > HOURS - Duration::from_secs(60), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_beyond_his_deadline() {
    let (aws, endpoint) = (Aws::start().await, Endpoint::new(Duration::from_secs(12)));
    let config = aws.config_without_network();
    let (function, other) = (Function::start(&config), Function::start(&config));
    let began = Instant::now();
    let get = async |function: &Function, seconds| {
        let got = function.get_of("main", Duration::from_secs(seconds), || endpoint.fetch()).await;
        (got, began.elapsed().as_secs())
    };
    // One fetches; the others wait for the same fetch, here and in another function.
    let results = tokio::join!(get(&function, 3), get(&function, 5), get(&other, 7), get(&function, 0));
    for ((got, waited), deadline) in [(results.0, 3), (results.1, 5), (results.2, 7), (results.3, 0)] {
        assert!(matches!(got, Err(TokenError::Late)), "{got:?}");
        assert_eq!(waited, deadline);
    }
    // It went on all the same, and its token serves both.
    for function in [function, other] {
        assert_eq!(secret_of(&get(&function, 30).await.0.expect("a token")), "planted-secret-1");
    }
    assert_eq!(endpoint.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn late_refusals_of_an_old_token_cause_one_fetch() {
    let (aws, endpoint) = (Aws::start().await, Endpoint::new(Duration::from_millis(300)));
    let config = aws.config_without_network();
    let functions = [Function::start(&config), Function::start(&config)];
    let old = functions[0].get(|| endpoint.fetch()).await.expect("a token");
    let known = functions[1].get(|| endpoint.fetch()).await.expect("the same");
    assert_eq!(known.generation, old.generation);
    // Eight sends with it are refused, in two functions, some of them long after the new one is there.
    let refused = (0..8_u64).map(|number| {
        let function = &functions[usize::from(number % 2 == 1)];
        let (endpoint, old) = (&endpoint, &old);
        async move {
            sleep(Duration::from_millis(200 * number)).await;
            function.tokens.reject(Channel::Wecom, &bot(), old.generation);
            let new = function.get(|| endpoint.fetch()).await.expect("a token");
            assert_eq!((new.generation, secret_of(&new)), (old.generation + 1, "planted-secret-2"));
        }
    });
    join_all(refused).await;
    assert_eq!(endpoint.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_lost_the_lock_does_not_put_a_voided_token_over_a_newer_one() {
    let (aws, endpoint) = (Aws::start().await, Endpoint::new(SLOW));
    let config = aws.config_without_network();
    let (slow, fast) = (Function::start(&config), Function::start(&config));
    let late = slow.get(|| endpoint.fetch());
    let overtaking = async {
        sleep(Duration::from_secs(1)).await;
        aws.ends_lock("wecom/main");
        let quick = Endpoint { takes: Duration::ZERO, ..endpoint.clone() };
        fast.get(|| quick.fetch()).await
    };
    let (late, newer) = tokio::join!(late, overtaking);
    let newer = newer.expect("a token");
    assert_eq!((secret_of(&newer), endpoint.asked()), ("planted-secret-2", 2));
    let late = late.expect("a token");
    assert_eq!((secret_of(&late), late.generation), (secret_of(&newer), newer.generation));
    let stored = aws.token_item("wecom/main").expect("an item");
    assert_eq!(stored["generation"]["N"], newer.generation.to_string());
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_the_table_that_gets_lost_costs_neither_a_wait_nor_a_fetch() {
    let (aws, endpoint) = (Aws::start().await, Endpoint::new(Duration::ZERO));
    let config = aws.config_without_network();
    let (function, began) = (Function::start(&config), Instant::now());
    // The lock is taken, and nobody hears of it; then the token is stored, and nobody hears of it.
    aws.loses_answers(1);
    let aws = Arc::new(aws);
    let fetch = || {
        let (aws, fetch) = (Arc::clone(&aws), endpoint.fetch());
        async move {
            aws.loses_answers(1);
            fetch.await
        }
    };
    let token = function.get(fetch).await.expect("a token");
    let other = Function::start(&config).get(|| endpoint.fetch()).await.expect("the same");
    assert_eq!((endpoint.asked(), other.generation), (1, token.generation));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_generation_never_comes_twice() {
    let (aws, endpoint) = (Aws::start().await, Endpoint::new(Duration::ZERO));
    let function = Function::start(&aws.config_without_network());
    let mut generations = Vec::new();
    for _ in 0..3 {
        let token = function.get(|| endpoint.fetch()).await.expect("a token");
        function.tokens.reject(Channel::Wecom, &bot(), token.generation);
        generations.push(token.generation);
        aws.deletes_token("wecom/main");
        sleep(Duration::from_secs(1)).await;
    }
    assert!(generations.is_sorted_by(|a, b| a < b), "{generations:?}");
    assert_eq!(endpoint.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_a_platform_says_of_one_version_of_a_key_is_not_said_of_another() {
    let (aws, endpoint) = (Aws::start().await, Endpoint::new(Duration::ZERO));
    let function = Function::start(&aws.config_without_network());
    let (bot, broken, deadline) = (bot(), endpoint.broken(), function.clock.now().plus(LONG));
    let get = |version| function.tokens.get(Channel::Wecom, &bot, version, deadline, || broken.fetch());
    for version in [2, 1, 2, 1] {
        get(version).await.expect_err("no token");
    }
    assert_eq!(endpoint.asked(), 2, "each is asked with once");
    let both = async |version, endpoint: &Endpoint| {
        function.tokens.get(Channel::Dingtalk, &bot, version, deadline, || endpoint.fetch()).await
    };
    let slow = Endpoint { takes: SLOW, ..endpoint.clone() };
    let slow_no = slow.broken();
    let (refused, accepted) = tokio::join!(both(2, &slow_no), both(1, &slow));
    assert!(refused.is_err() && accepted.is_ok(), "{refused:?} {accepted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_ends_with_its_function_and_one_that_panics_with_an_error() {
    let aws = Aws::start().await;
    let config = aws.config_without_network();
    let function = Function::start(&config);
    let alive = Arc::new(());
    let fetch = || {
        let alive = Arc::clone(&alive);
        async move {
            let _alive = alive;
            pending().await
        }
    };
    let got = function.get_of("main", Duration::from_secs(1), fetch).await;
    assert!(matches!(got, Err(TokenError::Late)), "{got:?}");
    drop(function);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(Arc::strong_count(&alive), 1, "nothing holds it any more");

    let function = Function::start(&config);
    let got = function.get_of("other", LONG, || async { panic!("this test means it") }).await;
    assert!(matches!(got, Err(TokenError::Late)), "{got:?}");
    let endpoint = Endpoint::new(Duration::ZERO);
    assert_eq!(secret_of(&until_given(&function, &endpoint).await), "planted-secret-1");
}
