//! Answers messages: drains the inbound queue, holds the model and what the bot knows, and keeps the sessions.
//!
//! | module | what is in it |
//! |---|---|
//! | [`inference`] | the batch: sessions, order, queueing the replies |
//! | [`answer`] | one message: command, event or question, and what the bot says to it |

mod answer;
mod inference;

use hoopoe_aws::{Environment, client};
use hoopoe_queue::Batch;
use hoopoe_telemetry::Fatal;
use lambda_runtime::{Error, LambdaEvent, service_fn};

use inference::Inference;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fatal> {
    hoopoe_telemetry::init();
    let environment = Environment;
    let inference = Inference::new(environment, &client::config(environment)?)?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Batch>| {
        let inference = &inference;
        async move { Ok::<_, Error>(inference.handle(event.payload).await) }
    }))
    .await?;
    Ok(())
}
