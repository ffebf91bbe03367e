//! world
pub mod checks;
pub mod clock;
pub mod cloud;
pub mod dynamodb;
pub mod echo;
pub mod environment;
pub mod function;
pub mod history;
pub mod kms;
pub mod ledger;
pub mod platform;
pub mod sqs;
pub mod trace;
pub mod weather;
