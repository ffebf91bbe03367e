//! What a platform's API does that would else be done by hand in its console.

use anyhow::{anyhow, ensure};
use hoopoe_channels::{ApiRequest, Reason, Rejection, Sender, discord, line, telegram};
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
        let name = read.map_err(|rejection| refused("getMe", &answer, rejection))?;
        step.done(format_args!("the bot is @{name}"));
        settings.set_username(name);
    }
    let step = Step::start("telegram", "setting the webhook");
    let answer = call(settings.set_webhook(url)?).await?;
    let set = telegram::Telegram::outcome(answer.status, &answer.headers, &answer.body);
    set.map_err(|rejection| refused("setWebhook", &answer, rejection))?;
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
    let set = line::Settings::read_webhook(answer.status, &answer.body);
    set.map_err(|rejection| refused("the webhook", &answer, rejection))?;
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
    let count = read.map_err(|rejection| refused("the commands", &answer, rejection))?;
    step.done(format_args!("{count} commands are registered"));
    Ok(())
}

fn refused(what: &str, answer: &http::Answer, rejection: Rejection) -> anyhow::Error {
    anyhow!("nothing was stored: the platform refuses {what}: {}", answer.echo.cut(rejection).reason())
}

async fn call(request: ApiRequest) -> anyhow::Result<http::Answer> {
    Ok(http::call(&http::client()?, request).await?)
}
