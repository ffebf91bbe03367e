//! Events of the Events API (<https://docs.slack.dev/reference/events>).
//!
//! Answered: direct messages (`message.im`); in channels what mentions the bot (`app_mention`), and where the app is
//! subscribed to all messages (`message.channels`, `.groups`, `.mpim`) also what begins with the prefix of the
//! settings and replies in threads that the bot began; and being invited to a channel or removed from one. Everything
//! else is acknowledged and left: edits, deletions, channel notices, what apps and Slackbot say, other members coming
//! and going, and `app_home_opened`, which comes each time a person looks.

use hoopoe_message::{ChannelEvent, Content, MessageId};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::receive::WebhookKeys;
use super::{Address, Slack, text};
use crate::contract::webhook::{Incoming, Moment, Received, Refusal, Response, chat, message_id};
use crate::text::group;

/// Reads the body of a verified request.
pub(super) fn read(keys: &WebhookKeys, body: &[u8]) -> Result<Received, Refusal> {
    let posted = serde_json::from_slice(body).map_err(|_| Refusal::Malformed("not an event"))?;
    match posted {
        // <https://docs.slack.dev/reference/events/url_verification>; it names no app.
        Posted::UrlVerification { challenge } => Ok(Received::question(Response::ok(challenge))),
        Posted::EventCallback(callback) => {
            keys.check_app(callback.api_app_id.as_deref())?;
            let id = message_id(&callback.event_id)?;
            let sent_at = callback.event_time.0;
            Ok(Received::one(callback.told(keys, id).map(|message| message.at(sent_at))))
        }
        Posted::Other => Ok(Received::one(None)),
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Posted {
    UrlVerification {
        challenge: String,
    },
    EventCallback(Box<Callback>),
    /// Among them `app_rate_limited`: more than 30,000 events in an hour.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Callback {
    api_app_id: Option<String>,
    event_id: String,
    #[serde(default)]
    event_time: Moment,
    #[serde(default)]
    authorizations: Vec<Authorization>,
    event: Event,
}

/// For whom the event is visible: of a bot's installation, the bot.
#[derive(Deserialize)]
struct Authorization {
    user_id: Option<String>,
    #[serde(default)]
    is_bot: bool,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    Message(Message),
    AppMention(Message),
    MemberJoinedChannel(Membership),
    MemberLeftChannel(Membership),
    /// The bot left a public channel, or was removed.
    ChannelLeft(Membership),
    /// The same of a private one.
    GroupLeft(Membership),
    #[serde(other)]
    Other,
}

/// Some kinds lack one field or another that those to be answered have.
#[derive(Deserialize)]
struct Message {
    channel: Option<String>,
    /// `im`, `mpim`, `channel` or `group`; a mention has none.
    channel_type: Option<String>,
    user: Option<String>,
    bot_id: Option<IgnoredAny>,
    subtype: Option<String>,
    edited: Option<IgnoredAny>,
    text: Option<String>,
    ts: Option<String>,
    thread_ts: Option<String>,
    /// Who began the thread.
    parent_user_id: Option<String>,
    files: Option<Vec<IgnoredAny>>,
    /// Among them a message that is passed on.
    attachments: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct Membership {
    channel: Option<String>,
    user: Option<String>,
    inviter: Option<String>,
    /// Who made the bot leave.
    actor_id: Option<String>,
}

impl Callback {
    fn told(self, keys: &WebhookKeys, id: MessageId) -> Option<Incoming> {
        let bot = self.authorizations.into_iter().find(|given| given.is_bot).and_then(|given| given.user_id);
        let bot = bot.as_deref();
        match self.event {
            Event::Message(message) => message.told(keys, id, bot, false),
            Event::AppMention(message) => message.told(keys, id, bot, true),
            Event::MemberJoinedChannel(change) if change.is_of(bot) => {
                let Membership { channel, user, inviter, .. } = change;
                happened(id, &channel?, &inviter.or(user)?, ChannelEvent::Joined)
            }
            Event::MemberLeftChannel(change) if change.is_of(bot) => {
                happened(id, &change.channel?, &change.user?, ChannelEvent::Left)
            }
            Event::ChannelLeft(change) | Event::GroupLeft(change) => {
                happened(id, &change.channel?, &change.actor_id?, ChannelEvent::Left)
            }
            Event::MemberJoinedChannel(_) | Event::MemberLeftChannel(_) | Event::Other => None,
        }
    }
}

impl Membership {
    fn is_of(&self, bot: Option<&str>) -> bool {
        bot.is_some() && self.user.as_deref() == bot
    }
}

/// What happened to a channel is told to the conversation of the member who did it.
fn happened(id: MessageId, channel: &str, person: &str, event: ChannelEvent) -> Option<Incoming> {
    let address = Address { channel: channel.to_owned(), thread: None, only: None };
    Some(Incoming::new::<Slack>(id, chat(&[channel, person]), address, Content::Event(event)))
}

impl Message {
    /// `mention`: it came as `app_mention`, which there is none of in direct messages.
    fn told(self, keys: &WebhookKeys, id: MessageId, bot: Option<&str>, mention: bool) -> Option<Incoming> {
        let files = [&self.files, &self.attachments].into_iter().flatten().any(|files| !files.is_empty());
        let user = self.user.filter(|user| user != "USLACKBOT" && Some(user.as_str()) != bot)?;
        let new = matches!(self.subtype.as_deref(), None | Some("file_share" | "thread_broadcast"));
        if self.bot_id.is_some() || self.edited.is_some() || !new {
            return None;
        }
        let text::Heard { words, mentions_bot } = text::heard(&self.text.unwrap_or_default(), bot);
        let private = self.channel_type.as_deref() == Some("im");
        let in_bots_thread = bot.is_some() && self.parent_user_id.as_deref() == bot;
        let (words, called) = if private || mention {
            (words.as_str(), mentions_bot || mention)
        } else if mentions_bot {
            // It comes as `app_mention` too.
            return None;
        } else if let Some(rest) = keys.group_prefix.as_ref().and_then(|prefix| group::without_prefix(&words, prefix)) {
            (rest, true)
        } else if in_bots_thread {
            (words.as_str(), false)
        } else {
            return None;
        };
        if words.is_empty() && !called && !files {
            return None;
        }
        let content = group::said(words, files);
        let channel = self.channel?;
        let chat = chat(&[&channel, &user]);
        // In a channel the answer stays with its question; in a direct message only where a thread is there already.
        let thread = self.thread_ts.or(if private { None } else { Some(self.ts?) });
        Some(Incoming::new::<Slack>(id, chat, Address { channel, thread, only: None }, content))
    }
}
