//! Rotations that are killed between any two steps, run twice, or run late: at every moment the version that the platform
//! knows is accepted, and in the end everything is where it belongs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use hoopoe_keyring::{History, KeyName, KeyringError, Move, Purpose, State, Stored, Use, Version};
use hoopoe_message::{Channel, Timestamp};
use hoopoe_rotation::platforms::{PlatformError, Tested};
use hoopoe_rotation::{Ledger, Notice, Notify, Platforms, Policy, RotationError, rotate, sweep};
use proptest::collection::vec;
use proptest::prelude::*;
use zeroize::Zeroizing;

const BEGIN: Timestamp = Timestamp::from_secs(1_800_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn policy() -> Policy {
    Policy { rotate_after: DAY * 90, notice_days: vec![75, 85, 90], watch: DAY, keep: DAY * 30 }
}

fn key(purpose: Purpose) -> KeyName {
    KeyName { channel: Channel::Telegram, bot: "main".parse().expect("a name"), purpose }
}

/// The tables, the platform and the operator, with a clock that is set by hand.
struct World(Mutex<Inside>);

struct Inside {
    now: Timestamp,
    keys: BTreeMap<KeyName, (History, HashMap<u64, Vec<u8>>)>,
    uses: HashMap<(KeyName, u64), Use>,
    /// The secret token that Telegram sends along.
    telegram: Vec<u8>,
    notices: Vec<Notice>,
    /// After so many effects the process dies: before the effect where `late` is not set, else after it.
    crash_in: Option<u32>,
    late: bool,
}

fn crash() -> KeyringError {
    KeyringError::Call { operation: "the process", cause: "killed".into() }
}

impl World {
    fn new() -> Self {
        let webhook = br#"{"secret_token":"first","bot_id":7,"bot_username":null,"group_prefix":null}"#.to_vec();
        let mut keys = BTreeMap::new();
        for (purpose, value) in [(Purpose::Webhook, webhook.clone()), (Purpose::Send, b"send".to_vec())] {
            let history = History::default();
            let history = history.after(&history.plan(Move::Add, BEGIN).expect("the first version"));
            keys.insert(key(purpose), (history, HashMap::from([(1, value)])));
        }
        let telegram = token(&webhook);
        Self(Mutex::new(Inside {
            now: BEGIN,
            keys,
            uses: HashMap::new(),
            telegram,
            notices: Vec::new(),
            crash_in: None,
            late: false,
        }))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Inside) -> T) -> T {
        look(&mut self.0.lock().expect("no panic"))
    }

    /// An effect, unless the process dies before it or right after.
    fn effect<T, E>(&self, dead: impl Fn() -> E, effect: impl FnOnce(&mut Inside) -> Result<T, E>) -> Result<T, E> {
        self.with(|state| {
            let dies = match &mut state.crash_in {
                Some(0) => return Err(dead()),
                Some(left) => {
                    *left -= 1;
                    *left == 0
                }
                None => false,
            };
            if dies && !state.late {
                return Err(dead());
            }
            let done = effect(state);
            if dies { Err(dead()) } else { done }
        })
    }

    fn history(&self, purpose: Purpose) -> History {
        self.with(|state| state.keys[&key(purpose)].0.clone())
    }

    /// Whether a request that Telegram sends now would be accepted.
    fn accepts_telegram(&self) -> bool {
        self.with(|state| {
            let (history, values) = &state.keys[&key(Purpose::Webhook)];
            history.live().any(|version| token(&values[&version.number]) == state.telegram)
        })
    }

    /// Somebody writes to the bot, and is answered.
    fn traffic(&self) {
        self.with(|state| {
            let (now, telegram) = (state.now, state.telegram.clone());
            for (name, (history, values)) in &state.keys {
                let signed =
                    |version: &&Version| name.purpose == Purpose::Send || token(&values[&version.number]) == telegram;
                if let Some(version) = history.live().find(signed) {
                    let uses = state.uses.entry((name.clone(), version.number)).or_default();
                    uses.accepted += 1;
                    uses.last_accepted_at = Some(now);
                }
            }
        });
    }
}

fn token(webhook: &[u8]) -> Vec<u8> {
    let keys: serde_json::Value = serde_json::from_slice(webhook).expect("JSON");
    keys["secret_token"].as_str().expect("a token").as_bytes().to_vec()
}

