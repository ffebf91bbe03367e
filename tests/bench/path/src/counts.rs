//! What is called, how often, and what it carries.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Service, operation, and the table or queue.
pub(crate) type Operation = (&'static str, String, &'static str);

/// The calls of one operation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    /// Request bodies.
    pub(crate) bytes_in: u64,
    /// Answers' bodies.
    pub(crate) bytes_out: u64,
    pub(crate) read_units: f64,
    pub(crate) write_units: f64,
    /// Requests that were answered with an error: conditions that did not hold.
    pub(crate) refused: u64,
}

/// All calls since the start, or between two moments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls(pub(crate) BTreeMap<Operation, Tally>);

impl Calls {
    /// What was called since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let subtract = |(operation, tally): (&Operation, &Tally)| {
            let before = before.0.get(operation).copied().unwrap_or_default();
            let tally = Tally {
                requests: tally.requests - before.requests,
                bytes_in: tally.bytes_in - before.bytes_in,
                bytes_out: tally.bytes_out - before.bytes_out,
                read_units: tally.read_units - before.read_units,
                write_units: tally.write_units - before.write_units,
                refused: tally.refused - before.refused,
            };
            (operation.clone(), tally)
        };
        Self(self.0.iter().map(subtract).filter(|(_, tally)| tally.requests > 0).collect())
    }

    /// Requests of one service.
    pub(crate) fn requests(&self, service: &str) -> u64 {
        self.0.iter().filter(|((of, ..), _)| *of == service).map(|(_, tally)| tally.requests).sum()
    }
}

/// Counts while the functions run.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    calls: Mutex<Calls>,
    /// Calls that a stand-in did not understand: the run is worth nothing then.
    unknown: Mutex<Vec<String>>,
}

impl Counts {
    pub(crate) fn add(&self, operation: Operation, tally: Tally) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = calls.0.entry(operation).or_default();
        sum.requests += tally.requests;
        sum.bytes_in += tally.bytes_in;
        sum.bytes_out += tally.bytes_out;
        sum.read_units += tally.read_units;
        sum.write_units += tally.write_units;
        sum.refused += tally.refused;
    }

    /// A call that Lambda's poller makes; it is charged like any other.
    pub(crate) fn sqs_of_lambda(&self, operation: &str, queue: &'static str) {
        let tally = Tally { requests: 1, ..Tally::default() };
        self.add(("sqs", format!("{operation} (Lambda)"), queue), tally);
    }

    pub(crate) fn unknown(&self, call: String) {
        eprintln!("not understood: {call}");
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    /// The first call that was not understood.
    pub(crate) fn first_unknown(&self) -> Option<String> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }

    pub(crate) fn now(&self) -> Calls {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
