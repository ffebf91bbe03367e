//! Counts the write units of a message, in each channel's conversation of a thousand: `make write-units`.

use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use clap::Parser;
use world::hoopoe;
use world::units::{ALL, AVERAGE_LIMIT, Counted, Ids, LIMIT, MESSAGES, Talk, count};

/// Counts DynamoDB's write units of a message, by its place in a conversation of a thousand, with ids as long as those of
/// each channel.
#[derive(Parser)]
struct Arguments {
    /// So many people write at the same time, and their messages share each batch: the table says what is so on average.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10))]
    people: u32,
    /// So many messages each of them writes.
    #[arg(long, default_value_t = 1000)]
    messages: u32,
    /// Seconds from one message of a person to the next.
    #[arg(long, default_value_t = 20)]
    pace: u64,
}

fn main() -> ExitCode {
    let Arguments { people, messages, pace } = Arguments::parse();
    // The functions read their variables from the process, which must have them before it has threads. They write metrics to
    // their standard output, so what is to be read goes to the other.
    if std::env::var_os("CLAIMS_TABLE").is_none() {
        let this = std::env::current_exe().and_then(|this| {
            let mut command = Command::new(this);
            command.args(std::env::args_os().skip(1)).envs(hoopoe::own_variables()).stdout(Stdio::null()).status()
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
    let talk = Talk { people, messages, pace: Duration::from_secs(pace) };
    let counted = std::thread::scope(|scope| {
        let counting = ALL.map(|ids| scope.spawn(move || count(ids, talk)));
        counting.map(|row| row.join().expect("a conversation is counted to its end"))
    });
    let shown: Vec<u32> = MESSAGES.into_iter().filter(|message| *message <= messages).collect();
    let at: Vec<String> = shown.iter().map(|message| format!("message {message}")).collect();
    eprintln!("| channel | bytes of key, id | {} | mean | largest items | beside |", at.join(" | "));
    eprintln!("|---|---|{}---|---|---|", "---|".repeat(at.len()));
    let mut dear = false;
    for (place, (ids, counted)) in ALL.iter().zip(&counted).enumerate() {
        let name = if place + 1 == ALL.len() { "the longest ids" } else { ids.channel.as_str() };
        eprintln!("{}", row(name, *ids, counted, &shown));
        dear |= shown.iter().any(|message| of(counted, *message) > LIMIT) || counted.average() > AVERAGE_LIMIT;
    }
    if dear {
        eprintln!("a message costs more than {LIMIT} write units, or more than {AVERAGE_LIMIT} on average");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn of(counted: &Counted, message: u32) -> f64 {
    counted.messages[message as usize - 1].each()
}

fn rounded(units: f64) -> f64 {
    (100.0 * units).round() / 100.0
}

/// What is said of a channel: at each message its claim, session, begin and settled mark.
fn row(name: &str, ids: Ids, counted: &Counted, shown: &[u32]) -> String {
    let at = shown.iter().map(|message| {
        let units = counted.messages[*message as usize - 1];
        [units.claim, units.session, units.begin, units.settle].map(|units| rounded(units).to_string()).join("+")
    });
    let at: Vec<String> = at.collect();
    let largest = counted.largest.map(|bytes| bytes.to_string()).join(", ");
    let (key, event, average, beside) = (counted.key, ids.event, counted.average(), counted.beside());
    format!("| {name} | {key}, {event} | {} | {average:.2} | {largest} | {beside:.2} |", at.join(" | "))
}
