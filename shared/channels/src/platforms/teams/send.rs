//! What Teams is told: an activity in reply ("Send and receive messages with the Bot Connector API",
//! azure/rest-api/bot-framework-rest-connector-send-and-receive-messages), with a token of Microsoft Entra
//! ("Authentication with the Bot Connector API", azure/rest-api/bot-framework-rest-connector-authentication, "Request an
//! access token").
//!
//! The text goes with `textFormat: plain`, "raw text with no formatting applied" ("Format your bot messages",
//! platform/bots/how-to/format-your-bot-messages): it arrives as it was written, and as a mention counts only what an
//! entity says is one.
//!
//! Quick replies are suggested actions of the type `imBack`: a press sends the button's words as a message of the person
//! ("Dynamically guide users with suggested actions", platform/bots/how-to/conversations/suggested-actions: in personal
//! chats, group chats and channels). Teams shows three; where there are more, all of them are numbered lines. They
//! cannot stand below a card or another attachment, so there is none.

use hoopoe_message::{Reply, Timestamp};
use http::{HeaderMap, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Teams;
use super::cloud::Cloud;
use crate::contract::address::address_of;
use crate::contract::rejection::{Rejection, Retry, retry_after};
use crate::contract::sender::{
    AccessToken, ApiRequest, Part, Sender, Unrenderable, suggestions, with_numbered_suggestions,
};
use crate::contract::settings::exposed;
use crate::text::printable;
use crate::text::split::split;

/// A message may have about 100 KB in UTF-16, all its fields counted, and 80 KB are recommended
/// (format-your-bot-messages; older editions say 40 KB). This many units are 20 KB, and below 40 KB even where each of
/// them is escaped in JSON.
const MAX_TEXT_UTF16: usize = 10_000;

/// "The bot can parse up to three actions" (suggested-actions).
const MAX_ACTIONS: usize = 3;

/// What authorises a call.
#[derive(Debug, Deserialize, Serialize)]
pub struct SendKeys {
    #[serde(default)]
    pub(super) api_base: Option<String>,
    pub(super) app_id: String,
    #[serde(serialize_with = "exposed")]
    pub(super) app_password: SecretString,
    #[serde(default)]
    pub(super) cloud: Cloud,
    #[serde(default)]
    pub(super) tenant_id: Option<String>,
}

impl Sender for Teams {
    type Keys = SendKeys;

    /// An activity takes no key that would make the service drop a second one, so no part may be repeated.
    ///
    /// The fallback is the same words without buttons, sent to the conversation and not in reply to the question:
    /// somebody may have deleted that meanwhile.
    fn render(keys: &SendKeys, reply: &Reply, _now: Timestamp) -> Result<Vec<Part>, Unrenderable> {
        let address = address_of::<Self>(reply)?;
        let service = keys.cloud.service(&address.service, keys.api_base.as_deref()).ok_or(Unrenderable::Address)?;
        let conversation = format!("{service}/v3/conversations/{}/activities", encoded(&address.conversation));
        let url = match &address.reply_to {
            Some(activity) => format!("{conversation}/{}", encoded(activity)),
            None => conversation.clone(),
        };

        let actions: Vec<_> = suggestions(reply).map(Action::of).collect();
        let shown = (1..=MAX_ACTIONS).contains(&actions.len());
        let whole = if shown { reply.text.clone() } else { with_numbered_suggestions(reply) };
        let whole = printable(whole);
        let texts = split(&whole, MAX_TEXT_UTF16, char::len_utf16);
        let last = texts.len().saturating_sub(1);
        let numbered;
        let mut plain = texts.clone();
        if shown && let Some(text) = plain.last_mut() {
            numbered = printable(with_numbered_suggestions(&Reply { text: (*text).to_owned(), ..reply.clone() }));
            *text = &numbered;
        }

        let parts = texts.iter().zip(plain).enumerate().map(|(at, (text, plain))| {
            let suggested_actions = (shown && at == last).then_some(SuggestedActions { actions: &actions });
            let reply_to_id = address.reply_to.as_deref();
            let message = Activity { reply_to_id, suggested_actions, ..Activity::of(text) };
            let fallback = (message.reply_to_id.is_some() || message.suggested_actions.is_some())
                .then(|| Activity::of(plain).post(&conversation))
                .transpose()?;
            Ok(Part { fallback, ..Part::once(message.post(&url)?) })
        });
        parts.collect()
    }

    /// Codes are those of "Messages in bot conversations", "Status codes from bot conversational APIs", which also says
    /// what to repeat.
    fn outcome(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), Rejection> {
        let answer = serde_json::from_slice::<Answer>(body);
        if status.is_success() && (answer.is_ok() || body.trim_ascii().is_empty()) {
            return Ok(());
        }
        let code = status.as_u16();
        let Some((error, message)) = answer.ok().and_then(Answer::error) else {
            return Err(match code {
                401 => Rejection::refused("HTTP 401", Retry::NewToken),
                429 => Rejection::refused("HTTP 429", retry_after(headers)),
                _ => Rejection::of_status(status, "Teams"),
            });
        };
        let (retry, hint) = match (code, error.as_str()) {
            (401, "BotNotRegistered") => {
                (Retry::Never, " (is the Microsoft Teams channel of the Azure Bot switched on?)")
            }
            (401, _) => (Retry::NewToken, ""),
            // The buttons, or the message that is answered, may be what is wrong.
            (400, _) | (404, "ActivityNotFoundInConversation") => (Retry::Fallback, ""),
            (403, "ConversationBlockedByUser" | "MessageWritesBlocked") => {
                (Retry::Never, " (the person blocked or uninstalled the bot)")
            }
            (403 | 404, "BotNotInConversationRoster") => {
                (Retry::Never, " (the app has to be added to this chat or team again)")
            }
            (403, "BotDisabledByAdmin") => (Retry::Never, " (an administrator has to allow the app in Teams)"),
            // Of the conversation or of the app in the tenant ("Rate limiting", platform/bots/how-to/rate-limit), which the
            // answer does not tell.
            (429, _) => (retry_after(headers), ""),
            (412 | 502..=504, _) => (Retry::Backoff, ""),
            // 500 among them: "bot must avoid retrying status codes that aren't specified".
            _ => (Retry::Never, ""),
        };
        Err(Rejection::refused(format!("{code} {error} {message}{hint}"), retry))
    }

    fn token_request(keys: &SendKeys) -> Option<http::Result<ApiRequest>> {
        let base = keys.api_base.as_deref().unwrap_or(keys.cloud.login_base());
        let tenant = keys.tenant_id.as_deref().unwrap_or(keys.cloud.login_tenant());
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", &keys.app_id),
            ("client_secret", keys.app_password.expose_secret()),
            ("scope", keys.cloud.scope()),
        ];
        Some(ApiRequest::post_form(&format!("{base}/{tenant}/oauth2/v2.0/token"), &fields))
    }

    /// Errors are those of "Microsoft identity platform and OAuth 2.0 client credentials flow"
    /// (<https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>), whose numbers stand
    /// under "Microsoft Entra authentication and authorization error codes".
    fn read_token(status: StatusCode, body: &[u8]) -> Result<AccessToken, Rejection> {
        let Ok(answer) = serde_json::from_slice::<TokenAnswer>(body) else {
            return Err(Rejection::of_status(status, "Microsoft Entra"));
        };
        let token = AccessToken::of(answer.access_token, answer.expires_in).filter(|_| status.is_success());
        token.ok_or_else(|| {
            let retry = match answer.error.as_str() {
                "temporarily_unavailable" => Retry::Backoff,
                "invalid_client" | "unauthorized_client" => Retry::BadCredential,
                _ => Retry::of_status(status, &HeaderMap::new()),
            };
            let hint = match answer.error_codes.first() {
                Some(7_000_215) => " (app_password is not the Value of a client secret)",
                Some(7_000_222) => " (the client secret has expired)",
                Some(700_016) => " (no such app_id in the tenant; a single-tenant bot needs its tenant_id)",
                _ => "",
            };
            let codes: Vec<_> = answer.error_codes.iter().map(u64::to_string).collect();
            Rejection::refused(format!("{} {} {}{hint}", status.as_u16(), answer.error, codes.join(" ")), retry)
        })
    }
}

