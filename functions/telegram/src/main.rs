//! The webhook of Telegram bots: verifies each update and queues it for inference.

use hoopoe_channels::telegram::Telegram;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), hoopoe_webhook::Fatal> {
    hoopoe_webhook::run::<Telegram>().await
}
