use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::crd::{CiliumLoadBalancerIPPool, CiliumLoadBalancerIPPoolSpec, PoolBlock};

use super::fault::{Fault, partly_typed, typed};
use super::{Meta, ObjectName, Selector};

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
    /// `allowFirstLastIPs: No`.
    pub reserve_first_last: bool,
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

impl Pool {
    /// The spec in force: the present one, else the last valid one.
    pub fn spec_in_force(&self) -> Option<&PoolSpec> {
        self.spec.as_ref().ok().or(self.last_valid.as_ref())
    }
}

/// A pool as its object stands: the pool (its `last_valid` still empty), every fault, and what is worth telling besides.
pub(super) struct ConvertedPool {
    pub(super) pool: Pool,
    pub(super) faults: Vec<Fault>,
    pub(super) notes: Vec<Fault>,
}

/// Takes a pool; never fails, because a broken pool still counts as one. `status` is the recorded one where there is a
/// record, else the object's own.
pub(super) fn convert(name: &ObjectName, value: &Value, status: &Value) -> ConvertedPool {
    let recorded_conditions = super::recorded_conditions(status);
    let broken = |meta: Meta, faults: Vec<Fault>, recorded_conditions| {
        let disabled = value
            .pointer("/spec/disabled")
            .and_then(Value::as_bool)
            .unwrap_or(false);
        let blocks = faults.iter().map(Fault::to_string).collect();
        let spec = Err(PoolFaults {
            blocks,
            disabled,
            ..PoolFaults::default()
        });
        let pool = Pool {
            meta,
            spec,
            last_valid: None,
            recorded_conditions,
        };
        ConvertedPool {
            pool,
            faults,
            notes: vec![],
        }
    };
    let (pool, notes): (CiliumLoadBalancerIPPool, _) = match typed(&super::without_status(value)) {
        Ok(typed) => typed,
        Err(faults) => return broken(readable_meta(name, value), faults, recorded_conditions),
    };
    let meta = match super::meta::convert(name, pool.metadata.clone()) {
        Ok(meta) => meta,
        Err(faults) => {
            return broken(
                Meta {
                    name: name.clone(),
                    ..Meta::default()
                },
                faults,
                recorded_conditions,
            );
        }
    };
    convert_spec(meta, &pool, notes, recorded_conditions)
}

/// Age and labels of a pool whose spec cannot be read: it still takes part in what depends on them.
fn readable_meta(name: &ObjectName, value: &Value) -> Meta {
    let metadata = value.get("metadata").cloned().unwrap_or_default();
    let meta = partly_typed(&metadata).map_err(|fault| vec![fault]);
    meta.and_then(|meta| super::meta::convert(name, meta))
        .unwrap_or_else(|_| Meta {
            name: name.clone(),
            ..Meta::default()
        })
}

fn convert_spec(
    meta: Meta,
    object: &CiliumLoadBalancerIPPool,
    mut notes: Vec<Fault>,
    recorded_conditions: Vec<RecordedCondition>,
) -> ConvertedPool {
    let spec = &object.spec;
    let disabled = spec.disabled.unwrap_or(false);
    let (mut faults, mut blocks, mut block_faults) = (vec![], vec![], vec![]);
    let (list, listed) = listed_blocks(spec, &mut notes);
    for (index, block) in listed.iter().enumerate() {
        let field = format!("spec.{list}[{index}]");
        match convert_block(block) {
            Ok(converted) => {
                blocks.push(converted);
                if let Some(note) = masked_host_bits(block, converted) {
                    notes.push(Fault::new(format!("{field}.cidr"), note));
                }
            }
            Err(reason) => block_faults.push(Fault::new(field, reason)),
        }
    }
    let reserve_first_last = match spec.allow_first_last_ips.as_deref() {
        None | Some("Yes" | "") => false,
        Some("No") => true,
        Some(other) => {
            block_faults.push(Fault::new(
                "spec.allowFirstLastIPs",
                format!("{other:?} is not one of Yes, No"),
            ));
            false
        }
    };
    if listed.is_empty() {
        notes.push(Fault::new(
            "spec.blocks",
            "there is no block, so the pool has no address to give",
        ));
    }
    let selector = Selector::convert(
        &spec.service_selector.clone().unwrap_or_default(),
        "spec.serviceSelector",
    );
    faults.extend(block_faults.iter().cloned());
    faults.extend(selector.as_ref().err().cloned());
    let spec = if faults.is_empty() {
        Ok(PoolSpec {
            blocks,
            selector: selector.unwrap_or_default(),
            reserve_first_last,
            disabled,
        })
    } else {
        Err(PoolFaults {
            blocks: block_faults.iter().map(Fault::to_string).collect(),
            selector: selector.as_ref().err().map(Fault::to_string),
            readable: blocks,
            readable_selector: selector.ok(),
            reserve_first_last,
            disabled,
        })
    };
    ConvertedPool {
        pool: Pool {
            meta,
            spec,
            last_valid: None,
            recorded_conditions,
        },
        faults,
        notes,
    }
}

