//! The writer against a real API server.

#[path = "writer/bench.rs"]
mod bench;
#[path = "writer/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use controller::apply::kubernetes::{Writer, WriterOptions};
use controller::cluster::{
    Document, IngressEntry, IngressIpMode, ObjectName, Objects, RecordedStatuses, Store,
};
use controller::kubernetes_client::KubernetesClient;
use controller::lease::{Lead, Leadership};
use controller::plan::addresses::{AddressPlan, PoolCondition, ServiceCondition, ServiceStatus};
use controller::plan::status::{REQUEST_SATISFIED, TAKEN_OVER};
use controller::watch::Observed;
use hyper::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use server::{Server, request};

const LIMIT: Duration = Duration::from_secs(30);
const TERM: u64 = 7;
const JSON: &str = "application/json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

#[expect(clippy::disallowed_methods, reason = "a test has the clock of all")]
fn now() -> Instant {
    Instant::now()
}

/// A namespace of its own on the shared server, and a writer that leads.
struct Lab {
    server: Arc<Server>,
    namespace: &'static str,
    admin: kube::Client,
    leadership: watch::Sender<Leadership>,
    writer: Writer,
}

impl Lab {
    async fn new(namespace: &'static str) -> Self {
        Self::at(Server::shared().await, namespace, "admin-token").await
    }

    async fn at(server: Arc<Server>, namespace: &'static str, token: &str) -> Self {
        let _ = tracing_subscriber::fmt().with_test_writer().try_init();
        let admin = server.client();
        let (leadership, receiver) = watch::channel(leads(Duration::from_secs(3600)));
        let kubeconfig = server.kubeconfig(token);
        let client = KubernetesClient::open_fenced(Some(&kubeconfig), receiver.clone()).await;
        let client = client.unwrap().client;
        let options = WriterOptions {
            instance: "k3s1".into(),
            seed: 1,
        };
        let writer = Writer::start(client, receiver, options);
        let body = json!({"metadata": {"name": namespace}});
        request(
            &admin,
            Method::POST,
            "/api/v1/namespaces",
            JSON,
            Some(&body),
        )
        .await
        .unwrap();
        Self {
            server,
            namespace,
            admin,
            leadership,
            writer,
        }
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/services{rest}", self.namespace)
    }

