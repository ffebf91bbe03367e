//! The result file: the sections that `tests/bench/report.py` renders, and the counts that a price can be put on.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::counts::Calls;
use crate::hot::{Batches, Spread, Webhook};
use crate::latency::Latencies;
use crate::load::{Outcome, Sample, mean, quantile};
use crate::world::{Books, CONCURRENCY};

#[derive(Serialize)]
pub(crate) struct Section {
    title: &'static str,
    text: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    goals: Vec<Goal>,
    plots: Vec<Plot>,
}

#[derive(Serialize)]
struct Goal {
    goal: &'static str,
    measured: String,
    met: bool,
    why: Option<String>,
}

impl Goal {
    /// `why` is said where the goal is not met.
    fn new(goal: &'static str, measured: String, met: bool, why: impl FnOnce() -> String) -> Self {
        Self { goal, measured, met, why: (!met).then(why) }
    }
}

#[derive(Serialize)]
struct Plot {
    file: String,
    title: String,
    kind: &'static str,
    x_label: &'static str,
    y_label: &'static str,
    log_x: bool,
    log_y: bool,
    series: BTreeMap<String, Vec<Json>>,
}

/// A load with its name.
pub(crate) struct Run {
    pub(crate) name: &'static str,
    pub(crate) words: String,
    /// Messages a second, on the whole.
    pub(crate) rate: f64,
    pub(crate) outcome: Outcome,
}

