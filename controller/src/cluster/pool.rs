use std::net::IpAddr;

use super::{Meta, Selector};

/// A CiliumLoadBalancerIPPool, v2 or v2alpha1, valid or not: an invalid one is known by name and fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Name, labels, age.
    pub meta: Meta,
    /// `spec` as it stands now, or its faults, one line each: `spec.blocks[1]: stop 10.0.30.1 is before start 10.0.30.9`.
    pub spec: Result<PoolSpec, PoolFaults>,
    /// The last valid spec since the process started, in force while `spec` is an error.
    pub last_valid: Option<PoolSpec>,
    /// Conditions as recorded: type, status, reason, message, observedGeneration, lastTransitionTime.
    pub recorded_conditions: Vec<RecordedCondition>,
}

/// What is wrong with a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolFaults {
    /// Faults of blocks.
    pub blocks: Vec<String>,
    /// Fault of the selector.
    pub selector: Option<String>,
    /// The blocks that can be read all the same.
    pub readable: Vec<Block>,
    /// The selector, where that one is in order.
    pub readable_selector: Option<Selector>,
    /// `disabled`.
    pub disabled: bool,
}

/// A valid spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolSpec {
    /// In spec order.
    pub blocks: Vec<Block>,
    /// Absent and `{}` are the same: everything matches.
    pub selector: Selector,
    /// `allowFirstLastIPs: No`.
    pub reserve_first_last: bool,
    /// `disabled`.
    pub disabled: bool,
}

/// An inclusive range of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// First address.
    pub first: IpAddr,
    /// Last address.
    pub last: IpAddr,
    /// Whether it was written as `cidr` (first and last address may then be reserved).
    pub is_cidr: bool,
}

/// A condition as an object carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedCondition {
    /// `type`.
    pub kind: String,
    /// `status`.
    pub status: String,
    /// `reason`.
    pub reason: String,
    /// `message`.
    pub message: String,
    /// `observedGeneration`.
    pub observed_generation: Option<i64>,
    /// `lastTransitionTime`.
    pub last_transition_time: String,
}
