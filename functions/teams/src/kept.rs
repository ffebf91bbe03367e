//! Keeping what is fetched from URLs, whatever it is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What is kept is used for so long, and then fetched again ("Authentication with the Bot Connector API": new keys appear a
/// day before they are used).
pub(crate) const FRESH: Duration = Duration::from_secs(24 * 3600);

/// What cannot be fetched again is used for so long all the same.
pub(crate) const STALE: Duration = Duration::from_secs(7 * 24 * 3600);

/// If something newer is wanted, it is fetched no more often than this: anybody can name a key that is not there.
pub(crate) const NEWER: Duration = Duration::from_secs(3600);

/// A failure is remembered for so long at first, twice as long after each further one, and at most for the second.
pub(crate) const FAILURE: Duration = Duration::from_secs(1);
pub(crate) const FAILURE_MOST: Duration = Duration::from_secs(60);

/// Things by the URL they were fetched from.
#[derive(Debug)]
pub(crate) struct Kept<T, E> {
    /// Never held while anything is waited for.
    urls: Mutex<HashMap<String, Arc<Url<T, E>>>>,
}

#[derive(Debug)]
struct Url<T, E> {
    /// Held while it is fetched: requests that come together cause one fetch.
    fetching: tokio::sync::Mutex<()>,
    known: Mutex<Known<T, E>>,
}

#[derive(Debug)]
struct Known<T, E> {
    found: Option<(T, Instant)>,
    failure: Option<Failure<E>>,
}

#[derive(Clone, Debug)]
struct Failure<E> {
    error: E,
    since: Instant,
    lasts: Duration,
}

impl<T, E> Default for Kept<T, E> {
    fn default() -> Self {
        Self { urls: Mutex::default() }
    }
}

impl<T, E> Default for Url<T, E> {
    fn default() -> Self {
        Self { fetching: tokio::sync::Mutex::default(), known: Mutex::new(Known { found: None, failure: None }) }
    }
}

impl<T: Clone, E: Clone> Kept<T, E> {
    /// What stands at `url`: as it is known, or fetched. With `newer`, what is known is fetched again, but not often.
    ///
    /// # Errors
    ///
    /// What `fetch` says, now or a moment ago, if nothing is known that may still be used.
    pub(crate) async fn get(&self, url: &str, newer: bool, fetch: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let url = self.url(url);
        if let Some(answer) = url.answer(newer) {
            return answer;
        }
        let _fetching = url.fetching.lock().await;
        // Perhaps another request has fetched it meanwhile.
        if let Some(answer) = url.answer(newer) {
            return answer;
        }
        let fetched = fetch.await;
        url.learn(fetched)
    }

    fn url(&self, url: &str) -> Arc<Url<T, E>> {
        let mut urls = self.urls.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(urls.entry(url.to_owned()).or_default())
    }
}

impl<T: Clone, E: Clone> Url<T, E> {
    /// `None` if it has to be fetched.
    fn answer(&self, newer: bool) -> Option<Result<T, E>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let good_for = if newer { NEWER } else { FRESH };
        if let Some((found, since)) = &known.found
            && since.elapsed() < good_for
        {
            return Some(Ok(found.clone()));
        }
        let failure = known.failure.as_ref().filter(|failure| failure.since.elapsed() < failure.lasts)?;
        Some(known.usable().ok_or_else(|| failure.error.clone()))
    }

    fn learn(&self, fetched: Result<T, E>) -> Result<T, E> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match fetched {
            Ok(found) => {
                *known = Known { found: Some((found.clone(), Instant::now())), failure: None };
                Ok(found)
            }
            Err(error) => {
                let lasts = known.failure.as_ref().map_or(FAILURE, |last| (last.lasts * 2).min(FAILURE_MOST));
                known.failure = Some(Failure { error: error.clone(), since: Instant::now(), lasts });
                known.usable().ok_or(error)
            }
        }
    }
}

