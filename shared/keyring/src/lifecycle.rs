//! The life of a key's versions: which states there are, and which moves lead from one to the other.
//!
//! ```text
//!            add               promote               promote of the next         destroy
//! (nothing) -----> pending ----------------> current -------------------> previous -----> destroyed
//!                     |                        |  ^                          |               ^
//!                     |                        |  '--- revoke of the next ---|               |
//!                     '------------------------'------- revoke -------------'--> revoked ----'
//! ```
//!
//! While a rotation is on, two versions are live: what a platform signs is accepted with either, and what is sent goes
//! out with the current one and, where the platform does not take that, once with the other. A rotation begins with a
//! pending version, and ends when the version that took over has been watched and `finish` is said.
//!
//! Everything here is arithmetic on what the Keys table said. [`Vault`](crate::Vault) writes a move's changes in one
//! transaction, on the condition that the states are still those that were read.

use std::fmt;
use std::str::FromStr;

use hoopoe_message::Timestamp;

/// Where a version is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Stored, and accepted from the platform; not used for sending until it is promoted.
    Pending,
    /// In force.
    Current,
    /// Replaced. Live until the rotation is finished, and kept a while after that.
    Previous,
    /// Refused everywhere. Its ciphertext is still there.
    Revoked,
    /// Its ciphertext is gone.
    Destroyed,
}

impl State {
    const ALL: [Self; 5] = [Self::Pending, Self::Current, Self::Previous, Self::Revoked, Self::Destroyed];

    /// The name in the table and in lists.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Current => "current",
            Self::Previous => "previous",
            Self::Revoked => "revoked",
            Self::Destroyed => "destroyed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for State {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(())
    }
}

/// A version, without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Counted from 1; never used twice.
    pub number: u64,
    /// Where it is in its life.
    pub state: State,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When it came into this state.
    pub since: Timestamp,
    /// It took over from another, and that rotation is not finished.
    pub watched: bool,
    /// The age in days that the operator was last told of; 0 before that.
    pub noticed: u32,
}

/// What can be done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Store a version: as pending, or as current where there is none.
    Add,
    /// Store a version that takes over at once.
    Replace,
    /// The pending version takes over.
    Promote,
    /// The current version has proved itself: the one before it is not accepted any more.
    Finish,
    /// Refuse this version. Where it was the current one, the one before it comes back if it is still live, else the
    /// pending one takes over, else nothing is left.
    Revoke(u64),
    /// Delete this version's value.
    Destroy(u64),
    /// Delete the values of all versions.
    Remove,
    /// The operator was told that the current version is so many days old.
    Notice(u32),
}

/// A version that a move changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// How it was read; `None` for a new one.
    pub before: Option<Version>,
    /// How it is to be written.
    pub after: Version,
}

/// Why a move is not possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IllegalMove {
    /// A second rotation while one is on.
    #[error("version {0} is pending")]
    Pending(u64),
    /// Nothing to promote.
    #[error("no version is pending")]
    NothingPending,
    /// Nothing to finish.
    #[error("no rotation is on")]
    NothingWatched,
    /// There is no such version.
    #[error("there is no version {0}")]
    NoSuchVersion(u64),
    /// Not from this state.
    #[error("version {number} is {state}")]
    State {
        /// The version.
        number: u64,
        /// What it is.
        state: State,
    },
    /// Nothing is left to remove or to tell of.
    #[error("there is no such key")]
    NoKey,
}

/// All versions of a key, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History(Vec<Version>);

impl History {
    /// Of these versions, in any order.
    #[must_use]
    pub fn new(mut versions: Vec<Version>) -> Self {
        versions.sort_by_key(|version| version.number);
        Self(versions)
    }

    /// All of them, the oldest first.
    #[must_use]
    pub fn versions(&self) -> &[Version] {
        &self.0
    }

    /// The version in force.
    #[must_use]
    pub fn current(&self) -> Option<&Version> {
        self.newest(State::Current)
    }

    /// The version that waits to take over.
    #[must_use]
    pub fn pending(&self) -> Option<&Version> {
        self.newest(State::Pending)
    }

    /// The version that the current one took over from, while the rotation is not finished. One that was replaced before
    /// that does not come back when this one is revoked.
    #[must_use]
    pub fn previous(&self) -> Option<&Version> {
        let current = self.current().filter(|current| current.watched)?;
        // The one stepped back in the moment in which the other took over.
        self.newest(State::Previous).filter(|previous| previous.since == current.since)
    }

