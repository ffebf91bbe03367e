//! What the workers share: `run.py` sends one request a line and reads one answer a line.

use std::{
    io::{BufRead, Write},
    time::Instant,
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// One turn of a target: the texts are encoded once without being timed, then `runs` times.
#[derive(Debug, Deserialize)]
pub struct Request {
    /// Which of the worker's targets.
    pub target: String,
    /// Batches of texts, one call for each; a run encodes all of them.
    pub batches: Vec<Vec<String>>,
    /// Runs that are timed.
    pub runs: usize,
    /// Makes texts instead: so many of so many tokens out of the first batch's words.
    #[serde(default)]
    pub make: Option<(usize, usize)>,
}

/// The answer to a [`Request`].
#[derive(Debug, Default, Serialize)]
pub struct Answer {
    /// Seconds of each run.
    pub seconds: Vec<f64>,
    /// The vectors of the first batch, to compare the targets by.
    pub vectors: Vec<Vec<f32>>,
    /// The texts that were asked for.
    pub texts: Vec<String>,
    /// Tokens of each text of the first batch.
    pub tokens: Vec<usize>,
    /// Tokens that a run computed, padding included; 0 where it is not known.
    pub computed: usize,
}

/// Answers requests until the input ends.
///
/// # Errors
/// When a request cannot be read or answered.
pub fn serve(mut answer: impl FnMut(Request) -> anyhow::Result<Answer>) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let request = serde_json::from_str(&line?).context("a request is not as expected")?;
        serde_json::to_writer(&mut output, &answer(request)?)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    Ok(())
}

/// Runs once for warmth, then `runs` times, and returns the seconds of these.
///
/// # Errors
/// When a run fails.
pub fn time(runs: usize, mut run: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<Vec<f64>> {
    run()?;
    (0..runs)
        .map(|_| {
            let start = Instant::now();
            run()?;
            Ok(start.elapsed().as_secs_f64())
        })
        .collect()
}

/// Token ids and their mask, row after row, padded to the longest.
#[must_use]
pub fn pad(tokens: &[&[u32]], pad: u32) -> (usize, Vec<i64>, Vec<i64>) {
    let width = tokens.iter().map(|tokens| tokens.len()).max().unwrap_or_default();
    let (mut ids, mut mask) = (Vec::with_capacity(tokens.len() * width), Vec::with_capacity(tokens.len() * width));
    for row in tokens {
        ids.extend(row.iter().map(|&id| i64::from(id)));
        ids.resize(ids.len() + width - row.len(), i64::from(pad));
        mask.extend(std::iter::repeat_n(1, row.len()));
        mask.resize(ids.len(), 0);
    }
    (width, ids, mask)
}
