//! What is due of all keys.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use hoopoe_channels::{Platform, Settings, with_platform};
use hoopoe_keyring::{History, KeyName, KeyringError, Move, State, Stored, Version};
use hoopoe_message::{BotId, Channel, Timestamp};

use crate::judge::{Verdict, judge};
use crate::platforms::Platforms;
use crate::rotation::{Ledger, RotationError, is_automatic, rotate};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// So many keys are rotated at the same time: a platform that hangs keeps its key for a minute, and the function has five.
const SIDE_BY_SIDE: usize = 8;

/// The operator's choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The age at which a key is rotated.
    pub rotate_after: Duration,
    /// The ages in days at which the operator is told of a key that only a person can rotate.
    pub notice_days: Vec<u32>,
    /// How long a version that took over is watched before the one before it is not accepted any more.
    pub watch: Duration,
    /// How long a replaced or revoked version is kept before it is destroyed.
    pub keep: Duration,
}

/// Something the operator has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// One line.
    pub subject: String,
    /// What to do.
    pub text: String,
}

/// Who tells the operator.
pub trait Notify {
    /// Why the operator could not be told.
    type Error: fmt::Display + Send;

    /// Tells the operator.
    ///
    /// # Errors
    ///
    /// When the notice did not leave; it is sent again by the next sweep.
    fn notify(&self, notice: Notice) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Keys that were rotated.
    pub rotated: usize,
    /// Rotations that ended.
    pub finished: usize,
    /// Versions that were destroyed.
    pub destroyed: usize,
    /// Notices that were sent.
    pub notified: usize,
    /// What could not be done, and will be tried again.
    pub failed: usize,
}

/// Does what is due: notices first, then rotations, those of the oldest keys first and some side by side. A key that makes
/// trouble does not keep the others waiting; its trouble stands in the log.
///
/// # Errors
///
/// When the keys cannot be listed.
pub async fn sweep<N: Notify>(
    ledger: &impl Ledger,
    platforms: &impl Platforms,
    operator: &N,
    policy: &Policy,
    now: Timestamp,
) -> Result<Swept, KeyringError> {
    let mut swept = Swept::default();
    let mut aged: BTreeMap<(Channel, BotId), Vec<(KeyName, u32)>> = BTreeMap::new();
    let mut due_for_rotation: Vec<(Timestamp, KeyName)> = Vec::new();
    for Stored { key, history } in ledger.list().await? {
        if let Err(error) = tend(ledger, operator, policy, &key, &history, now, &mut swept).await {
            swept.failed += 1;
            tracing::error!(%key, %error, "a key cannot be moved on");
        }
        let Some(current) = history.current() else { continue };
        let age = now.since(current.created_at);
        if is_automatic(&key) {
            if history.pending().is_some() || age >= policy.rotate_after {
                due_for_rotation.push((current.created_at, key));
            }
        } else if history.pending().is_none() && !current.watched && has_secrets(key.channel) {
            let days = u32::try_from(age.as_secs() / DAY.as_secs()).unwrap_or(u32::MAX);
            let due = policy.notice_days.iter().copied().filter(|notice| *notice <= days).max();
            if let Some(due) = due.filter(|due| *due > current.noticed) {
                aged.entry((key.channel, key.bot.clone())).or_default().push((key, due));
            }
        }
    }
    for ((channel, bot), keys) in aged {
        let days = keys.iter().map(|(_, days)| *days).max().unwrap_or_default();
        if tell(operator, old_age(channel, &bot, days, policy), &mut swept).await {
            for (key, due) in keys {
                // A notice that cannot be noted is sent again, which is better than not at all.
                if let Err(error) = ledger.step(&key, Move::Notice(due)).await {
                    swept.failed += 1;
                    tracing::error!(%key, %error, "a notice cannot be noted");
                }
            }
        }
    }
    due_for_rotation.sort_by_key(|(created_at, _)| *created_at);
    let rotations = due_for_rotation.into_iter().map(|(_, key)| async move {
        let rotated = rotate(ledger, platforms, &key).await;
        (key, rotated)
    });
    let mut rotations = std::pin::pin!(stream::iter(rotations).buffer_unordered(SIDE_BY_SIDE));
    while let Some((key, rotated)) = rotations.next().await {
        match rotated {
            Ok(version) => {
                swept.rotated += 1;
                tracing::info!(%key, version, "a key was rotated");
            }
            Err(error) => {
                swept.failed += 1;
                tracing::error!(%key, %error, "a key cannot be rotated");
            }
        }
    }
    Ok(swept)
}

