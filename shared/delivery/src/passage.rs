//! A reply on its way through the send records to the platform.

use std::time::Duration;

use hoopoe_aws::Clock;
use hoopoe_message::{Reply, Timestamp};
use hoopoe_store::sends::{Attempt, Settled};
use hoopoe_store::{Begin, Departure, Sends, StoreError};

use crate::http::ANSWER;
use crate::retry::Kind;

/// What is left for the record after a platform has answered.
const SETTLING: Duration = Duration::from_secs(2);

/// How long a reply whose predecessor is about to be settled is waited with before it goes back to the queue, and the
/// first pause before it looks again; each further one is twice as long.
const PATIENCE: Duration = Duration::from_millis(500);
const FIRST_LOOK: Duration = Duration::from_millis(60);

/// One that has to wait for longer goes back at once.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// How often a record is written where it is not known whether it was: it may say that the reply is being sent, and only
/// this function knows that it is not, or that it was.
const WRITES: u32 = 4;

/// Why a reply did not go out, or not all of it.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// It was sent, or given up, before.
    Settled,
    /// Its turn comes later.
    Wait(Duration),
    /// It failed.
    Failed {
        /// How.
        kind: Kind,
        /// In words.
        reason: String,
    },
}

impl End {
    pub(crate) fn failed(kind: Kind, reason: impl ToString) -> Self {
        Self::Failed { kind, reason: reason.to_string() }
    }

    fn store(error: &StoreError) -> Self {
        Self::failed(if error.needs_operator() { Kind::Misconfigured } else { Kind::Unready }, error)
    }
}

/// A reply that a function has taken out of the queue. Nothing of it leaves before [`leave`](Self::leave) has said so.
pub(crate) struct Passage<'a> {
    pub(crate) reply: &'a Reply,
    /// When Lambda ends this function.
    pub(crate) deadline: Timestamp,
    sends: &'a Sends,
    clock: &'a Clock,
    /// How long ago it was first taken out of the queue when it was taken out this time.
    waited: Duration,
    /// When it first asked whether its turn has come. What it does before that, such as waiting for an access token, the
    /// one before it may be waiting for too.
    asked_at: Option<Timestamp>,
    owner: u32,
    /// What the record says; `None` until the reply is begun.
    attempt: Option<Attempt>,
}

impl<'a> Passage<'a> {
    /// A reply that was first taken out of its queue so long ago.
    pub(crate) fn new(
        reply: &'a Reply,
        sends: &'a Sends,
        clock: &'a Clock,
        deadline: Timestamp,
        waited: Duration,
    ) -> Self {
        Self { reply, deadline, sends, clock, waited, asked_at: None, owner: fastrand::u32(1..), attempt: None }
    }

