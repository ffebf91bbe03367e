//! What happened, one line an event: the time, who did it, what came of it.

use std::fmt::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;

/// Words longer than this are shortened when a trace is shown.
const LONG: usize = 20;

/// The events of a history, where they are asked for.
#[derive(Debug)]
pub struct Trace {
    clock: Clock,
    lines: Option<Mutex<Vec<Line>>>,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Milliseconds since the history began.
    pub at: u64,
    /// Who did it.
    pub who: String,
    /// What was done, and what came of it.
    pub what: String,
}

impl Trace {
    /// A trace; where it is not wanted, it costs nothing.
    #[must_use]
    pub fn new(clock: Clock, wanted: bool) -> Self {
        Self { clock, lines: wanted.then(Mutex::default) }
    }

    /// Whether anybody will read it.
    #[must_use]
    pub const fn is_wanted(&self) -> bool {
        self.lines.is_some()
    }

    fn lock(lines: &Mutex<Vec<Line>>) -> MutexGuard<'_, Vec<Line>> {
        lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an event.
    pub fn note(&self, who: &str, what: impl FnOnce() -> String) {
        if let Some(lines) = &self.lines {
            let line = Line { at: self.clock.elapsed(), who: who.to_owned(), what: what() };
            Self::lock(lines).push(line);
        }
    }

    /// All events, in their order.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.lines.as_ref().map(|lines| Self::lock(lines).clone()).unwrap_or_default()
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, who, what } = self;
        write!(f, "{:>9}.{:03}  {who:<14} {}", at / 1000, at % 1000, shortened(what))
    }
}

/// The text with the middle of long words left out, such as ids and ciphertexts.
#[must_use]
pub fn shortened(text: &str) -> String {
    let mut short = String::with_capacity(text.len());
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '+' | '/' | '=');
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| is_word(c) != is_word(first)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let letters = word.chars().count();
        if is_word(first) && letters > LONG {
            let head: String = word.chars().take(6).collect();
            let tail: String = word.chars().skip(letters - 4).collect();
            let _ = write!(short, "{head}…{tail}");
        } else {
            short.push_str(word);
        }
        rest = after;
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_words_are_shortened() {
        assert_eq!(shortened("claims telegram:main:7 SET #next"), "claims telegram:main:7 SET #next");
        assert_eq!(shortened("id=\"abcdefghijklmnopqrstuvwxyz\", 是"), "id=\"abcdef…wxyz\", 是");
    }
}
