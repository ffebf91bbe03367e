//! What the service posts: one `Activity` a request ("Messages in bot conversations",
//! platform/bots/how-to/conversations/conversation-messages; "Conversation events",
//! platform/bots/how-to/conversations/subscribe-to-conversation-events).
//!
//! Answered: messages in personal chats; in group chats and channels those that mention the bot; and being installed or
//! removed (`installationUpdate`). A press of a quick reply is an ordinary message, to which Teams adds the mention.
//!
//! Everything else is acknowledged and left. Of `conversationUpdate` that is on purpose: that the bot came, it tells a
//! second time, and not at all where the bot comes back to a personal chat or leaves one; and a bot is asked not to
//! greet when "a team member is added to a group or channel" (channel-and-group-conversations).
//!
//! The service wants a 2xx within 15 seconds; no body is asked for.

use hoopoe_message::{ChannelEvent, Content, Timestamp};
use http::Method;
use http::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cloud::Cloud;
use super::jwt::{self, Expected, Verified};
use super::words::{is_same, of_html, without_mentions};
use super::{Address, Teams};
use crate::contract::webhook::{Incoming, Moment, Received, Refusal, Request, Webhook, chat, message_id};
use crate::text::group;

/// The `channelId` of Teams. The same bot may be reached by others, such as Web Chat; those are not this channel.
const CHANNEL: &str = "msteams";

/// The longest id of a conversation or an activity; real ones have up to some 200 bytes.
const MAX_ID_BYTES: usize = 512;

/// What verifies an activity.
#[derive(Debug, Deserialize, Serialize)]
pub struct WebhookKeys {
    #[serde(default)]
    pub(super) api_base: Option<String>,
    pub(super) app_id: String,
    #[serde(default)]
    pub(super) cloud: Cloud,
    /// The metadata of the signing keys, where it is not the cloud's own.
    #[serde(default)]
    pub(super) openid_url: Option<String>,
    /// The only tenant whose people the bot answers.
    #[serde(default)]
    pub(super) tenant_id: Option<String>,
}

impl Webhook for Teams {
    /// A message may have some 100 KB, and comes as text and as HTML.
    const MAX_BODY: usize = 256 * 1024;

    type Keys = WebhookKeys;

    /// The token proves who speaks, but does not cover the body: whoever gets hold of one can have the bot hear other
    /// words until the token's time is over, an hour later. So nothing in the body is trusted to direct the answer:
    /// its service URL has to be the token's.
    fn receive(keys: &WebhookKeys, request: &Request<'_>, now: Timestamp) -> Result<Received, Refusal> {
        if request.method != Method::POST {
            return Err(Refusal::Method);
        }
        if request.headers.get_all(AUTHORIZATION).iter().count() > 1 {
            return Err(Refusal::Forged("there are several tokens"));
        }
        let authorization = request.header("authorization").ok_or(Refusal::Forged("the token is missing"))?;
        let expected = Expected { issuer: keys.cloud.issuer(), audience: &keys.app_id };
        let verified = jwt::verify(authorization, request.published, &expected, now)?;

        let activity: Activity =
            serde_json::from_slice(request.body).map_err(|_| Refusal::Malformed("not an Activity"))?;
        belongs(&verified, &activity)?;
        if activity.channel_id != CHANNEL {
            return Ok(Received::one(None));
        }
        of_tenant(keys, &activity)?;
        let service = keys.cloud.service(&activity.service_url, keys.api_base.as_deref());
        let service = service.ok_or(Refusal::Forged("the service URL is not one of Microsoft's for Teams"))?;
        Ok(Received::one(read(&activity, service)?))
    }

    fn published_keys(keys: &WebhookKeys) -> Option<&str> {
        Some(keys.openid_url.as_deref().unwrap_or(keys.cloud.openid_url()))
    }
}

/// Whether the token was given for this activity.
///
/// As in Microsoft's SDKs (PyPI botframework-connector, `JwtTokenExtractor` and `ChannelValidation`) a key that has
/// endorsements is good for the channels among them, and one without for all.
fn belongs(verified: &Verified<'_>, activity: &Activity) -> Result<(), Refusal> {
    let endorsements = &verified.key.endorsements;
    if !endorsements.is_empty() && !endorsements.contains(&activity.channel_id) {
        return Err(Refusal::Forged("the key is not endorsed for the activity's channel"));
    }
    let [told, signed] = [&activity.service_url, &verified.service_url].map(|url| url.strip_suffix('/').unwrap_or(url));
    if told == signed { Ok(()) } else { Err(Refusal::Forged("the token is for another service URL")) }
}

/// Whether the activity is of the tenant that the bot is for, where there is one. Every activity of Teams names it
/// ("Messages in bot conversations", "Teams channel data": "passed in all contexts").
fn of_tenant(keys: &WebhookKeys, activity: &Activity) -> Result<(), Refusal> {
    let Some(own) = &keys.tenant_id else { return Ok(()) };
    let conversation = activity.conversation.as_ref().and_then(|conversation| conversation.tenant_id.as_deref());
    let channel = activity.channel_data.as_ref().and_then(|data| data["tenant"]["id"].as_str());
    let mut told = [conversation, channel].into_iter().flatten().peekable();
    let same = told.peek().is_some() && told.all(|tenant| is_same(tenant, own));
    if same { Ok(()) } else { Err(Refusal::Forged("the activity is not of the tenant that is configured")) }
}

