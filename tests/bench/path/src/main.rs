//! The whole way of a message under load: the real binaries of `telegram`, `inference` and `deliver`, fed as Lambda feeds
//! them, with stand-ins for AWS and the platform that take as long as those do and count what they are asked.
//!
//! | module | what is in it |
//! |---|---|
//! | [`lambda`] | execution environments behind the runtime API |
//! | [`aws`], [`sqs`], and the tables and keys of [`::world`](../world) | what the functions call |
//! | [`platform`] | Telegram |
//! | [`latency`] | how long all of these take, and where that is from |
//! | [`counts`] | what was called |
//! | [`world`] | all of it together |
//! | [`load`] | messages in, answers out, and whether each came once and in order |
//! | [`hot`] | processor time and calls of one message |
//! | [`report`] | the result file |

mod aws;
mod counts;
mod hot;
mod http;
mod lambda;
mod latency;
mod load;
mod platform;
mod report;
mod sqs;
mod world;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;

use crate::latency::Latencies;
use crate::load::{Load, Rate, mean, quantile};
use crate::report::{Run, Section};
use crate::sqs::{BATCH, Mapping};
use crate::world::{Binaries, CONCURRENCY, Plan, World};

/// Measures the whole way of a message, from the webhook to the platform, on the release binaries.
///
/// Examples:
///
///   make bench-path                                  all of it, about ten minutes
///
///   make bench-path QUICK=1                          three minutes, to try
///
///   target/release/path --quick --only hot           processor time and calls of one message
///
///   target/release/path --only load --rate 50        one load of 50 messages a second
#[derive(Parser)]
#[command(verbatim_doc_comment)]
struct Arguments {
    /// Short runs, to try.
    #[arg(long)]
    quick: bool,
    /// One part of it.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// A steady load of so many messages a second, instead of the usual ones.
    #[arg(long)]
    rate: Option<f64>,
    /// Where the functions are: NAME/bootstrap for each.
    #[arg(long, default_value = "target/lambda")]
    functions: PathBuf,
    /// The inference function's bundle.
    #[arg(long, default_value = "target/bundles/inference")]
    bundle: PathBuf,
    /// Where questions are taken from.
    #[arg(long, default_value = "infra/packs/shop/test.yaml")]
    questions: PathBuf,
    /// The result file.
    #[arg(long, default_value = "target/bench/path.json")]
    output: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The loads.
    Load,
    /// Growing rates, until the machine ends.
    Saturation,
    /// Processor time and calls of one message.
    Hot,
}

type Counted = Vec<(String, serde_json::Value)>;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let absolute = |path: &PathBuf| std::path::absolute(path).with_context(|| path.display().to_string());
    let binaries = Binaries { functions: absolute(&arguments.functions)?, bundle: absolute(&arguments.bundle)? };
    let questions = Arc::new(world::questions(&arguments.questions)?);
    let wanted = |part| arguments.only.is_none_or(|only| only == part);
    let (mut sections, mut counts) = (Vec::new(), Vec::new());
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime()?.block_on(under_load(&arguments, &binaries, &questions, wanted, &mut sections, &mut counts))?;
    if wanted(Part::Hot) {
        // On a thread of its own, which with all that it starts is held to one processor.
        let (sections, counts) = (&mut sections, &mut counts);
        let measured = std::thread::scope(|scope| {
            let of_one = scope.spawn(|| {
                hot::pin(hot::OTHER_PROCESSOR);
                runtime()?.block_on(of_one_message(&arguments, &binaries, &questions, sections, counts))
            });
            of_one.join()
        });
        measured.map_err(|_| anyhow::anyhow!("the measurement of one message panicked"))??;
    }
    sections.push(report::model());
    let file = report::file(&sections, &counts);
    if let Some(folder) = arguments.output.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&arguments.output, serde_json::to_string_pretty(&file)? + "\n")
        .with_context(|| format!("writing {}", arguments.output.display()))?;
    eprintln!("{} is written", arguments.output.display());
    Ok(())
}

