//! One file per figure.

pub(crate) mod backlog;
pub(crate) mod idle;
pub(crate) mod latency;
pub(crate) mod memory;
pub(crate) mod restart;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::api::Observer;
use crate::process::{Outcome, Process, now};

/// Waits until `count` more Services have an address. Returns when the first and the last of them were seen with it.
async fn all_served(
    observer: &mut Observer,
    process: &mut Process,
    count: usize,
    limit: Duration,
) -> Outcome<(Instant, Instant)> {
    let deadline = now() + limit;
    let mut served = BTreeSet::new();
    let mut first = None;
    loop {
        let sighting = observer.next(process, deadline).await.map_err(|error| {
            format!(
                "{} of {count} Services have an address: {error}",
                served.len()
            )
        })?;
        if sighting.service.address().is_none() {
            continue;
        }
        let first = *first.get_or_insert(sighting.at);
        served.insert(sighting.service.metadata.uid);
        if served.len() == count {
            return Ok((first, sighting.at));
        }
    }
}

/// Waits until one Service has an address. Returns when it was seen with it.
async fn served(
    observer: &mut Observer,
    process: &mut Process,
    name: &str,
    limit: Duration,
) -> Outcome<Instant> {
    let deadline = now() + limit;
    loop {
        let sighting = observer.next(process, deadline).await?;
        if sighting.service.metadata.name == name && sighting.service.address().is_some() {
            return Ok(sighting.at);
        }
    }
}
