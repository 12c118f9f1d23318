//! Child processes that end with the benchmark, and what the kernel says of them.

use std::error::Error;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// What can go wrong here ends the run with a message.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The benchmark's clock.
#[expect(clippy::disallowed_methods, reason = "a benchmark owns its clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A running child. Dropping it kills it.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident now (VmRSS).
    pub(crate) resident: u64,
    /// The most that was ever resident (VmHWM).
    pub(crate) peak: u64,
}

impl Process {
    /// Starts it with both outputs going to `log`.
    pub(crate) fn start(name: &'static str, command: &Command, log: &Path) -> Outcome<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        // The kernel ends it should the benchmark itself be killed. In a group of its own, so that Ctrl-C at the terminal
        // reaches the benchmark alone, which then ends its children in order.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot start setpriv (of util-linux): {error}"))?;
        Ok(Self {
            name,
            child,
            log: log.to_owned(),
        })
    }

    /// An error with the last lines of its log, when it no longer runs.
    pub(crate) fn check(&mut self) -> Outcome<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                Err(format!("{} ended with {status}\n{}", self.name, self.last_lines()).into())
            }
        }
    }

    /// Asks it to end (SIGTERM), and kills it when it has not after ten seconds.
    pub(crate) async fn stop(mut self) -> Outcome<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let deadline = now() + Duration::from_secs(10);
        while self.child.try_wait()?.is_none() {
            if now() > deadline {
                return Err(format!(
                    "{} does not end after SIGTERM\n{}",
                    self.name,
                    self.last_lines()
                )
                .into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// What it holds of the machine's memory.
    pub(crate) fn memory(&self) -> Outcome<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| -> Outcome<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            Ok(number
                .ok_or_else(|| format!("{} has no {name}", self.name))?
                .parse()?)
        };
        Ok(Memory {
            resident: field("VmRSS:")?,
            peak: field("VmHWM:")?,
        })
    }

    /// How long it has been running on a processor so far.
    pub(crate) fn processor_time(&self) -> Outcome<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The second field is the program's name in parentheses and may hold anything.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(str::parse::<u64>)
            .sum::<Result<u64, _>>()?;
        Ok(Duration::from_millis(
            ticks * 1000 / rustix::param::clock_ticks_per_second(),
        ))
    }

    /// The end of what it has written.
    pub(crate) fn last_lines(&self) -> String {
        let log = String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
