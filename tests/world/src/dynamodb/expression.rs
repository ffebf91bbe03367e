//! DynamoDB's expressions, as far as the functions write them: conditions, filters, key conditions and updates.
//!
//! By the grammar of the developer guide ("Condition and filter expressions, operators, and functions", "Using update
//! expressions"). Names and values stand in placeholders everywhere here, so a bare word is an error, and so is whatever
//! else is not known: a stand-in that guesses would try or measure something else.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::value::{Item, Value};

/// "The maximum length of any expression string is 4 KB."
const MAX_EXPRESSION: usize = 4096;
/// "The maximum number of operators or functions allowed in an UpdateExpression is 300." It is the same for a
/// `ConditionExpression`.
const MAX_OPERATORS: usize = 300;

pub(crate) type Failure = String;

/// What stands for the placeholders, and which of them are used.
#[derive(Debug, Default)]
pub(crate) struct Placeholders {
    pub(crate) names: BTreeMap<String, String>,
    pub(crate) values: BTreeMap<String, Value>,
    used: RefCell<BTreeSet<String>>,
}

impl Placeholders {
    pub(crate) fn new(names: BTreeMap<String, String>, values: BTreeMap<String, Value>) -> Self {
        Self { names, values, used: RefCell::default() }
    }

    fn name(&self, placeholder: &str) -> Result<String, Failure> {
        self.used.borrow_mut().insert(placeholder.to_owned());
        let undefined =
            || format!("An expression attribute name used in the document path is not defined: {placeholder}");
        self.names.get(placeholder).cloned().ok_or_else(undefined)
    }

    fn value(&self, placeholder: &str) -> Result<Value, Failure> {
        self.used.borrow_mut().insert(placeholder.to_owned());
        let undefined = || format!("An expression attribute value used in expression is not defined: {placeholder}");
        self.values.get(placeholder).cloned().ok_or_else(undefined)
    }

    /// Refuses placeholders that no expression used.
    pub(crate) fn check_used(&self) -> Result<(), Failure> {
        let used = self.used.borrow();
        let mut all = self.names.keys().chain(self.values.keys());
        match all.find(|placeholder| !used.contains(*placeholder)) {
            None => Ok(()),
            Some(unused) => Err(format!(
                "Value provided in ExpressionAttributeNames or ExpressionAttributeValues unused in expressions: {unused}"
            )),
        }
    }
}

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

/// `#a.#b`, with the names in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path(pub(crate) Vec<String>);

impl Path {
    fn read<'a>(&self, item: &'a Item) -> Option<&'a Value> {
        let (first, rest) = self.0.split_first()?;
        rest.iter().try_fold(item.get(first)?, |found, name| match found {
            Value::M(map) => map.get(name),
            _ => None,
        })
    }

    /// The map that holds the last name.
    fn parent<'a>(&self, item: &'a mut Item) -> Result<(&'a mut Item, &str), Failure> {
        let (last, before) = self.0.split_last().ok_or("an empty path")?;
        let mut map = item;
        for name in before {
            map = match map.get_mut(name) {
                Some(Value::M(map)) => map,
                _ => return Err("The document path provided in the update expression is invalid for update".to_owned()),
            };
        }
        Ok((map, last))
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Operand {
    Path(Path),
    Value(Value),
    IfNotExists(Path, Box<Operand>),
}

impl Operand {
    fn read(&self, item: &Item) -> Option<Value> {
        match self {
            Self::Path(path) => path.read(item).cloned(),
            Self::Value(value) => Some(value.clone()),
            Self::IfNotExists(path, other) => path.read(item).cloned().or_else(|| other.read(item)),
        }
    }
}

/// A condition.
#[derive(Clone, Debug)]
pub(crate) enum Condition {
    Any(Vec<Condition>),
    All(Vec<Condition>),
    Not(Box<Condition>),
    Exists(Path, bool),
    BeginsWith(Operand, Operand),
    Compare(Operand, &'static str, Operand),
}

/// What is added, with its sign.
type Addend = (i128, Operand);

/// An update.
#[derive(Debug, Default)]
pub(crate) struct Update {
    set: Vec<(Path, Operand, Option<Addend>)>,
    remove: Vec<Path>,
    add: Vec<(Path, Operand)>,
}

/// How often a section of an update may stand there: once in an expression, any number of times in a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sections {
    Once,
    Repeated,
}

struct Reader<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    placeholders: &'a Placeholders,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, placeholders: &'a Placeholders) -> Result<Self, Failure> {
        if text.is_empty() {
            return Err("The expression can not be empty".to_owned());
        }
        let tokens = tokens(text)?;
        let operators =
            tokens.iter().filter(|token| matches!(token, Token::Sign(sign) if !matches!(*sign, "(" | ")" | "," | ".")));
        if operators.count() > MAX_OPERATORS {
            return Err(format!("The expression contains too many operators; maximum operator count: {MAX_OPERATORS}"));
        }
        Ok(Self { text, tokens, at: 0, placeholders })
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

