//! `fairway services`: which Service has which address, and why another has none.

use jiff::Timestamp;
use serde_json::Value;

use crate::args::ServicesArgs;

use super::output::Table;
use super::show::{Drawn, Subject, show};
use super::{Failure, Outcome};

/// The condition that LB-IPAM writes.
const SATISFIED: &str = "cilium.io/IPAMRequestSatisfied";
/// The condition of a Service that another controller keeps writing to.
const FOREIGN: &str = "fairway.dev/ForeignController";
const HEAD: [&str; 7] = [
    "Namespace",
    "Name",
    "Class",
    "Policy",
    "Addresses",
    "Satisfied",
    "Reason",
];

/// Shows the Services.
///
/// # Errors
/// Fairway cannot be reached.
pub async fn run(args: ServicesArgs) -> Outcome {
    show(&args.view, &Services).await
}

/// All Services of a Fairway; the table has only those of type LoadBalancer.
pub(crate) struct Services;

impl Subject for Services {
    fn path(&self) -> String {
        "/v1/services".to_owned()
    }

    fn remarks(&self) -> &'static str {
        "/v1/problems"
    }

    fn select(&self, document: Value) -> Result<Value, Failure> {
        Ok(document)
    }

    fn draw(&self, document: &Value, _now: Timestamp) -> Result<Drawn, Failure> {
        let items = document["items"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut rows: Vec<[String; 7]> = items
            .iter()
            .filter(|item| text(&item["spec"]["type"]) == "LoadBalancer")
            .map(row)
            .collect();
        rows.sort();
        let mut table = Table::new(&HEAD);
        for cells in &rows {
            table.row(cells);
        }
        let hint = rows.is_empty().then(|| {
            format!(
                "none of the {} Services is of type LoadBalancer",
                items.len()
            )
        });
        Ok(Drawn {
            text: table.to_string(),
            hint,
            ..Drawn::default()
        })
    }
}

fn row(service: &Value) -> [String; 7] {
    let (metadata, spec) = (&service["metadata"], &service["spec"]);
    let class = text(&spec["loadBalancerClass"]);
    let (satisfied, reason) = judgement(service, class);
    [
        metadata["namespace"]
            .as_str()
            .unwrap_or("default")
            .to_owned(),
        text(&metadata["name"]).to_owned(),
        if class.is_empty() { "-" } else { class }.to_owned(),
        spec["externalTrafficPolicy"]
            .as_str()
            .unwrap_or("Cluster")
            .to_owned(),
        addresses(service),
        satisfied,
        reason,
    ]
}

fn addresses(service: &Value) -> String {
    let entries = service["status"]["loadBalancer"]["ingress"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let addresses: Vec<&str> = entries
        .iter()
        .filter_map(|entry| entry["ip"].as_str().or_else(|| entry["hostname"].as_str()))
        .collect();
    if addresses.is_empty() {
        "<none>".to_owned()
    } else {
        addresses.join(",")
    }
}

/// True or False with the reason; where nobody has judged, why that may be.
fn judgement(service: &Value, class: &str) -> (String, String) {
    if let Some(condition) = condition(service, FOREIGN) {
        let message = text(&condition["message"]);
        return ("-".to_owned(), format!("left alone: {message}"));
    }
    if let Some(condition) = condition(service, SATISFIED) {
        let (reason, message) = (text(&condition["reason"]), text(&condition["message"]));
        let whole = if message.is_empty() {
            reason.to_owned()
        } else {
            format!("{reason}: {message}")
        };
        return (text(&condition["status"]).to_owned(), whole);
    }
    let guess = if class.is_empty() || class.starts_with("io.cilium/") {
        "not judged: is there a CiliumLoadBalancerIPPool, and does Fairway serve this class?"
    } else {
        "another controller's class"
    };
    ("-".to_owned(), guess.to_owned())
}

/// The condition of this type in an object's status.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)
}

/// The text, or none.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_says_who_has_what_and_why_not() {
        let list = json!({"kind": "List", "items": [
            {"metadata": {"name": "web", "namespace": "apps"}, "spec": {"type": "LoadBalancer"}, "status": {
                "conditions": [{"type": SATISFIED, "status": "False", "reason": "out_of_ips", "message": "all taken"}]}},
            {"metadata": {"name": "kubernetes"}, "spec": {"type": "ClusterIP"}},
            {"metadata": {"name": "other", "namespace": "z"}, "spec": {"type": "LoadBalancer", "loadBalancerClass": "tailscale"}},
            {"metadata": {"name": "gateway", "namespace": "apps"},
             "spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}, "status": {
                "loadBalancer": {"ingress": [{"ip": "192.168.10.224"}, {"ip": "fd00::1"}]},
                "conditions": [{"type": "x"}, {"type": SATISFIED, "status": "True", "reason": "satisfied", "message": ""}]}},
        ]});
        let drawn = Services.draw(&list, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(
            drawn.text,
            "\
Namespace   Name      Class       Policy    Addresses                Satisfied   Reason
apps        gateway   -           Local     192.168.10.224,fd00::1   True        satisfied
apps        web       -           Cluster   <none>                   False       out_of_ips: all taken
z           other     tailscale   Cluster   <none>                   -           another controller's class
"
        );
        assert_eq!(drawn.hint, None);
    }

    #[test]
    fn a_service_that_another_controller_writes_to_says_who_it_is() {
        let service = json!({"metadata": {"name": "web"}, "spec": {"type": "LoadBalancer"}, "status": {"conditions": [
            {"type": SATISFIED, "status": "True", "reason": "satisfied"},
            {"type": FOREIGN, "status": "True", "reason": "ForeignController", "message": "k3s writes here too"}]}});
        let cells = row(&service);
        assert_eq!(&cells[5..], ["-", "left alone: k3s writes here too"]);
    }

    #[test]
    fn a_list_without_load_balancers_says_so() {
        let drawn = Services
            .draw(&json!({"items": [{"spec": {}}]}), Timestamp::UNIX_EPOCH)
            .unwrap();
        assert_eq!(
            drawn.hint.as_deref(),
            Some("none of the 1 Services is of type LoadBalancer")
        );
    }
}
