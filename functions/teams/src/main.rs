//! The webhook of Microsoft Teams bots: verifies each activity and queues it for inference.
//!
//! | module | what is in it |
//! |---|---|
//! | [`published`] | fetching and keeping the keys that Microsoft signs with |

mod published;

use hoopoe_channels::teams::Teams;

use published::Published;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), hoopoe_webhook::Fatal> {
    hoopoe_webhook::run_with::<Teams, _>(|_, _| Ok(Published::new()?)).await
}
