//! `hoopoe cost`: what a month on AWS costs, and what of it while nobody talks to the bot.
//!
//! | module | what is in it |
//! |---|---|
//! | [`tables`] | `counts.toml`, what a message uses, and `prices.toml`, what that costs |
//! | [`bill`] | the bill, and the formulas for what depends on the load |
//! | [`show`] | what a person reads |
//!
//! Nothing is asked of AWS: the two tables are all there is to it, and are wrong where they are wrong.

mod bill;
mod show;
mod tables;

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::output;
use bill::{Bill, HOURS, Load, server};
use show::grouped;
use tables::{Counts, Function, Meter, Per, Prices};

const EXAMPLES: &str = "\
Examples:
  hoopoe cost                                  a thousand messages a day
  hoopoe cost --details                        every line of the bill, what would lower it, the project's own goals
  hoopoe cost --messages-per-day 0             what it costs while nobody talks
  hoopoe cost --messages-per-day 32877         a million a month
  hoopoe cost --architecture arm64
  hoopoe cost --llm-share 0.2                  if a model wrote every fifth answer
  hoopoe cost --counts measured.toml           with other counts, in the form of infra/cli/src/cost/counts.toml
  hoopoe cost --json | jq .goals
";

/// Goals, in US dollars.
const PER_MILLION: f64 = 7.0;
const IDLE: f64 = 2.0;

/// What KMS adds to a month, in US dollars, for the first yearly rotation of a key, and again for the second.
const KEY_ROTATION: f64 = 1.0;

/// Says what a month on AWS costs, by list prices without a free tier.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Cost {
    /// Messages that people send in a day.
    #[arg(long, value_name = "N", default_value_t = 1000.0)]
    messages_per_day: f64,
    /// The share of messages that a language model answers, 0 to 1: an estimate, as no function does that yet.
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    llm_share: f64,
    /// The processor of the functions.
    #[arg(long, value_enum, default_value_t = Architecture::X86_64)]
    architecture: Architecture,
    /// Counts other than those that come with the command.
    #[arg(long, value_name = "FILE")]
    counts: Option<PathBuf>,
    /// Show every line of the bill, what would lower it, and how far the project's own goals are met.
    #[arg(long)]
    details: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
enum Architecture {
    #[value(name = "x86_64")]
    X86_64,
    Arm64,
}

/// All that the command says.
#[derive(Debug, Serialize)]
struct Report {
    messages_per_day: f64,
    messages_per_month: f64,
    llm_share: f64,
    architecture: Architecture,
    region: String,
    prices_of: String,
    counts: String,
    bill: Bill,
    /// US dollars for a million messages, in batches of one and of ten.
    per_million_in_batches_of_1_usd: f64,
    per_million_in_batches_of_10_usd: f64,
    /// DynamoDB's write units for a message, by its number in the conversation.
    writes: Vec<(u32, f64)>,
    /// What each service costs for a million messages, the dearest first.
    services: Vec<(String, f64)>,
    others: Vec<Other>,
    levers: Vec<Saving>,
    with_settings: Sum,
    with_all: Sum,
    goals: Vec<Goal>,
    notes: Vec<String>,
    /// Whether a person reads all of it; JSON is always whole.
    #[serde(skip)]
    details: bool,
}

/// Another way to run the bot.
#[derive(Debug, Serialize)]
struct Other {
    name: &'static str,
    idle_usd: f64,
    month_usd: f64,
}

/// What a change saves, alone.
#[derive(Debug, Serialize)]
struct Saving {
    what: &'static str,
    /// A parameter of the template, and no change of the code.
    setting: bool,
    per_million_usd: f64,
    idle_usd: f64,
}

#[derive(Debug, Serialize)]
struct Sum {
    per_million_usd: f64,
    idle_usd: f64,
}

#[derive(Debug, Serialize)]
struct Goal {
    goal: String,
    measured: String,
    met: bool,
    why: Option<String>,
}

/// A change that makes the bill smaller.
struct Lever {
    what: &'static str,
    setting: bool,
    pull: fn(&mut Counts, &mut Load),
}

