use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service as ApiService, ServicePort as ApiPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::Value;

use super::fault::{Conversion, Fault, typed};
use super::{Labels, Meta, ObjectName, Selector};

/// A Service, as far as allocation and announcing depend on it. Kept for every type, so that a change of type is seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    /// Name, labels, and those annotations whose domain is Cilium's or ours.
    pub meta: Meta,
    /// `spec.type` is `LoadBalancer`.
    pub is_load_balancer: bool,
    /// `spec.loadBalancerClass`.
    pub class: Option<String>,
    /// `spec.loadBalancerIP`, as written.
    pub load_balancer_ip: Option<String>,
    /// `spec.ipFamilyPolicy`.
    pub ip_family_policy: Option<String>,
    /// `spec.ipFamilies`: `IPv4`, `IPv6`.
    pub ip_families: Vec<String>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.selector`.
    pub selector: Labels,
    /// `spec.externalTrafficPolicy`.
    pub external_traffic_policy: TrafficPolicy,
    /// `spec.internalTrafficPolicy`.
    pub internal_traffic_policy: TrafficPolicy,
    /// Union of `spec.clusterIP` and `spec.clusterIPs` without `None`, empty and unparsable entries.
    pub cluster_ips: Vec<IpAddr>,
    /// `clusterIP: None` or the label `service.kubernetes.io/headless`.
    pub headless: bool,
    /// `spec.externalIPs`, unparsable ones left out.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress`, as the API (or the state directory) has it.
    pub ingress: Vec<IngressEntry>,
    /// Who wrote the addresses in the status last, as far as `metadata.managedFields` tells.
    pub ingress_writer: Option<Writer>,
    /// The condition `cilium.io/IPAMRequestSatisfied` as recorded: status, reason, message, lastTransitionTime.
    pub recorded_condition: Option<(String, String, String, String)>,
    /// The message of the condition `fairway.dev/ForeignController`, where it stands there as True; where it stands there
    /// otherwise, an empty one.
    pub recorded_foreign: Option<String>,
    /// Whether a new leader's mark, the condition `fairway.dev/TakenOver`, stands there.
    pub taken_over: bool,
}

/// An owner of a field, from `metadata.managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// `manager`.
    pub manager: String,
    /// `time` in seconds since 1970; `None` where it is not given.
    pub time: Option<i64>,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServicePort {
    /// Port name, may be empty.
    pub name: String,
    /// Port number.
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`; `TCP` where absent.
    pub protocol: String,
}

/// `externalTrafficPolicy` and `internalTrafficPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TrafficPolicy {
    /// Every node may take traffic.
    #[default]
    Cluster,
    /// Only nodes with an endpoint of their own.
    Local,
}

/// One entry of `status.loadBalancer.ingress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressEntry {
    /// `ip`, where present and parsable.
    pub ip: Option<IpAddr>,
    /// `hostname`.
    pub hostname: Option<String>,
    /// `ipMode`.
    pub ip_mode: IngressIpMode,
}

/// `ipMode` of an ingress entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IngressIpMode {
    /// Not given: treated as `VIP`.
    #[default]
    Absent,
    /// `VIP`.
    Vip,
    /// `Proxy` or anything else: never announced.
    Other,
}

const NAMESPACE_LABEL: &str = "io.kubernetes.service.namespace";
const NAME_LABEL: &str = "io.kubernetes.service.name";
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
/// Where `fieldsV1` says that somebody manages `status.loadBalancer.ingress`.
pub(crate) const MANAGED_INGRESS: &str = "/f:status/f:loadBalancer/f:ingress";
const SATISFIED: &str = "cilium.io/IPAMRequestSatisfied";
const FOREIGN_CONTROLLER: &str = "fairway.dev/ForeignController";
const TAKEN_OVER: &str = "fairway.dev/TakenOver";

impl Service {
    /// Whether a selector over Services selects this one: by its own labels and by the two pseudo labels for namespace
    /// and name, which a label of the same key cannot fake.
    pub fn is_selected_by(&self, selector: &Selector) -> bool {
        selector.matches_by(|key| match key {
            NAMESPACE_LABEL => Some(&self.meta.name.namespace),
            NAME_LABEL => Some(&self.meta.name.name),
            _ => self.meta.labels.get(key).map(String::as_str),
        })
    }

    /// Whether the status carries a condition that only Fairway writes: those exist only while they are true, so somebody
    /// has to look whether it still is.
    pub fn is_marked(&self) -> bool {
        self.recorded_foreign.is_some() || self.taken_over
    }

