//! A process of the demo: started, watched, and ended by its id whatever happens to us.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::Failure;

/// How long a process may take to end after it was asked to.
const END_LIMIT: Duration = Duration::from_secs(3);
/// Lines of a log that are shown when something went wrong.
const TAIL: usize = 8;

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    child: Mutex<Child>,
    id: Option<u32>,
    log: PathBuf,
}

impl Process {
    /// Starts a program; what it prints is appended to `log`.
    pub(super) fn start(
        program: &Path,
        arguments: &[OsString],
        log: &Path,
    ) -> Result<Self, Failure> {
        let attempt = || -> io::Result<Child> {
            let out = File::options().create(true).append(true).open(log)?;
            let mut command = guarded(program);
            command
                .args(arguments)
                .env("RUST_BACKTRACE", "0")
                .stdin(Stdio::null())
                .stdout(out.try_clone()?)
                .stderr(out);
            // A group of its own: Ctrl-C is for the demo, which then ends its processes in order.
            command.process_group(0).kill_on_drop(true).spawn()
        };
        let child = attempt().map_err(|error| {
            Failure::Unreachable(format!("cannot start {}: {error}", program.display()))
        })?;
        Ok(Self {
            id: child.id(),
            child: Mutex::new(child),
            log: log.to_path_buf(),
        })
    }

    /// Its id.
    pub(super) fn id(&self) -> Option<u32> {
        self.id
    }

    /// How it ended, if it did.
    pub(super) fn ended(&self) -> Option<String> {
        // Whoever held the lock did nothing that could leave it half done.
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        match child.try_wait() {
            Ok(Some(status)) => Some(format!("it ended with {status}: {}", last_line(&self.log))),
            _ => None,
        }
    }

    /// Ends it at once and without a warning (SIGKILL), as a crash would; returns when it is gone.
    pub(super) async fn kill(self) -> io::Result<()> {
        self.into_child().kill().await
    }

    /// Asks it to end (SIGTERM) and waits; one that does not is killed.
    pub(super) async fn end(self) {
        let mut child = self.into_child();
        let id = child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        // Where the id is gone, so is the process.
        if id.is_some_and(|id| kill_process(id, Signal::TERM).is_ok()) {
            let _ = timeout(END_LIMIT, child.wait()).await;
        }
    }

    fn into_child(self) -> Child {
        self.child
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The program, in a wrapper that makes the kernel end it when the demo is killed without a chance to clean up. Where the
/// wrapper (util-linux) is missing, everything but that case works as well.
fn guarded(program: &Path) -> Command {
    let Some(wrapper) = find("setpriv", &[]) else {
        return Command::new(program);
    };
    let mut command = Command::new(wrapper);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// A program in `$PATH` or in one of the other directories.
pub(super) fn find(name: &str, elsewhere: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(elsewhere.iter().map(PathBuf::from));
    directories
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// Arguments out of pieces of different kinds.
pub(super) fn words<'a>(pieces: impl IntoIterator<Item = &'a dyn AsRef<OsStr>>) -> Vec<OsString> {
    pieces
        .into_iter()
        .map(|piece| piece.as_ref().to_os_string())
        .collect()
}

/// The end of a log.
pub(super) fn tail(log: &Path) -> Vec<String> {
    let text = fs::read(log)
        .map(|octets| String::from_utf8_lossy(&octets).into_owned())
        .unwrap_or_default();
    let lines: Vec<&str> = text
        .lines()
        // What Rust adds after a panic says nothing about it.
        .filter(|line| {
            !line.trim().is_empty() && !line.starts_with("note: run with `RUST_BACKTRACE")
        })
        .collect();
    lines[lines.len().saturating_sub(TAIL)..]
        .iter()
        .map(|&line| line.to_owned())
        .collect()
}

fn last_line(log: &Path) -> String {
    tail(log)
        .pop()
        .unwrap_or_else(|| "it printed nothing".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::eventually;

    #[tokio::test]
    async fn a_process_ends_when_asked_and_when_killed() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let sleep = find("sleep", &[]).unwrap();
        let asked = Process::start(&sleep, &["60".into()], &log).unwrap();
        assert!(asked.id().is_some());
        asked.end().await;
        let killed = Process::start(&sleep, &["60".into()], &log).unwrap();
        assert_eq!(killed.ended(), None);
        killed.kill().await.unwrap();
    }

    #[tokio::test]
    async fn what_a_process_said_last_explains_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let shell = find("sh", &[]).unwrap();
        let process = Process::start(
            &shell,
            &["-c".into(), "echo one; echo two >&2; exit 3".into()],
            &log,
        )
        .unwrap();
        let said = eventually(END_LIMIT, "its end", || async {
            process.ended().ok_or(String::new())
        })
        .await
        .unwrap();
        assert!(said.contains('3') && said.ends_with("two"), "{said}");
        assert_eq!(tail(&log), ["one", "two"]);
    }

    #[test]
    fn a_missing_program_is_not_found() {
        assert_eq!(find("no-such-program-anywhere", &["/nonexistent"]), None);
    }
}
