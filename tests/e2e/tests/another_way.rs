//! What is not taken the first way goes another way, once: as plain text, through another API, with a new token.

use e2e::platform::PlatformBot;
use e2e::wait::eventually;
use e2e::{Stack, WecomBot};
use hoopoe_channels::line::Line;
use hoopoe_channels::slack::Slack;
use reqwest::StatusCode;
use serde_json::{Value, json};
use wiremock::matchers::{body_string_contains, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// The bodies that were posted to a path, in order.
async fn posted(api: &MockServer, to: &str) -> Vec<Value> {
    let requests = api.received_requests().await.expect("requests are recorded");
    let bodies = requests.iter().filter(|request| request.url.path() == to);
    bodies.filter_map(|request| serde_json::from_slice(&request.body).ok()).collect()
}

async fn eventually_posted(api: &MockServer, to: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} requests to {to}"), async || {
        let bodies = posted(api, to).await;
        (bodies.len() >= count).then_some(bodies)
    })
    .await
}

#[tokio::test]
async fn a_formatted_message_that_is_refused_goes_as_plain_text() {
    let stack = Stack::open().await;
    let bot = PlatformBot::<Slack>::connect(&stack).await;
    Mock::given(body_string_contains("\"blocks\""))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"ok": false, "error": "invalid_blocks"})))
        .with_priority(1)
        .mount(&bot.api)
        .await;
    assert_eq!(bot.post(&bot.says(7, "where is my parcel")).await, StatusCode::OK);
    let bodies = eventually_posted(&bot.api, "/chat.postMessage", 2).await;
    assert!(bodies[0].get("blocks").is_some() && bodies[1].get("blocks").is_none(), "{bodies:?}");
    assert!(bodies[1]["text"].as_str().is_some_and(|text| text.contains("My orders")), "{bodies:?}");
}

#[tokio::test]
async fn a_reply_token_that_has_ended_gives_way_to_a_push() {
    let stack = Stack::open().await;
    let bot = PlatformBot::<Line>::connect(&stack).await;
    Mock::given(path("/v2/bot/message/reply"))
        .respond_with(ResponseTemplate::new(400).set_body_json(json!({"message": "Invalid reply token"})))
        .with_priority(1)
        .mount(&bot.api)
        .await;
    assert_eq!(bot.post(&bot.says(7, "where is my parcel")).await, StatusCode::OK);
    let pushed = eventually_posted(&bot.api, "/v2/bot/message/push", 1).await;
    assert!(pushed[0].to_string().contains("My orders"), "{pushed:?}");
    assert_eq!(posted(&bot.api, "/v2/bot/message/reply").await.len(), 1);
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_fetched_anew() {
    let stack = Stack::open().await;
    let bot = WecomBot::connect(&stack).await;
    Mock::given(method("POST"))
        .and(path("/cgi-bin/message/send"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"errcode": 42001, "errmsg": "expired"})))
        .up_to_n_times(1)
        .with_priority(1)
        .mount(&bot.api)
        .await;
    assert_eq!(bot.say("zhangsan", 1, "忘记密码怎么办").await, StatusCode::OK);
    let texts = bot.texts("zhangsan", 2).await;
    assert_eq!(texts[0], texts[1], "the same again");
    let requests = bot.api.received_requests().await.expect("requests are recorded");
    let fetched = requests.iter().filter(|request| request.url.path() == "/cgi-bin/gettoken").count();
    assert_eq!(fetched, 2);
}
