//! The statements of PartiQL that the functions write, as the expressions that say the same.
//!
//! By "PartiQL update statements for DynamoDB" and "PartiQL insert statements for DynamoDB" in the developer guide:
//! `INSERT INTO "table" VALUE {'name': ?, …}` and `UPDATE "table" SET "name" = ? … REMOVE "name" … WHERE …`, with
//! `RETURNING ALL NEW *` or without.

use std::collections::BTreeMap;

use super::expression::Placeholders;
use super::value::{Item, Value};

/// "The maximum length of a PartiQL statement is 8,192 characters."
const MAX_STATEMENT: usize = 8192;

/// A statement with its values.
#[derive(Debug)]
pub(crate) enum Statement {
    Insert {
        table: String,
        item: Item,
    },
    Update {
        table: String,
        /// As an update expression.
        change: String,
        /// As a condition expression; it names the item by its key.
        condition: String,
        placeholders: Placeholders,
        returns: bool,
    },
}

impl Statement {
    pub(crate) fn parse(text: &str, values: Vec<Value>) -> Result<Self, String> {
        let unknown = || format!("the statement {text:?} is not understood");
        if !(1..=MAX_STATEMENT).contains(&text.len()) {
            return Err(format!("a statement has 1 to {MAX_STATEMENT} characters, and this one {}", text.len()));
        }
        if let Some(rest) = text.strip_prefix("INSERT INTO \"") {
            let (table, rest) = rest.split_once("\" VALUE {").ok_or_else(unknown)?;
            let members = rest.strip_suffix('}').ok_or_else(unknown)?.split(", ");
            let names: Option<Vec<&str>> =
                members.map(|member| member.strip_prefix('\'')?.strip_suffix("': ?")).collect();
            let names = names.filter(|names| names.len() == values.len()).ok_or_else(unknown)?;
            let item = names.into_iter().map(|name| name.replace("''", "'")).zip(values).collect();
            return Ok(Self::Insert { table: table.to_owned(), item });
        }
        let rest = text.strip_prefix("UPDATE \"").ok_or_else(unknown)?;
        let (table, rest) = rest.split_once("\" ").ok_or_else(unknown)?;
        let (written, placeholders) = with_placeholders(rest, values).ok_or_else(unknown)?;
        let (change, condition) = written.split_once(" WHERE ").ok_or_else(unknown)?;
        let (condition, returns) = match condition.strip_suffix(" RETURNING ALL NEW *") {
            Some(condition) => (condition, true),
            None => (condition, false),
        };
        let mut words: Vec<String> = Vec::new();
        let mut left = condition.split(' ').peekable();
        while let Some(word) = left.next() {
            if left.next_if_eq(&"IS").is_some() {
                let function =
                    if left.next_if_eq(&"NOT").is_some() { "attribute_exists" } else { "attribute_not_exists" };
                let close = left.next().and_then(|word| word.strip_prefix("MISSING")).ok_or_else(unknown)?;
                let name = word.trim_start_matches('(');
                let open = &word[..word.len() - name.len()];
                words.push(format!("{open}{function}({name}){close}"));
            } else {
                words.push(word.to_owned());
            }
        }
        let (table, change) = (table.to_owned(), change.to_owned());
        Ok(Self::Update { table, change, condition: words.join(" "), placeholders, returns })
    }
}

/// The text with a placeholder for each quoted name and each `?`; `None` where the values are not as many.
fn with_placeholders(text: &str, values: Vec<Value>) -> Option<(String, Placeholders)> {
    let (mut written, mut values) = (String::new(), values.into_iter());
    let (mut names, mut bound) = (BTreeMap::new(), BTreeMap::new());
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '"' => {
                let mut name = String::new();
                loop {
                    match rest.next()? {
                        '"' if rest.next_if_eq(&'"').is_some() => name.push('"'),
                        '"' => break,
                        other => name.push(other),
                    }
                }
                let placeholder = format!("#{}", names.len());
                written.push_str(&placeholder);
                names.insert(placeholder, name);
            }
            '?' => {
                let placeholder = format!(":{}", bound.len());
                written.push_str(&placeholder);
                bound.insert(placeholder, values.next()?);
            }
            other => written.push(other),
        }
    }
    values.next().is_none().then(|| (written, Placeholders::new(names, bound)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: u64) -> Value {
        Value::N(value.to_string())
    }

    #[test]
    fn an_update_says_the_same_as_an_expression() {
        let text = r#"UPDATE "t" SET "a""?" = ? SET "b" = ? REMOVE "c" WHERE "k" = ? AND ("a""?" IS MISSING OR "b" < ?) RETURNING ALL NEW *"#;
        let parsed = Statement::parse(text, (1..=4).map(number).collect());
        let Ok(Statement::Update { table, change, condition, placeholders, returns }) = parsed else {
            panic!("{parsed:?}")
        };
        assert_eq!((table.as_str(), returns), ("t", true));
        assert_eq!(change, "SET #0 = :0 SET #1 = :1 REMOVE #2");
        assert_eq!(condition, "#3 = :2 AND (attribute_not_exists(#4) OR #5 < :3)");
        assert_eq!((placeholders.names["#4"].as_str(), &placeholders.values[":3"]), ("a\"?", &number(4)));
    }

    #[test]
    fn an_insert_is_its_item() {
        let parsed = Statement::parse("INSERT INTO \"t\" VALUE {'a': ?, 'm:1': ?}", vec![number(1), number(2)]);
        let Ok(Statement::Insert { table, item }) = parsed else { panic!("{parsed:?}") };
        assert_eq!((table.as_str(), &item["m:1"]), ("t", &number(2)));
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        assert!(Statement::parse(&format!("UPDATE {}", "x".repeat(8192)), vec![]).is_err_and(|e| e.contains("8192")));
        for text in ["SELECT * FROM \"t\"", "UPDATE \"t\" SET \"a\" = ?", "INSERT INTO \"t\" VALUE {'a': 1}"] {
            assert!(Statement::parse(text, vec![number(1)]).is_err(), "{text}");
        }
        assert!(Statement::parse("INSERT INTO \"t\" VALUE {'a': ?}", vec![]).is_err());
    }
}
