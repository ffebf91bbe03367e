//! Quotas: how many calls a key may make in a second and in a day, whichever of the running functions make them.
//!
//! The Usage table holds for each key, `<channel>/<bot>/<purpose>`, the items
//!
//! - `rate`: `next_at`, the time of the first slot that nobody has reserved, and `paused_until`, before which the platform
//!   takes nothing, both in microseconds since the epoch;
//! - `day#YYYY-MM-DD` (UTC): `used`, the units of the day's budget that functions have taken;
//!
//! all with `expires_at`.
//!
//! # Rate
//!
//! A key of `r` calls a second has slots that are `1/r` seconds apart, and each call needs one. This is the virtual
//! scheduling of the generic cell rate algorithm (ITU-T I.371), with `next_at` as its theoretical arrival time. A function
//! reserves as many slots as it has callers and had in the last second by one conditional update, and a second one where
//! the first guessed wrong whether the key was idle; then it hands them out from memory. A slot may be used from its time
//! on, for one second. After silence the schedule begins half a second in the past, so that a few calls that come together
//! go at once.
//!
//! **Shares.** Where at most `n` functions use a key at the same time, each has a share of `s = ⌊r / 2n⌋` calls a second
//! ([`Quotas::among`]), and the schedule has the other `r - n · s`. A function uses its share without asking: a bucket of
//! `s` calls in its memory, which is empty at the function's first call, since the function may have taken the place of one
//! that used its share a moment ago, and fills at `s` a second. Calls beyond it take slots of the schedule. Without `n`, or
//! where `s` is 0, there is only the schedule.
//!
//! **Bound.** In any window of `W` seconds at most `r · (W + 1 + 2ε) + 1` calls go, where no function's clock is more than
//! `ε` seconds wrong. The schedule gives `(r - n · s) · (W + 1 + 2ε) + 1` of them, however many functions there are:
//! `next_at` never goes back, so no two slots are nearer than `1/(r - n · s)` seconds; and the calls of a window use slots
//! from at most `1 + ε` seconds before it to `ε` seconds after it. The shares give `n · s · (W + 1 + 2ε)`: what fits into a
//! bucket of `s`, and what flows into it meanwhile, with functions that follow each other counted as one. In the long run
//! it is `r` a second: what a burst gains is what the silence before it lost. A call is counted when it gets its
//! [`Turn::Now`]; what a function does before its request leaves is not seen here.
//!
//! The template's `DeliverConcurrency` is how many batches Lambda handles at the same time. Lambda may keep more
//! environments than that and use them by turns; each beyond `n` adds at most `s` calls a second while it does.
//!
//! **Cost.** A call by the function's share costs nothing. One beyond it costs one write after silence, and a second one
//! where another function was at it meanwhile. A busy function pays about a write a second. A caller that is told to wait
//! longer than it can pays the write that told it, and its function none until the time it was told. What a function
//! reserved ahead and does not use is lost: at most as many slots as it had calls in a second, each time that it falls
//! silent. With the defaults (10 calls a second, 3 functions, so a share of 1) a function that makes `c` calls a second at
//! random writes for `c / (1 + c)` of them: at a million messages a month, all by one function, that is 0.17 USD instead of
//! the 0.52 without shares.
//!
//! # Pauses
//!
//! Where a platform says that it takes nothing of a key for a while, [`Quotas::pause`] moves `next_at` there by one write:
//! callers of all functions wait as for any slot that comes later.
//!
//! # Budget of a day
//!
//! Calls take units from `used`, which never exceeds the budget: a function takes ahead for the callers it has, at most a
//! hundredth of the budget. What it took and does not use when it ends is lost for the day. A call counts for the day in
//! which it asked.
//!
//! # Failures
//!
//! When DynamoDB does not answer, no call is let go: a limit that fails open is none, and who sends needs DynamoDB for the
//! record of it anyway. An update that is repeated because its answer was lost wastes slots or units, and never adds any.

mod day;
mod rate;
mod table;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_types::SdkConfig;
use hoopoe_aws::Clock;
use serde::{Deserialize, Serialize};

use day::Day;
use rate::{Ask, Division, Guess, Micros, Rate};
use table::{Conditional, read};

