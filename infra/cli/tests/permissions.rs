//! The table in `infra/permissions.md` says what the roles in `template.yaml` allow.
//!
//! `WRITE_PERMISSIONS=1 cargo test -p hoopoe --test permissions` writes the table anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_yaml_ng::Value;

mod yaml;

use yaml::{statements, target, texts};

const COLUMNS: [&str; 7] = ["reads", "writes", "decrypts", "encrypts", "sends to", "receives from", "else"];

#[test]
fn the_table_of_permissions_is_true() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../permissions.md");
    let text = fs::read_to_string(&path).expect("infra/permissions.md");
    let is_row = |line: &&str| line.starts_with('|');
    let found: Vec<&str> = text.lines().filter(is_row).collect();
    let table = table(&yaml::template());
    let wanted: Vec<&str> = table.lines().collect();
    if std::env::var_os("WRITE_PERMISSIONS").is_some() {
        let rest: Vec<&str> = text.lines().skip_while(|line| !is_row(line)).skip_while(is_row).collect();
        let before: Vec<&str> = text.lines().take_while(|line| !is_row(line)).collect();
        fs::write(&path, [before, wanted, rest].concat().join("\n") + "\n").expect("the table is written");
        return;
    }
    let differ = |these: &[&str], others: &[&str], mark: char| -> String {
        these.iter().filter(|line| !others.contains(line)).map(|line| format!("{mark} {line}\n")).collect()
    };
    assert!(
        found == wanted,
        "infra/permissions.md (-) is not what template.yaml says (+):\n{}{}",
        differ(&found, &wanted, '-'),
        differ(&wanted, &found, '+')
    );
}

#[test]
fn a_permission_that_is_added_changes_the_table() {
    let before = table(&yaml::template());
    for (sid, action) in [("Claim", "dynamodb:Scan"), ("Claim", "iam:PassRole"), ("Queue", "sqs:ReceiveMessage")] {
        let mut template = yaml::template();
        statement(&mut template, "telegramRole", sid)["Action"] = action.into();
        assert_ne!(table(&template), before, "{action}");
    }
    for sid in ["ReadOwnKeys", "DecryptOwnKeys"] {
        let mut template = yaml::template();
        statement(&mut template, "telegramRole", sid).as_mapping_mut().expect("a statement").remove("Condition");
        assert_ne!(table(&template), before, "{sid} without its condition");
    }
    let mut template = yaml::template();
    statement(&mut template, "telegramRole", "Log")["Resource"] = "*".into();
    assert_ne!(table(&template), before, "others' logs");
}

#[test]
fn only_lambda_takes_a_role() {
    let template = yaml::template();
    let resources = template["Resources"].as_mapping().expect("a template has resources");
    for (name, role) in resources.iter().filter(|(_, one)| one["Type"] == "AWS::IAM::Role") {
        let trust = role["Properties"]["AssumeRolePolicyDocument"]["Statement"].as_sequence().expect("who may take it");
        let lambda: Value = serde_yaml_ng::from_str("{ Service: lambda.amazonaws.com }").expect("YAML");
        assert!(trust.len() == 1 && trust[0]["Principal"] == lambda, "{name:?} is for Lambda alone: {trust:?}");
    }
}

fn statement<'a>(template: &'a mut Value, role: &str, sid: &str) -> &'a mut Value {
    let policy = &mut template["Resources"][role]["Properties"]["Policies"][0]["PolicyDocument"];
    let all = policy["Statement"].as_sequence_mut().expect("the role has statements");
    all.iter_mut().find(|statement| statement["Sid"] == sid).expect("the statement is there")
}

/// The table as Markdown: a row for each function, in the template's order.
fn table(template: &Value) -> String {
    let resources = template["Resources"].as_mapping().expect("a template has resources");
    let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let heads: Vec<String> = ["function"].iter().chain(&COLUMNS).map(|head| (*head).to_owned()).collect();
    let mut table = row(&heads) + &"|---".repeat(heads.len()) + "|\n";
    for (name, function) in resources.iter().filter(|(_, one)| one["Type"] == "AWS::Serverless::Function") {
        let name = name.as_str().and_then(|name| name.strip_suffix("Function")).expect("<name>Function");
        let role = target(&function["Properties"]["Role"]);
        assert_eq!(role, format!("{name}Role"), "{name} has a role of its own");
        let mut cells = vec![BTreeSet::new(); COLUMNS.len()];
        // The role's own policies, and what is attached to it beside them.
        let attached = resources.values().filter(|one| target(&one["Properties"]["RoleName"]) == role);
        for policy in [&template["Resources"][role.as_str()]].into_iter().chain(attached) {
            for (column, what) in statements(&policy["Properties"]).into_iter().flat_map(|one| allowed(one, name)) {
                let condition = policy.get("Condition").and_then(Value::as_str);
                let column = COLUMNS.iter().position(|head| *head == column).expect("a column");
                cells[column].insert(condition.map_or(what.clone(), |condition| format!("{what}, if {condition}")));
            }
        }
        let cells = cells.into_iter().map(|cell| cell.into_iter().collect::<Vec<_>>().join("; "));
        table += &row(&[name.to_owned()].into_iter().chain(cells).collect::<Vec<_>>());
    }
    table
}

