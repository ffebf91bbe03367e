//! Steps that a person waits for, told on standard error: a spinner where that is a terminal, plain lines elsewhere.

use std::cell::Cell;
use std::fmt::Display;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::commands;

/// A step under way. Dropped without [`Step::done`], it leaves no claim that it was done.
pub(crate) struct Step {
    label: &'static str,
    start: Instant,
    spinner: ProgressBar,
    /// When a line was last written, where there is no spinner.
    told: Cell<Instant>,
}

/// The time between two lines of a step, where there is no spinner.
const PAUSE: Duration = Duration::from_secs(2);

impl Step {
    /// Begins a step: `label` in a few letters, and what is going on.
    #[must_use]
    pub(crate) fn start(label: &'static str, doing: impl Display) -> Self {
        let spinner = ProgressBar::new_spinner();
        if spinner.is_hidden() {
            line(label, &doing);
        } else {
            let style = ProgressStyle::with_template("{prefix:>12}  {spinner} {msg} ({elapsed})");
            spinner.set_style(style.expect("a valid template"));
            spinner.set_prefix(label);
            spinner.set_message(doing.to_string());
            spinner.enable_steady_tick(Duration::from_millis(120));
        }
        Self { label, start: Instant::now(), spinner, told: Cell::new(Instant::now()) }
    }

    /// Says how far it is.
    pub(crate) fn doing(&self, doing: impl Display) {
        if !self.spinner.is_hidden() {
            self.spinner.set_message(doing.to_string());
        } else if self.told.get().elapsed() >= PAUSE {
            line(self.label, doing);
            self.told.set(Instant::now());
        }
    }

    /// Ends it: what there is now.
    pub(crate) fn done(self, what: impl Display) {
        self.spinner.finish_and_clear();
        line(self.label, format_args!("{what} ({:.1} s)", self.start.elapsed().as_secs_f64()));
    }
}

/// One line about something that took no time.
#[expect(clippy::print_stderr, reason = "progress is for the person who waits")]
pub(crate) fn line(label: &str, what: impl Display) {
    eprintln!("{label:>12}  {}", commands::complete(&what.to_string()));
}
