//! Lambda: execution environments that run the real binaries behind the runtime API.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};

use crate::http::{Answer, Call, answer, serve};
use crate::latency::{Distribution, wait};

/// How long a process may take to its first poll: Lambda gives it ten seconds.
const INIT: Duration = Duration::from_secs(10);

/// What a function is.
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    /// Megabytes, as `template.yaml` has it by default.
    pub(crate) memory: usize,
    pub(crate) timeout: Duration,
    pub(crate) binary: PathBuf,
    pub(crate) bundle: PathBuf,
    pub(crate) variables: Vec<(&'static str, String)>,
    /// Environments at most; further requests wait for one, where Lambda would refuse them.
    pub(crate) limit: usize,
    /// Before each event.
    pub(crate) overhead: Distribution,
    /// Before each process.
    pub(crate) start: Distribution,
    /// The processor that it is held to, for comparisons.
    pub(crate) processor: Option<usize>,
}

/// A function with its environments.
pub(crate) struct Function {
    setup: Setup,
    state: Mutex<State>,
    busy: AtomicUsize,
    usage: Mutex<Usage>,
    logged: Arc<Logged>,
}

/// What was used, as Lambda's bill counts it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) requests: u64,
    /// Each invocation rounded up to a millisecond, and each start's own time.
    pub(crate) billed: Duration,
    /// The invocations' time without rounding and starts.
    pub(crate) running: Duration,
    pub(crate) starts: u64,
    pub(crate) starting: Duration,
    pub(crate) log_lines: u64,
    pub(crate) log_bytes: u64,
    /// Processor time of all processes.
    pub(crate) processor: Duration,
}

impl Usage {
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            requests: self.requests - before.requests,
            billed: self.billed - before.billed,
            running: self.running - before.running,
            starts: self.starts - before.starts,
            starting: self.starting - before.starting,
            log_lines: self.log_lines - before.log_lines,
            log_bytes: self.log_bytes - before.log_bytes,
            processor: self.processor.saturating_sub(before.processor),
        }
    }
}

#[derive(Default)]
struct Logged {
    lines: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Default)]
struct State {
    all: Vec<Arc<Environment>>,
    /// The one used last is used first, so that those in excess fall silent.
    idle: Vec<Arc<Environment>>,
    starting: usize,
    waiting: VecDeque<oneshot::Sender<Arc<Environment>>>,
}

struct Environment {
    events: mpsc::UnboundedSender<Event>,
    pid: u32,
    /// Ends with the environment.
    _child: Child,
}

/// Where the function's answer goes, or its error.
type Answered = oneshot::Sender<Result<Bytes, String>>;

struct Event {
    id: String,
    body: Bytes,
    deadline: u128,
    answer: Answered,
}

impl Function {
    pub(crate) fn new(setup: Setup) -> Arc<Self> {
        Arc::new(Self {
            setup,
            state: Mutex::default(),
            busy: AtomicUsize::new(0),
            usage: Mutex::default(),
            logged: Arc::default(),
        })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.setup.name
    }

    /// Gigabytes of memory, by which time is charged.
    pub(crate) fn gigabytes(&self) -> f64 {
        self.setup.memory as f64 / 1024.0
    }

    /// Invocations that are under way.
    pub(crate) fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    pub(crate) fn environments(&self) -> usize {
        self.lock().all.len()
    }

    /// What was used so far.
    pub(crate) fn usage(&self) -> Usage {
        let mut usage = *self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        usage.log_lines = self.logged.lines.load(Ordering::Relaxed);
        usage.log_bytes = self.logged.bytes.load(Ordering::Relaxed);
        usage.processor = self.lock().all.iter().map(|environment| processor_time(environment.pid)).sum();
        usage
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands an event to an environment of its own for so long, and returns what the function answers.
    ///
    /// # Errors
    ///
    /// When the function fails, or does not answer within its timeout.
    pub(crate) async fn invoke(&self, event: Bytes) -> Result<Bytes, String> {
        wait(self.setup.overhead.sample()).await;
        self.busy.fetch_add(1, Ordering::Relaxed);
        let answered = self.run(event).await;
        self.busy.fetch_sub(1, Ordering::Relaxed);
        answered
    }

    async fn run(&self, body: Bytes) -> Result<Bytes, String> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let environment = self.environment().await?;
        let (sender, receiver) = oneshot::channel();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let event = Event {
            id: format!("00000000-0000-4000-9000-{:012}", NEXT.fetch_add(1, Ordering::Relaxed)),
            body,
            deadline: (since + self.setup.timeout).as_millis(),
            answer: sender,
        };
        let began = Instant::now();
        environment.events.send(event).map_err(|_| format!("{} has ended", self.setup.name))?;
        let answered = tokio::time::timeout(self.setup.timeout, receiver).await;
        let took = began.elapsed();
        {
            let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
            usage.requests += 1;
            usage.running += took;
            usage.billed += Duration::from_millis(u64::try_from(took.as_micros().div_ceil(1000)).unwrap_or(u64::MAX));
        }
        match answered {
            Ok(Ok(answer)) => {
                self.release(environment);
                answer
            }
            // Lambda ends an environment that fails.
            _ => {
                self.lock().all.retain(|other| !Arc::ptr_eq(other, &environment));
                Err(format!("{} did not answer in {:?}", self.setup.name, self.setup.timeout))
            }
        }
    }

