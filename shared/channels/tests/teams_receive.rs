//! What the Bot Connector service posts: tokens that an independent implementation signed, every kind of activity under
//! `tests/fixtures/teams`, and what nobody but the service may get in.

mod received;

use hoopoe_channels::contract::counterpart::Counterpart;
use hoopoe_channels::teams::Teams;
use hoopoe_channels::teams::published::{self, Unreadable};
use hoopoe_channels::{PublishedKey, Received, Refusal, Request, Response, Webhook};
use hoopoe_message::{Content, Timestamp};
use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);
const TENANT: &str = "c0ffee00-0000-4000-8000-000000000002";

fn keys(keys: Value) -> <Teams as Webhook>::Keys {
    serde_json::from_value(keys).expect("keys as they are stored")
}

/// The keys of the bot that the counterpart speaks with.
fn own_keys() -> <Teams as Webhook>::Keys {
    keys(json!({ "app_id": "c0ffee00-0000-4000-8000-000000000001", "tenant_id": TENANT }))
}

/// A token of the counterpart for the service URL of the fixtures.
fn authorization() -> HeaderValue {
    Teams::says(1, 1, "", "https://smba.trafficmanager.net", NOW).headers()["authorization"].clone()
}

fn bearing(authorization: HeaderValue) -> HeaderMap {
    HeaderMap::from_iter([(http::header::AUTHORIZATION, authorization)])
}

fn receive_as(
    keys: &<Teams as Webhook>::Keys,
    headers: &HeaderMap,
    body: &[u8],
    published: &[PublishedKey],
    now: Timestamp,
) -> Result<Received, Refusal> {
    Teams::receive(keys, &Request { method: &Method::POST, query: "", headers, body, published }, now)
}

fn receive(body: &[u8]) -> Result<Received, Refusal> {
    receive_as(&own_keys(), &bearing(authorization()), body, &Teams::published(), NOW)
}

#[derive(Deserialize)]
struct Vectors {
    app_id: String,
    jwks: Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    case: String,
    expected: String,
    token: String,
    now: u64,
    service_url: String,
    channel_id: String,
}

impl Vectors {
    fn read() -> Self {
        serde_json::from_slice(&received::fixture("teams", "vectors.json")).expect("the vectors")
    }

    fn published(&self) -> Vec<PublishedKey> {
        published::read_keys(self.jwks.to_string().as_bytes()).expect("a set of keys")
    }

    fn receive(&self, case: &Case, authorization: &str) -> Result<Received, Refusal> {
        let keys = keys(json!({ "app_id": self.app_id }));
        let authorization = HeaderValue::from_str(authorization).expect("visible ASCII");
        let body = case.body();
        receive_as(&keys, &bearing(authorization), &body, &self.published(), Timestamp::from_secs(case.now))
    }

    fn documented(&self) -> &Case {
        self.cases.iter().find(|case| case.case == "as documented").expect("it is there")
    }
}

impl Case {
    fn body(&self) -> Vec<u8> {
        let body = json!({
            "type": "message", "id": "1", "channelId": self.channel_id, "serviceUrl": self.service_url,
            "from": { "id": "29:1" }, "recipient": { "id": "28:1" }, "text": "hello",
            "conversation": { "id": "a:1", "conversationType": "personal" },
        });
        body.to_string().into_bytes()
    }
}

#[test]
fn tokens_of_an_independent_implementation_are_told_apart() {
    let vectors = Vectors::read();
    for case in &vectors.cases {
        let told = match vectors.receive(case, &format!("Bearer {}", case.token)) {
            Ok(received) => {
                assert_eq!(received.messages[0].content, Content::text("hello"), "{}", case.case);
                "accepted"
            }
            Err(Refusal::UnknownKey) => "unknown key",
            Err(refusal) => refusal.kind(),
        };
        assert_eq!(told, case.expected, "{}", case.case);
    }
}

