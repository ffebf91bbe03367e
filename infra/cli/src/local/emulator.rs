//! MiniStack as a background process, with its state in a folder.
//!
//! It enforces the policies of the roles in `template.yaml`: see [`PROGRAM`].
//!
//! `emulator.json` in the state folder names the process and its port. The port stays the same for as long as there is
//! state: queue URLs hold it, and the stack's functions hold queue URLs. MiniStack writes its state when it is asked to
//! end (SIGTERM); one that was killed comes back with the state of its start.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use crate::stack::CREDENTIALS;

/// Where the search for a free port begins: the port that emulators of AWS use by custom.
const FIRST_PORT: u16 = 4566;
/// What runs in MiniStack's Python environment: MiniStack, with what it lacks to enforce the roles' policies.
const PROGRAM: &str = "infra/local/emulator.py";
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// An emulator that was started, and may have ended since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Emulator {
    pub(super) pid: i32,
    pub(super) port: u16,
}

impl Emulator {
    /// The one last started with this state.
    pub(super) fn last(state: &Path) -> anyhow::Result<Option<Self>> {
        let path = record(state);
        match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json)
                .map(Some)
                .with_context(|| format!("{} is damaged; `make clean-local` forgets the local stack", path.display())),
            Err(_) => Ok(None),
        }
    }

    /// It is there and answers.
    pub(super) fn answers(&self) -> bool {
        self.exists() && healthy(self.port)
    }

    pub(super) fn endpoint(&self) -> String {
        endpoint(self.port)
    }

    fn exists(&self) -> bool {
        Pid::from_raw(self.pid).is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok()) && !zombie(self.pid)
    }

    /// Starts one with the state in `state`, and waits until it answers.
    pub(super) fn start(bin: &Path, state: &Path, port: Option<u16>) -> anyhow::Result<Self> {
        let state = fs::canonicalize(state).with_context(|| format!("{} could not be found", state.display()))?;
        let port = choose_port(&state, port)?;
        let folder = state.join("emulator");
        // Its scratch files are those of a process that has ended.
        let scratch = folder.join("tmp");
        if scratch.exists() {
            fs::remove_dir_all(&scratch).with_context(|| format!("{} could not be emptied", scratch.display()))?;
        }
        fs::create_dir_all(&scratch)?;
        let log_path = state.join("emulator.log");
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
        let child = command
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string())
            .env("AWS_ENDPOINT_URL", endpoint(port))
            // Each function has the credentials of its role; these two are the account's root.
            .env("AUTH", "true")
            .env("AWS_ACCESS_KEY_ID", CREDENTIALS.0)
            .env("AWS_SECRET_ACCESS_KEY", CREDENTIALS.1)
            .env("PERSIST_STATE", "1")
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
        let pid = i32::try_from(child.id()).context("the process has an impossible id")?;
        let emulator = Self { pid, port };
        write(&record(&state), &serde_json::to_vec(&emulator)?)?;
        await_start(child, port, &log_path)?;
        Ok(emulator)
    }

    /// Ends it and waits until it has written its state. Without effect where it has ended already.
    pub(super) fn stop(&self) -> anyhow::Result<()> {
        if !self.answers() {
            return Ok(());
        }
        let pid = Pid::from_raw(self.pid).context("the process has an impossible id")?;
        rustix::process::kill_process(pid, Signal::TERM)
            .with_context(|| format!("process {} could not be ended", self.pid))?;
        let deadline = Instant::now() + STOP;
        while self.exists() {
            ensure!(Instant::now() < deadline, "process {} (MiniStack) does not end; end it yourself", self.pid);
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

/// Writes a file whole or not at all.
pub(super) fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let next = path.with_extension("next");
    fs::write(&next, content)
        .and_then(|()| fs::rename(&next, path))
        .with_context(|| format!("{} could not be written", path.display()))
}

/// The port of the state if there is some, else the one asked for, else the first free one.
fn choose_port(state: &Path, asked: Option<u16>) -> anyhow::Result<u16> {
    let before = Emulator::last(state)?.map(|emulator| emulator.port);
    if let (Some(before), Some(asked)) = (before, asked) {
        ensure!(
            before == asked,
            "the local stack lives on port {before}; `make clean-local` forgets it and frees the choice of a port"
        );
    }
    match before.or(asked) {
        Some(port) if free(port) => Ok(port),
        Some(port) => bail!(
            "port {port} is taken by another program; end that, or forget the local stack with `make clean-local` and \
             choose another port with --port"
        ),
        None => (FIRST_PORT..FIRST_PORT + 200)
            .find(|&port| free(port))
            .with_context(|| format!("no port from {FIRST_PORT} up is free; choose one with --port")),
    }
}

fn free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn await_start(mut child: Child, port: u16, log: &Path) -> anyhow::Result<()> {
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

/// The process has ended, and its parent has not asked for its result yet. In a container nobody may ever ask.
fn zombie(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')))
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

    fn state_with(emulator: Option<Emulator>) -> tempfile::TempDir {
        let state = tempfile::tempdir().expect("a scratch folder");
        if let Some(emulator) = emulator {
            write(&record(state.path()), &serde_json::to_vec(&emulator).expect("numbers")).expect("written");
        }
        state
    }

    #[test]
    fn state_keeps_its_port() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = taken.local_addr().expect("bound").port();
        let before = Emulator { pid: i32::MAX, port };
        let state = state_with(Some(before));
        assert_eq!(Emulator::last(state.path()).expect("readable"), Some(before));
        let error = choose_port(state.path(), None).expect_err("the port is taken").to_string();
        assert!(error.contains("taken by another program"), "{error}");
        let error = choose_port(state.path(), Some(port ^ 1)).expect_err("another port").to_string();
        assert!(error.contains("make clean-local"), "{error}");
        drop(taken);
        assert_eq!(choose_port(state.path(), None).expect("free again"), port);
    }

    #[test]
    fn without_state_the_port_asked_for_or_a_free_one_is_taken() {
        let state = state_with(None);
        let port = choose_port(state.path(), None).expect("a free port");
        assert!(port >= FIRST_PORT);
        assert_eq!(choose_port(state.path(), Some(port)).expect("free"), port);
    }

    #[test]
    fn a_process_that_is_gone_does_not_answer_and_is_not_ended() {
        let gone = Emulator { pid: i32::MAX, port: 1 };
        assert!(!gone.answers());
        gone.stop().expect("nothing to end");
    }
}
