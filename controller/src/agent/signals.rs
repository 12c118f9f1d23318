//! What the system tells the process.

use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// Exit code of a process that a second signal ends at once.
const ENDED_AT_ONCE: i32 = 130;

/// The signals that mean something here. SIGHUP is taken and ignored: what changes in files is seen without it.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Stream,
    terminate: Stream,
    hang_up: Stream,
}

impl Signals {
    pub(super) fn take() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for SIGINT or SIGTERM and returns its name.
    pub(super) async fn stop(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.hang_up.recv() => {}
            }
        }
    }

    /// From now on the next SIGINT or SIGTERM ends the process at once.
    pub(super) fn next_ends_the_process(mut self) {
        tokio::spawn(async move {
            self.stop().await;
            std::process::exit(ENDED_AT_ONCE);
        });
    }
}