    fn path(&mut self) -> Result<Path, Failure> {
        let mut names = Vec::new();
        loop {
            let Some(Token::Name(name)) = self.next() else { return Err(self.failure()) };
            names.push(self.placeholders.name(&name)?);
            if !self.takes(&Token::Sign(".")) {
                return Ok(Path(names));
            }
        }
    }

    fn operand(&mut self) -> Result<Operand, Failure> {
        match self.peek() {
            Some(Token::Name(_)) => Ok(Operand::Path(self.path()?)),
            Some(Token::Value(value)) => {
                let value = self.placeholders.value(value)?;
                self.at += 1;
                Ok(Operand::Value(value))
            }
            Some(Token::Word(word)) if word == "if_not_exists" => {
                self.at += 1;
                self.sign("(")?;
                let path = self.path()?;
                self.sign(",")?;
                let other = self.operand()?;
                self.sign(")")?;
                Ok(Operand::IfNotExists(path, Box::new(other)))
            }
            _ => Err(self.failure()),
        }
    }

    fn any(&mut self) -> Result<Condition, Failure> {
        let mut any = vec![self.all()?];
        while self.takes_word("OR") {
            any.push(self.all()?);
        }
        Ok(Condition::Any(any))
    }

    fn all(&mut self) -> Result<Condition, Failure> {
        let mut all = vec![self.one()?];
        while self.takes_word("AND") {
            all.push(self.one()?);
        }
        Ok(Condition::All(all))
    }

    fn one(&mut self) -> Result<Condition, Failure> {
        if self.takes_word("NOT") {
            return Ok(Condition::Not(Box::new(self.one()?)));
        }
        if self.takes(&Token::Sign("(")) {
            let within = self.any()?;
            self.sign(")")?;
            return Ok(within);
        }
        for (function, expected) in [("attribute_exists", true), ("attribute_not_exists", false)] {
            if self.takes_word(function) {
                self.sign("(")?;
                let path = self.path()?;
                self.sign(")")?;
                return Ok(Condition::Exists(path, expected));
            }
        }
        if self.takes_word("begins_with") {
            self.sign("(")?;
            let text = self.operand()?;
            self.sign(",")?;
            let start = self.operand()?;
            self.sign(")")?;
            return Ok(Condition::BeginsWith(text, start));
        }
        let left = self.operand()?;
        if self.takes_word("BETWEEN") {
            let low = self.operand()?;
            if !self.takes_word("AND") {
                return Err(self.failure());
            }
            let high = self.operand()?;
            return Ok(Condition::All(vec![
                Condition::Compare(left.clone(), ">=", low),
                Condition::Compare(left, "<=", high),
            ]));
        }
        if self.takes_word("IN") {
            self.sign("(")?;
            let mut any = Vec::new();
            loop {
                any.push(Condition::Compare(left.clone(), "=", self.operand()?));
                if !self.takes(&Token::Sign(",")) {
                    break;
                }
            }
            self.sign(")")?;
            return Ok(Condition::Any(any));
        }
        let Some(Token::Sign(sign @ ("=" | "<>" | "<" | "<=" | ">" | ">="))) = self.next() else {
            return Err(self.failure());
        };
        Ok(Condition::Compare(left, sign, self.operand()?))
    }

    fn update(&mut self, sections: Sections) -> Result<Update, Failure> {
        let (mut update, mut seen) = (Update::default(), BTreeSet::new());
        while self.peek().is_some() {
            let Some(Token::Word(clause)) = self.next() else { return Err(self.failure()) };
            if !seen.insert(clause.clone()) && sections == Sections::Once {
                return Err(format!("The {clause:?} section can only be used once in an update expression"));
            }
            loop {
                let path = self.path()?;
                match clause.as_str() {
                    "SET" => {
                        self.sign("=")?;
                        let value = self.operand()?;
                        let mut and = None;
                        for (sign, factor) in [("+", 1), ("-", -1)] {
                            if self.takes(&Token::Sign(sign)) {
                                and = Some((factor, self.operand()?));
                            }
                        }
                        update.set.push((path, value, and));
                    }
                    "REMOVE" => update.remove.push(path),
                    "ADD" => {
                        let added = self.operand()?;
                        update.add.push((path, added));
                    }
                    _ => return Err(format!("{clause} is not understood in {:?}", self.text)),
                }
                if !self.takes(&Token::Sign(",")) {
                    break;
                }
            }
        }
        update.check_overlaps()?;
        Ok(update)
    }

    fn end(&self) -> Result<(), Failure> {
        if self.at >= self.tokens.len() { Ok(()) } else { Err(self.failure()) }
    }
}

/// Refuses an expression that is too long; statements have a limit of their own.
pub(crate) fn check_length(expression: &str) -> Result<(), Failure> {
    if expression.len() > MAX_EXPRESSION {
        return Err(format!(
            "Expression size has exceeded the maximum allowed size of {MAX_EXPRESSION}: {}",
            expression.len()
        ));
    }
    Ok(())
}

