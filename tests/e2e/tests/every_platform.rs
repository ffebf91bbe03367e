//! The same on every platform: a signed message in, the right answer out at the platform's API; what is forged, too
//! large or repeated, is not answered.

use e2e::Stack;
use e2e::platform::PlatformBot;
use hoopoe_channels::contract::counterpart::Counterpart;
use hoopoe_message::each_platform;
use reqwest::StatusCode;

async fn answers<P: Counterpart + Send + Sync + 'static>(stack: &Stack) {
    let bot = PlatformBot::<P>::connect(stack).await;
    let channel = P::CHANNEL;

    let mut forged = bot.says(7, "where is my parcel");
    forged.headers_mut().clear();
    *forged.uri_mut() = "/".parse().expect("a path");
    assert!(bot.post(&forged).await.is_client_error(), "{channel}: forged");
    let mut large = bot.says(7, "where is my parcel");
    large.body_mut().resize(P::MAX_BODY + 1, b' ');
    assert_eq!(bot.post(&large).await, StatusCode::PAYLOAD_TOO_LARGE, "{channel}: too large");

    let chinese = bot.says(7, "忘记密码怎么办");
    for _ in 0..2 {
        assert!(bot.post(&chinese).await.is_success(), "{channel}: a duplicate is acknowledged as the original was");
    }
    let shown = bot.shows(1).await;
    assert!(shown[0].text.contains("验证码"), "{channel}: {shown:?}");
    assert!(bot.post(&bot.says(8, "where is my parcel")).await.is_success(), "{channel}");
    let shown = bot.shows(2).await;
    assert!(shown[1].text.contains("My orders"), "{channel}: {shown:?}");
    assert_eq!(shown.len(), 2, "{channel}: the forged, the large and the duplicate were answered: {shown:?}");
}

macro_rules! on_each {
    ([] $($variant:ident = $name:ident, $display:literal;)+) => {
        $(
            #[tokio::test]
            async fn $name() {
                answers::<hoopoe_channels::$name::$variant>(&Stack::open().await).await;
            }
        )+
    };
}

each_platform! { on_each! {} }
