//! What Discord is told: the interaction's own webhook ("Interactions",
//! `interactions/receiving-and-responding#followup-messages`), which needs no token but the interaction's.
//!
//! The first part takes the place of the deferred answer, the others follow it. All that ends 15 minutes after the
//! interaction; there is no other way to the person then.

use std::time::Duration;

use hoopoe_message::{Reply, Timestamp};
use http::header::{RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{API_BASE, Discord, button, markdown};
use crate::contract::address::address_of;
use crate::contract::rejection::{Rejection, Retry, asked_pause};
use crate::contract::sender::{ApiRequest, Part, Sender, Unrenderable};
use crate::text::split::split;

/// How long an interaction's token lives.
const TOKEN_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// "2000 characters". Discord counts code points (discord/discord-api-docs, issue 1315), of which there are never more
/// than UTF-16 units.
const MAX_CONTENT_UTF16: usize = 2000;

/// The longest pause that is believed.
const MAX_PAUSE_SECONDS: f64 = 86_400.0;

/// Whose limit it is, where the status is 429: `user`, `global` or `shared` ("Rate Limits",
/// `topics/rate-limits#header-format`).
const SCOPE: &str = "x-ratelimit-scope";

/// What names the application in a call.
#[derive(Debug, Deserialize, Serialize)]
pub struct SendKeys {
    #[serde(default)]
    pub(super) api_base: Option<String>,
    pub(super) application_id: String,
}

impl SendKeys {
    pub(super) fn api_base(&self) -> &str {
        self.api_base.as_deref().unwrap_or(API_BASE)
    }

    /// A call, with the user agent that Discord asks for ("API Reference", `reference#user-agent`).
    pub(super) fn call(&self, method: Method, path: &str, body: &Value) -> http::Result<ApiRequest> {
        let agent = format!("DiscordBot (https://discord.com/developers/applications/{}, 1)", self.application_id);
        ApiRequest::json(method, &format!("{}{path}", self.api_base()), body.to_string())?
            .header(USER_AGENT.as_str(), &agent)
    }
}

impl Sender for Discord {
    type Keys = SendKeys;

    /// The first part edits a message that is there, so it may be repeated. A message that follows takes no key that
    /// would make Discord drop a second one.
    fn render(keys: &SendKeys, reply: &Reply, _now: Timestamp) -> Result<Vec<Part>, Unrenderable> {
        let address = address_of::<Self>(reply)?;
        let webhook = format!("/webhooks/{}/{}", keys.application_id, address.token);
        let texts = split(&reply.text, MAX_CONTENT_UTF16, markdown::size);
        let last = texts.len().saturating_sub(1);
        let parts = texts.into_iter().enumerate().map(|(at, text)| {
            let call = |body: &Value| match at {
                0 => keys.call(Method::PATCH, &format!("{webhook}/messages/@original"), body),
                _ => keys.call(Method::POST, &webhook, body),
            };
            let mut body = json!({ "content": markdown::escaped(text), "allowed_mentions": { "parse": [] } });
            let rows = if at == last { button::rows(reply) } else { Vec::new() };
            // Buttons are all that Discord might not like.
            let fallback = if rows.is_empty() { None } else { Some(call(&body)?) };
            if !rows.is_empty() {
                body["components"] = rows.into();
            }
            // The first part replaces what stands there, however often, for as long as the interaction's token lives.
            let repeatable_for = (at == 0).then_some(TOKEN_LIFETIME);
            Ok(Part { request: call(&body)?, fallback, repeatable_for, fallback_repeatable_for: repeatable_for })
        });
        parts.collect()
    }

    /// An interaction that Discord does not know yet and one that is over are told apart by the code: for some seconds
    /// after it was deferred, Discord may answer 404 with 10015 or 10008 (discord/discord-api-docs, issue 7220); once
    /// its token is over, 401 with 50027.
    fn outcome(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), Rejection> {
        let answer = serde_json::from_slice::<Answer>(body);
        if status == StatusCode::TOO_MANY_REQUESTS {
            let answer = answer.unwrap_or_default();
            return Err(answer.refused(status, answer.later(headers), ""));
        }
        let answer = answer.map_err(|_| Rejection::of_status(status, "Discord"))?;
        if status.is_success() {
            return Ok(());
        }
        let (retry, hint) = match answer.code {
            10_008 | 10_015 => (Retry::Backoff, " (not deferred yet, deleted by somebody, or over)"),
            10_062 | 50_027 => (Retry::Never, " (Discord takes replies for 15 minutes)"),
            10_002 => (Retry::Never, " (the application_id is not valid)"),
            50_035 => (Retry::Fallback, ""),
            _ if status == StatusCode::NOT_FOUND => (Retry::Backoff, ""),
            _ => (Retry::of_status(status, headers), ""),
        };
        Err(answer.refused(status, retry, hint))
    }
}

/// What a refused call is answered with ("API Reference", `reference#error-messages`; "Rate Limits",
/// `topics/rate-limits#exceeding-a-rate-limit`).
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    /// Of "Opcodes and Status Codes" (`topics/opcodes-and-status-codes#json`); 0 is a general one.
    code: i64,
    message: String,
    /// Seconds, with a fraction.
    retry_after: Option<f64>,
    /// Whether the limit is that of the whole bot, not of one route.
    global: bool,
}

impl Answer {
    /// The pause that the body asks for, or else the headers do. Every interaction's webhook is a route of its own; what
    /// is shared is told as `global`.
    fn later(&self, headers: &HeaderMap) -> Retry {
        let global = self.global || headers.get(SCOPE).is_some_and(|scope| scope == "global");
        let in_body = self.retry_after.filter(|seconds| *seconds >= 0.0);
        let in_body = in_body.map(|seconds| Duration::from_secs_f64(seconds.min(MAX_PAUSE_SECONDS)));
        match in_body.or_else(|| asked_pause(headers, RETRY_AFTER.as_str())) {
            Some(pause) if global => Retry::BotAfter(pause),
            Some(pause) => Retry::After(pause),
            None => Retry::Backoff,
        }
    }

    pub(super) fn refused(&self, status: StatusCode, retry: Retry, hint: &str) -> Rejection {
        let code = if self.code == 0 { i64::from(status.as_u16()) } else { self.code };
        Rejection::refused(format!("{code} {}{hint}", self.message), retry)
    }
}
