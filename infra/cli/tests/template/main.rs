//! Rules for `template.yaml` that no linter knows. Each is shown to fail on a template that breaks it.
//!
//! [`functions`] has those on what every function has, and on the list of channels; [`operation`] those on shares of the
//! account's concurrency and on what the operator is told.

use hoopoe_message::Channel;
use serde_yaml_ng::{Mapping, Value};

mod functions;
mod operation;
#[path = "../yaml/mod.rs"]
mod yaml;

use yaml::{statements, target, texts};

/// Lambda's own advice: the queue hides a message for six times as long as the function may take.
const VISIBILITY_FACTOR: u64 = 6;

const RULES: [fn(&Template) -> Vec<String>; 19] = [
    queues_hide_messages_long_enough,
    queues_have_dead_letters,
    mappings_report_partial_failures,
    wildcards_have_reasons,
    environments_hold_no_secrets,
    tables_expire_and_can_be_restored,
    secrets_are_decrypted_by_whom_they_belong_to,
    logs_end_and_belong_to_one_function,
    functions::folders_resources_and_channels_agree,
    functions::no_name_of_a_loop_is_left,
    functions::names_lead_somewhere,
    functions::all_is_called_through_the_alias,
    functions::networks_reach_their_own_function,
    operation::a_new_account_can_run_it,
    operation::reservations_cover_the_mappings,
    operation::loops_that_are_meant_are_allowed,
    operation::a_watch_outlives_what_the_key_before_has_signed,
    operation::a_standstill_is_told,
    operation::alarms_read_what_is_measured,
];

