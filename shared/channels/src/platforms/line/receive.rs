//! What LINE posts: any number of events a request, of any of the bot's chats ("Webhooks",
//! <https://developers.line.biz/en/reference/messaging-api/#webhooks>). A request without events asks whether the bot
//! is there: the console's Verify button.
//!
//! Answered: messages in private; in groups and multi-person chats the texts that mention the bot, begin with the
//! configured prefix, or are one of our commands; and being added, joined, blocked or removed. A reply to the bot is not
//! known as one: LINE tells the id of the quoted message (`quotedMessageId`), and neither its author nor its words.
//! Everything else is acknowledged and left. LINE does not tell a bot what it says itself, and lets only one official
//! account into a group.

use std::ops::Range;

use hoopoe_message::{ChannelEvent, Command, Content, Timestamp};
use http::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{Address, Line};
use crate::contract::settings::exposed;
use crate::contract::webhook::{Incoming, Moment, Received, Refusal, Request, Webhook, chat, message_id, utf16_range};
use crate::crypto::signature::verify_hmac_base64;
use crate::text::group;

/// The header that carries the signature ("Verify webhook signature",
/// <https://developers.line.biz/en/docs/messaging-api/verify-webhook-signature/>).
const SIGNATURE: &str = "x-line-signature";

/// A longer id or token is not taken along. LINE's ids are 33 characters, reply tokens about 32 and quote tokens about
/// 150; no length of the tokens is promised.
const MAX_TOKEN_BYTES: usize = 512;

/// What verifies a webhook, and what tells that a group's message is for this bot.
#[derive(Debug, Deserialize, Serialize)]
pub struct WebhookKeys {
    /// Where it is known, events for another bot are refused.
    #[serde(default)]
    pub(super) bot_user_id: Option<String>,
    #[serde(serialize_with = "exposed")]
    pub(super) channel_secret: SecretString,
    #[serde(default)]
    pub(super) group_prefix: Option<String>,
}

impl Webhook for Line {
    /// LINE documents no limit; a hundred short events have 43 KB, and as many long texts some 500.
    const MAX_BODY: usize = 1024 * 1024;

    type Keys = WebhookKeys;

    fn receive(keys: &WebhookKeys, request: &Request<'_>, _now: Timestamp) -> Result<Received, Refusal> {
        if request.method != Method::POST {
            return Err(Refusal::Method);
        }
        let given = request.header(SIGNATURE).ok_or(Refusal::Forged("the signature is missing"))?;
        verify_hmac_base64(keys.channel_secret.expose_secret().as_bytes(), &[request.body], given)?;
        let callback: Callback =
            serde_json::from_slice(request.body).map_err(|_| Refusal::Malformed("not a webhook of LINE"))?;
        // Whom an empty request names is not documented.
        let theirs = keys.bot_user_id.as_ref().is_some_and(|own| callback.destination.as_ref() != Some(own));
        if theirs && !callback.events.is_empty() {
            return Err(Refusal::Forged("the events are for another bot"));
        }
        let mut told = Vec::with_capacity(callback.events.len());
        for event in callback.events {
            event.read(keys, &mut told)?;
        }
        Ok(Received::many(told))
    }
}

/// "Request body", <https://developers.line.biz/en/reference/messaging-api/#request-body>
#[derive(Deserialize)]
struct Callback {
    destination: Option<String>,
    events: Vec<Event>,
}

/// "Webhook event objects", <https://developers.line.biz/en/reference/messaging-api/#webhook-event-objects>
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum Event {
    Message {
        #[serde(flatten)]
        common: Common,
        message: Message,
    },
    /// A person added the account as a friend, or unblocked it.
    Follow(Common),
    /// A person blocked it.
    Unfollow(Common),
    /// The account came into a group.
    Join(Common),
    /// It is out of it.
    Leave(Common),
    MemberJoined(Common),
    MemberLeft {
        #[serde(flatten)]
        common: Common,
        left: Members,
    },
    /// `unsend`, `postback` (none of our buttons causes it), `videoPlayComplete`, `beacon`, `accountLink`, `membership`,
    /// those of modules and of notification messages, and those to come: LINE announces none of them in advance.
    #[serde(other)]
    Other,
}

