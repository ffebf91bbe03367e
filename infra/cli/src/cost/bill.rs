//! What a month costs.
//!
//! A month is 730 hours. Messages come at random, at all hours alike (a Poisson process), so that what depends on how near
//! they come to each other is a formula and not a simulation:
//!
//! - **Batches.** A message that finds a free poller is a batch of one. A poller that is busy for `d` seconds finds what came
//!   meanwhile: of `r` messages a second and `c` pollers, `r·d/c`. So a batch has one message until the pollers are busy all
//!   of the time, then as many as come while one is handled, and never more than ten.
//! - **Receives.** A poller waits up to 20 s for a message, and is billed for each wait. With `p` pollers and `b` batches a
//!   second a wait ends after `(1 − e^(−20b/p))·p/b` seconds on average. With `b` → 0 that is 20 s: what is polled while
//!   nobody talks; with many batches each wait brings one, and idle polls are gone.
//! - **New environments.** A run that comes more than ten minutes after the one before it starts a new one.
//! - **Quota.** A function whose share is `s` sends a second asks the table for a send that comes less than `1/s` seconds
//!   after one by its share: of `r` a second, all by one function, for `r/(s + r)` of them, but not more than once a second;
//!   and for its first one.
//! - **Secrets.** Read again by the first run after the five minutes of the cache.
//! - **Metrics.** Billed for each hour in which a value came.

use std::collections::BTreeMap;

use serde::Serialize;

use super::tables::{Counts, Function, Meter, Per, Prices, Runs, Trigger};

/// Hours in a month, as AWS's calculator has it.
pub(super) const HOURS: f64 = 730.0;
const SECONDS: f64 = HOURS * 3600.0;
const DAYS: f64 = HOURS / 24.0;
const GB: f64 = 1e9;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Messages a month.
    pub(super) messages: f64,
    /// The share of messages that a language model answers.
    pub(super) llm_share: f64,
    /// On Graviton.
    pub(super) arm: bool,
    /// With the same functions written in Python.
    pub(super) python: bool,
    /// Messages in each batch, where it is not to follow from the load.
    pub(super) batch: Option<f64>,
}

/// One line of the bill.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    pub(super) service: &'static str,
    pub(super) item: String,
    pub(super) idle_units: f64,
    pub(super) units: f64,
    /// US dollars a month while nobody talks.
    pub(super) idle_usd: f64,
    /// US dollars for a million messages, besides those.
    pub(super) per_million_usd: f64,
    /// US dollars this month, with both.
    pub(super) month_usd: f64,
}

/// A bill.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Bill {
    pub(super) lines: Vec<Line>,
    pub(super) idle_usd: f64,
    pub(super) per_million_usd: f64,
    pub(super) month_usd: f64,
    /// Messages in a batch of inference, and of deliver.
    pub(super) batches: [f64; 2],
}

impl Bill {
    pub(super) fn of(counts: &Counts, prices: &Prices, load: Load) -> Self {
        let used = usage(counts, load);
        let idle = usage(counts, Load { messages: 0.0, ..load });
        // Without messages there is no price of one: that of a message among few stands in.
        let some = Load { messages: load.messages.max(1.0), ..load };
        let one = usage(counts, some);
        let get = |usage: &BTreeMap<Key, f64>, key: &Key| usage.get(key).copied().unwrap_or(0.0);
        let mut lines: Vec<Line> = one
            .keys()
            .map(|key| {
                let (service, unit) = key.0.label();
                let usd = prices.usd(key.0);
                let billed = |usage| prices.billed(key.0, get(usage, key));
                let (units, idle_units) = (get(&used, key), get(&idle, key));
                Line {
                    service,
                    item: if key.1.is_empty() { unit.to_owned() } else { format!("{unit}, {}", key.1) },
                    idle_units,
                    units,
                    idle_usd: billed(&idle) * usd,
                    per_million_usd: (billed(&one) - billed(&idle)) * usd / some.messages * 1e6,
                    month_usd: billed(&used) * usd,
                }
            })
            .collect();
        lines.retain(|line| line.idle_units > 0.0 || line.per_million_usd != 0.0);
        let sum = |of: fn(&Line) -> f64| lines.iter().map(of).sum();
        Self {
            idle_usd: sum(|line| line.idle_usd),
            per_million_usd: sum(|line| line.per_million_usd),
            month_usd: sum(|line| line.month_usd),
            batches: [Function::Inference, Function::Deliver].map(|function| batch(counts, function, load)),
            lines,
        }
    }

