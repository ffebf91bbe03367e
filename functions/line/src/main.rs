//! The webhook of LINE official accounts: verifies each request and queues its messages for inference.

use hoopoe_channels::line::Line;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), hoopoe_webhook::Fatal> {
    hoopoe_webhook::run::<Line>().await
}
