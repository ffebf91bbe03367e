//! The items of the release before: for each of the last 64 replies an attribute `m:<id of the event>`, a map of `state`
//! (`sending`, `waiting`, `sent`, `dead`), `number`, `attempt`, `part`, `until` and perhaps `in_doubt`; and `hold`. They
//! are read until they expire, eight days after the last reply before the upgrade, and written anew at the next reply.

use hoopoe_message::{MessageId, Timestamp};

use super::{Entry, Ledger, NOBODY, State};
use crate::StoreError;
use crate::item::{Item, read_number, read_text};

const REPLY: &str = "m:";
const REMEMBERED: u64 = 64;

pub(crate) fn attribute(id: &MessageId) -> String {
    format!("{REPLY}{}", id.as_str())
}

/// The attributes that an upgraded item does not have.
pub(crate) fn names(item: &Item) -> impl Iterator<Item = &String> {
    item.keys().filter(|name| name.starts_with(REPLY) || *name == "hold")
}

/// Adds what an item says in the old way.
pub(crate) fn read(item: &Item, ledger: &mut Ledger) -> Result<(), StoreError> {
    let shape = || StoreError::Shape { operation: "reading a send record", what: "a record of the release before" };
    if names(item).next().is_none() {
        return Ok(());
    }
    if !item.contains_key("rest")
        && let Some(last) = ledger.last
    {
        ledger.rest.missed.insert(last.saturating_sub(REMEMBERED), last);
    }
    let mut records = Vec::new();
    for (_, value) in item.iter().filter(|(name, _)| name.starts_with(REPLY)) {
        let record = value.as_m().map_err(|_| shape())?;
        records.push((read_number(record, "number").ok_or_else(shape)?, record));
    }
    records.sort_by_key(|(number, _)| *number);
    for (number, record) in records {
        ledger.rest.missed.remove(number);
        let part = read_number(record, "part").and_then(|part| usize::try_from(part).ok()).ok_or_else(shape)?;
        let until = Timestamp::from_millis(read_number(record, "until").ok_or_else(shape)?);
        let in_doubt = record.contains_key("in_doubt");
        let state = match read_text(record, "state") {
            Some("sent") => continue,
            Some("dead") if part == 0 && !in_doubt => {
                ledger.rest.dead.insert(number, number);
                continue;
            }
            Some("dead") => {
                ledger.rest.dead_in_part.push((number, part, in_doubt));
                continue;
            }
            Some("sending") => State::Sending,
            Some("waiting") => State::Waiting,
            _ => return Err(shape()),
        };
        let entry = Entry { number, state, refusals: 0, part, until, owner: NOBODY, in_doubt, repeatable_until: None };
        ledger.open.push(entry);
    }
    ledger.rest.bound();
    Ok(())
}