    /// What each service costs for a million messages, the dearest first.
    pub(super) fn services(&self) -> Vec<(String, f64)> {
        let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
        for line in &self.lines {
            // Metrics are a price of their own: nobody thinks of logs there.
            let name = if line.item.starts_with("metric") { "CloudWatch metrics" } else { line.service };
            *sums.entry(name).or_default() += line.per_million_usd;
        }
        let mut sums: Vec<(String, f64)> = sums.into_iter().map(|(name, usd)| (name.to_owned(), usd)).collect();
        sums.sort_by(|a, b| b.1.total_cmp(&a.1));
        sums
    }
}

/// A month of a machine that runs all the time, with its disk and its address.
pub(super) fn server(counts: &Counts, prices: &Prices, machine: Meter) -> f64 {
    HOURS * (prices.usd(machine) + prices.usd(Meter::PublicAddressHour))
        + counts.server.disk_gb * prices.usd(Meter::DiskGbMonth)
}

type Key = (Meter, &'static str);

/// What is used in a month.
fn usage(counts: &Counts, load: Load) -> BTreeMap<Key, f64> {
    let mut usage: BTreeMap<Key, f64> = BTreeMap::new();
    let mut add = |meter: Meter, item: &'static str, units: f64| *usage.entry((meter, item)).or_default() += units;
    let n = load.messages;

    let compute = if load.arm { Meter::LambdaGbSecondArm } else { Meter::LambdaGbSecondX86 };
    for (&function, figures) in functions(counts, load) {
        let runs = runs(counts, function, load);
        let new = new_environments(counts, runs);
        let seconds = (runs * duration(figures, batch(counts, function, load)) + new * figures.cold_ms) / 1e3;
        add(Meter::LambdaRequest, function.as_str(), runs);
        add(compute, function.as_str(), seconds * figures.memory_mb / 1024.0);
    }
    for call in &counts.calls {
        let times = match call.per {
            Per::Message => n,
            Per::Batch | Per::Hour => runs(counts, call.function, load),
            Per::Poll => receives(counts, runs(counts, call.function, load)),
            Per::Key => keys(counts, call.function, load),
            Per::Surplus => surplus(counts, call.function, load),
        };
        add(call.price, call.function.as_str(), times * call.units.most());
    }
    let mut logged = 0.0;
    for log in &counts.logs {
        let runs = runs(counts, log.function, load);
        let counted = if log.function == Function::Rotate { runs } else { n };
        let gb = (runs * log.platform_bytes + counted * log.count_bytes) / GB;
        add(Meter::LogGb, log.function.as_str(), gb);
        logged += gb;
    }
    add(Meter::LogGbMonth, "", logged * counts.kept.log_compressed * counts.kept.log_days / DAYS);
    for metric in &counts.metrics {
        add(Meter::MetricHour, "", HOURS * some(n * metric.share / HOURS));
    }
    let kept = (counts.kept.idle_bytes + n * counts.kept.message_bytes * counts.kept.days / DAYS) / GB;
    add(Meter::DynamodbGbMonth, "", kept);
    add(Meter::DynamodbRecoveryGbMonth, "", kept);
    add(Meter::OutGb, "webhook", n * counts.out.webhook_bytes / GB);
    add(Meter::OutGb, "deliver", n * counts.out.deliver_bytes / GB);
    add(Meter::KmsKeyMonth, "", counts.kept.fixed.keys);
    add(Meter::AlarmMonth, "", counts.kept.fixed.alarms);
    add(Meter::S3GbMonth, "", counts.kept.bundle_gb);
    add(Meter::LlmInputToken, "", n * load.llm_share * counts.llm.input_tokens);
    add(Meter::LlmOutputToken, "", n * load.llm_share * counts.llm.output_tokens);
    usage
}

fn functions(counts: &Counts, load: Load) -> &BTreeMap<Function, Runs> {
    if load.python { &counts.python } else { &counts.functions }
}

/// Milliseconds of a run with so many messages.
fn duration(figures: &Runs, messages: f64) -> f64 {
    figures.fixed_ms + figures.message_ms * messages
}

/// Messages in a batch of a function.
fn batch(counts: &Counts, function: Function, load: Load) -> f64 {
    let figures = &functions(counts, load)[&function];
    if figures.runs != Trigger::Batch {
        return 1.0;
    }
    if let Some(batch) = load.batch {
        return batch;
    }
    // r·d/c with d = fixed + message·batch, solved for the batch.
    let per_ms = load.messages / SECONDS / 1e3;
    let rest = counts.mapping.concurrency - per_ms * figures.message_ms;
    let batch = if rest > 0.0 { per_ms * figures.fixed_ms / rest } else { f64::INFINITY };
    batch.clamp(1.0, counts.mapping.batch_size)
}

/// Runs of a function in a month.
fn runs(counts: &Counts, function: Function, load: Load) -> f64 {
    match functions(counts, load)[&function].runs {
        Trigger::Message => load.messages,
        Trigger::Batch => load.messages / batch(counts, function, load),
        Trigger::Hour => HOURS,
    }
}

/// Receives of a mapping that brings so many batches.
fn receives(counts: &Counts, batches: f64) -> f64 {
    // Batches of one poller while it could wait.
    let expected = batches / SECONDS / counts.mapping.pollers * counts.mapping.poll_seconds;
    let idle = SECONDS / counts.mapping.poll_seconds * counts.mapping.pollers;
    // The limit of x / (1 − e^−x) at 0 is 1.
    if expected < 1e-9 { idle } else { idle * expected / some(expected) }
}

/// Messages for which a function asks the quota's table.
fn surplus(counts: &Counts, function: Function, load: Load) -> f64 {
    let a_second = load.messages / SECONDS;
    if a_second <= 0.0 {
        return 0.0;
    }
    let beyond = load.messages * a_second / (counts.traffic.deliver_share + a_second);
    (beyond + new_environments(counts, runs(counts, function, load))).min(SECONDS * some(a_second))
}

/// Runs that start a new environment.
fn new_environments(counts: &Counts, runs: f64) -> f64 {
    runs * (-runs / SECONDS * counts.traffic.environment_seconds).exp()
}

/// How often the environments of a function read their secret.
fn keys(counts: &Counts, function: Function, load: Load) -> f64 {
    let runs = runs(counts, function, load);
    let busy = runs / SECONDS * duration(&functions(counts, load)[&function], batch(counts, function, load)) / 1e3;
    let environments = busy.max(1.0);
    environments * runs / (environments + counts.traffic.key_cache_seconds * runs / SECONDS)
}

/// The chance that anything comes, where so many are expected.
fn some(expected: f64) -> f64 {
    -(-expected).exp_m1()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> (Counts, Prices) {
        (Counts::own().expect("a table"), Prices::own().expect("a table"))
    }

    fn load(messages: f64) -> Load {
        Load { messages, llm_share: 0.0, arm: false, python: false, batch: None }
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * b.abs().max(1e-6)
    }

    /// A function of 1 GB that runs 100 ms for each message, with one write, and nothing else: 0.20 for the requests, 100,000
    /// GB-seconds and a million writes.
    #[test]
    fn a_simple_bill_adds_up_by_hand() {
        let (mut counts, prices) = tables();
        counts.calls.retain(|call| call.code.ends_with("Claims::claim"));
        counts.logs.clear();
        counts.metrics.clear();
        (counts.out.webhook_bytes, counts.out.deliver_bytes) = (0.0, 0.0);
        (counts.kept.message_bytes, counts.kept.idle_bytes, counts.kept.bundle_gb) = (0.0, 0.0, 0.0);
        (counts.kept.fixed.keys, counts.kept.fixed.alarms) = (1.0, 2.0);
        for figures in counts.functions.values_mut() {
            (figures.runs, figures.memory_mb, figures.fixed_ms) = (Trigger::Hour, 0.0, 0.0);
            (figures.message_ms, figures.cold_ms) = (0.0, 0.0);
        }
        let webhook = counts.functions.get_mut(&Function::Webhook).expect("it is there");
        (webhook.runs, webhook.memory_mb, webhook.fixed_ms) = (Trigger::Message, 1024.0, 100.0);
        let bill = Bill::of(&counts, &prices, load(2e6));
        // Two alarms are among the ten that are free.
        assert!(near(bill.idle_usd, 1.0 + 3.0 * 730.0 * 0.2 / 1e6), "{}", bill.idle_usd);
        assert!(near(bill.per_million_usd, 0.20 + 1e5 * 0.000_016_666_7 + 0.625), "{}", bill.per_million_usd);
        assert!(near(bill.month_usd, bill.idle_usd + 2.0 * bill.per_million_usd));
    }

    #[test]
    fn nobody_talking_is_no_messages() {
        let (counts, prices) = tables();
        let bill = Bill::of(&counts, &prices, load(0.0));
        assert!(near(bill.month_usd, bill.idle_usd));
        assert!(bill.per_million_usd > 0.0, "the first message has its price");
        let busy = Bill::of(&counts, &prices, load(1e6));
        assert!(near(busy.idle_usd, bill.idle_usd), "what is idle does not depend on the load");
    }

    #[test]
    fn more_messages_never_cost_less() {
        let (counts, prices) = tables();
        for python in [false, true] {
            for arm in [false, true] {
                let mut before = 0.0;
                for step in 0..400 {
                    let messages = if step == 0 { 0.0 } else { 1.06_f64.powi(step) };
                    let month = Bill::of(&counts, &prices, Load { python, arm, ..load(messages) }).month_usd;
                    assert!(month >= before, "{messages}: {month} after {before}");
                    before = month;
                }
            }
        }
    }

    #[test]
    fn batches_grow_only_where_the_pollers_are_busy() {
        let (counts, _) = tables();
        let of = |a_second: f64| batch(&counts, Function::Inference, load(a_second * SECONDS));
        assert!(near(of(0.4), 1.0) && near(of(100.0), 1.0));
        let busy = of(250.0);
        assert!(busy > 1.0 && busy < 10.0, "{busy}");
        // Three pollers, each busy for fixed + message·batch: just what comes meanwhile.
        let figures = &counts.functions[&Function::Inference];
        assert!(near(busy, 0.25 * duration(figures, busy) / 3.0));
        assert!(near(of(1e5), 10.0));
    }

    #[test]
    fn a_send_within_the_functions_share_asks_nobody() {
        let (mut counts, _) = tables();
        let asked = |counts: &Counts, a_second: f64| surplus(counts, Function::Deliver, load(a_second * SECONDS));
        assert!(near(asked(&counts, 0.0), 0.0));
        // One in ten hours: nearly each starts an environment.
        let rare = asked(&counts, 1.0 / 36_000.0) / (SECONDS / 36_000.0);
        assert!((0.98..1.0).contains(&rare), "{rare}");
        // A million a month.
        let (rate, million) = (1e6 / SECONDS, asked(&counts, 1e6 / SECONDS));
        assert!(near(million, 1e6 * rate / (1.0 + rate)) && million < 0.3e6, "{million}");
        assert!(asked(&counts, 500.0) <= SECONDS, "a write a second at most");
        counts.traffic.deliver_share = 0.0;
        assert!(near(asked(&counts, 0.1), SECONDS * some(0.1)), "without a share it is one in each second with a send");
    }

    #[test]
    fn idle_mappings_are_polled_as_documented() {
        let (counts, _) = tables();
        // Five, each every 20 s, for 730 hours.
        assert!(near(receives(&counts, 0.0), 657_000.0));
        assert!(receives(&counts, 1.0) < 657_002.0);
        assert!(near(receives(&counts, 1e9), 1e9), "every receive brings a batch");
    }

    #[test]
    fn a_metric_costs_no_more_than_its_month() {
        let (mut counts, prices) = tables();
        counts.metrics.iter_mut().for_each(|metric| metric.share = 1.0);
        let metrics = |messages| -> f64 {
            let bill = Bill::of(&counts, &prices, load(messages));
            bill.lines.iter().filter(|line| line.item.starts_with("metric")).map(|line| line.month_usd).sum()
        };
        let series = counts.metrics.len() as f64;
        assert!(metrics(1e8) < series * 0.30 + 0.001 && metrics(1e8) > series * 0.29);
        assert!(metrics(1.0) < 5.0 * 0.30 / 730.0);
    }

    #[test]
    fn alarms_are_billed_beyond_the_free_ones() {
        let (mut counts, prices) = tables();
        let of = |counts: &Counts| Bill::of(counts, &prices, load(1e6)).idle_usd;
        let own = of(&counts);
        counts.kept.fixed.alarms = 13.0;
        assert!(near(of(&counts) - own, 0.30));
    }

    /// Items do not grow with the conversation, so the thousandth message costs what the first one does.
    #[test]
    fn a_message_writes_as_much_at_any_length_of_its_conversation() {
        let (counts, _) = tables();
        assert_eq!(counts.writes(), [(1, 4.0), (10, 4.0), (140, 4.0), (1000, 4.0)]);
    }

    #[test]
    fn a_model_costs_by_its_share() {
        let (counts, prices) = tables();
        let of = |llm_share| Bill::of(&counts, &prices, Load { llm_share, ..load(1e6) }).per_million_usd;
        let answer = 1_500.0 * 0.06 / 1e6 + 150.0 * 0.24 / 1e6;
        assert!(near(of(0.5) - of(0.0), 0.5 * 1e6 * answer));
    }
}
