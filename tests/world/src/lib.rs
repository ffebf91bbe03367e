//! A hostile world: the AWS that a message's path uses, and the platforms, simulated in one process. The functions' own
//! code runs in it unchanged. One seed is one history: the same seed gives the same calls, faults and answers.
//!
//! | module | what is in it |
//! |---|---|
//! | [`history`] | [`history::play`]: one history, from its seed to its verdict |
//! | [`weather`] | how probable each fault is, and how many there are at most |
//! | [`checks`] | what has to be so at the end |
//! | [`cloud`] | the services behind one door, and what the calls cost |
//! | [`dynamodb`], [`sqs`], [`kms`] | the services, as strict as the real ones |
//! | [`environment`] | an execution environment: its clock, its connections, its death |
//! | [`function`] | functions with their environments, and the mappings that feed them from a queue |
//! | [`platform`] | the platforms: what they take, and how badly they tell about it |
//! | [`ledger`] | who was told what |
//! | [`clock`], [`trace`] | the time, and what happened |
//! | [`hoopoe`] | the real engines, connected to all this |
//! | [`scenario`] | what people and operators do |
//! | [`upgrade`] | what the functions of the release before left behind |
//! | [`units`] | what a message costs in write units, by the length of its conversation and of its channel's ids |
//! | [`echo`] | the smallest engine that keeps the promises, with faults that can be planted in it |
//!
//! The simulation stands in the place of the AWS SDK's HTTP client ([`environment::Environment::config`]), so that the
//! SDK's retries, timeouts and errors are the real ones. Time passes only where everybody waits: a message that comes
//! again after three days takes no longer than one that comes again at once.
//!
//! Nothing here may depend on the order of a `HashMap`, on the system's clock or on a random number that is not drawn
//! from the seed. `fastrand` is seeded for each history, so what the SDK and the functions draw from it is repeated.

pub mod checks;
pub mod clock;
pub mod cloud;
pub mod dynamodb;
pub mod echo;
pub mod environment;
pub mod function;
pub mod history;
pub mod hoopoe;
pub mod kms;
pub mod ledger;
pub mod platform;
pub mod scenario;
pub mod sqs;
pub mod trace;
pub mod units;
pub mod upgrade;
pub mod weather;
