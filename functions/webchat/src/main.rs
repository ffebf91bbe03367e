//! The web chat: serves the page and its JSON API.
//!
//! | module | what is in it |
//! |---|---|
//! | [`routes`] | which request is answered how |
//! | [`appearance`] | the owner's name, logo and colour, from `page.json` in the bundle |
//! | [`page`] | the page, its Content-Security-Policy and its cache headers |
//! | [`palette`] | the page's colours, from the owner's one |
//! | [`poll`] | how an answer is awaited, for how long, and why by long polling |
//! | [`rate`] | how many requests one client may make |
//! | [`refusal`] | why a request is refused, and the JSON that says so |
//! | [`backend`] | what stands behind the routes: keys, intake, transcript |
//!
//! The API is described in `hoopoe_channels::webchat::api`, its tokens in `hoopoe_channels::webchat::token`. What a
//! person writes takes the way of every channel: claimed, numbered and queued for inference. Replies are not sent
//! anywhere: deliver writes them to the transcript, where this function finds them.
//!
//! # The look of the page
//!
//! Without more, the page is Hoopoe's own. A file `page.json` in the function's bundle gives it its owner's name, logo
//! and colour; `hoopoe_channels::webchat::appearance` describes it. `make build-webchatFunction` copies it from the
//! folder `KNOWLEDGE` of the built knowledge pack. It is read once, when the function starts, and a broken one stops
//! the start with a sentence.
//!
//! The page says its own words in Chinese to readers whose browser prefers that to English, else in English. It tells
//! the bot the browser's language, so that the bot greets in it.

mod appearance;
mod backend;
mod page;
mod palette;
mod poll;
mod rate;
mod refusal;
mod routes;

use std::sync::Arc;

use hoopoe_aws::{Environment, client};
use hoopoe_telemetry::Fatal;
use hoopoe_webhook::AllowedNetworks;
use lambda_http::{Error, Request, service_fn};

use crate::backend::Aws;
use crate::page::Page;
use crate::routes::Webchat;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fatal> {
    hoopoe_telemetry::init();
    let environment = Environment;
    let networks = AllowedNetworks::from_environment(environment)?;
    let config = client::config(environment)?;
    let page = Page::new(&appearance::load(&environment.task_root()?)?);
    let webchat = Arc::new(Webchat::new(networks, Aws::new(environment, &config)?, page));
    lambda_http::run(service_fn(move |request: Request| {
        let webchat = Arc::clone(&webchat);
        async move { Ok::<_, Error>(webchat.answer(&request).await) }
    }))
    .await?;
    Ok(())
}
