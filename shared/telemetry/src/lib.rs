//! What a function tells its operator: structured logs and counts, on standard output, where Lambda hands them to
//! CloudWatch Logs.
//!
//! | item | what it does |
//! |---|---|
//! | [`init`] | sets up the log: one JSON object a line, `info` and above |
//! | [`Fatal`] | what `main` ends with if a function cannot run: a sentence |
//! | [`metrics`] | everything that functions count or time, each with its fields and its meaning |
//! | [`Metric`] | one of these; it writes a line such as `{"Sent":1,"Channel":"telegram"}` |
//!
//! Most are lines in the log and no metrics of CloudWatch, which bills each metric by the month and a line by its bytes.
//! CloudWatch Logs Insights sums them up when somebody asks, over the log groups of the functions:
//!
//! ```text
//! stats sum(Sent), pct(AnswerTime, 99) by Channel
//! stats sum(Answered) as answered by Intent | sort answered desc
//! stats sum(Refused) by Reason, bin(1h)
//! ```
//!
//! Neither ever holds a person's words, a chat's id or a secret: a message is named by a digest of its
//! platform id.

mod metric;
pub mod metrics;

use std::error::Error;
use std::fmt;

use tracing::Level;

pub use metric::{Description, Metric, Unit};

/// Sets up the log. Call it once, first thing in `main`.
///
/// Lambda stamps each line with its own time, so lines carry none.
pub fn init() {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .without_time()
        .with_max_level(Level::INFO)
        .init();
}

/// Why a function cannot run.
///
/// What `main` returns is printed as `Debug` has it, and whoever deployed the function is to read the sentence: so that
/// is what both forms show.
pub struct Fatal(Box<dyn Error + Send + Sync>);

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Fatal {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Debug for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
