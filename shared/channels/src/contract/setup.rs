//! What a platform's API does that would else be done by hand in its console.

use http::{HeaderMap, StatusCode};

use crate::contract::rejection::Rejection;
use crate::contract::sender::ApiRequest;

/// What an operator may leave to the platform's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// Telling the platform where to post.
    Webhook,
    /// Registering the bot's commands.
    Commands,
}

impl Setup {
    /// All of it.
    pub const ALL: [Self; 2] = [Self::Webhook, Self::Commands];
}

/// A call of a [`Setup`], by the settings `S`.
#[derive(Debug)]
pub struct SetupCall<S> {
    /// What is being done, for a person.
    pub doing: &'static str,
    /// What the platform refuses if it does, for a person.
    pub about: &'static str,
    /// The request.
    pub request: http::Result<ApiRequest>,
    /// Reads the answer: what was done, for a person. The settings take what it tells of them.
    pub read: ReadSetup<S>,
}

/// Reads the answer to a [`SetupCall`].
///
/// # Errors
///
/// What the platform says instead.
pub type ReadSetup<S> = fn(&mut S, StatusCode, &HeaderMap, &[u8]) -> Result<String, Rejection>;
