//! What stands in KMS and DynamoDB, and what they do with it.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{Fault, KEYS, Service, TOKENS, USAGE};

pub(crate) type Item = Map<String, Value>;

#[derive(Default)]
pub(super) struct State {
    pub(super) faults: HashMap<Service, Fault>,
    /// By ciphertext: the context and the plaintext.
    pub(super) sealed: HashMap<String, (Value, Vec<u8>)>,
    /// The Keys table, by key and version.
    pub(super) keys: HashMap<(String, u64), Item>,
    /// The Tokens table, by bot.
    pub(super) tokens: HashMap<String, Item>,
    /// The schedules of the Usage table, by key.
    pub(super) rates: HashMap<String, Item>,
    /// How many answers of DynamoDB get lost.
    pub(super) lost: usize,
    /// Why transactions are canceled; not at all if there is no reason.
    pub(super) canceled: Vec<&'static str>,
}

/// A code, and what is said with it.
pub(super) struct Refused(pub(super) &'static str, pub(super) &'static str);

impl State {
    pub(super) fn seal(&mut self, context: Value, plaintext: Vec<u8>) -> String {
        let ciphertext = STANDARD.encode(format!("ciphertext {}", self.sealed.len()));
        self.sealed.insert(ciphertext.clone(), (context, plaintext));
        ciphertext
    }

    pub(super) fn kms(&mut self, operation: &str, asked: &Value) -> Result<Value, Refused> {
        let context = asked["EncryptionContext"].clone();
        let key = "arn:aws:kms:us-east-1:1:key/1";
        match operation {
            "Encrypt" => {
                let plaintext = STANDARD.decode(text(&asked["Plaintext"])).expect("base64");
                if plaintext.len() > 4096 {
                    return Err(Refused("ValidationException", "'plaintext' must have length less than 4096"));
                }
                Ok(json!({"KeyId": key, "CiphertextBlob": self.seal(context, plaintext)}))
            }
            "GenerateDataKey" => {
                assert_eq!(asked["KeySpec"], "AES_256");
                let data_key: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(32).collect();
                let encoded = STANDARD.encode(&data_key);
                Ok(json!({"KeyId": key, "CiphertextBlob": self.seal(context, data_key), "Plaintext": encoded}))
            }
            "Decrypt" => match self.sealed.get(text(&asked["CiphertextBlob"])) {
                Some((sealed_for, plaintext)) if *sealed_for == context => {
                    Ok(json!({"KeyId": key, "Plaintext": STANDARD.encode(plaintext)}))
                }
                // KMS tells no more either.
                _ => Err(Refused("InvalidCiphertextException", "")),
            },
            other => panic!("the keyring does not use {other}"),
        }
    }

    pub(super) fn dynamodb(&mut self, operation: &str, asked: &Value) -> Result<Value, Refused> {
        match (operation, text(&asked["TableName"])) {
            ("Query", KEYS) => {
                let key = text(&asked["ExpressionAttributeValues"][":key"]["S"]);
                let items: Vec<_> =
                    self.keys.iter().filter(|((of, _), _)| of == key).map(|(_, item)| item.clone()).collect();
                Ok(json!({"Items": items, "Count": items.len(), "ScannedCount": items.len()}))
            }
            ("TransactWriteItems", _) if !self.canceled.is_empty() => {
                Err(Refused("TransactionCanceledException", "see the reasons"))
            }
            ("TransactWriteItems", _) => {
                for write in asked["TransactItems"].as_array().expect("writes") {
                    let put = &write["Put"];
                    if put["TableName"] == KEYS {
                        let item = put["Item"].as_object().expect("an item").clone();
                        let version = text(&item["version"]["N"]).parse().expect("a number");
                        self.keys.insert((text(&item["key"]["S"]).to_owned(), version), item);
                    }
                }
                Ok(json!({}))
            }
            ("UpdateItem", TOKENS) => self.update_token(asked),
            ("UpdateItem", USAGE) if asked["Key"]["name"]["S"] == "rate" => self.update_rate(asked),
            ("UpdateItem", USAGE) => Ok(json!({})),
            (other, table) => panic!("the keyring does not use {other} on {table}"),
        }
    }

