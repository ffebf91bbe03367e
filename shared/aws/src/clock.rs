//! The time, as the AWS clients of a function see it.

use std::time::{Duration, UNIX_EPOCH};

use aws_smithy_async::time::{SharedTimeSource, SystemTimeSource};
use aws_types::SdkConfig;
use hoopoe_message::Timestamp;

/// Tells the time of day. It is the time source of the [`SdkConfig`] it is made from, so a test that gives its AWS
/// clients a time of its own gives the same to everything made from that configuration.
///
/// It may be set back or forward. How long something takes, and how long something is kept in memory, is measured with
/// `tokio::time::Instant`.
#[derive(Clone, Debug)]
pub struct Clock(SharedTimeSource);

impl Clock {
    /// The configuration's time source, or the system's clock if it has none.
    #[must_use]
    pub fn new(config: &SdkConfig) -> Self {
        Self(config.time_source().unwrap_or_else(|| SharedTimeSource::new(SystemTimeSource::new())))
    }

    /// The present, to the millisecond.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(u64::try_from(self.since_epoch().as_millis()).unwrap_or(u64::MAX))
    }

    /// The present as the time since the Unix epoch, as exact as the source is; zero if the source says a time before it.
    #[must_use]
    pub fn since_epoch(&self) -> Duration {
        self.0.now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_async::time::StaticTimeSource;

    #[test]
    fn the_time_is_that_of_the_configuration() {
        let at = Duration::from_micros(1_790_000_000_123_456);
        let config = SdkConfig::builder().time_source(StaticTimeSource::new(UNIX_EPOCH + at)).build();
        let clock = Clock::new(&config);
        assert_eq!(clock.now(), Timestamp::from_millis(1_790_000_000_123));
        assert_eq!(clock.since_epoch(), at);
        let before = StaticTimeSource::new(UNIX_EPOCH - Duration::from_secs(1));
        let config = SdkConfig::builder().time_source(before).build();
        assert_eq!(Clock::new(&config).now(), Timestamp::from_millis(0));
    }

    #[test]
    fn without_a_time_source_it_is_the_systems() {
        let clock = Clock::new(&SdkConfig::builder().build());
        let (before, now, after) = (Timestamp::now(), clock.now(), Timestamp::now());
        assert!(before <= now && now <= after, "{before:?} {now:?} {after:?}");
    }
}
