//! The Bot Connector service's side, and that of Microsoft Entra.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hoopoe_message::Timestamp;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use percent_encoding::percent_decode_str;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

use super::Teams;
use crate::PublishedKey;
use crate::contract::counterpart::{Answer, Counterpart, has_header, json_of, text_at};

const APP_ID: &str = "c0ffee00-0000-4000-8000-000000000001";
const TENANT_ID: &str = "c0ffee00-0000-4000-8000-000000000002";
const PASSWORD: &str = "counterpart~secret.1";
const ACCESS_TOKEN: &str = "counterpart.access-token";
const KEY_ID: &str = "counterpart-key";

/// A key made for this file, which signs for nobody but the invented bot above: RSA, 2048 bits, PKCS#8.
const SIGNING_KEY: &str = "\
    MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQDDIbAKlA6aBHN6BISndh9hX3dRYq/vC7ZtcU/Y0XTu8Yqeev/CtOH9tLA8Ly\
    IZEp/9b9lpGipfFORUBjgWHkkWyRqQbtErEt+WxeTnU6LnYTUujiCsa/ZUxy8kogfzNvNbHzdIVKGsWnLa7yEtXmy4KYInQuPAtpaYB/ze3n9x\
    VoTPFTUbtR5Dv+vz4ZRwSz2obE1pP3LtD4apKL/BRX9Dw8z4ZrwPAuL+bRYwQVYVB1EVE/BMpG7Doy4IV3nK9iFJIicdfU867sVX4264fsF7v7\
    KOPI5UiEqFTnLG1A9zccRP5XTa/FlqwNP0DvzQNlO58lnLyO0WLqnRwwCp9+J9AgMBAAECggEALGl7NBkpLqBjOQsUtzmxIDw2f8lOokF/8q5m\
    3kIkE2tZ4cK8ehAp3JD2yKfwopTE4c3Ghb+tE6mBY2dr9grMF1nLyEJUrLFVvu8JL6ZvTirnjBJQuPW0oeyY3AVd+lsQLfXvovCSQJRwjkh9fG\
    JAq/TUmQOGK1tTcMRmp0Isbvq8VzGcshvHxUuUAYYK9rDzaCs7nAQz0VKHoRnmLjWGq4pCuacLw3JLCuVkuaGutI42OfCtflwF33fUFUSxCa56\
    9k4TAK4SLOKW34LVo+cK6C7wlcYiWSZavmRhLdgzIYPuhKipzTWoVvvC2XjlgxgOvQjme2C8ZAg9GK4B6VdCIQKBgQDyr6NhAW2qYgZv/Lycv5\
    FtFCuH+7iraoBc//akuxJ1Ceka5+lFytvolE0Tjom8Fo1xshYwA71i3QBu/GNbv9fD0ed2nD22lxRNsPTI08SGvwzP2jpw9bCknKUnUMWqQPJ1\
    j84fKl+mFpTLB8PfCThTFibmrnuaDLsWsVjhxUBjHQKBgQDN1i3EramTtVG2834D7W5YZqiQrufq5yWcJk9Ol2LenW6nM7lsxFRQJpvg48tbvd\
    olIed0MblrmWAU/ZETcYf7CLGQgV4HH9SnSOvOFpcGG9ZeYqDomGFkStq4tZ2EnSGNekrf1lYB4iWgpfdE7NR7ER4Ohk1+5By8DmeumhL+4QKB\
    gAi+LRucio/d0i+MolrfR+TvGhZfCisavh8blY4fsy2GOuCeRDggc8WwOgqfUvT0twnGiagXKmZ6Yb6d1xKCGcrTMAyE2nBOhwu5eUgW4Pidv1\
    9plDtnjoKPph+BeG2Gw3Vaxek3hJSeMaQS1oqdcWsE3EfpN0i4drD9mJ8hlQ09AoGAJsxFKjpVqWrW8TYqPZFGaFFJWqQtQMC6/RjXgAfW8gEY\
    t1lvjQngno74eMZXMX6ynKcsWmF5AsgRLUOyUcjnibDUz1kjIRKl4bZEBD+LzfH3USkkDVOTn/TgD0rkWvfHOESh0lkzMv2ue/5sgkhlsKDEWp\
    aECvPyWpwYfPe7tuECgYABtCYvJcGmT5HNa66wkKSgDc7MG95GO0A12BMZ0KnRIFtifGVj43UPIg1jjdralzR3yCjQ6fXQYXI74CFEtk9GXcND\
    ulcPgUIYmlB9aUc4twIofI2+OUsAu3l5tdCiNsY4KRwz8yOW9+g5aiRICxFq6QCI7gZAvAK+8I8TBJY3Ww==";

