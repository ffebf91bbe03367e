//! A bot on any platform and the stand-in for that platform, from its [`Counterpart`].

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use hoopoe_channels::contract::counterpart::{Counterpart, Shown};
use hoopoe_message::Timestamp;
use reqwest::StatusCode;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use crate::Stack;
use crate::wait::eventually;

/// A bot of one test.
pub struct PlatformBot<'a, P> {
    stack: &'a Stack,
    /// Its name in URLs.
    pub name: String,
    /// The platform, as far as the bot can see.
    pub api: MockServer,
    next_message: AtomicU32,
    platform: PhantomData<P>,
}

impl<'a, P: Counterpart + Send + Sync + 'static> PlatformBot<'a, P> {
    /// Connects a new bot by `hoopoe channel add`.
    pub async fn connect(stack: &'a Stack) -> Self {
        let (name, api) = (Stack::new_bot(), MockServer::start().await);
        let settings = P::settings(&api.uri()).to_string();
        stack.hoopoe(&["channel", "add", P::CHANNEL.as_str(), "--bot", &name, "--json"], &settings).await;
        Mock::given(any()).respond_with(StandIn::<P>(PhantomData)).mount(&api).await;
        Self { stack, name, api, next_message: AtomicU32::new(1), platform: PhantomData }
    }

    /// What the platform posts when a person says something, as a message of its own.
    pub fn says(&self, person: u32, text: &str) -> http::Request<Vec<u8>> {
        // Ids differ from those of a run before, whose claims may still be there.
        let seconds = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        let run = u32::try_from(seconds % 1_000_000).expect("a million fits") * 1000;
        let message = run + self.next_message.fetch_add(1, Ordering::Relaxed);
        P::says(person, message, text, &self.api.uri(), Timestamp::now())
    }

    /// Posts it to the bot's webhook.
    pub async fn post(&self, posted: &http::Request<Vec<u8>>) -> StatusCode {
        let url = self.stack.webhook(P::CHANNEL.as_str(), &self.name);
        let query = posted.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let request = self
            .stack
            .http
            .request(posted.method().clone(), format!("{url}{query}"))
            .headers(posted.headers().clone())
            .body(posted.body().clone());
        request.send().await.expect("the function URL answers").status()
    }

    /// What people were shown so far, in order.
    pub async fn shown(&self) -> Vec<Shown> {
        let requests = self.api.received_requests().await.expect("requests are recorded");
        requests.iter().filter_map(|request| P::answer(&as_http(request)).shown).collect()
    }

    /// Waits until people have been shown `count` messages.
    pub async fn shows(&self, count: usize) -> Vec<Shown> {
        eventually(&format!("{count} messages on {}", P::CHANNEL), async || {
            let shown = self.shown().await;
            (shown.len() >= count).then_some(shown)
        })
        .await
    }
}

/// Answers as the platform's API does.
struct StandIn<P>(PhantomData<P>);

impl<P: Counterpart + Send + Sync + 'static> Respond for StandIn<P> {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let answer = P::answer(&as_http(request));
        ResponseTemplate::new(answer.status).set_body_json(answer.body)
    }
}

fn as_http(request: &Request) -> http::Request<Vec<u8>> {
    let query = request.url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = format!("{}{query}", request.url.path());
    let mut builder = http::Request::builder().method(request.method.clone()).uri(path);
    if let Some(headers) = builder.headers_mut() {
        headers.clone_from(&request.headers);
    }
    builder.body(request.body.clone()).expect("a request that came")
}