async fn under_load(
    arguments: &Arguments,
    binaries: &Binaries,
    questions: &Arc<Vec<String>>,
    wanted: impl Fn(Part) -> bool,
    sections: &mut Vec<Section>,
    counts: &mut Counted,
) -> Result<()> {
    let quick = arguments.quick;
    if wanted(Part::Load) {
        let mut runs = Vec::new();
        for (name, words, rate, load) in loads(arguments) {
            let run = go(binaries, questions, name, words, rate, load, 1).await?;
            counts.push((run.words.clone(), report::counts(&run.outcome.books, run.outcome.all_messages)));
            runs.push(run);
        }
        let seconds = if quick { 8.0 } else { 30.0 };
        let load = Load { rate: Rate::Steady(100.0), warm_up: 3.0, seconds, people: 5000 };
        let full =
            go(binaries, questions, "full", "100 a second in full batches".to_owned(), 100.0, load, BATCH).await?;
        let projected = report::counts(&full.outcome.books, full.outcome.all_messages);
        counts.push(("1,200 a second (model: full batches)".to_owned(), projected.clone()));
        sections.push(report::latency(&runs, quick));
        sections.push(report::concurrency(&runs));
        sections.push(report::costs(counts));
        sections.push(report::projection(&full, &projected));
    }
    if wanted(Part::Saturation) {
        let mut runs = Vec::new();
        let rates: &[f64] = if quick { &[60.0, 240.0] } else { &[60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 480.0] };
        for rate in rates {
            let people = person_count(*rate);
            let load =
                Load { rate: Rate::Steady(*rate), warm_up: 3.0, seconds: if quick { 5.0 } else { 10.0 }, people };
            let run = go(binaries, questions, "step", format!("{rate:.0} a second"), *rate, load, 1).await?;
            // Beyond this the queues only grow longer.
            let over = mean(&run.outcome.times) > 2000.0;
            runs.push(run);
            if over {
                break;
            }
        }
        sections.push(report::saturation(&runs));
    }
    Ok(())
}

async fn of_one_message(
    arguments: &Arguments,
    binaries: &Binaries,
    questions: &[String],
    sections: &mut Vec<Section>,
    counts: &mut Counted,
) -> Result<()> {
    let quick = arguments.quick;
    eprintln!("processor time of a webhook request");
    let (rounds, requests) = if quick { (5, 200) } else { (15, 500) };
    sections.push(report::webhook(&hot::webhook(binaries, rounds, requests).await?));
    eprintln!("inference outside the model");
    sections.push(report::inference(&hot::inference(binaries, if quick { 20 } else { 150 }, questions).await?));
    eprintln!("calls of a message");
    let messages = if quick { 200 } else { 1000 };
    let books = hot::calls(binaries, messages, questions).await?;
    counts.push(("full batches, no latency".to_owned(), report::counts(&books, messages)));
    sections.push(report::requests(&books.calls, messages));
    Ok(())
}

/// Everybody writes about twice a minute.
fn person_count(rate: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "some thousands")]
    let people = (rate * 30.0).ceil() as i64;
    people.max(300)
}

/// The usual loads: name, in words, the rate on the whole, and the load.
fn loads(arguments: &Arguments) -> Vec<(&'static str, String, f64, Load)> {
    let quick = arguments.quick;
    let steady = |name, rate: f64, seconds| {
        let load = Load { rate: Rate::Steady(rate), warm_up: 5.0, seconds, people: person_count(rate) };
        (name, format!("{rate:.0} a second"), rate, load)
    };
    if let Some(rate) = arguments.rate {
        return vec![steady("given", rate, if quick { 10.0 } else { 60.0 })];
    }
    let burst = |name, base: f64, seconds: f64| {
        let (from, to) = (seconds * 0.3, seconds * 0.5);
        let people = person_count(base * 10.0);
        let load = Load { rate: Rate::Burst { base, from, to }, warm_up: 5.0, seconds, people };
        (name, format!("{base:.0} a second, {:.0} for {:.0} s", base * 10.0, to - from), base, load)
    };
    let seconds = if quick { 20.0 } else { 60.0 };
    let day = Load { rate: Rate::Day { mean: 24.0, seconds }, warm_up: 5.0, seconds, people: person_count(48.0) };
    let mut loads = vec![
        steady("12", 12.0, if quick { 20.0 } else { 150.0 }),
        steady("120", 120.0, if quick { 10.0 } else { 60.0 }),
        burst("12-burst", 12.0, if quick { 10.0 } else { 30.0 }),
        ("day", format!("a day in {seconds:.0} s, 24 a second in the mean, 2 to 46"), 24.0, day),
    ];
    if !quick {
        // What a burst of 1,200 a second leaves behind is worked off when it is over.
        loads.insert(3, burst("120-burst", 120.0, 10.0));
    }
    loads
}

async fn go(
    binaries: &Binaries,
    questions: &Arc<Vec<String>>,
    name: &'static str,
    words: String,
    rate: f64,
    load: Load,
    at_least: usize,
) -> Result<Run> {
    eprintln!("{words}: {:.0} s", load.warm_up + load.seconds);
    let mapping = Mapping { concurrency: CONCURRENCY, at_least };
    let plan = Plan { latencies: Latencies::AWS, inference: mapping, deliver: mapping, processor: None };
    let world = Arc::new(World::start(binaries, plan).await?);
    let outcome = load::run(&world, load, questions).await.with_context(|| words.clone())?;
    eprintln!(
        "  {} messages: mean {:.0} ms, P99 {:.0} ms; {} lost, {} twice, {} out of order",
        outcome.messages,
        mean(&outcome.times),
        quantile(&outcome.times, 0.99),
        outcome.lost,
        outcome.twice,
        outcome.out_of_order
    );
    Ok(Run { name, words, rate, outcome })
}
