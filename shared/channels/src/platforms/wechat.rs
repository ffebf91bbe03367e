//! WeChat official accounts (微信公众号 and 服务号).
//!
//! | module | what is in it |
//! |---|---|
//! | `receive` | the URL check and the messages of a server URL, in plain text or sealed |
//! | `passive` | replies as answers to WeChat's own requests, for accounts without a send API |
//! | `send` | a reply as 客服消息 calls, access tokens, and what WeChat says to both |
//! | `settings` | [`Settings`] of an account |
//! | `counterpart` | WeChat's side, for tests |
//!
//! Documents are named by their title and path below <https://developers.weixin.qq.com/doc/>.

#[cfg(feature = "counterpart")]
mod counterpart;
mod passive;
mod receive;
mod send;
mod settings;

use hoopoe_message::Channel;
use serde::{Deserialize, Serialize};

pub use receive::WebhookKeys;
pub use send::SendKeys;
pub use settings::Settings;

use crate::text::is_printable;
use crate::{Platform, ReplyAddress};

/// The WeChat official account channel.
pub struct Wechat;

impl Platform for Wechat {
    const CHANNEL: Channel = Channel::Wechat;

    type Settings = Settings;

    type Address = Address;
}

/// The longest text of a message, in bytes. "发送客服消息" and "被动回复用户消息" name no limit; what is longer is
/// refused with 45002 by the one and shown as a failure by the other. 2048 is what WeChat's own forum measured
/// (`community/develop/doc/00084e2936c340b9015a753405b800`) and what WeCom documents for the same messages.
const MAX_TEXT_BYTES: usize = 2048;

/// Where a reply goes, as it travels through the queues.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// The person's OpenID.
    user: String,
    /// The account's own name (`gh_…`), from which an answer to WeChat's request has to come.
    account: String,
    /// The message's `CreateTime`, in seconds; it tells WeChat's tries apart.
    sent_at: u64,
}

impl ReplyAddress for Address {
    fn is_valid(&self) -> bool {
        is_id(&self.user) && is_id(&self.account)
    }
}

/// Whether a text can be an OpenID or an account's name. WeChat promises no form; all are short and in ASCII.
fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Breaks the start of a link's tag, and shows nothing itself.
const ZERO_WIDTH_SPACE: char = '\u{200B}';

/// The text so that it shows as it was written: without the characters that neither XML nor the API takes (40033), and
/// with `<a …>`, the only tag that means something in a text ("发送客服消息": it becomes a link, and one to
/// `weixin://bizmsgmenu` speaks for the person), taken apart. There is no escape for it.
fn as_written(text: &str) -> String {
    let text: String = text.chars().filter(|c| is_writable(*c)).collect();
    let mut shown = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        shown.push(character);
        let mut next = text[at..].chars().skip(1);
        if character == '<' && matches!(next.next(), Some('a' | 'A')) && next.next().is_some_and(char::is_whitespace) {
            shown.push(ZERO_WIDTH_SPACE);
        }
    }
    shown
}

fn is_writable(character: char) -> bool {
    is_printable(character) && !matches!(character, '\u{FFFE}' | '\u{FFFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_tag_of_a_link_is_taken_apart() {
        for (text, shown) in [
            ("a < b <answer> <a> 你\n\t", "a < b <answer> <a> 你\n\t"),
            ("<a href=\"https://a.example\">x</a>", "<\u{200B}a href=\"https://a.example\">x</a>"),
            ("<<A\nhref=x>", "<<\u{200B}A\nhref=x>"),
            ("<\u{0}a b\r\u{FFFF}", "<\u{200B}a b"),
            ("<a", "<a"),
        ] {
            assert_eq!(as_written(text), shown);
        }
    }
}
