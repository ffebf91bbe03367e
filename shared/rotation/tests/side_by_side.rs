//! A sweep over many keys whose platform hangs, with tokio's time paused.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Duration;

use hoopoe_keyring::{History, KeyName, KeyringError, Move, Purpose, Stored, Use, Version};
use hoopoe_message::{Channel, Timestamp};
use hoopoe_rotation::platforms::{PlatformError, Tested};
use hoopoe_rotation::{Ledger, Notice, Notify, Platforms, Policy, sweep};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

const BEGIN: Timestamp = Timestamp::from_secs(1_800_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);
const BOTS: u64 = 20;
/// As long as a platform may hang at one key.
const HANGS: Duration = Duration::from_secs(60);
/// `Timeout` of the function that sweeps.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Twenty bots on Telegram, each stored a minute after the one before, and one on WeCom.
struct Fleet {
    keys: Mutex<BTreeMap<KeyName, History>>,
    began: Instant,
    /// When each happened, and what.
    told: Mutex<Vec<(Duration, String)>>,
}

fn key(channel: Channel, bot: &str, purpose: Purpose) -> KeyName {
    KeyName { channel, bot: bot.parse().expect("a name"), purpose }
}

impl Fleet {
    fn new() -> Self {
        // By name the youngest comes first.
        let named = |number: u64| (format!("bot{:02}", BOTS - number), number);
        let telegram = (0..BOTS).map(named).flat_map(|(bot, minutes)| {
            let of = |purpose| key(Channel::Telegram, &bot, purpose);
            let stored_at = BEGIN.plus(Duration::from_secs(60 * minutes));
            // Its other key is new.
            [(of(Purpose::Webhook), stored_at), (of(Purpose::Send), BEGIN.plus(DAY * 90))]
        });
        let wecom = (key(Channel::Wecom, "main", Purpose::Send), BEGIN);
        let keys = telegram.chain([wecom]).map(|(key, stored_at)| {
            let history = History::default();
            let history = history.after(&history.plan(Move::Add, stored_at).expect("the first version"));
            (key, history)
        });
        Self { keys: Mutex::new(keys.collect()), began: Instant::now(), told: Mutex::default() }
    }

    fn tell(&self, what: String) {
        self.told.lock().expect("no panic").push((self.began.elapsed(), what));
    }

    fn change(&self, key: &KeyName, step: Move) -> Result<(History, Version), KeyringError> {
        let mut keys = self.keys.lock().expect("no panic");
        let history = keys.get_mut(key).ok_or_else(|| KeyringError::Missing(key.clone()))?;
        let planned = history.plan(step, BEGIN.plus(DAY * 91));
        let changes = planned.map_err(|fault| KeyringError::Move { key: key.clone(), fault })?;
        *history = history.after(&changes);
        Ok((history.clone(), changes.last().expect("a change").after))
    }
}

impl Ledger for Fleet {
    async fn list(&self) -> Result<Vec<Stored>, KeyringError> {
        let keys = self.keys.lock().expect("no panic");
        Ok(keys.iter().map(|(key, history)| Stored { key: key.clone(), history: history.clone() }).collect())
    }

    async fn history(&self, key: &KeyName) -> Result<History, KeyringError> {
        let keys = self.keys.lock().expect("no panic");
        keys.get(key).cloned().ok_or_else(|| KeyringError::Missing(key.clone()))
    }

    async fn add(&self, key: &KeyName, _: &[u8]) -> Result<Version, KeyringError> {
        self.change(key, Move::Add).map(|(_, version)| version)
    }

    async fn open(&self, _: &KeyName, _: u64) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        let keys = br#"{"secret_token":"first","bot_id":7,"bot_username":null,"group_prefix":null}"#;
        Ok(Zeroizing::new(keys.to_vec()))
    }

    async fn step(&self, key: &KeyName, step: Move) -> Result<History, KeyringError> {
        self.change(key, step).map(|(history, _)| history)
    }

    async fn uses(&self, _: &KeyName) -> Result<BTreeMap<u64, Use>, KeyringError> {
        Ok(BTreeMap::new())
    }
}

impl Platforms for Fleet {
    async fn set(&self, key: &KeyName, _: &[u8], _: Option<&[u8]>) -> Result<(), PlatformError> {
        self.tell(key.bot.to_string());
        sleep(HANGS).await;
        Err(PlatformError::Unclear("no answer".into()))
    }

    async fn test(&self, _: &KeyName, _: &[u8], _: Option<&[u8]>) -> Result<Tested, PlatformError> {
        Ok(Tested::Accepted)
    }
}

impl Notify for Fleet {
    type Error = Infallible;

    async fn notify(&self, notice: Notice) -> Result<(), Infallible> {
        self.tell(notice.subject);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_hangs_keeps_neither_other_keys_nor_notices_waiting() {
    let fleet = Fleet::new();
    let policy = Policy { rotate_after: DAY * 90, notice_days: vec![75, 85, 90], watch: DAY, keep: DAY * 30 };
    let swept = sweep(&fleet, &fleet, &fleet, &policy, BEGIN.plus(DAY * 91)).await.expect("the keys are listed");
    assert_eq!((swept.failed, swept.notified), (20, 1));
    assert!(fleet.began.elapsed() < TIMEOUT, "{:?}", fleet.began.elapsed());
    let told = fleet.told.lock().expect("no panic");
    assert!(told[0].0.is_zero() && told[0].1.contains("wecom/main"), "{told:?}");
    // The oldest first.
    let asked: Vec<&str> = told[1..].iter().map(|(_, bot)| bot.as_str()).collect();
    let oldest: Vec<String> = (1..=BOTS).rev().map(|number| format!("bot{number:02}")).collect();
    assert_eq!(asked, oldest);
}
