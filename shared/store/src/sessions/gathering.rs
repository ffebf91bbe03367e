//! Messages that are answered together with an earlier one, whose answer comes later and is not begun yet.
//!
//! Which messages joined stands in the turn ([`Turns::join`](crate::Turns::join)): there, whoever comes first decides, the
//! message that joins or the author that begins. The session only says that there is such a turn. It says so also when
//! joining is over, to those that came before the first with a reply of its own: one of them may have joined already, by
//! a function that ended before it could write the session.

use hoopoe_message::InboundMessage;
use serde::{Deserialize, Serialize};

use super::Session;

/// A turn that messages may have joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gathered {
    /// The number of its message.
    turn: u64,
    /// The first message that has a reply of its own: those after it cannot join, or they would be answered before it.
    over: Option<u64>,
}

/// That a message may be answered together with an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gathering {
    turn: u64,
}

impl Gathering {
    /// The number of the earlier message.
    #[must_use]
    pub const fn turn(self) -> u64 {
        self.turn
    }
}

impl Session {
    /// The turn that a message may join, or may have joined.
    #[must_use]
    pub fn gathering(&self, message: &InboundMessage) -> Option<Gathering> {
        let Gathered { turn, over } = self.gathered?;
        let may_join = turn < message.number && over.is_none_or(|over| message.number < over);
        may_join.then_some(Gathering { turn })
    }

    /// Whether a turn may begin that later messages can join: not while one that is missing may have joined the last one.
    pub(super) fn may_gather(&self) -> bool {
        self.gathered.is_none_or(|Gathered { turn, over }| {
            !self.missed.touches(turn + 1, over.unwrap_or(self.last).max(turn + 1))
        })
    }

    /// Lets later messages join the turn of this message, unless one that is missing may have joined the last such turn;
    /// whether they can.
    pub fn gather(&mut self, message: &InboundMessage) -> bool {
        let may = self.may_gather();
        if may {
            self.gathered = Some(Gathered { turn: message.number, over: None });
        }
        may
    }

    /// Takes note that a message has not joined.
    pub fn stop_gathering(&mut self, message: &InboundMessage) {
        if let Some(Gathered { turn, over }) = &mut self.gathered
            && *turn < message.number
        {
            *over = Some(over.map_or(message.number, |over| over.min(message.number)));
        }
    }
}
