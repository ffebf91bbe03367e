//! The webhook of Facebook Pages on Messenger: verifies each notification and queues its messages for inference.

use hoopoe_channels::messenger::Messenger;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), hoopoe_webhook::Fatal> {
    hoopoe_webhook::run::<Messenger>().await
}
