//! The webhook of Slack apps: verifies each event, command and press of a button, and queues it for inference.

use hoopoe_channels::slack::Slack;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), hoopoe_webhook::Fatal> {
    hoopoe_webhook::run::<Slack>().await
}