/// How long a token of the service is valid, in seconds, as in its document's example.
const LIFETIME: u64 = 3900;

fn signing_key() -> RsaKeyPair {
    let der = STANDARD.decode(SIGNING_KEY).expect("base64");
    RsaKeyPair::from_pkcs8(&der).expect("an RSA key")
}

/// The token that comes with an activity.
fn token(service_url: &str, now: Timestamp) -> String {
    let header = json!({ "alg": "RS256", "kid": KEY_ID, "typ": "JWT", "x5t": KEY_ID });
    let claims = json!({
        "serviceurl": service_url,
        "nbf": now.as_secs(),
        "exp": now.as_secs() + LIFETIME,
        "iss": "https://api.botframework.com",
        "aud": APP_ID,
    });
    let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!("{}.{}", encoded(header.to_string().as_bytes()), encoded(claims.to_string().as_bytes()));
    let key = signing_key();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).expect("a signature");
    format!("{signed}.{}", encoded(&signature))
}

impl Counterpart for Teams {
    const SIGNS_BODY: bool = false;
    const SIGNS_TIME: bool = true;

    fn settings(api_base: &str) -> Value {
        json!({ "app_id": APP_ID, "app_password": PASSWORD, "tenant_id": TENANT_ID, "api_base": api_base })
    }

    fn message(person: u32, message: u32, text: &str, api_base: &str, _now: Timestamp) -> Vec<u8> {
        json!({
            "type": "message",
            "id": (1_760_000_000_000 + u64::from(message)).to_string(),
            "channelId": "msteams",
            "serviceUrl": service_url(api_base),
            "from": { "id": format!("29:counterpart-{person}"), "name": "Ada" },
            "conversation": {
                "conversationType": "personal",
                "tenantId": TENANT_ID,
                "id": format!("a:counterpart-{person}"),
            },
            "recipient": { "id": format!("28:{APP_ID}"), "name": "Hoopoe" },
            "textFormat": "plain",
            "text": text,
            "entities": [{ "type": "clientInfo", "locale": "en-US", "platform": "Web" }],
            "channelData": { "tenant": { "id": TENANT_ID } },
        })
        .to_string()
        .into_bytes()
    }

    fn posts(told: &[u8], api_base: &str, now: Timestamp) -> Request<Vec<u8>> {
        Request::builder()
            .method(Method::POST)
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .header(AUTHORIZATION, format!("Bearer {}", token(&service_url(api_base), now)))
            .body(told.to_vec())
            .expect("a valid request")
    }

    fn published() -> Vec<PublishedKey> {
        let PublicKeyComponents::<Vec<u8>> { n, e } = signing_key().public().into();
        let endorsements = vec!["msteams".to_owned(), "webchat".to_owned()];
        vec![PublishedKey { id: KEY_ID.into(), modulus: n, exponent: e, endorsements }]
    }

    fn answer(request: &Request<Vec<u8>>) -> Answer {
        let path = request.uri().path();
        match (request.method(), path) {
            (&Method::GET, "/v1/.well-known/openidconfiguration") => metadata(request),
            (&Method::GET, "/v1/.well-known/keys") => Answer::told(key_set()),
            (&Method::POST, _) if path == format!("/{TENANT_ID}/oauth2/v2.0/token") => access_token(request),
            (&Method::POST, _) => match path.strip_prefix("/teams/v3/conversations/") {
                Some(place) => reply(request, place),
                None => failed(StatusCode::NOT_FOUND, "NotFound", "No such method."),
            },
            _ => failed(StatusCode::NOT_FOUND, "NotFound", "No such method."),
        }
    }
}

