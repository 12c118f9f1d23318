//! The `fairway` binary: parse, build, run, exit code.

use std::process::ExitCode;

use controller::args::{Arguments, Command, NotParsed, RunArgs};
use controller::cli::{self, Failure, Outcome};
use controller::config::RunConfig;
use controller::{agent, net, observe};
use tokio::runtime::{Builder, Runtime};

/// Threads that drive sockets and plans; what a node's agent does fits two.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    net::memory::begin();
    match Arguments::from_words(std::env::args_os()) {
        Ok(arguments) => cli::finish(perform(arguments.command)),
        Err(NotParsed::Asked(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(NotParsed::Wrong(text)) => cli::finish(Err(Failure::Usage(text))),
    }
}

fn perform(command: Command) -> Outcome {
    match command {
        Command::Run(args) => run(args),
        Command::Demo(args) => runtime(Builder::new_multi_thread().worker_threads(WORKERS))?
            .block_on(cli::demo::run(args)),
        Command::Peers(args) => {
            runtime(&mut Builder::new_current_thread())?.block_on(cli::peers::run(args))
        }
        Command::Routes(args) => {
            runtime(&mut Builder::new_current_thread())?.block_on(cli::routes::run(args))
        }
        Command::Services(args) => {
            runtime(&mut Builder::new_current_thread())?.block_on(cli::services::run(args))
        }
        Command::Pools(args) => {
            runtime(&mut Builder::new_current_thread())?.block_on(cli::pools::run(args))
        }
        Command::Crds(args) => cli::crds::run(&args),
    }
}

fn run(args: RunArgs) -> Outcome {
    let config = RunConfig::new(args, std::env::var_os("XDG_RUNTIME_DIR").map(Into::into))?;
    observe::log::start(config.log_format);
    let runtime = runtime(Builder::new_multi_thread().worker_threads(WORKERS))?;
    let outcome = runtime.block_on(agent::run(config));
    // Whatever still waits for a client that does not read must not hold up the end.
    runtime.shutdown_background();
    outcome
}

fn runtime(builder: &mut Builder) -> Result<Runtime, Failure> {
    builder
        .enable_all()
        .build()
        .map_err(|error| Failure::Unreachable(format!("threads or timers cannot be had: {error}")))
}
