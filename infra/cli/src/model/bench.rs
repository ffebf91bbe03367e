//! Start-up, memory and latency of a built model, in this process.

use std::{fmt, fs, time::Instant};

use anyhow::Context;
use hoopoe_encoder::{Encoder, EncoderFiles, Options};
use serde::Serialize;

use super::load;

/// Batches that are timed: texts, and tokens of each.
const SHAPES: [(usize, usize); 6] = [(1, 8), (1, 16), (1, 64), (1, 128), (10, 16), (10, 32)];
const RUNS: usize = 30;

/// What a start and a run cost. Times in milliseconds, memory in megabytes.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    threads: usize,
    library_ms: f64,
    session_ms: f64,
    tokenizer_ms: f64,
    first_run_ms: f64,
    resident_before_mb: f64,
    resident_loaded_mb: f64,
    resident_after_mb: f64,
    latencies: Vec<Latency>,
}

/// The median and the fastest of the runs of one shape.
#[derive(Debug, Serialize)]
struct Latency {
    texts: usize,
    tokens: usize,
    median_ms: f64,
    fastest_ms: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loading = self.library_ms + self.session_ms + self.tokenizer_ms;
        writeln!(
            f,
            "start-up   {loading:.1} ms: library {:.1}, session {:.1}, tokenizer {:.1}; first run {:.1}",
            self.library_ms, self.session_ms, self.tokenizer_ms, self.first_run_ms
        )?;
        writeln!(
            f,
            "memory     {:.0} MB before, {:.0} MB loaded, {:.0} MB after the runs",
            self.resident_before_mb, self.resident_loaded_mb, self.resident_after_mb
        )?;
        write!(f, "latency    texts x tokens, {} thread(s): median (fastest) ms", self.threads)?;
        for Latency { texts, tokens, median_ms, fastest_ms } in &self.latencies {
            write!(f, "\n{:>10}  {median_ms:.1} ({fastest_ms:.1})", format!("{texts} x {tokens}"))?;
        }
        Ok(())
    }
}

pub(super) fn run(files: &EncoderFiles, options: Options) -> anyhow::Result<Report> {
    let resident_before_mb = resident()?;
    let mut encoder = load(files, options)?;
    let times = encoder.load_times();
    let resident_loaded_mb = resident()?;
    let start = Instant::now();
    encoder.encode(&["忘记密码怎么办"])?;
    let first_run_ms = milliseconds(start);

    let latencies = SHAPES
        .into_iter()
        .map(|(texts, tokens)| {
            let text = text_of(&encoder, tokens);
            let batch = vec![text.as_str(); texts];
            let mut times = (0..RUNS)
                .map(|_| {
                    let start = Instant::now();
                    encoder.encode(&batch)?;
                    Ok(milliseconds(start))
                })
                .collect::<anyhow::Result<Vec<f64>>>()?;
            times.sort_by(f64::total_cmp);
            Ok(Latency { texts, tokens, median_ms: times[RUNS / 2], fastest_ms: times[0] })
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(Report {
        threads: options.threads,
        library_ms: times.library.as_secs_f64() * 1e3,
        session_ms: times.session.as_secs_f64() * 1e3,
        tokenizer_ms: times.tokenizer.as_secs_f64() * 1e3,
        first_run_ms,
        resident_before_mb,
        resident_loaded_mb,
        resident_after_mb: resident()?,
        latencies,
    })
}

/// A text of so many tokens: words are added until it has them.
fn text_of(encoder: &Encoder, tokens: usize) -> String {
    let words = ["parcel", "where", "is", "my", "order", "today"];
    let mut text = String::new();
    for word in words.iter().cycle().take(tokens) {
        let longer = format!("{text} {word}");
        if encoder.tokenizer().encode(&longer, tokens + 1).len() > tokens {
            break;
        }
        text = longer;
    }
    text
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// This process's resident memory, which Linux tells.
fn resident() -> anyhow::Result<f64> {
    let status = fs::read_to_string("/proc/self/status").context("memory can only be measured on Linux")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("/proc/self/status has no VmRSS")?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes / 1024.0)
}