use crate::{KeyName, number};

/// How many keys are kept in mind; one function serves few bots. What was reserved for a key that is forgotten is lost.
const MAX_KEYS: usize = 256;

/// How often a conditional update is tried before the caller is told to come again. Others interfere with few of them.
const TRIES: u32 = 5;

/// The longest pause of a platform that is believed; after it one call asks again.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// How long an item stays that nobody touches.
const KEPT: u64 = 2 * 24 * 3600;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Calls a second.
    pub per_second: NonZeroU32,
    /// Units a day (UTC), or any number. A unit is what the caller says: a call, a token, a millionth of a currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_day: Option<u64>,
}

impl Quota {
    /// The tiers by name: `trial` (1 call a second, 1,000 units a day), `standard` (10 a second) and `high` (50 a second).
    pub const TIERS: [(&str, Self); 3] = [
        ("trial", Self { per_second: NonZeroU32::MIN, per_day: Some(1000) }),
        ("standard", Self::STANDARD),
        ("high", Self { per_second: NonZeroU32::new(50).expect("not zero"), per_day: None }),
    ];

    const STANDARD: Self = Self { per_second: NonZeroU32::new(10).expect("not zero"), per_day: None };

    /// The tier of this name.
    #[must_use]
    pub fn tier(name: &str) -> Option<Self> {
        Self::TIERS.into_iter().find_map(|(tier, quota)| (tier == name).then_some(quota))
    }
}

/// The tier `standard`.
impl Default for Quota {
    fn default() -> Self {
        Self::STANDARD
    }
}

/// When a call may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Turn {
    /// Now.
    Now,
    /// Not before so much time has gone by, and then it must ask again. It has used nothing.
    After(Duration),
}

/// Why nothing can be said about a call, so that it must not go.
#[derive(Debug, thiserror::Error)]
pub enum QuotaError {
    /// The call is larger than the budget of a whole day.
    #[error("a call of {units} units can never go: the key has {per_day} a day")]
    Never {
        /// What the call takes.
        units: u64,
        /// The budget.
        per_day: u64,
    },
    /// The item is not one of these.
    #[error("the usage of a key is of an unknown shape")]
    Shape,
    /// DynamoDB did not do what was asked.
    #[error("{operation} failed: {cause}")]
    Call {
        /// What was being done.
        operation: &'static str,
        /// The service's code and words.
        cause: String,
    },
}

/// The Usage table, and what this function has reserved in it.
#[derive(Debug)]
pub struct Quotas {
    dynamodb: Client,
    clock: Clock,
    table: String,
    functions: Option<NonZeroU32>,
    keys: Mutex<HashMap<KeyName, Arc<Key>>>,
}

/// What a caller gets.
enum Reserved {
    /// It goes now.
    Now,
    /// It goes at this time.
    Slot(Micros),
    /// There is no slot before this time, and none is reserved.
    Later(Micros),
}

#[derive(Debug, Default)]
struct Key {
    /// Callers that have no slot yet.
    waiting: AtomicUsize,
    /// The lock is held while slots or units are reserved: callers that come together cause one call.
    local: tokio::sync::Mutex<Local>,
}

#[derive(Debug, Default)]
struct Local {
    rate: Rate,
    day: Day,
}

