//! Metrics in OpenMetrics text form, with Cilium's names where it has one.

use std::fmt::Write as _;

use super::cluster;
use super::peers::family_name;
use super::processing::{PROCESSING_BOUNDS, Processing};
use super::state::{ClusterView, State};
use crate::net::driver::InstanceStatus;

/// The `Content-Type` of [`metrics`].
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn metrics(state: &State) -> String {
    let mut text = Text::default();
    text.gauge("fairway_build_info", "The version that runs.");
    text.sample(
        "fairway_build_info",
        &[
            ("version", env!("CARGO_PKG_VERSION")),
            ("node", state.node()),
        ],
        1,
    );
    bgp(&mut text, &state.statuses().await);
    addresses(&mut text, &state.view());
    processing(&mut text, &state.processing());
    if let Some(numbers) = state.cluster() {
        cluster::metrics(&mut text, numbers);
    }
    text.0.push_str("# EOF\n");
    text.0
}

fn bgp(text: &mut Text, statuses: &[(String, InstanceStatus)]) {
    let peers = || {
        statuses.iter().flat_map(|(_, status)| {
            status.peers.iter().map(|view| {
                let session = view
                    .status
                    .as_ref()
                    .and_then(|status| status.session.as_ref());
                let asn = view
                    .plan
                    .asn
                    .or_else(|| session.map(|session| session.peer_asn))
                    .map_or(0, |asn| asn.0);
                let labels = [
                    ("vrouter", status.identity.local_asn.to_string()),
                    (
                        "neighbor",
                        std::net::SocketAddr::new(view.plan.address, view.plan.port).to_string(),
                    ),
                    ("neighbor_asn", asn.to_string()),
                ];
                (labels, view, session.is_some())
            })
        })
    };
    let name = "cilium_bgp_control_plane_session_state";
    text.gauge(name, "Whether the session with the peer is established.");
    for (labels, _, established) in peers() {
        text.sample(name, &borrowed(&labels), u64::from(established));
    }
    for (name, help, advertised) in [
        (
            "cilium_bgp_control_plane_advertised_routes",
            "Routes advertised to the peer.",
            true,
        ),
        (
            "cilium_bgp_control_plane_received_routes",
            "Routes received from the peer.",
            false,
        ),
    ] {
        text.gauge(name, help);
        for (labels, view, _) in peers() {
            for (family, counts) in view.status.iter().flat_map(|status| &status.counts) {
                let family = family_name(*family);
                let mut labels = borrowed(&labels);
                labels.extend([("afi", family.afi.as_str()), ("safi", family.safi.as_str())]);
                text.sample(
                    name,
                    &labels,
                    (if advertised {
                        counts.advertised
                    } else {
                        counts.received
                    }) as u64,
                );
            }
        }
    }
}

fn addresses(text: &mut Text, view: &ClusterView) {
    let count = |kind: &str, conditions: &[crate::plan::addresses::PoolCondition]| {
        conditions
            .iter()
            .find(|condition| condition.kind == kind)
            .and_then(|condition| condition.message.parse::<u128>().ok())
    };
    for (name, help, kind) in [
        (
            "cilium_operator_lbipam_ips_available",
            "Addresses of the pool that are free.",
            "cilium.io/IPsAvailable",
        ),
        (
            "cilium_operator_lbipam_ips_used",
            "Addresses of the pool that are in use.",
            "cilium.io/IPsUsed",
        ),
    ] {
        text.gauge(name, help);
        for (pool, conditions) in &view.addresses.pools {
            if let Some(value) = count(kind, conditions) {
                text.sample(name, &[("pool", pool)], value);
            }
        }
    }
    let conflicting = view
        .addresses
        .pools
        .values()
        .flatten()
        .filter(|condition| {
            condition.kind == "cilium.io/PoolConflict" && condition.status == "True"
        })
        .count();
    for (name, help, value) in [
        (
            "cilium_operator_lbipam_conflicting_pools",
            "Pools that overlap another.",
            conflicting,
        ),
        (
            "cilium_operator_lbipam_services_matching",
            "Services that are given addresses here.",
            view.addresses.matching,
        ),
        (
            "cilium_operator_lbipam_services_unsatisfied",
            "Of those, Services that did not get all they ask for.",
            view.addresses.unsatisfied,
        ),
    ] {
        text.gauge(name, help);
        text.sample(name, &[], value);
    }
}

