//! Where processes run and sockets open: in the network namespace of a host, or in the one that the test runs in.

use std::path::Path;
use std::process::Command;

use crate::lab::Host;
use crate::process::Process;

/// Where something lives.
#[derive(Clone, Debug)]
pub enum Place {
    /// In the network namespace of the test itself; what listens does so on loopback.
    Here,
    /// On a host of a lab.
    On(Host),
}

impl Place {
    /// Runs `action` there.
    ///
    /// # Panics
    /// With the action's own panic, or when the namespace is gone.
    #[track_caller]
    pub fn inside<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        match self {
            Self::Here => action(),
            Self::On(host) => host.inside(action),
        }
    }

    /// Starts a process there; its output is appended to `DIRECTORY/NAME.log`.
    #[track_caller]
    pub fn start(&self, name: &str, command: Command, directory: &Path) -> Process {
        let log = directory.join(format!("{name}.log"));
        self.inside(|| Process::start(name, command, &log))
    }
}

impl From<&Host> for Place {
    fn from(host: &Host) -> Self {
        Self::On(host.clone())
    }
}
