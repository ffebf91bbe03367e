//! MiniStack as a background process, with its state in a folder.
//!
//! It enforces the policies of the roles in `template.yaml`: see [`PROGRAM`].
//!
//! The process is found by its environment, which names the folder: whatever became of the command that started it, and
//! whether it answers or not. `emulator.json` in the folder names its port, which stays the same for as long as there is
//! state: queue URLs hold it, and the stack's functions hold queue URLs. MiniStack writes its state when it is asked to
//! end (SIGTERM); one that was killed comes back with the state of its start.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use crate::stack::CREDENTIALS;
use crate::{atomic, commands};

/// Where the search for a free port begins: the port that emulators of AWS use by custom.
const FIRST_PORT: u16 = 4566;
/// What runs in MiniStack's Python environment: MiniStack, with what it lacks to enforce the roles' policies.
const PROGRAM: &str = "infra/local/emulator.py";
/// How long it may take to answer, and to end: a bound for what goes wrong, not for how fast a machine is.
const START: Duration = Duration::from_secs(300);
const STOP: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(50);

/// An emulator that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Emulator {
    pid: i32,
    pub(super) port: u16,
    /// The folder in which the stack has its state.
    state: PathBuf,
}

/// What `emulator.json` holds.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    port: u16,
}

impl Emulator {
    /// The one that runs with this state.
    pub(super) fn running(state: &Path) -> Option<Self> {
        let state = fs::canonicalize(state).ok()?;
        Self::all().into_iter().find(|emulator| emulator.state == state)
    }

    /// Every one on this machine that can be seen.
    fn all() -> Vec<Self> {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        processes.filter_map(|entry| Self::of(entry.file_name().to_str()?.parse().ok()?)).collect()
    }