/// The list that counts, and its name. Up to Cilium 1.15 `blocks` was called `cidrs`; a manifest for old and new releases
/// has both, with the same ranges in them, so only one of them may count.
fn listed_blocks<'a>(
    spec: &'a CiliumLoadBalancerIPPoolSpec,
    notes: &mut Vec<Fault>,
) -> (&'static str, &'a [PoolBlock]) {
    let blocks = spec.blocks.as_deref().unwrap_or_default();
    let cidrs = spec.cidrs.as_deref().unwrap_or_default();
    if cidrs.is_empty() {
        return ("blocks", blocks);
    }
    if blocks.is_empty() {
        let note = "the name of `blocks` up to Cilium 1.15, still read here but not by Cilium itself: rename it to `blocks`";
        notes.push(Fault::new("spec.cidrs", note));
        return ("cidrs", cidrs);
    }
    let note = "the name of `blocks` up to Cilium 1.15, which is not read where there are `blocks`: remove it";
    notes.push(Fault::new("spec.cidrs", note));
    ("blocks", blocks)
}

fn convert_block(block: &PoolBlock) -> Result<Block, String> {
    let text = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
    if let Some(cidr) = text(&block.cidr) {
        let net: IpNet = cidr.parse().map_err(|_| match cidr.parse::<IpAddr>() {
            Ok(address) => format!(
                "cidr {cidr} has no mask: write {} for the one address",
                IpNet::from(address)
            ),
            Err(_) => format!("cidr {cidr:?} is not a CIDR such as 192.168.10.224/28"),
        })?;
        let (first, last) = (net.network(), net.broadcast());
        not_mapped(first, "cidr")?;
        return Ok(Block {
            first,
            last,
            is_cidr: true,
        });
    }
    let Some(start) = text(&block.start) else {
        return Err("neither cidr nor start is given".to_owned());
    };
    let first = address("start", &start)?;
    let Some(stop) = text(&block.stop) else {
        return Ok(Block {
            first,
            last: first,
            is_cidr: false,
        });
    };
    let last = address("stop", &stop)?;
    if first.is_ipv4() != last.is_ipv4() {
        return Err(format!(
            "start {first} and stop {last} are of different families"
        ));
    }
    if last < first {
        return Err(format!("stop {last} is before start {first}"));
    }
    Ok(Block {
        first,
        last,
        is_cidr: false,
    })
}

fn address(name: &str, text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| format!("{name} {text:?} is not an IP address"))?;
    not_mapped(address, name)?;
    Ok(address)
}

/// The API server refuses IPv4-mapped addresses at every write, so a pool of them could serve nobody.
fn not_mapped(address: IpAddr, name: &str) -> Result<(), String> {
    match address {
        IpAddr::V6(mapped) if mapped.to_ipv4_mapped().is_some() => Err(format!(
            "{name} {address} is an IPv4 address in IPv6 form: write it as IPv4"
        )),
        _ => Ok(()),
    }
}

