//! A webhook function.

use std::sync::Arc;

use hoopoe_aws::{Environment, client};
use hoopoe_channels::{Platform, Request as ChannelRequest, Webhook};
use hoopoe_keyring::{Keyring, KeyringError, Purpose};
use hoopoe_message::{BotId, Timestamp};
use hoopoe_telemetry::count;
use lambda_http::http::{Method, StatusCode};
use lambda_http::{Body, Error, Request, RequestExt, Response, service_fn};

use crate::{Intake, answer};

/// The largest body read before it is verified. Platforms send a few kilobytes.
pub const MAX_BODY: usize = 64 * 1024;

/// The most messages taken in from one request. Platforms send one, or a few at a time.
const MAX_MESSAGES: usize = 32;

/// Runs the webhook function of a platform until Lambda ends it.
///
/// # Errors
///
/// When the environment is not as `template.yaml` makes it: the sentence says what is missing.
pub async fn run<W: Webhook + 'static>() -> Result<(), Error> {
    hoopoe_telemetry::init();
    let environment = Environment;
    let config = client::config(environment)?;
    let keyring = Keyring::new(&config, environment.required("KEYS_TABLE")?, W::CHANNEL, Purpose::Webhook);
    let intake = Intake::new(W::CHANNEL, environment, &config)?;
    let handler = Arc::new(Handler::<W> { keyring, intake });
    lambda_http::run(service_fn(move |request: Request| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, Error>(handler.handle(&request).await) }
    }))
    .await
}

struct Handler<W: Webhook> {
    keyring: Keyring<W::Keys>,
    intake: Intake,
}

impl<W: Webhook> Handler<W> {
    async fn handle(&self, request: &Request) -> Response<Body> {
        match self.receive(request).await {
            Ok(response) => response,
            Err(fault) => fault.answer(W::CHANNEL.as_str()),
        }
    }

    async fn receive(&self, request: &Request) -> Result<Response<Body>, Fault> {
        let body: &[u8] = request.body();
        if body.len() > MAX_BODY {
            return Err(Fault::TooLarge);
        }
        if !matches!(*request.method(), Method::GET | Method::POST) {
            return Err(Fault::Refused(hoopoe_channels::Refusal::Method));
        }
        let bot = bot(W::CHANNEL.as_str(), request.raw_http_path()).ok_or(Fault::NoSuchUrl)?;
        let keys = self.keyring.get(&bot).await?;
        let request = ChannelRequest {
            method: request.method(),
            query: request.uri().query().unwrap_or_default(),
            headers: request.headers(),
            body,
        };
        let received = W::receive(&keys, &request, Timestamp::now())?;
        if received.messages.len() > MAX_MESSAGES {
            return Err(Fault::TooLarge);
        }
        let channel = ("Channel", W::CHANNEL.as_str());
        // One after the other: two messages of one conversation keep their order.
        for message in received.messages {
            let accepted = self.intake.accept(&bot, message).await?;
            count(if accepted.duplicate { "Duplicates" } else { "Received" }, 1, channel);
        }
        if received.ignored > 0 {
            count("Ignored", received.ignored as u64, channel);
        }
        Ok(answer::from_channel(received.answer))
    }
}

/// The bot of `/<channel>/<bot>`.
fn bot(channel: &str, path: &str) -> Option<BotId> {
    path.strip_prefix('/')?.strip_prefix(channel)?.strip_prefix('/')?.parse().ok()
}

/// Why a request is not answered with an acknowledgement.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the body is larger than {MAX_BODY} bytes")]
    TooLarge,
    #[error("there is nothing at this URL; a webhook is at /<channel>/<bot>")]
    NoSuchUrl,
    #[error(transparent)]
    Refused(#[from] hoopoe_channels::Refusal),
    #[error(transparent)]
    Keys(#[from] KeyringError),
    #[error(transparent)]
    Intake(#[from] crate::IntakeError),
}

impl Fault {
    /// The answer, with a metric and a line in the log. A sender that proved nothing learns nothing about what went
    /// wrong inside.
    fn answer(&self, channel: &'static str) -> Response<Body> {
        let (status, kind, message) = match self {
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", self.to_string()),
            Self::NoSuchUrl => (StatusCode::NOT_FOUND, "not_found", self.to_string()),
            Self::Refused(refusal) => (refusal.status(), refusal.kind(), refusal.to_string()),
            Self::Keys(KeyringError::Missing { .. }) => {
                (StatusCode::NOT_FOUND, "not_found", "this bot is not connected".to_owned())
            }
            Self::Keys(_) | Self::Intake(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "try again later".to_owned())
            }
        };
        count("Refused", 1, ("Reason", kind));
        if status.is_server_error() {
            tracing::error!(channel, error = %self, "a webhook request failed");
        } else {
            tracing::warn!(channel, reason = %self, "a webhook request was refused");
        }
        answer::refusal(status, kind, &message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_names_the_bot() {
        assert_eq!(bot("telegram", "/telegram/main").expect("a bot").as_str(), "main");
        for path in ["/", "/telegram", "/telegram/", "/wecom/main", "/telegram/a/b", "/telegram/Main", "telegram/main"]
        {
            assert!(bot("telegram", path).is_none(), "{path}");
        }
    }

    #[test]
    fn a_stranger_learns_nothing_about_the_inside() {
        let fault = Fault::Keys(KeyringError::Call { operation: "decrypting a key", cause: "AccessDenied arn".into() });
        let response = fault.answer("telegram");
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(!String::from_utf8_lossy(response.body()).contains("arn"));
    }
}
