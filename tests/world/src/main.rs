//! Plays histories: one to read, or many on all processors.

use std::collections::BTreeMap;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::{Parser, ValueEnum};
use world::echo::{self, Planted};
use world::history::{Outcome, play};
use world::weather::Weather;
use world::{hoopoe, scenario};

/// So many failing seeds are shown at most.
const SHOWN: usize = 10;

/// Plays histories of the hostile world, and says which promises they break.
#[derive(Parser)]
struct Arguments {
    /// One history, with everything that happens in it.
    #[arg(long)]
    seed: Option<u64>,
    /// So many histories, of the seeds from 0 on.
    #[arg(long, default_value_t = 1000)]
    histories: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Whose functions run.
    #[arg(long, value_enum, default_value_t = Engine::Hoopoe)]
    engine: Engine,
    /// With `--seed`: also the faults that a failing history does not need.
    #[arg(long)]
    whole: bool,
    /// No faults.
    #[arg(long)]
    calm: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Engine {
    /// The real ones.
    Hoopoe,
    /// The smallest that keeps the promises.
    Echo,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // The functions read their variables from the process, which must have them before it has threads. They write metrics to
    // their standard output, so what is to be read goes to the other.
    if std::env::var_os("CLAIMS_TABLE").is_none() {
        let this = std::env::current_exe().and_then(|this| {
            Command::new(this)
                .args(std::env::args_os().skip(1))
                .envs(hoopoe::own_variables())
                .stdout(Stdio::null())
                .status()
        });
        return match this {
            Ok(status) if status.success() => ExitCode::SUCCESS,
            Ok(_) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("the program cannot start itself with the functions' variables: {error}");
                ExitCode::FAILURE
            }
        };
    }
    match arguments.seed {
        Some(seed) => one(&arguments, seed),
        None => many(&arguments),
    }
}

fn weather(arguments: &Arguments, seed: u64) -> Weather {
    if arguments.calm { Weather::calm() } else { Weather::storm(seed) }
}

fn history(arguments: &Arguments, seed: u64, weather: Weather, traced: bool) -> Outcome {
    match arguments.engine {
        Engine::Hoopoe => play(seed, weather, traced, &echo::bounds(), scenario::play),
        Engine::Echo => play(seed, weather, traced, &echo::bounds(), |world| echo::scenario(world, Planted::Nothing)),
    }
}

fn one(arguments: &Arguments, seed: u64) -> ExitCode {
    let fails = |weather: &Weather| !history(arguments, seed, weather.clone(), false).verdict.findings.is_empty();
    let mut weather = weather(arguments, seed);
    if !arguments.whole && fails(&weather) {
        weather = weather.shrunk(fails);
        eprintln!("It fails with {weather} (--whole for the whole history).\n");
    }
    let Outcome { verdict, trace, took } = history(arguments, seed, weather, true);
    for line in &trace {
        eprintln!("{line}");
    }
    let [asked, said, letters] = verdict.counts;
    eprintln!("\nseed {seed}, {took:?}: {asked} messages acknowledged, {said} parts said, {letters} dead letters");
    for (cause, times) in &verdict.unavoidable {
        eprintln!("unavoidable, {times} times: {cause}");
    }
    for finding in &verdict.findings {
        eprintln!("FOUND: {finding}");
    }
    if verdict.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the histories of all threads come to.
#[derive(Default)]
struct Sum {
    counts: [usize; 3],
    unavoidable: BTreeMap<&'static str, usize>,
    failed: BTreeMap<u64, Vec<String>>,
}

fn many(arguments: &Arguments) -> ExitCode {
    let (began, next, sum) = (Instant::now(), AtomicU64::new(arguments.from), Mutex::new(Sum::default()));
    let end = arguments.from + arguments.histories;
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let verdict = history(arguments, seed, weather(arguments, seed), false).verdict;
                    let mut sum = sum.lock().expect("no thread panics while it holds it");
                    for (all, one) in sum.counts.iter_mut().zip(verdict.counts) {
                        *all += one;
                    }
                    for (cause, times) in verdict.unavoidable {
                        *sum.unavoidable.entry(cause).or_default() += times;
                    }
                    if !verdict.findings.is_empty() {
                        sum.failed.insert(seed, verdict.findings.iter().map(ToString::to_string).collect());
                    }
                }
            });
        }
    });
    let Sum { counts: [asked, said, letters], unavoidable, failed } = sum.into_inner().expect("no thread panics");
    eprintln!("{} histories in {:.1} s", arguments.histories, began.elapsed().as_secs_f64());
    eprintln!("{asked} messages acknowledged, {said} parts said, {letters} dead letters");
    for (cause, times) in unavoidable {
        eprintln!("unavoidable, {times} times: {cause}");
    }
    for (seed, findings) in failed.iter().take(SHOWN) {
        eprintln!("FAILED: make world SEED={seed}");
        for finding in findings {
            eprintln!("  {finding}");
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("{} of {} histories break a promise", failed.len(), arguments.histories);
    ExitCode::FAILURE
}
