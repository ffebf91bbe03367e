//! The arithmetic of a rate: slots on one schedule that all functions share, and each function's share beside it.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use super::Quota;

/// Microseconds: a time since the Unix epoch, or a span.
pub(super) type Micros = u64;

/// After silence the schedule begins this far in the past: half a second's worth of slots, and one, is free at once.
pub(super) const BURST: Micros = 500_000;

/// A slot may be used from its time on, and until so much later.
pub(super) const LIFE: Micros = 1_000_000;

/// What is reserved ahead is reckoned from the calls of the last second.
const RECENT: Micros = 1_000_000;

/// After silence a function may use so much of its share at once.
const OWN_BURST: Micros = 1_000_000;

/// How a key's rate is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Division {
    /// Between two slots of the schedule that all functions share.
    step: Micros,
    /// Between two calls that a function makes by its share; `None` if it has none.
    own_step: Option<Micros>,
}

impl Division {
    /// Half of the rate, divided among `functions` in whole calls a second; what is left is shared.
    pub(super) const fn of(quota: Quota, functions: Option<NonZeroU32>) -> Self {
        let rate = quota.per_second.get();
        let (functions, own) = match functions {
            Some(functions) => (functions.get(), rate / 2 / functions.get()),
            None => (0, 0),
        };
        let own_step = if own == 0 { None } else { Some(step(own)) };
        Self { step: step(rate - own * functions), own_step }
    }
}

/// The time between two of so many calls a second, rounded up: never more calls than said.
const fn step(per_second: u32) -> Micros {
    1_000_000_u64.div_ceil(per_second as u64)
}

/// What one function knows about a key's schedule.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// When the next call by its share may go; `None` before the function's first call. A function that is new may have
    /// taken the place of one that just used its share, so it has to earn one first.
    own_at: Option<Micros>,
    /// Before this the platform takes nothing.
    paused_until: Micros,
    /// The slots it has reserved and not used: from `next` on, each `step` after the one before, up to `end`.
    next: Micros,
    end: Micros,
    step: Micros,
    /// The table's `next_at` when this function last heard of it, or the end of a pause. It never goes back.
    known: Micros,
    /// When the calls of the last second were let go.
    recent: VecDeque<Micros>,
}

/// What a caller gets from the slots at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This slot is the caller's.
    Slot(Micros),
    /// The next slot comes at this time, which is later than the caller waits.
    Later(Micros),
    /// There is none: ask the table.
    Nothing,
}

/// Which of two conditional updates reserves slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guess {
    /// After silence: where `next_at` is `floor` or before, or there is none, it becomes `floor + span`.
    Idle,
    /// Otherwise: where it is after `floor` and not after `last`, it grows by `span`.
    Busy,
}

/// A reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) guess: Guess,
    /// Before this no slot begins.
    pub(super) floor: Micros,
    /// The latest `next_at` with which the first slot comes in time.
    pub(super) last: Micros,
    /// How far the slots reach.
    pub(super) span: Micros,
    step: Micros,
}

impl Rate {
    /// Takes the next slot at hand, if it comes by `until`.
    pub(super) fn take(&mut self, now: Micros, until: Micros) -> Found {
        let earliest = now.saturating_sub(LIFE);
        if self.next < earliest && self.next < self.end {
            self.next += (earliest - self.next).div_ceil(self.step) * self.step;
        }
        if self.next >= self.end {
            return Found::Nothing;
        }
        if self.next > until {
            return Found::Later(self.next);
        }
        let slot = self.next;
        self.next += self.step;
        self.recent.push_back(now);
        Found::Slot(slot)
    }

    /// Whether a call may go now by this function's share.
    pub(super) fn take_own(&mut self, division: Division, now: Micros) -> bool {
        let Some(step) = division.own_step else { return false };
        let earned = self.paused_until + step;
        let Some(next) = self.own_at else {
            self.own_at = Some(earned.max(now + step));
            return false;
        };
        let next = next.max(earned).max((now + step).saturating_sub(OWN_BURST));
        if next > now {
            return false;
        }
        self.own_at = Some(next + step);
        true
    }

    /// Takes note that the platform takes nothing before `until`: what was reserved until then is lost.
    pub(super) fn pause(&mut self, until: Micros) {
        self.paused_until = self.paused_until.max(until);
        self.known = self.known.max(until);
        if self.next < until {
            self.end = self.next;
        }
    }

    /// Until when this function knows of a pause.
    pub(super) const fn paused_until(&self) -> Micros {
        self.paused_until
    }

    /// What to reserve for `waiting` callers, of whom this one waits until `until`; or, as an error, the time of the next
    /// slot, where that is later. Nothing is reserved then.
    ///
    /// As many slots as callers are there now and can wait for theirs, and as many as there were in the last second: the
    /// callers of the next one find theirs here.
    pub(super) fn ask(
        &mut self,
        division: Division,
        now: Micros,
        until: Micros,
        waiting: usize,
    ) -> Result<Ask, Micros> {
        while self.recent.front().is_some_and(|used| used + RECENT < now) {
            self.recent.pop_front();
        }
        let (step, floor) = (division.step, now.saturating_sub(BURST));
        let first = self.known.max(floor);
        if first > until {
            return Err(first);
        }
        let count = (waiting as u64).clamp(1, (until - first) / step + 1) + self.recent.len() as u64;
        let guess = if self.known > floor { Guess::Busy } else { Guess::Idle };
        Ok(Ask { guess, floor, last: until, span: count * step, step })
    }

    /// The table did as asked, and now says `next_at`.
    pub(super) fn granted(&mut self, ask: &Ask, next_at: Micros) {
        self.known = next_at;
        (self.next, self.end, self.step) = (next_at.saturating_sub(ask.span), next_at, ask.step);
    }

    /// The condition did not hold: the table says `next_at`, and until when the platform takes nothing.
    pub(super) fn refused(&mut self, next_at: Micros, paused_until: Micros) {
        self.known = next_at;
        self.pause(paused_until);
    }
}

/// Whether a slot may be used now.
pub(super) const fn is_usable(slot: Micros, now: Micros) -> bool {
    slot <= now && now <= slot + LIFE
}

#[cfg(test)]
mod tests;
