//! Sends replies: drains the outbound queue, and is the only function that talks to the platforms.
//!
//! | module | what is in it |
//! |---|---|
//! | [`deliver`] | the batch: order, send records, retries, dead letters |
//! | [`platform`] | a platform's API: keys, access tokens, requests, fallbacks |

mod deliver;
mod platform;

use hoopoe_aws::{Environment, client};
use hoopoe_message::Timestamp;
use hoopoe_queue::Batch;
use hoopoe_telemetry::Fatal;
use lambda_runtime::{Error, LambdaEvent, service_fn};

use deliver::Deliver;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fatal> {
    hoopoe_telemetry::init();
    let environment = Environment;
    let deliver = Deliver::new(environment, &client::config(environment)?)?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Batch>| {
        let deadline = Timestamp::from_millis(event.context.deadline);
        let deliver = &deliver;
        async move { Ok::<_, Error>(deliver.handle(event.payload, deadline).await) }
    }))
    .await?;
    Ok(())
}
