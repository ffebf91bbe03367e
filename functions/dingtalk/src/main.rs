//! The webhook of DingTalk robots: verifies each message and event and queues it for inference.

use hoopoe_channels::dingtalk::Dingtalk;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), hoopoe_webhook::Fatal> {
    hoopoe_webhook::run::<Dingtalk>().await
}
