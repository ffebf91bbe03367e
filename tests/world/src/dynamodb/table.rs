//! One table.

use std::collections::BTreeMap;

use serde_json::json;

use super::expression::{Condition, Path, Placeholders, Update, check_length};
use super::value::{Item, Value, size};
use super::{Done, Moment, Request, read_units};

/// "The maximum item size in DynamoDB is 400 KB, which includes both attribute name binary length and attribute value
/// lengths."
const MAX_ITEM: usize = 400 * 1024;
/// "The maximum length of a partition key value is 2048 bytes", that of a sort key's 1024.
const MAX_HASH: usize = 2048;
const MAX_RANGE: usize = 1024;

/// What becomes of items whose `expires_at` is over. "DynamoDB automatically deletes expired items within a few days of
/// their expiration time."
#[derive(Debug)]
pub enum Expiry {
    /// They stay.
    Never,
    /// They are deleted at a random time.
    Random {
        /// Where the times are drawn from.
        random: fastrand::Rng,
        /// How many of a hundred are deleted at once.
        at_once: u8,
        /// The longest that one stays, in seconds.
        longest: u64,
    },
}

impl Expiry {
    /// When the item will be deleted, in seconds since the epoch.
    fn end(&mut self, item: &Item) -> Option<u64> {
        let expires = u64::try_from(item.get("expires_at")?.number()?).ok()?;
        match self {
            Self::Never => None,
            Self::Random { random, at_once, longest } => {
                let late = if random.u8(0..100) < *at_once { 0 } else { random.u64(0..=*longest) };
                Some(expires + late)
            }
        }
    }
}

/// A range key's value; numbers are whole ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Range {
    None,
    Number(i128),
    Text(String),
}

pub(crate) type Key = (String, Range);

#[derive(Debug)]
struct Stored {
    item: Item,
    /// When it is deleted because it expired.
    end: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    hash: &'static str,
    range: Option<&'static str>,
    items: BTreeMap<String, BTreeMap<Range, Stored>>,
}

/// A conditional write of one item.
pub(crate) enum Write {
    Update { key: Item, update: Update, condition: Option<Condition> },
    Put { item: Item, condition: Option<Condition> },
    Delete { key: Item, condition: Option<Condition> },
    Check { key: Item, condition: Option<Condition> },
}

impl Write {
    /// Where the key stands in it.
    pub(crate) fn key(&self) -> &Item {
        match self {
            Self::Put { item, .. } => item,
            Self::Update { key, .. } | Self::Delete { key, .. } | Self::Check { key, .. } => key,
        }
    }

    fn condition(&self) -> Option<&Condition> {
        match self {
            Self::Update { condition, .. }
            | Self::Put { condition, .. }
            | Self::Delete { condition, .. }
            | Self::Check { condition, .. } => condition.as_ref(),
        }
    }
}

/// What came of a write.
pub(crate) struct Written {
    pub(crate) before: Item,
    /// `None` where the condition did not hold.
    pub(crate) after: Option<Item>,
    pub(crate) touched: Vec<String>,
}

impl Written {
    /// One for each KB of the larger of the item before and after; a write whose condition fails is charged for the item
    /// that stands there.
    pub(crate) fn units(&self) -> f64 {
        size(&self.before).max(self.after.as_ref().map_or(0, size)).div_ceil(1024).max(1) as f64
    }
}

impl Table {
    pub(crate) const fn new(name: &'static str, hash: &'static str, range: Option<&'static str>) -> Self {
        Self { name, hash, range, items: BTreeMap::new() }
    }

    fn is_key(&self, name: &str) -> bool {
        name == self.hash || Some(name) == self.range
    }

