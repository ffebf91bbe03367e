//! Rules on what every function has, and on the list of channels, which several places have to agree on.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use hoopoe_message::Channel;
use serde_yaml_ng::Value;

use crate::yaml::{self, target, texts};
use crate::{Template, broken};

/// The functions that are no channel's.
const OTHERS: [&str; 3] = ["inference", "deliver", "rotate"];

/// Channels whose platforms publish no list of their networks.
const UNPUBLISHED: [Channel; 6] =
    [Channel::Dingtalk, Channel::Qq, Channel::Slack, Channel::Discord, Channel::Line, Channel::Webchat];

/// The table in `shared/message`, the folders of functions and the template name the same channels;
/// each function has a role, a log and outputs of its own name.
pub(crate) fn folders_resources_and_channels_agree(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let table = Channel::ALL.map(Channel::as_str);
    let channels = yaml::list(&template.0, "Channels");
    if channels != table {
        faults.push(format!("Channels are {channels:?} by default, and the table of channels has {table:?}"));
    }
    let all: BTreeSet<String> = table.iter().chain(&OTHERS).map(|name| (*name).to_owned()).collect();
    let mut agrees = |what: &str, found: BTreeSet<String>, wanted: &BTreeSet<String>| {
        faults.extend(found.difference(wanted).map(|name| format!("{what} has {name}, which is no function")));
        faults.extend(wanted.difference(&found).map(|name| format!("{what} lacks {name}")));
    };
    agrees("functions/", entries("functions", "/Cargo.toml"), &all);
    for (kind, end) in
        [("AWS::Serverless::Function", "Function"), ("AWS::IAM::Role", "Role"), ("AWS::Logs::LogGroup", "Logs")]
    {
        let found = template.of_type(kind).into_iter();
        agrees(kind, found.map(|(name, _)| name.strip_suffix(end).unwrap_or(&name).to_owned()).collect(), &all);
    }
    for (function, properties) in template.of_type("AWS::Serverless::Function") {
        let name = function.trim_end_matches("Function");
        if properties["CodeUri"] != format!("functions/{name}") {
            faults.push(format!("{function} is not made of functions/{name}"));
        }
        if texts(&properties["FunctionName"]) != [format!("${{AWS::StackName}}-{name}")] {
            faults.push(format!("{function} is not named after its folder"));
        }
    }
    let outputs = &template.0["Outputs"];
    for name in &all {
        if target(&outputs[format!("{name}FunctionName")]["Value"]) != format!("{name}Function") {
            faults.push(format!("no output says how the function {name} is named"));
        }
    }
    for name in table {
        // !Sub [ "${Url}<name>/main", { Url: ... } ]
        let Value::Tagged(address) = &outputs[format!("{name}Url")]["Value"] else {
            faults.push(format!("no output has the address of {name}"));
            continue;
        };
        let (path, url) = (&address.value[0], &address.value[1]["Url"]);
        if *path != format!("${{Url}}{name}/main") || target(url) != format!("{name}FunctionUrl") {
            faults.push(format!("the output {name}Url is not the address of {name}"));
        }
    }
    faults
}

/// What is in a folder and has `inside` in it, by names without their ends.
fn entries(folder: &str, inside: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let with = paths.filter(|path| Path::new(&format!("{}{inside}", path.display())).exists());
    with.map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect()
}

/// Where the transform does not look, the name of a loop's item stays as text: a role of such a name permits nothing, and
/// no linker nor linter sees it.
pub(crate) fn no_name_of_a_loop_is_left(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    for section in ["Resources", "Outputs", "Conditions"] {
        let Some(members) = template.0[section].as_mapping() else { continue };
        for (name, member) in members {
            let name = name.as_str().unwrap_or_default();
            for left in ["Channel", "Function"].map(|identifier| format!("{{{identifier}}}")) {
                if name.contains(&left) || holds(member, &left) {
                    faults.push(format!("{section}: {name} still has ${left} or &{left} in it"));
                }
            }
        }
    }
    faults
}

/// A key or a text has `part` in it.
fn holds(value: &Value, part: &str) -> bool {
    match value {
        Value::String(text) => text.contains(part),
        Value::Sequence(all) => all.iter().any(|one| holds(one, part)),
        Value::Mapping(members) => members.iter().any(|(key, value)| holds(key, part) || holds(value, part)),
        Value::Tagged(tagged) => holds(&tagged.value, part),
        _ => false,
    }
}

