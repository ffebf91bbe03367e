//! The time as SQS has it. The clock of the machine that runs the command may be hours off, and what the command writes is
//! compared with the functions' clocks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_sqs::config::{Builder, ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sqs::error::BoxError;
use aws_sdk_sqs::primitives::{DateTime, DateTimeFormat};
use aws_types::SdkConfig;
use hoopoe_message::Timestamp;

/// Goes by the `Date` of the newest answer, which is exact to a second.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerClock(Arc<Mutex<Option<(Timestamp, Instant)>>>);

impl ServerClock {
    /// A client of SQS, and the clock that its answers set.
    pub(super) fn with_client(config: &SdkConfig) -> (Client, Self) {
        let clock = Self::default();
        (Client::from_conf(Builder::from(config).interceptor(clock.clone()).build()), clock)
    }

    /// The present; as this machine has it before the first answer, and if answers have no date.
    pub(super) fn now(&self) -> Timestamp {
        let answered = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answered.map_or_else(Timestamp::now, |(date, at)| date.plus(at.elapsed()))
    }

    fn set(&self, date: &str) {
        let date = DateTime::from_str(date, DateTimeFormat::HttpDate).ok();
        let date = date.and_then(|date| u64::try_from(date.secs()).ok()).map(Timestamp::from_secs);
        if let Some(date) = date {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((date, Instant::now()));
        }
    }
}

impl Intercept for ServerClock {
    fn name(&self) -> &'static str {
        "ServerClock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(date) = context.response().headers().get("date") {
            self.set(date);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_goes_on_from_the_date_of_an_answer() {
        let clock = ServerClock::default();
        assert!(Timestamp::now().since(clock.now()) < Duration::from_secs(3600), "the machine's own");
        clock.set("Tue, 14 Nov 2023 22:13:20 GMT");
        clock.set("tomorrow");
        let (at, now) = (Timestamp::from_secs(1_700_000_000), clock.now());
        assert!(now >= at && now.since(at) < Duration::from_secs(3600), "{now:?}");
    }
}
