//! The callback of WeCom (企业微信) applications: verifies and decrypts each message and queues it for inference.

use hoopoe_channels::wecom::Wecom;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), hoopoe_webhook::Fatal> {
    hoopoe_webhook::run::<Wecom>().await
}
