//! The figures that need a cluster, measured against a real API server. docs/benchmarks.md says how to run it and how to
//! read the table.

mod api;
mod audit;
mod control_plane;
mod process;
mod program;
mod report;
mod scale;
mod scenario;
mod stand_in;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use process::Outcome;
use program::Program;
use report::Report;
use scale::Scale;
use stand_in::Mistake;

/// Measures Fairway in a cluster: starts etcd and a kube-apiserver on loopback, plays the scenarios, prints a table.
/// Exits with 1 when a figure is missed and with 3 when it could not be measured.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to measure.
    #[arg(value_enum, default_value = "all")]
    scenarios: Vec<Scenario>,
    /// The Fairway to measure [default: `release/fairway` in the target directory this program is in].
    #[arg(long, value_name = "PATH", env = "FAIRWAY_BIN")]
    fairway: Option<PathBuf>,
    /// Fewer Services, and only what does not depend on how busy the machine is is judged.
    #[arg(long)]
    quick: bool,
    /// For how long the idle scenario counts.
    #[arg(long, value_name = "SECONDS")]
    idle_seconds: Option<u64>,
    /// Listen on this port of loopback and the three after it [default: the kernel chooses].
    #[arg(long)]
    port: Option<u16>,
    /// Measure the least that can be called a controller instead of Fairway: what the machine allows.
    #[arg(long)]
    stand_in: bool,
    /// With --stand-in: one that gets this wrong.
    #[arg(long, value_enum)]
    mistake: Option<Mistake>,
    /// Be that controller.
    #[arg(long, value_name = "KUBECONFIG", hide = true)]
    act_as_stand_in: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    All,
    Latency,
    Backlog,
    Restart,
    Idle,
    Memory,
}

/// How a run was asked for.
pub(crate) struct Options {
    pub(crate) program: Program,
    pub(crate) scale: Scale,
    pub(crate) port: Option<u16>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // One thread: the stand-in wakes no other one between an event and its answer, and the benchmark leaves the processors
    // to what it measures.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome =
        runtime
            .map_err(Into::into)
            .and_then(|runtime| match &arguments.act_as_stand_in {
                Some(kubeconfig) => runtime
                    .block_on(stand_in::run(kubeconfig, arguments.mistake))
                    .map(|()| true),
                None => runtime.block_on(measure_unless_interrupted(&arguments)),
            });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("cluster: {error}");
            ExitCode::from(3)
        }
    }
}

/// Whichever comes first; what was started ends with the future that owns it.
async fn measure_unless_interrupted(arguments: &Arguments) -> Outcome<bool> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = measure(arguments) => outcome,
        _ = interrupt.recv() => Err("interrupted".into()),
        _ = terminate.recv() => Err("terminated".into()),
    }
}

async fn measure(arguments: &Arguments) -> Outcome<bool> {
    let options = options(arguments)?;
    let chosen = |scenario| {
        arguments.scenarios.contains(&scenario) || arguments.scenarios.contains(&Scenario::All)
    };
    let mut report = Report::default();
    if chosen(Scenario::Latency) {
        scenario::latency::measure(&options, &mut report).await?;
    }
    if chosen(Scenario::Backlog) {
        scenario::backlog::measure(&options, &mut report).await?;
    }
    if chosen(Scenario::Restart) {
        scenario::restart::measure(&options, &mut report).await?;
    }
    if chosen(Scenario::Idle) {
        scenario::idle::measure(&options, &mut report).await?;
    }
    if chosen(Scenario::Memory) {
        scenario::memory::measure(&options, &mut report).await?;
    }
    report.print();
    Ok(report.all_met())
}

fn options(arguments: &Arguments) -> Outcome<Options> {
    let mut scale = if arguments.quick {
        Scale::QUICK
    } else {
        Scale::FULL
    };
    if let Some(seconds) = arguments.idle_seconds {
        scale.idle_time = Duration::from_secs(seconds);
    }
    let program = if arguments.stand_in {
        Program::StandIn(arguments.mistake)
    } else {
        let path = arguments
            .fairway
            .clone()
            .or_else(default_fairway)
            .unwrap_or_default();
        if !path.is_file() {
            let path = path.display();
            return Err(format!(
                "no Fairway at {path}: cargo build --release -p controller, or --fairway PATH"
            )
            .into());
        }
        Program::Fairway(path)
    };
    Ok(Options {
        program,
        scale,
        port: arguments.port,
    })
}

fn default_fairway() -> Option<PathBuf> {
    let this = std::env::current_exe().ok()?;
    let target = this.parent().and_then(Path::parent)?;
    Some(target.join("release/fairway"))
}