    /// The versions that are accepted, in the order in which they are tried: current, pending, previous.
    pub fn live(&self) -> impl Iterator<Item = &Version> {
        self.current().into_iter().chain(self.pending()).chain(self.previous())
    }

    fn newest(&self, state: State) -> Option<&Version> {
        self.0.iter().rfind(|version| version.state == state)
    }

    /// What a move changes, the new version last.
    ///
    /// # Errors
    ///
    /// Where the move is not possible from here.
    pub fn plan(&self, step: Move, now: Timestamp) -> Result<Vec<Change>, IllegalMove> {
        let to = |version: &Version, state, watched| Change {
            before: Some(*version),
            after: Version { state, since: now, watched, ..*version },
        };
        let new = |state, watched| Change {
            before: None,
            after: Version {
                number: self.0.last().map_or(0, |last| last.number) + 1,
                state,
                created_at: now,
                since: now,
                watched,
                noticed: 0,
            },
        };
        // Whoever is in force steps back for the version that takes over.
        let succession = |successor: Change| {
            let retired = self.current().map(|current| to(current, State::Previous, false));
            retired.into_iter().chain([successor]).collect()
        };
        match step {
            Move::Add | Move::Replace => match (self.pending(), self.current()) {
                (Some(pending), _) => Err(IllegalMove::Pending(pending.number)),
                (None, None) => Ok(vec![new(State::Current, false)]),
                (None, Some(_)) if step == Move::Add => Ok(vec![new(State::Pending, false)]),
                (None, Some(_)) => Ok(succession(new(State::Current, true))),
            },
            Move::Promote => {
                let pending = self.pending().ok_or(IllegalMove::NothingPending)?;
                Ok(succession(to(pending, State::Current, self.current().is_some())))
            }
            Move::Finish => {
                let current = self.current().filter(|current| current.watched).ok_or(IllegalMove::NothingWatched)?;
                Ok(vec![Change { before: Some(*current), after: Version { watched: false, ..*current } }])
            }
            Move::Revoke(number) => {
                let version = self.find(number)?;
                match version.state {
                    State::Pending | State::Previous => Ok(vec![to(version, State::Revoked, false)]),
                    State::Current => {
                        let heir = self.previous().or(self.pending()).map(|heir| to(heir, State::Current, false));
                        Ok([to(version, State::Revoked, false)].into_iter().chain(heir).collect())
                    }
                    state @ (State::Revoked | State::Destroyed) => Err(IllegalMove::State { number, state }),
                }
            }
            Move::Destroy(number) => {
                let version = self.find(number)?;
                match version.state {
                    State::Pending | State::Previous | State::Revoked => Ok(vec![to(version, State::Destroyed, false)]),
                    state @ (State::Current | State::Destroyed) => Err(IllegalMove::State { number, state }),
                }
            }
            Move::Remove => {
                let there = self.0.iter().filter(|version| version.state != State::Destroyed);
                let changes: Vec<_> = there.map(|version| to(version, State::Destroyed, false)).collect();
                if changes.is_empty() { Err(IllegalMove::NoKey) } else { Ok(changes) }
            }
            Move::Notice(days) => {
                let current = self.current().ok_or(IllegalMove::NoKey)?;
                Ok(vec![Change { before: Some(*current), after: Version { noticed: days, ..*current } }])
            }
        }
    }

    fn find(&self, number: u64) -> Result<&Version, IllegalMove> {
        self.0.iter().find(|version| version.number == number).ok_or(IllegalMove::NoSuchVersion(number))
    }