    async fn service(&self, name: &str) {
        let body = json!({"metadata": {"name": name}, "spec": {"type": "LoadBalancer",
            "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}]}});
        request(&self.admin, Method::POST, &self.path(""), JSON, Some(&body))
            .await
            .unwrap();
    }

    async fn delete(&self, name: &str) {
        request(
            &self.admin,
            Method::DELETE,
            &self.path(&format!("/{name}")),
            "",
            None,
        )
        .await
        .unwrap();
    }

    /// Another controller sets a condition.
    async fn stranger(&self, name: &str) {
        let path = self.path(&format!("/{name}/status?fieldManager=stranger"));
        let body = json!({"status": {"conditions": [{"type": "example.com/Other", "status": "True",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "Because", "message": "of me"}]}});
        request(&self.admin, Method::PATCH, &path, STRATEGIC, Some(&body))
            .await
            .unwrap();
    }

    async fn get(&self, name: &str) -> Value {
        get(&self.admin, &self.path(&format!("/{name}"))).await
    }

    async fn observe(&self) -> Observed {
        let mut objects = Vec::new();
        let pools = "/apis/cilium.io/v2/ciliumloadbalancerippools".to_owned();
        for (path, version, kind) in [
            (self.path(""), "v1", "Service"),
            (pools, "cilium.io/v2", "CiliumLoadBalancerIPPool"),
        ] {
            let mut list = get(&self.admin, &path).await;
            for mut item in list["items"].as_array_mut().unwrap().drain(..) {
                item["apiVersion"] = json!(version);
                item["kind"] = json!(kind);
                objects.push(item);
            }
        }
        observed(objects)
    }

    fn plan(&self, services: &[(&str, Vec<&str>)]) -> AddressPlan {
        let services = services
            .iter()
            .map(|(name, ips)| (self.name(name), satisfied(ips)))
            .collect();
        AddressPlan {
            services,
            ..AddressPlan::default()
        }
    }

    fn name(&self, name: &str) -> ObjectName {
        ObjectName {
            namespace: self.namespace.into(),
            name: name.into(),
        }
    }

    fn want(&self, observed: &Observed, plan: &AddressPlan) {
        self.writer
            .want(TERM, observed, plan, Timestamp::UNIX_EPOCH, now());
    }

    fn written(&self) -> u64 {
        self.result("written")
    }

    fn result(&self, word: &str) -> u64 {
        self.writer.stats().writes.get(word).copied().unwrap_or(0)
    }

    fn lose_the_lease(&self) {
        self.leadership.send_replace(Leadership::default());
    }

    /// Waits until something holds.
    async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let waiting = async {
            while !holds() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let result = timeout(LIMIT * 2, waiting).await;
        assert!(
            result.is_ok(),
            "{what}: {:?} {:?}",
            self.writer.stats(),
            self.writer.news()
        );
    }
}

fn leads(time: Duration) -> Leadership {
    Leadership {
        holder: "k3s1".into(),
        lead: Some(Lead {
            term: TERM,
            unclean: false,
            valid_until: now() + time,
        }),
    }
}

fn observed(objects: Vec<Value>) -> Observed {
    let mut raw = Objects::default();
    for value in objects {
        for (key, object) in Document::read(value, None, "kube-system").objects {
            raw.insert(key, object);
        }
    }
    let mut store = Store::default();
    store.update(&raw, &RecordedStatuses::new());
    let mut snapshot = store.snapshot();
    snapshot.complete = true;
    Observed {
        snapshot: Arc::new(snapshot),
        objects: Arc::new(raw),
        recorded: Arc::default(),
    }
}

fn satisfied(ips: &[&str]) -> ServiceStatus {
    let entry = |ip: &&str| IngressEntry {
        ip: Some(ip.parse().unwrap()),
        hostname: None,
        ip_mode: IngressIpMode::Vip,
    };
    ServiceStatus {
        ingress: ips.iter().map(entry).collect(),
        condition: Some(ServiceCondition {
            satisfied: true,
            reason: "satisfied",
            message: String::new(),
        }),
        foreign: None,
    }
}

async fn get(client: &kube::Client, path: &str) -> Value {
    serde_json::from_str(&request(client, Method::GET, path, "", None).await.unwrap()).unwrap()
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions
        .iter()
        .find(|condition| condition["type"] == kind)
}

#[tokio::test]
async fn an_address_is_written_once_and_told() {
    let lab = Lab::new("once").await;
    lab.service("web").await;
    let plan = lab.plan(&[("web", vec!["10.0.0.1", "fd00::1"])]);
    lab.want(&lab.observe().await, &plan);
    lab.until("it is written", || lab.written() == 1).await;
    let web = lab.get("web").await;
    assert_eq!(
        web["status"]["loadBalancer"]["ingress"],
        json!([{"ip": "10.0.0.1", "ipMode": "VIP"}, {"ip": "fd00::1", "ipMode": "VIP"}])
    );
    assert_eq!(
        condition(&web, REQUEST_SATISFIED).unwrap()["status"],
        "True"
    );
    let managers = web["metadata"]["managedFields"].as_array().unwrap();
    assert!(
        managers
            .iter()
            .any(|entry| entry["manager"] == "fairway" && entry["subresource"] == "status")
    );

    lab.want(&lab.observe().await, &plan);
    lab.until("the Event is sent", || lab.writer.stats().events_sent == 1)
        .await;
    let events = get(&lab.admin, "/api/v1/namespaces/once/events").await;
    let event = &events["items"][0];
    assert_eq!(event["reason"], "AddressAllocated", "{event}");
    assert_eq!(event["message"], "allocated 10.0.0.1, fd00::1");
    assert_eq!(event["involvedObject"]["uid"], web["metadata"]["uid"]);
    assert_eq!(event["reportingComponent"], "fairway");
    assert_eq!(
        lab.get("web").await["metadata"]["resourceVersion"],
        web["metadata"]["resourceVersion"]
    );
    assert_eq!(lab.writer.stats().writes, BTreeMap::from([("written", 1)]));
}

#[tokio::test]
async fn conditions_of_others_survive_and_a_conflict_is_settled_by_looking_again() {
    let lab = Lab::new("conflict").await;
    lab.service("web").await;
    let plan = lab.plan(&[("web", vec!["10.0.0.1"])]);
    let outdated = lab.observe().await;
    lab.stranger("web").await;
    lab.want(&outdated, &plan);
    lab.until("it conflicts", || lab.result("conflict") == 1)
        .await;
    lab.want(&outdated, &plan);
    assert_eq!(lab.written(), 0);
    lab.want(&lab.observe().await, &plan);
    lab.until("it is written", || lab.written() == 1).await;
    let web = lab.get("web").await;
    assert_eq!(
        condition(&web, "example.com/Other").unwrap()["message"],
        "of me"
    );
    assert!(condition(&web, REQUEST_SATISFIED).is_some());
    assert_eq!(lab.result("conflict"), 1, "no hammering");
}

#[tokio::test]
async fn a_service_made_anew_is_not_taken_for_the_old_one() {
    let lab = Lab::new("anew").await;
    lab.service("web").await;
    let outdated = lab.observe().await;
    lab.delete("web").await;
    lab.service("web").await;
    let plan = lab.plan(&[("web", vec!["10.0.0.1"])]);
    lab.want(&outdated, &plan);
    lab.until("it conflicts", || lab.result("conflict") == 1)
        .await;
    assert_eq!(lab.get("web").await["status"]["loadBalancer"], json!({}));
    lab.want(&lab.observe().await, &plan);
    lab.until("the new one is written", || lab.written() == 1)
        .await;
}

#[tokio::test]
async fn a_service_that_is_gone_is_forgotten() {
    let lab = Lab::new("gone").await;
    lab.service("web").await;
    let outdated = lab.observe().await;
    lab.delete("web").await;
    lab.want(&outdated, &lab.plan(&[("web", vec!["10.0.0.1"])]));
    lab.until("it is gone", || lab.result("gone") == 1).await;
    lab.want(&lab.observe().await, &AddressPlan::default());
    assert_eq!(lab.writer.stats().queued, 0);
}

#[tokio::test]
async fn what_the_server_refuses_is_not_repeated_until_something_changes() {
    let lab = Lab::new("refused").await;
    // An address in the status of a Service of another type.
    let body = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}});
    request(&lab.admin, Method::POST, &lab.path(""), JSON, Some(&body))
        .await
        .unwrap();
    lab.service("other").await;
    let plan = lab.plan(&[("web", vec!["10.0.0.1"]), ("other", vec!["10.0.0.2"])]);
    let seen = lab.observe().await;
    lab.want(&seen, &plan);
    lab.until("it is refused, the other is not", || {
        lab.result("refused") == 1 && lab.written() == 1
    })
    .await;
    assert_eq!(lab.writer.stats().codes.get(&422), Some(&1));
    lab.want(&seen, &plan);
    lab.want(&lab.observe().await, &plan);
    let body = json!({"spec": {"type": "LoadBalancer"}});
    request(
        &lab.admin,
        Method::PATCH,
        &lab.path("/web"),
        STRATEGIC,
        Some(&body),
    )
    .await
    .unwrap();
    lab.want(&lab.observe().await, &plan);
    lab.until("it is written", || lab.written() == 2).await;
    assert_eq!(lab.result("refused"), 1);
}