fn service_url(api_base: &str) -> String {
    format!("{api_base}/teams/")
}

fn metadata(request: &Request<Vec<u8>>) -> Answer {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    Answer::told(json!({
        "issuer": "https://api.botframework.com",
        "authorization_endpoint": "https://invalid.botframework.com",
        "jwks_uri": format!("http://{host}/v1/.well-known/keys"),
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
    }))
}

fn key_set() -> Value {
    let keys = Teams::published().into_iter().map(|key| {
        json!({
            "kty": "RSA",
            "use": "sig",
            "kid": key.id,
            "x5t": key.id,
            "n": URL_SAFE_NO_PAD.encode(key.modulus),
            "e": URL_SAFE_NO_PAD.encode(key.exponent),
            "endorsements": key.endorsements,
        })
    });
    json!({ "keys": keys.collect::<Vec<_>>() })
}

fn access_token(request: &Request<Vec<u8>>) -> Answer {
    let body = str::from_utf8(request.body()).unwrap_or_default();
    let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
    let given: Vec<_> = pairs.map(|(name, value)| (decoded(name), decoded(value))).collect();
    let expected = [
        ("grant_type", "client_credentials"),
        ("client_id", APP_ID),
        ("client_secret", PASSWORD),
        ("scope", "https://api.botframework.com/.default"),
    ];
    let form = has_header(request, "content-type", "application/x-www-form-urlencoded");
    if form && given == expected.map(|(name, value)| (name.to_owned(), value.to_owned())) {
        Answer::told(json!({
            "token_type": "Bearer",
            "expires_in": 3599,
            "ext_expires_in": 3599,
            "access_token": ACCESS_TOKEN,
        }))
    } else {
        let refusal = json!({
            "error": "invalid_client",
            "error_description": "AADSTS7000215: Invalid client secret provided.",
            "error_codes": [7_000_215],
        });
        Answer::refused(StatusCode::UNAUTHORIZED, refusal)
    }
}

/// An activity for `place`: `{conversation}/activities` or `{conversation}/activities/{activity}`.
fn reply(request: &Request<Vec<u8>>, place: &str) -> Answer {
    if !has_header(request, "authorization", &format!("Bearer {ACCESS_TOKEN}")) {
        return failed(StatusCode::UNAUTHORIZED, "Unauthorized", "Authorization has been denied for this request.");
    }
    let decoded: Vec<_> = place.split('/').map(|part| percent_decode_str(part).decode_utf8_lossy()).collect();
    let (conversation, replied) = match &decoded[..] {
        [conversation, activities] if activities == "activities" => (conversation, None),
        [conversation, activities, activity] if activities == "activities" => (conversation, Some(activity)),
        _ => return failed(StatusCode::NOT_FOUND, "NotFound", "No such method."),
    };
    if !conversation.starts_with("a:counterpart-") {
        return failed(StatusCode::NOT_FOUND, "ConversationNotFound", "Conversation not found.");
    }
    let body = json_of(request);
    let text = text_at(&body, "/text");
    let sound = text_at(&body, "/type") == "message"
        && text_at(&body, "/textFormat") == "plain"
        && text_at(&body, "/replyToId") == replied.map_or("", |id| id)
        && !text.is_empty()
        && request.body().len() <= 80 * 1024;
    let actions = body.pointer("/suggestedActions/actions").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let pressed = |action: &Value| {
        let same = text_at(action, "/title") == text_at(action, "/value");
        (text_at(action, "/type") == "imBack" && same).then(|| text_at(action, "/title").to_owned())
    };
    match actions.iter().map(pressed).collect::<Option<Vec<_>>>() {
        Some(buttons) if sound && buttons.len() <= 3 => Answer::taken(json!({ "id": "1" }), text, buttons),
        _ => failed(StatusCode::BAD_REQUEST, "BadSyntax", "The activity is not what it has to be."),
    }
}

fn failed(status: StatusCode, code: &str, message: &str) -> Answer {
    Answer::refused(status, json!({ "error": { "code": code, "message": message } }))
}
