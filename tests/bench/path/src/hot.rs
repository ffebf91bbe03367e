//! The hot path: processor time and calls of one message, without any latency but the machine's own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hoopoe_encoder::{Encoder, EncoderFiles, Options};

use crate::lambda::{Function, Setup};
use crate::latency::{Distribution, Latencies};
use crate::load::quantile;
use crate::platform::event;
use crate::sqs::{BATCH, Mapping};
use crate::world::{Binaries, Books, Plan, World, variables};

/// The processor that what is compared is held to, and the one that stand-ins have to themselves meanwhile.
const PROCESSOR: usize = 1;
pub(crate) const OTHER_PROCESSOR: usize = 0;

/// Holds this thread, and what it starts, to a processor.
pub(crate) fn pin(processor: usize) {
    let mut processors = rustix::thread::CpuSet::new();
    processors.set(processor);
    // Where it is not allowed, or there is no such processor, the comparison is a little less exact.
    let _ = rustix::thread::sched_setaffinity(None, &processors);
}

const NEVER: Mapping = Mapping { concurrency: 0, at_least: 1 };

/// Median, P10 and P90.
pub(crate) struct Spread(pub(crate) [f64; 3]);

impl Spread {
    fn of(mut numbers: Vec<f64>) -> Self {
        numbers.sort_by(f64::total_cmp);
        Self([0.5, 0.1, 0.9].map(|at| quantile(&numbers, at)))
    }

    pub(crate) fn median(&self) -> f64 {
        self.0[0]
    }
}

/// Processor microseconds of one webhook request.
pub(crate) struct Webhook {
    /// An empty handler.
    pub(crate) hello: Spread,
    /// The two calls and nothing else.
    pub(crate) calls: Spread,
    /// The Telegram function.
    pub(crate) ours: Spread,
    /// Ours less the two calls, round by round.
    pub(crate) beyond: Spread,
    pub(crate) requests: usize,
}

/// Compares the Telegram function with two smaller ones, in turn.
pub(crate) async fn webhook(binaries: &Binaries, rounds: usize, requests: usize) -> Result<Webhook> {
    let plan = Plan { latencies: Latencies::NONE, inference: NEVER, deliver: NEVER, processor: Some(PROCESSOR) };
    let world = World::start(binaries, plan).await?;
    let beside = std::env::current_exe()?.parent().context("the folder of this program")?.to_owned();
    let peer = |name: &'static str| -> Result<Arc<Function>> {
        let binary = beside.join(name);
        ensure!(binary.exists(), "{} is missing: build the whole package `path`", binary.display());
        Ok(Function::new(Setup {
            name,
            memory: 256,
            timeout: Duration::from_secs(10),
            binary,
            bundle: binaries.bundle.clone(),
            variables: variables(&world.endpoint),
            limit: 1,
            overhead: Distribution::None,
            start: Distribution::None,
            processor: Some(PROCESSOR),
        }))
    };
    let functions = [peer("hello")?, peer("calls")?, Arc::clone(&world.webhook)];
    let mut message = 0;
    let mut measured: [Vec<f64>; 3] = Default::default();
    for round in 0..=rounds {
        for (function, measured) in functions.iter().zip(&mut measured) {
            let before = function.usage().processor;
            for _ in 0..requests {
                message += 1;
                // A conversation of its own, so that items are as small as most are.
                let answer = function.invoke(event(message, message, "where is my parcel").into()).await;
                let answer = answer.map_err(anyhow::Error::msg)?;
                ensure!(answer.windows(16).any(|part| part == b"\"statusCode\":200"), "{} refused", function.name());
            }
            // The first round warms up.
            if round > 0 {
                let taken = function.usage().processor - before;
                measured.push(taken.as_secs_f64() * 1e6 / requests as f64);
            }
        }
    }
    world.check()?;
    let beyond = measured[2].iter().zip(&measured[1]).map(|(ours, calls)| ours - calls).collect();
    let [hello, calls, ours] = measured.map(Spread::of);
    Ok(Webhook { hello, calls, ours, beyond: Spread::of(beyond), requests: rounds * requests })
}

/// Milliseconds of a batch of ten questions.
pub(crate) struct Batches {
    /// From the event to the answer.
    pub(crate) invocation: Spread,
    /// The same questions through the encoder alone.
    pub(crate) encode: Spread,
    /// The share of an invocation that is not the encoder's.
    pub(crate) outside: Spread,
    /// Processor time of an invocation, of the encoder alone, and the share that is not the encoder's.
    pub(crate) processor: Spread,
    pub(crate) processor_encode: Spread,
    pub(crate) processor_outside: Spread,
    pub(crate) batches: usize,
}

