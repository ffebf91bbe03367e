//! The operator's own credential: made once, shown once, and kept as a hash.
//!
//! It has 256 random bits, so its SHA-256 tells nothing of it, and no slow hash is needed. In the Keys table the item
//! `operator`, 1 holds `hash` and `created_at`.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use aws_types::SdkConfig;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hoopoe_message::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::audit::Audit;
use crate::{KeyringError, is_overtaken, number, text};

const KEY: &str = "operator";

/// So that a leaked one is recognised for what it is.
const PREFIX: &str = "hoopoe-operator-";

/// Where the operator's credential is kept.
#[derive(Clone, Debug)]
pub struct Operator {
    dynamodb: aws_sdk_dynamodb::Client,
    table: String,
    audit: Audit,
}

impl Operator {
    /// In the Keys table of this name.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String, audit: Audit) -> Self {
        Self { dynamodb: aws_sdk_dynamodb::Client::new(config), table, audit }
    }

    /// Makes a credential and keeps its hash. `None` where there is one already and `replace` is not asked for.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer, or the system has no random numbers.
    pub async fn create(&self, replace: bool) -> Result<Option<SecretString>, KeyringError> {
        const DOING: &str = "storing the operator's credential";
        let mut random = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(random.as_mut()).map_err(|_| KeyringError::Empty("making a credential"))?;
        let credential = SecretString::from(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random.as_slice())));
        let now = Timestamp::now();
        let hash = Blob::new(hash(&credential).to_vec());
        let put = Put::builder()
            .table_name(&self.table)
            .item("key", text(KEY))
            .item("version", number(1))
            .item("hash", AttributeValue::B(hash))
            .item("created_at", number(now.as_secs()))
            .set_condition_expression((!replace).then(|| "attribute_not_exists(#key)".to_owned()))
            .set_expression_attribute_names((!replace).then(|| [("#key".to_owned(), "key".to_owned())].into()));
        let items = put.build().and_then(|put| Ok([put, self.audit.record(KEY, "credential made", 1, now)?]));
        let items = items.map_err(|error| KeyringError::Call { operation: DOING, cause: error.to_string() })?;
        let items = items.map(|put| TransactWriteItem::builder().put(put).build());
        match self.dynamodb.transact_write_items().set_transact_items(Some(items.into())).send().await {
            Ok(_) => Ok(Some(credential)),
            Err(error) => match error.as_service_error() {
                Some(canceled) if !replace && is_overtaken(canceled) => Ok(None),
                _ => Err(KeyringError::call(DOING, &error)),
            },
        }
    }

    /// Whether this is the operator's credential; compared in constant time.
    ///
    /// # Errors
    ///
    /// When DynamoDB does not answer.
    pub async fn verify(&self, credential: &SecretString) -> Result<bool, KeyringError> {
        let output = self
            .dynamodb
            .get_item()
            .table_name(&self.table)
            .key("key", text(KEY))
            .key("version", number(1))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| KeyringError::call("reading the operator's credential", &error))?;
        let Some(AttributeValue::B(kept)) = output.item.and_then(|mut item| item.remove("hash")) else {
            return Ok(false);
        };
        Ok(hash(credential).as_slice().ct_eq(kept.as_ref()).into())
    }
}

fn hash(credential: &SecretString) -> [u8; 32] {
    use secrecy::ExposeSecret;
    Sha256::digest(credential.expose_secret()).into()
}
