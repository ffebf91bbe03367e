//! The server URL of WeChat official accounts (微信公众号): verifies and opens each message and queues it for inference.

use hoopoe_channels::wechat::Wechat;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    hoopoe_webhook::run::<Wechat>().await
}
