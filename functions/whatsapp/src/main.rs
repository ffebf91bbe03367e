//! The webhook of WhatsApp business phone numbers: verifies each notification and queues its messages for inference.

use hoopoe_channels::whatsapp::Whatsapp;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    hoopoe_webhook::run::<Whatsapp>().await
}
