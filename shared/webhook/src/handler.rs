//! A webhook function.

use std::sync::Arc;
use std::time::Duration;

use hoopoe_aws::{Clock, Environment, SdkConfig, client};
use hoopoe_channels::{
    Incoming, PublishedKey, Received, Refusal, Request as ChannelRequest, Response as ChannelResponse, Webhook,
};
use hoopoe_keyring::{Keyring, KeyringError, Place, Purpose, Secret, VerifyError};
use hoopoe_message::{BotId, Timestamp};
use hoopoe_telemetry::{Fatal, metrics};
use lambda_http::http::{Method, StatusCode};
use lambda_http::{Body, Error, Request, RequestExt, Response, service_fn};
use tokio::time::Instant;

use crate::{AllowedNetworks, Intake, OutsideError, Taken, answer};

/// How long before the function's time is over it answers that the platform is to repeat the request.
const RESERVE: Duration = Duration::from_millis(800);

/// How long messages are taken in where Lambda does not say when the function's time is over.
const USUAL: Duration = Duration::from_secs(9);

/// What a few platforms need around their [`Webhook`], which itself does no I/O.
pub trait Extension<W: Webhook>: Send + Sync + 'static {
    /// The keys that the platform publishes at `url` ([`Webhook::published_keys`]); `anew` where a request came that is
    /// signed with none of those last given.
    ///
    /// # Errors
    ///
    /// When they cannot be had.
    fn published(
        &self,
        _url: &str,
        _anew: bool,
    ) -> impl Future<Output = Result<Arc<[PublishedKey]>, UnpublishedError>> + Send {
        async { Ok(Arc::from([])) }
    }

    /// The answer to a request whose messages stand in the queue. By default at once what the platform expects.
    fn answer(
        &self,
        _keys: &W::Keys,
        _taken: &[Taken],
        answer: ChannelResponse,
    ) -> impl Future<Output = ChannelResponse> + Send {
        async { answer }
    }
}

/// For platforms that need nothing.
struct Plain;

impl<W: Webhook> Extension<W> for Plain {}

/// The platform's published keys cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the keys that the platform publishes cannot be had: {0}")]
pub struct UnpublishedError(pub String);

/// Runs the webhook function of a platform until Lambda ends it.
///
/// # Errors
///
/// When the environment is not as `template.yaml` makes it: the sentence says what is missing.
pub async fn run<W: Webhook + 'static>() -> Result<(), Fatal> {
    run_with::<W, _>(|_, _| Ok(Plain)).await
}

/// As [`run`], with what `extend` makes of the environment.
///
/// # Errors
///
/// As [`run`].
pub async fn run_with<W: Webhook + 'static, E: Extension<W>>(
    extend: impl FnOnce(Environment, &SdkConfig) -> Result<E, Fatal>,
) -> Result<(), Fatal> {
    hoopoe_telemetry::init();
    let environment = Environment;
    let networks = AllowedNetworks::from_environment(environment)?;
    let config = client::config(environment)?;
    let keyring = Keyring::new(Place::new(environment, &config)?, W::CHANNEL, Purpose::Webhook);
    let intake = Intake::new(W::CHANNEL, environment, &config)?;
    let handler = Arc::new(Handler {
        clock: Clock::new(&config),
        networks,
        keyring,
        intake,
        extension: extend(environment, &config)?,
    });
    lambda_http::run(service_fn(move |request: Request| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, Error>(handler.handle(&request).await) }
    }))
    .await?;
    Ok(())
}

struct Handler<W: Webhook, E> {
    clock: Clock,
    networks: AllowedNetworks,
    keyring: Keyring<W::Keys>,
    intake: Intake,
    extension: E,
}

impl<W: Webhook, E: Extension<W>> Handler<W, E> {
    async fn handle(&self, request: &Request) -> Response<Body> {
        match self.receive(request).await {
            Ok(response) => response,
            Err(fault) => fault.answer(W::CHANNEL.as_str()),
        }
    }

    async fn receive(&self, request: &Request) -> Result<Response<Body>, Fault> {
        let until = until(request, self.clock.now());
        self.networks.check(request)?;
        let body: &[u8] = request.body();
        if body.len() > W::MAX_BODY {
            return Err(Fault::TooLarge);
        }
        if !matches!(*request.method(), Method::GET | Method::POST) {
            return Err(Fault::Refused(Refusal::Method));
        }
        let bot = bot(W::CHANNEL.as_str(), request.raw_http_path()).ok_or(Fault::NoSuchUrl)?;
        let request = ChannelRequest {
            method: request.method(),
            query: request.uri().query().unwrap_or_default(),
            headers: request.headers(),
            body,
            published: &[],
        };
        let (secret, received) = self.read(&bot, request).await?;
        let channel = [W::CHANNEL.as_str()];
        let (taken, fault) = match <[Incoming; 1]>::try_from(received.messages) {
            Ok([message]) => match self.intake.accept(&bot, message).await {
                Ok(taken) => (vec![taken], None),
                Err(error) => (Vec::new(), Some(error)),
            },
            Err(messages) => self.intake.accept_all(&bot, messages, until).await,
        };
        for message in &taken {
            let metric = if message.accepted.duplicate { metrics::DUPLICATES } else { metrics::RECEIVED };
            metric.add(1, channel);
        }
        if let Some(fault) = fault {
            return Err(fault.into());
        }
        if received.ignored > 0 {
            metrics::IGNORED.add(received.ignored as u64, channel);
        }
        Ok(answer::from_channel(self.extension.answer(&secret.keys, &taken, received.answer).await))
    }

