//! What a platform has to be able to do.
//!
//! | module | what is in it |
//! |---|---|
//! | [`platform`] | [`Platform`](platform::Platform): which channel it is; evaluating something for any of them |
//! | [`webhook`] | [`Webhook`](webhook::Webhook): the receiving side, with its request, its messages and its refusals |
//! | [`sender`] | [`Sender`](sender::Sender): the sending side, with the parts of a reply and the requests that send them |
//! | [`address`] | [`ReplyAddress`](address::ReplyAddress): where a reply has to go |
//! | [`echo`] | [`Echo`](echo::Echo): what a refusal repeats of the request, which is cut out of it |
//! | [`rejection`] | [`Rejection`](rejection::Rejection): why a platform did not do what was asked, and what may help |
//! | [`rotation`] | [`Rotation`](rotation::Rotation): how a webhook key is renewed without a person |
//! | [`setup`] | [`Setup`](setup::Setup): what the platform's API does that would else be done in its console |
//! | [`settings`] | [`Settings`](settings::Settings): what an operator enters for a bot, and the keys it becomes |
//! | `counterpart` | the other side of a platform, with the feature of that name |

pub mod address;
#[cfg(feature = "counterpart")]
pub mod counterpart;
pub mod echo;
pub mod platform;
pub mod rejection;
pub mod rotation;
pub mod sender;
pub mod settings;
pub mod setup;
pub mod webhook;
