//! Waiting for what happens on the other side of a queue.

use std::time::{Duration, Instant};

/// After this, what is waited for is taken to come never: long enough for the slowest machine, as it says nothing of how
/// fast anything is.
pub const DEADLINE: Duration = Duration::from_secs(300);

/// Polls until `look` finds something and returns it; panics with `what` after [`DEADLINE`].
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
