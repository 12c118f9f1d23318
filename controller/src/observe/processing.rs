//! How long changes of Services and pools take to be planned, in Cilium's terms: by event and resource.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::{ObjectName, Pool, Service, Shared, Snapshot};

/// Upper bounds of the histogram, in seconds; one more bucket takes what is beyond.
pub(super) const PROCESSING_BOUNDS: [f64; 10] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0,
];

/// The times so far, and what was there at the last look.
#[derive(Debug, Default)]
pub struct Processing {
    times: BTreeMap<(&'static str, &'static str), Times>,
    services: Shared<BTreeMap<ObjectName, Arc<Service>>>,
    pools: Shared<BTreeMap<String, Pool>>,
}

/// One histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Times {
    /// How many were within each of [`PROCESSING_BOUNDS`] and not within the one before; the last: beyond all.
    pub(super) counts: [u64; PROCESSING_BOUNDS.len() + 1],
    pub(super) sum: Duration,
}

impl Processing {
    /// A plan of this snapshot took so long.
    pub fn planned(&mut self, snapshot: &Snapshot, took: Duration) {
        if !snapshot.complete {
            return;
        }
        if !self.services.is_same(&snapshot.services) {
            let former = std::mem::replace(&mut self.services, snapshot.services.clone());
            let services = changes(&former, &snapshot.services, Arc::ptr_eq);
            self.note("service", services, took);
        }
        if !self.pools.is_same(&snapshot.pools) {
            let former = std::mem::replace(&mut self.pools, snapshot.pools.clone());
            let pools = changes(&former, &snapshot.pools, Pool::eq);
            self.note("pool", pools, took);
        }
    }

    pub(super) fn times(&self) -> impl Iterator<Item = (&(&'static str, &'static str), &Times)> {
        self.times.iter()
    }

    fn note(&mut self, resource: &'static str, changes: Changes, took: Duration) {
        for (event, count) in [("upsert", changes.upserts), ("delete", changes.deletes)] {
            if count == 0 {
                continue;
            }
            let times = self.times.entry((event, resource)).or_default();
            let seconds = took.as_secs_f64();
            let bucket = PROCESSING_BOUNDS.iter().position(|bound| seconds <= *bound);
            times.counts[bucket.unwrap_or(PROCESSING_BOUNDS.len())] += u64::from(count);
            times.sum += took * count;
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Changes {
    upserts: u32,
    deletes: u32,
}

fn changes<K: Ord, V>(
    former: &BTreeMap<K, V>,
    now: &BTreeMap<K, V>,
    same: impl Fn(&V, &V) -> bool,
) -> Changes {
    let (mut changes, mut stayed) = (Changes::default(), 0);
    for (key, value) in now {
        match former.get(key) {
            Some(before) => {
                stayed += 1;
                changes.upserts += u32::from(!same(before, value));
            }
            None => changes.upserts += 1,
        }
    }
    changes.deletes = u32::try_from(former.len() - stayed).unwrap_or(u32::MAX);
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_object_is_one_sample_and_an_unchanged_one_none() {
        let service = |name: &str| {
            let name = ObjectName {
                namespace: "a".into(),
                name: name.into(),
            };
            (name, Arc::new(Service::default()))
        };
        let mut snapshot = Snapshot {
            complete: true,
            ..Snapshot::default()
        };
        let mut processing = Processing::default();
        snapshot.services = BTreeMap::from([service("b"), service("c")]).into();
        processing.planned(&snapshot, Duration::from_millis(2));
        processing.planned(&snapshot, Duration::from_millis(2));
        let mut fewer = (*snapshot.services).clone();
        fewer.remove(&service("b").0);
        snapshot.services = fewer.into();
        processing.planned(&snapshot, Duration::from_secs(2));
        let counted: Vec<_> = processing
            .times()
            .map(|(labels, times)| (*labels, times.counts.iter().sum::<u64>(), times.sum))
            .collect();
        assert_eq!(
            counted,
            [
                (("delete", "service"), 1, Duration::from_secs(2)),
                (("upsert", "service"), 2, Duration::from_millis(4)),
            ]
        );
    }
}