    /// The key of an item, or a key among other attributes.
    pub(crate) fn key(&self, item: &Item) -> Result<Key, String> {
        let invalid = |name: &str| {
            format!("One or more parameter values were invalid: the key {name} is missing, empty or too long")
        };
        let hash = match item.get(self.hash) {
            Some(Value::S(hash)) if (1..=MAX_HASH).contains(&hash.len()) => hash.clone(),
            _ => return Err(invalid(self.hash)),
        };
        let Some(name) = self.range else { return Ok((hash, Range::None)) };
        let range = match item.get(name) {
            Some(Value::S(text)) if (1..=MAX_RANGE).contains(&text.len()) => Range::Text(text.clone()),
            Some(value @ Value::N(_)) => Range::Number(value.number().ok_or_else(|| invalid(name))?),
            _ => return Err(invalid(name)),
        };
        Ok((hash, range))
    }

    /// A key and nothing else.
    pub(crate) fn whole_key(&self, item: &Item) -> Result<Key, String> {
        let key = self.key(item)?;
        if item.keys().any(|name| !self.is_key(name)) {
            return Err("The provided key element does not match the schema".to_owned());
        }
        Ok(key)
    }

    /// Holds for an item that is not there.
    pub(crate) fn absent(&self) -> Condition {
        Condition::Exists(Path(vec![self.hash.to_owned()]), false)
    }

    /// The key that the condition of a statement names; an equality for each of its attributes, joined by AND.
    pub(crate) fn key_of(&self, condition: &str, placeholders: &Placeholders) -> Result<Item, String> {
        let mut key = Item::new();
        for equality in condition.split(" AND ") {
            if let Some((name, value)) = equality.split_once(" = ")
                && let (Some(name), Some(value)) = (placeholders.names.get(name), placeholders.values.get(value))
                && self.is_key(name)
            {
                key.insert(name.clone(), value.clone());
            }
        }
        self.key(&key).map_err(|_| {
            format!("Where clause does not contain a mandatory equality on all key attributes: {condition:?}")
        })?;
        Ok(key)
    }

    pub(crate) fn get(&self, (hash, range): &Key, now: u64) -> Option<&Item> {
        let stored = self.items.get(hash)?.get(range)?;
        stored.end.is_none_or(|end| end > now).then_some(&stored.item)
    }

    pub(crate) fn items(&self, now: u64) -> Vec<Item> {
        let all = self.items.values().flat_map(BTreeMap::values);
        all.filter(|stored| stored.end.is_none_or(|end| end > now)).map(|stored| stored.item.clone()).collect()
    }

    pub(crate) fn put(&mut self, (hash, range): Key, item: Item, expiry: &mut Expiry) {
        let items = self.items.entry(hash).or_default();
        if item.is_empty() {
            items.remove(&range);
            return;
        }
        // What is written without a new end keeps the moment of its deletion.
        let end = match items.get(&range) {
            Some(stored) if stored.item.get("expires_at") == item.get("expires_at") => stored.end,
            _ => expiry.end(&item),
        };
        items.insert(range, Stored { item, end });
    }

    /// Whether the condition of a write holds.
    pub(crate) fn holds(&self, write: &Write, now: u64) -> Result<bool, String> {
        let nothing = Item::new();
        let item = self.get(&self.key(write.key())?, now).unwrap_or(&nothing);
        Ok(write.condition().is_none_or(|condition| condition.holds(item)))
    }

    pub(crate) fn write(&mut self, write: Write, now: u64, expiry: &mut Expiry) -> Result<Written, String> {
        let key = match &write {
            Write::Put { item, .. } => self.key(item)?,
            _ => self.whole_key(write.key())?,
        };
        if let Write::Update { update, .. } = &write
            && let Some(name) = update.attributes().into_iter().find(|name| self.is_key(name))
        {
            return Err(format!("Cannot update attribute {name}. This attribute is part of the key"));
        }
        let holds = self.holds(&write, now)?;
        let before = self.get(&key, now).cloned().unwrap_or_default();
        if !holds {
            return Ok(Written { before, after: None, touched: Vec::new() });
        }
        let mut touched = Vec::new();
        let after = match write {
            Write::Put { item, .. } => item,
            Write::Delete { .. } => Item::new(),
            Write::Check { .. } => before.clone(),
            Write::Update { key, update, .. } => {
                let mut item = if before.is_empty() { key } else { before.clone() };
                update.apply(&mut item)?;
                touched = update.attributes().into_iter().map(str::to_owned).collect();
                item
            }
        };
        if size(&after) > MAX_ITEM {
            return Err("Item size has exceeded the maximum allowed size".to_owned());
        }
        if after.keys().any(String::is_empty) {
            return Err("an attribute has an empty name".to_owned());
        }
        after.values().try_for_each(Value::check)?;
        self.put(key, after.clone(), expiry);
        Ok(Written { before, after: Some(after), touched })
    }

