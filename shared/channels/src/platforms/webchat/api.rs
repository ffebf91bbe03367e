//! The JSON of the web chat's API, below `/webchat/<bot>`.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST session` | none; with a valid token the session goes on under a new one | 201 [`Session`] |
//! | `POST messages` | [`Post`] | 202 [`Accepted`]; the same `id` again gets the same answer |
//! | `GET messages?after=<seq>&wait=<seconds>` | | 200 [`Messages`] |
//!
//! All but the first `session` carry `Authorization: Bearer <token>`. Whatever fails is answered with a [`Fault`].

use std::fmt;

use hoopoe_message::{ChannelEvent, Content, Language, MessageId, Timestamp};
use serde::{Deserialize, Serialize};

use super::SessionId;
use crate::Incoming;

/// The largest request body in bytes.
pub const MAX_BODY_BYTES: usize = 8 * 1024;

/// The longest text of a message in characters (Unicode scalar values).
pub const MAX_TEXT_CHARS: usize = 2000;

/// The longest language tag in bytes: what RFC 5646, section 4.4.1, asks implementations to hold.
pub const MAX_LANGUAGE_BYTES: usize = 35;

/// How many messages one answer holds at most.
pub const MAX_MESSAGES: usize = 100;

/// The longest `wait` in seconds; a longer one is cut to this. A busy function waits for less.
pub const MAX_WAIT_SECONDS: u64 = 2;

/// Opens a conversation.
#[derive(Serialize, Deserialize)]
pub struct Session {
    /// What every other request carries.
    pub token: String,
    /// When it stops being valid.
    pub expires_at: Timestamp,
}

/// Leaves the token out.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// One thing a person says or does: `{"id", "text"}` or `{"id", "event": "joined"}`, either with a `"language"`.
#[derive(Serialize, Deserialize)]
pub struct Post {
    /// Chosen by the client: new for each message, and the same each time that message is sent.
    pub id: MessageId,
    /// The language of the person's browser as a BCP 47 tag such as `zh-CN`, at most [`MAX_LANGUAGE_BYTES`] bytes. The
    /// bot speaks it until the person's own words show another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// What.
    #[serde(flatten)]
    pub said: Said,
}

/// What a [`Post`] says.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// Words, 1 to [`MAX_TEXT_CHARS`] characters besides space around them.
    Text(String),
    /// Something other than words.
    Event(PageEvent),
}

/// What a page tells besides words.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageEvent {
    /// The conversation begins: the bot says its welcome.
    Joined,
}

impl Post {
    /// Reads and checks a request's body.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it, for the client's developer, without quoting it.
    pub fn read(body: &[u8]) -> Result<Self, InvalidPost> {
        let post: Self = serde_json::from_slice(body).map_err(|_| InvalidPost::Malformed)?;
        if post.language.as_deref().is_some_and(|tag| !is_language_tag(tag)) {
            return Err(InvalidPost::Language);
        }
        match &post.said {
            Said::Text(text) if text.trim().is_empty() => Err(InvalidPost::Empty),
            Said::Text(text) if text.trim().chars().count() > MAX_TEXT_CHARS => Err(InvalidPost::TooLong),
            _ => Ok(post),
        }
    }

    /// The words, without space around them; `None` for an event.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.said {
            Said::Text(text) => Some(text.trim()),
            Said::Event(_) => None,
        }
    }

    /// The message, as one of a session that was verified.
    #[must_use]
    pub fn incoming(&self, session: &SessionId) -> Incoming {
        Incoming {
            id: self.id.clone(),
            chat: session.as_str().to_owned(),
            address: session.as_str().to_owned(),
            sent_at: None,
            language: self.language.as_deref().and_then(Language::of_locale),
            content: match self.text() {
                Some(text) => Content::text(text),
                None => Content::Event(ChannelEvent::Joined),
            },
        }
    }
}

/// Whether a text has the characters and the length of a language tag and begins with a language.
fn is_language_tag(tag: &str) -> bool {
    tag.len() <= MAX_LANGUAGE_BYTES
        && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && Language::of_locale(tag).is_some()
}

/// Leaves the words out.
impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a body is no [`Post`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPost {
    /// Not JSON, not of this shape, or with an id that does not fit [`MessageId`].
    #[error(
        "the body must be JSON, {{\"id\", \"text\"}} or {{\"id\", \"event\": \"joined\"}}, with an id of 1 to 128 bytes"
    )]
    Malformed,
    /// A `language` that is not a tag of a language.
    #[error("the language must be a BCP 47 tag such as zh-CN, of at most {MAX_LANGUAGE_BYTES} bytes")]
    Language,
    /// No words.
    #[error("the text is empty")]
    Empty,
    /// Too many words.
    #[error("the text is longer than {MAX_TEXT_CHARS} characters")]
    TooLong,
}

/// The message is on its way to the bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Where it stands in the conversation. Its answer will stand at the next place, `seq + 1`.
    pub seq: u64,
}

