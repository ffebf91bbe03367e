//! DynamoDB's expressions, as far as the functions write them: conditions, filters, key conditions and updates.
//!
//! By the grammar of the developer guide ("Condition and filter expressions, operators, and functions", "Using update
//! expressions"). Names and values stand in placeholders everywhere here, so a bare word is an error, and so is whatever
//! else is not known: a stand-in that guesses would make a benchmark of something else.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

/// An item.
pub(crate) type Item = BTreeMap<String, Value>;

/// A value, in the form of the JSON protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Value {
    S(String),
    N(String),
    B(String),
    #[serde(rename = "BOOL")]
    Bool(bool),
    #[serde(rename = "NULL")]
    Null(bool),
    L(Vec<Value>),
    M(Item),
}

impl Value {
    /// A whole number, the only kind that the functions store.
    pub(crate) fn number(&self) -> Option<i128> {
        if let Self::N(number) = self { number.parse().ok() } else { None }
    }

    /// Bytes that it takes ("DynamoDB item sizes and formats").
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::S(text) => text.len(),
            Self::N(number) => number.len().div_ceil(2) + 1,
            Self::B(base64) => base64.len() / 4 * 3,
            Self::Bool(_) | Self::Null(_) => 1,
            Self::L(values) => 3 + values.iter().map(|value| 1 + value.size()).sum::<usize>(),
            Self::M(values) => 3 + values.iter().map(|(name, value)| 1 + name.len() + value.size()).sum::<usize>(),
        }
    }
}

/// Bytes that an item takes.
pub(crate) fn size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value.size()).sum()
}

/// What stands for the placeholders.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Placeholders {
    #[serde(rename = "ExpressionAttributeNames")]
    pub(crate) names: HashMap<String, String>,
    #[serde(rename = "ExpressionAttributeValues")]
    pub(crate) values: HashMap<String, Value>,
}

type Failure = String;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Name(String),
    Value(String),
    Word(String),
    Sign(&'static str),
}

const SIGNS: [&str; 13] = ["<=", ">=", "<>", "<", ">", "=", "(", ")", ",", ".", "+", "-", " "];

fn tokens(text: &str) -> Result<Vec<Token>, Failure> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            if sign != " " {
                tokens.push(Token::Sign(sign));
            }
            rest = &rest[sign.len()..];
            continue;
        }
        let marked = matches!(first, '#' | ':');
        let word = &rest[usize::from(marked)..];
        let length = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(word.len());
        if length == 0 {
            return Err(format!("{first:?} is not understood in {text:?}"));
        }
        let (word, after) = (&rest[..length + usize::from(marked)], &rest[length + usize::from(marked)..]);
        tokens.push(match first {
            '#' => Token::Name(word.to_owned()),
            ':' => Token::Value(word.to_owned()),
            _ => Token::Word(word.to_owned()),
        });
        rest = after;
    }
    Ok(tokens)
}