#[test]
fn a_token_in_any_other_form_is_refused() {
    let vectors = Vectors::read();
    let case = vectors.documented();
    let token = &case.token;
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let standard = |part: &str| part.replace('-', "+").replace('_', "/");
    for other in [
        String::new(),
        "Bearer".into(),
        "Bearer ".into(),
        "Bearer .".into(),
        "Bearer ..".into(),
        "Bearer ...".into(),
        token.clone(),
        format!("bearer {token}"),
        format!("Basic {token}"),
        format!("Bearer  {token}"),
        format!("Bearer {token} "),
        format!("Bearer {token}."),
        format!("Bearer .{token}"),
        format!("Bearer {token}.{signature}"),
        format!("Bearer {header}.{payload}.{payload}.{signature}"),
        format!("Bearer {header}..{payload}.{signature}"),
        format!("Bearer {header}.{payload}"),
        format!("Bearer {header}.{payload}."),
        format!("Bearer {payload}.{header}.{signature}"),
        format!("Bearer {header}.{payload}.{}", &signature[..signature.len() - 1]),
        format!("Bearer {header}.{payload}.{}", &signature[..signature.len() - 4]),
        format!("Bearer {header}.{payload}.{signature}AAAA"),
        format!("Bearer {header}.{payload}.{signature}="),
        format!("Bearer {header}.{payload}.{signature}=="),
        format!("Bearer {header}=.{payload}.{signature}"),
        format!("Bearer {header}.{payload}.{}", standard(signature)),
        format!("Bearer {header}.{payload}.{}", "A".repeat(9000)),
        format!("Bearer {}.{payload}.{signature}", "A".repeat(4000)),
        format!("Bearer {token},Bearer {token}"),
    ] {
        // Which character the standard alphabet writes otherwise, chance decides.
        if other != format!("Bearer {token}") {
            assert!(matches!(vectors.receive(case, &other), Err(Refusal::Forged(_))), "{other}");
        }
    }

    let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("visible ASCII");
    let keys = keys(json!({ "app_id": vectors.app_id }));
    let now = Timestamp::from_secs(case.now);
    let published = vectors.published();
    let mut headers = bearing(value.clone());
    assert!(receive_as(&keys, &headers, &case.body(), &published, now).is_ok());
    headers.append("authorization", value);
    assert!(matches!(receive_as(&keys, &headers, &case.body(), &published, now), Err(Refusal::Forged(_))));
    headers.clear();
    assert!(matches!(receive_as(&keys, &headers, &case.body(), &published, now), Err(Refusal::Forged(_))));
}

#[test]
fn without_keys_or_an_app_id_nothing_is_authentic() {
    let headers = bearing(authorization());
    let body = received::fixture("teams", "personal_text.json");
    assert_eq!(receive_as(&own_keys(), &headers, &body, &[], NOW), Err(Refusal::UnknownKey));
    let nobody = keys(json!({ "app_id": "" }));
    let refused = receive_as(&nobody, &headers, &body, &Teams::published(), NOW);
    assert!(matches!(refused, Err(Refusal::Forged(_))));
    // Keys that are none do not verify.
    let mut published = Teams::published();
    published[0].modulus = vec![1; 256];
    let refused = receive_as(&own_keys(), &headers, &body, &published, NOW);
    assert!(matches!(refused, Err(Refusal::Forged(_))));
    published[0].modulus.clear();
    assert!(receive_as(&own_keys(), &headers, &body, &published, NOW).is_err());
    for method in [Method::GET, Method::PUT, Method::HEAD] {
        let published = Teams::published();
        let request = Request { method: &method, query: "", headers: &headers, body: &body, published: &published };
        assert_eq!(Teams::receive(&own_keys(), &request, NOW), Err(Refusal::Method));
    }
}

#[test]
fn other_tenants_are_refused_where_there_is_an_own_one() {
    let activity: Value =
        serde_json::from_slice(&received::fixture("teams", "personal_text.json")).expect("an activity");
    let told = |channel: Value, conversation: Value| {
        let mut activity = activity.clone();
        activity["channelData"] = channel;
        activity["conversation"]["tenantId"] = conversation;
        receive(activity.to_string().as_bytes())
    };
    let tenant = |id: &str| json!({ "tenant": { "id": id } });
    let other = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
    for (channel, conversation) in
        [(tenant(TENANT), json!(TENANT)), (tenant(&TENANT.to_uppercase()), Value::Null), (Value::Null, json!(TENANT))]
    {
        assert!(told(channel, conversation).is_ok());
    }
    for (channel, conversation) in [
        (tenant(other), json!(other)),
        (tenant(other), json!(TENANT)),
        (tenant(TENANT), json!(other)),
        (tenant(""), Value::Null),
        (json!("tenant"), Value::Null),
        (Value::Null, Value::Null),
    ] {
        let refused = told(channel.clone(), conversation.clone());
        assert!(matches!(refused, Err(Refusal::Forged(_))), "{channel} {conversation}");
    }
    let multi_tenant = keys(json!({ "app_id": "c0ffee00-0000-4000-8000-000000000001" }));
    let mut activity = activity.clone();
    activity["channelData"] = tenant(other);
    let body = activity.to_string();
    let received = receive_as(&multi_tenant, &bearing(authorization()), body.as_bytes(), &Teams::published(), NOW);
    assert!(received.is_ok());
}

