//! Which request is answered how.

use std::time::Duration;

use hoopoe_channels::webchat::api::{self, MAX_BODY_BYTES, MAX_WAIT_SECONDS, Message, Messages, Post, Speaker};
use hoopoe_channels::webchat::{InvalidToken, SessionId};
use hoopoe_message::{BotId, Channel, Conversation, Timestamp};
use hoopoe_store::Entry;
use hoopoe_telemetry::metrics;
use hoopoe_webhook::{AllowedNetworks, answer};
use lambda_http::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use lambda_http::http::{HeaderMap, Method, StatusCode};
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt as _, Response};
use serde::Serialize;

use crate::backend::Backend;
use crate::page::Page;
use crate::poll::{self, Found, Spare};
use crate::rate::RateLimit;
use crate::refusal::Refusal;

/// New sessions of one address in a minute. Many people can share an address.
const SESSIONS_PER_MINUTE: u32 = 60;

/// Messages of one session in a minute: more than a person can type.
const MESSAGES_PER_MINUTE: u32 = 40;

/// Requests of one session in a minute for what was said: more than a page makes that is told when to ask again.
const READS_PER_MINUTE: u32 = 120;

/// The page and its API.
#[derive(Debug)]
pub(crate) struct Webchat<B> {
    networks: AllowedNetworks,
    backend: B,
    page: Page,
    sessions: RateLimit,
    messages: RateLimit,
    reads: RateLimit,
    spare: Spare,
}

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Page,
    Session(BotId),
    Messages(BotId),
}

impl<B: Backend> Webchat<B> {
    pub(crate) fn new(networks: AllowedNetworks, backend: B, page: Page) -> Self {
        Self {
            networks,
            backend,
            page,
            sessions: RateLimit::new(SESSIONS_PER_MINUTE),
            messages: RateLimit::new(MESSAGES_PER_MINUTE),
            reads: RateLimit::new(READS_PER_MINUTE),
            spare: Spare::new(),
        }
    }

    /// Answers any request.
    pub(crate) async fn answer(&self, request: &Request) -> Response<Body> {
        match self.route(request).await {
            Ok(response) => response,
            Err(refusal) => {
                let response = refusal.answer();
                if response.status().is_server_error() {
                    metrics::WEBHOOK_FAILURES.add(1, [Channel::Webchat.as_str()]);
                    tracing::error!(error = %refusal, "a web chat request failed");
                } else {
                    // Whoever floods the function makes one line a request of it.
                    tracing::warn!(Refused = 1, Reason = refusal.kind(), reason = %refusal, "a web chat request was refused");
                }
                response
            }
        }
    }

    async fn route(&self, request: &Request) -> Result<Response<Body>, Refusal> {
        self.networks.check(request)?;
        if request.body().len() > MAX_BODY_BYTES {
            return Err(Refusal::TooLarge);
        }
        let route = Route::of(request.raw_http_path()).ok_or(Refusal::NoSuchUrl)?;
        match (request.method(), route) {
            (&Method::GET | &Method::HEAD, Route::Page) => Ok(self.page.answer(request.headers())),
            (&Method::POST, Route::Session(bot)) => self.open(request, &bot).await,
            (&Method::POST, Route::Messages(bot)) => self.post(request, &bot).await,
            (&Method::GET, Route::Messages(bot)) => self.read(request, &bot).await,
            (_, Route::Page) => Err(Refusal::Method("GET, HEAD")),
            (_, Route::Session(_)) => Err(Refusal::Method("POST")),
            (_, Route::Messages(_)) => Err(Refusal::Method("GET, POST")),
        }
    }

    /// Opens a session, or continues the one of the token it comes with.
    async fn open(&self, request: &Request, bot: &BotId) -> Result<Response<Body>, Refusal> {
        same_origin(request.headers())?;
        let now = Timestamp::now();
        self.sessions.count(&address(request), now).map_err(Refusal::TooMany)?;
        let session = if request.headers().contains_key(AUTHORIZATION) {
            self.backend.verify(bot, bearer(request.headers())?, now).await?
        } else {
            let mut bytes = [0; 16];
            getrandom::fill(&mut bytes).map_err(Refusal::Random)?;
            SessionId::from_random(bytes)
        };
        Ok(json(StatusCode::CREATED, &self.backend.mint(bot, &session, now).await?))
    }

