//! Whether a version that took over has proved itself.

use std::time::Duration;

use hoopoe_keyring::{Purpose, Use};
use hoopoe_message::Timestamp;

/// The version before is still in use where it was accepted within this time.
const RECENT: Duration = Duration::from_secs(3600);

/// By how much more often the new version may be refused than the one before, as a share of all uses.
const TOLERANCE: f64 = 0.01;

/// What the uses of two versions say of the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It works, and the one before is needed no more.
    Proved,
    /// Neither was used: nothing can be said, and nobody misses anything.
    Unused,
    /// It should not be the only one.
    Doubtful(&'static str),
}

/// Judges by what was counted since the new version took over.
#[must_use]
pub fn judge(purpose: Purpose, new: Use, old: Use, now: Timestamp) -> Verdict {
    let old_is_in_use = old.last_accepted_at.is_some_and(|at| now.since(at) < RECENT);
    match purpose {
        _ if new == Use::default() && old == Use::default() => Verdict::Unused,
        Purpose::Webhook if old_is_in_use => {
            Verdict::Doubtful("requests still come that are signed with the version before")
        }
        Purpose::Webhook if new.accepted == 0 => Verdict::Doubtful("no request came that is signed with it"),
        Purpose::Send if new.accepted == 0 => Verdict::Doubtful("nothing was sent with it"),
        Purpose::Send if refused_share(new) > refused_share(old) + TOLERANCE => {
            Verdict::Doubtful("the platform refuses it more often than the version before")
        }
        Purpose::Webhook | Purpose::Send => Verdict::Proved,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
fn refused_share(uses: Use) -> f64 {
    let all = uses.accepted + uses.refused;
    if all == 0 { 0.0 } else { uses.refused as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn uses(accepted: u64, refused: u64, minutes_ago: u64) -> Use {
        let last = Timestamp::from_secs(NOW.as_secs() - 60 * minutes_ago);
        Use { accepted, refused, last_accepted_at: (accepted > 0).then_some(last) }
    }

    #[test]
    fn a_webhook_key_is_proved_once_the_platform_signs_with_it_alone() {
        let judge = |new, old| judge(Purpose::Webhook, new, old, NOW);
        assert_eq!(judge(uses(10, 0, 1), uses(0, 0, 0)), Verdict::Proved);
        assert_eq!(judge(uses(10, 0, 1), uses(500, 0, 61)), Verdict::Proved);
        assert!(matches!(judge(uses(10, 0, 1), uses(500, 0, 59)), Verdict::Doubtful(why) if why.contains("before")));
        assert!(matches!(judge(uses(0, 0, 0), uses(500, 0, 61)), Verdict::Doubtful(why) if why.contains("no request")));
        assert_eq!(judge(uses(0, 0, 0), uses(0, 0, 0)), Verdict::Unused);
    }

    #[test]
    fn a_send_key_is_proved_where_it_is_refused_no_more_often() {
        let judge = |new, old| judge(Purpose::Send, new, old, NOW);
        assert_eq!(judge(uses(100, 1, 1), uses(0, 0, 0)), Verdict::Proved);
        assert_eq!(judge(uses(100, 5, 1), uses(100, 5, 1)), Verdict::Proved);
        assert!(matches!(judge(uses(100, 2, 1), uses(0, 0, 0)), Verdict::Doubtful(_)));
        assert!(
            matches!(judge(uses(0, 7, 0), uses(7, 0, 1)), Verdict::Doubtful(why) if why.contains("nothing was sent"))
        );
        assert_eq!(judge(uses(0, 0, 0), uses(0, 0, 0)), Verdict::Unused);
    }
}
