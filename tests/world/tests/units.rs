//! What a message costs in write units, as `shared/store` says it, and what it must not cost more.

use std::process::Command;

use world::hoopoe::own_variables;

/// The documentation of the store, which has the table.
const STORE: &str = include_str!("../../../shared/store/src/lib.rs");

/// Runs `write-units` with these arguments, and returns its table.
fn table(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_write-units"));
    let counted = command.args(arguments).envs(own_variables()).output().expect("it was built");
    let table = String::from_utf8(counted.stderr).expect("text");
    assert!(counted.status.success(), "{arguments:?}:\n{table}");
    table
}

#[test]
fn a_message_costs_four_units_at_any_length_of_the_conversation_and_of_its_ids() {
    for row in table(&[]).lines() {
        assert!(STORE.contains(&format!("//! {row}\n")), "`make write-units` counts anew for shared/store:\n{row}");
    }
}

#[test]
fn a_message_that_shares_its_batch_costs_no_more() {
    table(&["--messages", "40", "--people", "2"]);
}

#[test]
fn a_message_after_a_long_silence_costs_no_more() {
    // A session has expired each time.
    table(&["--messages", "40", "--pace", "2400"]);
    table(&["--messages", "40", "--pace", "2400", "--people", "2"]);
}