/// Reads a verified activity; `None` where it does not concern the bot.
fn read(activity: &Activity, service: String) -> Result<Option<Incoming>, Refusal> {
    let told = match activity.kind.as_str() {
        "message" => activity.said().map(|content| (content, activity.id.clone().filter(|id| is_id(id)))),
        // An upgrade of the app (`add-upgrade`, `remove-upgrade`) changes nothing for the person.
        "installationUpdate" => match activity.action.as_deref() {
            Some("add") => Some((Content::Event(ChannelEvent::Joined), None)),
            Some("remove") => Some((Content::Event(ChannelEvent::Left), None)),
            _ => None,
        },
        _ => None,
    };
    let Some((content, reply_to)) = told else { return Ok(None) };
    let id = message_id(activity.id.as_deref().unwrap_or_default())?;
    let conversation = activity.conversation.as_ref().filter(|conversation| is_id(&conversation.id));
    let conversation = conversation.ok_or(Refusal::Malformed("the activity has no conversation"))?;
    let person = activity.from.as_ref().map(|from| from.id.as_str()).filter(|id| is_id(id));
    let person = person.ok_or(Refusal::Malformed("the activity is from nobody"))?;
    let room = &conversation.id;
    let chat = if conversation.is_group() { chat(&[room, person]) } else { chat(&[room]) };
    let address = Address { service, conversation: room.clone(), reply_to };
    Ok(Some(Incoming::new::<Teams>(id, chat, address, content).at(activity.timestamp.0)))
}

/// Whether a text can be an id that goes into a URL.
fn is_id(text: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// "Activity object" (azure/rest-api/bot-framework-rest-connector-api-reference).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Activity {
    #[serde(rename = "type")]
    kind: String,
    id: Option<String>,
    #[serde(default)]
    timestamp: Moment,
    channel_id: String,
    service_url: String,
    from: Option<Account>,
    recipient: Option<Account>,
    conversation: Option<Conversation>,
    text: Option<String>,
    text_format: Option<String>,
    attachments: Option<Vec<Attachment>>,
    /// Of many kinds, each with fields of its own.
    entities: Option<Vec<Value>>,
    /// What happened to the installation.
    action: Option<String>,
    /// What Teams adds; its form depends on what happened.
    channel_data: Option<Value>,
}

#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    id: String,
    role: Option<String>,
}

impl Account {
    /// "The bot's `Id` generally is `28:<MicrosoftAppId>`", and so is any other bot's; people have `29:` and others.
    fn is_bot(&self) -> bool {
        self.id.starts_with("28:") || matches!(self.role.as_deref(), Some("bot" | "skill"))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conversation {
    #[serde(default)]
    id: String,
    conversation_type: Option<String>,
    is_group: Option<bool>,
    tenant_id: Option<String>,
}

impl Conversation {
    /// Whether several people talk here; what is not known counts as such, for there the bot keeps to itself.
    fn is_group(&self) -> bool {
        match self.conversation_type.as_deref() {
            Some(kind) => kind != "personal",
            None => self.is_group.unwrap_or(true),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attachment {
    #[serde(default)]
    content_type: String,
    content: Option<Value>,
}

impl Attachment {
    /// The HTML of a message: Teams attaches it to every one with formatting or mentions, and it is no file.
    fn html(&self) -> Option<&str> {
        let html = self.content_type.eq_ignore_ascii_case("text/html");
        html.then(|| self.content.as_ref().and_then(Value::as_str).unwrap_or_default())
    }

    /// Whether it is a file, a picture or a card; a sticker or a forwarded message is a tag in HTML.
    fn is_media(&self) -> bool {
        const TAGS: [&str; 5] = ["<img", "<attachment", "<video", "<audio", "<object"];
        self.html().is_none_or(|html| TAGS.iter().any(|tag| html.contains(tag)))
    }
}

impl Activity {
    /// What a message says to the bot; `None` where it says nothing, or not to the bot.
    fn said(&self) -> Option<Content> {
        let (from, conversation) = (self.from.as_ref()?, self.conversation.as_ref()?);
        let bot = self.recipient.as_ref().map_or("", |recipient| recipient.id.as_str());
        if from.is_bot() || is_same(&from.id, bot) {
            return None;
        }
        let attachments = self.attachments.as_deref().unwrap_or_default();
        let text = self.text.as_deref().filter(|text| !text.trim().is_empty());
        // Some messages come with their HTML alone.
        let html = || attachments.iter().find_map(Attachment::html).map(of_html);
        let text = text.map(str::to_owned).or_else(html).unwrap_or_default();

        let entities = self.entities.as_deref().unwrap_or_default();
        let (mut text, mentioned) = without_mentions(&text, entities, bot);
        if conversation.is_group() && !mentioned {
            return None;
        }
        // The other formats, `plain` and `markdown`, are as the person typed them.
        if self.text_format.as_deref() == Some("xml") {
            text = of_html(&text);
        }
        let media = attachments.iter().any(Attachment::is_media);
        // A form that was sent, which is none of ours, says nothing and mentions nobody.
        (mentioned || media || !text.is_empty()).then(|| group::said(&text, media))
    }
}
