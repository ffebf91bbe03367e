//! The webhook of WeChat official accounts: verifies each message and queues it for inference. For accounts that may not
//! send by themselves it also waits for the reply and gives it in answer to WeChat's request.
//!
//! | module | what is in it |
//! |---|---|
//! | [`passive`] | waiting for a reply |

mod passive;

use hoopoe_channels::wechat::Wechat;
use hoopoe_store::Transcripts;

use passive::Passive;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), hoopoe_webhook::Fatal> {
    hoopoe_webhook::run_with::<Wechat, _>(|environment, config| {
        Ok(Passive { transcripts: Transcripts::new(config, environment.required("TRANSCRIPTS_TABLE")?) })
    })
    .await
}