impl Ledger for World {
    async fn list(&self) -> Result<Vec<Stored>, KeyringError> {
        self.effect(crash, |state| {
            let stored =
                |(key, (history, _)): (&KeyName, &(History, _))| Stored { key: key.clone(), history: history.clone() };
            Ok(state.keys.iter().map(stored).collect())
        })
    }

    async fn history(&self, key: &KeyName) -> Result<History, KeyringError> {
        self.effect(crash, |state| Ok(state.keys[key].0.clone()))
    }

    async fn add(&self, key: &KeyName, secret: &[u8]) -> Result<Version, KeyringError> {
        self.effect(crash, |state| {
            let now = state.now;
            let (history, values) = state.keys.get_mut(key).expect("a known key");
            let changes =
                history.plan(Move::Add, now).map_err(|fault| KeyringError::Move { key: key.clone(), fault })?;
            *history = history.after(&changes);
            let version = changes.last().expect("a new version").after;
            values.insert(version.number, secret.to_vec());
            Ok(version)
        })
    }

    async fn open(&self, key: &KeyName, version: u64) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        self.effect(crash, |state| {
            let value = state.keys[key].1.get(&version).cloned();
            value.map(Zeroizing::new).ok_or_else(|| KeyringError::Missing(key.clone()))
        })
    }

    async fn step(&self, key: &KeyName, step: Move) -> Result<History, KeyringError> {
        self.effect(crash, |state| {
            let now = state.now;
            let (history, values) = state.keys.get_mut(key).expect("a known key");
            let changes = history.plan(step, now).map_err(|fault| KeyringError::Move { key: key.clone(), fault })?;
            for change in changes.iter().filter(|change| change.after.state == State::Destroyed) {
                values.remove(&change.after.number);
            }
            *history = history.after(&changes);
            Ok(history.clone())
        })
    }

    async fn uses(&self, key: &KeyName) -> Result<BTreeMap<u64, Use>, KeyringError> {
        self.effect(crash, |state| {
            let of = state.uses.iter().filter(|((name, _), _)| name == key);
            Ok(of.map(|((_, version), uses)| (*version, *uses)).collect())
        })
    }
}

impl Platforms for World {
    async fn set(&self, _key: &KeyName, secret: &[u8], send: Option<&[u8]>) -> Result<(), PlatformError> {
        assert_eq!(send, Some(&b"send"[..]), "Telegram is told with the bot's token");
        self.effect(
            || PlatformError::Unclear("killed".into()),
            |state| {
                state.telegram = token(secret);
                Ok(())
            },
        )
    }

    async fn test(&self, _key: &KeyName, secret: &[u8], _send: Option<&[u8]>) -> Result<Tested, PlatformError> {
        let accepted = self.accepts_telegram();
        self.effect(
            || PlatformError::Unclear("killed".into()),
            |state| {
                assert!(accepted && state.telegram == token(secret), "what is tried is what was set");
                Ok(Tested::Accepted)
            },
        )
    }
}

impl Notify for World {
    type Error = KeyringError;

    async fn notify(&self, notice: Notice) -> Result<(), KeyringError> {
        self.effect(crash, |state| {
            state.notices.push(notice);
            Ok(())
        })
    }
}

#[derive(Clone, Debug)]
enum Event {
    Rotate,
    Sweep,
    Traffic,
    Hours(u64),
}

fn events() -> impl Strategy<Value = Vec<(Event, Option<(u32, bool)>)>> {
    let event = prop_oneof![
        3 => Just(Event::Rotate),
        4 => Just(Event::Sweep),
        3 => Just(Event::Traffic),
        2 => (1_u64..48).prop_map(Event::Hours),
        1 => (24_u64 * 20..24 * 100).prop_map(Event::Hours),
    ];
    vec((event, proptest::option::of((0_u32..14, any::<bool>()))), 1..40)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(future)
}

fn sweep_now(world: &World) -> Result<hoopoe_rotation::Swept, KeyringError> {
    let now = world.with(|state| state.now);
    run(sweep(world, world, world, &policy(), now))
}

fn rotate_now(world: &World) -> Result<u64, RotationError> {
    run(rotate(world, world, &key(Purpose::Webhook)))
}