    /// Takes over what a status says.
    pub(super) fn take_status(&mut self, status: &Value) {
        self.ingress = ingress(status);
        let conditions = OurConditions::read(status);
        self.recorded_condition = conditions.satisfied;
        self.recorded_foreign = conditions.foreign;
        self.taken_over = conditions.taken_over;
    }

    /// The labels that selectors over Services see, as a map of their own.
    pub fn selector_labels(&self) -> Labels {
        let mut labels = self.meta.labels.clone();
        labels.insert(
            NAMESPACE_LABEL.to_owned(),
            self.meta.name.namespace.to_string(),
        );
        labels.insert(NAME_LABEL.to_owned(), self.meta.name.name.to_string());
        labels
    }
}

/// Takes a Service; `status` is the recorded one where there is a record, else the object's own.
pub(super) fn convert(name: &ObjectName, value: &Value, status: &Value) -> Conversion<Service> {
    let (service, mut notes): (ApiService, _) = typed(&super::without_status(value))?;
    let ingress_writer = ingress_writer(service.metadata.managed_fields.as_deref());
    let mut meta = super::meta::convert(name, service.metadata)?;
    meta.annotations.retain(|key, _| may_be_read(key));
    let spec = service.spec.unwrap_or_default();
    let mut faults = vec![];

    let kind = given(spec.type_);
    let kind = kind.as_deref().unwrap_or("ClusterIP");
    let ip_family_policy = given(spec.ip_family_policy);
    one_of(
        "spec.type",
        kind,
        &["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"],
        &mut faults,
    );
    if let Some(policy) = &ip_family_policy {
        one_of(
            "spec.ipFamilyPolicy",
            policy,
            &["SingleStack", "PreferDualStack", "RequireDualStack"],
            &mut faults,
        );
    }
    let mut ip_families = spec.ip_families.unwrap_or_default();
    for (index, family) in ip_families.iter().enumerate() {
        one_of(
            &format!("spec.ipFamilies[{index}]"),
            family,
            &["IPv4", "IPv6"],
            &mut faults,
        );
    }
    let external_traffic_policy = traffic_policy(
        "spec.externalTrafficPolicy",
        spec.external_traffic_policy.as_deref(),
        &mut faults,
    );
    let internal_traffic_policy = traffic_policy(
        "spec.internalTrafficPolicy",
        spec.internal_traffic_policy.as_deref(),
        &mut faults,
    );
    let mut ports = ports(spec.ports.unwrap_or_default(), &mut faults);

    let mut cluster_ips = vec![];
    let listed = spec
        .cluster_ip
        .iter()
        .chain(spec.cluster_ips.iter().flatten());
    for address in listed.filter_map(|text| text.parse().ok()) {
        if !cluster_ips.contains(&address) {
            cluster_ips.push(address);
        }
    }
    let headless =
        spec.cluster_ip.as_deref() == Some("None") || meta.labels.contains_key(HEADLESS_LABEL);
    let mut external_ips = vec![];
    for (index, text) in spec.external_ips.iter().flatten().enumerate() {
        match text.parse() {
            Ok(address) => external_ips.push(address),
            Err(_) => notes.push(Fault::new(
                format!("spec.externalIPs[{index}]"),
                format!("{text:?} is not an IP address, so it is left out"),
            )),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    for list in [&mut cluster_ips, &mut external_ips] {
        list.shrink_to_fit();
    }
    ports.shrink_to_fit();
    ip_families.shrink_to_fit();
    let conditions = OurConditions::read(status);
    let service = Service {
        meta,
        is_load_balancer: kind == "LoadBalancer",
        class: spec.load_balancer_class,
        load_balancer_ip: spec.load_balancer_ip,
        ip_family_policy,
        ip_families,
        ports,
        selector: spec.selector.unwrap_or_default().into(),
        external_traffic_policy,
        internal_traffic_policy,
        cluster_ips,
        headless,
        external_ips,
        ingress: ingress(status),
        ingress_writer,
        recorded_condition: conditions.satisfied,
        recorded_foreign: conditions.foreign,
        taken_over: conditions.taken_over,
    };
    Ok((service, notes))
}

/// Whether an annotation can mean anything to us; Helm, Flux and `kubectl` leave many more.
fn may_be_read(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    domain.contains("cilium") || domain.ends_with("fairway.dev")
}

/// Whoever wrote `status.loadBalancer.ingress` last.
fn ingress_writer(managed: Option<&[ManagedFieldsEntry]>) -> Option<Writer> {
    let wrote_ingress = |entry: &&ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        fields.is_some_and(|fields| fields.pointer(MANAGED_INGRESS).is_some())
    };
    let seconds = |entry: &&ManagedFieldsEntry| entry.time.as_ref().map(|time| time.0.as_second());
    managed
        .into_iter()
        .flatten()
        .filter(wrote_ingress)
        .max_by_key(seconds)
        .map(|entry| Writer {
            manager: entry.manager.clone().unwrap_or_default(),
            time: seconds(&entry),
        })
}

/// `status.loadBalancer.ingress`, whoever wrote it: what cannot be read is an entry without address.
fn ingress(status: &Value) -> Vec<IngressEntry> {
    let entries = status
        .pointer("/loadBalancer/ingress")
        .and_then(Value::as_array);
    let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut entries: Vec<IngressEntry> = entries
        .into_iter()
        .flatten()
        .map(|entry| IngressEntry {
            ip: text(entry, "ip").and_then(|ip| ip.parse().ok()),
            hostname: text(entry, "hostname"),
            ip_mode: match entry.get("ipMode").and_then(Value::as_str) {
                None => IngressIpMode::Absent,
                Some("VIP") => IngressIpMode::Vip,
                Some(_) => IngressIpMode::Other,
            },
        })
        .collect();
    entries.shrink_to_fit();
    entries
}

/// The recorded conditions that are ours.
#[derive(Default)]
struct OurConditions {
    satisfied: Option<(String, String, String, String)>,
    foreign: Option<String>,
    taken_over: bool,
}

impl OurConditions {
    fn read(status: &Value) -> Self {
        let mut ours = Self::default();
        for condition in super::recorded_conditions(status) {
            match condition.kind.as_str() {
                SATISFIED if ours.satisfied.is_none() => {
                    ours.satisfied = Some((
                        condition.status,
                        condition.reason,
                        condition.message,
                        condition.last_transition_time,
                    ));
                }
                FOREIGN_CONTROLLER => {
                    let holds = condition.status == "True";
                    ours.foreign = Some(if holds {
                        condition.message
                    } else {
                        String::new()
                    });
                }
                TAKEN_OVER => ours.taken_over = true,
                _ => {}
            }
        }
        ours
    }
}

fn ports(ports: Vec<ApiPort>, faults: &mut Vec<Fault>) -> Vec<ServicePort> {
    let mut converted = vec![];
    for (index, port) in ports.into_iter().enumerate() {
        let protocol = given(port.protocol).unwrap_or_else(|| "TCP".to_owned());
        one_of(
            &format!("spec.ports[{index}].protocol"),
            &protocol,
            &["TCP", "UDP", "SCTP"],
            faults,
        );
        match u16::try_from(port.port) {
            Ok(number) if number > 0 => {
                converted.push(ServicePort {
                    name: port.name.unwrap_or_default(),
                    port: number,
                    protocol,
                });
            }
            _ => faults.push(Fault::new(
                format!("spec.ports[{index}].port"),
                format!("{} is out of range: write 1 to 65535", port.port),
            )),
        }
    }
    converted
}

/// Empty text is an absent field, as the API takes it.
fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn traffic_policy(field: &str, policy: Option<&str>, faults: &mut Vec<Fault>) -> TrafficPolicy {
    match policy {
        None | Some("" | "Cluster") => TrafficPolicy::Cluster,
        Some("Local") => TrafficPolicy::Local,
        Some(other) => {
            one_of(field, other, &["Cluster", "Local"], faults);
            TrafficPolicy::Cluster
        }
    }
}

fn one_of(field: &str, value: &str, choices: &[&str], faults: &mut Vec<Fault>) {
    if !choices.contains(&value) {
        faults.push(Fault::new(
            field,
            format!("{value:?} is not one of {}", choices.join(", ")),
        ));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn convert(value: &Value) -> Conversion<Service> {
        let name = ObjectName {
            namespace: "networking".into(),
            name: "web".into(),
        };
        super::convert(&name, value, value.get("status").unwrap_or(&Value::Null))
    }

    #[test]
    fn the_homelab_gateway_service_is_taken_whole() {
        let (service, notes) = convert(&json!({
            "metadata": {"name": "web", "namespace": "networking", "labels": {"a": "b"}, "annotations": {"lbipam.cilium.io/ips": "192.168.10.224"}},
            "spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "loadBalancerClass": "io.cilium/bgp-control-plane",
                "clusterIP": "10.43.0.5", "clusterIPs": ["10.43.0.5", "fd00::5"], "externalIPs": ["203.0.113.9", "nonsense"],
                "ports": [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": "dns"}],
                "selector": {"app": "web"}, "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.168.10.224", "ipMode": "VIP"}, {"hostname": "x.example"}, {"ip": "broken", "ipMode": "Proxy"}]},
                "conditions": [{"type": "cilium.io/IPAMRequestSatisfied", "status": "True", "reason": "satisfied", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
        }))
        .unwrap();
        assert!(service.is_load_balancer);
        assert_eq!(service.external_traffic_policy, TrafficPolicy::Local);
        assert_eq!(service.cluster_ips.len(), 2);
        assert_eq!(
            service.external_ips,
            ["203.0.113.9".parse::<IpAddr>().unwrap()]
        );
        assert_eq!(
            notes
                .iter()
                .map(|note| note.field.as_str())
                .collect::<Vec<_>>(),
            ["spec.externalIPs[1]"]
        );
        assert_eq!(
            service.ports[1],
            ServicePort {
                name: "dns".into(),
                port: 53,
                protocol: "UDP".into()
            }
        );
        assert_eq!(
            service.ingress[0],
            IngressEntry {
                ip: Some("192.168.10.224".parse().unwrap()),
                hostname: None,
                ip_mode: IngressIpMode::Vip
            }
        );
        assert_eq!(service.ingress[1].hostname.as_deref(), Some("x.example"));
        assert_eq!(
            service.ingress[2],
            IngressEntry {
                ip: None,
                hostname: None,
                ip_mode: IngressIpMode::Other
            }
        );
        assert_eq!(
            service
                .recorded_condition
                .as_ref()
                .map(|condition| condition.1.as_str()),
            Some("satisfied")
        );
    }

    #[test]
    fn a_broken_status_is_nobodys_reason_to_refuse_a_service() {
        let (service, _) = convert(&json!({"spec": {}, "status": {"loadBalancer": {"ingress": "all of them"}, "conditions": [7, {}]}})).unwrap();
        assert!(service.ingress.is_empty() && !service.is_marked());
    }

    #[test]
    fn a_condition_that_only_we_write_is_noticed() {
        let (service, _) = convert(&json!({"spec": {}, "status": {"conditions": [{"type": "Ready"}, {"type": "fairway.dev/ForeignController"}]}})).unwrap();
        assert!(service.is_marked());
    }

    #[test]
    fn every_fault_is_listed() {
        let faults = convert(
            &json!({"spec": {"type": "LoadBalancers", "externalTrafficPolicy": "local",
            "ports": [{"port": 0}, {"port": 70000, "protocol": "tcp"}], "ipFamilies": ["ipv4"]}}),
        )
        .unwrap_err();
        let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "spec.type",
                "spec.ipFamilies[0]",
                "spec.externalTrafficPolicy",
                "spec.ports[0].port",
                "spec.ports[1].protocol",
                "spec.ports[1].port"
            ]
        );
    }

    #[test]
    fn headless_is_cluster_ip_none_or_the_label() {
        assert!(
            convert(&json!({"spec": {"clusterIP": "None"}}))
                .unwrap()
                .0
                .headless
        );
        assert!(
            convert(
                &json!({"metadata": {"labels": {"service.kubernetes.io/headless": ""}}, "spec": {}})
            )
            .unwrap()
            .0
            .headless
        );
        let (service, _) =
            convert(&json!({"spec": {"clusterIP": "", "clusterIPs": ["None"]}})).unwrap();
        assert!(!service.headless && service.cluster_ips.is_empty());
    }

    #[test]
    fn pseudo_labels_cannot_be_faked() {
        let (service, _) = convert(&json!({"metadata": {"labels": {"io.kubernetes.service.namespace": "kube-system", "io.kubernetes.service.name": "dns"}}})).unwrap();
        let by_namespace = |namespace: &str| {
            Selector::parse(&format!("io.kubernetes.service.namespace={namespace}")).unwrap()
        };
        assert!(service.is_selected_by(&by_namespace("networking")));
        assert!(!service.is_selected_by(&by_namespace("kube-system")));
        assert!(
            service.is_selected_by(&Selector::parse("io.kubernetes.service.name=web").unwrap())
        );
        assert_eq!(
            service.selector_labels()["io.kubernetes.service.namespace"],
            "networking"
        );
    }
}
