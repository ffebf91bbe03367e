//! The callback of WeCom (企业微信) applications: verifies and decrypts each message and queues it for inference.

use hoopoe_channels::wecom::Wecom;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    hoopoe_webhook::run::<Wecom>().await
}