    async fn environment(&self) -> Result<Arc<Environment>, String> {
        let waiting = {
            let mut state = self.lock();
            if let Some(environment) = state.idle.pop() {
                return Ok(environment);
            }
            if state.all.len() + state.starting < self.setup.limit {
                state.starting += 1;
                None
            } else {
                let (sender, receiver) = oneshot::channel();
                state.waiting.push_back(sender);
                Some(receiver)
            }
        };
        if let Some(receiver) = waiting {
            return receiver.await.map_err(|_| "nobody is left to wait for".to_owned());
        }
        let started = self.start().await;
        let mut state = self.lock();
        state.starting -= 1;
        let environment = Arc::new(started?);
        state.all.push(Arc::clone(&environment));
        Ok(environment)
    }

    fn release(&self, mut environment: Arc<Environment>) {
        let mut state = self.lock();
        while let Some(waiting) = state.waiting.pop_front() {
            match waiting.send(environment) {
                Ok(()) => return,
                Err(back) => environment = back,
            }
        }
        state.idle.push(environment);
    }

    /// Ends all environments.
    pub(crate) fn end(&self) {
        *self.lock() = State::default();
    }

    async fn start(&self) -> Result<Environment, String> {
        wait(self.setup.start.sample()).await;
        let name = self.setup.name;
        let (events, received) = mpsc::unbounded_channel();
        let (ready, polled) = oneshot::channel();
        let api = Arc::new(RuntimeApi {
            events: tokio::sync::Mutex::new(received),
            answers: Mutex::default(),
            ready: Mutex::new(Some(ready)),
        });
        let address = serve(move |call| Arc::clone(&api).handle(call)).await.map_err(|error| error.to_string())?;
        let mut command = match self.setup.processor {
            None => Command::new(&self.setup.binary),
            Some(processor) => {
                let mut command = Command::new("taskset");
                command.arg("-c").arg(processor.to_string()).arg(&self.setup.binary);
                command
            }
        };
        let variables = [
            ("AWS_LAMBDA_RUNTIME_API", address.to_string()),
            ("AWS_LAMBDA_FUNCTION_NAME", name.to_owned()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", self.setup.memory.to_string()),
            ("AWS_LAMBDA_LOG_GROUP_NAME", name.to_owned()),
            ("AWS_LAMBDA_LOG_STREAM_NAME", name.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "none".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "none".to_owned()),
            ("LAMBDA_TASK_ROOT", self.setup.bundle.display().to_string()),
        ];
        command.env_clear().envs(variables).envs(self.setup.variables.iter().map(|(name, value)| (name, value)));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
        let began = Instant::now();
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", self.setup.binary.display()))?;
        let output = child.stdout.take().expect("it is piped");
        let logged = Arc::clone(&self.logged);
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                logged.lines.fetch_add(1, Ordering::Relaxed);
                logged.bytes.fetch_add(line.len() as u64 + 1, Ordering::Relaxed);
                if line.contains(r#""level":"ERROR""#) {
                    eprintln!("{name}: {line}");
                }
            }
        });
        let polled = tokio::time::timeout(INIT, polled).await;
        let took = began.elapsed();
        if !matches!(polled, Ok(Ok(()))) {
            return Err(format!("{name} did not poll for its first event within {INIT:?}"));
        }
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        usage.starts += 1;
        usage.starting += took;
        usage.billed += took;
        drop(usage);
        let pid = child.id().ok_or_else(|| format!("{name} has ended"))?;
        Ok(Environment { events, pid, _child: child })
    }
}

/// The runtime API of one environment
/// (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>).
struct RuntimeApi {
    events: tokio::sync::Mutex<mpsc::UnboundedReceiver<Event>>,
    answers: Mutex<Vec<(String, Answered)>>,
    ready: Mutex<Option<oneshot::Sender<()>>>,
}

impl RuntimeApi {
    async fn handle(self: Arc<Self>, call: Call) -> Answer {
        let Some(path) = call.path.strip_prefix("/2018-06-01/runtime/") else { return answer(404, "{}") };
        if path == "invocation/next" {
            return self.next().await;
        }
        if path == "init/error" {
            eprintln!("a function could not begin: {}", String::from_utf8_lossy(&call.body));
            return answer(202, "{}");
        }
        let Some((id, end)) = path.strip_prefix("invocation/").and_then(|rest| rest.split_once('/')) else {
            return answer(404, "{}");
        };
        let waiting = {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.iter().position(|(waiting, _)| waiting == id).map(|at| answers.swap_remove(at).1)
        };
        let Some(waiting) = waiting else { return answer(404, "{}") };
        let answered = match end {
            "response" => Ok(call.body),
            _ => Err(String::from_utf8_lossy(&call.body).into_owned()),
        };
        // Nobody waits any more where the timeout was over.
        let _ = waiting.send(answered);
        answer(202, r#"{"status":"OK"}"#)
    }

    async fn next(&self) -> Answer {
        if let Some(ready) = self.ready.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = ready.send(());
        }
        // Where no event will come any more, the environment is about to be ended.
        let Some(event) = self.events.lock().await.recv().await else { return std::future::pending().await };
        let answer = Response::builder()
            .header("content-type", "application/json")
            .header("lambda-runtime-aws-request-id", &event.id)
            .header("lambda-runtime-deadline-ms", event.deadline.to_string())
            .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:000000000000:function:function")
            .body(Full::new(event.body))
            .expect("headers of plain text");
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push((event.id, event.answer));
        answer
    }
}

/// The time that a process's threads have had a processor, in nanoseconds, from the scheduler. Threads that have ended are
/// not counted; these functions end none.
pub(crate) fn processor_time(pid: u32) -> Duration {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let of = |thread: std::io::Result<std::fs::DirEntry>| -> Option<u64> {
        std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    Duration::from_nanos(threads.filter_map(of).sum())
}
