use std::cmp::Ordering;
use std::collections::BTreeMap;

/// On which terms an owner shares addresses with others. An owner without terms shares with nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// Only owners with the same key share.
    pub key: String,
    /// The group (tenant) the owner belongs to.
    pub group: String,
    /// The other groups the owner agrees to share with.
    pub consent: Consent,
    /// The ports it serves on the address, sorted; see [`Sharing::sort_ports`].
    pub ports: Vec<Port>,
    /// How traffic to the address is spread.
    pub exposure: Exposure,
}

/// Which other groups an owner agrees to share with; its own always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consent {
    /// Those named.
    Groups(Vec<String>),
    /// All.
    Everybody,
}

/// A port as it is told apart on one address: the number and the transport protocol's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The number.
    pub number: u16,
    /// `TCP`, `UDP`, ...
    pub protocol: String,
}

/// How traffic to an address is spread over the machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Any machine may take it.
    Everywhere,
    /// Only those with a backend of their own, chosen by these labels. Owners can share then only if they are served by
    /// the same backends, which is sure only where the labels are equal and not empty.
    WithBackends(BTreeMap<String, String>),
}

/// Why two owners may not hold one address. The first reason that applies, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incompatible {
    /// The keys differ, or one has none.
    #[error("the sharing keys differ")]
    Key,
    /// They belong to different groups and have not both agreed.
    #[error("the two are of different groups and have not both agreed to share")]
    Group,
    /// They serve one port of one protocol.
    #[error("both serve the same port and protocol")]
    Port,
    /// One is exposed everywhere, the other not.
    #[error("one takes traffic on every machine, the other only beside its backends")]
    Exposure,
    /// Both are exposed beside their backends only, and those may differ.
    #[error("both take traffic only beside their backends, which are not the same")]
    Backends,
}

impl Sharing {
    /// Brings the ports into the order that comparing them relies on.
    pub fn sort_ports(&mut self) {
        self.ports.sort_unstable();
        self.ports.dedup();
    }

    /// Whether the two may hold one address.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn compatible_with(&self, other: &Self) -> Result<(), Incompatible> {
        if self.key != other.key || self.key.is_empty() {
            return Err(Incompatible::Key);
        }
        if self.group != other.group
            && !(self.consent.covers(&other.group) && other.consent.covers(&self.group))
        {
            return Err(Incompatible::Group);
        }
        if have_common(&self.ports, &other.ports) {
            return Err(Incompatible::Port);
        }
        match (&self.exposure, &other.exposure) {
            (Exposure::Everywhere, Exposure::Everywhere) => Ok(()),
            (Exposure::WithBackends(ours), Exposure::WithBackends(theirs)) => {
                if ours == theirs && !ours.is_empty() {
                    Ok(())
                } else {
                    Err(Incompatible::Backends)
                }
            }
            _ => Err(Incompatible::Exposure),
        }
    }
}

impl Consent {
    fn covers(&self, group: &str) -> bool {
        match self {
            Self::Everybody => true,
            Self::Groups(groups) => groups.iter().any(|agreed| agreed == group),
        }
    }
}

fn have_common(sorted: &[Port], also_sorted: &[Port]) -> bool {
    let (mut left, mut right) = (sorted.iter().peekable(), also_sorted.iter().peekable());
    while let (Some(ours), Some(theirs)) = (left.peek(), right.peek()) {
        match ours.cmp(theirs) {
            Ordering::Equal => return true,
            Ordering::Less => left.next(),
            Ordering::Greater => right.next(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(group: &str, ports: &[(u16, &str)]) -> Sharing {
        let ports = ports
            .iter()
            .map(|&(number, protocol)| Port {
                number,
                protocol: protocol.into(),
            })
            .collect();
        let mut terms = Sharing {
            key: "k".into(),
            group: group.into(),
            consent: Consent::Groups(vec![]),
            ports,
            exposure: Exposure::Everywhere,
        };
        terms.sort_ports();
        terms
    }

    fn local(terms: Sharing, labels: &[(&str, &str)]) -> Sharing {
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect();
        Sharing {
            exposure: Exposure::WithBackends(labels),
            ..terms
        }
    }

    fn both_ways(left: &Sharing, right: &Sharing) -> Result<(), Incompatible> {
        assert_eq!(left.compatible_with(right), right.compatible_with(left));
        left.compatible_with(right)
    }

    #[test]
    fn one_port_number_of_three_protocols_shares_an_address() {
        assert_eq!(
            both_ways(
                &terms("t", &[(53, "UDP")]),
                &terms("t", &[(53, "TCP"), (53, "SCTP")])
            ),
            Ok(())
        );
        let clash = both_ways(
            &terms("t", &[(80, "TCP"), (53, "UDP")]),
            &terms("t", &[(1, "TCP"), (53, "UDP")]),
        );
        assert_eq!(clash, Err(Incompatible::Port));
    }

    #[test]
    fn other_groups_must_agree_on_both_sides() {
        let (mut ours, mut theirs) = (terms("t1", &[(80, "TCP")]), terms("t2", &[(81, "TCP")]));
        assert_eq!(both_ways(&ours, &theirs), Err(Incompatible::Group));
        ours.consent = Consent::Everybody;
        assert_eq!(both_ways(&ours, &theirs), Err(Incompatible::Group));
        theirs.consent = Consent::Groups(vec!["t3".into(), "t1".into()]);
        assert_eq!(both_ways(&ours, &theirs), Ok(()));
    }

    #[test]
    fn an_empty_key_is_no_key() {
        let mut ours = terms("t", &[(80, "TCP")]);
        ours.key.clear();
        assert_eq!(
            ours.compatible_with(&Sharing {
                ports: vec![],
                ..ours.clone()
            }),
            Err(Incompatible::Key)
        );
    }

    #[test]
    fn local_owners_share_only_with_the_same_backends() {
        let (ours, theirs) = (terms("t", &[(80, "TCP")]), terms("t", &[(81, "TCP")]));
        let same = both_ways(
            &local(ours.clone(), &[("app", "x")]),
            &local(theirs.clone(), &[("app", "x")]),
        );
        assert_eq!(same, Ok(()));
        let other = both_ways(
            &local(ours.clone(), &[("app", "x")]),
            &local(theirs.clone(), &[("app", "y")]),
        );
        assert_eq!(other, Err(Incompatible::Backends));
        let none = both_ways(&local(ours.clone(), &[]), &local(theirs.clone(), &[]));
        assert_eq!(none, Err(Incompatible::Backends));
        assert_eq!(
            both_ways(&ours, &local(theirs, &[("app", "x")])),
            Err(Incompatible::Exposure)
        );
    }
}
