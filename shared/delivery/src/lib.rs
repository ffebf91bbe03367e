//! From a reply in the outbound queue to the platform.
//!
//! | module | what is in it |
//! |---|---|
//! | [`delivery`] | [`Delivery`]: a batch of replies: conversations side by side, each in order, retries, dead letters |
//! | `passage` | one reply on its way through the send records to the platform |
//! | `api` | a platform's API: keys, access tokens, quota, requests, fallbacks |
//! | [`retry`] | when a reply that did not go out is tried again |
//! | [`http`] | [`Http`]: one exchange with a platform |
//!
//! Whatever is slow or may fail without harm comes first: keys, rendering, the access token, the turn within the quota.
//! Then the reply is begun, which a record says, and at once it leaves. So a function that is ended leaves a doubt only
//! where the platform may really have the reply.
//!
//! It runs over the AWS clients of an `SdkConfig` and over [`Http`]. A test gives it both, and a clock with them.

mod api;
pub mod delivery;
#[cfg(test)]
mod fake;
pub mod http;
mod passage;
pub mod retry;

pub use delivery::Delivery;
pub use http::Http;
