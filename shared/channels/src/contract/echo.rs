//! What a platform repeats of a request when it refuses it.
//!
//! Platforms explain a refusal in words of their own, and some quote what they were sent: the URL with the bot's token,
//! the id of the chat, the text that was to be shown. Those words go on into logs and dead letters, so whatever of them
//! was in the request is cut out first. Nothing has to be known about which part of a request is secret.

use std::fmt;

use http::Request;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::contract::rejection::{MAX_REASON_BYTES, Reason};

/// A value of the request is looked for in its whole length from here on; what is shorter may be a word like any other.
const SHORTEST_VALUE: usize = 8;

/// Of a longer value, so many bytes in a row are taken for a quotation.
const QUOTATION: usize = 16;

/// The same where the reason was cut to its length, perhaps in the middle of a quotation.
const BEGUN_QUOTATION: usize = 4;

/// A request that was sent, of which nothing may come back in a reason.
pub struct Echo(Request<String>);

impl Echo {
    /// What could come back of this request.
    #[must_use]
    pub fn of(request: &Request<String>) -> Self {
        Self(request.clone())
    }

    /// What became of the request, without what its reason repeats of it.
    #[must_use]
    pub fn cut<R: Reason>(&self, mut rejection: R) -> R {
        let reason = rejection.reason();
        *reason = self.cut_text(reason);
        rejection
    }

    /// The text with `…` for what is quoted.
    fn cut_text(&self, text: &str) -> String {
        let bytes = text.as_bytes();
        let mut quoted = vec![false; bytes.len()];
        for value in Values::of(&self.0).0 {
            let length = value.len().min(QUOTATION);
            for (at, part) in bytes.windows(length).enumerate() {
                if contains(&value, part) {
                    quoted[at..at + length].fill(true);
                }
            }
            // A character has four bytes at most, so a reason that was cut may be three shorter than it could be.
            if bytes.len() + 3 >= MAX_REASON_BYTES
                && let Some(begun) =
                    (BEGUN_QUOTATION..length).rev().find(|n| contains(&value, &bytes[bytes.len() - n..]))
            {
                quoted[bytes.len() - begun..].fill(true);
            }
        }
        let mut cut = String::with_capacity(text.len());
        for (at, character) in text.char_indices() {
            if !quoted[at..at + character.len_utf8()].contains(&true) {
                cut.push(character);
            } else if !cut.ends_with('…') {
                cut.push('…');
            }
        }
        cut
    }
}

/// Shows nothing of the request.
impl fmt::Debug for Echo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Echo(…)")
    }
}

/// The values of a request, in every form in which they were part of it: as they are and as they were written into the
/// URL or the body.
struct Values(Vec<Zeroizing<String>>);

impl Values {
    fn of(request: &Request<String>) -> Self {
        let mut values = Self(Vec::new());
        values.add_encoded(request.uri().path());
        values.add_pairs(request.uri().query().unwrap_or_default());
        for value in request.headers().values() {
            // After its scheme, where it has one.
            value.to_str().unwrap_or_default().split(' ').for_each(|word| values.add(word));
        }
        match serde_json::from_str(request.body()) {
            Ok(json) => values.add_json(json),
            Err(_) => values.add_pairs(request.body()),
        }
        values
    }

    fn add(&mut self, value: &str) {
        if value.len() >= SHORTEST_VALUE {
            self.0.push(Zeroizing::new(value.to_owned()));
        }
    }

    fn add_encoded(&mut self, value: &str) {
        self.add(value);
        // What was encoded came from a text.
        let decoded = Zeroizing::new(percent_decode_str(value).decode_utf8_lossy().into_owned());
        if *decoded != value {
            self.add(&decoded);
        }
    }

    /// The values of a query or a form.
    fn add_pairs(&mut self, pairs: &str) {
        for pair in pairs.split('&') {
            self.add_encoded(pair.split_once('=').map_or(pair, |(_, value)| value));
        }
    }