const LEVERS: [Lever; 4] = [
    Lever {
        what: "InferenceConcurrency=none DeliverConcurrency=none: idle queues are polled by 2 and not by 5",
        setting: true,
        pull: |counts, _| {
            counts.mapping.pollers = counts.mapping.pollers_without_limit;
            // Nobody knows then how many functions divide a bot's quota.
            counts.traffic.deliver_share = 0.0;
        },
    },
    Lever { what: "Architecture=arm64, at the same speed", setting: true, pull: |_, load| load.arm = true },
    Lever {
        what: "InferenceMemory=1024: three fifths of a core, an answer is some 4 ms slower",
        setting: true,
        pull: |counts, _| {
            if let Some(inference) = counts.functions.get_mut(&Function::Inference) {
                let slower = inference.memory_mb / 1024.0;
                // Of the fixed part it is a tenth that is not spent waiting for AWS.
                inference.fixed_ms *= 0.9 + 0.1 * slower;
                inference.message_ms *= slower;
                inference.memory_mb = 1024.0;
            }
        },
    },
    Lever {
        what: "functions that invoke the next one asynchronously (a request that is counted), queues for what must wait only",
        setting: false,
        pull: |counts, _| {
            counts.calls.retain(|call| !matches!(call.price, Meter::SqsRequest | Meter::SqsFairRequest));
        },
    },
];

impl Cost {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// When the load makes no sense or the counts cannot be read.
    pub(crate) fn run(self, json: bool) -> anyhow::Result<()> {
        let counts = match &self.counts {
            None => Counts::own()?,
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
                Counts::parse(&text).with_context(|| path.display().to_string())?
            }
        };
        output::result(&self.report(&counts, &Prices::own()?)?, json)
    }

    fn report(&self, counts: &Counts, prices: &Prices) -> anyhow::Result<Report> {
        if !(0.0..=1e10).contains(&self.messages_per_day) {
            bail!("--messages-per-day is a number from 0 to ten thousand million");
        }
        if !(0.0..=1.0).contains(&self.llm_share) {
            bail!("--llm-share is a share from 0 to 1");
        }
        let load = Load {
            messages: self.messages_per_day * HOURS / 24.0,
            llm_share: self.llm_share,
            arm: self.architecture == Architecture::Arm64,
            python: false,
            batch: None,
        };
        let of = |load| Bill::of(counts, prices, load);
        let bill = of(load);
        let python = of(Load { python: true, ..load });
        let machine = |name, meter| {
            let month_usd = server(counts, prices, meter);
            Other { name, idle_usd: month_usd, month_usd }
        };
        let others = vec![
            Other { name: "the same in Python", idle_usd: python.idle_usd, month_usd: python.month_usd },
            machine("one t3.medium, 2 cores at a fifth", Meter::T3MediumHour),
            machine("one c7i.large, 2 cores", Meter::C7iLargeHour),
        ];
        // What a model costs is no cost of the stack: the goals and what would lower them are without it.
        let stack = Load { llm_share: 0.0, ..load };
        let bare = of(stack);
        let levers = LEVERS
            .iter()
            .map(|lever| {
                let after = pulled(counts, prices, stack, |other| other.what == lever.what);
                Saving {
                    what: lever.what,
                    setting: lever.setting,
                    per_million_usd: bare.per_million_usd - after.per_million_usd,
                    idle_usd: bare.idle_usd - after.idle_usd,
                }
            })
            .collect();
        let with_settings = pulled(counts, prices, stack, |lever| lever.setting);
        let with_all = pulled(counts, prices, stack, |_| true);
        // The goal is for a busy month in the dear case.
        let million = Load { messages: 1e6, batch: Some(1.0), ..stack };
        let goals = goals(
            &bare,
            &of(million),
            &pulled(counts, prices, million, |_| true),
            &pulled(counts, prices, million, |lever| lever.setting),
            &with_settings,
        );
        let sum = |bill: &Bill| Sum { per_million_usd: bill.per_million_usd, idle_usd: bill.idle_usd };
        Ok(Report {
            messages_per_day: self.messages_per_day,
            messages_per_month: load.messages,
            llm_share: self.llm_share,
            architecture: self.architecture,
            region: prices.region.clone(),
            prices_of: prices.date.clone(),
            counts: counts.origin.clone(),
            per_million_in_batches_of_1_usd: of(Load { batch: Some(1.0), ..load }).per_million_usd,
            per_million_in_batches_of_10_usd: of(Load { batch: Some(10.0), ..load }).per_million_usd,
            writes: counts.writes(),
            services: bill.services(),
            others,
            levers,
            with_settings: sum(&with_settings),
            with_all: sum(&with_all),
            goals,
            notes: notes(counts, prices),
            details: self.details,
            bill,
        })
    }
}

