//! Reading `template.yaml` with its loops expanded, and CloudFormation's `!Ref` and the like as tagged values.
//!
//! In a loop the transform `AWS::LanguageExtensions` puts the item in place of the identifier in keys (`${Channel}Role`),
//! in `!Ref Channel` and in the text of `!Sub`, and nowhere else: a bare "${Channel}" in a value stays. SAM alone puts it
//! into `CodeUri`. The functions of the template that can be evaluated are evaluated, so that what is read is what a
//! template without loops would say.

use std::path::Path;

use serde_yaml_ng::value::TaggedValue;
use serde_yaml_ng::{Mapping, Value};

const LOOP: &str = "Fn::ForEach::";

/// The project's template, expanded.
pub(crate) fn template() -> Value {
    expanded(&source())
}

/// The project's template as it is written.
pub(crate) fn source() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../template.yaml");
    let text = std::fs::read_to_string(&path).expect("template.yaml stands in the workspace's root");
    serde_yaml_ng::from_str(&text).expect("template.yaml is YAML")
}

/// A template with its loops expanded, by the defaults of its parameters.
pub(crate) fn expanded(source: &Value) -> Value {
    Loops { source, bound: Vec::new() }.expand(source)
}

/// The items of a parameter that is a list, by default.
pub(crate) fn list<'a>(source: &'a Value, parameter: &str) -> Vec<&'a str> {
    source["Parameters"][parameter]["Default"].as_str().map_or(Vec::new(), |list| list.split(',').collect())
}

/// The loops that a value stands in.
struct Loops<'a> {
    source: &'a Value,
    /// Each identifier with its item.
    bound: Vec<(&'a str, &'a str)>,
}

impl<'a> Loops<'a> {
    fn expand(&self, value: &'a Value) -> Value {
        match value {
            Value::Mapping(mapping) => match (mapping.len(), mapping.get("Ref")) {
                (1, Some(name)) => tagged("Ref", self.expand(name)),
                _ => self.members(mapping).collect::<Mapping>().into(),
            },
            Value::Sequence(all) => all.iter().map(|one| self.expand(one)).collect::<Vec<_>>().into(),
            Value::Tagged(tagged) => self.function(tagged.tag.to_string().trim_start_matches('!'), &tagged.value),
            other => other.clone(),
        }
    }

    fn members(&self, mapping: &'a Mapping) -> impl Iterator<Item = (Value, Value)> {
        mapping.iter().flat_map(|(key, value)| match key.as_str() {
            Some(name) if name.starts_with(LOOP) => self.each(value),
            Some("CodeUri") => vec![(key.clone(), value.as_str().map_or(Value::Null, |text| self.put_in(text).into()))],
            Some(name) => vec![(self.put_in(name).into(), self.expand(value))],
            None => vec![(key.clone(), self.expand(value))],
        })
    }

    /// The members that a loop makes.
    fn each(&self, value: &'a Value) -> Vec<(Value, Value)> {
        let identifier = value[0].as_str().expect("a loop has an identifier");
        let items: Vec<&str> = match &value[1] {
            Value::Sequence(items) => items.iter().filter_map(Value::as_str).collect(),
            parameter => list(self.source, &target(parameter)),
        };
        let fragment = value[2].as_mapping().expect("a loop has a fragment");
        let mut made = Vec::new();
        for item in items {
            let bound = self.bound.iter().copied().chain([(identifier, item)]).collect();
            made.extend(Loops { source: self.source, bound }.members(fragment));
        }
        made
    }

    fn function(&self, name: &str, of: &'a Value) -> Value {
        match (name, self.expand(of)) {
            ("Ref", Value::String(name)) => match self.bound.iter().find(|(identifier, _)| *identifier == name) {
                Some((_, item)) => (*item).into(),
                None => tagged("Ref", name.into()),
            },
            ("Sub", Value::String(text)) => match self.put_in(&text) {
                text if text.contains("${") => tagged("Sub", text.into()),
                text => text.into(),
            },
            ("Sub", Value::Sequence(mut all)) => {
                all[0] = self.put_in(all[0].as_str().expect("a text")).into();
                tagged("Sub", all.into())
            }
            ("GetAtt", Value::Sequence(path)) => tagged("GetAtt", texts(&path.into()).join(".").into()),
            ("FindInMap", Value::Sequence(path)) => {
                let [map, first, second] = [0, 1, 2].map(|place| path[place].as_str().expect("a name of a mapping"));
                let found = self.source["Mappings"][map].get(first).and_then(|entry| entry.get(second));
                found.or_else(|| path.get(3)?.get("DefaultValue")).cloned().unwrap_or(Value::Null)
            }
            (name, value) => tagged(name, value),
        }
    }

    /// A text with the items in place of the identifiers.
    fn put_in(&self, text: &str) -> String {
        self.bound.iter().fold(text.to_owned(), |text, (name, item)| text.replace(&format!("${{{name}}}"), item))
    }
}

fn tagged(name: &str, value: Value) -> Value {
    Value::Tagged(Box::new(TaggedValue { tag: serde_yaml_ng::value::Tag::new(name), value }))
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
