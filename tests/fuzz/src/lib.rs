//! What the fuzz target does: it takes arbitrary bytes to a platform's receiving side, in each way they could come. The
//! environment names the platform: `CHANNEL=slack`.
//!
//! `make fuzz` tries all platforms for a while, `make fuzz CHANNEL=slack SECONDS=600` one of them for longer. Nothing may
//! panic, and what is accepted must have a form that goes through the queues.

use std::sync::LazyLock;

use hoopoe_channels::contract::counterpart::Counterpart;
use hoopoe_channels::contract::settings::Settings;
use hoopoe_channels::{Received, Request, Webhook, with_platform};
use hoopoe_message::{Channel, Conversation, Timestamp};
use http::Method;
use secrecy::ExposeSecret;

const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);
const API_BASE: &str = "http://127.0.0.1:9000";

/// Arbitrary bytes as what the platform tells (signed, and sealed, so that the parser sees them), as an unsigned body
/// with signed headers (so that what is read before the signature sees them), and as the query of a GET.
///
/// # Panics
///
/// When the receiving side does what it must not.
pub fn webhook(data: &[u8]) {
    static CHANNEL: LazyLock<Channel> = LazyLock::new(|| {
        let name = std::env::var("CHANNEL").expect("CHANNEL names the platform");
        name.parse().expect("a platform")
    });
    with_platform!(*CHANNEL, P => receive::<P>(data), webchat => panic!("the page is no platform"));
}

fn receive<P: Counterpart>(data: &[u8]) {
    let keys = P::Settings::parse(&P::settings(API_BASE).to_string()).expect("its own settings").keys();
    let keys: <P as Webhook>::Keys = serde_json::from_str(keys.webhook.expose_secret()).expect("its own keys");
    let published = P::published();
    let receive = |posted: &http::Request<Vec<u8>>, method: &Method, query: &str| {
        let request =
            Request { method, query, headers: posted.headers(), body: posted.body(), published: &published };
        P::receive(&keys, &request, NOW)
    };

    let signed = P::posts(data, API_BASE, NOW);
    let query = signed.uri().query().unwrap_or_default().to_owned();
    if let Ok(received) = receive(&signed, &Method::POST, &query) {
        check(&received);
    }

    let mut unsigned = P::posts(b"{}", API_BASE, NOW);
    let query = unsigned.uri().query().unwrap_or_default().to_owned();
    *unsigned.body_mut() = data.to_vec();
    if let Ok(received) = receive(&unsigned, &Method::POST, &query) {
        check(&received);
    }

    if let Ok(query) = std::str::from_utf8(data) {
        let _ = receive(&unsigned, &Method::GET, query);
        let _ = receive(&unsigned, &Method::POST, query);
    }
}

fn check(received: &Received) {
    for message in &received.messages {
        assert!(message.chat.len() <= Conversation::MAX_CHAT_BYTES, "a key holds the chat");
        let told = serde_json::to_string(&message.content).expect("content has a queue form");
        assert!(told.len() <= 200_000, "content is bounded");
    }
}
