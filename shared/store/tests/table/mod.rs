//! A table of DynamoDB in memory, as far as claims use one: the real client asks, and the table counts the write units
//! and can lose answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::RetryConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;
use serde_json::{Value, json};

pub(crate) type Item = BTreeMap<String, Value>;

/// The table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    /// By key.
    pub(crate) items: BTreeMap<String, Item>,
    /// What the writes would be charged.
    pub(crate) write_units: usize,
    /// How many items were read.
    pub(crate) reads: usize,
    /// The size in bytes of the largest item so far.
    pub(crate) largest: usize,
    /// So many of the next writes are carried out, and their answers lost.
    pub(crate) losing: usize,
    /// How long calls take, in turns of the runtime; at random up to this.
    pub(crate) delay: usize,
}

impl Table {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds the table")
    }

    /// The configuration of a client of this table. It repeats a call at once.
    pub(crate) fn config(&self) -> SdkConfig {
        let credentials = Credentials::new("test", "test", None, None, "test");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .retry_config(RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_micros(1)))
            .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
            .http_client(self.clone())
            .build()
    }
}

impl HttpClient for Table {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Table {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let table = self.clone();
        HttpConnectorFuture::new(async move {
            let turns = fastrand::usize(..=table.state().delay);
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            let (status, body) = table.state().answer(&request);
            let status = status.try_into().expect("a status");
            Ok(HttpResponse::new(status, SdkBody::from(body.to_string())))
        })
    }
}

impl State {
    /// Status and body.
    pub(crate) fn answer(&mut self, request: &HttpRequest) -> (u16, Value) {
        let body: Value = serde_json::from_slice(request.body().bytes().expect("a body")).expect("JSON");
        match request.headers().get("x-amz-target").expect("an operation").rsplit('.').next() {
            Some("UpdateItem") => {
                let answer = self.update(&body);
                if self.losing > 0 {
                    self.losing -= 1;
                    return (500, json!({"__type": "InternalServerError", "message": "the answer is lost"}));
                }
                answer
            }
            Some("BatchGetItem") => (200, self.batch_get(&body)),
            operation => panic!("{operation:?} is not called by claims"),
        }
    }

    fn update(&mut self, request: &Value) -> (u16, Value) {
        let expression = Expression(request);
        let key = request["Key"]["conversation"]["S"].as_str().expect("a key").to_owned();
        let before = self.items.get(&key).cloned();
        let mut after = before.clone().unwrap_or_default();
        let conditions = request["ConditionExpression"].as_str();
        if conditions.is_some_and(|conditions| !expression.holds(conditions, &after)) {
            self.write_units += size(&after).div_ceil(1024).max(1);
            let failed = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
            return (400, json!({"__type": failed, "message": "The conditional request failed", "Item": before}));
        }
        expression.update(request["UpdateExpression"].as_str().expect("an update"), &mut after);
        after.insert("conversation".into(), json!({"S": key}));
        let bytes = size(&after).max(before.as_ref().map_or(0, size));
        self.write_units += bytes.div_ceil(1024);
        self.largest = self.largest.max(bytes);
        self.items.insert(key, after);
        (200, if request["ReturnValues"] == "ALL_OLD" { json!({"Attributes": before}) } else { json!({}) })
    }

    fn batch_get(&mut self, request: &Value) -> Value {
        let (table, wanted) = request["RequestItems"].as_object().expect("tables").iter().next().expect("a table");
        let keys = wanted["Keys"].as_array().expect("keys");
        assert!(keys.len() <= 100 && wanted["ConsistentRead"] == true);
        self.reads += keys.len();
        let items: Vec<&Item> =
            keys.iter().filter_map(|key| self.items.get(key["conversation"]["S"].as_str().expect("a key"))).collect();
        json!({"Responses": {table: items}, "UnprocessedKeys": {}})
    }
}

/// Reads the expressions of a request.
struct Expression<'a>(&'a Value);

impl Expression<'_> {
    fn name(&self, placeholder: &str) -> &str {
        self.0["ExpressionAttributeNames"][placeholder].as_str().expect("a name")
    }

    fn value(&self, placeholder: &str) -> &Value {
        self.0["ExpressionAttributeValues"].get(placeholder).expect("a value")
    }

    /// Conditions joined by AND; each may be several joined by OR.
    fn holds(&self, conditions: &str, item: &Item) -> bool {
        conditions.split(" AND ").all(|condition| {
            let mut any = condition.trim_start_matches("(#").trim_start_matches("(attr").split(" OR ");
            any.any(|one| self.one(one, item))
        })
    }

    fn one(&self, condition: &str, item: &Item) -> bool {
        if let Some((_, name)) = condition.split_once("ibute_not_exists(") {
            return !item.contains_key(self.name(name.trim_end_matches(')')));
        }
        let [name, sign, value] =
            condition.trim_end_matches(')').split(' ').collect::<Vec<_>>().try_into().expect("a comparison");
        let (Some(left), right) = (item.get(self.name(name)), self.value(value)) else { return false };
        match sign {
            "<" => number(left) < number(right),
            "<=" => number(left) <= number(right),
            _ => panic!("{sign} is not understood"),
        }
    }

    fn update(&self, update: &str, item: &mut Item) {
        let before = item.clone();
        let (sets, removed) = update.split_once(" REMOVE ").unwrap_or((update, ""));
        for set in sets.strip_prefix("SET #").expect("it sets something").split(", #") {
            let (name, value) = set.split_once(" = ").expect("an assignment");
            let value = match value.strip_prefix("if_not_exists(") {
                None => self.value(value).clone(),
                Some(sum) => {
                    let (choice, added) = sum.split_once(") + ").expect("a sum");
                    let (path, other) = choice.split_once(", ").expect("a choice");
                    let base = before.get(self.name(path)).unwrap_or_else(|| self.value(other));
                    json!({"N": (number(base) + number(self.value(added))).to_string()})
                }
            };
            item.insert(self.name(&format!("#{name}")).to_owned(), value);
        }
        for name in removed.split(", ").filter(|name| !name.is_empty()) {
            item.remove(self.name(name));
        }
    }
}

pub(crate) fn number(value: &Value) -> u64 {
    value["N"].as_str().expect("a number").parse().expect("a whole number")
}

/// Bytes of an item ("DynamoDB item sizes and formats"): names and values, of a number half a byte a digit and one.
pub(crate) fn size(item: &Item) -> usize {
    let value = |value: &Value| match (value["S"].as_str(), value["N"].as_str()) {
        (Some(text), _) => text.len(),
        (_, Some(number)) => number.len().div_ceil(2) + 1,
        _ => panic!("{value} is not understood"),
    };
    item.iter().map(|(name, of)| name.len() + value(of)).sum()
}