/// What is named in a resource or an output is a resource or a parameter: cfn-lint does not look into every place of a loop.
pub(crate) fn names_lead_somewhere(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let known = |name: &str| {
        // SAM makes a resource of each function's URL.
        let function = name.strip_suffix("Url").filter(|name| name.ends_with("Function")).unwrap_or(name);
        name.starts_with("AWS::")
            || template.0["Parameters"].get(name).is_some()
            || template.0["Resources"].get(function).is_some()
    };
    for section in ["Resources", "Outputs"] {
        for (place, member) in template.0[section].as_mapping().expect("the section is there") {
            for name in names(member) {
                if !known(&name) {
                    faults.push(format!("{section}: {} names {name}, which is not there", texts(place).concat()));
                }
            }
        }
    }
    faults
}

/// Each function is called through the alias, whatever of it changes; and its description changes with its reserved
/// concurrency, which no version has: a version that equals the last one fails the deployment.
pub(crate) fn all_is_called_through_the_alias(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let alias = &template.0["Globals"]["Function"]["AutoPublishAlias"];
    for (function, properties) in template.of_type("AWS::Serverless::Function") {
        if alias != "live" || properties.get("AutoPublishAlias").is_some() {
            faults.push(format!("{function} is not called through the alias live"));
        }
        if properties["AutoPublishAliasAllProperties"] != true {
            faults.push(format!("{function} has changes that publish no version"));
        }
        let Some(Value::Tagged(reserved)) = properties.get("ReservedConcurrentExecutions") else { continue };
        // !If [condition, !Ref parameter, !Ref AWS::NoValue]
        let condition = &template.0["Conditions"][&reserved.value[0]];
        let description = texts(&properties["Description"]).concat();
        for parameter in names(condition).into_iter().chain([target(&reserved.value[1])]) {
            if !description.contains(&format!("${{{parameter}}}")) {
                faults.push(format!("the description of {function} does not change with {parameter}"));
            }
        }
    }
    faults
}

/// What `!Ref`, `!GetAtt` and the text of `!Sub` name anywhere in a value.
fn names(value: &Value) -> Vec<String> {
    match value {
        Value::Tagged(tagged) if tagged.tag == "Ref" || tagged.tag == "GetAtt" => vec![target(value)],
        Value::Tagged(tagged) if tagged.tag == "Sub" => match &tagged.value {
            Value::Sequence(all) => names(&all[1]),
            text => {
                texts(text).concat().split("${").skip(1).filter_map(|rest| named(rest.split_once('}')?.0)).collect()
            }
        },
        Value::Tagged(tagged) => names(&tagged.value),
        Value::Sequence(all) => all.iter().flat_map(names).collect(),
        Value::Mapping(members) => members.values().flat_map(names).collect(),
        _ => Vec::new(),
    }
}

/// The logical id in `Name` or `Name.Attribute`.
fn named(path: &str) -> Option<String> {
    path.split('.').next().map(str::to_owned)
}

/// The list of each channel's networks reaches its function and no other.
pub(crate) fn networks_reach_their_own_function(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    for channel in Channel::ALL {
        let parameter = format!("{channel}Networks");
        let variables = &template.read(&format!("{channel}Function"))["Environment"]["Variables"];
        if variables.get("ALLOWED_NETWORKS").is_none_or(|list| target(list) != parameter) {
            faults.push(format!("{parameter} is not the ALLOWED_NETWORKS of {channel}Function"));
        }
        let about = &template.0["Parameters"][&parameter];
        let sourced = about["Description"].as_str().is_some_and(|text| text.contains("https://"));
        if about["Default"] != "any"
            || about.get("AllowedPattern").is_none()
            || sourced == UNPUBLISHED.contains(&channel)
        {
            faults.push(format!("{parameter} is not any by default, checked, and described with its source"));
        }
    }
    for name in OTHERS {
        if template.read(&format!("{name}Function"))["Environment"]["Variables"].get("ALLOWED_NETWORKS").is_some() {
            faults.push(format!("{name}Function has ALLOWED_NETWORKS, and nobody calls it"));
        }
    }
    faults
}