/// Compares the inference function with its encoder alone, batch by batch.
pub(crate) async fn inference(binaries: &Binaries, batches: usize, questions: &[String]) -> Result<Batches> {
    let plan = Plan { latencies: Latencies::NONE, inference: NEVER, deliver: NEVER, processor: Some(PROCESSOR) };
    let world = World::start(binaries, plan).await?;
    let (to_encoder, for_encoder) = std::sync::mpsc::channel::<Vec<String>>();
    let (to_us, mut for_us) = tokio::sync::mpsc::channel(1);
    let bundle = binaries.bundle.clone();
    std::thread::spawn(move || encoder(&bundle, &for_encoder, &to_us));
    let queue = world.aws.sqs.queue("inbound");
    let (mut invocation, mut encode, mut outside) = (vec![], vec![], vec![]);
    let (mut processor, mut processor_encode, mut processor_outside) = (vec![], vec![], vec![]);
    let mut message = 0;
    for batch in 0..batches + 5 {
        let mut texts = Vec::with_capacity(BATCH);
        for _ in 0..BATCH {
            message += 1;
            let text = &questions[usize::try_from(message)? % questions.len()];
            world.webhook.invoke(event(message, message, text).into()).await.map_err(anyhow::Error::msg)?;
            texts.push(text.clone());
        }
        let received = queue.receive(BATCH);
        ensure!(received.len() == BATCH, "the batch is not full");
        let before = world.inference.usage();
        queue.handle(received, &world.inference, &world.aws.counts).await;
        let taken = world.inference.usage().since(&before);
        to_encoder.send(texts).context("the encoder has ended")?;
        let (alone, used_alone): (Duration, Duration) = for_us.recv().await.context("the encoder has ended")?;
        if batch < 5 {
            continue;
        }
        let [running, used, alone, used_alone] =
            [taken.running, taken.processor, alone, used_alone].map(|time| time.as_secs_f64() * 1e3);
        invocation.push(running);
        encode.push(alone);
        outside.push((running - alone) / running);
        processor.push(used);
        processor_encode.push(used_alone);
        processor_outside.push((used - used_alone) / used);
    }
    world.check()?;
    ensure!(queue.depth() == 0, "the inference function failed");
    Ok(Batches {
        invocation: Spread::of(invocation),
        encode: Spread::of(encode),
        outside: Spread::of(outside),
        processor: Spread::of(processor),
        processor_encode: Spread::of(processor_encode),
        processor_outside: Spread::of(processor_outside),
        batches,
    })
}

/// Encodes what comes, on the same processor as the functions.
fn encoder(
    bundle: &Path,
    texts: &std::sync::mpsc::Receiver<Vec<String>>,
    taken: &tokio::sync::mpsc::Sender<(Duration, Duration)>,
) {
    pin(PROCESSOR);
    let mut encoder = match Encoder::load(&EncoderFiles::in_bundle(bundle), Options::default()) {
        Ok(encoder) => encoder,
        Err(error) => return eprintln!("{error}"),
    };
    while let Ok(texts) = texts.recv() {
        let (began, used) = (Instant::now(), thread_time());
        if let Err(error) = encoder.encode(&texts) {
            return eprintln!("{error}");
        }
        if taken.blocking_send((began.elapsed(), thread_time() - used)).is_err() {
            return;
        }
    }
}

/// The processor time of this thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below a second"))
}

/// The calls of so many messages at full batches, with keys read before.
pub(crate) async fn calls(binaries: &Binaries, messages: usize, questions: &[String]) -> Result<Books> {
    let full = Mapping { concurrency: 2, at_least: BATCH };
    let plan = Plan { latencies: Latencies::NONE, inference: full, deliver: full, processor: None };
    let world = World::start(binaries, plan).await?;
    let mut before = world.books();
    let mut sent = 0;
    for part in [5 * BATCH, messages] {
        before = world.books();
        for _ in 0..part {
            sent += 1;
            let message = i64::try_from(sent)?;
            let text = &questions[sent % questions.len()];
            // As many people as messages: nobody's messages wait for each other.
            world.webhook.invoke(event(message, message, text).into()).await.map_err(anyhow::Error::msg)?;
        }
        let began = Instant::now();
        while world.platform.count() < sent || world.backlog() > 0 {
            ensure!(began.elapsed() < Duration::from_secs(30), "not every message was answered");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    world.check()?;
    Ok(world.books().since(&before))
}