    /// The process of this number, if it is an emulator and has not ended.
    fn of(pid: i32) -> Option<Self> {
        let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).ok();
        // The functions inherit the emulator's environment, but run another program.
        let command = read("cmdline")?;
        command.split(|&byte| byte == 0).find(|word| Path::new(OsStr::from_bytes(word)).ends_with(PROGRAM))?;
        let environment = read("environ")?;
        let value = |name: &str| {
            let mut variables = environment.split(|&byte| byte == 0);
            variables.find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
        };
        let state = Path::new(OsStr::from_bytes(value("STATE_DIR")?)).ancestors().nth(2)?;
        let port = str::from_utf8(value("GATEWAY_PORT")?).ok()?.parse().ok()?;
        Some(Self { pid, port, state: state.to_owned() })
    }

    pub(super) fn endpoint(&self) -> String {
        endpoint(self.port)
    }

    fn exists(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Waits until it answers: it may have been started a moment ago, or be busy.
    pub(super) fn await_answer(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START;
        while !healthy(self.port) {
            ensure!(self.exists(), "MiniStack has ended (what it said is in {})", log_path(&self.state).display());
            ensure!(
                Instant::now() < deadline,
                "MiniStack does not answer on port {}; `hoopoe down` ends it\n{}",
                self.port,
                tail(&log_path(&self.state), 10)
            );
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Starts one with the state in `state`, and waits until it answers.
    pub(super) fn start(bin: &Path, state: &Path, port: Option<u16>) -> anyhow::Result<Self> {
        let state = fs::canonicalize(state).with_context(|| format!("{} could not be found", state.display()))?;
        let port = choose_port(&state, port)?;
        // Known from now on, whatever happens to this command.
        atomic::write(&record(&state), &serde_json::to_vec(&Record { port })?)?;
        let folder = folder(&state);
        // Its scratch files are those of a process that has ended.
        let scratch = folder.join("tmp");
        if scratch.exists() {
            fs::remove_dir_all(&scratch).with_context(|| format!("{} could not be emptied", scratch.display()))?;
        }
        fs::create_dir_all(&scratch)?;
        let log_path = log_path(&state);
        let log = File::create(&log_path).with_context(|| format!("{} could not be written", log_path.display()))?;
        // Absolute, because it starts in another folder.
        let python = std::path::absolute(bin.join("python"))?;
        let mut command = Command::new(&python);
        command.arg(std::path::absolute(PROGRAM)?);
        // Functions inherit the emulator's environment but for the credentials, and nothing of this shell's is their
        // business.
        command.env_clear();
        for name in ["PATH", "HOME", "LANG"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        let mut child = command
            .env("BIND_HOST", "127.0.0.1")
            // Its broker for MQTT would listen on every address of this machine.
            .env("IOT_MTLS_ENABLED", "0")
            .env("GATEWAY_PORT", port.to_string())
            .env("AWS_ENDPOINT_URL", endpoint(port))
            // Each function has the credentials of its role; these two are the account's root.
            .env("AUTH", "true")
            .env("AWS_ACCESS_KEY_ID", CREDENTIALS.0)
            .env("AWS_SECRET_ACCESS_KEY", CREDENTIALS.1)
            .env("PERSIST_STATE", "1")
            // By this it is found again.
            .env("STATE_DIR", folder.join("state"))
            .env("S3_PERSIST", "1")
            .env("S3_DATA_DIR", folder.join("s3"))
            .env("TMPDIR", &scratch)
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own: Ctrl-C in this terminal is not meant for it.
            .process_group(0)
            .spawn()
            .with_context(|| format!("{} could not be started", python.display()))?;
        if let Err(error) = await_start(&mut child, port, &log_path) {
            // Nobody would know of it.
            drop(child.kill());
            drop(child.wait());
            return Err(error);
        }
        let pid = i32::try_from(child.id()).context("the process has an impossible id")?;
        Ok(Self { pid, port, state })
    }

    /// Ends it and waits until it has written its state. Without effect where it has ended already.
    pub(super) fn stop(&self) -> anyhow::Result<()> {
        if !self.exists() {
            return Ok(());
        }
        let pid = Pid::from_raw(self.pid).context("the process has an impossible id")?;
        rustix::process::kill_process(pid, Signal::TERM)
            .with_context(|| format!("process {} could not be ended", self.pid))?;
        let deadline = Instant::now() + STOP;
        while self.exists() {
            ensure!(
                Instant::now() < deadline,
                "process {} (MiniStack) does not end; `kill -9 {}` ends it, and what it did since its start is lost",
                self.pid,
                self.pid
            );
            thread::sleep(PAUSE);
        }
        Ok(())
    }
}

fn endpoint(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn record(state: &Path) -> PathBuf {
    state.join("emulator.json")
}

fn folder(state: &Path) -> PathBuf {
    state.join("emulator")
}

fn log_path(state: &Path) -> PathBuf {
    state.join("emulator.log")
}

/// The port that the state was made with.
fn recorded_port(state: &Path) -> anyhow::Result<Option<u16>> {
    let path = record(state);
    match fs::read(&path) {
        Ok(json) => serde_json::from_slice(&json).map(|Record { port }| Some(port)).with_context(|| {
            format!("{} is damaged; {} forgets the local stack", path.display(), commands::forget(state))
        }),
        Err(_) => Ok(None),
    }
}

/// The port of the state if there is some, else the one asked for, else the first free one.
fn choose_port(state: &Path, asked: Option<u16>) -> anyhow::Result<u16> {
    let before = recorded_port(state)?;
    if let (Some(before), Some(asked)) = (before, asked) {
        ensure!(
            before == asked,
            "the local stack lives on port {before}; {} forgets it and frees the choice of a port",
            commands::forget(state)
        );
    }
    match before.or(asked) {
        Some(port) => match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => Ok(port),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                let way_out = if before.is_some() {
                    format!("end that, or forget this local stack with {}", commands::forget(state))
                } else {
                    "end that, or choose another port with --port".to_owned()
                };
                match Emulator::all().into_iter().find(|emulator| emulator.port == port) {
                    Some(other) => {
                        bail!("port {port} is taken by the local stack in {}; {way_out}", other.state.display())
                    }
                    None => bail!("port {port} is taken by another program; {way_out}"),
                }
            }
            Err(error) => bail!("port {port} cannot be used ({error}); choose another with --port"),
        },
        None => (FIRST_PORT..FIRST_PORT + 200)
            .find(|&port| free(port))
            .with_context(|| format!("no port from {FIRST_PORT} up is free; choose one with --port")),
    }
}

fn free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn await_start(child: &mut Child, port: u16, log: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + START;
    while !healthy(port) {
        if let Some(status) = child.try_wait()? {
            bail!("MiniStack ended at once ({status}):\n{}", tail(log, 10));
        }
        ensure!(Instant::now() < deadline, "MiniStack does not answer on port {port}:\n{}", tail(log, 10));
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// MiniStack answers on this port.
fn healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET /_ministack/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(&head == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

/// The last lines of a file, for a message about what went wrong.
pub(super) fn tail(path: &Path, lines: usize) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let from = text.lines().count().saturating_sub(lines);
    text.lines().skip(from).map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state_with(port: Option<u16>) -> tempfile::TempDir {
        let state = tempfile::tempdir().expect("a scratch folder");
        if let Some(port) = port {
            atomic::write(&record(state.path()), &serde_json::to_vec(&Record { port }).expect("a number"))
                .expect("written");
        }
        state
    }

    #[test]
    fn state_keeps_its_port() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = taken.local_addr().expect("bound").port();
        let state = state_with(Some(port));
        let error = choose_port(state.path(), None).expect_err("the port is taken").to_string();
        assert!(error.contains("taken by another program") && error.contains("down && rm -rf"), "{error}");
        let error = choose_port(state.path(), Some(port ^ 1)).expect_err("another port").to_string();
        assert!(error.contains(&format!("hoopoe --state {} down", state.path().display())), "{error}");
        drop(taken);
        assert_eq!(choose_port(state.path(), None).expect("free again"), port);
    }

    #[test]
    fn without_state_the_port_asked_for_or_a_free_one_is_taken() {
        let state = state_with(None);
        let port = choose_port(state.path(), None).expect("a free port");
        assert!(port >= FIRST_PORT);
        assert_eq!(choose_port(state.path(), Some(port)).expect("free"), port);
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = taken.local_addr().expect("bound").port();
        let error = choose_port(state.path(), Some(port)).expect_err("taken").to_string();
        assert!(error.contains("taken by another program") && error.contains("--port"), "{error}");
    }

    /// A process with a command line and an environment as the emulator's, which does nothing.
    fn like_an_emulator(state: &Path, port: u16) -> Child {
        let program = state.join(PROGRAM);
        fs::create_dir_all(program.parent().expect("it is in a folder")).expect("a folder");
        fs::write(&program, "").expect("written");
        Command::new("tail")
            .arg("-f")
            .arg(&program)
            .env("STATE_DIR", folder(&fs::canonicalize(state).expect("there")).join("state"))
            .env("GATEWAY_PORT", port.to_string())
            .spawn()
            .expect("tail is everywhere")
    }

    #[test]
    fn one_that_does_not_answer_is_found_and_ended() {
        let (state, other) = (state_with(None), state_with(None));
        assert_eq!(Emulator::running(state.path()), None);
        let mut child = like_an_emulator(state.path(), 4599);
        // A process that was started just now has no environment yet.
        let deadline = Instant::now() + Duration::from_secs(60);
        let running = loop {
            match Emulator::running(state.path()) {
                Some(running) => break running,
                None if Instant::now() > deadline => panic!("it is not found"),
                None => thread::sleep(Duration::from_millis(10)),
            }
        };
        assert_eq!((running.pid.cast_unsigned(), running.port), (child.id(), 4599));
        assert_eq!(Emulator::running(other.path()), None, "that is another stack's");
        // Nobody asks for its result meanwhile: it stays as a process that has ended.
        running.stop().expect("it ends");
        assert!(!running.exists());
        assert!(!child.wait().expect("it has ended").success());
        running.stop().expect("nothing to end");
    }
}