/// A part of the conversation, in order.
#[derive(Debug, Serialize, Deserialize)]
pub struct Messages {
    /// What stands after the place asked for, at most [`MAX_MESSAGES`]; ask again after the last of them until none
    /// comes. With `wait`, the answer is held back while the last question among them is new and the bot has not spoken,
    /// for as long as the function can spare.
    pub messages: Vec<Message>,
    /// When nothing of the bot is among them: how many milliseconds a client that awaits an answer lets pass before it
    /// asks again. A minute has room for a limited number of requests; one too many is refused with `too_many`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// One message of the conversation.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its place. Places are not all taken, and an answer's can be filled after the question that follows it.
    pub seq: u64,
    /// Who speaks.
    pub from: Speaker,
    /// The words, plain.
    pub text: String,
    /// Quick replies: short texts, each a message the person may send next.
    pub suggestions: Vec<String>,
    /// When.
    pub at: Timestamp,
}

/// Leaves the words out.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("seq", &self.seq).field("from", &self.from).finish_non_exhaustive()
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// The person.
    You,
    /// The bot.
    Bot,
}

/// Why a request was refused.
#[derive(Debug, Serialize, Deserialize)]
pub struct Fault {
    /// A word for programs; `invalid_token` and `expired` ask for a new session.
    pub error: String,
    /// A sentence for people.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &str) -> Result<Post, InvalidPost> {
        Post::read(body.as_bytes())
    }

    #[test]
    fn words_and_the_beginning_are_read() {
        let session = SessionId::from_random([7; 16]);
        let text = read(r#"{"id":"a-1_B","text":"  忘记密码怎么办\n"}"#).expect("a text");
        let incoming = text.incoming(&session);
        assert_eq!(incoming.content, Content::Text("忘记密码怎么办".into()));
        assert_eq!((incoming.id.as_str(), incoming.chat.as_str()), ("a-1_B", session.as_str()));
        let joined = read(r#"{"id":"joined","event":"joined"}"#).expect("an event");
        assert_eq!(joined.incoming(&session).content, Content::Event(ChannelEvent::Joined));
    }

    #[test]
    fn the_language_of_the_browser_is_read() {
        let session = SessionId::from_random([7; 16]);
        for (tag, language) in [("zh-CN", "zh"), ("zh-Hant-TW", "zh"), ("en", "en"), ("fr-CA", "fr")] {
            for said in [r#""event":"joined""#, r#""text":"123""#] {
                let post = read(&format!(r#"{{"id":"a",{said},"language":"{tag}"}}"#)).expect("a post");
                assert_eq!(post.incoming(&session).language, Some(language.parse().expect("a language")), "{tag}");
            }
        }
        let silent = read(r#"{"id":"a","event":"joined"}"#).expect("an event");
        assert_eq!(silent.incoming(&session).language, None);
        let null = read(r#"{"id":"a","event":"joined","language":null}"#).expect("an event");
        assert_eq!(null.incoming(&session).language, None);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let long = format!(r#"{{"id":"1","text":"{}"}}"#, "汉".repeat(MAX_TEXT_CHARS + 1));
        let full = format!(r#"{{"id":"1","text":"{}"}}"#, "汉".repeat(MAX_TEXT_CHARS));
        assert!(full.len() < MAX_BODY_BYTES && read(&full).is_ok());
        for (body, expected) in [
            ("", InvalidPost::Malformed),
            ("[]", InvalidPost::Malformed),
            (r#"{"id":"1"}"#, InvalidPost::Malformed),
            (r#"{"text":"hello"}"#, InvalidPost::Malformed),
            (r#"{"id":"1","event":"left"}"#, InvalidPost::Malformed),
            (r#"{"id":"","text":"hello"}"#, InvalidPost::Malformed),
            (r#"{"id":"1","event":"joined","language":7}"#, InvalidPost::Malformed),
            (r#"{"id":"1","event":"joined","language":""}"#, InvalidPost::Language),
            (r#"{"id":"1","event":"joined","language":"en-US@posix"}"#, InvalidPost::Language),
            (r#"{"id":"1","event":"joined","language":"中文"}"#, InvalidPost::Language),
            (r#"{"id":"1","event":"joined","language":"chinese"}"#, InvalidPost::Language),
            (&format!(r#"{{"id":"1","text":"hi","language":"zh{}"}}"#, "-aaaaaaaa".repeat(4)), InvalidPost::Language),
            (r#"{"id":"1","text":" \n"}"#, InvalidPost::Empty),
            (&long, InvalidPost::TooLong),
        ] {
            assert_eq!(read(body).map(|_| ()), Err(expected), "{body}");
        }
    }

    #[test]
    fn nothing_a_person_says_is_shown() {
        let post = read(r#"{"id":"1","text":"my secret words"}"#).expect("a text");
        assert!(!format!("{post:?}").contains("secret"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Post::read(&bytes);
        }

        #[test]
        fn a_post_survives_the_round_trip(id in "\\PC{1,32}", text in "\\PC{1,500}") {
            prop_assume!(!text.trim().is_empty());
            let id = MessageId::try_from(id).expect("short, without control characters");
            let body = serde_json::to_vec(&Post { id: id.clone(), language: None, said: Said::Text(text.clone()) }).expect("strings");
            let post = Post::read(&body).expect("fits");
            prop_assert_eq!(&post.id, &id);
            prop_assert_eq!(post.text(), Some(text.trim()));
        }
    }
}