/// Ends a rotation that has proved itself, tells of one that has not, and destroys what is due.
async fn tend<N: Notify>(
    ledger: &impl Ledger,
    operator: &N,
    policy: &Policy,
    key: &KeyName,
    history: &History,
    now: Timestamp,
    swept: &mut Swept,
) -> Result<(), RotationError> {
    let mut live: Vec<u64> = history.live().map(|version| version.number).collect();
    if let Some(current) =
        history.current().filter(|current| current.watched && now.since(current.since) >= policy.watch)
    {
        let previous = history.previous().map(|previous| previous.number);
        let uses = ledger.uses(key).await?;
        let of = |version: u64| uses.get(&version).copied().unwrap_or_default();
        match judge(key.purpose, of(current.number), previous.map(of).unwrap_or_default(), now) {
            Verdict::Proved => {
                let after = ledger.step(key, Move::Finish).await?;
                live = after.live().map(|version| version.number).collect();
                swept.finished += 1;
                tracing::info!(%key, version = current.number, "a rotation is finished");
            }
            Verdict::Unused => {}
            Verdict::Doubtful(why) => {
                let days = u32::try_from(now.since(current.since).as_secs() / DAY.as_secs()).unwrap_or(u32::MAX).max(1);
                if days > current.noticed && tell(operator, doubt(key, current, why), swept).await {
                    ledger.step(key, Move::Notice(days)).await?;
                }
            }
        }
    }
    for version in history.versions() {
        let over = matches!(version.state, State::Previous | State::Revoked) && now.since(version.since) >= policy.keep;
        if over && !live.contains(&version.number) {
            ledger.step(key, Move::Destroy(version.number)).await?;
            swept.destroyed += 1;
            tracing::info!(%key, version = version.number, "a version was destroyed");
        }
    }
    Ok(())
}

async fn tell<N: Notify>(operator: &N, notice: Notice, swept: &mut Swept) -> bool {
    let subject = notice.subject.clone();
    match operator.notify(notice).await {
        Ok(()) => {
            swept.notified += 1;
            true
        }
        Err(error) => {
            swept.failed += 1;
            tracing::error!(subject, %error, "the operator cannot be told");
            false
        }
    }
}

/// Whether anything of what a channel's bots store has to be kept secret.
fn has_secrets(channel: Channel) -> bool {
    with_platform!(channel, P => <P as Platform>::Settings::HAS_SECRETS, webchat => true)
}

/// What an operator has to do to rotate the keys of a bot on a channel.
#[must_use]
pub fn steps(channel: Channel, bot: &BotId) -> String {
    let steps = with_platform!(
        channel,
        P => <P as Platform>::Settings::ROTATION,
        webchat => "1. hoopoe keys rotate webchat --bot <bot>\n"
    );
    steps.replace("<bot>", bot.as_str())
}

fn old_age(channel: Channel, bot: &BotId, days: u32, policy: &Policy) -> Notice {
    let limit = policy.rotate_after.as_secs() / DAY.as_secs();
    Notice {
        subject: format!("Hoopoe: the keys of {channel}/{bot} are {days} days old"),
        text: format!(
            "The keys of the bot \"{bot}\" on {channel} were stored {days} days ago; they are to be rotated after {limit} \
             days. {channel} lets only a person do that:\n\n{}",
            steps(channel, bot)
        ),
    }
}

fn doubt(key: &KeyName, current: &Version, why: &str) -> Notice {
    let KeyName { channel, bot, purpose } = key;
    let number = current.number;
    Notice {
        subject: format!("Hoopoe: the rotation of {key} is not finished"),
        text: format!(
            "Version {number} of the {purpose} key of the bot \"{bot}\" on {channel} has been in force for the time it is \
             watched, but {why}. Both versions stay accepted until that changes.\n\n\
             hoopoe keys verify {channel} --bot {bot}    shows which version is used how often\n\
             hoopoe keys revoke {channel} --bot {bot} --purpose {purpose} --version {number}    goes back to the one before\n"
        ),
    }
}