/// "Common properties", <https://developers.line.biz/en/reference/messaging-api/#common-properties>
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Common {
    /// Stays the same when LINE delivers the event once more.
    webhook_event_id: String,
    /// Also the time of the event, not of its delivery.
    #[serde(default)]
    timestamp: Moment,
    #[serde(default)]
    mode: String,
    source: Option<Source>,
    reply_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    #[serde(rename = "type")]
    kind: String,
    user_id: Option<String>,
    group_id: Option<String>,
    room_id: Option<String>,
}

#[derive(Deserialize)]
struct Members {
    #[serde(default)]
    members: Vec<Source>,
}

/// "Message event", <https://developers.line.biz/en/reference/messaging-api/#message-event>
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum Message {
    Text(Text),
    /// `image`, `video`, `audio`, `file`, `location`, `sticker`, and whatever else people will be able to send.
    #[serde(other)]
    Media,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Text {
    text: String,
    mention: Option<Mention>,
    quote_token: Option<String>,
}

#[derive(Deserialize)]
struct Mention {
    #[serde(default)]
    mentionees: Vec<Mentionee>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mentionee {
    /// In UTF-16 code units, as is the length ("Character counting in a text",
    /// <https://developers.line.biz/en/docs/messaging-api/text-character-count/>).
    index: usize,
    length: usize,
    /// A mention of everybody has none.
    #[serde(default)]
    is_self: bool,
}

/// Where an event comes from.
#[derive(Clone, Copy)]
enum Place<'a> {
    Private(&'a str),
    /// A group, or a multi-person chat of an older LINE.
    Group(&'a str),
}

impl<'a> Place<'a> {
    /// Its id, and whether it is a group.
    const fn parts(self) -> (&'a str, bool) {
        match self {
            Self::Private(id) => (id, false),
            Self::Group(id) => (id, true),
        }
    }
}

impl Source {
    fn place(&self) -> Option<Place<'_>> {
        match self.kind.as_str() {
            "user" => self.user().map(Place::Private),
            "group" => self.group_id.as_deref().filter(|id| is_bounded(id)).map(Place::Group),
            "room" => self.room_id.as_deref().filter(|id| is_bounded(id)).map(Place::Group),
            _ => None,
        }
    }

    /// Who caused the event, where LINE says.
    fn user(&self) -> Option<&str> {
        self.user_id.as_deref().filter(|id| is_bounded(id))
    }
}

fn is_bounded(token: &str) -> bool {
    (1..=MAX_TOKEN_BYTES).contains(&token.len())
}

impl Event {
    /// Adds what the event tells the bot: a message, several, or nothing.
    fn read(self, keys: &WebhookKeys, told: &mut Vec<Option<Incoming>>) -> Result<(), Refusal> {
        match self {
            Self::Message { common, message } => told.push(common.message(keys, message)?),
            Self::Follow(common) | Self::Join(common) | Self::MemberJoined(common) => {
                told.push(common.change(ChannelEvent::Joined)?);
            }
            Self::Unfollow(common) | Self::Leave(common) => told.push(common.change(ChannelEvent::Left)?),
            Self::MemberLeft { common, left } => {
                let before = told.len();
                for member in left.members {
                    told.extend(common.member_left(&member)?.map(Some));
                }
                if told.len() == before {
                    told.push(None);
                }
            }
            Self::Other => told.push(None),
        }
        Ok(())
    }
}

impl Common {
    /// Where the event comes from; `None` where nobody said anything to the bot, or a module is talking in its place
    /// (`standby`: "the bot server shouldn't send any messages").
    fn place(&self) -> Option<Place<'_>> {
        self.source.as_ref().filter(|_| self.mode != "standby")?.place()
    }

    fn address(&self, place: Place<'_>, quote_token: Option<String>) -> Address {
        let reply_token = self.reply_token.clone().filter(|token| is_bounded(token));
        let (to, group) = place.parts();
        Address { to: to.to_owned(), group, reply_token, quote_token }
    }

    fn message(&self, keys: &WebhookKeys, message: Message) -> Result<Option<Incoming>, Refusal> {
        let Some(place) = self.place() else { return Ok(None) };
        let (to, group) = place.parts();
        let (content, quote_token) = match message {
            Message::Text(text) => (text.content(keys, group), text.quote_token),
            // In a group it cannot be for the bot: it mentions nobody.
            Message::Media => ((!group).then_some(Content::Unsupported), None),
        };
        let Some(content) = content else { return Ok(None) };
        let chat = if group {
            // LINE does not name everybody in a group. Who has no name here gets each message answered by itself: in a
            // conversation of the group's one would see what belongs to another.
            let member = self.source.as_ref().and_then(Source::user);
            chat(&[to, member.unwrap_or(&self.webhook_event_id)])
        } else {
            chat(&[to])
        };
        let quote_token = quote_token.filter(|token| group && is_bounded(token));
        let address = self.address(place, quote_token);
        let id = message_id(&self.webhook_event_id)?;
        Ok(Some(Incoming::new::<Line>(id, chat, address, content).at(self.timestamp.0)))
    }

    /// A change that LINE tells of a person or of a group as a whole. That members joined counts as the latter: the
    /// welcome is for all of them at once.
    fn change(&self, event: ChannelEvent) -> Result<Option<Incoming>, Refusal> {
        let Some(place) = self.place() else { return Ok(None) };
        let (id, address) = (message_id(&self.webhook_event_id)?, self.address(place, None));
        let chat = chat(&[place.parts().0]);
        Ok(Some(Incoming::new::<Line>(id, chat, address, Content::Event(event)).at(self.timestamp.0)))
    }

    /// A member's conversation ends with their membership.
    fn member_left(&self, member: &Source) -> Result<Option<Incoming>, Refusal> {
        let (Some(place), Some(person)) = (self.place(), member.user()) else { return Ok(None) };
        let (id, address) = (message_id(&self.webhook_event_id)?, self.address(place, None));
        let (chat, content) = (chat(&[place.parts().0, person]), Content::Event(ChannelEvent::Left));
        Ok(Some(Incoming::new::<Line>(id, chat, address, content).at(self.timestamp.0)))
    }
}

impl Text {
    /// What the text says to the bot; `None` where it says nothing, or not to the bot.
    fn content(&self, keys: &WebhookKeys, group: bool) -> Option<Content> {
        let mentions = self.mention.iter().flat_map(|mention| &mention.mentionees);
        let (said, mentioned) = without_mentions(&self.text, mentions);
        let commanded = Command::parse(&said).is_some();
        let prefix = keys.group_prefix.as_ref().filter(|_| group && !commanded);
        let prefixed = prefix.and_then(|prefix| group::without_prefix(&said, prefix));
        let addressed = mentioned || prefixed.is_some();
        if group && !addressed && !commanded {
            return None;
        }
        let said = prefixed.unwrap_or(&said).trim();
        (addressed || !said.is_empty()).then(|| group::said(said, false))
    }
}

/// The text without the mentions of this bot, and whether there were any.
fn without_mentions<'a>(text: &str, mentions: impl Iterator<Item = &'a Mentionee>) -> (String, bool) {
    let ours: Vec<&Mentionee> = mentions.filter(|mention| mention.is_self).collect();
    let places = ours.iter().filter_map(|mention| utf16_range(text, mention.index, mention.length));
    let mut places: Vec<Range<usize>> = places.collect();
    places.sort_unstable_by_key(|range| range.start);
    let mut rest = String::with_capacity(text.len());
    let mut done = 0;
    for range in places {
        if range.start >= done {
            rest.push_str(&text[done..range.start]);
            done = text.len() - text[range.end..].trim_start_matches(' ').len();
        }
    }
    rest.push_str(&text[done..]);
    let mentioned = !ours.is_empty();
    if mentioned {
        rest = group::unaddressed(&rest).to_owned();
    }
    (rest, mentioned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mentions_are_taken_out_in_any_order() {
        let mentionee = |index, length, is_self| Mentionee { index, length, is_self };
        let read = |text, mentions: &[Mentionee]| without_mentions(text, mentions.iter());
        let text = "🐦 @bot hi @Ada @bot bye";
        let mentions = [mentionee(16, 4, true), mentionee(11, 4, false), mentionee(3, 4, true)];
        assert_eq!(read(text, &mentions), ("🐦 hi @Ada bye".to_owned(), true));
        assert_eq!(read("@bot, hi", &[mentionee(0, 4, true)]), ("hi".to_owned(), true));
        assert_eq!(read("@bot hi", &[mentionee(0, 4, true), mentionee(2, 3, true)]), ("hi".to_owned(), true));
        // Wherever it is said to stand, it is a mention.
        assert_eq!(read("hi", &[mentionee(1, 9, true)]), ("hi".to_owned(), true));
        assert_eq!(read("hi", &[mentionee(0, 2, false)]), ("hi".to_owned(), false));
    }
}
