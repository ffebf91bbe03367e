//! The callback of QQ official bots: verifies each event and queues it for inference.

use hoopoe_channels::qq::Qq;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), hoopoe_webhook::Fatal> {
    hoopoe_webhook::run::<Qq>().await
}
