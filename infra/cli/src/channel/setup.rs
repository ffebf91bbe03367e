//! What a platform's API does that would else be done by hand in its console.

use anyhow::{anyhow, ensure};
use hoopoe_channels::{ApiRequest, Outcome, Sender, discord, line, telegram};
use hoopoe_rotation::http;

use crate::progress::Step;

/// Asks whose token it is, and tells Telegram the webhook's URL.
///
/// # Errors
///
/// What Telegram says instead.
pub(super) async fn telegram(settings: &mut telegram::Settings, url: &str) -> anyhow::Result<()> {
    if !settings.has_username() {
        let step = Step::start("telegram", "asking whose token it is");
        let answer = call(settings.get_me()?).await?;
        let read = telegram::Settings::read_me(answer.status, &answer.body);
        let name = read.map_err(|outcome| refused("getMe", &answer, outcome))?;
        step.done(format_args!("the bot is @{name}"));
        settings.set_username(name);
    }
    let step = Step::start("telegram", "setting the webhook");
    let answer = call(settings.set_webhook(url)?).await?;
    taken("setWebhook", &answer, telegram::Telegram::outcome(answer.status, &answer.headers, &answer.body))?;
    step.done("the webhook is set");
    Ok(())
}

/// Tells LINE the webhook's URL.
///
/// # Errors
///
/// What LINE says instead.
pub(super) async fn line(settings: &line::Settings, url: &str) -> anyhow::Result<()> {
    let step = Step::start("line", "setting the webhook");
    let answer = call(settings.set_webhook(url)?).await?;
    taken("the webhook", &answer, line::Settings::read_webhook(answer.status, &answer.body))?;
    step.done("the webhook is set");
    Ok(())
}

/// Registers the slash commands of a Discord application.
///
/// # Errors
///
/// Where the settings have no bot token, or what Discord says instead.
pub(super) async fn discord(settings: &discord::Settings) -> anyhow::Result<()> {
    ensure!(settings.has_bot_token(), "nothing was stored: --register-commands needs \"bot_token\" in the settings");
    let step = Step::start("discord", "registering the commands");
    let answer = call(settings.register_commands()?).await?;
    let read = discord::Settings::read_commands(answer.status, &answer.body);
    let count = read.map_err(|outcome| refused("the commands", &answer, outcome))?;
    step.done(format_args!("{count} commands are registered"));
    Ok(())
}

fn taken(what: &str, answer: &http::Answer, outcome: Outcome) -> anyhow::Result<()> {
    if outcome == Outcome::Sent { Ok(()) } else { Err(refused(what, answer, outcome)) }
}

fn refused(what: &str, answer: &http::Answer, outcome: Outcome) -> anyhow::Error {
    match answer.echo.cut(outcome) {
        Outcome::Refused { reason, .. } | Outcome::Unknown { reason } => {
            anyhow!("nothing was stored: the platform refuses {what}: {reason}")
        }
        Outcome::Sent => anyhow!("nothing was stored: the platform's answer to {what} is not understood"),
    }
}

async fn call(request: ApiRequest) -> anyhow::Result<http::Answer> {
    Ok(http::call(&http::client()?, request).await?)
}