#[tokio::test]
async fn nothing_is_sent_without_a_valid_lease() {
    let lab = Lab::new("fence").await;
    lab.service("web").await;
    let before = lab.get("web").await;
    let plan = lab.plan(&[("web", vec!["10.0.0.1"])]);
    let seen = lab.observe().await;
    let mut another_term = leads(Duration::from_secs(60));
    another_term.lead.as_mut().unwrap().term = TERM + 2;
    for leadership in [Leadership::default(), leads(Duration::ZERO), another_term] {
        lab.leadership.send_replace(leadership);
        lab.want(&seen, &plan);
        let begin = now();
        while begin.elapsed() < Duration::from_millis(200) {
            assert_eq!(
                (lab.writer.stats().queued, lab.writer.stats().under_way),
                (1, 0)
            );
            sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(lab.get("web").await, before);
    lab.leadership.send_replace(leads(Duration::from_secs(60)));
    lab.until("it is written", || lab.written() == 1).await;
}

#[tokio::test]
async fn a_takeover_marks_first_so_that_writes_in_the_air_fail() {
    let lab = Lab::new("takeover").await;
    for name in ["web", "quiet", "other"] {
        lab.service(name).await;
    }
    lab.stranger("web").await;
    let seen = lab.observe().await;
    let in_the_air = lab.get("web").await["metadata"].clone();
    let touched = [lab.name("web"), lab.name("quiet"), lab.name("gone")];
    // Whatever happens to it meanwhile, the mark gets there.
    lab.stranger("quiet").await;
    lab.writer
        .begin_term(&seen, &touched, TERM, "k3s2", Timestamp::UNIX_EPOCH, now());
    lab.until("the marks are set", || lab.written() == 2).await;
    assert_eq!(lab.writer.news().begun, None, "nobody has seen them yet");
    lab.want(&lab.observe().await, &AddressPlan::default());
    assert_eq!(lab.writer.news().begun, Some(TERM));
    let web = lab.get("web").await;
    let mark = condition(&web, TAKEN_OVER).unwrap();
    assert_eq!(mark["message"], "k3s2 did not hand over; term 7 begins");
    assert!(condition(&web, "example.com/Other").is_some());

    let late = json!({"metadata": {"uid": in_the_air["uid"], "resourceVersion": in_the_air["resourceVersion"]},
        "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.9"}]}}});
    let merge = "application/merge-patch+json";
    let path = lab.path("/web/status");
    let refused = request(&lab.admin, Method::PATCH, &path, merge, Some(&late))
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(status) if status.code == 409),
        "{refused}"
    );

    let plan = lab.plan(&[
        ("web", vec!["10.0.0.1"]),
        ("quiet", vec![]),
        ("other", vec![]),
    ]);
    lab.want(&lab.observe().await, &plan);
    lab.until("all are written", || lab.written() == 5).await;
    for name in ["web", "quiet", "other"] {
        assert!(
            condition(&lab.get(name).await, TAKEN_OVER).is_none(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_api_server_that_is_killed_and_comes_back_gets_what_was_wanted() {
    let server = Arc::new(Server::start().await);
    let lab = Lab::at(Arc::clone(&server), "killed", "admin-token").await;
    let names: Vec<String> = (0..50).map(|number| format!("s{number}")).collect();
    for name in &names {
        lab.service(name).await;
    }
    let addresses: Vec<String> = (0..50).map(|number| format!("10.0.0.{number}")).collect();
    let wanted: Vec<(&str, Vec<&str>)> = names
        .iter()
        .zip(&addresses)
        .map(|(name, ip)| (name.as_str(), vec![ip.as_str()]))
        .collect();
    let plan = lab.plan(&wanted);
    let seen = lab.observe().await;
    server.kill();
    lab.want(&seen, &plan);
    let mut writer = lab.writer.clone();
    let told = async {
        while !writer
            .changed()
            .await
            .trouble
            .is_some_and(|trouble| trouble.contains("cannot be reached"))
        {}
    };
    timeout(LIMIT, told)
        .await
        .expect("it says that the server cannot be reached");
    server.start_again();
    lab.until("all are written", || lab.written() == 50).await;
    lab.until("the trouble is over", || {
        lab.writer.news().trouble.is_none()
    })
    .await;
    lab.want(&lab.observe().await, &plan);
    assert_eq!(lab.writer.stats().queued, 0);
}

#[tokio::test]
async fn a_stranger_without_permission_is_told_what_to_allow() {
    let lab = Lab::at(Server::shared().await, "denied", "stranger-token").await;
    lab.service("web").await;
    lab.want(
        &lab.observe().await,
        &lab.plan(&[("web", vec!["10.0.0.1"])]),
    );
    lab.until("it is denied", || lab.result("denied") >= 1)
        .await;
    lab.until("it is told", || lab.writer.news().trouble.is_some())
        .await;
    let trouble = lab.writer.news().trouble.unwrap();
    assert!(
        trouble.contains("allow `patch` on services/status of API group \"\""),
        "{trouble}"
    );
    let role = json!({"metadata": {"name": "writer-test"}, "rules": [{"apiGroups": [""], "resources": ["services/status"], "verbs": ["patch"]}]});
    let binding = json!({"metadata": {"name": "writer-test"}, "subjects": [{"kind": "User", "name": "stranger"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "writer-test"}});
    for (kind, body) in [("clusterroles", role), ("clusterrolebindings", binding)] {
        let path = format!("/apis/rbac.authorization.k8s.io/v1/{kind}");
        request(&lab.admin, Method::POST, &path, JSON, Some(&body))
            .await
            .unwrap();
    }
    lab.until("it is written", || lab.written() == 1).await;
    lab.until("the Event is lost, and nobody minds", || {
        lab.writer.stats().events_dropped == 1
    })
    .await;
}

#[tokio::test]
async fn credentials_that_nobody_knows_are_told_and_nothing_else_is_tried_meanwhile() {
    let lab = Lab::at(Server::shared().await, "unknown", "no-such-token").await;
    for name in ["a", "b", "c"] {
        lab.service(name).await;
    }
    lab.want(
        &lab.observe().await,
        &lab.plan(&[
            ("a", vec!["10.0.0.1"]),
            ("b", vec!["10.0.0.2"]),
            ("c", vec![]),
        ]),
    );
    lab.until("it is told", || lab.writer.news().trouble.is_some())
        .await;
    let trouble = lab.writer.news().trouble.unwrap();
    assert!(
        trouble.contains("does not accept our credentials"),
        "{trouble}"
    );
    assert!(!trouble.contains("no-such-token"));
    assert_eq!(lab.writer.stats().limit, 1);
}

#[tokio::test]
async fn a_pool_is_written_at_most_once_a_second() {
    let lab = Lab::new("pools").await;
    let pools = "/apis/cilium.io/v2/ciliumloadbalancerippools";
    let body = json!({"apiVersion": "cilium.io/v2", "kind": "CiliumLoadBalancerIPPool", "metadata": {"name": "blue"},
        "spec": {"blocks": [{"cidr": "10.7.0.0/24"}]}});
    request(&lab.admin, Method::POST, pools, JSON, Some(&body))
        .await
        .unwrap();
    let start = now();
    let mut used = 0;
    while start.elapsed() < Duration::from_millis(2_500) {
        used += 1;
        let condition = PoolCondition {
            kind: "cilium.io/IPsUsed",
            status: "Unknown",
            reason: "noreason",
            message: used.to_string(),
        };
        let plan = AddressPlan {
            pools: [("blue".to_owned(), vec![condition])].into(),
            ..AddressPlan::default()
        };
        lab.want(&lab.observe().await, &plan);
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        lab.written(),
        3,
        "one at once, two in the two seconds after it"
    );
    let blue = get(&lab.admin, &format!("{pools}/blue")).await;
    let condition = condition(&blue, "cilium.io/IPsUsed").unwrap();
    assert_eq!(condition["observedGeneration"], 1);
    assert!(
        condition["message"]
            .as_str()
            .unwrap()
            .parse::<u32>()
            .unwrap()
            > 50
    );
    assert_eq!(lab.result("conflict"), 0);
}

#[tokio::test]
async fn a_clean_stop_waits_for_what_is_under_way_and_sends_no_more() {
    let lab = Lab::new("drain").await;
    let names: Vec<String> = (0..100).map(|number| format!("s{number}")).collect();
    for name in &names {
        lab.service(name).await;
    }
    let addresses: Vec<String> = (0..100).map(|number| format!("10.0.1.{number}")).collect();
    let wanted: Vec<(&str, Vec<&str>)> = names
        .iter()
        .zip(&addresses)
        .map(|(name, ip)| (name.as_str(), vec![ip.as_str()]))
        .collect();
    lab.want(&lab.observe().await, &lab.plan(&wanted));
    lab.until("some are written", || lab.written() > 0).await;
    assert!(lab.writer.drain(now() + LIMIT).await);
    let stats = lab.writer.stats();
    assert_eq!(stats.under_way, 0);
    assert_eq!(lab.written() + stats.queued as u64, 100);
    let written = |item: &&Value| item["status"]["loadBalancer"]["ingress"].is_array();
    let list = get(&lab.admin, &lab.path("")).await;
    let count = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(written)
        .count();
    assert_eq!(count as u64, lab.written(), "what was done is known");
    drop(lab.server);
}
