//! How long the ids of each channel are.

use hoopoe_message::{Channel, Conversation, MessageId};

/// A channel, and how long its ids are, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Ids {
    /// The channel.
    pub channel: Channel,
    /// The bot's name.
    pub bot: &'static str,
    /// The length of the chat in the conversation's key, as the channel's adapter makes it.
    pub chat: usize,
    /// The length of an event's id.
    pub event: usize,
}

const fn ids(channel: Channel, chat: usize, event: usize) -> Ids {
    Ids { channel, bot: "main", chat, event }
}

/// The channels, each with the longest of its usual ids, and at the end the longest ids that there can be.
///
/// An adapter writes the digest of ids, 64 bytes, in the place of a chat of more than 80 bytes or an event's id of more than
/// 128 (`shared/channels/src/webhook.rs`).
pub const ALL: [Ids; 14] = [
    // A member's UserID, "1~64个字节"; an event is `<member>:<seconds>:unsubscribe`.
    ids(Channel::Wecom, 64, 64 + 1 + 10 + 1 + 11),
    // An openid; an event is `<openid>:<seconds>:unsubscribe`.
    ids(Channel::Wechat, 28, 28 + 1 + 10 + 1 + 11),
    // `cid<base64 of 16 bytes>:<staff id>`, and `msg<base64 of 16 bytes>`.
    ids(Channel::Dingtalk, 27 + 1 + 17, 27),
    // `oc_<32 digits>:ou_<32 digits>`, and `om_<32 digits>`.
    ids(Channel::Feishu, 35 + 1 + 35, 35),
    // Two openids of 32 digits, and `ROBOT1.0_<about 110 characters>`.
    ids(Channel::Qq, 32 + 1 + 32, 128),
    // `-100<10 digits>:<at most 52 bits>`, and a number of 32 bits.
    ids(Channel::Telegram, 14 + 1 + 16, 10),
    // `<channel>:<user>`, and the `trigger_id` of a command.
    ids(Channel::Slack, 11 + 1 + 11, 58),
    // Snowflakes: numbers of 64 bits.
    ids(Channel::Discord, 20 + 1 + 20, 20),
    // The digest of a group and a business-scoped user id of up to 131 characters, and `wamid.<base64>`.
    ids(Channel::Whatsapp, 64, 64),
    // A page-scoped id, and `m_<86 characters>`.
    ids(Channel::Messenger, 17, 88),
    // A group and a user, a letter and 32 digits each, and a ULID.
    ids(Channel::Line, 33 + 1 + 33, 26),
    // The digest of a conversation and a user, and an activity's id.
    ids(Channel::Teams, 64, 40),
    // 16 random bytes in base64, and a UUID: the page's.
    ids(Channel::Webchat, 22, 36),
    Ids {
        channel: Channel::Messenger,
        bot: "a-bot-name-of-32-characters-long",
        chat: Conversation::MAX_CHAT_BYTES,
        event: MessageId::MAX_BYTES,
    },
];
