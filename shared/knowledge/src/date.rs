//! Days, in UTC, on which an intent is valid.

use std::fmt;

use hoopoe_message::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;

const FORMAT: StaticFormatDescription = format_description!("[year]-[month]-[day]");

/// A calendar day in UTC. Written `2026-12-31`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// Counted as Julian days, which is the order of days and small in the index.
    julian_day: i32,
}

impl Date {
    /// The day on which a moment lies.
    #[must_use]
    pub fn of(moment: Timestamp) -> Self {
        let seconds = i64::try_from(moment.as_secs()).unwrap_or(i64::MAX);
        let date = OffsetDateTime::from_unix_timestamp(seconds).map_or(time::Date::MAX, OffsetDateTime::date);
        Self { julian_day: date.to_julian_day() }
    }
}

impl std::str::FromStr for Date {
    type Err = InvalidDate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The format's parts are at least as wide as they are written; "-2026-1-1" and the like stay out by length.
        match time::Date::parse(text, FORMAT) {
            Ok(date) if text.len() == 10 => Ok(Self { julian_day: date.to_julian_day() }),
            _ => Err(InvalidDate(text.to_owned())),
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = time::Date::from_julian_day(self.julian_day).map_err(|_| fmt::Error)?;
        f.write_str(&date.format(FORMAT).map_err(|_| fmt::Error)?)
    }
}

/// In a pack as it is written, in an index as a number.
impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_i32(self.julian_day)
        }
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            let julian_day = i32::deserialize(deserializer)?;
            let date = time::Date::from_julian_day(julian_day).map_err(D::Error::custom)?;
            Ok(Self { julian_day: date.to_julian_day() })
        }
    }
}

/// The text is not a day of the calendar.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not a date; write year-month-day, such as 2026-12-31")]
pub struct InvalidDate(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_strictly_and_written_back() {
        for text in ["2026-01-01", "2024-02-29", "1999-12-31"] {
            assert_eq!(text.parse::<Date>().expect("a date").to_string(), text);
        }
        for bad in [
            "",
            "2026-02-29",
            "2026-13-01",
            "2026-1-1",
            "26-01-01",
            "2026/01/01",
            "2026-01-01T00",
            "+026-01-01",
            "二〇二六",
        ] {
            assert!(bad.parse::<Date>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_day_ends_at_midnight_utc() {
        let day = |seconds| Date::of(Timestamp::from_secs(seconds)).to_string();
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(1_798_761_599), "2026-12-31");
        assert_eq!(day(1_798_761_600), "2027-01-01");
        assert_eq!(day(u64::MAX), "9999-12-31");
    }
}
