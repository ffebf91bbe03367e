//! Signatures and envelopes that several platforms use.
//!
//! | module | what is in it |
//! |---|---|
//! | [`signature`] | HMAC-SHA256 and Ed25519 over a request's bytes |
//! | [`envelope`] | the AES envelope of WeCom, which other Chinese platforms share |

pub mod envelope;
pub mod signature;
