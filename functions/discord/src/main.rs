//! The interactions endpoint of Discord applications: verifies each interaction and queues it for inference.

use hoopoe_channels::discord::Discord;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), hoopoe_webhook::Fatal> {
    hoopoe_webhook::run::<Discord>().await
}
