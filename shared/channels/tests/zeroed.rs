//! No memory that is given back still holds a secret: each platform's keys are read as a function reads them and dropped,
//! under an allocator that looks at every block before it frees it.
//!
//! A secret with a `"` or a `\` would leave a copy: `serde_json` unescapes such a text in a buffer of its own. No platform
//! is known to make such secrets.
#![allow(unsafe_code, reason = "an allocator is the only one who sees what a freed block holds")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashMap;
use std::slice;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hoopoe_channels::contract::counterpart::Counterpart;
use hoopoe_channels::{Rotation, Sender, Settings, Webhook, rotation, telegram, with_platform};
use hoopoe_message::Channel;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Counts the freed blocks that hold the secret looked for.
struct Looking;

#[global_allocator]
static ALLOCATOR: Looking = Looking;

thread_local! {
    /// What is looked for in the blocks that this thread frees.
    static SECRET: Cell<Option<&'static [u8]>> = const { Cell::new(None) };
    /// How many of them held it.
    static FOUND: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: Memory comes from the system's allocator and goes back to it, with the layout it came with. It is zeroed at
// first, so that all of a block can be read. A block that grows is a new one: `realloc` is the trait's own, which frees
// the old one here.
unsafe impl GlobalAlloc for Looking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: The caller's promise about the layout is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(secret) = SECRET.get() {
            // SAFETY: The block is the caller's until it is freed below, and all of it was written by `alloc`.
            let freed = unsafe { slice::from_raw_parts(block, layout.size()) };
            if freed.windows(secret.len()).any(|part| part == secret) {
                FOUND.set(FOUND.get() + 1);
            }
        }
        // SAFETY: The caller's promise about the block and the layout is the same.
        unsafe { System.dealloc(block, layout) }
    }
}

/// How many blocks that `act` frees hold the secret.
fn left_behind(secret: &[u8], act: impl FnOnce()) -> usize {
    FOUND.set(0);
    SECRET.set(Some(secret.to_vec().leak()));
    act();
    SECRET.set(None);
    FOUND.get()
}

/// The secrets of stored keys, in the forms in which they may lie in memory.
fn secrets(stored: &SecretString) -> Vec<(String, Vec<u8>)> {
    let stored: Value = serde_json::from_str(stored.expose_secret()).expect("JSON");
    let fields = stored.as_object().expect("an object").iter();
    // DingTalk's app_key is the name of an application.
    let secret = |field: &str| {
        ["secret", "token", "key", "password"].iter().any(|word| field.contains(word))
            && !(field.ends_with("_url") || field == "app_key")
    };
    let texts = fields.filter_map(|(field, value)| Some((field, value.as_str().filter(|_| secret(field))?)));
    texts
        .flat_map(|(field, text)| {
            // Of a base64 key the bytes too, but for the last ones, which the 43 characters do not fill.
            let bytes = (field == "encoding_aes_key").then(|| STANDARD_NO_PAD.decode(&text[..40]).expect("base64"));
            let forms = [Some(text.as_bytes().to_vec()), bytes];
            forms.into_iter().flatten().map(move |form| (field.clone(), form))
        })
        .collect()
}

/// Reads the keys from the bytes that KMS gave, and drops them.
fn read<K: DeserializeOwned>(stored: &SecretString) {
    drop(serde_json::from_slice::<K>(stored.expose_secret().as_bytes()).expect("keys as they are stored"));
}

#[test]
fn the_keys_of_each_platform_leave_no_secret_behind() {
    fn check<P: Counterpart>() -> usize {
        let settings = P::Settings::parse(&P::settings("http://127.0.0.1:9000").to_string()).expect("its own settings");
        let stored = settings.keys();
        let (webhook, send) = (secrets(&stored.webhook), secrets(&stored.send));
        for (field, secret) in &webhook {
            assert_eq!(left_behind(secret, || read::<<P as Webhook>::Keys>(&stored.webhook)), 0, "{field}");
        }
        for (field, secret) in &send {
            assert_eq!(left_behind(secret, || read::<<P as Sender>::Keys>(&stored.send)), 0, "{field}");
        }
        webhook.len() + send.len()
    }
    for channel in Channel::ALL {
        eprintln!("{channel}");
        let secrets = with_platform!(channel, P => check::<P>(), webchat => 1);
        assert!(secrets > 0, "{channel} has no secret");
    }
}

#[test]
fn keys_that_are_stored_leave_no_secret_behind() {
    fn check<P: Counterpart>() {
        let entered = P::settings("http://127.0.0.1:9000");
        let settings = P::Settings::parse(&entered.to_string()).expect("its own settings");
        let stored = settings.keys();
        for (field, secret) in secrets(&stored.webhook).into_iter().chain(secrets(&stored.send)) {
            assert_eq!(left_behind(&secret, || drop(settings.keys())), 0, "{field}");
        }
    }
    for channel in Channel::ALL {
        eprintln!("{channel}");
        with_platform!(channel, P => check::<P>(), webchat => ());
    }
}

#[test]
fn a_renewed_secret_leaves_neither_behind() {
    use telegram::{Settings as TelegramSettings, Telegram};
    let entered = <Telegram as Counterpart>::settings("http://127.0.0.1:9000");
    let stored = TelegramSettings::parse(&entered.to_string()).expect("its own settings").keys().webhook;
    let old = entered["secret_token"].as_str().expect("a text");
    let long = "renewed-secret_0".repeat(16);
    for new in ["renewed-secret_2", &long] {
        for secret in [old, new] {
            let renew = || drop(telegram::rotation::renew(stored.expose_secret().as_bytes(), new).expect("keys"));
            assert_eq!(left_behind(secret.as_bytes(), renew), 0, "{secret}");
        }
    }
}

#[test]
fn a_key_of_the_bots_own_leaves_nothing_behind() {
    let Some(Rotation::Own(own)) = rotation(Channel::Webchat) else { panic!("nobody else knows it") };
    let random = "0f".repeat(32);
    assert_eq!(left_behind(random.as_bytes(), || drop(own.renew(&random))), 0);
}

/// The test can fail.
#[test]
fn what_is_left_behind_is_found() {
    let secret = b"a secret that stays";
    assert_eq!(left_behind(secret, || drop(secret.to_vec())), 1);
    assert_eq!(left_behind(secret, || drop(SecretString::from(String::from_utf8_lossy(secret).into_owned()))), 0);
    let grown = || {
        let mut text = secret.to_vec();
        text.reserve(1 << 16);
        text.fill(0);
    };
    assert_eq!(left_behind(secret, grown), 1);
    let stored = r#"{"secret_token":"a secret that stays"}"#;
    let plain = || drop(serde_json::from_str::<HashMap<String, String>>(stored).expect("a map"));
    assert_eq!(left_behind(secret, plain), 1);
}