    /// The updates of a schedule: a reservation after silence, one at any other time, and a pause.
    fn update_rate(&mut self, asked: &Value) -> Result<Value, Refused> {
        let item = self.rates.entry(text(&asked["Key"]["key"]["S"]).to_owned()).or_default();
        let given = |name: &str| text(&asked["ExpressionAttributeValues"][name]["N"]).parse::<u64>();
        let asked_for = |name: &str| given(name).expect("a number");
        let known = item.get("next_at").map(|value| text(&value["N"]).parse::<u64>().expect("a number"));
        let (holds, next) = match text(&asked["ConditionExpression"]) {
            "attribute_not_exists(#value) OR #value <= :floor" => {
                (known.is_none_or(|next| next <= asked_for(":floor")), given(":next").ok())
            }
            "#value > :floor AND #value <= :last" => (
                known.is_some_and(|next| next > asked_for(":floor") && next <= asked_for(":last")),
                known.map(|next| next + asked_for(":span")),
            ),
            "attribute_not_exists(#value) OR #value < :until" => {
                (known.is_none_or(|next| next < asked_for(":until")), given(":until").ok())
            }
            other => panic!("the keyring has no condition {other}"),
        };
        if !holds {
            return Err(Refused("ConditionalCheckFailedException", ""));
        }
        let next = json!({ "N": next.expect("a number").to_string() });
        item.insert("next_at".into(), next.clone());
        if text(&asked["UpdateExpression"]).contains("#paused = :until") {
            item.insert("paused_until".into(), next);
        }
        Ok(json!({ "Attributes": item }))
    }

    /// The three updates of an access token's item, told apart by what they begin with. Of the parts of a condition those
    /// hold that are asked for.
    fn update_token(&mut self, asked: &Value) -> Result<Value, Refused> {
        const CONFLICT: Refused = Refused("ConditionalCheckFailedException", "");
        let (update, condition) = (text(&asked["UpdateExpression"]), text(&asked["ConditionExpression"]));
        let item = self.tokens.entry(text(&asked["Key"]["bot"]["S"]).to_owned()).or_default();
        let given = |name: &str| asked["ExpressionAttributeValues"][name].clone();
        let number = |value: &Value| value["N"].as_str().and_then(|digits| digits.parse::<u64>().ok());
        let asked_for = |name: &str| number(&given(name)).expect("a number");
        let has = |name: &str| item.get(name).and_then(number);
        if update.starts_with("SET #locked") {
            let now = asked_for(":now");
            let is_rejected = |generation| generation <= asked_for(":rejected");
            let is_due = has("renew_at").is_none_or(|at| at <= now)
                || condition.contains("#generation <= :rejected") && has("generation").is_some_and(is_rejected);
            let is_free = has("locked_until").is_none_or(|until| until < now);
            if condition.contains("#renew <= :now") && !is_due || condition.contains("#locked < :now") && !is_free {
                return Err(CONFLICT);
            }
            let fetches = has("fetches").unwrap_or(asked_for(":first")) + asked_for(":one");
            let old = item.clone();
            item.insert("locked_until".into(), given(":until"));
            item.insert("locked_by".into(), given(":owner"));
            item.insert("fetches".into(), json!({"N": fetches.to_string()}));
            return Ok(json!({ "Attributes": old }));
        }
        if condition.contains("#owner = :owner") && item.get("locked_by") != Some(&given(":owner"))
            || condition.contains("#fetches = :generation") && has("fetches") != number(&given(":generation"))
        {
            return Err(CONFLICT);
        }
        if update.starts_with("SET #ciphertext") {
            for (name, value) in [
                ("ciphertext", ":ciphertext"),
                ("generation", ":generation"),
                ("renew_at", ":renew"),
                ("usable_until", ":usable"),
            ] {
                item.insert(name.into(), given(value));
            }
        }
        item.remove("locked_until");
        item.remove("locked_by");
        Ok(json!({}))
    }
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(super) fn object(value: Value) -> Item {
    match value {
        Value::Object(fields) => fields,
        other => panic!("{other} is no object"),
    }
}
