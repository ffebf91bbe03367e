//! DynamoDB, as far as the functions call it: one map a table, the units that each call would be charged, and the
//! refusals of the real one.
//!
//! | module | what is in it |
//! |---|---|
//! | `value` | items, values and their sizes |
//! | `expression` | conditions, filters, key conditions and updates |
//! | `partiql` | statements |
//! | `table` | one table: reading, conditional writing, expiry |
//!
//! `dynoxide`, an emulator on SQLite that can be embedded, does far more; this does what is called and nothing else, so
//! that a machine that measures functions can carry it too, and a history of thousands of calls costs milliseconds.

mod expression;
mod partiql;
mod table;
mod value;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::{Value as Json, json};

use expression::{Condition, Placeholders, Sections, Update, check_length};
use partiql::Statement;
pub use table::Expiry;
use table::{Key, Table, Write, Written};
pub use value::{Item, Value, size};

/// The tables of `template.yaml`: name, hash key, range key.
const TABLES: [(&str, &str, Option<&str>); 7] = [
    ("claims", "conversation", None),
    ("sessions", "conversation", None),
    ("sends", "conversation", None),
    ("transcripts", "conversation", Some("seq")),
    ("tokens", "bot", None),
    ("keys", "key", Some("version")),
    ("usage", "key", Some("name")),
];

/// "A single BatchGetItem operation can retrieve up to 100 items", and the limits of the other batches.
const MAX_KEYS: usize = 100;
const MAX_STATEMENTS: usize = 25;
const MAX_TRANSACTION: usize = 100;

/// What a call answered, and what it would have cost.
#[derive(Debug)]
pub struct Done {
    /// The table; the last one where there were several.
    pub table: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// The body of the answer.
    pub body: Vec<u8>,
    /// How many items it was about: the call takes as long as the slowest of them.
    pub items: usize,
    /// Read units of the whole call.
    pub read_units: f64,
    /// Write units of each item that it wrote, or refused to write.
    pub write_units: Vec<f64>,
    /// Why a statement of a batch was refused for what it is, and not for its condition.
    pub invalid: Option<String>,
}

/// What is so at the moment of a call.
pub struct Moment<'a> {
    /// Seconds since the epoch, by which items expire.
    pub now: u64,
    /// Asked for each part of a batch and for each page: whether DynamoDB leaves it undone this time.
    pub leaves: &'a mut dyn FnMut() -> bool,
}

/// All tables.
#[derive(Debug)]
pub struct DynamoDb {
    tables: Mutex<Tables>,
}

