//! What a platform's API does that would else be done by hand in its console.

use anyhow::{Context, anyhow};
use hoopoe_channels::{Platform, Reason, Settings, Setup};
use hoopoe_rotation::http;

use crate::progress::Step;

/// Makes the calls of a setup. The settings take what the answers tell of them.
///
/// # Errors
///
/// If the settings lack something, or what the platform says instead.
pub(super) async fn run<P: Platform>(settings: &mut P::Settings, setup: Setup, url: &str) -> anyhow::Result<()> {
    for call in settings.setup_calls(setup, url).context("nothing was stored")? {
        let step = Step::start(P::CHANNEL.as_str(), call.doing);
        let answer = http::call(&http::client()?, call.request?).await?;
        let done = (call.read)(settings, answer.status, &answer.headers, &answer.body).map_err(|rejection| {
            let mut rejection = answer.echo.cut(rejection);
            anyhow!("nothing was stored: the platform refuses {}: {}", call.about, rejection.reason())
        })?;
        step.done(done);
    }
    Ok(())
}
