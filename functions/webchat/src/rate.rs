//! How many requests one client may make.
//!
//! The counts live in one execution environment and end with it, so the limit is per environment: a client that
//! causes several at once gets that many times as much. It slows a loop in a script down. What bounds the bill is the
//! function's reserved concurrency (`WebhookReservedConcurrency`, none by default); a limit per address over all
//! environments is what a web firewall in front does.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use hoopoe_message::Timestamp;

/// How many clients are counted; beyond that all counts start anew, which errs in the clients' favour.
const MAX_CLIENTS: usize = 10_000;

/// At most so many requests of one client in each minute of the clock.
#[derive(Debug)]
pub(crate) struct RateLimit {
    per_minute: u32,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    minute: u64,
    by_client: HashMap<String, u32>,
}

impl RateLimit {
    pub(crate) fn new(per_minute: u32) -> Self {
        Self { per_minute, counts: Mutex::default() }
    }

    /// Counts a request of `client`.
    ///
    /// # Errors
    ///
    /// With the seconds until the next minute, where it is one too many.
    pub(crate) fn count(&self, client: &str, now: Timestamp) -> Result<(), u64> {
        // Counts are whole at every step, so those a panic left behind are good.
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = now.as_secs() / 60;
        if counts.minute != minute || counts.by_client.len() >= MAX_CLIENTS {
            *counts = Counts { minute, by_client: HashMap::new() };
        }
        let count = counts.by_client.entry(client.to_owned()).or_default();
        *count = count.saturating_add(1);
        if *count <= self.per_minute { Ok(()) } else { Err(60 - now.as_secs() % 60) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_share_of_each_minute() {
        let limit = RateLimit::new(2);
        let at = |second: u64| Timestamp::from_secs(600 + second);
        assert_eq!(limit.count("a", at(10)), Ok(()));
        assert_eq!(limit.count("a", at(20)), Ok(()));
        assert_eq!(limit.count("a", at(45)), Err(15));
        assert_eq!(limit.count("b", at(45)), Ok(()));
        assert_eq!(limit.count("a", at(60)), Ok(()));
    }

    #[test]
    fn the_memory_is_bounded() {
        let limit = RateLimit::new(1);
        let now = Timestamp::from_secs(0);
        for client in 0..3 * MAX_CLIENTS {
            assert_eq!(limit.count(&client.to_string(), now), Ok(()));
        }
        assert!(limit.counts.lock().expect("no panic").by_client.len() <= MAX_CLIENTS);
    }
}
