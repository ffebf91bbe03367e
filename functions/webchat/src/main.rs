//! The web chat: serves the page and its JSON API.
//!
//! | module | what is in it |
//! |---|---|
//! | [`routes`] | which request is answered how |
//! | [`page`] | the page, its Content-Security-Policy and its cache headers |
//! | [`poll`] | how an answer is awaited, and why by long polling |
//! | [`rate`] | how many requests one client may make |
//! | [`refusal`] | why a request is refused, and the JSON that says so |
//! | [`backend`] | what stands behind the routes: keys, intake, transcript |
//!
//! The API is described in `hoopoe_channels::webchat::api`, its tokens in `hoopoe_channels::webchat::token`. What a
//! person writes takes the way of every channel: claimed, numbered and queued for inference. Replies are not sent
//! anywhere: deliver writes them to the transcript, where this function finds them.

mod backend;
mod page;
mod poll;
mod rate;
mod refusal;
mod routes;

use std::sync::Arc;

use hoopoe_aws::{Environment, client};
use hoopoe_telemetry::Fatal;
use lambda_http::{Error, Request, service_fn};

use crate::backend::Aws;
use crate::routes::Webchat;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fatal> {
    hoopoe_telemetry::init();
    let environment = Environment;
    let config = client::config(environment)?;
    let webchat = Arc::new(Webchat::new(Aws::new(environment, &config)?));
    lambda_http::run(service_fn(move |request: Request| {
        let webchat = Arc::clone(&webchat);
        async move { Ok::<_, Error>(webchat.answer(&request).await) }
    }))
    .await?;
    Ok(())
}