#[derive(Debug)]
struct Tables {
    tables: BTreeMap<&'static str, Table>,
    expiry: Expiry,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct Request {
    table_name: String,
    key: Item,
    item: Item,
    update_expression: Option<String>,
    condition_expression: Option<String>,
    key_condition_expression: Option<String>,
    filter_expression: Option<String>,
    projection_expression: Option<String>,
    return_values: Option<String>,
    return_values_on_condition_check_failure: Option<String>,
    expression_attribute_names: BTreeMap<String, String>,
    expression_attribute_values: BTreeMap<String, Value>,
    consistent_read: bool,
    scan_index_forward: Option<bool>,
    limit: Option<usize>,
    exclusive_start_key: Option<Item>,
    request_items: BTreeMap<String, Wanted>,
    statements: Vec<Asked>,
    transact_items: Vec<BTreeMap<String, Request>>,
    client_request_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Wanted {
    keys: Vec<Item>,
    #[serde(default)]
    consistent_read: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Asked {
    statement: String,
    #[serde(default)]
    parameters: Vec<Value>,
}

impl Default for DynamoDb {
    fn default() -> Self {
        Self::new(Expiry::Never)
    }
}

impl DynamoDb {
    /// Empty tables.
    #[must_use]
    pub fn new(expiry: Expiry) -> Self {
        let table = |(name, hash, range)| (name, Table::new(name, hash, range));
        Self { tables: Mutex::new(Tables { tables: TABLES.into_iter().map(table).collect(), expiry }) }
    }

    /// Puts an item before a run.
    ///
    /// # Panics
    ///
    /// Where it is no item of this table.
    pub fn seed(&self, table: &str, item: Json) {
        let item: Item = serde_json::from_value(item).expect("an item");
        let Tables { tables, expiry } = &mut *self.lock();
        let table = tables.get_mut(table).expect("a table");
        let key = table.key(&item).expect("an item with its key");
        table.put(key, item, expiry);
    }

    /// The items of a table that are not deleted, by their hash keys.
    #[must_use]
    pub fn items(&self, table: &str, now: u64) -> Vec<Item> {
        self.lock().tables.get(table).map(|table| table.items(now)).unwrap_or_default()
    }

    /// Carries a call out at a moment when nothing expires and no part of a batch is left undone.
    ///
    /// # Errors
    ///
    /// A call that DynamoDB refuses for what it is, or that this stand-in does not know.
    pub fn call(&self, operation: &str, body: &[u8]) -> Result<Done, String> {
        self.call_at(operation, body, &mut Moment { now: 0, leaves: &mut || false })
    }

    /// Carries a call out.
    ///
    /// # Errors
    ///
    /// A call that DynamoDB refuses for what it is, or that this stand-in does not know.
    pub fn call_at(&self, operation: &str, body: &[u8], moment: &mut Moment<'_>) -> Result<Done, String> {
        let mut request: Request =
            serde_json::from_slice(body).map_err(|error| format!("{operation} is not understood: {error}"))?;
        let mut tables = self.lock();
        match operation {
            "BatchGetItem" => tables.batch_get(&request, moment),
            "BatchExecuteStatement" => tables.batch_execute(request.statements, moment),
            "TransactWriteItems" => tables.transact(request.transact_items, moment.now),
            "GetItem" => tables.get(&request, moment.now),
            "Query" => {
                let placeholders = request.placeholders();
                tables.table(&request.table_name)?.query(&request, &placeholders, moment)
            }
            _ => {
                let write = request.write(operation)?;
                let old_on_failure = request.return_values_on_condition_check_failure.as_deref() == Some("ALL_OLD");
                let Tables { tables, expiry } = &mut *tables;
                let table = known(tables, &request.table_name)?;
                let written = table.write(write, moment.now, expiry)?;
                answer(table.name, written, request.return_values.as_deref(), old_on_failure)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn known<'a>(tables: &'a mut BTreeMap<&'static str, Table>, name: &str) -> Result<&'a mut Table, String> {
    tables.get_mut(name).ok_or_else(|| format!("no table {name}"))
}

impl Request {
    fn placeholders(&mut self) -> Placeholders {
        let names = std::mem::take(&mut self.expression_attribute_names);
        Placeholders::new(names, std::mem::take(&mut self.expression_attribute_values))
    }

    /// The request as a write of one item.
    fn write(&mut self, operation: &str) -> Result<Write, String> {
        let placeholders = self.placeholders();
        for expression in [&self.update_expression, &self.condition_expression].into_iter().flatten() {
            check_length(expression)?;
        }
        let condition = self.condition_expression.as_deref();
        let condition = condition.map(|condition| Condition::parse(condition, &placeholders)).transpose()?;
        let write = match operation {
            "UpdateItem" | "Update" => {
                let expression = self.update_expression.as_deref().ok_or("an update without an expression")?;
                let update = Update::parse(expression, &placeholders, Sections::Once)?;
                Write::Update { key: std::mem::take(&mut self.key), update, condition }
            }
            "PutItem" | "Put" => Write::Put { item: std::mem::take(&mut self.item), condition },
            "DeleteItem" | "Delete" => Write::Delete { key: std::mem::take(&mut self.key), condition },
            "ConditionCheck" => Write::Check { key: std::mem::take(&mut self.key), condition },
            _ => return Err(format!("DynamoDB's {operation} is not called by the functions")),
        };
        placeholders.check_used()?;
        Ok(write)
    }
}

impl Tables {
    fn table(&mut self, name: &str) -> Result<&mut Table, String> {
        known(&mut self.tables, name)
    }

    fn get(&mut self, request: &Request, now: u64) -> Result<Done, String> {
        let table = self.table(&request.table_name)?;
        let key = table.whole_key(&request.key)?;
        let item = table.get(&key, now);
        let read_units = read_units(item.map_or(0, size), request.consistent_read);
        let body = item.map_or_else(|| json!({}), |item| json!({ "Item": item })).to_string().into_bytes();
        Ok(Done { read_units, ..Done::of(table.name, 200, body) })
    }

    fn batch_get(&mut self, request: &Request, moment: &mut Moment<'_>) -> Result<Done, String> {
        let Some((name, wanted)) = request.request_items.iter().next().filter(|_| request.request_items.len() == 1)
        else {
            return Err("a BatchGetItem of one table is expected".to_owned());
        };
        if !(1..=MAX_KEYS).contains(&wanted.keys.len()) {
            return Err(format!("a BatchGetItem has 1 to {MAX_KEYS} keys, and this one {}", wanted.keys.len()));
        }
        let table = self.table(name)?;
        let (mut found, mut left, mut units, mut seen) = (Vec::new(), Vec::new(), 0.0, Vec::<Key>::new());
        for wanted_key in &wanted.keys {
            let key = table.whole_key(wanted_key)?;
            if seen.contains(&key) {
                return Err("Provided list of item keys contains duplicates".to_owned());
            }
            if (moment.leaves)() {
                left.push(wanted_key);
            } else {
                let item = table.get(&key, moment.now);
                units += read_units(item.map_or(0, size), wanted.consistent_read);
                found.extend(item);
            }
            seen.push(key);
        }
        let unprocessed = match left.is_empty() {
            true => json!({}),
            false => json!({name: {"Keys": left, "ConsistentRead": wanted.consistent_read}}),
        };
        let body = json!({"Responses": {name: found}, "UnprocessedKeys": unprocessed}).to_string().into_bytes();
        Ok(Done { items: wanted.keys.len(), read_units: units, ..Done::of(table.name, 200, body) })
    }

    /// Carries statements out, each for itself.
    fn batch_execute(&mut self, statements: Vec<Asked>, moment: &mut Moment<'_>) -> Result<Done, String> {
        if !(1..=MAX_STATEMENTS).contains(&statements.len()) {
            return Err(format!("a batch has 1 to {MAX_STATEMENTS} statements, and this one {}", statements.len()));
        }
        let (mut done, mut responses) = (Done::of("", 200, Vec::new()), Vec::new());
        for Asked { statement, parameters } in statements {
            let insert = statement.starts_with("INSERT");
            if (moment.leaves)() {
                responses.push(json!({"Error": {"Code": "ThrottlingError", "Message": "The request was throttled"}}));
                continue;
            }
            let response = match self.execute(Statement::parse(&statement, parameters), moment.now) {
                Err(error) => {
                    done.invalid = Some(format!("{error} in {statement:?}"));
                    json!({"Error": {"Code": "ValidationError", "Message": error}})
                }
                Ok((table, written, returns)) => {
                    done.table = table;
                    done.write_units.push(written.units());
                    match written.after {
                        Some(after) if returns => json!({"TableName": table, "Item": after}),
                        Some(_) => json!({ "TableName": table }),
                        None => {
                            let code = if insert { "DuplicateItem" } else { "ConditionalCheckFailed" };
                            json!({"TableName": table, "Error": {"Code": code, "Message": "The conditional request failed"}})
                        }
                    }
                }
            };
            responses.push(response);
        }
        done.items = responses.len();
        done.body = json!({ "Responses": responses }).to_string().into_bytes();
        Ok(done)
    }

    fn execute(
        &mut self,
        statement: Result<Statement, String>,
        now: u64,
    ) -> Result<(&'static str, Written, bool), String> {
        let (table, write, returns) = match statement? {
            Statement::Insert { table, item } => {
                let table = self.table(&table)?;
                (table.name, Write::Put { item, condition: Some(table.absent()) }, false)
            }
            Statement::Update { table, change, condition, placeholders, returns } => {
                let table = self.table(&table)?;
                let key = table.key_of(&condition, &placeholders)?;
                let condition = Condition::parse(&condition, &placeholders)?;
                let update = Update::parse(&change, &placeholders, Sections::Repeated)?;
                // The condition names the key, and so holds for no item that is not there.
                (table.name, Write::Update { key, update, condition: Some(condition) }, returns)
            }
        };
        let Tables { tables, expiry } = self;
        Ok((table, known(tables, table)?.write(write, now, expiry)?, returns))
    }

    fn transact(&mut self, items: Vec<BTreeMap<String, Request>>, now: u64) -> Result<Done, String> {
        if !(1..=MAX_TRANSACTION).contains(&items.len()) {
            return Err(format!("a transaction has 1 to {MAX_TRANSACTION} items, and this one {}", items.len()));
        }
        let (mut writes, mut places) = (Vec::new(), Vec::new());
        for (operation, mut request) in items.into_iter().flatten() {
            let write = request.write(&operation)?;
            let table = self.table(&request.table_name)?;
            let place = (table.name, table.key(write.key())?);
            if places.contains(&place) {
                return Err("Transaction request cannot include multiple operations on one item".to_owned());
            }
            places.push(place);
            writes.push((table.name, write));
        }
        let mut failed = Vec::new();
        for (table, write) in &writes {
            failed.push(!self.table(table)?.holds(write, now)?);
        }
        let mut done = Done::of("", 200, b"{}".to_vec());
        done.items = writes.len();
        if failed.contains(&true) {
            let reasons = failed.iter().map(|failed| if *failed { "ConditionalCheckFailed" } else { "None" });
            let reasons: Vec<Json> = reasons.map(|code| json!({ "Code": code })).collect();
            let kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
            let body = json!({"__type": kind, "Message": "Transaction cancelled", "CancellationReasons": reasons});
            return Ok(Done { status: 400, body: body.to_string().into_bytes(), ..done });
        }
        for (name, write) in writes {
            let Tables { tables, expiry } = self;
            let written = known(tables, name)?.write(write, now, expiry)?;
            done.table = name;
            // "Two underlying writes for every item: one to prepare the transaction and one to commit it."
            done.write_units.push(2.0 * written.units());
        }
        Ok(done)
    }
}

impl Done {
    fn of(table: &'static str, status: u16, body: Vec<u8>) -> Self {
        Self { table, status, body, items: 1, read_units: 0.0, write_units: Vec::new(), invalid: None }
    }
}

/// The answer to a write of one item.
fn answer(table: &'static str, written: Written, wanted: Option<&str>, old_on_failure: bool) -> Result<Done, String> {
    let units = written.units();
    let Some(after) = written.after else {
        let mut body = json!({
            "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
            "message": "The conditional request failed",
        });
        if old_on_failure && !written.before.is_empty() {
            body["Item"] = json!(written.before);
        }
        return Ok(Done { write_units: vec![units], ..Done::of(table, 400, body.to_string().into_bytes()) });
    };
    let mut body = json!({});
    match wanted {
        None | Some("NONE") => {}
        Some("ALL_OLD") if written.before.is_empty() => {}
        Some("ALL_OLD") => body["Attributes"] = json!(written.before),
        Some("ALL_NEW") => body["Attributes"] = json!(after),
        Some("UPDATED_NEW") => {
            let touched = written.touched.iter().filter_map(|name| Some((name, after.get(name)?)));
            body["Attributes"] = json!(touched.collect::<BTreeMap<_, _>>());
        }
        Some(other) => return Err(format!("ReturnValues {other} is not understood")),
    }
    Ok(Done { write_units: vec![units], ..Done::of(table, 200, body.to_string().into_bytes()) })
}

/// One for each 4 KB, half of that for an eventually consistent read; what is not there is one too.
fn read_units(bytes: usize, consistent: bool) -> f64 {
    let units = bytes.div_ceil(4096).max(1) as f64;
    if consistent { units } else { units / 2.0 }
}

#[cfg(test)]
mod tests;
