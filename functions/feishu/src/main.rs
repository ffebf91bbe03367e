//! The webhook of Feishu and Lark bots: verifies and opens each event and queues it for inference.

use hoopoe_channels::feishu::Feishu;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), hoopoe_webhook::Fatal> {
    hoopoe_webhook::run::<Feishu>().await
}