#[test]
fn every_kind_of_activity_is_read() {
    let received = received::fixtures("teams", "json", receive);
    insta::assert_json_snapshot!("received", received);
}

#[test]
fn every_activity_is_acknowledged_with_an_empty_200() {
    for fixture in ["personal_text.json", "ignored_typing.json", "ignored_web_chat.json", "ignored_invoke.json"] {
        let answer = receive(&received::fixture("teams", fixture)).expect("authentic").answer;
        assert_eq!(answer, Response::ok(""));
    }
}

#[test]
fn what_is_no_activity_is_malformed() {
    let whole = received::fixture("teams", "channel_mention.json");
    let text = String::from_utf8(whole.clone()).expect("UTF-8");
    let deep = format!("{{\"channelData\":{}", "[".repeat(100_000));
    let without = |field: &str| text.replace(&format!("\"{field}\""), "\"else\"");
    for body in [
        &b""[..],
        b"{}",
        b"[]",
        b"null",
        b"\xFF",
        deep.as_bytes(),
        &whole[..whole.len() / 2],
        without("type").as_bytes(),
        without("channelId").as_bytes(),
        without("serviceUrl").as_bytes(),
        text.replace("\"1767225600030\"", "\"\"").as_bytes(),
        text.replace("\"1767225600030\"", "\"1\\n2\"").as_bytes(),
        text.replace("19:f1x7CHANNEL", "\\u0000").as_bytes(),
        text.replace("\"id\": \"29:", "\"id\": 29, \"name\": \"").as_bytes(),
    ] {
        let refused = receive(body);
        assert!(matches!(refused, Err(Refusal::Malformed(_))), "{refused:?} {}", String::from_utf8_lossy(body));
    }
}

#[test]
fn metadata_names_where_the_keys_are() {
    let url = Teams::published_keys(&own_keys()).map(str::to_owned).expect("a URL");
    assert_eq!(url, "https://login.botframework.com/v1/.well-known/openidconfiguration");
    let government = keys(json!({ "app_id": "x", "cloud": "usgov" }));
    let government = Teams::published_keys(&government).expect("a URL");
    assert_eq!(government, "https://login.botframework.azure.us/v1/.well-known/openidconfiguration");

    let named = |uri: Value, from: &str| published::jwks_url(json!({ "jwks_uri": uri }).to_string().as_bytes(), from);
    let keys = "https://login.botframework.com/v1/.well-known/keys";
    assert_eq!(named(json!(keys), &url).as_deref(), Ok(keys));
    let local = "http://127.0.0.1:9000/v1/.well-known/openidconfiguration";
    assert!(named(json!("http://127.0.0.1:9000/v1/.well-known/keys"), local).is_ok());
    assert!(named(json!(keys), local).is_ok());
    for (uri, from) in [
        ("http://login.botframework.com/v1/.well-known/keys", url.as_str()),
        ("http://127.0.0.1:9001/keys", local),
        ("http://127.0.0.1/keys", local),
        ("ftp://login.botframework.com/keys", &url),
        ("file:///etc/passwd", &url),
        ("/v1/.well-known/keys", &url),
        ("https://user@login.botframework.com/keys", &url),
        ("https://login.botframework.com/ke ys", &url),
        ("https://login.botframework.com/ключи", &url),
        ("https:///keys", &url),
        ("", &url),
    ] {
        assert_eq!(named(json!(uri), from), Err(Unreadable::Address), "{uri}");
    }
    assert_eq!(named(json!(7), &url), Err(Unreadable::Json));
    assert_eq!(published::jwks_url(b"<html>", &url), Err(Unreadable::Json));
    let large = format!("{{\"jwks_uri\":\"{keys}\"}}{}", " ".repeat(published::MAX_DOCUMENT_BYTES));
    assert_eq!(published::jwks_url(large.as_bytes(), &url), Err(Unreadable::Size));
}

