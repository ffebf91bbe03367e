//! Rules on what the functions may use of the account, and on what its operator is told.

use std::time::Duration;

use hoopoe_channels::webchat::token::LIFETIME;
use hoopoe_telemetry::metrics;
use serde_yaml_ng::Value;

use crate::yaml::{statements, target, texts};
use crate::{Template, broken};

/// Lambda's quota of concurrent executions in a new account.
const NEW_ACCOUNT: u64 = 10;

/// How much of it the webhook functions need: their runs take milliseconds.
const FOR_WEBHOOKS: u64 = 4;

/// Alarms that CloudWatch does not bill, in each account.
const FREE_ALARMS: usize = 10;

/// The two functions that drain queues, by the beginning of their names.
const DRAINS: [&str; 2] = ["Inference", "Deliver"];

/// The mappings leave the webhook functions a share of a new account's quota, and nothing is reserved by default, as no
/// reservation can be made there.
pub(crate) fn a_new_account_can_run_it(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let number = |name: &str| default(template, name).parse::<u64>().ok();
    let mappings: Option<u64> = DRAINS.iter().map(|name| number(&format!("{name}Concurrency"))).sum();
    if mappings.is_none_or(|all| all + FOR_WEBHOOKS > NEW_ACCOUNT) {
        faults.push(format!("the mappings leave the webhooks less than {FOR_WEBHOOKS} of {NEW_ACCOUNT} executions"));
    }
    for (function, properties) in template.of_type("AWS::Serverless::Function") {
        let reserved = match properties.get("ReservedConcurrentExecutions") {
            // !If [Condition, !Ref Parameter, !Ref AWS::NoValue]
            Some(Value::Tagged(choice)) => target(&choice.value[1]),
            Some(_) => String::new(),
            None if function == "rotateFunction" => continue,
            None => String::new(),
        };
        let own = match function.as_str() {
            "inferenceFunction" => "InferenceConcurrency",
            "deliverFunction" => "DeliverConcurrency",
            _ => "WebhookReservedConcurrency",
        };
        if reserved != own {
            faults.push(format!("{function} is not reserved {own}"));
        }
        // A function of which none may run refuses everything.
        if allows(template, own, "0") {
            faults.push(format!("{own} may be 0"));
        }
    }
    for (parameter, nothing) in [("WebhookReservedConcurrency", "none"), ("ReserveQueueConcurrency", "false")] {
        if default(template, parameter) != nothing {
            faults.push(format!("{parameter} is not {nothing} by default"));
        }
    }
    faults
}

/// What is set aside for a function that drains a queue is what its mapping may call: with less, messages would be taken
/// and refused.
pub(crate) fn reservations_cover_the_mappings(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    // !If [Condition, value, !Ref AWS::NoValue]
    let branch = |value: &Value| match value {
        Value::Tagged(choice) => choice.value[1].clone(),
        _ => Value::Null,
    };
    for (function, mapping) in template.mappings() {
        let most = branch(&mapping["ScalingConfig"]).get("MaximumConcurrency").map(target).unwrap_or_default();
        let reserved = target(&branch(&template.read(&function)["ReservedConcurrentExecutions"]));
        if most.is_empty() || most != reserved {
            faults.push(format!("the mapping of {function} may call {most:?}, and {reserved:?} is reserved"));
        }
    }
    faults
}

/// Lambda stops what it takes for a loop, so a function that fills the queue it drains says that it means to; no other
/// function does.
pub(crate) fn loops_that_are_meant_are_allowed(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let mappings = template.mappings();
    for (function, properties) in template.of_type("AWS::Serverless::Function") {
        let role = template.read(&format!("{}Role", function.trim_end_matches("Function")));
        let drained = mappings.iter().find(|(name, _)| *name == function).map(|(_, mapping)| target(&mapping["Queue"]));
        let loops = drained.is_some_and(|queue| {
            statements(role).iter().any(|statement| {
                target(&statement["Resource"]) == queue
                    && texts(&statement["Action"]).iter().any(|action| action == "sqs:SendMessage")
            })
        });
        let allowed = properties.get("RecursiveLoop").is_some_and(|choice| choice == "Allow");
        if loops != allowed {
            faults.push(format!("{function} fills the queue it drains: {loops}; RecursiveLoop is allowed: {allowed}"));
        }
    }
    faults
}