    /// Takes a message in.
    async fn post(&self, request: &Request, bot: &BotId) -> Result<Response<Body>, Refusal> {
        if !is_json(request.headers()) {
            return Err(Refusal::MediaType);
        }
        let session = self.session(request, bot).await?;
        self.messages.count(session.as_str(), Timestamp::now()).map_err(Refusal::TooMany)?;
        let post = Post::read(request.body())?;
        let accepted = self.backend.accept(bot, post.incoming(&session)).await?;
        // Also for a duplicate: perhaps the function died the first time before it came here. An event is a question
        // without words: it is not shown, and its answer is awaited as any other.
        let words = post.text().unwrap_or_default();
        let conversation = conversation(bot, &session);
        self.backend.put_question(&conversation, accepted.number, words, accepted.received_at).await?;
        let metric = if accepted.duplicate { metrics::DUPLICATES } else { metrics::RECEIVED };
        metric.add(1, [Channel::Webchat.as_str()]);
        Ok(json(StatusCode::ACCEPTED, &api::Accepted { seq: 2 * accepted.number }))
    }

    /// Reads the conversation, and waits for the bot where the client wants that.
    async fn read(&self, request: &Request, bot: &BotId) -> Result<Response<Body>, Refusal> {
        let (after, wait) = query(request.uri().query().unwrap_or_default())?;
        let session = self.session(request, bot).await?;
        self.reads.count(session.as_str(), Timestamp::now()).map_err(Refusal::TooMany)?;
        let conversation = conversation(bot, &session);
        let Found { entries, retry_after } =
            poll::messages(&self.backend, &self.spare, &conversation, after, wait).await?;
        let shown = entries.into_iter().filter(|entry| !entry.text.is_empty());
        let retry_after_ms = retry_after.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        Ok(json(StatusCode::OK, &Messages { messages: shown.map(message).collect(), retry_after_ms }))
    }

    /// The session of the token that every request but the first carries.
    async fn session(&self, request: &Request, bot: &BotId) -> Result<SessionId, Refusal> {
        same_origin(request.headers())?;
        let token = bearer(request.headers())?;
        Ok(self.backend.verify(bot, token, Timestamp::now()).await?)
    }
}

impl Route {
    /// The page stands at `/` too, so that the function's bare URL shows something.
    fn of(path: &str) -> Option<Self> {
        if path == "/" {
            return Some(Self::Page);
        }
        let mut parts = path.strip_prefix("/webchat/")?.split('/');
        let bot = parts.next()?.parse().ok()?;
        match (parts.next(), parts.next()) {
            (None, None) => Some(Self::Page),
            (Some("session"), None) => Some(Self::Session(bot)),
            (Some("messages"), None) => Some(Self::Messages(bot)),
            _ => None,
        }
    }
}

/// Keeps other sites' pages out. A browser says where a request comes from by `Sec-Fetch-Site`, an old one by `Origin`
/// alone; what sends neither is no browser, and nothing it does is done in the name of a person who does not know.
fn same_origin(headers: &HeaderMap) -> Result<(), Refusal> {
    let of_this_origin = match (headers.get("sec-fetch-site"), headers.get(ORIGIN)) {
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => {
            let host = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
            host.is_some() && host == headers.get(HOST).and_then(|host| host.to_str().ok())
        }
        (None, None) => true,
    };
    if of_this_origin { Ok(()) } else { Err(Refusal::CrossSite) }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    Ok(token.ok_or(InvalidToken::Malformed)?)
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()?.split(';').next());
    media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
}

/// `after` and `wait`, each zero where it is missing.
fn query(query: &str) -> Result<(u64, Duration), Refusal> {
    let (mut after, mut wait) = (0, 0);
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let number = || value.parse().map_err(|_| Refusal::Query);
        match name {
            "after" => after = number()?,
            "wait" => wait = number()?,
            _ => {}
        }
    }
    Ok((after, Duration::from_secs(wait.min(MAX_WAIT_SECONDS))))
}

/// Where a request comes from, as Lambda saw it.
fn address(request: &Request) -> String {
    match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.http.source_ip.clone().unwrap_or_default(),
        _ => String::new(),
    }
}

fn conversation(bot: &BotId, session: &SessionId) -> Conversation {
    Conversation { channel: Channel::Webchat, bot: bot.clone(), chat: session.as_str().to_owned() }
}

fn message(entry: Entry) -> Message {
    let from = if entry.is_reply() { Speaker::Bot } else { Speaker::You };
    Message { seq: entry.seq, from, text: entry.text, suggestions: entry.suggestions, at: entry.at }
}

fn json<T: Serialize>(status: StatusCode, body: &T) -> Response<Body> {
    let body = serde_json::to_string(body).expect("strings and numbers serialise");
    answer::with_body(status, "application/json", body)
}

#[cfg(test)]
mod tests;
