//! What Discord posts: one interaction a request ("Interactions", `interactions/receiving-and-responding`).
//!
//! Discord never posts what people merely write; they use a command or press a button. Each wants an answer within 3
//! seconds: a deferred one, which shows that the bot is thinking until the reply takes its place.

use hoopoe_message::{Content, Timestamp};
use http::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Address, Discord, button, is_interaction_token, is_snowflake};
use crate::contract::settings::exposed;
use crate::contract::webhook::{Incoming, Received, Refusal, Request, Response, Webhook, chat, message_id};
use crate::crypto::signature::verify_ed25519_request;

/// How far a request's timestamp may lie from now, in seconds.
///
/// Discord documents no limit. After 15 minutes the interaction's token is over, so an older one could not be answered.
const FRESH_SECONDS: u64 = 900;

/// The types of interactions.
mod interaction {
    pub(super) const PING: u64 = 1;
    pub(super) const APPLICATION_COMMAND: u64 = 2;
    pub(super) const MESSAGE_COMPONENT: u64 = 3;
    pub(super) const AUTOCOMPLETE: u64 = 4;
}

/// What verifies an interaction. The key is public, but keys are kept alike.
#[derive(Debug, Deserialize, Serialize)]
pub struct WebhookKeys {
    pub(super) application_id: String,
    #[serde(serialize_with = "exposed")]
    pub(super) public_key: SecretString,
}

impl Webhook for Discord {
    type Keys = WebhookKeys;

    fn receive(keys: &WebhookKeys, request: &Request<'_>, now: Timestamp) -> Result<Received, Refusal> {
        if request.method != Method::POST {
            return Err(Refusal::Method);
        }
        verify(keys, request, now)?;
        let interaction: Interaction =
            serde_json::from_slice(request.body).map_err(|_| Refusal::Malformed("not an Interaction"))?;
        if interaction.application_id.as_ref().is_some_and(|id| *id != keys.application_id) {
            return Err(Refusal::Malformed("the interaction is for another application than application_id names"));
        }
        match interaction.kind {
            interaction::PING => Ok(Received::question(Response::json(&json!({ "type": 1 })))),
            interaction::AUTOCOMPLETE => {
                Ok(Received::one(None).answered(Response::json(&json!({ "type": 8, "data": { "choices": [] } }))))
            }
            _ if interaction.is_of_a_bot() => Ok(declined()),
            interaction::APPLICATION_COMMAND => {
                let content = interaction.data.as_ref().map_or(Content::Unsupported, Data::command);
                interaction.told(content)
            }
            interaction::MESSAGE_COMPONENT => {
                let custom_id = interaction.data.as_ref().and_then(|data| data.custom_id.as_deref());
                match custom_id.and_then(button::pressed).map(Content::text) {
                    Some(content) => interaction.told(content),
                    // Not one of ours: nothing changes.
                    None => Ok(Received::one(None).answered(Response::json(&json!({ "type": 6 })))),
                }
            }
            _ => Ok(declined()),
        }
    }
}

/// Checks the signature over timestamp and body, then the age ("Overview of Interactions",
/// `interactions/overview#setting-up-an-endpoint`).
fn verify(keys: &WebhookKeys, request: &Request<'_>, now: Timestamp) -> Result<(), Refusal> {
    let mut public_key = [0; 32];
    hex::decode_to_slice(keys.public_key.expose_secret(), &mut public_key)
        .map_err(|_| Refusal::Forged("the public key that is configured is none"))?;
    verify_ed25519_request(&public_key, request, now, FRESH_SECONDS)
}

/// The answer to what the bot has nothing to do with, such as the form of a modal: words that only the person sees. A
/// deferred answer would seem to think for 15 minutes.
fn declined() -> Received {
    let data = json!({ "content": "…", "flags": 64, "allowed_mentions": { "parse": [] } });
    Received::one(None).answered(Response::json(&json!({ "type": 4, "data": data })))
}

/// When an id was made: it holds the milliseconds since the year 2015 ("API reference", `reference#snowflakes`).
fn created_at(snowflake: &str) -> Option<Timestamp> {
    const FIRST: u64 = 1_420_070_400_000;
    let millis = snowflake.parse::<u64>().ok()? >> 22;
    (millis > 0).then(|| Timestamp::from_millis(FIRST + millis))
}

#[derive(Deserialize)]
struct Interaction {
    id: String,
    application_id: Option<String>,
    #[serde(rename = "type")]
    kind: u64,
    data: Option<Data>,
    channel_id: Option<String>,
    /// Who it is, in a server.
    member: Option<Member>,
    /// Who it is, elsewhere.
    user: Option<User>,
    #[serde(default)]
    token: String,
}

#[derive(Deserialize)]
struct Member {
    user: Option<User>,
}

#[derive(Deserialize)]
struct User {
    id: String,
    bot: Option<bool>,
}

/// What a command or a component tells. `name` is the command's own, in whatever language it was shown.
#[derive(Deserialize)]
struct Data {
    name: Option<String>,
    /// The type of the command: 1 is a slash command.
    #[serde(rename = "type")]
    kind: Option<u64>,
    options: Option<Vec<CommandOption>>,
    custom_id: Option<String>,
}

#[derive(Deserialize)]
struct CommandOption {
    value: Option<Value>,
}

impl Interaction {
    fn person(&self) -> Option<&User> {
        self.member.as_ref().and_then(|member| member.user.as_ref()).or(self.user.as_ref())
    }

    fn is_of_a_bot(&self) -> bool {
        self.person().is_some_and(|person| person.bot == Some(true))
    }

    /// A message for the bot, with the deferred answer. A conversation is one person's in one channel.
    fn told(&self, content: Content) -> Result<Received, Refusal> {
        let person = self.person().ok_or(Refusal::Malformed("the interaction names no user"))?;
        let channel = self.channel_id.as_deref().ok_or(Refusal::Malformed("the interaction names no channel"))?;
        if !is_snowflake(&person.id) || !is_snowflake(channel) {
            return Err(Refusal::Malformed("the id of a user or channel is none"));
        }
        if !is_interaction_token(&self.token) {
            return Err(Refusal::Malformed("the interaction has no token"));
        }
        let (id, chat) = (message_id(&self.id)?, chat(&[channel, &person.id]));
        let address = Address { token: self.token.clone() };
        let message = Incoming::new::<Discord>(id, chat, address, content).at(created_at(&self.id));
        Ok(Received::one(Some(message)).answered(Response::json(&json!({ "type": 5 }))))
    }
}

impl Data {
    /// A command as the text it stands for: `/ask` for its question, another for itself with its values behind.
    fn command(&self) -> Content {
        let Some(name) = self.name.as_deref().filter(|_| self.kind.is_none_or(|kind| kind == 1)) else {
            return Content::Unsupported;
        };
        let values = self.options.iter().flatten().filter_map(|option| option.value.as_ref()?.as_str());
        let values = values.map(str::trim).collect::<Vec<_>>().join(" ");
        match (name, values.as_str()) {
            ("ask", "") => Content::text("/help"),
            ("ask", question) => Content::text(question),
            (command, "") => Content::text(&format!("/{command}")),
            (command, values) => Content::text(&format!("/{command} {values}")),
        }
    }
}