#[test]
fn the_template_keeps_every_rule() {
    let template = Template::of_the_project();
    let faults: Vec<String> = RULES.iter().flat_map(|rule| rule(&template)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_queue_that_hides_messages_too_briefly_is_found() {
    broken(queues_hide_messages_long_enough, |template| {
        template.properties("InboundQueue")["VisibilityTimeout"] = 179.into()
    });
    broken(queues_hide_messages_long_enough, |template| template.properties("deliverFunction")["Timeout"] = 31.into());
    broken(queues_hide_messages_long_enough, |template| template.remove("OutboundQueue", "VisibilityTimeout"));
}

#[test]
fn a_queue_without_dead_letters_is_found() {
    broken(queues_have_dead_letters, |template| template.remove("OutboundQueue", "RedrivePolicy"));
    broken(queues_have_dead_letters, |template| {
        template.properties("InboundDeadLetters")["MessageRetentionPeriod"] = 345_600.into();
    });
    broken(queues_have_dead_letters, |template| template.remove("InboundDeadLetters", "SqsManagedSseEnabled"));
}

#[test]
fn a_mapping_that_fails_whole_batches_is_found() {
    broken(mappings_report_partial_failures, |template| {
        template.event("inferenceFunction", "Inbound").remove("FunctionResponseTypes");
    });
    broken(mappings_report_partial_failures, |template| {
        template.event("deliverFunction", "Outbound").insert("MaximumBatchingWindowInSeconds".into(), 1.into());
    });
}

#[test]
fn a_wildcard_without_a_reason_is_found() {
    broken(wildcards_have_reasons, |template| template.statement("telegramRole", "Claim")["Resource"] = "*".into());
    broken(wildcards_have_reasons, |template| template.statement("deliverRole", "GiveUp")["Action"] = "sqs:*".into());
    broken(wildcards_have_reasons, |template| {
        template.resource("Key").remove("Metadata");
    });
    broken(wildcards_have_reasons, |template| {
        template.properties("wecomRole")["ManagedPolicyArns"] = vec!["arn:aws:iam::aws:policy/ReadOnlyAccess"].into();
    });
}

#[test]
fn a_secret_in_an_environment_is_found() {
    for (name, value) in
        [("BOT_TOKEN", "x"), ("WECOM_SECRET", "x"), ("LLM_API_KEY", "x"), ("URL", "{{resolve:ssm:/bot}}")]
    {
        broken(environments_hold_no_secrets, |template| {
            template.variables("wecomFunction").insert(name.into(), value.into());
        });
    }
}

#[test]
fn a_table_that_is_kept_for_ever_or_cannot_be_restored_is_found() {
    broken(tables_expire_and_can_be_restored, |template| template.remove("SessionsTable", "TimeToLiveSpecification"));
    broken(tables_expire_and_can_be_restored, |template| {
        template.remove("KeysTable", "PointInTimeRecoverySpecification")
    });
    broken(tables_expire_and_can_be_restored, |template| {
        template.resource("KeysTable").remove("Metadata");
    });
    broken(tables_expire_and_can_be_restored, |template| {
        template.properties("SendsTable")["TimeToLiveSpecification"]["AttributeName"] = "ttl".into();
    });
}

#[test]
fn a_role_that_may_decrypt_what_is_not_its_own_is_found() {
    let rule = secrets_are_decrypted_by_whom_they_belong_to;
    broken(rule, |template| {
        template.statement("telegramRole", "DecryptOwnKeys").remove("Condition");
    });
    broken(rule, |template| {
        let condition = &mut template.statement("wecomRole", "DecryptOwnKeys")["Condition"]["StringEquals"];
        condition["kms:EncryptionContext:channel"] = "telegram".into();
    });
    broken(rule, |template| {
        let condition = &mut template.statement("deliverRole", "DecryptSendKeys")["Condition"]["StringEquals"];
        condition["kms:EncryptionContext:name"] = "webhook".into();
    });
    broken(rule, |template| {
        template.statement("inferenceRole", "Session")["Action"] = "kms:Decrypt".into();
    });
    broken(rule, |template| template.properties("Key")["EnableKeyRotation"] = false.into());
}

#[test]
fn a_log_that_is_kept_for_ever_or_shared_is_found() {
    broken(logs_end_and_belong_to_one_function, |template| template.remove("deliverLogs", "RetentionInDays"));
    broken(logs_end_and_belong_to_one_function, |template| template.remove("deliverFunction", "LoggingConfig"));
    broken(logs_end_and_belong_to_one_function, |template| {
        let other = template.statement("wecomRole", "Log")["Resource"].clone();
        template.statement("telegramRole", "Log")["Resource"] = other;
    });
}

/// The rule finds nothing in the template as it is, and something once it is changed.
fn broken(rule: fn(&Template) -> Vec<String>, change: impl FnOnce(&mut Template)) {
    let mut template = Template::of_the_project();
    assert_eq!(rule(&template), Vec::<String>::new(), "before the change");
    change(&mut template);
    assert_ne!(rule(&template), Vec::<String>::new(), "after the change");
}

fn queues_hide_messages_long_enough(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    for (function, mapping) in template.mappings() {
        let queue = target(&mapping["Queue"]);
        let timeout = template.read(&function)["Timeout"].as_u64().unwrap_or(3);
        let visible = template.read(&queue).get("VisibilityTimeout").and_then(Value::as_u64).unwrap_or(30);
        if visible < VISIBILITY_FACTOR * timeout {
            faults.push(format!("{queue} hides messages for {visible} s, {function} may take {timeout} s"));
        }
    }
    faults
}

fn queues_have_dead_letters(template: &Template) -> Vec<String> {
    const FOURTEEN_DAYS: u64 = 14 * 24 * 3600;
    let mut faults = Vec::new();
    let queues = template.of_type("AWS::SQS::Queue");
    let dead: Vec<String> = queues
        .iter()
        .filter_map(|(_, queue)| queue.get("RedrivePolicy"))
        .map(|policy| target(&policy["deadLetterTargetArn"]))
        .collect();
    for (name, queue) in &queues {
        if queue.get("SqsManagedSseEnabled") != Some(&true.into()) {
            faults.push(format!("{name} is not encrypted"));
        }
        if dead.contains(name) {
            if queue.get("MessageRetentionPeriod").and_then(Value::as_u64) != Some(FOURTEEN_DAYS) {
                faults.push(format!("{name} does not keep messages for 14 days"));
            }
        } else if queue.get("RedrivePolicy").is_none() {
            faults.push(format!("{name} has no dead-letter queue"));
        }
    }
    faults
}

fn mappings_report_partial_failures(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    for (function, mapping) in template.mappings() {
        if mapping.get("FunctionResponseTypes") != Some(&vec!["ReportBatchItemFailures"].into()) {
            faults.push(format!("{function} does not report which items of a batch failed"));
        }
        if mapping.get("MaximumBatchingWindowInSeconds").and_then(Value::as_u64) != Some(0) {
            faults.push(format!("{function} waits for batches to fill"));
        }
    }
    faults
}

fn wildcards_have_reasons(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, resource) in template.resources() {
        if resource.get("Metadata").and_then(|all| all.get("WhyWildcard")).is_some() {
            continue;
        }
        let properties = resource.get("Properties").unwrap_or(&Value::Null);
        if properties.get("ManagedPolicyArns").is_some() || properties.get("Policies").is_some_and(names_a_policy) {
            faults.push(format!("{name} has a policy of AWS's, which says more than one job needs"));
        }
        for statement in statements(properties) {
            let wild = texts(&statement["Resource"]).iter().any(|resource| resource == "*")
                || texts(&statement["Action"]).iter().any(|action| action.contains('*'));
            if wild {
                faults.push(format!("{name} has a wildcard and no WhyWildcard in its Metadata"));
            }
        }
    }
    faults
}

/// SAM lets `Policies` name managed policies and templates.
fn names_a_policy(policies: &Value) -> bool {
    policies.as_sequence().is_none_or(|all| all.iter().any(|policy| policy.get("PolicyDocument").is_none()))
}

fn environments_hold_no_secrets(template: &Template) -> Vec<String> {
    const WORDS: [&str; 6] = ["SECRET", "TOKEN", "PASSWORD", "CREDENTIAL", "API_KEY", "PRIVATE"];
    let mut faults = Vec::new();
    for (function, properties) in template.of_type("AWS::Serverless::Function") {
        let Some(variables) = properties["Environment"]["Variables"].as_mapping() else { continue };
        for (name, value) in variables {
            let name = name.as_str().unwrap_or_default();
            // The name of a table is no secret, whatever stands in it.
            if WORDS.iter().any(|word| name.contains(word)) && !name.ends_with("_TABLE") {
                faults.push(format!("{function} has {name} in its environment: secrets are in the Keys table"));
            }
            // A value may come from the stack or be a plain setting; what is resolved from a vault is a secret.
            if texts(value).iter().any(|text| text.contains("{{resolve:")) {
                faults.push(format!("{function} resolves a secret into {name}"));
            }
        }
    }
    faults
}

fn tables_expire_and_can_be_restored(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, table) in template.of_type("AWS::DynamoDB::Table") {
        let ttl = table.get("TimeToLiveSpecification");
        let expires = ttl.is_some_and(|ttl| ttl["AttributeName"] == "expires_at" && ttl["Enabled"] == true);
        let reason = template.resources_value(&name)["Metadata"].get("WhyNothingExpires").is_some();
        if !expires && !reason {
            faults.push(format!("{name} keeps items for ever and has no WhyNothingExpires in its Metadata"));
        }
        if table.get("PointInTimeRecoverySpecification").is_none_or(|spec| spec["PointInTimeRecoveryEnabled"] != true) {
            faults.push(format!("{name} cannot be restored to a point in time"));
        }
    }
    faults
}