/// Says what a CIDR with host bits means, which is seldom what its author thought.
fn masked_host_bits(block: &PoolBlock, converted: Block) -> Option<String> {
    let cidr = block.cidr.as_deref().filter(|cidr| !cidr.is_empty())?;
    let net: IpNet = cidr.parse().ok()?;
    (net.addr() != net.network()).then(|| {
        let (first, last) = (converted.first, converted.last);
        format!(
            "{cidr} does not begin at {}: it means {first} to {last}; write {} if that is right",
            net.addr(),
            net.trunc()
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn convert(spec: Value) -> ConvertedPool {
        let name = ObjectName {
            namespace: "".into(),
            name: "p".into(),
        };
        super::convert(
            &name,
            &json!({"metadata": {"name": "p"}, "spec": spec}),
            &Value::Null,
        )
    }

    fn block(first: &str, last: &str, is_cidr: bool) -> Block {
        Block {
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
            is_cidr,
        }
    }

    #[test]
    fn blocks_are_read_in_every_form() {
        let converted = convert(
            json!({"blocks": [{"cidr": "192.168.10.224/28"}, {"start": "10.0.0.5"}, {"start": "10.0.1.1", "stop": "10.0.1.9"},
            {"cidr": "fd00::/64"}, {"cidr": "10.9.0.0/32", "start": "broken", "stop": "too"}]}),
        );
        let spec = converted.pool.spec.unwrap();
        assert_eq!(
            spec.blocks,
            [
                block("192.168.10.224", "192.168.10.239", true),
                block("10.0.0.5", "10.0.0.5", false),
                block("10.0.1.1", "10.0.1.9", false),
                block("fd00::", "fd00::ffff:ffff:ffff:ffff", true),
                block("10.9.0.0", "10.9.0.0", true)
            ]
        );
        assert!(converted.notes.is_empty() && converted.faults.is_empty());
    }

    #[test]
    fn host_bits_are_masked_and_what_it_means_is_told() {
        let converted = convert(json!({"blocks": [{"cidr": "192.168.10.230/28"}]}));
        assert_eq!(
            converted.pool.spec.unwrap().blocks,
            [block("192.168.10.224", "192.168.10.239", true)]
        );
        assert_eq!(
            converted.notes[0].to_string(),
            "spec.blocks[0].cidr: 192.168.10.230/28 does not begin at 192.168.10.230: it means 192.168.10.224 to 192.168.10.239; write 192.168.10.224/28 if that is right"
        );
    }

    #[test]
    fn a_bad_block_names_its_fault_and_leaves_the_readable_ones() {
        let converted = convert(
            json!({"disabled": true, "blocks": [{"cidr": "10.0.0.0/30"}, {"start": "10.0.30.9", "stop": "10.0.30.1"}, {}, {"cidr": "10.0.0.1"},
            {"start": "fd00::1", "stop": "10.0.0.1"}, {"cidr": "::ffff:10.0.10.0/120"}, {"start": "x"}, {"stop": "10.0.0.1"}]}),
        );
        let faults = converted.pool.spec.unwrap_err();
        assert_eq!(
            faults.blocks,
            [
                "spec.blocks[1]: stop 10.0.30.1 is before start 10.0.30.9",
                "spec.blocks[2]: neither cidr nor start is given",
                "spec.blocks[3]: cidr 10.0.0.1 has no mask: write 10.0.0.1/32 for the one address",
                "spec.blocks[4]: start fd00::1 and stop 10.0.0.1 are of different families",
                "spec.blocks[5]: cidr ::ffff:10.0.10.0 is an IPv4 address in IPv6 form: write it as IPv4",
                "spec.blocks[6]: start \"x\" is not an IP address",
                "spec.blocks[7]: neither cidr nor start is given",
            ]
        );
        assert_eq!(faults.readable, [block("10.0.0.0", "10.0.0.3", true)]);
        assert_eq!(faults.readable_selector, Some(Selector::default()));
        assert!(faults.disabled);
    }

    #[test]
    fn a_bad_selector_leaves_the_blocks_readable() {
        let converted = convert(
            json!({"blocks": [{"cidr": "10.0.0.0/30"}], "serviceSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": []}]}}),
        );
        let faults = converted.pool.spec.unwrap_err();
        assert!(faults.blocks.is_empty() && faults.readable_selector.is_none());
        assert_eq!(
            faults.selector.as_deref(),
            Some("spec.serviceSelector.matchExpressions[0].values: In needs at least one value")
        );
        assert_eq!(faults.readable.len(), 1);
    }

    #[test]
    fn a_pool_of_the_wrong_shape_is_still_a_pool_and_says_so() {
        let converted = convert(json!({"blocks": "10.0.0.0/24", "disabled": true}));
        let faults = converted.pool.spec.unwrap_err();
        assert!(
            faults.blocks[0].starts_with("spec.blocks: invalid type: string"),
            "{:?}",
            faults.blocks
        );
        assert!(faults.disabled);
        let name = ObjectName::default();
        assert!(
            super::convert(&name, &json!({"metadata": {"name": "p"}}), &Value::Null)
                .pool
                .spec
                .is_err()
        );
    }

    #[test]
    fn allow_first_last_is_yes_no_or_a_fault() {
        let of = |value: Value| {
            convert(json!({"blocks": [{"cidr": "10.0.0.0/24"}], "allowFirstLastIPs": value}))
        };
        assert!(of(json!("No")).pool.spec.unwrap().reserve_first_last);
        assert!(!of(json!("Yes")).pool.spec.unwrap().reserve_first_last);
        assert!(of(json!("no")).pool.spec.is_err());
    }

    #[test]
    fn the_old_name_of_blocks_counts_where_there_are_no_blocks_and_is_told() {
        let converted = convert(json!({"cidrs": [{"cidr": "10.0.0.0/30"}]}));
        assert_eq!(
            converted.pool.spec.unwrap().blocks,
            [block("10.0.0.0", "10.0.0.3", true)]
        );
        let notes: Vec<_> = converted.notes.iter().map(Fault::to_string).collect();
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].starts_with("spec.cidrs: ") && notes[0].contains("rename it to `blocks`"));

        let both = convert(
            json!({"blocks": [{"cidr": "10.0.0.0/30"}], "cidrs": [{"cidr": "10.0.0.0/30"}]}),
        );
        assert_eq!(
            both.pool.spec.unwrap().blocks.len(),
            1,
            "not in conflict with itself"
        );
        assert!(both.notes[0].to_string().contains("remove it"));

        let broken = convert(json!({"cidrs": [{"cidr": "10.0.0.0"}]}));
        let faults = broken.pool.spec.unwrap_err();
        assert!(
            faults.blocks[0].starts_with("spec.cidrs[0]: "),
            "{faults:?}"
        );
    }
}
