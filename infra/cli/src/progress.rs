//! Steps that a person waits for, told on standard error: a spinner where that is a terminal, plain lines elsewhere.

use std::fmt::Display;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A step under way. Dropped without [`Step::done`], it leaves no claim that it was done.
pub(crate) struct Step {
    label: &'static str,
    start: Instant,
    spinner: ProgressBar,
}

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
        Self { label, start: Instant::now(), spinner }
    }

    /// Says how far it is, where somebody watches.
    pub(crate) fn doing(&self, doing: impl Display) {
        self.spinner.set_message(doing.to_string());
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
    eprintln!("{label:>12}  {what}");
}