proptest! {
    #[test]
    fn telegram_is_always_understood(events in events()) {
        let world = World::new();
        for (event, crash) in events {
            world.with(|state| (state.crash_in, state.late) = (crash.map(|(at, _)| at + 1), crash.is_some_and(|(_, late)| late)));
            match &event {
                // A process that dies says nothing; whether it did its work shows below.
                Event::Rotate => drop(rotate_now(&world)),
                Event::Sweep => drop(sweep_now(&world)),
                Event::Traffic => world.traffic(),
                Event::Hours(hours) => world.with(|state| state.now = state.now.plus(Duration::from_secs(hours * 3600))),
            }
            prop_assert!(world.accepts_telegram(), "after {event:?}");
            prop_assert!(world.history(Purpose::Send).current().is_some());
        }
        // Once nothing dies any more, all comes to its end.
        world.with(|state| state.crash_in = None);
        rotate_now(&world).expect("a rotation that was begun goes on");
        prop_assert!(world.history(Purpose::Webhook).pending().is_none());
        for _ in 0..2 {
            world.traffic();
            world.with(|state| state.now = state.now.plus(DAY));
            prop_assert_eq!(sweep_now(&world).expect("swept").failed, 0);
        }
        // What is still watched took over just now: a version that was begun long ago is old soon after.
        let now = world.with(|state| state.now);
        prop_assert!(world.history(Purpose::Webhook).current().is_some_and(|current| !current.watched || current.since == now));
        world.with(|state| state.now = state.now.plus(DAY * 31));
        prop_assert_eq!(sweep_now(&world).expect("swept").failed, 0);
        let history = world.history(Purpose::Webhook);
        let live: Vec<u64> = history.live().map(|version| version.number).collect();
        let over = |version: &&Version| version.state != State::Destroyed && !live.contains(&version.number);
        prop_assert_eq!(history.versions().iter().find(over), None);
        prop_assert!(world.accepts_telegram());
    }

    /// The operator hears of each age, also where the function dies around the notice; twice only where it died between
    /// sending and noting it.
    #[test]
    fn every_notice_arrives(crash in 0_u32..14, late in any::<bool>()) {
        let world = World::new();
        for days in [74, 75, 76, 85, 90, 91] {
            world.with(|state| state.now = BEGIN.plus(DAY * days));
            world.with(|state| (state.crash_in, state.late) = (Some(crash + 1), late));
            drop(sweep_now(&world));
            world.with(|state| state.crash_in = None);
            sweep_now(&world).expect("swept");
            sweep_now(&world).expect("swept twice");
        }
        let subjects: Vec<String> =
            world.with(|state| state.notices.iter().map(|notice| notice.subject.clone()).collect());
        for days in [75, 85, 90] {
            let count = subjects.iter().filter(|subject| subject.contains(&format!("{days} days"))).count();
            prop_assert!((1..=2).contains(&count), "{days}: {subjects:?}");
        }
        prop_assert!(subjects.iter().all(|subject| !subject.contains("74") && !subject.contains("76")));
    }
}

#[test]
fn what_is_ninety_days_old_is_rotated_and_not_before() {
    let world = World::new();
    world.with(|state| state.now = BEGIN.plus(DAY * 90 - Duration::from_secs(1)));
    assert_eq!(sweep_now(&world).expect("swept").rotated, 0);
    world.with(|state| state.now = BEGIN.plus(DAY * 90));
    assert_eq!(sweep_now(&world).expect("swept").rotated, 1);
    assert_eq!(sweep_now(&world).expect("swept again").rotated, 0);
    assert_eq!(world.history(Purpose::Webhook).current().map(|current| current.number), Some(2));
}

#[test]
fn a_rotation_that_has_not_proved_itself_is_not_finished_and_the_operator_is_told_once_a_day() {
    let world = World::new();
    rotate_now(&world).expect("rotated");
    // Telegram goes back to the old token: somebody called setWebhook by hand.
    world.with(|state| state.telegram = b"first".to_vec());
    for hour in 0..72 {
        world.traffic();
        let swept = sweep_now(&world).expect("swept");
        assert_eq!(swept.finished, 0, "hour {hour}");
        world.with(|state| state.now = state.now.plus(Duration::from_secs(3600)));
    }
    let notices = world.with(|state| state.notices.clone());
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(notices[0].text.contains("hoopoe keys revoke telegram --bot main --purpose webhook --version 2"));
    assert!(world.accepts_telegram());
}

#[test]
fn what_nobody_uses_stays_as_it_is() {
    let world = World::new();
    rotate_now(&world).expect("rotated");
    world.with(|state| state.now = BEGIN.plus(DAY * 60));
    let swept = sweep_now(&world).expect("swept");
    assert_eq!((swept.finished, swept.destroyed, swept.notified), (0, 0, 0));
    assert!(world.accepts_telegram());
}