#[test]
fn the_counterpart_publishes_what_it_signs_with() {
    let ask = |path: &str| {
        let request = http::Request::get(path).header("host", "127.0.0.1:9000").body(Vec::new()).expect("a request");
        Teams::answer(&request).body.to_string()
    };
    let metadata = ask("/v1/.well-known/openidconfiguration");
    let url = published::jwks_url(metadata.as_bytes(), "http://127.0.0.1:9000/v1/.well-known/openidconfiguration");
    assert_eq!(url.as_deref(), Ok("http://127.0.0.1:9000/v1/.well-known/keys"));
    assert_eq!(published::read_keys(ask("/v1/.well-known/keys").as_bytes()), Ok(Teams::published()));
}

#[test]
fn only_keys_that_can_verify_are_read() {
    let vectors = Vectors::read();
    let names: Vec<_> = vectors.published().into_iter().map(|key| key.id).collect();
    assert_eq!(names, ["endorsed", "plain", "elsewhere"]);

    let good = vectors.jwks["keys"][0].clone();
    let read = |keys: Value| published::read_keys(json!({ "keys": keys }).to_string().as_bytes());
    let changed = |field: &str, value: Value| {
        let mut key = good.clone();
        key[field] = value;
        read(json!([key]))
    };
    assert!(read(json!([good])).is_ok());
    assert!(changed("alg", json!("RS256")).is_ok() && changed("use", Value::Null).is_ok());
    for (field, value) in [
        ("kty", json!("oct")),
        ("use", json!("enc")),
        ("alg", json!("RS512")),
        ("kid", json!("")),
        ("kid", json!("k".repeat(200))),
        ("kid", Value::Null),
        ("n", json!("")),
        ("n", json!("AQAB")),
        ("n", json!("A".repeat(20_000))),
        ("e", json!("")),
        ("e", json!("AAAA")),
        ("e", json!("A+==")),
        ("endorsements", json!("msteams")),
        ("endorsements", json!([7])),
        ("endorsements", json!(vec!["x"; 1000])),
    ] {
        assert_eq!(changed(field, value.clone()), Err(Unreadable::Empty), "{field} {value}");
    }
    // A zero before the number does not change it.
    let padded = format!("AAAA{}", good["e"].as_str().expect("a text"));
    assert_eq!(changed("e", json!(padded)), read(json!([good])));
    assert!(read(json!(vec![good.clone(); 100])).expect("keys").len() <= 64);
    assert_eq!(read(json!([])), Err(Unreadable::Empty));
    assert_eq!(published::read_keys(b"{}"), Err(Unreadable::Json));
    assert_eq!(published::read_keys(&vec![b' '; 300 * 1024]), Err(Unreadable::Size));
}

proptest! {
    #[test]
    fn any_text_and_entities_are_read(text in ".{0,40}", tag in ".{0,8}", html in "([<>&;]|.){0,40}", personal: bool) {
        let body = json!({
            "type": "message", "id": "1", "channelId": "msteams", "serviceUrl": "https://smba.trafficmanager.net/teams/",
            "from": { "id": "29:1" }, "recipient": { "id": "28:1" }, "text": text, "textFormat": "xml",
            "conversation": { "id": "a:1", "conversationType": if personal { "personal" } else { "channel" }, "tenantId": TENANT },
            "entities": [{ "type": "mention", "mentioned": { "id": "28:1", "name": tag }, "text": tag }],
            "attachments": [{ "contentType": "text/html", "content": html }],
        });
        prop_assert!(receive(body.to_string().as_bytes()).is_ok());
    }

    #[test]
    fn any_changed_character_of_the_token_is_refused(at: prop::sample::Index, with in "[A-Za-z0-9_.-]") {
        let vectors = Vectors::read();
        let case = vectors.documented();
        let at = at.index(case.token.len());
        let mut token = case.token.clone();
        token.replace_range(at..=at, &with);
        prop_assume!(token != case.token);
        let received = vectors.receive(case, &format!("Bearer {token}"));
        prop_assert!(received.is_err());
    }

    #[test]
    fn any_header_is_refused(token in "[ -~]{0,80}") {
        let vectors = Vectors::read();
        let received = vectors.receive(vectors.documented(), &format!("Bearer {token}"));
        prop_assert!(received.is_err());
    }

    #[test]
    fn any_document_is_read_or_refused(document: Vec<u8>, url in ".{0,30}") {
        let _ = published::read_keys(&document);
        let _ = published::jwks_url(&document, &url);
        let _ = published::jwks_url(json!({ "jwks_uri": url }).to_string().as_bytes(), "https://a.example/");
    }
}
