//! The webhook of Microsoft Teams bots: verifies each activity and queues it for inference.
//!
//! | module | what is in it |
//! |---|---|
//! | [`kept`] | keeping them: until when, and what happens if they cannot be fetched |
//! | [`published`] | fetching the keys that Microsoft signs with |

mod kept;
mod published;

use hoopoe_channels::teams::Teams;

use published::Published;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), hoopoe_webhook::Fatal> {
    hoopoe_webhook::run_with::<Teams, _>(|_, _| Ok(Published::new()?)).await
}
