//! Settings as an operator enters them, and the keys they become.

use hoopoe_channels::Settings;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Keys as a function reads them.
pub(crate) fn keys<K: DeserializeOwned>(stored: &SecretString) -> K {
    serde_json::from_str(stored.expose_secret()).expect("keys as they are stored")
}

/// Tries settings in which one field has a value that breaks its rule: the fault names the field and quotes no value.
pub(crate) fn refuses<S: Settings>(entered: &Value, faults: impl IntoIterator<Item = (&'static str, Value)>) {
    for (field, value) in faults {
        let mut settings = entered.clone();
        settings[field] = value.clone();
        let Err(error) = S::parse(&settings.to_string()) else { panic!("{field} was accepted with {value}") };
        let error = error.to_string();
        assert!(error.contains(&format!("\"{field}\"")), "{error}");
        assert!(value.as_str().is_none_or(|value| value.len() < 6 || !error.contains(value)), "{error}");
    }
}
