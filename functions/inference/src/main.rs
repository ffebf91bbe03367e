//! Answers messages: drains the inbound queue, holds the model and what the bot knows, and keeps the sessions.
//!
//! All of it is in `shared/dialogue`.

use hoopoe_aws::{Environment, client};
use hoopoe_dialogue::{Dialogue, Written};
use hoopoe_queue::Batch;
use hoopoe_telemetry::Fatal;
use lambda_runtime::{Error, LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fatal> {
    hoopoe_telemetry::init();
    let environment = Environment;
    let config = client::config(environment)?;
    let dialogue = Dialogue::new(environment, &config, Written::load(&environment.task_root()?)?)?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Batch>| {
        let dialogue = &dialogue;
        async move { Ok::<_, Error>(dialogue.handle(event.payload).await) }
    }))
    .await?;
    Ok(())
}