    pub(crate) fn query(
        &self,
        request: &Request,
        placeholders: &Placeholders,
        moment: &mut Moment<'_>,
    ) -> Result<Done, String> {
        let condition = request.key_condition_expression.as_deref().ok_or("a query without a key condition")?;
        let filter = request.filter_expression.as_deref();
        for expression in [condition].into_iter().chain(filter) {
            check_length(expression)?;
        }
        if request.projection_expression.is_some() {
            return Err("a projection is not understood".to_owned());
        }
        // The hash key stands in the condition as a value: the only partition worth looking at.
        let key = condition.split(" AND ").find_map(|equality| {
            let (name, value) = equality.trim_matches(['(', ')']).split_once(" = ")?;
            (placeholders.names.get(name).map(String::as_str) == Some(self.hash))
                .then(|| placeholders.values.get(value))?
        });
        let Some(Value::S(hash)) = key else {
            return Err("Query condition missed key schema element".to_owned());
        };
        let condition = Condition::parse(condition, placeholders)?;
        if let Some(name) = condition.attributes().into_iter().find(|name| !self.is_key(name)) {
            return Err(format!("Query key condition not supported: {name} is no key attribute"));
        }
        let filter = filter.map(|filter| Condition::parse(filter, placeholders)).transpose()?;
        let by_key = filter.iter().flat_map(Condition::attributes).find(|name| self.is_key(name));
        if let Some(name) = by_key {
            return Err(format!(
                "Filter Expression can only contain non-primary key attributes: Primary key attribute: {name}"
            ));
        }
        placeholders.check_used()?;
        let start = request.exclusive_start_key.as_ref().map(|key| self.whole_key(key)).transpose()?;
        let forward = request.scan_index_forward.unwrap_or(true);
        let empty = BTreeMap::new();
        let partition = self.items.get(hash).unwrap_or(&empty);
        let mut places: Vec<_> = partition.iter().collect();
        if !forward {
            places.reverse();
        }
        let (mut found, mut read, mut looked, mut last) = (Vec::new(), 0, 0, None);
        for (range, stored) in places {
            let passed = start.as_ref().is_some_and(|(_, start)| if forward { range <= start } else { range >= start });
            if passed || stored.end.is_some_and(|end| end <= moment.now) || !condition.holds(&stored.item) {
                continue;
            }
            // A page ends at the limit, at 1 MB, or wherever DynamoDB likes.
            if looked > 0
                && (request.limit.is_some_and(|limit| looked >= limit) || read > 1024 * 1024 || (moment.leaves)())
            {
                break;
            }
            looked += 1;
            read += size(&stored.item);
            last = Some(&stored.item);
            if filter.as_ref().is_none_or(|filter| filter.holds(&stored.item)) {
                found.push(&stored.item);
            }
        }
        let mut body = json!({"Count": found.len(), "ScannedCount": looked, "Items": found});
        // Told where there may be more; the page after it may be empty.
        let ended = last.is_none_or(|last| {
            let end = if forward { partition.values().next_back() } else { partition.values().next() };
            end.is_none_or(|end| std::ptr::eq(&raw const end.item, last))
        });
        if let Some(last) = last.filter(|_| !ended) {
            let key: Item = last
                .iter()
                .filter(|(name, _)| self.is_key(name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            body["LastEvaluatedKey"] = json!(key);
        }
        let read_units = read_units(read, request.consistent_read);
        Ok(Done { read_units, ..Done::of(self.name, 200, body.to_string().into_bytes()) })
    }
}
