//! Replies as answers to WeChat's own requests ("被动回复用户消息",
//! `subscription/guide/product/message/Passive_user_reply_message.html`).
//!
//! An account that is not verified (未认证, and every personal one) has no send API ("接口权限说明",
//! `offiaccount/Getting_Started/Explanation_of_interface_privileges.html`). It can only answer the request that brought
//! the message, and once. WeChat waits 5 seconds, hangs up, and asks again with the same message, three times in all;
//! then it tells the person that the account is out of order. So the webhook function of such a bot
//! ([`WebhookKeys::is_passive`]) takes a message in and holds the request:
//!
//! - the reply comes within some 4.5 seconds: it answers with [`Wechat::passive_answer`];
//! - it does not, and this is no last try: it says nothing until the 5 seconds are over, because `success` and an
//!   empty body end the tries, and anything else shows as a failure. What it says afterwards nobody hears: WeChat has
//!   hung up, and the next try brings the same message with the same id;
//! - it does not, and [`Wechat::is_last_try`]: it answers `success`, or some words of its own in a passive answer.
//!
//! A try that finds the reply ready answers at once. What the bot has nothing to say to (an event that is ignored,
//! [`ChannelEvent::Left`](hoopoe_message::ChannelEvent::Left)) is answered `success` at once, with
//! [`Received::answer`](crate::Received::answer).

use std::time::Duration;

use hoopoe_message::Timestamp;
use http::StatusCode;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::{Address, MAX_TEXT_BYTES, WebhookKeys, Wechat, as_written};
use crate::ReplyAddress;
use crate::contract::sender::Unrenderable;
use crate::contract::webhook::Response;
use crate::crypto::envelope::{self, Key};
use crate::text::split::split;
use crate::text::xml::cdata;

/// From when on a try is the last one, counted from the message's `CreateTime`. The tries come about 0, 5 and 10
/// seconds after it, each later by the way through the network and by up to a second that `CreateTime` leaves out.
const LAST_TRY_AFTER: Duration = Duration::from_secs(9);

/// What stands at the end of a text that was cut.
const CUT: &str = "…";

impl WebhookKeys {
    /// Whether replies have to be given in answer to WeChat's requests.
    #[must_use]
    pub const fn is_passive(&self) -> bool {
        self.passive
    }
}

impl Wechat {
    /// A reply as the answer to the request that brought the message, or to another try of it: a text message in XML,
    /// sealed and signed where the account is in 安全模式.
    ///
    /// There is one message and no menu, so the suggestions have to stand in the text already, as numbered lines; what
    /// exceeds 2048 bytes is cut, with a `…`. A text without a word becomes the bare `success`. `random` has to be new
    /// and unpredictable for each answer; `now` is signed along.
    ///
    /// # Errors
    ///
    /// Where the address was not written by this channel.
    pub fn passive_answer(
        keys: &WebhookKeys,
        address: &str,
        text: &str,
        random: [u8; 16],
        now: Timestamp,
    ) -> Result<Response, Unrenderable> {
        let address = Address::decode(address).ok_or(Unrenderable::Address)?;
        let text = as_written(text);
        if text.trim().is_empty() {
            return Ok(Response::ok("success"));
        }
        let message = format!(
            "<xml><ToUserName>{user}</ToUserName><FromUserName>{account}</FromUserName>\
             <CreateTime>{now}</CreateTime><MsgType><![CDATA[text]]></MsgType><Content>{text}</Content></xml>",
            user = cdata(&address.user),
            account = cdata(&address.account),
            now = now.as_secs(),
            text = cdata(&shortened(&text)),
        );
        let body = match &keys.encoding_aes_key {
            Some(key) => sealed(keys, key, &message, random, now),
            None => message,
        };
        Ok(Response { status: StatusCode::OK, content_type: "text/xml; charset=utf-8", body })
    }

    /// Whether WeChat, having asked at `now` with the message of this address, does not ask again: 9 seconds or more
    /// after the message was sent. True for an address of another channel, for which nobody asks again.
    #[must_use]
    pub fn is_last_try(address: &str, now: Timestamp) -> bool {
        let Some(address) = Address::decode(address) else { return true };
        now.as_secs().saturating_sub(address.sent_at) >= LAST_TRY_AFTER.as_secs()
    }
}

/// The answer in its envelope ("消息加解密说明").
fn sealed(keys: &WebhookKeys, key: &Key, message: &str, random: [u8; 16], now: Timestamp) -> String {
    let ciphertext = envelope::seal(key, random, message.as_bytes(), &keys.app_id);
    let timestamp = now.as_secs().to_string();
    // It is public, so it must not tell the random bytes inside of the envelope.
    let digest = Sha256::digest(random);
    let nonce = u32::from_be_bytes(*digest.first_chunk().expect("a SHA-256 has 32 bytes")).to_string();
    let signature = envelope::sign(keys.token.expose_secret(), &timestamp, &nonce, &ciphertext);
    format!(
        "<xml><Encrypt><![CDATA[{ciphertext}]]></Encrypt><MsgSignature><![CDATA[{signature}]]></MsgSignature>\
         <TimeStamp>{timestamp}</TimeStamp><Nonce><![CDATA[{nonce}]]></Nonce></xml>"
    )
}

/// As much of the text as one message holds.
fn shortened(text: &str) -> String {
    match split(text, MAX_TEXT_BYTES, char::len_utf8)[..] {
        [whole] => whole.to_owned(),
        _ => {
            let pieces = split(text, MAX_TEXT_BYTES - CUT.len(), char::len_utf8);
            format!("{}{CUT}", pieces.first().copied().unwrap_or_default())
        }
    }
}
