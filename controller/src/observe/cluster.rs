//! The metrics of a process that reads a Kubernetes API server: what it asks, what it writes, and who leads.

use tokio::sync::watch;

use super::metrics::Text;
use crate::apply::kubernetes::{LATENCY_BOUNDS, Writer};
use crate::kubernetes_client::ApiCalls;
use crate::lease::Leadership;
use crate::watch::kubernetes::SourceHealth;

/// Where the numbers come from.
#[derive(Clone, Debug)]
pub struct ClusterNumbers {
    /// Status writes and Events.
    pub writer: Writer,
    /// All requests.
    pub calls: ApiCalls,
    /// The watches.
    pub source: SourceHealth,
    /// The lease.
    pub leadership: watch::Receiver<Leadership>,
}

pub(super) fn metrics(text: &mut Text, numbers: &ClusterNumbers) {
    let leads = numbers.leadership.borrow().lead.is_some();
    text.gauge(
        "fairway_leader",
        "Whether this process holds the lease and gives the addresses.",
    );
    text.sample("fairway_leader", &[], u64::from(leads));
    requests(text, numbers);
    writes(text, numbers);
    watches(text, numbers);
}

fn requests(text: &mut Text, numbers: &ClusterNumbers) {
    let name = "fairway_kubernetes_requests";
    text.counter(
        name,
        "Requests to the API server by verb and status code; code 0: no answer.",
    );
    for ((verb, code), count) in numbers.calls.snapshot() {
        let code = code.to_string();
        text.sample(
            &format!("{name}_total"),
            &[("verb", verb), ("code", &code)],
            count,
        );
    }
}

fn writes(text: &mut Text, numbers: &ClusterNumbers) {
    let stats = numbers.writer.stats();
    for (name, help, value) in [
        (
            "fairway_status_queue_depth",
            "Objects whose status waits to be written.",
            stats.queued,
        ),
        (
            "fairway_status_writes_under_way",
            "Status writes that are not answered yet.",
            stats.under_way,
        ),
        (
            "fairway_status_writes_at_once",
            "How many status writes may be under way; fewer where the API server asks for it.",
            stats.limit,
        ),
    ] {
        text.gauge(name, help);
        text.sample(name, &[], value);
    }
    let name = "fairway_status_writes";
    text.counter(name, "Status writes by result.");
    for (result, count) in &stats.writes {
        text.sample(&format!("{name}_total"), &[("result", result)], count);
    }
    let name = "fairway_status_write_duration_seconds";
    text.histogram(name, "How long status writes took.");
    let mut below = 0;
    for (index, count) in stats.latency.counts.iter().enumerate() {
        below += count;
        let bound = LATENCY_BOUNDS
            .get(index)
            .map_or_else(|| "+Inf".to_owned(), |bound| format!("{bound:?}"));
        text.sample(&format!("{name}_bucket"), &[("le", &bound)], below);
    }
    text.sample(&format!("{name}_count"), &[], below);
    text.sample(&format!("{name}_sum"), &[], stats.latency.sum.as_secs_f64());
    let name = "fairway_events";
    text.counter(
        name,
        "Events by fate: sent, dropped (too many, or refused), repeated (said within ten minutes already).",
    );
    for (fate, count) in [
        ("sent", stats.events_sent),
        ("dropped", stats.events_dropped),
        ("repeated", stats.events_repeated),
    ] {
        text.sample(&format!("{name}_total"), &[("fate", fate)], count);
    }
}

fn watches(text: &mut Text, numbers: &ClusterNumbers) {
    let kinds = numbers.source.kinds();
    let name = "fairway_watch_connected";
    text.gauge(name, "Whether the objects of the kind are being watched.");
    for (kind, health) in &kinds {
        text.sample(name, &[("kind", kind.name())], u64::from(health.connected));
    }
    let name = "fairway_watch_lists";
    text.counter(name, "How often all objects of the kind were listed.");
    for (kind, health) in &kinds {
        text.sample(
            &format!("{name}_total"),
            &[("kind", kind.name())],
            health.lists,
        );
    }
    let name = "fairway_watch_errors";
    text.counter(
        name,
        "How often the kind could not be listed or watched, by what was in the way.",
    );
    for (kind, health) in &kinds {
        for (reason, count) in &health.errors {
            text.sample(
                &format!("{name}_total"),
                &[("kind", kind.name()), ("reason", reason)],
                count,
            );
        }
    }
}
