//! What tests of the platforms that sign with Ed25519 share: requests whose parts can be changed before they are sent,
//! and what nobody but the platform may get in.

use hoopoe_channels::{Received, Refusal, Request, Webhook};
use hoopoe_message::Timestamp;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use proptest::prelude::*;
use ring::signature::Ed25519KeyPair;
use serde_json::Value;

pub(crate) const NOW: u64 = 1_767_225_600;

pub(crate) fn sign(pair: &Ed25519KeyPair, timestamp: &str, body: &[u8]) -> String {
    hex::encode(pair.sign(&[timestamp.as_bytes(), body].concat()))
}

/// A request as the platform would make it.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) timestamp: Option<String>,
    pub(crate) signature: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Call {
    pub(crate) fn at(timestamp: &str, pair: &Ed25519KeyPair, body: &[u8]) -> Self {
        let signature = sign(pair, timestamp, body);
        Self { timestamp: Some(timestamp.into()), signature: Some(signature), body: body.to_vec() }
    }

    pub(crate) fn post_to<P: Webhook>(&self, keys: &P::Keys, now: u64) -> Result<Received, Refusal> {
        self.send::<P>(&Method::POST, keys, now)
    }

    fn send<P: Webhook>(&self, method: &Method, keys: &P::Keys, now: u64) -> Result<Received, Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-signature-timestamp", &self.timestamp), ("x-signature-ed25519", &self.signature)] {
            if let Some(value) = value {
                headers.insert(name, HeaderValue::from_str(value).expect("visible ASCII"));
            }
        }
        let request = Request { method, query: "", headers: &headers, body: &self.body, published: &[] };
        P::receive(keys, &request, Timestamp::from_secs(now))
    }
}

/// Tries on a body that the platform may post what it did not sign, or signed further from now than the window.
pub(crate) fn refuses_what_was_not_signed<P: Webhook>(
    keys: &P::Keys,
    own: &Ed25519KeyPair,
    other: &Ed25519KeyPair,
    window: u64,
    body: &[u8],
) {
    let at = |timestamp: &str| Call::at(timestamp, own, body);
    let now = NOW.to_string();
    let good = at(&now);
    assert_eq!(good.post_to::<P>(keys, NOW), Ok(good.post_to::<P>(keys, NOW).expect("authentic")));
    let signature = good.signature.clone().expect("set");
    let signed = |signature: &str| Call { signature: Some(signature.into()), ..good.clone() };
    let holding = |body: &[u8]| Call { body: body.to_vec(), ..good.clone() };
    let bytes = hex::decode(&signature).expect("hex");
    let again = serde_json::from_slice::<Value>(body).expect("JSON").to_string();
    for (what, call, kind) in [
        ("no headers", Call { timestamp: None, signature: None, body: body.to_vec() }, "forged"),
        ("no signature", Call { signature: None, ..good.clone() }, "forged"),
        ("no timestamp", Call { timestamp: None, ..good.clone() }, "forged"),
        ("another key", signed(&sign(other, &now, body)), "forged"),
        ("signature of the body alone", signed(&sign(own, "", body)), "forged"),
        ("signature without a digit", signed(&signature[..127]), "forged"),
        ("signature without a byte", signed(&signature[..126]), "forged"),
        ("signature extended", signed(&format!("{signature}00")), "forged"),
        ("signature empty", signed(""), "forged"),
        ("signature no digits", signed(&"zz".repeat(64)), "forged"),
        ("signature all zero", signed(&"00".repeat(64)), "forged"),
        (
            "signature in base64",
            signed(&base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)),
            "forged",
        ),
        ("another timestamp", Call { timestamp: Some((NOW + 1).to_string()), ..good.clone() }, "forged"),
        ("body truncated", holding(&body[..100]), "forged"),
        ("body extended", holding(&[body, b" "].concat()), "forged"),
        ("body re-encoded", holding(again.as_bytes()), "forged"),
        ("signed, but old", at(&(NOW - window - 1).to_string()), "stale"),
        ("signed, but early", at(&(NOW + window + 1).to_string()), "stale"),
        ("signed, timestamp no number", at("soon"), "malformed"),
        ("signed, timestamp negative", at("-1"), "malformed"),
    ] {
        let refusal = call.post_to::<P>(keys, NOW).expect_err(what);
        assert_eq!(refusal.kind(), kind, "{what}");
        if kind != "malformed" {
            // Discord asks for this status, and tries it.
            assert_eq!(refusal.status(), StatusCode::UNAUTHORIZED, "{what}");
        }
    }
    for edge in [NOW - window, NOW + window] {
        assert!(at(&edge.to_string()).post_to::<P>(keys, NOW).is_ok(), "within the window");
    }
    for method in [Method::GET, Method::PUT, Method::HEAD] {
        assert_eq!(good.send::<P>(&method, keys, NOW), Err(Refusal::Method));
    }
}

/// Tries every change of one byte of what is signed, or of the signature.
pub(crate) fn refuses_any_changed_byte<P: Webhook>(keys: &P::Keys, own: &Ed25519KeyPair, body: &[u8]) {
    let good = Call::at(&NOW.to_string(), own, body);
    proptest!(|(part in 0_usize..3, at: prop::sample::Index, to in "[!-~]")| {
        let mut call = good.clone();
        let mut text = match part {
            0 => call.timestamp.clone().expect("set"),
            1 => call.signature.clone().expect("set"),
            _ => String::from_utf8(call.body.clone()).expect("ASCII"),
        };
        let byte = at.index(text.len());
        prop_assume!(!text[byte..=byte].eq_ignore_ascii_case(&to));
        text.replace_range(byte..=byte, &to);
        match part {
            0 => call.timestamp = Some(text),
            1 => call.signature = Some(text),
            _ => call.body = text.into_bytes(),
        }
        prop_assert!(matches!(call.post_to::<P>(keys, NOW), Err(Refusal::Forged(_))));
    });
}
