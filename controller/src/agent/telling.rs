//! What goes to the log, each thing once: for as long as it stays as it is, and again when it comes back.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{info, warn};

use crate::cluster::{IngressEntry, ObjectName, Problem, Snapshot};
use crate::plan::BgpPlan;
use crate::plan::addresses::{AddressPlan, ServiceStatus};

/// What was said.
#[derive(Debug, Default)]
pub(super) struct Telling {
    problems: BTreeSet<String>,
    notes: BTreeSet<String>,
    services: BTreeMap<ObjectName, ServiceStatus>,
    writing: Option<String>,
}

impl Telling {
    /// What is wrong with objects and files, named with their place, and when it is right again.
    pub(super) fn problems(&mut self, problems: &[Problem]) {
        let now: BTreeSet<String> = problems.iter().map(ToString::to_string).collect();
        for text in now.difference(&self.problems) {
            warn!("{text}");
        }
        for text in self.problems.difference(&now) {
            info!("no longer a problem: {text}");
        }
        self.problems = now;
    }

    pub(super) fn notes(&mut self, notes: &[String]) {
        let now: BTreeSet<String> = notes.iter().cloned().collect();
        for text in now.difference(&self.notes) {
            warn!("{text}");
        }
        self.notes = now;
    }

    /// Whether statuses are still to be written.
    pub(super) fn writing(&mut self, result: Result<(), String>) -> bool {
        let failure = result.err();
        match (&self.writing, &failure) {
            (Some(_), None) => info!("statuses are written again"),
            (before, Some(failure)) if before.as_ref() != Some(failure) => {
                warn!("statuses cannot be written, and are tried again: {failure}");
            }
            _ => {}
        }
        self.writing = failure;
        self.writing.is_some()
    }

    /// What changes for Services. A plan mentions only those that differ from what is recorded, or lack something.
    pub(super) fn addresses(&mut self, plan: &AddressPlan, snapshot: &Snapshot) {
        for (name, status) in &plan.services {
            let before = self.services.get(name);
            if before == Some(status) {
                continue;
            }
            let recorded = || {
                let service = snapshot.services.get(name);
                service.map_or_else(Vec::new, |service| texts(&service.ingress))
            };
            let addresses = texts(&status.ingress);
            if before.map_or_else(recorded, |before| texts(&before.ingress)) != addresses {
                if addresses.is_empty() {
                    info!(service = %name, "address taken away");
                } else {
                    info!(service = %name, addresses = addresses.join(", "), "address given");
                }
            }
            if let Some(condition) = status
                .condition
                .as_ref()
                .filter(|condition| !condition.satisfied)
            {
                warn!(service = %name, reason = condition.reason, "not satisfied: {}", condition.message);
            }
        }
        self.services.clone_from(&plan.services);
    }
}

/// All that is to be known about this node's BGP, in one list.
pub(super) fn notes(plan: &BgpPlan) -> Vec<String> {
    let held = plan
        .held
        .iter()
        .map(|(name, why)| format!("BGP instance {name} stays as it is: {why}"));
    let all = plan
        .hold_all
        .iter()
        .map(|why| format!("BGP stays as it is: {why}"));
    all.chain(held).chain(plan.notes.iter().cloned()).collect()
}

fn texts(ingress: &[IngressEntry]) -> Vec<String> {
    ingress
        .iter()
        .filter_map(|entry| {
            entry
                .ip
                .map(|ip| ip.to_string())
                .or_else(|| entry.hostname.clone())
        })
        .collect()
}