/// The bill with some levers pulled.
fn pulled(counts: &Counts, prices: &Prices, mut load: Load, which: impl Fn(&Lever) -> bool) -> Bill {
    let mut counts = counts.clone();
    LEVERS.iter().filter(|lever| which(lever)).for_each(|lever| (lever.pull)(&mut counts, &mut load));
    Bill::of(&counts, prices, load)
}

fn goals(
    bill: &Bill,
    million: &Bill,
    million_with_all: &Bill,
    million_with_settings: &Bill,
    with_settings: &Bill,
) -> Vec<Goal> {
    let dear = |bill: &Bill| {
        let dearest = bill.services().into_iter().take(3).map(|(name, usd)| format!("{name} {usd:.2}"));
        dearest.collect::<Vec<_>>().join(", ")
    };
    let per_million = Goal {
        goal: format!("a million messages a month, in batches of one, for at most {PER_MILLION:.2} USD, AWS alone"),
        measured: format!("{:.2} USD", million.per_million_usd),
        met: million.per_million_usd <= PER_MILLION,
        why: Some(format!(
            "{}; with the settings above it is {:.2}, with all of the changes {:.2}, of which {}",
            dear(million),
            million_with_settings.per_million_usd,
            million_with_all.per_million_usd,
            dear(million_with_all),
        )),
    };
    let mut idle: Vec<_> = bill.lines.iter().filter(|line| line.idle_usd >= 0.1).collect();
    idle.sort_by(|a, b| b.idle_usd.total_cmp(&a.idle_usd));
    let dear: Vec<String> =
        idle.iter().map(|line| format!("{} ({}) is {:.2}", line.service, line.item, line.idle_usd)).collect();
    let month = Goal {
        goal: format!("a month in which nobody talks for at most {IDLE:.2} USD"),
        measured: format!("{:.2} USD", bill.idle_usd),
        met: bill.idle_usd <= IDLE,
        why: Some(format!("{}; with the settings above it is {:.2}", dear.join(", "), with_settings.idle_usd)),
    };
    let old = bill.idle_usd + 2.0 * KEY_ROTATION;
    let later = Goal {
        goal: format!("the same once the KMS key was rotated twice, for at most {IDLE:.2} USD"),
        measured: format!("{old:.2} USD"),
        met: old <= IDLE,
        why: Some(
            "each of the first two yearly rotations of the key adds 1.00; EnableKeyRotation: false in the template, and a \
             key of one's own when it is to be changed"
                .to_owned(),
        ),
    };
    [per_million, month, later].into_iter().map(|goal| Goal { why: goal.why.filter(|_| !goal.met), ..goal }).collect()
}