    /// Verifies and reads the request, with the platform's published keys where it signs with such.
    async fn read(&self, bot: &BotId, request: ChannelRequest<'_>) -> Result<(Arc<Secret<W::Keys>>, Received), Fault> {
        let live = self.keyring.get(bot).await?;
        let Some(url) = W::published_keys(&live.current().keys) else { return self.verify(bot, request).await };
        let published = self.extension.published(url, false).await?;
        match self.verify(bot, ChannelRequest { published: &published, ..request }).await {
            Err(Fault::Refused(Refusal::UnknownKey)) => {
                let published = self.extension.published(url, true).await?;
                self.verify(bot, ChannelRequest { published: &published, ..request }).await
            }
            received => received,
        }
    }

    async fn verify(
        &self,
        bot: &BotId,
        request: ChannelRequest<'_>,
    ) -> Result<(Arc<Secret<W::Keys>>, Received), Fault> {
        let now = self.clock.now();
        let receive = |keys: &W::Keys| W::receive(keys, &request, now);
        let verified = self.keyring.verify(bot, receive, |refusal| matches!(refusal, Refusal::Forged(_))).await?;
        Ok((verified.by, verified.value))
    }
}

/// Until when messages may be taken in.
fn until(request: &Request, now: Timestamp) -> Instant {
    let end = request.lambda_context_ref().map(|context| Timestamp::from_millis(context.deadline));
    let left = end.filter(|end| *end > now).map_or(USUAL, |end| end.since(now).saturating_sub(RESERVE));
    Instant::now() + left
}

/// The bot of `/<channel>/<bot>`.
fn bot(channel: &str, path: &str) -> Option<BotId> {
    path.strip_prefix('/')?.strip_prefix(channel)?.strip_prefix('/')?.parse().ok()
}

/// Why a request is not answered with an acknowledgement.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Outside(#[from] OutsideError),
    #[error("the body is larger than this channel's platform sends")]
    TooLarge,
    #[error("there is nothing at this URL; a webhook is at /<channel>/<bot>")]
    NoSuchUrl,
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Keys(#[from] KeyringError),
    #[error(transparent)]
    Intake(#[from] crate::IntakeError),
    #[error(transparent)]
    Unpublished(#[from] UnpublishedError),
}

impl From<VerifyError<Refusal>> for Fault {
    fn from(error: VerifyError<Refusal>) -> Self {
        match error {
            VerifyError::Rejected(refusal) => Self::Refused(refusal),
            VerifyError::Keyring(error) => Self::Keys(error),
        }
    }
}

impl Fault {
    /// The answer, with a line in the log, and a metric where it is this side's fault. A sender that proved nothing learns nothing about what went
    /// wrong inside.
    fn answer(&self, channel: &'static str) -> Response<Body> {
        let (status, kind, message) = match self {
            Self::Outside(_) => (StatusCode::FORBIDDEN, "network", "requests are not taken from here".to_owned()),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", self.to_string()),
            Self::NoSuchUrl => (StatusCode::NOT_FOUND, "not_found", self.to_string()),
            Self::Refused(refusal) => (refusal.status(), refusal.kind(), refusal.to_string()),
            Self::Keys(KeyringError::Missing(_)) => {
                (StatusCode::NOT_FOUND, "not_found", "this bot is not connected".to_owned())
            }
            Self::Keys(_) | Self::Intake(_) | Self::Unpublished(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "try again later".to_owned())
            }
        };
        if status.is_server_error() {
            metrics::WEBHOOK_FAILURES.add(1, [channel]);
            tracing::error!(channel, error = %self, "a webhook request failed");
        } else {
            // Whoever floods the function makes one line a request of it.
            tracing::warn!(Refused = 1, Reason = kind, channel, reason = %self, "a webhook request was refused");
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

    /// Lambda hands a body over as text or in base64, as its media type has it; a signature covers the bytes.
    #[test]
    fn the_body_is_its_bytes_whatever_lambda_made_of_it() {
        let event = |body: &str, encoded: bool| {
            let event = serde_json::json!({
                "version": "2.0", "routeKey": "$default", "rawPath": "/telegram/main", "rawQueryString": "a=%2B&b",
                "headers": {"content-type": "application/octet-stream"}, "body": body, "isBase64Encoded": encoded,
                "requestContext": {"http": {"method": "POST", "path": "/telegram/main"}},
            });
            lambda_http::request::from_str(&event.to_string()).expect("an event of a function URL")
        };
        let (text, encoded) = (event("{\"text\":\"你好\"}", false), event("eyJ0ZXh0Ijoi5L2g5aW9In0=", true));
        assert_eq!(text.body().as_ref(), encoded.body().as_ref());
        assert_eq!(encoded.body().as_ref(), "{\"text\":\"你好\"}".as_bytes());
        assert_eq!(event("//8=", true).body().as_ref(), [0xFF, 0xFF]);
        assert_eq!(text.uri().query(), Some("a=%2B&b"));
    }

    #[test]
    fn a_stranger_learns_nothing_about_the_inside() {
        let fault = Fault::Keys(KeyringError::Call { operation: "decrypting a key", cause: "AccessDenied arn".into() });
        let response = fault.answer("telegram");
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(!String::from_utf8_lossy(response.body()).contains("arn"));
    }

    #[test]
    fn a_caller_from_another_network_learns_no_more_than_that() {
        let fault = Fault::Outside(OutsideError(Some([203, 0, 113, 7].into())));
        assert_eq!(fault.to_string(), "the request comes from 203.0.113.7, which is not in ALLOWED_NETWORKS");
        let response = fault.answer("telegram");
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        let body = String::from_utf8_lossy(response.body());
        assert_eq!(body, r#"{"error":"network","message":"requests are not taken from here"}"#);
    }
}