/// One of a key's waiting callers, for as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }

    /// How many there are, with this one.
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Quotas {
    /// The table of this name. The time is that of `config`.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String) -> Self {
        let keys = Mutex::default();
        Self { dynamodb: Client::new(config), clock: Clock::new(config), table, functions: None, keys }
    }

    /// The same where at most so many functions use a key at the same time, each of which then has a share of its rate;
    /// without shares if that is not known.
    #[must_use]
    pub fn among(self, functions: Option<NonZeroU32>) -> Self {
        Self { functions, ..self }
    }

    fn now(&self) -> Micros {
        micros(self.clock.since_epoch())
    }

    /// Waits up to `patience` for the turn of a call of so many units.
    ///
    /// A caller whose turn comes later than that has used nothing: its slot was not reserved, and its units go to the next
    /// caller here.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer, or the call is too large for any day; it must not go then.
    pub async fn take(&self, key: &KeyName, quota: Quota, units: u64, patience: Duration) -> Result<Turn, QuotaError> {
        let until = self.now() + micros(patience);
        let entry = self.entry(key);
        let mut paid = false;
        loop {
            let slot = {
                let waiting = Waiting::new(&entry.waiting);
                let mut local = entry.local.lock().await;
                if let Some(per_day) = quota.per_day
                    && !paid
                {
                    match self.pay(key, &mut local.day, per_day, units, &waiting).await? {
                        Turn::Now => paid = true,
                        later @ Turn::After(_) => return Ok(later),
                    }
                }
                let reserved = self.reserve(key, &mut local.rate, quota, until, &waiting).await;
                if paid && !matches!(reserved, Ok(Reserved::Now | Reserved::Slot(_))) {
                    local.day.give_back(self.now(), units);
                }
                match reserved? {
                    Reserved::Now => return Ok(Turn::Now),
                    Reserved::Slot(slot) => slot,
                    Reserved::Later(later) => return Ok(Turn::After(span(later, self.now()))),
                }
            };
            // The lock is free again: others take their slots meanwhile.
            tokio::time::sleep(span(slot, self.now())).await;
            if rate::is_usable(slot, self.now()) {
                return Ok(Turn::Now);
            }
        }
    }

    /// Takes note that the platform takes nothing of this key for `pause`, of which an hour is believed: this function lets
    /// no call go before, and the others none that they ask the table for. Pauses never become shorter.
    ///
    /// A function that has a share of the rate may not ask for a while; it learns of the pause from the platform then,
    /// by one call that is refused.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer; this function knows of the pause nonetheless.
    pub async fn pause(&self, key: &KeyName, pause: Duration) -> Result<(), QuotaError> {
        let pause = micros(pause.min(MAX_PAUSE));
        let entry = self.entry(key);
        let mut local = entry.local.lock().await;
        let until = self.now() + pause;
        // Calls that were refused together: the first has said it.
        if local.rate.paused_until() + pause / 10 >= until {
            return Ok(());
        }
        local.rate.pause(until);
        let update = self
            .item(key, "rate".to_owned())
            .update_expression("SET #value = :until, #paused = :until, #expires = :expires")
            .condition_expression("attribute_not_exists(#value) OR #value < :until")
            .expression_attribute_names("#value", "next_at")
            .expression_attribute_names("#paused", "paused_until")
            .expression_attribute_values(":until", number(until));
        if let Conditional::Failed(item) = self.update(update).await? {
            local.rate.pause(read(&item, "paused_until")?);
        }
        Ok(())
    }

    fn entry(&self, key: &KeyName) -> Arc<Key> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = keys.get(key) {
            return Arc::clone(entry);
        }
        if keys.len() >= MAX_KEYS {
            keys.retain(|_, entry| Arc::strong_count(entry) > 1);
        }
        Arc::clone(keys.entry(key.clone()).or_default())
    }

    /// A slot that comes by `until`, by the function's share or from the table; or the time of a later one.
    async fn reserve(
        &self,
        key: &KeyName,
        rate: &mut Rate,
        quota: Quota,
        until: Micros,
        waiting: &Waiting<'_>,
    ) -> Result<Reserved, QuotaError> {
        let division = Division::of(quota, self.functions);
        for _ in 0..TRIES {
            let now = self.now();
            // What is reserved is lost if nobody uses it, and the share is not.
            if let rate::Found::Slot(slot) = rate.take(now, now) {
                return Ok(Reserved::Slot(slot));
            }
            if rate.take_own(division, now) {
                return Ok(Reserved::Now);
            }
            match rate.take(now, until.max(now)) {
                rate::Found::Slot(slot) => return Ok(Reserved::Slot(slot)),
                rate::Found::Later(slot) => return Ok(Reserved::Later(slot)),
                rate::Found::Nothing => {}
            }
            let ask = match rate.ask(division, now, until.max(now), waiting.count()) {
                Ok(ask) => ask,
                Err(later) => return Ok(Reserved::Later(later)),
            };
            match self.update(self.slots(key, &ask)).await? {
                Conditional::Made(item) => rate.granted(&ask, read(&item, "next_at")?),
                Conditional::Failed(item) => rate.refused(read(&item, "next_at")?, read(&item, "paused_until")?),
            }
        }
        let now = self.now();
        Ok(match rate.take(now, until.max(now)) {
            rate::Found::Slot(slot) => Reserved::Slot(slot),
            rate::Found::Later(_) | rate::Found::Nothing => Reserved::Later(now + rate::LIFE),
        })
    }

    fn slots(&self, key: &KeyName, ask: &Ask) -> UpdateItemFluentBuilder {
        let update = self.item(key, "rate".to_owned()).expression_attribute_names("#value", "next_at");
        let update = update.expression_attribute_values(":floor", number(ask.floor));
        match ask.guess {
            Guess::Idle => update
                .update_expression("SET #value = :next, #expires = :expires")
                .condition_expression("attribute_not_exists(#value) OR #value <= :floor")
                .expression_attribute_values(":next", number(ask.floor + ask.span)),
            Guess::Busy => update
                .update_expression("SET #value = #value + :span, #expires = :expires")
                .condition_expression("#value > :floor AND #value <= :last")
                .expression_attribute_values(":span", number(ask.span))
                .expression_attribute_values(":last", number(ask.last)),
        }
    }

    /// Takes a call's units from the budget of the day, or says how long the day lasts.
    async fn pay(
        &self,
        key: &KeyName,
        day: &mut Day,
        per_day: u64,
        units: u64,
        waiting: &Waiting<'_>,
    ) -> Result<Turn, QuotaError> {
        if units > per_day {
            return Err(QuotaError::Never { units, per_day });
        }
        for _ in 0..TRIES {
            let now = self.now();
            match day.take(now, per_day, units, waiting.count()) {
                day::Found::Units => return Ok(Turn::Now),
                day::Found::Exhausted { until } => return Ok(Turn::After(span(until, now))),
                day::Found::Ask { day: date, units, last } => {
                    let update = self
                        .item(key, name(date))
                        .update_expression("SET #expires = :expires ADD #value :units")
                        .condition_expression("attribute_not_exists(#value) OR #value <= :last")
                        .expression_attribute_names("#value", "used")
                        .expression_attribute_values(":units", number(units))
                        .expression_attribute_values(":last", number(last));
                    match self.update(update).await? {
                        Conditional::Made(item) => day.granted(date, units, read(&item, "used")?),
                        Conditional::Failed(item) => day.refused(date, read(&item, "used")?),
                    }
                }
            }
        }
        Ok(match day.take(self.now(), per_day, units, waiting.count()) {
            day::Found::Units => Turn::Now,
            day::Found::Ask { .. } | day::Found::Exhausted { .. } => Turn::After(Duration::from_micros(rate::LIFE)),
        })
    }
}

