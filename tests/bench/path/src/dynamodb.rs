//! DynamoDB, as far as the functions call it: one map a table, and the units that each call would be charged.
//!
//! `dynoxide`, an emulator on SQLite that can be embedded, does far more; here the machine that is measured carries the
//! stand-in too, so it does what is called and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::expression::{Item, Placeholders, Value, holds, size, update};
use crate::partiql::Statement;

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

/// What a call answered, and what it would have cost.
pub(crate) struct Done {
    pub(crate) table: &'static str,
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// How many items it was about: the call takes as long as the slowest of them.
    pub(crate) items: usize,
    pub(crate) read_units: f64,
    pub(crate) write_units: f64,
}

/// All tables.
pub(crate) struct DynamoDb {
    tables: HashMap<&'static str, Table>,
}

struct Table {
    name: &'static str,
    hash: &'static str,
    range: Option<&'static str>,
    items: Mutex<HashMap<String, BTreeMap<Range, Item>>>,
}

/// A range key's value; numbers are whole ones.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Range {
    None,
    Number(i128),
    Text(String),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    #[serde(default)]
    table_name: String,
    #[serde(default)]
    key: Item,
    #[serde(default)]
    item: Item,
    update_expression: Option<String>,
    condition_expression: Option<String>,
    key_condition_expression: Option<String>,
    filter_expression: Option<String>,
    return_values: Option<String>,
    return_values_on_condition_check_failure: Option<String>,
    #[serde(default)]
    consistent_read: bool,
    #[serde(default)]
    request_items: HashMap<String, Wanted>,
    #[serde(default)]
    statements: Vec<Asked>,
    #[serde(flatten)]
    placeholders: Placeholders,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wanted {
    keys: Vec<Item>,
    #[serde(default)]
    consistent_read: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Asked {
    statement: String,
    #[serde(default)]
    parameters: Vec<Value>,
}

impl DynamoDb {
    pub(crate) fn new() -> Self {
        let table = |(name, hash, range)| (name, Table { name, hash, range, items: Mutex::default() });
        Self { tables: TABLES.into_iter().map(table).collect() }
    }

    /// Puts an item before a run.
    pub(crate) fn seed(&self, table: &str, item: Json) {
        let item: Item = serde_json::from_value(item).expect("an item");
        let table = &self.tables[table];
        let (hash, range) = table.place(&item).expect("an item with its key");
        table.lock().entry(hash).or_default().insert(range, item);
    }

    /// Carries a call out; an error is a call that this stand-in does not know.
    pub(crate) fn call(&self, operation: &str, body: &[u8]) -> Result<Done, String> {
        let request: Request =
            serde_json::from_slice(body).map_err(|error| format!("{operation} is not understood: {error}"))?;
        if operation == "BatchGetItem" {
            return self.batch_get(&request);
        }
        if operation == "BatchExecuteStatement" {
            return self.batch_execute(request);
        }
        let table = self.table(&request.table_name)?;
        match operation {
            "UpdateItem" => table.write(&request, &request.key, |item| {
                let expression = request.update_expression.as_deref().ok_or("an update without an expression")?;
                if item.is_empty() {
                    item.clone_from(&request.key);
                }
                update(expression, &request.placeholders, item)
            }),
            "PutItem" => table.write(&request, &request.item, |item| {
                item.clone_from(&request.item);
                Ok(Vec::new())
            }),
            "DeleteItem" => table.write(&request, &request.key, |item| {
                item.clear();
                Ok(Vec::new())
            }),
            "Query" => table.query(&request),
            _ => Err(format!("DynamoDB's {operation} is not called by the functions of this path")),
        }
    }

    fn batch_get(&self, request: &Request) -> Result<Done, String> {
        let Some((name, wanted)) = request.request_items.iter().next().filter(|_| request.request_items.len() == 1)
        else {
            return Err("a BatchGetItem of one table is expected".to_owned());
        };
        let table = self.table(name)?;
        let (items, mut found, mut units) = (table.lock(), Vec::new(), 0.0);
        for key in &wanted.keys {
            let (hash, range) = table.place(key)?;
            let item = items.get(&hash).and_then(|items| items.get(&range));
            units += read_units(item.map_or(0, size), wanted.consistent_read);
            found.extend(item);
        }
        let body = json!({"Responses": {name: found}, "UnprocessedKeys": {}}).to_string().into_bytes();
        Ok(Done { table: table.name, status: 200, body, items: wanted.keys.len(), read_units: units, write_units: 0.0 })
    }

    /// Carries statements out, each for itself.
    fn batch_execute(&self, request: Request) -> Result<Done, String> {
        let (mut name, mut responses, mut units) = ("", Vec::new(), 0.0);
        for Asked { statement, parameters } in request.statements {
            let (table, done) = self.execute(Statement::parse(&statement, parameters)?)?;
            let answer: Json = serde_json::from_slice(&done.body).map_err(|error| error.to_string())?;
            responses.push(match answer.get("__type").and_then(Json::as_str) {
                None => json!({"TableName": table, "Item": answer.get("Attributes")}),
                Some(_) if statement.starts_with("INSERT") => {
                    json!({"TableName": table, "Error": {"Code": "DuplicateItem", "Message": answer["message"]}})
                }
                Some(_) => {
                    json!({"TableName": table, "Error": {"Code": "ConditionalCheckFailed", "Message": answer["message"]}})
                }
            });
            name = table;
            units += done.write_units;
        }
        let items = responses.len();
        let body = json!({"Responses": responses}).to_string().into_bytes();
        Ok(Done { table: name, status: 200, body, items, read_units: 0.0, write_units: units })
    }

    fn execute(&self, statement: Statement) -> Result<(&'static str, Done), String> {
        match statement {
            Statement::Insert { table, item } => {
                let table = self.table(&table)?;
                let names = [("#hash".to_owned(), table.hash.to_owned())].into();
                let request = Request {
                    condition_expression: Some("attribute_not_exists(#hash)".to_owned()),
                    placeholders: Placeholders { names, ..Placeholders::default() },
                    ..Request::default()
                };
                let done = table.write(&request, &item, |stands| {
                    stands.clone_from(&item);
                    Ok(Vec::new())
                })?;
                Ok((table.name, done))
            }
            Statement::Update { table, change, condition, placeholders, returns } => {
                let table = self.table(&table)?;
                // The condition begins with the key, and so holds for no item that is not there.
                let (name, value) = condition.split_once(" = ").ok_or("a condition without a key")?;
                let value = value.split(' ').next().and_then(|value| placeholders.values.get(value));
                let (Some(name), Some(value)) = (placeholders.names.get(name), value) else {
                    return Err(format!("{condition:?} does not begin with a key"));
                };
                let key = Item::from([(name.clone(), value.clone())]);
                let request = Request {
                    condition_expression: Some(condition),
                    return_values: returns.then(|| "ALL_NEW".to_owned()),
                    placeholders,
                    ..Request::default()
                };
                let done = table.write(&request, &key, |item| update(&change, &request.placeholders, item))?;
                Ok((table.name, done))
            }
        }
    }

    fn table(&self, name: &str) -> Result<&Table, String> {
        self.tables.get(name).ok_or_else(|| format!("no table {name}"))
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, BTreeMap<Range, Item>>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, key: &Item) -> Result<(String, Range), String> {
        let Some(Value::S(hash)) = key.get(self.hash) else { return Err(format!("{} is missing", self.hash)) };
        let range = match self.range.map(|range| key.get(range)) {
            None => Range::None,
            Some(Some(Value::S(text))) => Range::Text(text.clone()),
            Some(Some(value @ Value::N(_))) => Range::Number(value.number().ok_or("a range key is no whole number")?),
            Some(_) => return Err(format!("{:?} is missing", self.range)),
        };
        Ok((hash.clone(), range))
    }

    /// A conditional write of one item. One that leaves nothing behind deletes it.
    fn write(
        &self,
        request: &Request,
        key: &Item,
        change: impl FnOnce(&mut Item) -> Result<Vec<String>, String>,
    ) -> Result<Done, String> {
        let (hash, range) = self.place(key)?;
        let mut items = self.lock();
        let items = items.entry(hash).or_default();
        let before = items.get(&range).cloned().unwrap_or_default();
        if let Some(condition) = &request.condition_expression
            && !holds(condition, &request.placeholders, &before)?
        {
            let mut body = json!({
                "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
                "message": "The conditional request failed",
            });
            if request.return_values_on_condition_check_failure.as_deref() == Some("ALL_OLD") && !before.is_empty() {
                body["Item"] = json!(before);
            }
            // A write whose condition fails is charged for the item that stands there.
            let write_units = write_units(size(&before));
            let body = body.to_string().into_bytes();
            return Ok(Done { table: self.name, status: 400, body, items: 1, read_units: 0.0, write_units });
        }
        let mut after = before.clone();
        let touched = change(&mut after)?;
        let write_units = write_units(size(&before).max(size(&after)));
        let mut answer = json!({});
        match request.return_values.as_deref() {
            None | Some("NONE") => {}
            Some("ALL_OLD") if before.is_empty() => {}
            Some("ALL_OLD") => answer["Attributes"] = json!(before),
            Some("ALL_NEW") => answer["Attributes"] = json!(after),
            Some("UPDATED_NEW") => {
                let written: HashMap<_, _> = touched.iter().filter_map(|name| Some((name, after.get(name)?))).collect();
                answer["Attributes"] = json!(written);
            }
            Some(other) => return Err(format!("ReturnValues {other} is not understood")),
        }
        if after.is_empty() {
            items.remove(&range);
        } else {
            items.insert(range, after);
        }
        let body = answer.to_string().into_bytes();
        Ok(Done { table: self.name, status: 200, body, items: 1, read_units: 0.0, write_units })
    }

    fn query(&self, request: &Request) -> Result<Done, String> {
        let condition = request.key_condition_expression.as_deref().ok_or("a query without a key condition")?;
        // The hash key stands in the condition as a value: the only partitions worth looking at.
        let items = self.lock();
        let partitions = request.placeholders.values.values().filter_map(|value| match value {
            Value::S(text) => items.get(text),
            _ => None,
        });
        let (mut found, mut read) = (Vec::new(), 0);
        for item in partitions.flat_map(BTreeMap::values) {
            if !holds(condition, &request.placeholders, item)? {
                continue;
            }
            read += size(item);
            let filter = request.filter_expression.as_deref();
            if filter.map_or(Ok(true), |filter| holds(filter, &request.placeholders, item))? {
                found.push(item);
            }
        }
        let body = json!({"Count": found.len(), "Items": found}).to_string().into_bytes();
        let read_units = read_units(read, request.consistent_read);
        Ok(Done { table: self.name, status: 200, body, items: 1, read_units, write_units: 0.0 })
    }
}

/// One for each 4 KB, half of that for an eventually consistent read; what is not there is one too.
fn read_units(bytes: usize, consistent: bool) -> f64 {
    let units = bytes.div_ceil(4096).max(1) as f64;
    if consistent { units } else { units / 2.0 }
}

/// One for each KB of the larger of the item before and after.
fn write_units(bytes: usize) -> f64 {
    bytes.div_ceil(1024).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(db: &DynamoDb, operation: &str, request: Json) -> (u16, Json, f64, f64) {
        let done = db.call(operation, request.to_string().as_bytes()).expect("a call that is known");
        (done.status, serde_json::from_slice(&done.body).expect("JSON"), done.read_units, done.write_units)
    }

    /// As `Claims::claim` writes it, in short.
    fn claim(event: &str) -> Json {
        json!({
            "TableName": "claims", "Key": {"conversation": {"S": "c"}},
            "UpdateExpression": "SET #next = if_not_exists(#next, :zero) + :one, #event = if_not_exists(#next, :zero) + :one",
            "ConditionExpression": "attribute_not_exists(#event)",
            "ExpressionAttributeNames": {"#next": "next", "#event": event},
            "ExpressionAttributeValues": {":zero": {"N": "0"}, ":one": {"N": "1"}},
            "ReturnValues": "ALL_OLD", "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        })
    }

    #[test]
    fn a_claim_counts_and_a_second_one_fails_with_the_item() {
        let db = DynamoDb::new();
        assert_eq!(call(&db, "UpdateItem", claim("m:1")), (200, json!({}), 0.0, 1.0));
        let (_, answer, ..) = call(&db, "UpdateItem", claim("m:2"));
        assert_eq!(answer["Attributes"]["next"], json!({"N": "1"}));
        let (status, answer, _, units) = call(&db, "UpdateItem", claim("m:1"));
        assert_eq!((status, &answer["Item"]["m:1"], units), (400, &json!({"N": "1"}), 1.0));
        assert!(answer["__type"].as_str().is_some_and(|kind| kind.ends_with("#ConditionalCheckFailedException")));
        assert_eq!(answer["Item"]["next"], json!({"N": "2"}));
    }

    #[test]
    fn units_go_by_the_size_of_each_item() {
        let db = DynamoDb::new();
        let put = |bytes: usize| json!({"TableName": "sessions", "Item": {"conversation": {"S": "c"}, "state": {"S": "x".repeat(bytes)}}});
        assert_eq!(call(&db, "PutItem", put(5000)).3, 5.0);
        assert_eq!(call(&db, "PutItem", put(10)).3, 5.0, "the larger one counts");
        call(&db, "PutItem", put(5000));
        let keys = json!([{"conversation": {"S": "c"}}, {"conversation": {"S": "none"}}]);
        let get = json!({"RequestItems": {"sessions": {"Keys": keys, "ConsistentRead": true}}});
        let (_, answer, units, _) = call(&db, "BatchGetItem", get);
        assert_eq!((answer["Responses"]["sessions"].as_array().map(Vec::len), units), (Some(1), 3.0));
    }

    #[test]
    fn a_query_reads_its_partition_and_filters_after() {
        let db = DynamoDb::new();
        for (version, sealed) in [(0, false), (1, true), (2, false)] {
            let mut item = json!({"key": {"S": "k"}, "version": {"N": version.to_string()}});
            if sealed {
                item["ciphertext"] = json!({"B": "AAAA"});
            }
            db.seed("keys", item);
        }
        let query = json!({
            "TableName": "keys", "ConsistentRead": true, "KeyConditionExpression": "#key = :key",
            "FilterExpression": "attribute_exists(#ciphertext) OR #version = :quota",
            "ExpressionAttributeNames": {"#key": "key", "#ciphertext": "ciphertext", "#version": "version"},
            "ExpressionAttributeValues": {":key": {"S": "k"}, ":quota": {"N": "0"}},
        });
        let (_, answer, units, _) = call(&db, "Query", query);
        assert_eq!((answer["Count"].as_u64(), units), (Some(2), 1.0));
    }

    #[test]
    fn statements_are_carried_out_each_for_itself() {
        let db = DynamoDb::new();
        let insert = json!({"Statement": "INSERT INTO \"sends\" VALUE {'conversation': ?, 'last': ?}", "Parameters": [{"S": "c"}, {"N": "1"}]});
        let update = |after: &str| {
            json!({
                "Statement": r#"UPDATE "sends" SET "m:1" = ? WHERE "conversation" = ? AND "m:1" IS MISSING AND "last" >= ? RETURNING ALL NEW *"#,
                "Parameters": [{"N": "1"}, {"S": "c"}, {"N": after}]
            })
        };
        let absent = json!({"Statement": r#"UPDATE "sends" SET "last" = ? WHERE "conversation" = ?"#, "Parameters": [{"N": "1"}, {"S": "none"}]});
        let statements = [insert.clone(), insert, update("2"), update("1"), update("1"), absent];
        let (status, answer, _, units) = call(&db, "BatchExecuteStatement", json!({"Statements": statements}));
        assert_eq!((status, units), (200, 6.0));
        let codes: Vec<_> = (0..6).map(|at| answer["Responses"][at]["Error"]["Code"].as_str()).collect();
        let failed = Some("ConditionalCheckFailed");
        assert_eq!(codes, [None, Some("DuplicateItem"), failed, None, failed, failed]);
        assert_eq!(answer["Responses"][3]["Item"]["m:1"], json!({"N": "1"}));
    }

    #[test]
    fn a_call_that_is_not_known_fails() {
        assert!(DynamoDb::new().call("Scan", br#"{"TableName": "keys"}"#).is_err());
        assert!(DynamoDb::new().call("Query", br#"{"TableName": "others"}"#).is_err());
    }
}
