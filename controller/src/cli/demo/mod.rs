//! `fairway demo`: the reference network on one machine, and the story of what Fairway does in it.
//!
//! Nothing is staged. The nodes are processes of this very executable, the router is a BGP speaker at the other end of
//! real TCP connections, and every sentence of the story is printed after it was seen to be so, or the demo fails.

mod narrator;
mod network;
mod place;
mod process;
mod router;
mod story;
mod view;

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::args::DemoArgs;

use self::narrator::Narrator;
use self::network::Network;
use self::place::Place;
use super::{Failure, Outcome};

/// Plays the story; without `--once` the network then stays up to be tried, until Ctrl-C.
///
/// # Errors
/// Something in the story did not come true, or a part (a router's program, a free port) is missing.
pub async fn run(args: DemoArgs) -> Outcome {
    let place = Place::choose(args.router)?;
    let interrupted = interruption()?;
    tokio::pin!(interrupted);
    let narrator = Narrator::new(args.once);
    // Both futures own what must be cleaned up, so that dropping them ends the processes and removes the files.
    tokio::select! {
        biased;
        name = &mut interrupted => Err(Failure::Wrong(format!("the demo was stopped by {name}; everything it started is gone"))),
        played = play(&args, place, narrator) => {
            let Some((network, narrator)) = played? else { return Ok(()) };
            if !args.once {
                narrator.stay(&network)?;
                interrupted.await;
            }
            network.shut_down().await;
            Ok(())
        }
    }
}

/// `None` where nobody listens to the story any more.
async fn play(
    args: &DemoArgs,
    place: Place,
    mut narrator: Narrator,
) -> Result<Option<(Network, Narrator)>, Failure> {
    let mut network = Network::lay_out(args.router, place).await?;
    match story::tell(&mut network, &mut narrator).await {
        Ok(()) => Ok(Some((network, narrator))),
        Err(story::Ended::NobodyListens) => Ok(None),
        Err(story::Ended::Failed(failure)) => {
            narrator.confess(&network);
            Err(failure)
        }
    }
}

/// Waits for one of the signals by which people and supervisors end a program, and names it.
fn interruption() -> Result<impl Future<Output = &'static str>, Failure> {
    let listen = |kind| {
        signal(kind)
            .map_err(|error| Failure::Unreachable(format!("cannot listen for signals: {error}")))
    };
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => "Ctrl-C",
            _ = terminate.recv() => "SIGTERM",
            _ = hang_up.recv() => "SIGHUP",
        }
    })
}

/// Between two looks at something that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Looks until there is something to see, at most for `limit`.
///
/// # Errors
/// It did not come; `what` says what was waited for, and the last look adds what was seen instead.
async fn eventually<T, F>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, String>>,
{
    let mut seen = "nothing yet".to_owned();
    let looking = async {
        loop {
            match look().await {
                Ok(found) => return found,
                Err(instead) => seen = instead,
            }
            sleep(LOOK_AGAIN).await;
        }
    };
    let found = tokio::time::timeout(limit, looking).await;
    found.map_err(|_| {
        Failure::Wrong(format!(
            "{what} did not come within {} s: {seen}",
            limit.as_secs()
        ))
    })
}
