//! What a command answers, on standard output. Whoever reads it may stop early (`hoopoe logs | head`): that ends the
//! command, and is no error.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use aws_sdk_sqs::primitives::{DateTime, DateTimeFormat};
use hoopoe_message::Timestamp;
use serde::Serialize;

use crate::commands;

/// Writes one line, or several.
///
/// # Errors
///
/// When nobody reads any more, see [`is_closed`], or the disk is full.
pub(crate) fn line(text: impl Display) -> anyhow::Result<()> {
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Writes a result: for a person, with the commands it names [`complete`](commands::complete), or as JSON.
///
/// # Errors
///
/// As [`line()`].
pub(crate) fn result(result: &(impl Serialize + Display), json: bool) -> anyhow::Result<()> {
    if json { self::json(result) } else { line(commands::complete(&result.to_string())) }
}

/// Writes a result as JSON.
///
/// # Errors
///
/// As [`line()`].
pub(crate) fn json(result: &(impl Serialize + ?Sized)) -> anyhow::Result<()> {
    line(serde_json::to_string_pretty(result)?)
}

/// A moment as RFC 3339 in UTC, with milliseconds: all of one width, so that they stand below one another.
pub(crate) fn time(at: Timestamp) -> String {
    let seconds = DateTime::from_secs(i64::try_from(at.as_secs()).unwrap_or(i64::MAX));
    let seconds = seconds.fmt(DateTimeFormat::DateTime).unwrap_or_default();
    format!("{}.{:03}Z", seconds.trim_end_matches('Z'), at.as_millis() % 1000)
}

/// The reader of standard output has gone.
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn moments_have_three_digits_of_milliseconds() {
        let times = [1_700_000_000_000, 1_700_000_000_380, 1_700_000_000_007].map(Timestamp::from_millis).map(time);
        assert_eq!(times, ["2023-11-14T22:13:20.000Z", "2023-11-14T22:13:20.380Z", "2023-11-14T22:13:20.007Z"]);
    }

    #[test]
    fn only_a_reader_that_has_gone_is_no_error() {
        let gone = || -> anyhow::Result<()> { Err(io::Error::from(ErrorKind::BrokenPipe).into()) };
        assert!(is_closed(&gone().expect_err("gone")));
        assert!(is_closed(&gone().context("while listing").expect_err("gone")));
        assert!(!is_closed(&io::Error::from(ErrorKind::StorageFull).into()));
        assert!(!is_closed(&anyhow::anyhow!("broken pipe")));
    }
}