/// Reads an expression against an item.
struct Reader<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    placeholders: &'a Placeholders,
    item: &'a Item,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, placeholders: &'a Placeholders, item: &'a Item) -> Result<Self, Failure> {
        Ok(Self { text, tokens: tokens(text)?, at: 0, placeholders, item })
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        self.at += 1;
        self.tokens.get(self.at - 1).cloned()
    }

    fn takes(&mut self, token: &Token) -> bool {
        let takes = self.peek() == Some(token);
        self.at += usize::from(takes);
        takes
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let takes = matches!(self.peek(), Some(Token::Word(next)) if next == word);
        self.at += usize::from(takes);
        takes
    }

    fn sign(&mut self, sign: &'static str) -> Result<(), Failure> {
        if self.takes(&Token::Sign(sign)) { Ok(()) } else { Err(self.failure()) }
    }

    fn failure(&self) -> Failure {
        format!("{:?} is not understood at {:?}", self.text, self.peek())
    }

    fn name(&mut self) -> Result<String, Failure> {
        match self.next() {
            Some(Token::Name(name)) => {
                self.placeholders.names.get(&name).cloned().ok_or_else(|| format!("{name} stands for nothing"))
            }
            _ => Err(self.failure()),
        }
    }

    /// `#a.#b`: what stands there.
    fn path(&mut self) -> Result<Option<Value>, Failure> {
        let mut found = self.item.get(&self.name()?).cloned();
        while self.takes(&Token::Sign(".")) {
            let name = self.name()?;
            found = match found {
                Some(Value::M(mut map)) => map.remove(&name),
                _ => None,
            };
        }
        Ok(found)
    }

    fn operand(&mut self) -> Result<Option<Value>, Failure> {
        match self.peek() {
            Some(Token::Name(_)) => self.path(),
            Some(Token::Value(value)) => {
                let value = self
                    .placeholders
                    .values
                    .get(value)
                    .cloned()
                    .ok_or_else(|| format!("{value} stands for nothing"))?;
                self.at += 1;
                Ok(Some(value))
            }
            Some(Token::Word(word)) if word == "if_not_exists" => {
                self.at += 1;
                self.sign("(")?;
                let path = self.path()?;
                self.sign(",")?;
                let other = self.operand()?;
                self.sign(")")?;
                Ok(path.or(other))
            }
            _ => Err(self.failure()),
        }
    }

    fn any(&mut self) -> Result<bool, Failure> {
        let mut holds = self.all()?;
        while self.takes_word("OR") {
            holds |= self.all()?;
        }
        Ok(holds)
    }

    fn all(&mut self) -> Result<bool, Failure> {
        let mut holds = self.one()?;
        while self.takes_word("AND") {
            holds &= self.one()?;
        }
        Ok(holds)
    }

    fn one(&mut self) -> Result<bool, Failure> {
        if self.takes(&Token::Sign("(")) {
            let holds = self.any()?;
            self.sign(")")?;
            return Ok(holds);
        }
        for (function, expected) in [("attribute_exists", true), ("attribute_not_exists", false)] {
            if self.takes_word(function) {
                self.sign("(")?;
                let exists = self.path()?.is_some();
                self.sign(")")?;
                return Ok(exists == expected);
            }
        }
        let left = self.operand()?;
        let Some(Token::Sign(sign)) = self.next() else { return Err(self.failure()) };
        let right = self.operand()?;
        // What is not there, or of another type, is in no relation to anything but inequality.
        let (Some(left), Some(right)) = (left, right) else { return Ok(sign == "<>") };
        let order = match (&left, &right) {
            (Value::N(_), Value::N(_)) => match (left.number(), right.number()) {
                (Some(left), Some(right)) => left.cmp(&right),
                _ => return Err("only whole numbers are understood".to_owned()),
            },
            (Value::S(left), Value::S(right)) => left.cmp(right),
            _ => {
                return match sign {
                    "=" => Ok(left == right),
                    "<>" => Ok(left != right),
                    _ => Err(format!("{left:?} {sign} {right:?} is not understood")),
                };
            }
        };
        match sign {
            "=" => Ok(order.is_eq()),
            "<>" => Ok(order.is_ne()),
            "<" => Ok(order.is_lt()),
            "<=" => Ok(order.is_le()),
            ">" => Ok(order.is_gt()),
            ">=" => Ok(order.is_ge()),
            _ => Err(self.failure()),
        }
    }

    fn end(&self) -> Result<(), Failure> {
        if self.at >= self.tokens.len() { Ok(()) } else { Err(self.failure()) }
    }
}

/// Whether a condition holds for an item; one without attributes stands for an item that is not there.
pub(crate) fn holds(condition: &str, placeholders: &Placeholders, item: &Item) -> Result<bool, Failure> {
    let mut reader = Reader::new(condition, placeholders, item)?;
    let holds = reader.any()?;
    reader.end()?;
    Ok(holds)
}