fn processing(text: &mut Text, processing: &Processing) {
    let name = "cilium_operator_lbipam_event_processing_time_seconds";
    text.histogram(
        name,
        "How long the plan took that answered a change of an object; one sample for each changed object.",
    );
    for ((event, resource), times) in processing.times() {
        let labels = [("event", *event), ("resource", *resource)];
        let mut below = 0;
        for (index, count) in times.counts.iter().enumerate() {
            below += count;
            let bound = PROCESSING_BOUNDS
                .get(index)
                .map_or_else(|| "+Inf".to_owned(), |bound| format!("{bound:?}"));
            let labels = [labels[0], labels[1], ("le", bound.as_str())];
            text.sample(&format!("{name}_bucket"), &labels, below);
        }
        text.sample(&format!("{name}_count"), &labels, below);
        text.sample(&format!("{name}_sum"), &labels, times.sum.as_secs_f64());
    }
}

fn borrowed<'a>(labels: &'a [(&'static str, String); 3]) -> Vec<(&'static str, &'a str)> {
    labels
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

#[derive(Default)]
pub(super) struct Text(String);

// Writing to a `String` cannot fail.
impl Text {
    pub(super) fn gauge(&mut self, name: &str, help: &str) {
        self.family(name, "gauge", help);
    }

    /// The samples of a counter end in `_total`, its name does not.
    pub(super) fn counter(&mut self, name: &str, help: &str) {
        self.family(name, "counter", help);
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str) {
        self.family(name, "histogram", help);
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# TYPE {name} {kind}\n# HELP {name} {help}");
    }

    pub(super) fn sample(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        value: impl std::fmt::Display,
    ) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _ = write!(
                self.0,
                "{}{label}=\"{text}\"",
                if index == 0 { "{" } else { "," }
            );
        }
        let _ = writeln!(
            self.0,
            "{} {value}",
            if labels.is_empty() { "" } else { "}" }
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::plan::addresses::{AddressPlan, PoolCondition};

    #[test]
    fn label_values_are_escaped_and_bare_samples_have_no_braces() {
        let mut text = Text::default();
        text.sample("a", &[("b", "c\"\\\n"), ("d", "e")], 1);
        text.sample("f", &[], 2);
        assert_eq!(text.0, "a{b=\"c\\\"\\\\\\n\",d=\"e\"} 1\nf 2\n");
    }

    #[test]
    fn a_pool_shows_its_counts_and_an_unreadable_one_shows_none() {
        let condition = |kind, message: &str| PoolCondition {
            kind,
            status: "Unknown",
            reason: "noreason",
            message: message.to_owned(),
        };
        let pools: BTreeMap<String, Vec<PoolCondition>> = [
            (
                "good".to_owned(),
                vec![
                    condition("cilium.io/IPsAvailable", "13"),
                    condition("cilium.io/IPsUsed", "1"),
                ],
            ),
            ("bad".to_owned(), vec![]),
        ]
        .into();
        let view = ClusterView {
            addresses: AddressPlan {
                pools,
                ..AddressPlan::default()
            },
            ..ClusterView::default()
        };
        let mut text = Text::default();
        addresses(&mut text, &view);
        assert!(
            text.0
                .contains("cilium_operator_lbipam_ips_available{pool=\"good\"} 13\n"),
            "{}",
            text.0
        );
        assert!(
            text.0
                .contains("cilium_operator_lbipam_ips_used{pool=\"good\"} 1\n"),
            "{}",
            text.0
        );
        assert!(!text.0.contains("bad"), "{}", text.0);
    }
}