    fn add_json(&mut self, value: Value) {
        match value {
            Value::String(text) => {
                let text = Zeroizing::new(text);
                self.add(&text);
                let escaped = Zeroizing::new(serde_json::to_string(&*text).expect("a text serialises"));
                let escaped = escaped.trim_matches('"');
                if escaped != text.as_str() {
                    self.add(escaped);
                }
                // Feishu and DingTalk are sent JSON within JSON.
                if let Ok(inner @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(&text) {
                    self.add_json(inner);
                }
            }
            Value::Number(number) => self.add(&number.to_string()),
            Value::Array(values) => values.into_iter().for_each(|value| self.add_json(value)),
            Value::Object(fields) => fields.into_iter().for_each(|(_, value)| self.add_json(value)),
            Value::Null | Value::Bool(_) => {}
        }
    }
}

fn contains(value: &str, part: &[u8]) -> bool {
    value.as_bytes().windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{ApiRequest, Rejection, Retry};

    const TOKEN: &str = "123456789:AAE-planted_token-0123456789";

    fn echo(request: ApiRequest) -> Echo {
        Echo::of(&request.into_http(Some(&"planted.access/token+1".into())).expect("a request"))
    }

    fn telegram(text: &str) -> Echo {
        let body = json!({"chat_id": 987_654_321, "text": text}).to_string();
        let url = format!("https://api.telegram.org/bot{TOKEN}/sendMessage");
        echo(ApiRequest::post_json(&url, body).expect("a request"))
    }

    #[test]
    fn the_platforms_own_words_stay() {
        let echo = telegram("Your parcel is on its way. It was sent by the user of the bot yesterday.");
        for reason in [
            "403 Forbidden: bot was blocked by the user",
            "400 Bad Request: chat not found",
            "401 Unauthorized (the bot token is not valid)",
            "60011 no privilege to access/modify contact/party/agent",
            "",
            "你好",
        ] {
            assert_eq!(echo.cut_text(reason), reason);
        }
    }

    #[test]
    fn what_was_sent_is_cut_out_of_them() {
        let echo = telegram("密码是「小鸟」,请勿告诉他人");
        for (reason, left) in [
            (format!("404 no such bot: /bot{TOKEN}/sendMessage"), "404 no such bot: …"),
            (format!("401 the token {TOKEN} is wrong"), "401 the token … is wrong"),
            // Not all of it.
            (format!("401 the token {}.. is wrong", &TOKEN[..20]), "401 the token ….. is wrong"),
            ("400 chat 987654321 not found".into(), "400 chat … not found"),
            ("400 can't parse \"密码是「小鸟」\" here".into(), "400 can't parse \"…\" here"),
        ] {
            assert_eq!(echo.cut_text(&reason), left);
        }
    }

    #[test]
    fn every_place_of_a_secret_is_known_in_every_form_it_was_sent_in() {
        let get = || ApiRequest::get("https://a.example/x?corpsecret=planted%2Fsecret%2B1").expect("a URL");
        let form = ApiRequest::post_form("https://a.example/", &[("client_secret", "planted secret~1")]);
        let body = json!({"secret": "planted\"secret", "content": "{\"text\":\"planted inside\"}"}).to_string();
        for (request, said) in [
            (get(), "planted/secret+1"),
            (get(), "planted%2Fsecret%2B1"),
            (get().with_token("Bearer"), "planted.access/token+1"),
            (get().with_token_header("x-token"), "planted.access/token+1"),
            (get().with_token_parameter("access_token"), "planted.access/token+1"),
            (get().with_token_parameter("access_token"), "planted%2Eaccess%2Ftoken%2B1"),
            (get().authorized("Bot", &"planted-bot-token".into()).expect("a header"), "planted-bot-token"),
            (form.expect("a form"), "planted secret~1"),
            (ApiRequest::post_json("https://a.example/", body.clone()).expect("a request"), "planted\"secret"),
            (ApiRequest::post_json("https://a.example/", body.clone()).expect("a request"), "planted\\\"secret"),
            (ApiRequest::post_json("https://a.example/", body).expect("a request"), "planted inside"),
        ] {
            let outcome = Rejection::refused(format!("40001 not accepted: {said}!"), Retry::Never);
            assert_eq!(
                echo(request).cut(outcome),
                Rejection::refused("40001 not accepted: …!", Retry::Never),
                "{said}"
            );
        }
    }

    #[test]
    fn a_reason_that_ends_within_a_quotation_keeps_nothing_of_it() {
        let echo = telegram("x");
        for before in 150..196 {
            let Rejection::Refused { reason, .. } =
                echo.cut(Rejection::refused(format!("{} {TOKEN}", "-".repeat(before)), Retry::Never))
            else {
                unreachable!("it was refused")
            };
            assert!(!reason.contains(&TOKEN[..4]), "{before}: {reason}");
        }
    }

    #[test]
    fn it_shows_nothing_of_the_request() {
        assert!(!format!("{:?}", telegram("hush, planted")).contains("planted"));
    }

    proptest! {
        #[test]
        fn no_reason_keeps_a_value_that_was_sent(
            secret in "[!-~é鸟]{8,40}",
            before in ".{0,60}",
            after in ".{0,60}",
        ) {
            let body = json!({ "secret": secret }).to_string();
            let echo = echo(ApiRequest::post_json("https://a.example/", body).expect("a request"));
            let outcome = echo.cut(Rejection::refused(format!("{before}{secret}{after}"), Retry::Never));
            let Rejection::Refused { reason, .. } = outcome else { unreachable!("it was refused") };
            // What lies around a cut may by chance have the value's own letters, but never all of them.
            prop_assert!(!reason.contains(&secret), "{}", reason);
        }
    }
}