fn micros(duration: Duration) -> Micros {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 4)
}

/// How long it is until `later`.
fn span(later: Micros, now: Micros) -> Duration {
    Duration::from_micros(later.saturating_sub(now))
}

/// The name of a day's item, from days since the epoch.
fn name(day: u64) -> String {
    let date = i64::try_from(day)
        .ok()
        .and_then(|day| time::OffsetDateTime::from_unix_timestamp(day.checked_mul(24 * 3600)?).ok())
        .expect("the clock says a year of four digits");
    format!("day#{}", date.date())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_stored_as_plain_numbers() {
        let json = |quota: Quota| serde_json::to_string(&quota).expect("json");
        assert_eq!(json(Quota::default()), r#"{"per_second":10}"#);
        assert_eq!(json(Quota::tier("trial").expect("a tier")), r#"{"per_second":1,"per_day":1000}"#);
        for (_, quota) in Quota::TIERS {
            assert_eq!(serde_json::from_str::<Quota>(&json(quota)).expect("our own"), quota);
        }
        assert!(serde_json::from_str::<Quota>(r#"{"per_second":0}"#).is_err());
        assert_eq!(Quota::tier("none"), None);
    }

    #[test]
    fn a_day_is_named_by_its_date() {
        assert_eq!(name(0), "day#1970-01-01");
        assert_eq!(name(20_782), "day#2026-11-25");
    }
}
