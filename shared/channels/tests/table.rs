//! The table of channels in `docs/channels.md` says what the code does.

use std::fs;
use std::path::Path;

use hoopoe_channels::contract::counterpart::Counterpart;
use hoopoe_channels::{Request, Settings, with_platform};
use hoopoe_message::{BotId, Channel, Conversation, Reply, Timestamp};
use secrecy::ExposeSecret;

const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);
const API_BASE: &str = "http://127.0.0.1:9000";

const HEAD: &str = "\
| channel | signature covers | suggestions | longest message | access token | repeats a send of unknown outcome |
|---|---|---|---|---|---|
";

#[test]
fn the_table_of_channels_is_true() {
    let rows = Channel::ALL.map(|channel| {
        with_platform!(
            channel,
            P => row::<P>(),
            webchat => "| [Web chat](../functions/webchat/src/main.rs) | session token | buttons | any | none | yes |\n".into()
        )
    });
    let table = format!("{HEAD}{}", rows.concat());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/channels.md");
    let page = fs::read_to_string(&path).expect("the page of channels");
    assert!(page.contains(&table), "the table in docs/channels.md should be:\n\n{table}");
}

/// A row, from what the platform does with a sample.
fn row<P: Counterpart>() -> String {
    let keys = P::Settings::parse(&P::settings(API_BASE).to_string()).expect("its own settings").keys();
    let send = serde_json::from_str(keys.send.expose_secret()).expect("its own keys");
    let webhook = serde_json::from_str(keys.webhook.expose_secret()).expect("its own keys");
    let posted = P::says(7, 1, "hello", API_BASE, NOW);
    let request = Request {
        method: posted.method(),
        query: posted.uri().query().unwrap_or_default(),
        headers: posted.headers(),
        body: posted.body(),
        published: &P::published(),
    };
    let message = P::receive(&webhook, &request, NOW).expect("authentic").messages.remove(0);
    let conversation = Conversation { channel: P::CHANNEL, bot: BotId::default(), chat: message.chat };
    let reply = |text: String, suggestions: &[&str]| Reply {
        id: message.id.clone(),
        conversation: conversation.clone(),
        address: message.address.clone(),
        number: 1,
        after: None,
        complete: false,
        pending_until: None,
        received_at: NOW,
        created_at: NOW,
        text,
        suggestions: suggestions.iter().map(|text| (*text).to_owned()).collect(),
        decision: None,
    };
    let shown = |reply: &Reply| {
        let token = P::token_request(&send).map(|request| {
            let answer = ask::<P>(request.expect("a request"), None);
            P::read_token(answer.status, answer.body.to_string().as_bytes()).expect("a token").secret
        });
        let parts = P::render(&send, reply, NOW).expect("its own address");
        let first = parts.into_iter().next().expect("a part");
        (first.repeatable_for.is_some(), ask::<P>(first.request, token.as_ref()).shown.expect("a person reads it"))
    };
    let (repeatable, short) = shown(&reply("Hello.".into(), &["Opening hours"]));
    let (_, long) = shown(&reply("x".repeat(100_000), &[]));
    // A request may carry several messages; the longest is measured.
    let longest = long.text.split('\n').map(|piece| piece.chars().count()).max().unwrap_or_default();
    let covers = match (P::SIGNS_BODY, P::SIGNS_TIME) {
        (true, true) => "body and time",
        (true, false) => "body",
        (false, true) => "time",
        (false, false) => "none, a shared secret",
    };
    format!(
        "| [{}](../functions/{channel}/README.md) | {covers} | {} | {} | {} | {} |\n",
        P::CHANNEL.display_name(),
        if short.buttons.is_empty() { "numbered" } else { "buttons" },
        longest,
        if P::token_request(&send).is_some() { "fetched, shared" } else { "none" },
        if repeatable { "yes" } else { "no" },
        channel = P::CHANNEL,
    )
}

fn ask<P: Counterpart>(
    request: hoopoe_channels::ApiRequest,
    token: Option<&secrecy::SecretString>,
) -> hoopoe_channels::contract::counterpart::Answer {
    let (mut head, body) = request.into_http(token).expect("a request").into_parts();
    let below = head.uri.to_string().strip_prefix(API_BASE).expect("the API that the settings name").to_owned();
    head.uri = below.parse().expect("a path");
    P::answer(&http::Request::from_parts(head, body.into_bytes()))
}
