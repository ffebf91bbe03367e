//! What is counted. Each case has fixed inputs, made before the count begins, and does one thing once.

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::path::Path;

use anyhow::{Context, bail};
use hoopoe_channels::contract::counterpart::Counterpart;
use hoopoe_channels::feishu::Feishu;
use hoopoe_channels::slack::Slack;
use hoopoe_channels::telegram::Telegram;
use hoopoe_channels::wecom::Wecom;
use hoopoe_channels::{Request, Sender, Settings, Webhook};
use hoopoe_encoder::batching::split;
use hoopoe_encoder::tokenizer::{Tokenizer, compile::compile};
use hoopoe_knowledge::build::{Encoded, build};
use hoopoe_knowledge::corpus::Corpus;
use hoopoe_knowledge::{Date, Knowledge, Pack};
use hoopoe_message::{BotId, Conversation, MessageId, Reply, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) const NAMES: [&str; 10] = [
    "webhook_telegram",
    "webhook_wecom",
    "webhook_feishu",
    "webhook_slack",
    "render_telegram",
    "render_feishu",
    "batcher",
    "tokenizer_chinese",
    "tokenizer_english",
    "knowledge",
];

const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);
const API_BASE: &str = "http://127.0.0.1:9000";
const CHINESE: &str =
    "你好，我上周三在你们店里买的那件蓝色外套到现在还没有收到，订单号是 20260101-8834，能帮我查一下物流吗？谢谢！";
const ENGLISH: &str = "Hello, the blue jacket that I ordered last Wednesday (order 20260101-8834) has not arrived yet. Could you \
    please check where the parcel is? Thank you!";
/// The numbers of a vector of the default model.
const NUMBERS: usize = 384;

/// What is run.
type Case = Box<dyn FnMut()>;

/// Makes the inputs of a case.
pub(crate) fn make(name: &str, root: &Path) -> anyhow::Result<Case> {
    Ok(match name {
        "webhook_telegram" => webhook::<Telegram>()?,
        "webhook_wecom" => webhook::<Wecom>()?,
        "webhook_feishu" => webhook::<Feishu>()?,
        "webhook_slack" => webhook::<Slack>()?,
        "render_telegram" => render::<Telegram>("123456789")?,
        "render_feishu" => render::<Feishu>("oc_chat0001")?,
        "batcher" => batcher(),
        "tokenizer_chinese" => tokenizer(root, CHINESE)?,
        "tokenizer_english" => tokenizer(root, ENGLISH)?,
        "knowledge" => knowledge(root)?,
        _ => bail!("there is no case {name}"),
    })
}

fn keys<K: DeserializeOwned>(stored: &SecretString) -> anyhow::Result<K> {
    serde_json::from_str(stored.expose_secret()).context("the counterpart's own keys")
}

/// A platform's signed message, from the request to what the bot makes of it.
fn webhook<P: Counterpart>() -> anyhow::Result<Case> {
    let stored = P::Settings::parse(&P::settings(API_BASE).to_string())?.keys();
    let keys: <P as Webhook>::Keys = keys(&stored.webhook)?;
    let posted = P::says(7, 1, CHINESE, API_BASE, NOW);
    let query = posted.uri().query().unwrap_or_default().to_owned();
    Ok(Box::new(move || {
        let request = Request {
            method: posted.method(),
            query: &query,
            headers: posted.headers(),
            body: posted.body(),
            published: &[],
        };
        let received = P::receive(black_box(&keys), black_box(&request), NOW).expect("its counterpart's message");
        assert_eq!(black_box(received).messages.len(), 1);
    }))
}

/// A reply with three quick replies as requests to the platform.
fn render<P: Counterpart>(chat: &str) -> anyhow::Result<Case> {
    let stored = P::Settings::parse(&P::settings(API_BASE).to_string())?.keys();
    let keys: <P as Sender>::Keys = keys(&stored.send)?;
    let said = P::says(7, 1, CHINESE, API_BASE, NOW);
    // The address is the channel's own: what it read of a message.
    let webhook_keys: <P as Webhook>::Keys = self::keys(&stored.webhook)?;
    let query = said.uri().query().unwrap_or_default().to_owned();
    let request =
        Request { method: said.method(), query: &query, headers: said.headers(), body: said.body(), published: &[] };
    let mut received = P::receive(&webhook_keys, &request, NOW).map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
    let address = received.messages.pop().context("one message")?.address;
    let reply = Reply {
        id: MessageId::try_from("event-1".to_owned()).map_err(|_| anyhow::anyhow!("an id"))?,
        conversation: Conversation { channel: P::CHANNEL, bot: BotId::default(), chat: chat.to_owned() },
        address,
        number: 2,
        after: Some(1),
        complete: false,
        pending_until: None,
        received_at: NOW,
        created_at: NOW,
        text: CHINESE.repeat(3),
        suggestions: ["查物流", "退货", "联系客服"].map(str::to_owned).to_vec(),
        decision: None,
    };
    Ok(Box::new(move || {
        let parts = P::render(black_box(&keys), black_box(&reply), NOW).expect("a reply");
        assert!(!black_box(parts).is_empty());
    }))
}

