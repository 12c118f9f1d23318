//! The tests' own clock: waiting for a condition, never for a time.

use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Now.
#[expect(
    clippy::disallowed_methods,
    reason = "tests against real processes run on real time; this is their one clock"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock, as time since 1970: routers write it into their logs.
#[expect(
    clippy::disallowed_methods,
    reason = "compared with the timestamps in routers' logs"
)]
pub fn wall_clock() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock stands after 1970")
}

/// The wall clock as the API writes a `renewTime`: `2026-01-31T12:34:56.123456Z`.
pub fn timestamp() -> String {
    let now = jiff::Timestamp::UNIX_EPOCH + wall_clock();
    format!("{now:.6}")
}

/// Asks `condition` again and again until it is met, and returns what it found and how long that took.
///
/// # Panics
/// When `limit` has passed: with `what` was waited for and what was there instead.
#[track_caller]
pub fn eventually<T, E: Debug>(
    what: &str,
    limit: Duration,
    condition: impl FnMut() -> Result<T, E>,
) -> T {
    match poll(limit, condition) {
        Ok(value) => value,
        Err(last) => panic!("not within {limit:?}: {what}; at the end: {last:?}"),
    }
}

/// Asks `condition` again and again, and panics when it fails once within `length`: something that has to stay so.
///
/// # Panics
/// As soon as the condition is not met.
#[track_caller]
pub fn throughout<E: Debug>(
    what: &str,
    length: Duration,
    mut condition: impl FnMut() -> Result<(), E>,
) {
    let end = now() + length;
    while now() < end {
        if let Err(found) = condition() {
            panic!("no longer so: {what}; found: {found:?}");
        }
        breathe();
    }
}

/// [`eventually`] without the panic: the last failure, where the limit passed.
///
/// # Errors
/// The condition's last error.
pub fn poll<T, E>(limit: Duration, mut condition: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let end = now() + limit;
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(last) if now() >= end => return Err(last),
            Err(_) => breathe(),
        }
    }
}

/// `Ok` where it holds, else `found`, for use with [`eventually`].
///
/// # Errors
/// `found`, where it does not hold.
pub fn holds<E>(it: bool, found: E) -> Result<(), E> {
    if it { Ok(()) } else { Err(found) }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the pause between two looks at a condition, inside a loop with a deadline"
)]
fn breathe() {
    std::thread::sleep(Duration::from_millis(5));
}
