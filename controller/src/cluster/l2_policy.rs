use serde_json::Value;

use crate::crd::CiliumL2AnnouncementPolicy;

use super::fault::{Conversion, Fault, typed};
use super::{Meta, ObjectName, Selector};

/// A CiliumL2AnnouncementPolicy (v2alpha1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct L2Policy {
    /// Name and labels.
    pub meta: Meta,
    /// Absent = every node.
    pub node_selector: Selector,
    /// Absent = every Service.
    pub service_selector: Selector,
    /// Regular expressions for interface names, as written; none = every usable interface.
    pub interfaces: Vec<String>,
    /// `loadBalancerIPs`.
    pub load_balancer_ips: bool,
    /// `externalIPs`.
    pub external_ips: bool,
}

/// Takes a policy.
pub(super) fn convert(name: &ObjectName, value: &Value) -> Conversion<L2Policy> {
    let (policy, mut notes): (CiliumL2AnnouncementPolicy, _) =
        typed(&super::without_status(value))?;
    let meta = super::meta::convert(name, policy.metadata)?;
    let spec = policy.spec;
    let node_selector =
        Selector::convert(&spec.node_selector.unwrap_or_default(), "spec.nodeSelector");
    let service_selector = Selector::convert(
        &spec.service_selector.unwrap_or_default(),
        "spec.serviceSelector",
    );
    let (node_selector, service_selector) = match (node_selector, service_selector) {
        (Ok(nodes), Ok(services)) => (nodes, services),
        (nodes, services) => return Err(nodes.err().into_iter().chain(services.err()).collect()),
    };
    let load_balancer_ips = spec.load_balancer_ips.unwrap_or(false);
    let external_ips = spec.external_ips.unwrap_or(false);
    if !load_balancer_ips && !external_ips {
        let message =
            "neither loadBalancerIPs nor externalIPs is true, so the policy announces nothing";
        notes.push(Fault::new("spec", message));
    }
    let interfaces = spec.interfaces.unwrap_or_default();
    Ok((
        L2Policy {
            meta,
            node_selector,
            service_selector,
            interfaces,
            load_balancer_ips,
            external_ips,
        },
        notes,
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_that_the_crd_does_not_have_is_told() {
        let value = json!({"metadata": {"name": "l2"}, "spec": {"loadBalancerIPs": true, "leaseDuration": "3s", "interfaces": ["^eth[0-9]+"]}});
        let (policy, notes) = convert(&ObjectName::default(), &value).unwrap();
        assert!(policy.load_balancer_ips && !policy.external_ips);
        assert_eq!(policy.interfaces, ["^eth[0-9]+"]);
        assert_eq!(notes.len(), 1);
        assert_eq!(notes[0].field, "spec.leaseDuration");
        assert!(notes[0].message.contains("no such field"));
    }

    #[test]
    fn a_policy_that_announces_nothing_is_told_and_bad_selectors_are_refused() {
        let (_, notes) =
            convert(&ObjectName::default(), &json!({"metadata": {}, "spec": {}})).unwrap();
        assert!(notes[0].message.contains("announces nothing"));
        let bad = json!({"matchExpressions": [{"key": "a", "operator": "In", "values": []}]});
        let faults = convert(
            &ObjectName::default(),
            &json!({"metadata": {}, "spec": {"nodeSelector": bad, "serviceSelector": bad}}),
        )
        .unwrap_err();
        assert_eq!(faults.len(), 2);
    }
}
