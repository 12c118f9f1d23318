//! Reasons and messages of the conditions: what users and scripts read.

use std::net::IpAddr;

use ipam::{Incompatible, Range};

use super::{PoolCondition, ServiceCondition};
use crate::cluster::PoolFaults;
use crate::plan::status::INVALID;

// Why an address goes from a Service: what its Event and the log say.
pub(super) const POOL_DELETED: &str = "its pool was deleted";
pub(super) const BLOCK_REMOVED: &str = "its pool does not contain it any more";
pub(super) const IN_NO_POOL: &str = "no pool contains it";
pub(super) const NOT_SELECTED: &str = "no pool that contains it selects this service";
pub(super) const FAMILY_NOT_WANTED: &str = "this service does not want an address of its family";
pub(super) const NOT_NAMED: &str = "the request of this service does not name it";
pub(super) const MAY_NOT_SHARE: &str =
    "this service was changed and may not share it any more with the others that have it";
pub(super) const NO_LOAD_BALANCER: &str = "this service is not of type LoadBalancer any more";
pub(super) const OTHER_CLASS: &str = "the class of this service is not served any more";
pub(super) const ANOTHERS: &str = "it belongs to another service";
pub(super) const FROM_STRANGER: &str =
    "another controller wrote it, and this service cannot have it";
pub(super) const REPLACED: &str = "another controller replaced it";
pub(super) const LEFT_TO_STRANGER: &str =
    "another controller keeps replacing it, so this service is left to that one for a while";

/// The condition of a Service that has what it asks for.
pub(super) fn satisfied() -> ServiceCondition {
    ServiceCondition {
        satisfied: true,
        reason: "satisfied",
        message: String::new(),
    }
}

pub(super) fn no_matching_pool() -> ServiceCondition {
    refused(
        "no_pool",
        "There are no enabled CiliumLoadBalancerIPPools that match this service".to_owned(),
    )
}

pub(super) fn out_of_addresses() -> ServiceCondition {
    let message =
        "All enabled CiliumLoadBalancerIPPools that match this service ran out of allocatable IPs";
    refused("out_of_ips", message.to_owned())
}

pub(super) fn no_pool_with(address: IpAddr) -> ServiceCondition {
    refused(
        "no_pool",
        format!("No pool exists with a CIDR containing '{address}'"),
    )
}

/// `what`: `disabled`, `conflicting` or `invalid`.
pub(super) fn pool_is(what: &str, address: IpAddr) -> ServiceCondition {
    refused(
        "no_pool",
        format!("The pool with the CIDR containing '{address}' is {what}"),
    )
}

pub(super) fn not_selected(address: IpAddr) -> ServiceCondition {
    let message =
        format!("The pool with the CIDR containing '{address}', doesn't select this service");
    refused("pool_selector_mismatch", message)
}

pub(super) fn not_an_address(item: &str) -> ServiceCondition {
    refused(
        "invalid_request",
        format!("The requested address '{item}' is not an IP address"),
    )
}

pub(super) fn wrong_family(address: IpAddr) -> ServiceCondition {
    let message =
        format!("The requested address '{address}' is of a family that this service does not have");
    refused("invalid_request", message)
}

pub(super) fn reserved(address: IpAddr, pool: &str) -> ServiceCondition {
    let message =
        format!("The IP '{address}' is reserved as the first or last address of pool '{pool}'");
    refused("already_allocated", message)
}

pub(super) fn in_use(address: IpAddr) -> ServiceCondition {
    refused(
        "already_allocated",
        format!("The IP '{address}' is already allocated to another service"),
    )
}

pub(super) fn incompatible(address: IpAddr, why: Incompatible) -> ServiceCondition {
    let why = match why {
        Incompatible::Key => "different sharing key",
        Incompatible::Group => "different and not permitted namespace",
        Incompatible::Port => "same port and protocol",
        Incompatible::Exposure => "different ExternalTrafficPolicy",
        Incompatible::Backends => {
            "compatible ExternalTrafficPolicy local but selecting different set of pods"
        }
    };
    let message = format!(
        "The IP '{address}' is already allocated to an incompatible service. Reason: {why}"
    );
    refused("already_allocated_incompatible_service", message)
}

/// What a marked pool is told: the range of its own, the range it collides with, and whose that is.
pub(super) fn conflict(ours: Range, theirs: Range, other: &str) -> String {
    format!("Pool conflicts since range '{ours}' overlaps range '{theirs}' from IP Pool '{other}'")
}

pub(super) fn pool_conflict(message: Option<&str>) -> PoolCondition {
    PoolCondition {
        kind: "cilium.io/PoolConflict",
        status: if message.is_some() { "True" } else { "False" },
        reason: if message.is_some() {
            "cidr_overlap"
        } else {
            "resolved"
        },
        message: message.unwrap_or_default().to_owned(),
    }
}

pub(super) fn counters(usage: &ipam::Usage) -> [PoolCondition; 3] {
    let counter = |kind, count: ipam::Count| PoolCondition {
        kind,
        status: "Unknown",
        reason: "noreason",
        message: count.to_string(),
    };
    [
        counter("cilium.io/IPsTotal", usage.total),
        counter("cilium.io/IPsAvailable", usage.available()),
        counter("cilium.io/IPsUsed", usage.used),
    ]
}

pub(super) fn invalid(faults: &PoolFaults) -> PoolCondition {
    let all: Vec<&str> = faults
        .blocks
        .iter()
        .chain(&faults.selector)
        .map(String::as_str)
        .collect();
    PoolCondition {
        kind: INVALID,
        status: "True",
        reason: if faults.blocks.is_empty() {
            "invalid_selector"
        } else {
            "invalid_block"
        },
        message: all.join("; "),
    }
}

fn refused(reason: &'static str, message: String) -> ServiceCondition {
    ServiceCondition {
        satisfied: false,
        reason,
        message,
    }
}