    /// How much time there is before a request must leave, so that its answer can still be recorded; `None` where there
    /// is none.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.deadline.since(self.clock.now()).checked_sub(ANSWER + SETTLING)
    }

    /// Begins the reply, unless that is done, and returns the part at which it begins or goes on. The platform drops a
    /// second sending of that part within `repeatable_for`.
    pub(crate) async fn begin(&mut self, repeatable_for: Option<Duration>) -> Result<usize, End> {
        if let Some(attempt) = &self.attempt {
            return Ok(attempt.part);
        }
        let departure = self.departure(repeatable_for);
        let mut begun = self.record_begin(departure).await?;
        let (mut left, mut look) = (PATIENCE, FIRST_LOOK);
        while let Begin::Wait(pause) = begun {
            if pause > LONGEST_LOOK || left.is_zero() {
                return Err(End::Wait(pause));
            }
            let step = look.min(left);
            tokio::time::sleep(step).await;
            (left, look) = (left - step, look * 2);
            let departure = self.departure(repeatable_for);
            begun = match self.waits(departure).await? {
                Some(pause) => Begin::Wait(pause),
                None => self.record_begin(departure).await?,
            };
        }
        match begun {
            Begin::Send(attempt) => Ok(self.attempt.insert(attempt).part),
            Begin::Settled => Err(End::Settled),
            Begin::Wait(pause) => Err(End::Wait(pause)),
            Begin::Unknown(attempt) => {
                let part = attempt.part;
                let known = attempt.repeatable_until.is_some_and(|until| self.clock.now() < until);
                self.attempt = Some(attempt);
                let reason = "the function ended during the send";
                if known && repeatable_for.is_some() {
                    Ok(part)
                } else {
                    Err(End::failed(Kind::Unknown { repeatable: false }, reason))
                }
            }
        }
    }

    /// Whether the reply's turn may have come, before anything is taken for it that others could use.
    pub(crate) async fn look(&mut self) -> Result<(), End> {
        let departure = self.departure(None);
        match self.waits(departure).await? {
            Some(pause) => Err(End::Wait(pause)),
            None => Ok(()),
        }
    }

    async fn waits(&self, departure: Departure) -> Result<Option<Duration>, End> {
        self.sends.waits(self.reply, departure, self.clock.now()).await.map_err(|error| End::store(&error))
    }

    fn departure(&mut self, repeatable_for: Option<Duration>) -> Departure {
        let now = self.clock.now();
        Departure {
            deadline: self.deadline,
            waited: self.waited + now.since(*self.asked_at.get_or_insert(now)),
            repeatable_until: repeatable_for.map(|window| now.plus(window)),
            owner: self.owner,
        }
    }

    async fn record_begin(&self, departure: Departure) -> Result<Begin, End> {
        for tried in 1.. {
            match self.sends.begin(self.reply, departure, self.clock.now()).await {
                Ok(begin) => return Ok(begin),
                Err(error) if tried == WRITES || error.needs_operator() || self.time_left().is_none() => {
                    return Err(End::store(&error));
                }
                Err(error) => tracing::warn!(reply = %self.reply.id, %error, "a begin is tried again"),
            }
            tokio::time::sleep(FIRST_LOOK * 2_u32.pow(tried)).await;
        }
        unreachable!("the last try returns")
    }

    /// To be called right before a request for the next part leaves: the record then says so.
    pub(crate) async fn leave(&mut self, repeatable_for: Option<Duration>) -> Result<(), End> {
        if self.time_left().is_none() {
            return Err(End::failed(Kind::OutOfTime, "the function's time is over; the rest follows"));
        }
        self.begin(repeatable_for).await?;
        let now = self.clock.now();
        let attempt = self.attempt.as_mut().expect("it is begun");
        // What was begun in a way in which the platform drops a second one stays so until that time is over.
        let same = attempt.is_marked() && attempt.repeatable_until.is_some() == repeatable_for.is_some();
        if same {
            return Ok(());
        }
        attempt.repeatable_until = repeatable_for.map(|window| now.plus(window));
        match self.sends.mark(self.reply, attempt, now).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(End::Wait(Duration::from_secs(1))),
            Err(error) => Err(End::store(&error)),
        }
    }

    /// Takes note that the part went out.
    pub(crate) fn went_out(&mut self) {
        if let Some(attempt) = &mut self.attempt {
            attempt.next_part();
        }
    }

    /// Takes note that all of the reply went out. A failure is logged: the platform has it all the same, so it must leave the
    /// queue, and those after it wait in vain until its time is over.
    pub(crate) async fn settle(&self) {
        let Some(attempt) = &self.attempt else { return };
        for tried in 1..=WRITES {
            let Err(error) = self.sends.settle(self.reply, attempt, Settled::Sent, self.clock.now()).await else {
                return;
            };
            tracing::error!(reply = %self.reply.id, %error, "a reply was sent but that cannot be recorded");
            if error.needs_operator() || self.deadline.since(self.clock.now()) < SETTLING {
                return;
            }
            tokio::time::sleep(FIRST_LOOK * 2_u32.pow(tried)).await;
        }
    }

    /// What the record says; `None` where the reply was not begun.
    pub(crate) const fn attempt_mut(&mut self) -> Option<&mut Attempt> {
        self.attempt.as_mut()
    }

    /// The same.
    pub(crate) fn into_attempt(self) -> Option<Attempt> {
        self.attempt
    }
}