impl<T: Clone, E> Known<T, E> {
    /// What may be used if it cannot be fetched again.
    fn usable(&self) -> Option<T> {
        self.found.as_ref().filter(|(_, since)| since.elapsed() < STALE).map(|(found, _)| found.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use tokio::time::{advance, sleep};

    const SECOND: Duration = Duration::from_secs(1);

    /// A place that counts how often it is asked, and gives the count.
    #[derive(Default)]
    struct Source {
        asked: Cell<u32>,
        broken: Cell<bool>,
        takes: Cell<Duration>,
    }

    impl Source {
        async fn get(&self, kept: &Kept<u32, &'static str>, newer: bool) -> Result<u32, &'static str> {
            let fetch = async {
                self.asked.set(self.asked.get() + 1);
                let asked = self.asked.get();
                sleep(self.takes.get()).await;
                if self.broken.get() { Err("broken") } else { Ok(asked) }
            };
            kept.get("https://keys", newer, fetch).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_serves_for_a_day_and_stale_while_it_cannot_be_fetched_again() {
        let (kept, source) = (Kept::default(), Source::default());
        assert_eq!(source.get(&kept, false).await, Ok(1));
        advance(FRESH - SECOND).await;
        assert_eq!((source.get(&kept, false).await, source.asked.get()), (Ok(1), 1));
        source.broken.set(true);
        let mut aged = FRESH - SECOND;
        while aged + FAILURE_MOST < STALE {
            advance(FAILURE_MOST).await;
            aged += FAILURE_MOST;
            assert_eq!(source.get(&kept, false).await, Ok(1), "{aged:?} old");
        }
        advance(FAILURE_MOST).await;
        assert_eq!(source.get(&kept, false).await, Err("broken"));
        advance(FAILURE_MOST).await;
        source.broken.set(false);
        assert_eq!(source.get(&kept, false).await, Ok(source.asked.get()));
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_come_together_cause_one_fetch_and_other_urls_do_not_wait() {
        let (kept, source) = (Kept::default(), Source::default());
        source.broken.set(true);
        source.takes.set(3 * SECOND);
        let began = Instant::now();
        let other = async {
            let got = kept.get("https://other", false, async { Ok(7) }).await;
            assert_eq!((got, began.elapsed()), (Ok(7), Duration::ZERO));
        };
        let get = || source.get(&kept, false);
        let (one, two, three, ()) = tokio::join!(get(), get(), get(), other);
        assert_eq!([one, two, three], [Err("broken"); 3]);
        assert_eq!((source.asked.get(), began.elapsed().as_secs()), (1, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_are_known_for_longer_and_a_success_ends_the_row() {
        let (kept, source) = (Kept::default(), Source::default());
        for _ in 0..2 {
            source.broken.set(true);
            let (mut pauses, mut last, mut asked) = (Vec::new(), Instant::now(), source.asked.get());
            while pauses.len() < 9 {
                let got = source.get(&kept, true).await;
                assert!(got == Err("broken") || got.is_ok_and(|found| found < source.asked.get()));
                if source.asked.get() > asked {
                    asked = source.asked.get();
                    pauses.push(last.elapsed().as_secs());
                    last = Instant::now();
                }
                advance(SECOND / 10).await;
            }
            assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
            advance(FAILURE_MOST).await;
            source.broken.set(false);
            assert_eq!(source.get(&kept, true).await, Ok(source.asked.get()));
            advance(NEWER).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn something_newer_is_fetched_once_an_hour_and_what_is_known_serves_if_that_fails() {
        let (kept, source) = (Kept::default(), Source::default());
        assert_eq!(source.get(&kept, false).await, Ok(1));
        for _ in 0..100 {
            assert_eq!(source.get(&kept, true).await, Ok(1));
        }
        advance(NEWER).await;
        assert_eq!(source.get(&kept, true).await, Ok(2));
        advance(NEWER).await;
        source.broken.set(true);
        for _ in 0..100 {
            assert_eq!(source.get(&kept, true).await, Ok(2));
        }
        assert_eq!(source.asked.get(), 3);
    }
}