/// What a statement allows, by column. A function's own log is everybody's and not said; what is denied is not allowed in
/// any case, so leaving it out says too much at worst.
fn allowed(statement: &Value, function: &str) -> Vec<(&'static str, String)> {
    if statement["Effect"] == "Deny" {
        return vec![];
    }
    if let Some(exception) = statement.get("NotAction").or_else(|| statement.get("NotResource")) {
        return vec![("else", format!("everything but {}", texts(exception).join(", ")))];
    }
    let resources = match &statement["Resource"] {
        Value::Sequence(all) => all.iter().map(resource).collect(),
        one => vec![resource(one)],
    };
    let condition = condition(statement.get("Condition"));
    let mut all = Vec::new();
    for action in texts(&statement["Action"]) {
        for resource in &resources {
            // There is one key.
            let named = if resource == "Key" { "" } else { resource };
            let within = match (named, condition.as_str()) {
                ("", "") => "anything".to_owned(),
                (named, condition) => format!("{named} {condition}").trim().to_owned(),
            };
            let (service, verb) = action.split_once(':').unwrap_or(("", &action));
            let verb = verb.trim_end_matches("Item");
            all.push(match (service, verb) {
                _ if statement["Effect"] != "Allow" => {
                    ("else", format!("{}: {action} on {within}", text(statement, "Effect")))
                }
                ("dynamodb", "Get" | "BatchGet" | "Query") => ("reads", within),
                ("dynamodb", "Put" | "Update" | "PartiQLInsert" | "PartiQLUpdate") => ("writes", within),
                ("dynamodb", "Delete") => ("writes", format!("deletes {within}")),
                ("kms", "Decrypt") => ("decrypts", within),
                ("kms", "Encrypt") => ("encrypts", within),
                ("sqs", "SendMessage") => ("sends to", within),
                ("sqs", "ReceiveMessage" | "DeleteMessage" | "ChangeMessageVisibility" | "GetQueueAttributes") => {
                    ("receives from", within)
                }
                ("logs", "CreateLogStream" | "PutLogEvents") if *resource == format!("{function}Logs") => continue,
                ("ec2", _) => ("else", format!("{} on {within}", text(statement, "Sid"))),
                _ => ("else", format!("{action} on {within}")),
            });
        }
    }
    all
}

fn text(statement: &Value, key: &str) -> String {
    statement[key].as_str().unwrap_or_default().to_owned()
}

/// A resource by the name that the template gives it, without its kind where the column says it.
fn resource(value: &Value) -> String {
    let name = target(value);
    match name.strip_suffix("Table").or_else(|| name.strip_suffix("Queue")) {
        Some(name) => name.to_owned(),
        None if name.is_empty() => texts(value).join(", ").replace('*', "everything"),
        None => name,
    }
}

/// A condition in few words; an operator that is not the usual one for its key is named.
fn condition(condition: Option<&Value>) -> String {
    let mut all = Vec::new();
    for (operator, keys) in condition.and_then(Value::as_mapping).into_iter().flatten() {
        for (key, values) in keys.as_mapping().into_iter().flatten() {
            let (key, values) = (key.as_str().unwrap_or_default(), texts(values).join(", "));
            all.push(match (operator.as_str().unwrap_or_default(), key.strip_prefix("kms:EncryptionContext:")) {
                ("StringEquals", Some(name)) => format!("{name} `{values}`"),
                ("ForAllValues:StringLike", None) if key == "dynamodb:LeadingKeys" => format!("`{values}`"),
                (operator, _) => format!("{operator} {key} `{values}`"),
            });
        }
    }
    all.join(", ")
}