    /// As it is after these changes.
    #[must_use]
    pub fn after(&self, changes: &[Change]) -> Self {
        let untouched =
            self.0.iter().filter(|version| changes.iter().all(|change| change.after.number != version.number));
        Self::new(untouched.copied().chain(changes.iter().map(|change| change.after)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let version = 1_u64..8;
        let step = prop_oneof![
            3 => Just(Move::Add),
            2 => Just(Move::Replace),
            4 => Just(Move::Promote),
            3 => Just(Move::Finish),
            2 => version.clone().prop_map(Move::Revoke),
            2 => version.prop_map(Move::Destroy),
            1 => Just(Move::Remove),
            1 => (75_u32..91).prop_map(Move::Notice),
        ];
        vec(step, 0..40)
    }

    fn legal(before: Option<State>, after: State) -> bool {
        use State::{Current, Destroyed, Pending, Previous, Revoked};
        match before {
            None => matches!(after, Pending | Current),
            Some(Pending) => matches!(after, Current | Revoked | Destroyed),
            Some(Current) => matches!(after, Current | Previous | Revoked | Destroyed),
            Some(Previous) => matches!(after, Current | Revoked | Destroyed),
            Some(Revoked) => after == Destroyed,
            Some(Destroyed) => false,
        }
    }

    proptest! {
        #[test]
        fn no_sequence_of_moves_leads_astray(moves in moves()) {
            let mut history = History::default();
            for (at, step) in moves.into_iter().enumerate() {
                let Ok(changes) = history.plan(step, Timestamp::from_secs(at as u64)) else { continue };
                prop_assert!(!changes.is_empty());
                for change in &changes {
                    prop_assert!(legal(change.before.map(|version| version.state), change.after.state), "{change:?}");
                    // A number is never given twice.
                    let known = history.versions().iter().any(|version| version.number == change.after.number);
                    prop_assert_eq!(known, change.before.is_some());
                }
                let (next, had_current) = (history.after(&changes), history.current().is_some());
                let count = |state| next.versions().iter().filter(|version| version.state == state).count();
                prop_assert!(count(State::Current) <= 1 && count(State::Pending) <= 1);
                prop_assert!(next.live().all(|version| !matches!(version.state, State::Revoked | State::Destroyed)));
                // Only who revokes or removes can leave a bot without a key.
                if had_current && !matches!(step, Move::Revoke(_) | Move::Remove) {
                    prop_assert!(next.current().is_some(), "{step:?}");
                }
                // What was in force is still accepted right after another took over.
                if let (Some(old), Move::Promote | Move::Replace) = (history.current(), step) {
                    prop_assert!(next.live().any(|version| version.number == old.number));
                }
                history = next;
            }
        }

        #[test]
        fn a_state_reads_as_it_is_written(at in 0_usize..5) {
            let state = State::ALL[at];
            prop_assert_eq!(state.as_str().parse(), Ok(state));
        }
    }

    fn played(moves: &[Move]) -> History {
        moves.iter().zip(0..).fold(History::default(), |history, (step, second)| {
            history.after(&history.plan(*step, Timestamp::from_secs(second)).expect("a legal move"))
        })
    }

    fn live(history: &History) -> Vec<u64> {
        history.live().map(|version| version.number).collect()
    }

    #[test]
    fn a_rotation_keeps_both_versions_live_from_its_beginning_to_its_end() {
        assert_eq!(live(&played(&[Move::Add])), [1]);
        assert_eq!(live(&played(&[Move::Add, Move::Add])), [1, 2]);
        assert_eq!(live(&played(&[Move::Add, Move::Add, Move::Promote])), [2, 1]);
        assert_eq!(live(&played(&[Move::Add, Move::Add, Move::Promote, Move::Finish])), [2]);
        assert_eq!(live(&played(&[Move::Add, Move::Replace])), [2, 1]);
    }

    #[test]
    fn a_version_that_fails_gives_way_to_the_one_before_it() {
        let watched = [Move::Add, Move::Replace];
        assert_eq!(live(&played(&[&watched[..], &[Move::Revoke(2)]].concat())), [1]);
        assert_eq!(live(&played(&[&watched[..], &[Move::Finish, Move::Revoke(2)]].concat())), [] as [u64; 0]);
        assert_eq!(live(&played(&[Move::Add, Move::Add, Move::Revoke(1)])), [2]);
        // The version before a revoked one was given up before: it stays so.
        let twice = [Move::Add, Move::Replace, Move::Replace];
        assert_eq!(live(&played(&twice)), [3, 2]);
        assert_eq!(live(&played(&[&twice[..], &[Move::Revoke(2)]].concat())), [3]);
        assert_eq!(live(&played(&[&twice[..], &[Move::Revoke(2), Move::Revoke(3)]].concat())), [] as [u64; 0]);
    }

    #[test]
    fn an_illegal_move_says_why() {
        let says =
            |moves: &[Move], step| played(moves).plan(step, Timestamp::from_secs(0)).expect_err("illegal").to_string();
        assert_eq!(says(&[Move::Add, Move::Add], Move::Add), "version 2 is pending");
        assert_eq!(says(&[Move::Add], Move::Promote), "no version is pending");
        assert_eq!(says(&[Move::Add], Move::Destroy(1)), "version 1 is current");
        assert_eq!(says(&[Move::Add], Move::Revoke(7)), "there is no version 7");
        assert_eq!(says(&[], Move::Remove), "there is no such key");
        assert_eq!(says(&[Move::Add], Move::Finish), "no rotation is on");
    }
}
