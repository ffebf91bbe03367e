//! Reading `template.yaml`, with CloudFormation's `!Ref` and the like as tagged values.

use std::path::Path;

use serde_yaml_ng::Value;

/// The project's template.
pub(crate) fn template() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../template.yaml");
    let text = std::fs::read_to_string(&path).expect("template.yaml stands in the workspace's root");
    serde_yaml_ng::from_str(&text).expect("template.yaml is YAML")
}

/// Every policy statement anywhere under a value.
pub(crate) fn statements(value: &Value) -> Vec<&Value> {
    match value {
        Value::Mapping(mapping) => {
            let here = mapping.contains_key("Effect")
                && (mapping.contains_key("Resource") || mapping.contains_key("NotResource"));
            let below = mapping.values().flat_map(statements);
            if here { vec![value] } else { below.collect() }
        }
        Value::Sequence(all) => all.iter().flat_map(statements).collect(),
        Value::Tagged(tagged) => statements(&tagged.value),
        _ => Vec::new(),
    }
}

/// A text, or each text of a list.
pub(crate) fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Sequence(all) => all.iter().flat_map(texts).collect(),
        Value::Tagged(tagged) => texts(&tagged.value),
        _ => Vec::new(),
    }
}

/// The logical id that `!Ref X` or `!GetAtt X.Arn` names.
pub(crate) fn target(value: &Value) -> String {
    let Value::Tagged(tagged) = value else { return String::new() };
    let text = tagged.value.as_str().unwrap_or_default();
    text.split('.').next().unwrap_or_default().to_owned()
}
