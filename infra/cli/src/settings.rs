//! A bot's settings, from standard input.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read};

use anyhow::{Context, bail};
use hoopoe_channels::{Platform, Settings};
use zeroize::Zeroizing;

/// The most that is read from standard input.
const MAX_SETTINGS: u64 = 64 * 1024;

/// Reads the settings of a platform's bot as one JSON object; with another server of the platform's API, where one is
/// given.
///
/// # Errors
///
/// When they are not accepted: the sentence names the field and never quotes a value.
pub(crate) fn read<P: Platform>(api_base: Option<&str>) -> anyhow::Result<P::Settings> {
    let channel = P::CHANNEL;
    let mut input = std::io::stdin().lock();
    if input.is_terminal() {
        eprintln!("Paste the settings of {channel} as one JSON object, then press Ctrl-D:");
    }
    let mut json = Zeroizing::new(String::new());
    input.by_ref().take(MAX_SETTINGS).read_to_string(&mut json).context("the settings cannot be read")?;
    if is_nothing(&json) {
        bail!(
            "nothing was stored: standard input has no settings. Those of {channel} are one JSON object, {}; a file is read \
             with `< {channel}.json`",
            P::Settings::FIELDS
        );
    }
    if let Some(base) = api_base {
        let mut fields: BTreeMap<String, serde_json::Value> = serde_json::from_str(&json)
            .ok()
            .with_context(|| format!("the settings of {channel} on standard input are not a JSON object"))?;
        fields.insert("api_base".into(), base.into());
        *json = serde_json::to_string(&fields)?;
    }
    P::Settings::parse(&json).with_context(|| format!("nothing was stored: the settings of {channel} are not accepted"))
}

/// Nothing, or an object without a field.
fn is_nothing(json: &str) -> bool {
    json.chars().all(|character| character.is_whitespace() || "{}".contains(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_is_nothing_too() {
        for (json, nothing) in
            [("", true), (" \n", true), ("{}", true), ("{\n}\n", true), (r#"{"a": 1}"#, false), ("x", false)]
        {
            assert_eq!(is_nothing(json), nothing, "{json:?}");
        }
    }
}