fn notes(counts: &Counts, prices: &Prices) -> Vec<String> {
    let polled: usize = counts.calls.iter().filter(|call| call.per == Per::Poll).count();
    vec![
        format!(
            "List prices without discount and tax, and without free tier but for ten alarms: an account that has ten others \
             pays {:.2} USD more. The free tier (a million Lambda and SQS requests, 400,000 GB-seconds, 20,000 KMS requests, \
             5 GB of logs, 10 metrics, 100 GB out) would cover most of a small bot.",
            counts.kept.fixed.alarms * prices.usd(Meter::AlarmMonth),
        ),
        format!(
            "Idle queues: {polled} mappings of {} pollers that wait up to {} s make {} receives a month. That they wait \
             so long is not documented.",
            counts.mapping.pollers,
            counts.mapping.poll_seconds,
            grouped(HOURS * 3600.0 / counts.mapping.poll_seconds * counts.mapping.pollers * polled as f64)
        ),
        format!("Counts are {}.", counts.origin),
        format!(
            "A model is {}, {} tokens in and {} out for an answer: an estimate, no function asks one yet.",
            counts.llm.model, counts.llm.input_tokens, counts.llm.output_tokens
        ),
        "Metrics count what goes wrong: each is 0.0004 USD in an hour in which something does.".to_owned(),
        "A message is a text on Telegram, at any place in its conversation; access tokens, repeated webhooks, retries, the page of \
         the web chat and the fixed egress address are not in it."
            .to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn report(messages_per_day: f64) -> Report {
        let cost =
            Cost { messages_per_day, llm_share: 0.0, architecture: Architecture::X86_64, counts: None, details: false };
        cost.report(&Counts::own().expect("a table"), &Prices::own().expect("a table")).expect("a report")
    }

    /// Programs read this: a name that changes breaks them.
    #[test]
    fn the_json_has_these_names() {
        fn names(value: &Value, at: &str, found: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    fields.iter().for_each(|(name, value)| names(value, &format!("{at}.{name}"), found))
                }
                Value::Array(items) => items.iter().take(1).for_each(|item| names(item, &format!("{at}[]"), found)),
                _ => found.push(at.to_owned()),
            }
        }
        let mut found = Vec::new();
        names(&serde_json::to_value(report(1000.0)).expect("JSON"), "", &mut found);
        found.sort();
        let expected = "\
.architecture
.bill.batches[]
.bill.idle_usd
.bill.lines[].idle_units
.bill.lines[].idle_usd
.bill.lines[].item
.bill.lines[].month_usd
.bill.lines[].per_million_usd
.bill.lines[].service
.bill.lines[].units
.bill.month_usd
.bill.per_million_usd
.counts
.goals[].goal
.goals[].measured
.goals[].met
.goals[].why
.levers[].idle_usd
.levers[].per_million_usd
.levers[].setting
.levers[].what
.llm_share
.messages_per_day
.messages_per_month
.notes[]
.others[].idle_usd
.others[].month_usd
.others[].name
.per_million_in_batches_of_10_usd
.per_million_in_batches_of_1_usd
.prices_of
.region
.services[][]
.with_all.idle_usd
.with_all.per_million_usd
.with_settings.idle_usd
.with_settings.per_million_usd
.writes[][]";
        assert_eq!(found.join("\n"), expected);
    }

    #[test]
    fn every_change_lowers_the_bill() {
        for messages_per_day in [0.0, 100.0, 32_877.0, 1e7] {
            let report = report(messages_per_day);
            for lever in &report.levers {
                let lowers = lever.per_million_usd > 0.0 || lever.idle_usd > 0.0;
                assert!(lowers, "{messages_per_day}: {} does nothing", lever.what);
            }
            assert!(report.with_all.per_million_usd < report.with_settings.per_million_usd);
        }
    }

    #[test]
    fn a_goal_that_is_not_met_says_why() {
        for goal in report(1000.0).goals {
            assert_eq!(goal.met, goal.why.is_none(), "{}", goal.goal);
        }
    }

    #[test]
    fn the_price_comes_first_and_the_goals_only_on_request() {
        let report = report(1000.0);
        let (month, idle) = (report.bill.month_usd, report.bill.idle_usd);
        let text = report.to_string();
        let first = format!("About {month:.2} USD a month at 1,000 messages a day; {idle:.2} USD when nobody talks.\n");
        assert!(text.starts_with(&first), "{text}");
        assert!(text.lines().count() < 35 && !text.contains("MET"), "{text}");
        let details = Report { details: true, ..report }.to_string();
        assert!(details.starts_with(&first) && details.contains("MET"), "{details}");
        let idle = self::report(0.0).to_string();
        assert!(idle.starts_with("About ") && idle.contains(" USD a month when nobody talks.\n"), "{idle}");
    }

    #[test]
    fn nonsense_is_refused() {
        let (counts, prices) = (Counts::own().expect("a table"), Prices::own().expect("a table"));
        for (messages_per_day, llm_share) in [(-1.0, 0.0), (f64::NAN, 0.0), (1.0, 1.5), (1.0, f64::NAN)] {
            let cost =
                Cost { messages_per_day, llm_share, architecture: Architecture::Arm64, counts: None, details: false };
            assert!(cost.report(&counts, &prices).is_err(), "{messages_per_day} {llm_share}");
        }
        assert!(Counts::parse("origin = 'nothing else'").is_err());
    }
}
