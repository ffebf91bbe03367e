//! Writes of many items in one request.
//!
//! The conversations of a batch are handled side by side, and each writes an item of its own under a condition of its
//! own. [`Joined`] sends what is ready at the same time as one `BatchExecuteStatement`: up to 25 statements of PartiQL,
//! each carried out or refused for itself, at the price of the single writes. Nothing is held back for it: whoever
//! finds no request under way sends what is ready, and what gets ready meanwhile goes with the next.
//!
//! It serves the common case. A write that is alone, or did not go through for whatever reason, is left to the single
//! call, which can create an item or change it, tells what stands there when its condition fails, and is repeated by
//! the client when DynamoDB is busy.
//!
//! Statements: "PartiQL update statements for DynamoDB", "PartiQL insert statements for DynamoDB" and "Running batch
//! operations with PartiQL for DynamoDB" in the developer guide. An `UPDATE` of an item that is not there fails like
//! one whose condition does not hold; an `INSERT` of one that is there fails as a duplicate. A condition names the one
//! item by its key, so it is a conjunction: with an `OR` beside the key it might name others.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, BatchStatementErrorCodeEnum, BatchStatementRequest};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use crate::item::Item;

/// DynamoDB's limit for one `BatchExecuteStatement`.
const MAX_STATEMENTS: usize = 25;

/// Where the writes to a table meet.
pub(crate) struct Joined {
    client: Client,
    ready: Mutex<Vec<Ready>>,
    under_way: tokio::sync::Mutex<()>,
}

struct Ready {
    statement: BatchStatementRequest,
    done: oneshot::Sender<Option<Item>>,
}

impl Joined {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, ready: Mutex::default(), under_way: tokio::sync::Mutex::default() }
    }

    /// Writes together with what else is ready, and returns the item as far as the statement asks for it; `None` for a
    /// write that is left to the single call.
    pub(crate) async fn write(&self, statement: BatchStatementRequest) -> Option<Item> {
        let (done, mut outcome) = oneshot::channel();
        self.ready().push(Ready { statement, done });
        // The others that are handled side by side come to this line before the first of them goes on.
        tokio::task::yield_now().await;
        let _turn = self.under_way.lock().await;
        loop {
            match outcome.try_recv() {
                Ok(item) => return item,
                // Whoever sent it was cancelled.
                Err(TryRecvError::Closed) => return None,
                Err(TryRecvError::Empty) => self.send(self.next_batch()).await,
            }
        }
    }

    fn ready(&self) -> MutexGuard<'_, Vec<Ready>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_batch(&self) -> Vec<Ready> {
        let mut ready = self.ready();
        let count = ready.len().min(MAX_STATEMENTS);
        ready.drain(..count).collect()
    }

    async fn send(&self, batch: Vec<Ready>) {
        // Dropping the only one tells its owner to write alone.
        if batch.len() < 2 {
            return;
        }
        let (statements, owners): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|ready| (ready.statement, ready.done)).unzip();
        let answered = self.client.batch_execute_statement().set_statements(Some(statements)).send().await;
        let responses = match answered {
            Ok(output) => output.responses.unwrap_or_default(),
            Err(error) => {
                tracing::warn!(error = hoopoe_aws::cause(&error), "writes cannot be joined and are made one by one");
                Vec::new()
            }
        };
        for (owner, response) in owners.into_iter().zip(responses) {
            let item = match response.error.map(|error| error.code) {
                None => Some(response.item.unwrap_or_default()),
                Some(Some(
                    BatchStatementErrorCodeEnum::ConditionalCheckFailed | BatchStatementErrorCodeEnum::DuplicateItem,
                )) => None,
                Some(code) => {
                    tracing::warn!(?code, "a joined write was refused and is made alone");
                    None
                }
            };
            // An owner that was cancelled does not ask any more.
            let _ = owner.send(item);
        }
    }
}

/// Without what is ready: it holds what people said.
impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joined").finish_non_exhaustive()
    }
}

/// A statement with a value for each `?` in it, in their order.
pub(crate) fn statement(text: String, values: Vec<AttributeValue>) -> BatchStatementRequest {
    BatchStatementRequest::builder()
        .statement(text)
        .set_parameters(Some(values))
        .build()
        .expect("a statement has its text")
}

/// The name of a table or an attribute, as a statement quotes it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_name_cannot_end_before_its_end() {
        assert_eq!(quoted(r#"m:a" = 1 REMOVE "b"#), r#""m:a"" = 1 REMOVE ""b""#);
    }
}
