//! What a function finds around it: its environment variables and the AWS services.
//!
//! | module | what is in it |
//! |---|---|
//! | [`environment`] | [`Environment`]: the variables `template.yaml` sets, read once, each missing or wrong one named |
//! | [`client`] | [`client::config`]: the configuration every AWS client of a function is made from |
//! | [`clock`] | [`Clock`]: the time of day, from the same configuration |
//! | [`failure`] | [`cause`]: what went wrong with a call, without what was in it |
//!
//! `aws-config` is left to the `hoopoe` command: a function has its credentials in three environment variables, and
//! the chain of places to look for them (profiles, single sign-on, STS, metadata services) is code it need not load.

pub mod client;
pub mod clock;
pub mod environment;
pub mod failure;

pub use aws_types::SdkConfig;
pub use clock::Clock;
pub use environment::{Environment, EnvironmentError};
pub use failure::{cause, needs_operator};