/// While a new key is watched, the web chat takes tokens that the one before has signed. Such a token is good for a day, and
/// whoever used one within the last hour makes the new key doubtful.
pub(crate) fn a_watch_outlives_what_the_key_before_has_signed(template: &Template) -> Vec<String> {
    let hours = |time: Duration| time.as_secs().div_ceil(3600);
    let watched = template.0["Parameters"]["KeyWatchHours"]["Default"].as_u64().unwrap_or(0);
    let needed = hours(LIFETIME) + 2;
    if watched >= needed {
        return Vec::new();
    }
    vec![format!("KeyWatchHours is {watched}; tokens of the web chat need {needed}")]
}

/// Each queue that waits, each letter that died, functions that fail, are refused, or answer with 5xx: all are told, by few
/// alarms that say what they mean and what to do.
pub(crate) fn a_standstill_is_told(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let alarms = template.of_type("AWS::CloudWatch::Alarm");
    let reads = |namespace: &str, metric: &str, dimension: Option<&str>| {
        alarms.iter().any(|(_, alarm)| {
            alarm["Namespace"] == namespace
                && alarm["MetricName"] == metric
                && match (alarm.get("Dimensions"), dimension) {
                    (None, None) => true,
                    (Some(found), Some(wanted)) => target(&found[0]["Value"]) == wanted,
                    _ => false,
                }
        })
    };
    for (queue, properties) in template.of_type("AWS::SQS::Queue") {
        let dead = properties.get("RedrivePolicy").is_none();
        let metric = if dead { "ApproximateNumberOfMessagesVisible" } else { "ApproximateAgeOfOldestMessage" };
        if !reads("AWS/SQS", metric, Some(&queue)) {
            faults.push(format!("nothing tells of {metric} of {queue}"));
        }
    }
    for metric in ["Errors", "Throttles"] {
        if !reads("AWS/Lambda", metric, None) {
            faults.push(format!("nothing tells of {metric} of all functions"));
        }
    }
    for (namespace, metric, dimension) in [
        ("AWS/Lambda", "Errors", "rotateFunction"),
        ("Hoopoe", "WebhookFailures", "AWS::StackName"),
        ("Hoopoe", "CredentialsRefused", "AWS::StackName"),
    ] {
        if !reads(namespace, metric, Some(dimension)) {
            faults.push(format!("nothing tells of {metric} of {dimension}"));
        }
    }
    for (name, alarm) in &alarms {
        let description = texts(&alarm["AlarmDescription"]).concat();
        if !description.contains(". ") || !["`hoopoe ", "Service Quotas"].iter().any(|way| description.contains(way)) {
            faults.push(format!("{name} does not say what it means and what to do"));
        }
        if !alarm["AlarmActions"].as_sequence().is_some_and(|all| all.iter().any(|to| target(to) == "NoticesTopic")) {
            faults.push(format!("{name} tells nobody"));
        }
        if alarm["TreatMissingData"] != "notBreaching" {
            faults.push(format!("{name} takes silence for a fault"));
        }
        // The emulator has no alarms on expressions, and CloudWatch bills each metric of one.
        if alarm.get("MetricName").is_none() {
            faults.push(format!("{name} reads more than one metric"));
        }
    }
    if alarms.len() > FREE_ALARMS {
        faults.push(format!("{} alarms are more than the {FREE_ALARMS} that are free", alarms.len()));
    }
    faults
}

/// Each metric that the functions make is read by an alarm, each alarm on such a metric reads one that they make, and every
/// function knows the stack that it counts for.
pub(crate) fn alarms_read_what_is_measured(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let own: Vec<_> = template.of_type("AWS::CloudWatch::Alarm");
    let own: Vec<_> = own.iter().filter(|(_, alarm)| alarm["Namespace"] == "Hoopoe").collect();
    for metric in metrics::alarmed() {
        if !own.iter().any(|(_, alarm)| alarm["MetricName"] == metric.name) {
            faults.push(format!("no alarm reads {}", metric.name));
        }
    }
    for (name, alarm) in own {
        let metric = alarm["MetricName"].as_str().unwrap_or_default();
        if !metrics::alarmed().any(|made| made.name == metric) {
            faults.push(format!("{name} reads {metric}, which no function makes"));
        }
        let dimension = &alarm["Dimensions"][0];
        if dimension["Name"] != "Stack" || target(&dimension["Value"]) != "AWS::StackName" {
            faults.push(format!("{name} reads the metric of every stack"));
        }
    }
    if target(&template.0["Globals"]["Function"]["Environment"]["Variables"]["STACK"]) != "AWS::StackName" {
        faults.push("the functions do not know their stack".to_owned());
    }
    faults
}