/// Carries an update out. All of it reads the item as it was before. Returns the attributes that it wrote.
pub(crate) fn update(expression: &str, placeholders: &Placeholders, item: &mut Item) -> Result<Vec<String>, Failure> {
    let before = item.clone();
    let mut reader = Reader::new(expression, placeholders, &before)?;
    let mut touched = Vec::new();
    while reader.peek().is_some() {
        let Some(Token::Word(clause)) = reader.next() else { return Err(reader.failure()) };
        loop {
            let name = reader.name()?;
            match clause.as_str() {
                "SET" => {
                    reader.sign("=")?;
                    let mut value =
                        reader.operand()?.ok_or_else(|| format!("{expression:?} reads what is not there"))?;
                    for (sign, factor) in [("+", 1), ("-", -1)] {
                        if reader.takes(&Token::Sign(sign)) {
                            let other = reader.operand()?.and_then(|other| other.number());
                            let (Some(left), Some(right)) = (value.number(), other) else {
                                return Err(format!("{expression:?} adds what is no number"));
                            };
                            value = Value::N((left + factor * right).to_string());
                        }
                    }
                    item.insert(name.clone(), value);
                }
                "REMOVE" => drop(item.remove(&name)),
                "ADD" => {
                    let added = reader.operand()?.and_then(|added| added.number());
                    let known = before.get(&name).map_or(Some(0), Value::number);
                    let (Some(known), Some(added)) = (known, added) else {
                        return Err(format!("{expression:?} adds what is no number"));
                    };
                    item.insert(name.clone(), Value::N((known + added).to_string()));
                }
                _ => return Err(format!("{clause} is not understood in {expression:?}")),
            }
            touched.push(name);
            if !reader.takes(&Token::Sign(",")) {
                break;
            }
        }
    }
    Ok(touched)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: i128) -> Value {
        Value::N(value.to_string())
    }

    fn placeholders() -> Placeholders {
        let names = [("#a", "a"), ("#b", "b"), ("#m", "m"), ("#x", "x")];
        Placeholders {
            names: names.map(|(placeholder, name)| (placeholder.to_owned(), name.to_owned())).into(),
            values: HashMap::from([
                (":0".to_owned(), number(0)),
                (":1".to_owned(), number(1)),
                (":s".to_owned(), Value::S("s".into())),
            ]),
        }
    }

    fn item() -> Item {
        Item::from([
            ("a".to_owned(), number(1)),
            ("m".to_owned(), Value::M(Item::from([("x".to_owned(), Value::S("s".into()))]))),
        ])
    }

    #[test]
    fn conditions_hold_as_the_developer_guide_says() {
        for (condition, expected) in [
            ("attribute_not_exists(#b)", true),
            ("attribute_exists(#b) OR #a = :1", true),
            ("attribute_not_exists(#b) OR #b < :0", true),
            ("#b >= :0", false),
            ("#b < :0", false),
            ("#a = :s", false),
            ("#m.#x = :s", true),
            ("attribute_not_exists(#a) OR #a <= :0 AND #a = :1", false),
            ("(attribute_not_exists(#a) OR #a <= :1) AND #a = :1", true),
        ] {
            assert_eq!(holds(condition, &placeholders(), &item()), Ok(expected), "{condition}");
        }
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        for condition in ["NOT #a = :1", "size(#a) > :1", "a = :1", "#a = :1 #b", "#z = :1", "#a = :z", "#a = "] {
            assert!(holds(condition, &placeholders(), &item()).is_err(), "{condition}");
        }
        for expression in ["DELETE #a :1", "SET #a", "SET #a = #b", "SET #a = list_append(#a, :1)", "ADD #m :1"] {
            assert!(update(expression, &placeholders(), &mut item()).is_err(), "{expression}");
        }
    }

    #[test]
    fn an_update_reads_the_item_as_it_was() {
        let mut item = item();
        let expression = "SET #a = if_not_exists(#a, :0) + :1, #b = if_not_exists(#a, :0) + :1 REMOVE #m ADD #x :1";
        let touched = update(expression, &placeholders(), &mut item).expect("an update");
        assert_eq!(touched, ["a", "b", "m", "x"]);
        let expected = [("a", number(2)), ("b", number(2)), ("x", number(1))];
        assert_eq!(item, expected.map(|(name, value)| (name.to_owned(), value)).into());
    }

    #[test]
    fn sizes_are_those_of_the_documentation() {
        assert_eq!(size(&item()), (1 + 2) + (1 + 3 + 1 + 1 + 1));
    }
}
