//! Child processes that never outlive their test, with their output kept and shown when it fails.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::clock::{eventually, poll};

/// A running child. Dropping it kills it; on a failing test its output is printed first.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with both outputs going to `log` (appended).
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start(name: &str, mut command: Command, log: &Path) -> Self {
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .expect("the log file can be opened");
        let errors = output.try_clone().expect("a file handle can be duplicated");
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        record("process", child.id());
        Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
            ended: None,
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All it has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for");
        }
        self.ended.is_none()
    }

    /// Sends a signal, if it still runs.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            let id = Pid::from_child(&self.child);
            kill_process(id, signal)
                .unwrap_or_else(|error| panic!("cannot signal {}: {error}", self.name));
        }
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it has not within `limit`.
    #[track_caller]
    pub fn wait_for_end(&mut self, limit: Duration) -> ExitStatus {
        eventually(&format!("{} ends", self.name), limit, || {
            if self.is_running() {
                Err("still running")
            } else {
                Ok(())
            }
        });
        self.ended.expect("it has just been seen to have ended")
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Panics
    /// When it does not end within ten seconds.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_for_end(Duration::from_secs(10))
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        if self.ended.is_none() {
            self.ended = self.child.wait().ok();
        }
    }

    /// Memory it holds (VmRSS), in KiB; `None` when it has ended.
    pub fn resident_kib(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let running = self.is_running();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!(
                "---- {} ({}), last lines ----",
                self.name,
                if running {
                    "running".to_owned()
                } else {
                    format!("{:?}", self.ended)
                }
            );
            for line in &lines[lines.len().saturating_sub(60)..] {
                eprintln!("{line}");
            }
        }
        if running {
            let _ = poll(Duration::ZERO, || {
                kill_process(Pid::from_child(&self.child), Signal::KILL)
            });
            let _ = self.child.wait();
        }
    }
}

/// Runs a program to its end.
///
/// # Panics
/// When it cannot be started.
#[track_caller]
pub fn run(program: impl AsRef<OsStr>, arguments: &[&str]) -> Output {
    let program = program.as_ref();
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", program.display()))
}

/// Runs a program to its end and returns what it printed.
///
/// # Panics
/// When it cannot be started or fails.
#[track_caller]
pub fn output_of(program: impl AsRef<OsStr>, arguments: &[&str]) -> String {
    let program = program.as_ref();
    let output = run(program, arguments);
    assert!(
        output.status.success(),
        "{} {arguments:?} failed: {}{}",
        program.display(),
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Octets as text.
pub fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// Writes down, for `tests/run`, something that has to be gone at the end of the run.
pub fn record(kind: &str, what: impl std::fmt::Display) {
    let Some(run) = std::env::var_os("FAIRWAY_LAB_RUN") else {
        return;
    };
    let ledger = Path::new(&run).join("made");
    let line = format!("{kind} {what}\n");
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&ledger)
        .and_then(|mut file: File| file.write_all(line.as_bytes()));
    if let Err(error) = written {
        panic!("cannot write {}: {error}", ledger.display());
    }
}

/// Has something (`netns` with all processes in it, `directory`) removed when this process is gone, however it ends: for what
/// outlives a single test.
///
/// # Panics
/// When no shell can be started.
#[track_caller]
pub fn remove_at_exit(kind: &str, what: impl std::fmt::Display) {
    static KEEPER: Mutex<Option<Child>> = Mutex::new(None);
    // It reads until the pipe breaks, which it does with the death of this process, and then removes the newest first.
    const SCRIPT: &str = r#"trap '' INT TERM HUP
made=
while read -r line; do made="$line
$made"; done
printf '%s' "$made" | while read -r kind what; do
    case $kind in
    netns)
        while processes=$(ip netns pids "$what") && [ -n "$processes" ]; do kill -KILL $processes; sleep 0.05; done
        ip netns delete "$what"
        ;;
    directory) rm -rf -- "$what" ;;
    esac
done"#;
    let mut keeper = KEEPER.lock().unwrap_or_else(PoisonError::into_inner);
    let child = keeper.get_or_insert_with(|| {
        Command::new("sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell can be started")
    });
    let pipe = child.stdin.as_mut().expect("its input is a pipe");
    writeln!(pipe, "{kind} {what}").expect("the keeper reads until we end");
}
