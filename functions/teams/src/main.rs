//! The webhook of Microsoft Teams bots: verifies each activity and queues it for inference.

use hoopoe_channels::teams::Teams;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    hoopoe_webhook::run::<Teams>().await
}