fn secrets_are_decrypted_by_whom_they_belong_to(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    for (role, properties) in template.of_type("AWS::IAM::Role") {
        let channel = Channel::ALL.map(Channel::as_str).into_iter().find(|channel| role == format!("{channel}Role"));
        let context = |pairs: &[(&str, &[&str])]| {
            let key = |part: &str| Value::from(format!("kms:EncryptionContext:{part}"));
            let value = |values: &[&str]| match values {
                [one] => Value::from(*one),
                several => several.to_vec().into(),
            };
            pairs.iter().map(|(part, values)| (key(part), value(values))).collect::<Mapping>()
        };
        let wanted = match (channel, role.as_str()) {
            (Some(channel), _) => {
                vec![(vec!["kms:Decrypt"], context(&[("channel", &[channel]), ("name", &["webhook"])]))]
            }
            (None, "deliverRole") => vec![
                (vec!["kms:Decrypt"], context(&[("name", &["send"])])),
                (vec!["kms:Encrypt", "kms:Decrypt"], context(&[("name", &["token"])])),
            ],
            (None, "rotateRole") => {
                let automatic: &[&str] = &["telegram", "webchat"];
                vec![
                    (vec!["kms:Decrypt"], context(&[("channel", automatic), ("name", &["webhook", "send"])])),
                    (vec!["kms:Encrypt"], context(&[("channel", automatic), ("name", &["webhook"])])),
                ]
            }
            _ => vec![],
        };
        let mut found = Vec::new();
        for statement in statements(properties) {
            let uses: Vec<String> =
                texts(&statement["Action"]).into_iter().filter(|action| action.starts_with("kms:")).collect();
            if !uses.is_empty() {
                let bound = statement.get("Condition").and_then(|all| all.get("StringEquals")?.as_mapping().cloned());
                found.push((uses, bound.unwrap_or_default()));
            }
        }
        let same = found.len() == wanted.len()
            && found.iter().zip(&wanted).all(|((uses, bound), (may, within))| uses == may && bound == within);
        if !same {
            faults.push(format!("{role} may use the key for {found:?} and not just {wanted:?}"));
        }
    }
    for (name, key) in template.of_type("AWS::KMS::Key") {
        if key["EnableKeyRotation"] != true {
            faults.push(format!("{name} is never rotated"));
        }
    }
    faults
}