#[test]
fn a_channel_that_one_place_lacks_is_found() {
    let rule = folders_resources_and_channels_agree;
    broken(rule, |template| template.0["Parameters"]["Channels"]["Default"] = "telegram,webchat".into());
    for resource in ["qqFunction", "qqRole", "qqLogs"] {
        broken(rule, |template| {
            template.0["Resources"].as_mapping_mut().expect("resources").remove(resource);
        });
    }
    for output in ["qqFunctionName", "qqUrl"] {
        broken(rule, |template| {
            template.0["Outputs"].as_mapping_mut().expect("outputs").remove(output);
        });
    }
    broken(rule, |template| template.properties("qqFunction")["CodeUri"] = "functions/teams".into());
    broken(rule, |template| {
        let other = template.0["Resources"]["qqFunction"].clone();
        template.0["Resources"].as_mapping_mut().expect("resources").insert("icqFunction".into(), other);
    });
}

#[test]
fn a_name_of_a_loop_that_the_transform_leaves_is_found() {
    let rule = no_name_of_a_loop_is_left;
    broken(rule, |template| {
        let condition = &mut template.statement("qqRole", "Claim")["Condition"]["ForAllValues:StringLike"];
        condition["dynamodb:LeadingKeys"] = vec!["${Channel}/*"].into();
    });
    // The same in the file itself: what CloudFormation would leave, the tests leave as well.
    let mut source = yaml::source();
    let role = &mut source["Resources"]["Fn::ForEach::Webhooks"][2]["${Channel}Role"]["Properties"];
    role["PermissionsBoundary"] = "${Channel}".into();
    assert_ne!(rule(&Template(yaml::expanded(&source))), Vec::<String>::new());
}

#[test]
fn a_name_that_leads_nowhere_is_found() {
    let rule = names_lead_somewhere;
    broken(rule, |template| {
        template.0["Resources"].as_mapping_mut().expect("resources").remove("ClaimsTable");
    });
    broken(rule, |template| {
        template.0["Parameters"].as_mapping_mut().expect("parameters").remove("qqNetworks");
    });
}

#[test]
fn a_function_that_is_called_past_its_alias_is_found() {
    let rule = all_is_called_through_the_alias;
    broken(rule, |template| template.0["Globals"]["Function"]["AutoPublishAlias"] = Value::Null);
    broken(rule, |template| template.remove("deliverFunction", "AutoPublishAliasAllProperties"));
    broken(rule, |template| template.properties("telegramFunction")["Description"] = "Receives messages.".into());
    broken(rule, |template| {
        template.properties("deliverFunction")["Description"] = "Sends ${DeliverConcurrency} at a time.".into();
    });
}

#[test]
fn a_list_of_networks_that_reaches_no_function_or_another_one_is_found() {
    let rule = networks_reach_their_own_function;
    broken(rule, |template| {
        template.variables("telegramFunction").remove("ALLOWED_NETWORKS");
    });
    broken(rule, |template| {
        let other = template.variables("wecomFunction")["ALLOWED_NETWORKS"].clone();
        template.variables("wechatFunction").insert("ALLOWED_NETWORKS".into(), other);
    });
    broken(rule, |template| {
        template.variables("slackFunction").insert("ALLOWED_NETWORKS".into(), "192.0.2.0/24".into());
    });
    broken(rule, |template| {
        template.variables("deliverFunction").insert("ALLOWED_NETWORKS".into(), "192.0.2.0/24".into());
    });
    broken(rule, |template| template.0["Parameters"]["teamsNetworks"]["Default"] = "192.0.2.0/24".into());
    broken(rule, |template| {
        template.0["Parameters"]["feishuNetworks"]
            .as_mapping_mut()
            .expect("the parameter is there")
            .remove("AllowedPattern");
    });
    broken(rule, |template| template.0["Parameters"]["feishuNetworks"]["Description"] = "Feishu's networks".into());
    broken(rule, |template| {
        template.0["Parameters"].as_mapping_mut().expect("parameters").remove("messengerNetworks");
    });
}

/// SAM expands no loop without it; with an editor of its own `sam deploy --guided` keeps what stands there.
#[test]
fn sam_is_told_to_expand_loops() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samconfig.toml");
    let text = fs::read_to_string(&path).expect("samconfig.toml stands beside template.yaml");
    let settings: toml::Table = toml::from_str(&text).expect("TOML");
    assert_eq!(settings["default"]["global"]["parameters"]["language_extensions"], toml::Value::Boolean(true));
}