fn encoded(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

/// "Activity object" (azure/rest-api/bot-framework-rest-connector-api-reference).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Activity<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    text_format: &'static str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggested_actions: Option<SuggestedActions<'a>>,
}

impl<'a> Activity<'a> {
    const fn of(text: &'a str) -> Self {
        Self { kind: "message", text_format: "plain", text, reply_to_id: None, suggested_actions: None }
    }

    fn post(&self, url: &str) -> http::Result<ApiRequest> {
        let body = serde_json::to_string(self).expect("text serialises");
        Ok(ApiRequest::post_json(url, body)?.with_token("Bearer"))
    }
}

#[derive(Serialize)]
struct SuggestedActions<'a> {
    actions: &'a [Action<'a>],
}

#[derive(Serialize)]
struct Action<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'a str,
    /// What the person sends with a press.
    value: &'a str,
}

impl<'a> Action<'a> {
    const fn of(text: &'a str) -> Self {
        Self { kind: "imBack", title: text, value: text }
    }
}

/// "ErrorResponse object", and what the messaging service behind Teams says in its own form.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    error: Option<ApiError>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Answer {
    /// The code and the words of an error; `None` where there is none.
    fn error(self) -> Option<(String, String)> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Inner {
            sub_code: String,
            #[serde(default)]
            details: Value,
        }
        match (self.error, self.message) {
            (Some(error), _) => Some((error.code, error.message)),
            // JSON within JSON ("Proactive messages", "Understand who blocked, muted, or uninstalled a bot").
            (None, Some(message)) => match serde_json::from_str::<Inner>(&message) {
                Ok(inner) => Some((inner.sub_code, inner.details.as_str().unwrap_or_default().to_owned())),
                Err(_) => Some((String::new(), message)),
            },
            (None, None) => None,
        }
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Option<SecretString>,
    /// Seconds.
    expires_in: Option<u64>,
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_codes: Vec<u64>,
}
