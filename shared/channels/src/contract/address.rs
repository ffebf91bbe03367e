//! Where a reply has to go.

use hoopoe_message::Reply;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Platform;
use crate::contract::sender::Unrenderable;

/// Where a platform's reply has to go: what its receiving side tells its sending side.
///
/// It travels through the queues as a text. A text that was written by an earlier version has to be read.
pub trait ReplyAddress: Serialize + DeserializeOwned {
    /// The text: JSON, unless a platform has it otherwise.
    fn encode(self) -> String {
        serde_json::to_string(&self).expect("texts and numbers serialise")
    }

    /// Reads the text; `None` if it is not an address of this platform.
    fn decode(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(Self::is_valid)
    }

    /// Whether all of it has the form that it has to have. Ids become parts of URLs, so nothing else may pass for one.
    fn is_valid(&self) -> bool {
        true
    }
}

/// The address of a reply.
///
/// # Errors
///
/// If it was not written by this platform's channel.
pub(crate) fn address_of<P: Platform>(reply: &Reply) -> Result<P::Address, Unrenderable> {
    P::Address::decode(&reply.address).ok_or(Unrenderable::Address)
}
