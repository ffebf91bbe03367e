//! What tests of Meta's platforms share: the signature, made here a second time, and the vectors.

use hmac::{Hmac, KeyInit, Mac};
use hoopoe_channels::{Received, Refusal, Request, Sender, Webhook};
use hoopoe_message::Timestamp;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use proptest::prelude::*;
use serde::Deserialize;
use sha2::Sha256;

use crate::received;

pub(crate) const APP_SECRET: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
pub(crate) const VERIFY_TOKEN: &str = "fixture-verify_1";

pub(crate) fn signature(body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(APP_SECRET.as_bytes()).expect("a key");
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

pub(crate) fn signed(signature: &str) -> HeaderMap {
    HeaderMap::from_iter([(
        "X-Hub-Signature-256".parse().expect("a header name"),
        HeaderValue::from_str(signature).expect("a header value"),
    )])
}

pub(crate) fn post<P: Webhook>(keys: &P::Keys, headers: &HeaderMap, body: &[u8]) -> Result<Received, Refusal> {
    request::<P>(keys, &Method::POST, "", headers, body)
}

pub(crate) fn get<P: Webhook>(keys: &P::Keys, query: &str) -> Result<Received, Refusal> {
    request::<P>(keys, &Method::GET, query, &HeaderMap::new(), b"")
}

pub(crate) fn request<P: Webhook>(
    keys: &P::Keys,
    method: &Method,
    query: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Received, Refusal> {
    P::receive(keys, &Request { method, query, headers, body, published: &[] }, Timestamp::from_secs(1_767_225_600))
}

/// One body as Meta posts it, signed by an independent implementation (`tests/fixtures/meta/make_vectors.py`).
#[derive(Deserialize)]
pub(crate) struct Vector {
    pub(crate) platform: String,
    pub(crate) text: String,
    pub(crate) body: String,
    pub(crate) app_secret: String,
    pub(crate) signature: String,
}

pub(crate) fn vectors(platform: &str) -> Vec<Vector> {
    let vectors: Vec<Vector> = serde_json::from_slice(&received::fixture("meta", "vectors.json")).expect("vectors");
    vectors.into_iter().filter(|vector| vector.platform == platform).collect()
}

/// Tries what nobody but Meta may get in, on a body that Meta may.
pub(crate) fn refuses_what_meta_did_not_post<P: Webhook>(keys: &P::Keys, body: &[u8]) {
    let good = signature(body);
    assert!(post::<P>(keys, &signed(&good), body).is_ok());
    let digits = good.trim_start_matches("sha256=");
    for (what, forged) in [
        ("no signature", String::new()),
        ("no digits", "sha256=".into()),
        ("no scheme", digits.into()),
        ("another scheme", format!("sha1={digits}")),
        ("a scheme in capitals", format!("SHA256={digits}")),
        ("truncated", good[..good.len() - 1].into()),
        ("extended", format!("{good}0")),
        ("two of them", format!("{good},{good}")),
        ("zeros", format!("sha256={}", "0".repeat(64))),
        ("in base64", format!("sha256={}", base64_of(digits))),
        ("of another body", signature(b"{}")),
    ] {
        let refused = post::<P>(keys, &signed(&forged), body).expect_err(what);
        assert_eq!(refused.kind(), "forged", "{what}");
    }
    assert_eq!(post::<P>(keys, &HeaderMap::new(), body).expect_err("no header").kind(), "forged");
    // Read and written anew, the body says the same and has another signature.
    let again = serde_json::from_slice::<serde_json::Value>(body).expect("JSON").to_string();
    for changed in [again.as_bytes(), &body[..body.len() / 2], b"", &[body, b"\n"].concat()] {
        assert_eq!(post::<P>(keys, &signed(&good), changed).expect_err("changed").kind(), "forged");
    }
    for method in [Method::PUT, Method::HEAD, Method::DELETE] {
        let refused = request::<P>(keys, &method, "", &signed(&good), body);
        assert_eq!(refused, Err(Refusal::Method));
    }
    proptest!(|(in_body: bool, at: prop::sample::Index, to in 0x21_u8..0x7f)| {
        let (mut body, mut signature) = (body.to_vec(), good.clone().into_bytes());
        let bytes = if in_body { &mut body } else { &mut signature };
        let at = at.index(bytes.len());
        prop_assume!(!bytes[at].eq_ignore_ascii_case(&to));
        bytes[at] = to;
        let headers = signed(std::str::from_utf8(&signature).expect("ASCII"));
        prop_assert!(matches!(post::<P>(keys, &headers, &body), Err(Refusal::Forged(_))));
    });
}

fn base64_of(digits: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(hex::decode(digits).expect("hex"))
}

/// Tries the check of the URL.
pub(crate) fn checks_the_url<P: Webhook>(keys: &P::Keys) {
    let query =
        |token: &str, challenge: &str| format!("hub.mode=subscribe&hub.challenge={challenge}&hub.verify_token={token}");
    let answer = get::<P>(keys, &query(VERIFY_TOKEN, "1158201444")).expect("the token is right").answer;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, "1158201444"));
    assert_eq!(get::<P>(keys, &query("fixture%2Dverify_1", "7a")).expect("the same token").answer.body, "7a");
    for (query, kind) in [
        (String::new(), "forged"),
        (query("", "1158201444"), "forged"),
        (query("fixture-verify_", "1158201444"), "forged"),
        (query("fixture-verify_12", "1158201444"), "forged"),
        (query("Fixture-verify_1", "1158201444"), "forged"),
        (query("%FF", "1158201444"), "forged"),
        ("hub.mode=subscribe&hub.challenge=1158201444".into(), "forged"),
        (query(VERIFY_TOKEN, ""), "malformed"),
        (query(VERIFY_TOKEN, "<script>"), "malformed"),
        (query(VERIFY_TOKEN, "two%20words"), "malformed"),
        (query(VERIFY_TOKEN, &"1".repeat(129)), "malformed"),
        (query(VERIFY_TOKEN, "1158201444").replace("subscribe", "unsubscribe"), "malformed"),
        (query(VERIFY_TOKEN, &"1".repeat(5000)), "malformed"),
    ] {
        assert_eq!(get::<P>(keys, &query).expect_err(&query).kind(), kind, "{query}");
    }
}

/// What Graph answers to the check of an access token, and what is read from that.
pub(crate) fn check_is_read<P: Sender>() {
    for (status, body, told) in [
        (200, r#"{"id":"1"}"#, Some(true)),
        (200, r#"{"name":"1"}"#, None),
        (200, r#"{"messages":[]}"#, None),
        (500, r#"{"id":"1"}"#, None),
        (401, r#"{"error":{"code":190,"error_subcode":463,"message":"Session has expired"}}"#, Some(false)),
        (400, r#"{"error":{"code":102,"message":"API Session"}}"#, Some(false)),
        (400, r#"{"error":{"code":100,"error_subcode":33,"message":"does not exist"}}"#, None),
        (400, r#"{"error":{"code":100,"message":"Invalid parameter"}}"#, None),
        (400, r#"{"error":{"code":4,"message":"Too many calls"}}"#, None),
        (200, "<html>", None),
    ] {
        let status = StatusCode::from_u16(status).expect("a status");
        assert_eq!(crate::sent::checked::<P>(status, body), told, "{body}");
    }
}