fn default(template: &Template, parameter: &str) -> String {
    template.0["Parameters"][parameter]["Default"].as_str().unwrap_or_default().to_owned()
}

/// Whether a parameter of one of the two forms that are used takes a value.
fn allows(template: &Template, parameter: &str, value: &str) -> bool {
    let about = &template.0["Parameters"][parameter];
    match about.get("AllowedValues") {
        Some(values) => texts(values).contains(&value.to_owned()),
        None => about["AllowedPattern"] != "none|[1-9][0-9]{0,3}",
    }
}

#[test]
fn a_stack_that_a_new_account_cannot_run_is_found() {
    let rule = a_new_account_can_run_it;
    broken(rule, |template| template.0["Parameters"]["InferenceConcurrency"]["Default"] = "10".into());
    broken(rule, |template| template.0["Parameters"]["DeliverConcurrency"]["Default"] = "none".into());
    broken(rule, |template| template.0["Parameters"]["WebhookReservedConcurrency"]["Default"] = "20".into());
    broken(rule, |template| template.0["Parameters"]["ReserveQueueConcurrency"]["Default"] = "true".into());
    broken(rule, |template| {
        template.0["Parameters"]["WebhookReservedConcurrency"]["AllowedPattern"] = "none|[0-9]+".into();
    });
    broken(rule, |template| {
        let other = template.properties("lineFunction")["ReservedConcurrentExecutions"].clone();
        template.properties("inferenceFunction")["ReservedConcurrentExecutions"] = other;
    });
    broken(rule, |template| template.remove("deliverFunction", "ReservedConcurrentExecutions"));
}

#[test]
fn a_reservation_that_is_too_small_for_its_mapping_is_found() {
    let rule = reservations_cover_the_mappings;
    broken(rule, |template| template.remove("inferenceFunction", "ReservedConcurrentExecutions"));
    broken(rule, |template| {
        let other = template.properties("lineFunction")["ReservedConcurrentExecutions"].clone();
        template.properties("deliverFunction")["ReservedConcurrentExecutions"] = other;
    });
    broken(rule, |template| {
        template.event("deliverFunction", "Outbound").remove("ScalingConfig");
    });
}

#[test]
fn a_watch_that_ends_before_the_web_chats_tokens_is_found() {
    broken(a_watch_outlives_what_the_key_before_has_signed, |template| {
        template.0["Parameters"]["KeyWatchHours"]["Default"] = 24.into();
    });
}

#[test]
fn a_loop_that_lambda_would_end_is_found() {
    broken(loops_that_are_meant_are_allowed, |template| template.remove("deliverFunction", "RecursiveLoop"));
    broken(loops_that_are_meant_are_allowed, |template| {
        template.properties("inferenceFunction")["RecursiveLoop"] = "Allow".into();
    });
}

#[test]
fn a_standstill_that_nobody_is_told_of_is_found() {
    for alarm in [
        "InboundAgeAlarm",
        "OutboundAgeAlarm",
        "InboundDeadLettersAlarm",
        "OutboundDeadLettersAlarm",
        "FunctionErrorsAlarm",
        "ThrottlesAlarm",
        "WebhookFailuresAlarm",
        "CredentialsRefusedAlarm",
        "RotateErrorsAlarm",
    ] {
        broken(a_standstill_is_told, |template| {
            template.0["Resources"].as_mapping_mut().expect("resources").remove(alarm);
        });
    }
    broken(a_standstill_is_told, |template| template.remove("ThrottlesAlarm", "AlarmActions"));
    broken(a_standstill_is_told, |template| {
        template.properties("FunctionErrorsAlarm")["AlarmDescription"] = "Errors.".into();
    });
    broken(a_standstill_is_told, |template| {
        template.properties("InboundAgeAlarm")["TreatMissingData"] = "breaching".into();
    });
}

#[test]
fn an_alarm_on_a_metric_that_nobody_makes_is_found() {
    let rule = alarms_read_what_is_measured;
    broken(rule, |template| template.properties("WebhookFailuresAlarm")["MetricName"] = "Failures".into());
    broken(rule, |template| {
        template.properties("CredentialsRefusedAlarm")["Dimensions"][0]["Value"] = "hoopoe".into();
    });
    broken(rule, |template| template.0["Globals"]["Function"]["Environment"]["Variables"]["STACK"] = "x".into());
}