fn columns(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn milliseconds(value: f64) -> String {
    if value.is_nan() { "none".to_owned() } else { format!("{value:.0}") }
}

/// The far tail of a few messages is one message: none is said then.
fn tail(times: &[f64]) -> String {
    if times.len() >= 1000 {
        milliseconds(quantile(times, 0.999))
    } else {
        format!("max {}", milliseconds(quantile(times, 1.0)))
    }
}

/// Latency and the promises, one row a load.
pub(crate) fn latency(runs: &[Run], quick: bool) -> Section {
    let rows = runs
        .iter()
        .map(|run| {
            let Outcome { times, with_platform, webhook, lost, twice, out_of_order, refused, dead, .. } = &run.outcome;
            vec![
                run.words.clone(),
                run.outcome.messages.to_string(),
                milliseconds(mean(times)),
                milliseconds(quantile(times, 0.5)),
                milliseconds(quantile(times, 0.99)),
                tail(times),
                format!("{} / {}", milliseconds(mean(with_platform)), milliseconds(quantile(with_platform, 0.99))),
                format!("{} / {}", milliseconds(quantile(webhook, 0.5)), milliseconds(quantile(webhook, 0.99))),
                format!("{lost} / {twice} / {out_of_order}"),
                format!("{refused} / {dead}"),
            ]
        })
        .collect();
    let mut goals = Vec::new();
    let (assumed_mean, assumed_p99) = assumed();
    for (name, fast, seed) in [
        (
            "12",
            "12 a second: mean below 100 ms, P99 below 300 ms",
            "a million turns a day (11.6 a second): mean 300 ms, P99 500 ms",
        ),
        ("120", "120 a second: mean below 100 ms, P99 below 300 ms", ""),
    ] {
        let Some(run) = runs.iter().find(|run| run.name == name) else { continue };
        let times = &run.outcome.times;
        let (mean, p99) = (mean(times), quantile(times, 0.99));
        let measured = format!(
            "mean {mean:.0} ms, P99 {p99:.0} ms; the assumed latencies alone are {assumed_mean:.0} and {assumed_p99:.0} ms"
        );
        let why = || {
            "two queues and five calls of DynamoDB stand in a row, and take most of the time before anything is computed; \
             fewer of them in a row is the next idea"
                .to_owned()
        };
        goals.push(Goal::new(fast, measured.clone(), mean < 100.0 && p99 < 300.0, why));
        if !seed.is_empty() {
            goals.push(Goal::new(seed, measured, mean < 300.0 && p99 < 500.0, why));
        }
    }
    let sum = |of: fn(&Outcome) -> usize| runs.iter().map(|run| of(&run.outcome)).sum::<usize>();
    let (lost, twice, order) = (sum(|o| o.lost), sum(|o| o.twice), sum(|o| o.out_of_order));
    goals.push(Goal::new(
        "nothing lost, nothing twice, in order",
        format!("{lost} lost, {twice} twice, {order} out of order, of {} messages", sum(|o| o.all_messages)),
        lost + twice + order == 0,
        || "see the loads above: what is lost within the time waited may stand in a queue".to_owned(),
    ));
    let bars = |of: fn(&[f64]) -> f64| -> Vec<Json> {
        runs.iter().map(|run| json!([run.name, (of(&run.outcome.times) * 10.0).round() / 10.0])).collect()
    };
    let series = BTreeMap::from([
        ("mean".to_owned(), bars(mean)),
        ("P50".to_owned(), bars(|times| quantile(times, 0.5))),
        ("P99".to_owned(), bars(|times| quantile(times, 0.99))),
    ]);
    Section {
        title: "From the webhook to the platform",
        text: format!(
            "Each row is one {}run of the release binaries of telegram, inference and deliver behind stand-ins for Lambda, \
             DynamoDB, SQS, KMS and Telegram, with the latencies listed below. Milliseconds from the webhook's request to \
             the platform's receipt of the answer; questions from the pack's test.yaml, arrivals by a Poisson process, \
             open loop, after a warm-up.",
            if quick { "short " } else { "" }
        ),
        columns: columns(&[
            "load",
            "messages",
            "mean",
            "P50",
            "P99",
            "P99.9",
            "with the platform's time: mean / P99",
            "webhook's answer: P50 / P99",
            "lost / twice / out of order",
            "refused / dead",
        ]),
        rows,
        goals,
        plots: vec![Plot {
            file: "path-latency".to_owned(),
            title: "From the webhook to the platform".to_owned(),
            kind: "bar",
            x_label: "load, messages a second",
            y_label: "ms",
            log_x: false,
            log_y: false,
            series,
        }],
    }
}

/// What the assumed latencies take from the request to the send, without any work of ours: mean and P99 in milliseconds.
fn assumed() -> (f64, f64) {
    let Latencies { url, dynamodb, sqs, poll, .. } = Latencies::AWS;
    let one = |_| {
        let mut time = url.sample();
        // Claim; session read and written; send begun and slots reserved.
        for _ in 0..5 {
            time += dynamodb.sample();
        }
        for _ in 0..2 {
            time += sqs.sample() / 2 + poll.sample();
        }
        time.as_secs_f64() * 1e3
    };
    let mut times: Vec<f64> = (0..50_000).map(one).collect();
    times.sort_by(f64::total_cmp);
    (mean(&times), quantile(&times, 0.99))
}

/// What is assumed of AWS.
pub(crate) fn model() -> Section {
    let Latencies { url, dynamodb, sqs, poll, kms, environment, platform } = Latencies::AWS;
    let row = |what: &str, words: String, source: &str| vec![what.to_owned(), words, source.to_owned()];
    Section {
        title: "The latencies assumed",
        text: format!(
            "Added to the stand-ins' answers. Without any work of ours they add up to {:.0} ms in the mean. The hop from \
             queue to function is fitted to a published measurement (a test holds it to within 12 % at P10, P50, P90 and \
             P99); the rest are ranges that operators report and AWS does not publish, so the means above are good to \
             perhaps a quarter, and percentiles beyond P99 are guesses. Not in it: TLS, the processor share of 256 MB \
             (a seventh of one), SQS's short batches, throttling, and the way from the platform to AWS.",
            assumed().0
        ),
        columns: columns(&["what", "distribution", "source"]),
        rows: vec![
            row("function URL to event", url.words(), "no published figure found; commonly reported"),
            row(
                "DynamoDB, a call",
                dynamodb.words(),
                "\"single-digit millisecond\" by AWS; range as operators report it",
            ),
            row("SQS, a call", sqs.words(), "no published figure found; range as operators report it"),
            row(
                "SQS to a free poller to event",
                poll.words(),
                "with half a call: P10 13.7, P50 16.2, P90 33.8, P99 105 ms, \
                 bitesizedserverless.com/bite/serverless-messaging-latency-compared",
            ),
            row("KMS, a call", kms.words(), "\"often under 10 ms\""),
            row(
                "a new environment, before its process",
                environment.words(),
                "no published figure; the process is started and measured here",
            ),
            row("the platform's answer", platform.words(), "chosen"),
        ],
        goals: vec![],
        plots: vec![],
    }
}

/// Environments in use, one row a load, and over time.
pub(crate) fn concurrency(runs: &[Run]) -> Section {
    let rows = runs
        .iter()
        .map(|run| {
            let Outcome { timeline, environments, books, own_share, elapsed, .. } = &run.outcome;
            let mut row = vec![run.words.clone()];
            for function in 0..3 {
                let busy: Vec<f64> = timeline.iter().map(|(_, busy, _)| busy[function] as f64).collect();
                let most = busy.iter().copied().fold(0.0, f64::max);
                row.push(format!("{:.1} / {most:.0} / {}", mean(&busy), environments[function]));
            }
            let starts: u64 = books.functions.iter().map(|(.., usage)| usage.starts).sum();
            row.push(starts.to_string());
            row.push(timeline.iter().map(|(.., backlog)| *backlog).max().unwrap_or(0).to_string());
            let functions: f64 = books.functions.iter().map(|(.., usage)| usage.processor.as_secs_f64()).sum();
            row.push(format!("{:.0} % / {:.0} %", functions / elapsed.as_secs_f64() * 50.0, own_share * 100.0));
            row
        })
        .collect();
    let plots = runs
        .iter()
        .filter(|run| run.name != "12")
        .map(|run| {
            let line = |of: &dyn Fn(&Sample) -> usize| -> Vec<Json> {
                run.outcome
                    .timeline
                    .iter()
                    .map(|sample| json!([(sample.0 * 100.0).round() / 100.0, of(sample)]))
                    .collect()
            };
            let mut series = BTreeMap::from([("in the queues".to_owned(), line(&|sample| sample.2))]);
            for (function, name) in ["telegram", "inference", "deliver"].into_iter().enumerate() {
                series.insert(name.to_owned(), line(&|sample| sample.1[function]));
            }
            Plot {
                file: format!("path-concurrency-{}", run.name),
                title: format!("Environments in use: {}", run.words),
                kind: "line",
                x_label: "seconds",
                y_label: "environments, messages",
                log_x: false,
                log_y: false,
                series,
            }
        })
        .collect();
    Section {
        title: "Concurrency",
        text: format!(
            "Environments busy in the mean, at most, and started, sampled four times a second; MaximumConcurrency is \
             {CONCURRENCY} for both mappings, in place of the template's 3. Processor is the share of the machine's two that the \
             functions and the stand-ins took."
        ),
        columns: columns(&[
            "load",
            "telegram",
            "inference",
            "deliver",
            "starts",
            "most in the queues",
            "processors: functions / stand-ins",
        ]),
        rows,
        goals: vec![],
        plots,
    }
}

/// Where the machine ends.
pub(crate) fn saturation(runs: &[Run]) -> Section {
    let rows = runs
        .iter()
        .map(|run| {
            let Outcome { times, timeline, books, own_share, elapsed, messages, .. } = &run.outcome;
            let functions: f64 = books.functions.iter().map(|(.., usage)| usage.processor.as_secs_f64()).sum();
            let per: f64 = functions * 1e3 / run.outcome.all_messages as f64;
            vec![
                format!("{:.0}", run.rate),
                messages.to_string(),
                milliseconds(mean(times)),
                milliseconds(quantile(times, 0.99)),
                timeline.iter().map(|(.., backlog)| *backlog).max().unwrap_or(0).to_string(),
                format!("{per:.2}"),
                format!("{:.0} % / {:.0} %", functions / elapsed.as_secs_f64() * 50.0, own_share * 100.0),
            ]
        })
        .collect();
    let point = |of: fn(&[f64]) -> f64| -> Vec<Json> {
        runs.iter().map(|run| json!([run.rate, of(&run.outcome.times).round()])).collect()
    };
    let series =
        BTreeMap::from([("mean".to_owned(), point(mean)), ("P99".to_owned(), point(|times| quantile(times, 0.99)))]);
    Section {
        title: "Where this machine saturates",
        text: "Short loads at growing rates with the same latencies, each in a new world. Two processors carry functions and \
               stand-ins alike: once both are used up the queues grow and the time with them. That is this machine's end \
               and not the design's."
            .to_owned(),
        columns: columns(&["messages a second", "messages", "mean ms", "P99 ms", "most in the queues", "processor ms a message", "processors: functions / stand-ins"]),
        rows,
        goals: vec![],
        plots: vec![Plot {
            file: "path-saturation".to_owned(),
            title: "Time against rate on two processors".to_owned(),
            kind: "line",
            x_label: "messages a second",
            y_label: "ms",
            log_x: true,
            log_y: true,
            series,
        }],
    }
}

/// What one message used, by which a price can be put on it.
pub(crate) fn counts(books: &Books, messages: usize) -> Json {
    let per = |value: f64| (value / messages as f64 * 1e6).round() / 1e6;
    let mut lambda = serde_json::Map::new();
    for (name, gigabytes, usage) in &books.functions {
        let counted = json!({
            "requests": per(usage.requests as f64),
            "gb_seconds": per(usage.billed.as_secs_f64() * gigabytes),
            "milliseconds": per(usage.running.as_secs_f64() * 1e3),
            "processor_milliseconds": per(usage.processor.as_secs_f64() * 1e3),
            "starts": per(usage.starts as f64),
            "log_bytes": per(usage.log_bytes as f64),
            "log_lines": per(usage.log_lines as f64),
        });
        lambda.insert((*name).to_owned(), counted);
    }
    let mut services: BTreeMap<&str, BTreeMap<&str, [f64; 5]>> = BTreeMap::new();
    for ((service, _, target), tally) in &books.calls.0 {
        let sum = services.entry(service).or_default().entry(target).or_default();
        let of =
            [tally.requests as f64, tally.read_units, tally.write_units, tally.bytes_in as f64, tally.bytes_out as f64];
        for (sum, of) in sum.iter_mut().zip(of) {
            *sum += of;
        }
    }
    let targets = |service: &str| -> Json {
        let targets = services.get(service).into_iter().flatten();
        targets
            .map(|(target, [requests, read, write, bytes_in, bytes_out])| {
                let mut counted = json!({
                    "requests": per(*requests), "bytes_in": per(*bytes_in), "bytes_out": per(*bytes_out),
                });
                if service == "dynamodb" {
                    counted["read_units"] = json!(per(*read));
                    counted["write_units"] = json!(per(*write));
                }
                ((*target).to_owned(), counted)
            })
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    json!({
        "messages": messages,
        "lambda": lambda,
        "dynamodb": targets("dynamodb"),
        "sqs": targets("sqs"),
        "kms": { "requests": per(books.calls.requests("kms") as f64) },
    })
}

/// The counts in the report: what grows with each message.
pub(crate) fn costs(named: &[(String, Json)]) -> Section {
    let sum = |counts: &Json, service: &str, field: &str| -> f64 {
        counts[service].as_object().into_iter().flatten().filter_map(|(_, counted)| counted[field].as_f64()).sum()
    };
    let rows = named
        .iter()
        .map(|(name, counts)| {
            let lambda = |field| sum(counts, "lambda", field);
            vec![
                name.clone(),
                format!("{:.2}", lambda("requests")),
                format!("{:.4}", lambda("gb_seconds")),
                ["telegram", "inference", "deliver"]
                    .map(|name| format!("{:.4}", counts["lambda"][name]["gb_seconds"].as_f64().unwrap_or(0.0)))
                    .join(" / "),
                format!("{:.2}", sum(counts, "dynamodb", "requests")),
                format!("{:.2}", sum(counts, "dynamodb", "write_units")),
                format!("{:.2}", sum(counts, "dynamodb", "read_units")),
                format!("{:.2}", sum(counts, "sqs", "requests")),
                format!("{:.4}", counts["kms"]["requests"].as_f64().unwrap_or(0.0)),
                format!("{:.0}", lambda("log_bytes")),
                format!("{:.2}", lambda("processor_milliseconds")),
            ]
        })
        .collect();
    let gigabytes = |name: &str| {
        named.iter().find(|(known, _)| known.starts_with(name)).map(|(_, counts)| sum(counts, "lambda", "gb_seconds"))
    };
    let mut goals = Vec::new();
    if let (Some(few), Some(many)) = (gigabytes("12 a second"), gigabytes("1,200 a second")) {
        goals.push(Goal::new(
            "cost per message flat to 1,200 a second",
            format!("{few:.4} GB-seconds a message at 12 a second, {many:.4} at 1,200 (model): {:.2} x", many / few),
            many <= few * 1.05,
            || "more messages a second cost more each: see the counts".to_owned(),
        ));
    }
    Section {
        title: "What one message uses",
        text: "Counted over each load with its warm-up, a message; prices are put on these elsewhere (the key `counts` of \
               this file has them by function, table and queue). SQS includes what Lambda's pollers receive and delete for \
               each batch. Not in it: the pollers' empty receives, which five pollers a queue make every 20 s whether \
               anybody talks or not (about 1.3 million a month for both queues), and Lambda's own two log lines an \
               invocation."
            .to_owned(),
        columns: columns(&[
            "load", "Lambda requests", "GB-seconds", "of telegram / inference / deliver", "DynamoDB requests", "write units",
            "read units", "SQS requests", "KMS requests", "log bytes", "processor ms",
        ]),
        rows,
        goals,
        plots: vec![],
    }
}

/// What 1,200 a second take, from what full batches took.
pub(crate) fn projection(full: &Run, counts: &Json) -> Section {
    const RATE: f64 = 1200.0;
    let (mut rows, mut most, mut processors) = (Vec::new(), 0.0_f64, 0.0);
    for (name, _, usage) in &full.outcome.books.functions {
        let took = usage.running.as_secs_f64() / usage.requests as f64;
        let batch = full.outcome.all_messages as f64 / usage.requests as f64;
        let concurrency = RATE / batch * took;
        let processor = usage.processor.as_secs_f64() * 1e3 / full.outcome.all_messages as f64;
        processors += processor;
        if *name != "telegram" {
            most = most.max(concurrency);
        }
        rows.push(vec![
            (*name).to_owned(),
            format!("{batch:.1}"),
            format!("{:.0}", took * 1e3),
            format!("{concurrency:.1}"),
            format!("{:.0}", CONCURRENCY as f64 * batch / took),
            format!("{processor:.2}"),
            format!("{:.2}", processor * RATE / 1e3),
        ]);
    }
    let gigabytes: f64 =
        counts["lambda"].as_object().into_iter().flatten().filter_map(|(_, f)| f["gb_seconds"].as_f64()).sum();
    Section {
        title: "1,200 a second: a model",
        text: format!(
            "Not run: {RATE} messages a second take {:.1} processors for the functions alone. By Little's law from a load \
             whose mappings waited for full batches ({}), concurrency is the rate in batches times their duration; \
             the ceiling is what MaximumConcurrency {CONCURRENCY} carries; a message takes {gigabytes:.4} GB-seconds.",
            processors * RATE / 1e3,
            full.words
        ),
        columns: columns(&[
            "function",
            "messages a batch",
            "ms a batch",
            "concurrency at 1,200/s",
            "messages a second at a concurrency of 10",
            "processor ms a message",
            "processors at 1,200/s",
        ]),
        rows,
        goals: vec![Goal::new(
            "1,200 a second within a concurrency of 10",
            format!("the largest needs {most:.1} of {CONCURRENCY}"),
            most <= CONCURRENCY as f64,
            || {
                format!(
                    "a batch of sends takes as long as its slowest send: DeliverConcurrency has to be above {:.0} for this \
                     rate, and it costs nothing while it is not used",
                    most.ceil()
                )
            },
        )],
        plots: vec![],
    }
}

fn spread(spread: &Spread, digits: usize) -> String {
    let [median, p10, p90] = spread.0;
    format!("{median:.digits$} ({p10:.digits$} to {p90:.digits$})")
}

/// Processor time of a webhook request.
pub(crate) fn webhook(measured: &Webhook) -> Section {
    let Webhook { hello, calls, ours, beyond, requests } = measured;
    let row = |what: &str, taken: &Spread| vec![what.to_owned(), spread(taken, 0)];
    let beyond_all = ours.median() - hello.median();
    Section {
        title: "Processor time of a webhook request",
        text: format!(
            "{requests} requests each, in rounds that take turns, one at a time on one processor, all latencies zero, \
             without TLS: microseconds of user and system time of the process, median and P10 to P90 of the rounds. The \
             second row makes the two calls that every message needs, with the same SDK, and nothing else."
        ),
        columns: columns(&["function", "µs a request"]),
        rows: vec![
            row("an empty lambda_http handler", hello),
            row("the same with a bare UpdateItem and SendMessage", calls),
            row("telegram", ours),
            row("telegram beyond the two calls", beyond),
            vec!["telegram beyond the empty handler".to_owned(), format!("{beyond_all:.0}")],
        ],
        goals: vec![Goal::new(
            "below 150 µs beyond the AWS calls",
            format!("{:.0} µs", beyond.median()),
            beyond.median() < 150.0,
            || "perf record of the process says where".to_owned(),
        )],
        plots: vec![],
    }
}

/// What inference does besides encoding.
pub(crate) fn inference(measured: &Batches) -> Section {
    let Batches { invocation, encode, outside, processor, processor_encode, processor_outside, batches } = measured;
    let percent = |spread: &Spread| Spread(spread.0.map(|share| share * 100.0));
    let (share, processor_share) = (percent(outside), percent(processor_outside));
    Section {
        title: "Inference outside the model",
        text: format!(
            "{batches} batches of ten questions of the pack's test.yaml, each of ten conversations, through the inference \
             function with all latencies zero, and the same ten through the encoder alone (tokenizer and model), batch by \
             batch in turn on the same processor, with the stand-ins on the other. An invocation makes three \
             calls, BatchGetItem, BatchExecuteStatement and SendMessageBatch; what the stand-ins take to answer them is in it."
        ),
        columns: columns(&["what", "median (P10 to P90)"]),
        rows: vec![
            vec!["an invocation, ms".to_owned(), spread(invocation, 2)],
            vec!["the encoder alone, ms".to_owned(), spread(encode, 2)],
            vec!["outside the encoder, % of the invocation".to_owned(), spread(&share, 1)],
            vec!["processor time of an invocation, ms".to_owned(), spread(processor, 2)],
            vec!["processor time of the encoder alone, ms".to_owned(), spread(processor_encode, 2)],
            vec!["processor time outside the encoder, %".to_owned(), spread(&processor_share, 1)],
        ],
        goals: vec![Goal::new(
            "below 10 % of a batch of ten",
            format!("{:.1} %", share.median()),
            share.median() < 10.0,
            || {
                format!(
                    "{:.1} ms of processor time go to ten answers and three calls, and the rest to waiting for them; a \
                     bare call costs about as much as in the table of the webhook. Comparing each \
                     question with every example of the pack is a million instructions (`make guard`); the next idea is to \
                     look for less in the calls",
                    processor.median() - processor_encode.median()
                )
            },
        )],
        plots: vec![],
    }
}

/// Which calls a message makes.
pub(crate) fn requests(calls: &Calls, messages: usize) -> Section {
    let per = |requests: u64| requests as f64 / messages as f64;
    let mut rows: Vec<(f64, Vec<String>)> = calls
        .0
        .iter()
        .map(|((service, operation, target), tally)| {
            let requests = per(tally.requests);
            let row = vec![
                (*service).to_owned(),
                operation.clone(),
                (*target).to_owned(),
                format!("{requests:.3}"),
                format!("{:.2}", tally.write_units / messages as f64),
                format!("{:.2}", tally.read_units / messages as f64),
                format!(
                    "{:.0} / {:.0}",
                    tally.bytes_in as f64 / tally.requests as f64,
                    tally.bytes_out as f64 / tally.requests as f64
                ),
                format!("{:.1} %", tally.refused as f64 * 100.0 / tally.requests as f64),
            ];
            (requests, row)
        })
        .collect();
    rows.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let made = |lambda: bool| -> f64 {
        calls
            .0
            .iter()
            .filter(|((_, name, _), _)| name.ends_with("(Lambda)") == lambda)
            .map(|(_, t)| per(t.requests))
            .sum()
    };
    let (ours, polled) = (made(false), made(true));
    Section {
        title: "AWS requests of a message",
        text: format!(
            "{messages} messages of as many people, all latencies zero, both mappings waiting for full batches of ten, keys \
             read before: {ours:.2} requests by the functions and {polled:.2} by Lambda's pollers."
        ),
        columns: columns(&[
            "service",
            "operation",
            "on",
            "requests a message",
            "write units",
            "read units",
            "bytes in / out",
            "condition failed",
        ]),
        rows: rows.into_iter().map(|(_, row)| row).collect(),
        goals: vec![Goal::new(
            "at most 3.0 requests a message at batches of ten",
            format!("{ours:.2}"),
            ours <= 3.0,
            || {
                "five calls are one for each message: claim and queue (nothing is acknowledged before both), session, send begun \
             and send settled. Claim and queueing could be one only with a table's stream for a queue; the settled mark could \
             be written ten at a time or with the next reply's begin, at the price of the order's wait; the session's write \
             could carry the reply as well, which the outbound queue then needed no more than a stream. Each gives up \
             something that a promise rests on"
                .to_owned()
            },
        )],
        plots: vec![],
    }
}

/// The whole file.
pub(crate) fn file(sections: &[Section], counts: &[(String, Json)]) -> Json {
    let counts: serde_json::Map<String, Json> = counts.iter().cloned().collect();
    json!({
        "name": "path",
        "title": "The whole path under load",
        "command": "make bench-path",
        "sections": sections,
        "counts": counts,
    })
}
