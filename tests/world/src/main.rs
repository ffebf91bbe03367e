//! Plays histories.
use std::process::ExitCode;
use clap::Parser;
use world::echo::{self, Planted};
use world::history::play;
use world::weather::Weather;

#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    seed: Option<u64>,
    #[arg(long, default_value_t = 1000)]
    histories: u64,
}

fn main() -> ExitCode {
    let a = Arguments::parse();
    if let Some(seed) = a.seed {
        let o = play(seed, Weather::storm(seed), true, &echo::bounds(), |w| echo::scenario(w, Planted::Nothing));
        for l in &o.trace { eprintln!("{l}"); }
        for f in &o.verdict.findings { eprintln!("{f}"); }
        return ExitCode::SUCCESS;
    }
    let t = std::time::Instant::now();
    for seed in 0..a.histories {
        let o = play(seed, Weather::storm(seed), false, &echo::bounds(), |w| echo::scenario(w, Planted::Nothing));
        if !o.verdict.findings.is_empty() { eprintln!("{seed} {:?}", o.verdict.findings); }
    }
    eprintln!("{:?}", t.elapsed() / a.histories as u32);
    ExitCode::SUCCESS
}
