//! Log lines on standard error: for people on a terminal, JSON otherwise.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;

/// What is logged unless `RUST_LOG` says otherwise. What kube tells of failed requests and of certificates that are not
/// checked we tell ourselves, once and with what to do.
const DEFAULT: &str = "info,kube_client=error,kube_runtime=error";

/// Starts logging. `RUST_LOG` chooses levels (`info` where it is not set).
///
/// A second call, as in tests, changes nothing.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_target(false);
    let terminal = stderr().is_terminal();
    let human = match format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => terminal,
    };
    let _ = if human {
        lines.with_ansi(terminal).try_init()
    } else {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init()
    };
}