impl Condition {
    pub(crate) fn parse(text: &str, placeholders: &Placeholders) -> Result<Self, Failure> {
        let mut reader = Reader::new(text, placeholders)?;
        let condition = reader.any()?;
        reader.end()?;
        Ok(condition)
    }

    /// The attributes that it names.
    pub(crate) fn attributes(&self) -> Vec<&str> {
        fn of(operand: &Operand) -> Option<&str> {
            match operand {
                Operand::Path(path) | Operand::IfNotExists(path, _) => path.0.first().map(String::as_str),
                Operand::Value(_) => None,
            }
        }
        match self {
            Self::Any(within) | Self::All(within) => within.iter().flat_map(Self::attributes).collect(),
            Self::Not(within) => within.attributes(),
            Self::Exists(path, _) => path.0.iter().take(1).map(String::as_str).collect(),
            Self::BeginsWith(left, right) | Self::Compare(left, _, right) => {
                of(left).into_iter().chain(of(right)).collect()
            }
        }
    }

    /// Whether it holds for an item; one without attributes stands for an item that is not there. What is not there, or of
    /// another type, is in no relation to anything but inequality.
    pub(crate) fn holds(&self, item: &Item) -> bool {
        match self {
            Self::Any(any) => any.iter().any(|one| one.holds(item)),
            Self::All(all) => all.iter().all(|one| one.holds(item)),
            Self::Not(one) => !one.holds(item),
            Self::Exists(path, expected) => path.read(item).is_some() == *expected,
            Self::BeginsWith(text, start) => match (text.read(item), start.read(item)) {
                (Some(Value::S(text)), Some(Value::S(start))) => text.starts_with(&start),
                _ => false,
            },
            Self::Compare(left, sign, right) => {
                let (Some(left), Some(right)) = (left.read(item), right.read(item)) else { return *sign == "<>" };
                let order = match (&left, &right) {
                    (Value::N(_), Value::N(_)) => match (left.number(), right.number()) {
                        (Some(left), Some(right)) => left.cmp(&right),
                        _ => return false,
                    },
                    (Value::S(left), Value::S(right)) => left.cmp(right),
                    _ => return (*sign == "=" && left == right) || (*sign == "<>" && left != right),
                };
                match *sign {
                    "=" => order.is_eq(),
                    "<>" => order.is_ne(),
                    "<" => order.is_lt(),
                    "<=" => order.is_le(),
                    ">" => order.is_gt(),
                    _ => order.is_ge(),
                }
            }
        }
    }
}

impl Update {
    pub(crate) fn parse(text: &str, placeholders: &Placeholders, sections: Sections) -> Result<Self, Failure> {
        Reader::new(text, placeholders)?.update(sections)
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.set.iter().map(|(path, ..)| path).chain(&self.remove).chain(self.add.iter().map(|(path, _)| path))
    }

    /// The attributes that it writes, without what is inside of them.
    pub(crate) fn attributes(&self) -> Vec<&str> {
        self.paths().filter_map(|path| path.0.first().map(String::as_str)).collect()
    }

    fn check_overlaps(&self) -> Result<(), Failure> {
        let mut paths: Vec<&[String]> = self.paths().map(|path| path.0.as_slice()).collect();
        // A path stands right before those that begin with it.
        paths.sort_unstable();
        match paths.windows(2).find(|pair| pair[1].starts_with(pair[0])) {
            None => Ok(()),
            Some(pair) => Err(format!(
                "Two document paths overlap with each other; must remove or rewrite one of these paths: {:?}, {:?}",
                pair[0], pair[1]
            )),
        }
    }

    /// Carries it out. All of it reads the item as it was before.
    pub(crate) fn apply(&self, item: &mut Item) -> Result<(), Failure> {
        let before = item.clone();
        let no_number = || "An operand in the update expression has an incorrect data type".to_owned();
        for (path, operand, and) in &self.set {
            let missing =
                || "The provided expression refers to an attribute that does not exist in the item".to_owned();
            let mut value = operand.read(&before).ok_or_else(missing)?;
            if let Some((factor, other)) = and {
                let other = other.read(&before).ok_or_else(missing)?.number().ok_or_else(no_number)?;
                value = Value::N((value.number().ok_or_else(no_number)? + factor * other).to_string());
            }
            let (map, name) = path.parent(item)?;
            map.insert(name.to_owned(), value);
        }
        for path in &self.remove {
            let (map, name) = path.parent(item)?;
            map.remove(name);
        }
        for (path, added) in &self.add {
            let added = added.read(&before).and_then(|added| added.number()).ok_or_else(no_number)?;
            let known = path.read(&before).map_or(Some(0), Value::number).ok_or_else(no_number)?;
            let (map, name) = path.parent(item)?;
            map.insert(name.to_owned(), Value::N((known + added).to_string()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
