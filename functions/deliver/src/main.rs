//! Sends replies: drains the outbound queue, and is the only function that talks to the platforms.
//!
//! All of it is in `shared/delivery`.

use hoopoe_aws::{Environment, client};
use hoopoe_delivery::{Delivery, http};
use hoopoe_message::Timestamp;
use hoopoe_queue::Batch;
use hoopoe_telemetry::Fatal;
use lambda_runtime::{Error, LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fatal> {
    hoopoe_telemetry::init();
    let environment = Environment;
    let delivery = Delivery::new(environment, &client::config(environment)?, http::Client::new()?)?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Batch>| {
        let deadline = Timestamp::from_millis(event.context.deadline);
        let delivery = &delivery;
        async move { Ok::<_, Error>(delivery.handle(event.payload, deadline).await) }
    }))
    .await?;
    Ok(())
}
