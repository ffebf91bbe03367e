//! The webhook of WhatsApp business phone numbers: verifies each notification and queues its messages for inference.

use hoopoe_channels::whatsapp::Whatsapp;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), hoopoe_webhook::Fatal> {
    hoopoe_webhook::run::<Whatsapp>().await
}
