//! The time of a history, which passes only where everybody waits, and the clocks of the environments, which are off.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_smithy_async::time::TimeSource;
use hoopoe_message::Timestamp;
use tokio::time::Instant;

/// When each history begins: 2026-11-25, 00:00 UTC.
const START: Duration = Duration::from_secs(1_795_564_800);

/// A clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
    /// Milliseconds by which it is ahead.
    ahead: i64,
}

impl Clock {
    /// The true time, which begins now. To be called inside of a runtime whose time is paused.
    #[must_use]
    pub fn start() -> Self {
        Self { began: Instant::now(), ahead: 0 }
    }

    /// A clock that is ahead by so many milliseconds, or behind.
    #[must_use]
    pub const fn ahead(self, millis: i64) -> Self {
        Self { ahead: self.ahead + millis, ..self }
    }

    /// Milliseconds since the history began, by the true time.
    #[must_use]
    pub fn elapsed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since the epoch, by this clock.
    #[must_use]
    pub fn millis(&self) -> u64 {
        let now = START + self.began.elapsed();
        u64::try_from(now.as_millis()).unwrap_or(u64::MAX).saturating_add_signed(self.ahead)
    }

    /// The time by this clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.millis())
    }

    /// The moment of the runtime's clock at which it is `millis` since the epoch, by this clock.
    #[must_use]
    pub fn instant(&self, millis: u64) -> Instant {
        Instant::now() + Duration::from_millis(millis.saturating_sub(self.millis()))
    }
}

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.millis())
    }
}
