//! What the webhooks turn away, and that nothing of it is answered.

use e2e::wecom::{RIGHT_TOKEN, message, now};
use e2e::{Stack, TelegramBot, WecomBot};
use reqwest::StatusCode;

#[tokio::test]
async fn forged_requests_are_refused() {
    let stack = Stack::open().await;
    let telegram = TelegramBot::connect(&stack).await;
    let update = telegram.update(51, "where is my parcel");
    for wrong in ["", "wrong", "a-secret_of-the_e2e-test", "a-secret_of-the_e2e-testsX"] {
        assert_eq!(telegram.post_with(&update, wrong).await, StatusCode::UNAUTHORIZED, "{wrong:?}");
    }
    let wecom = WecomBot::connect(&stack).await;
    assert_eq!(wecom.post(&message("wangwu", 1, "你好"), now(), "anotherToken").await, StatusCode::UNAUTHORIZED);
    // The same update with the right secret is new: the forged ones left no claim.
    assert_eq!(telegram.post(&update).await, StatusCode::OK);
    assert_eq!(telegram.texts(51, 1).await.len(), 1);
}

#[tokio::test]
async fn a_stale_request_is_refused() {
    let stack = Stack::open().await;
    let wecom = WecomBot::connect(&stack).await;
    let day = 24 * 3600;
    assert_eq!(wecom.post(&message("zhaoliu", 1, "你好"), now() - day, RIGHT_TOKEN).await, StatusCode::UNAUTHORIZED);
    assert_eq!(wecom.post(&message("zhaoliu", 1, "你好"), now(), RIGHT_TOKEN).await, StatusCode::OK);
}

#[tokio::test]
async fn an_oversized_body_an_unknown_bot_and_a_wrong_method_are_refused() {
    let stack = Stack::open().await;
    let bot = TelegramBot::connect(&stack).await;
    let update = bot.update(52, &"x".repeat(300_000));
    assert_eq!(bot.post(&update).await, StatusCode::PAYLOAD_TOO_LARGE);
    let nobody = stack.webhook("telegram", "nobody-connected-this");
    assert_eq!(stack.post(&nobody, &[], "{}".into()).await, StatusCode::NOT_FOUND);
    let put = stack.http.put(stack.webhook("telegram", &bot.name)).body("{}").send().await.expect("an answer");
    assert_eq!(put.status(), StatusCode::METHOD_NOT_ALLOWED);
}