fn logs_end_and_belong_to_one_function(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, group) in template.of_type("AWS::Logs::LogGroup") {
        if group.get("RetentionInDays").is_none() {
            faults.push(format!("{name} is kept for ever"));
        }
    }
    for (function, properties) in template.of_type("AWS::Serverless::Function") {
        let name = function.trim_end_matches("Function");
        let logs = format!("{name}Logs");
        if properties.get("LoggingConfig").is_none_or(|config| target(&config["LogGroup"]) != logs) {
            faults.push(format!("{function} does not log to {logs}"));
        }
        for statement in statements(template.read(&format!("{name}Role"))) {
            if texts(&statement["Action"]).iter().any(|action| action.starts_with("logs:"))
                && target(&statement["Resource"]) != logs
            {
                faults.push(format!("{function} may write to logs other than {logs}"));
            }
        }
    }
    faults
}

/// `template.yaml` with its loops expanded, and CloudFormation's `!Ref` and the like as tagged values.
struct Template(Value);

impl Template {
    fn of_the_project() -> Self {
        Self(yaml::template())
    }

    fn resources(&self) -> impl Iterator<Item = (String, &Value)> {
        let all = self.0["Resources"].as_mapping().expect("a template has resources");
        all.iter().map(|(name, resource)| (name.as_str().expect("a name").to_owned(), resource))
    }

    fn resources_value(&self, name: &str) -> &Value {
        &self.0["Resources"][name]
    }

    /// The properties of every resource of a type.
    fn of_type(&self, kind: &str) -> Vec<(String, &Value)> {
        let found: Vec<_> = self
            .resources()
            .filter(|(_, resource)| resource["Type"] == kind)
            .map(|(name, resource)| (name, &resource["Properties"]))
            .collect();
        assert!(!found.is_empty(), "the template has no {kind}, so a rule about it would hold by itself");
        found
    }

    /// The properties of a resource.
    fn read(&self, name: &str) -> &Value {
        &self.0["Resources"][name]["Properties"]
    }

    /// Each SQS mapping, by its function.
    fn mappings(&self) -> Vec<(String, &Value)> {
        let mut found = Vec::new();
        for (function, properties) in self.of_type("AWS::Serverless::Function") {
            let events = properties.get("Events").and_then(Value::as_mapping);
            for event in events.into_iter().flat_map(Mapping::values).filter(|event| event["Type"] == "SQS") {
                found.push((function.clone(), &event["Properties"]));
            }
        }
        assert_eq!(found.len(), 2, "two functions drain queues");
        found
    }

    fn resource(&mut self, name: &str) -> &mut Mapping {
        self.0["Resources"][name].as_mapping_mut().expect("the resource is there")
    }

    fn properties(&mut self, name: &str) -> &mut Value {
        &mut self.0["Resources"][name]["Properties"]
    }

    fn remove(&mut self, name: &str, property: &str) {
        let removed = self.properties(name).as_mapping_mut().expect("the resource is there").remove(property);
        assert!(removed.is_some(), "{name} has no {property}");
    }

    fn event(&mut self, function: &str, event: &str) -> &mut Mapping {
        self.properties(function)["Events"][event]["Properties"].as_mapping_mut().expect("the event is there")
    }

    fn variables(&mut self, function: &str) -> &mut Mapping {
        self.properties(function)["Environment"]["Variables"].as_mapping_mut().expect("the function has variables")
    }

    fn statement(&mut self, role: &str, sid: &str) -> &mut Mapping {
        let policy = &mut self.properties(role)["Policies"][0]["PolicyDocument"]["Statement"];
        let all = policy.as_sequence_mut().expect("the role has statements");
        let found = all.iter_mut().find(|statement| statement["Sid"] == sid).expect("the statement is there");
        found.as_mapping_mut().expect("a statement is a mapping")
    }
}
