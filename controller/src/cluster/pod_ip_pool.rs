use serde_json::Value;

use crate::crd::CiliumPodIPPool;

use super::fault::{Conversion, partly_typed};
use super::{Labels, Meta, ObjectName};

/// A CiliumPodIPPool, as far as announcing depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodIpPool {
    /// Name and labels.
    pub meta: Meta,
    /// Length of a node's IPv4 CIDRs; `None`: the pool has none.
    pub ipv4_mask_size: Option<u8>,
    /// Length of a node's IPv6 CIDRs; `None`: the pool has none.
    pub ipv6_mask_size: Option<u8>,
}

impl PodIpPool {
    /// The labels that selectors over pools see: the pool's own and the two pseudo labels for namespace and name.
    pub fn selector_labels(&self) -> Labels {
        let mut labels = self.meta.labels.clone();
        labels.insert(
            "io.cilium.podippool.namespace".to_owned(),
            self.meta.name.namespace.to_string(),
        );
        labels.insert(
            "io.cilium.podippool.name".to_owned(),
            self.meta.name.name.to_string(),
        );
        labels
    }
}

/// Takes a pool.
pub(super) fn convert(name: &ObjectName, value: &Value) -> Conversion<PodIpPool> {
    let pool: CiliumPodIPPool = partly_typed(value).map_err(|fault| vec![fault])?;
    let meta = super::meta::convert(name, pool.metadata)?;
    let mask = |family: Option<crate::crd::PodPoolFamily>| family.map(|family| family.mask_size);
    Ok((
        PodIpPool {
            meta,
            ipv4_mask_size: mask(pool.spec.ipv4),
            ipv6_mask_size: mask(pool.spec.ipv6),
        },
        vec![],
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_needed_is_read() {
        let name = ObjectName {
            namespace: "".into(),
            name: "blue".into(),
        };
        let value = json!({"metadata": {"labels": {"io.cilium.podippool.name": "fake"}}, "spec": {"ipv4": {"cidrs": ["10.0.0.0/8"], "maskSize": 26}}});
        let (pool, notes) = convert(&name, &value).unwrap();
        assert_eq!((pool.ipv4_mask_size, pool.ipv6_mask_size), (Some(26), None));
        assert_eq!(pool.selector_labels()["io.cilium.podippool.name"], "blue");
        assert!(notes.is_empty());
    }
}
