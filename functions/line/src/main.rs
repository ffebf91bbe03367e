//! The webhook of LINE official accounts: verifies each request and queues its messages for inference.

use hoopoe_channels::line::Line;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    hoopoe_webhook::run::<Line>().await
}