/// 64 texts of 4 to 128 tokens.
fn batcher() -> Case {
    let mut random = Random(7);
    let mut lengths: Vec<usize> = (0..64).map(|_| 4 + random.below(125)).collect();
    lengths.sort_unstable();
    Box::new(move || assert!(!black_box(split(black_box(&lengths))).is_empty()))
}

/// The vocabulary that the encoder's own tests have, as a file.
fn tokenizer(root: &Path, text: &'static str) -> anyhow::Result<Case> {
    let path = root.join("target/guard/unigram.bin");
    let fixture = fs::read(root.join("shared/encoder/tests/fixtures/unigram.json"))?;
    let stored: Value = serde_json::from_slice(&fixture)?;
    let compiled = compile(stored["vocabulary"].to_string().as_bytes(), "guard")?;
    // Mapped files are not written to: another process may look at it.
    if fs::read(&path).ok().as_ref() != Some(&compiled) {
        fs::create_dir_all(root.join("target/guard"))?;
        fs::write(&path, compiled)?;
    }
    let tokenizer = Tokenizer::open(&path)?;
    Ok(Box::new(move || assert!(black_box(tokenizer.encode(black_box(text), 128)).len() > 10)))
}

/// A decision among the shop's intents, with invented vectors: near each other within an intent.
fn knowledge(root: &Path) -> anyhow::Result<Case> {
    const MODEL: &str = "guard";
    let pack = Pack::read(&root.join("infra/packs/shop"))?;
    let path = root.join("target/guard/knowledge.idx");
    let stored = Knowledge::load(&path, MODEL).ok().filter(|stored| *stored.digest() == pack.digest);
    let knowledge = match stored {
        Some(stored) => stored,
        None => {
            eprintln!("learning the shop's intents from invented vectors");
            let intents: HashMap<&str, usize> =
                pack.examples().filter_map(|example| Some((example.text.trim(), example.intent?))).collect();
            let corpus = Corpus::new(&pack);
            let texts = corpus.texts().enumerate();
            let vectors: Vec<f32> = texts.flat_map(|(at, text)| vector(intents.get(text).copied(), at)).collect();
            let index = build(&pack, Encoded { model: MODEL, vectors: &vectors })?;
            fs::create_dir_all(root.join("target/guard"))?;
            fs::write(&path, index)?;
            Knowledge::load(&path, MODEL)?
        }
    };
    let question = vector(Some(3), 1_000_000);
    let (language, today) = (knowledge.default_language(), Date::of(NOW));
    Ok(Box::new(move || {
        black_box(knowledge.decide(black_box(&question), black_box(CHINESE), language, today));
    }))
}

/// A unit vector: the intent's own direction, and a part that only this text has.
fn vector(intent: Option<usize>, text: usize) -> Vec<f32> {
    let mut own = Random(1 + text as u64);
    let mut common = Random(1_000_003 * (1 + intent.unwrap_or(1_000 + text) as u64));
    let mut vector: Vec<f32> = (0..NUMBERS).map(|_| common.number() + 0.5 * own.number()).collect();
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|number| *number /= length);
    vector
}

/// Always the same numbers (Knuth's MMIX).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, limit: u64) -> usize {
        usize::try_from(self.next() % limit).expect("a small number")
    }

    /// From -1 to 1.
    fn number(&mut self) -> f32 {
        (self.next() % 2001) as f32 / 1000.0 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All but the last, which learns for a while.
    #[test]
    fn every_case_runs() {
        let root = crate::root();
        for name in NAMES.iter().filter(|name| **name != "knowledge") {
            let mut case = make(name, &root).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            case();
        }
        assert!(make("another", &root).is_err());
    }

    #[test]
    fn a_case_allocates_the_same_each_time() {
        let root = crate::root();
        let mut case = make("webhook_slack", &root).expect("a case");
        case();
        let first = crate::allocations::of(&mut *case);
        assert!(first.0 > 0);
        assert_eq!(crate::allocations::of(&mut *case), first);
    }
}
