//! The days on which an intent is answered.

use serde::{Deserialize, Serialize};

use crate::Date;

/// The days from `from` to `until`, both included; unbounded where one is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validity {
    /// The first day.
    pub from: Option<Date>,
    /// The last day.
    pub until: Option<Date>,
}

impl Validity {
    /// Whether the day is one of them.
    #[must_use]
    pub fn includes(self, day: Date) -> bool {
        self.from.is_none_or(|from| from <= day) && self.until.is_none_or(|until| day <= until)
    }
}
