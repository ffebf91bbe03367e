//! SQS: batches in and out, and partial failures.
//!
//! | module | what is in it |
//! |---|---|
//! | [`batch`] | [`Batch`]: the event of an SQS mapping, and [`BatchResponse`], which names what must come again |
//! | [`sender`] | [`QueueSender`]: puts messages into a queue, one or ten a call |
//! | [`consumer`] | [`Consumer`]: what a function that drains a queue may do with a record besides handling it |

pub mod batch;
pub mod consumer;
pub mod sender;

pub use batch::{Batch, BatchResponse, Record};
pub use consumer::Consumer;
pub use sender::QueueSender;

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};

/// SQS did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{operation} failed: {cause}")]
pub struct QueueError {
    operation: &'static str,
    cause: String,
}

impl QueueError {
    fn call<E, R>(operation: &'static str, error: &SdkError<E, R>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
        R: std::fmt::Debug,
    {
        Self { operation, cause: hoopoe_aws::cause(error) }
    }
}
