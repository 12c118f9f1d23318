//! The commands for people: one file per command, each a `run` that ends in an [`Outcome`].
//!
//! The commands that show something ask a running Fairway through its local API (`client`) and print what it says
//! (`output`); they hold no knowledge of their own.

mod attributes;
mod client;
pub mod crds;
pub mod demo;
mod output;
pub mod peers;
pub mod pools;
pub mod routes;
pub mod services;
mod show;

use std::process::ExitCode;

/// How a command ended: done (exit code 0), or why not.
pub type Outcome = Result<(), Failure>;

/// Why a command did not do what it was asked for. Each text is one line: what, where, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Exit code 1: the checked thing is wrong.
    #[error("{0}")]
    Wrong(String),
    /// Exit code 2: the command was used wrongly.
    #[error("{0}")]
    Usage(String),
    /// Exit code 3: something that the command needs cannot be reached.
    #[error("{0}")]
    Unreachable(String),
}

impl Failure {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Wrong(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
        }
    }
}

/// Writes the one line of a failure to standard error and gives the process's exit code.
pub fn finish(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure.to_string());
            ExitCode::from(failure.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_the_exit_code_of_its_kind() {
        assert_eq!(Failure::Wrong(String::new()).exit_code(), 1);
        assert_eq!(Failure::Usage(String::new()).exit_code(), 2);
        assert_eq!(Failure::Unreachable(String::new()).exit_code(), 3);
    }
}
