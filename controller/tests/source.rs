//! The Kubernetes source against a real API server.

#![expect(
    clippy::disallowed_methods,
    reason = "deadlines of tests against real processes"
)]

#[path = "source/cluster.rs"]
mod cluster;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use controller::cluster::{Kind, ObjectKey, ObjectName, Snapshot};
use controller::kubernetes_client::KubernetesClient;
use controller::watch::Observed;
use controller::watch::directory::read_once;
use controller::watch::kubernetes::{KubernetesSource, Options, SourceHealth};
use http::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use cluster::{Cluster, call, crd};

const LONG: Duration = Duration::from_secs(60);
const POOLS: &str = "/apis/cilium.io/v2alpha1/ciliumloadbalancerippools";
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

struct Source {
    observed: watch::Receiver<Observed>,
    health: SourceHealth,
    task: AbortHandle,
}

impl Drop for Source {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Source {
    async fn open(kubeconfig: &Path) -> Self {
        let client = KubernetesClient::open(Some(kubeconfig)).await.unwrap();
        Self::of(client)
    }

    fn of(client: KubernetesClient) -> Self {
        let options = Options {
            secrets_namespace: "kube-system".to_owned(),
            seed: 7,
        };
        let source = KubernetesSource::open(client, options);
        Self {
            observed: source.observed(),
            health: source.health(),
            task: tokio::spawn(source.run()).abort_handle(),
        }
    }

    fn now(&self) -> Arc<Snapshot> {
        self.observed.borrow().snapshot.clone()
    }

    /// Waits for a view of which something is true. Every view on the way there is complete once one was.
    async fn until(&mut self, what: &str, wanted: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let mut complete = self.now().complete;
        let seen = timeout(LONG, async {
            loop {
                let snapshot = self.observed.borrow_and_update().snapshot.clone();
                assert!(
                    snapshot.complete || !complete,
                    "a view that was complete no longer is"
                );
                complete = snapshot.complete;
                if wanted(&snapshot) {
                    return snapshot;
                }
                self.observed.changed().await.unwrap();
            }
        });
        match seen.await {
            Ok(snapshot) => snapshot,
            Err(_) => panic!(
                "never seen: {what}; last: {:#?}; {:#?}",
                self.now(),
                self.health.kinds()
            ),
        }
    }
}

fn name(namespace: &str, name: &str) -> ObjectName {
    ObjectName {
        namespace: namespace.into(),
        name: name.into(),
    }
}

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "LoadBalancer", "ports": [{"name": "http", "port": 80}], "selector": {"app": name}}})
}

fn secret(name: &str, password: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "kube-system"},
        "stringData": {"password": password, "other": "never read"}})
}

fn pool(name: &str) -> Value {
    json!({"apiVersion": "cilium.io/v2alpha1", "kind": "CiliumLoadBalancerIPPool", "metadata": {"name": name}, "spec": {"blocks": [{"cidr": "10.9.0.0/24"}]}})
}

/// Creates a CRD and waits until the API server serves it.
async fn add_crd(cluster: &Cluster, kind: &str, versions: &[&str]) {
    let plural = plural(kind);
    cluster.create(CRDS, crd(kind, &plural, versions)).await;
    let deadline = Instant::now() + LONG;
    for version in versions {
        let path = format!("/apis/cilium.io/{version}/{plural}");
        while call(&cluster.admin, Method::GET, &path, None).await.0 != 200 {
            assert!(Instant::now() < deadline, "{kind} is not served");
        }
    }
}

fn plural(kind: &str) -> String {
    Kind::all()
        .find(|known| known.name() == kind)
        .unwrap()
        .plural()
        .to_owned()
}

const HOMELAB: &str = r#"
apiVersion: cilium.io/v2alpha1
kind: CiliumBGPPeeringPolicy
metadata: {name: bgp-peering-policy}
spec:
  nodeSelector: {matchLabels: {bgp: enabled}}
  virtualRouters:
    - localASN: 64512
      exportPodCIDR: true
      serviceSelector: {matchExpressions: [{key: service.cilium.io/global, operator: NotIn, values: ["true"]}]}
      neighbors: [{peerAddress: "192.168.10.1/32", peerASN: 64513}]
---
apiVersion: cilium.io/v2alpha1
kind: CiliumL2AnnouncementPolicy
metadata: {name: l2-policy}
spec:
  nodeSelector: {}
  interfaces: ["^enx.+", "^enp.+", "^eth.+"]
  externalIPs: true
  loadBalancerIPs: true
---
apiVersion: cilium.io/v2alpha1
kind: CiliumLoadBalancerIPPool
metadata: {name: primary-pool}
spec: {blocks: [{cidr: "192.168.10.224/28"}]}
---
apiVersion: v1
kind: Service
metadata: {name: main-gateway, namespace: default, labels: {app: gateway}, annotations: {lbipam.cilium.io/ips: 192.168.10.224}}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, ports: [{name: http, port: 80, protocol: TCP}], selector: {app: gateway}, internalTrafficPolicy: Cluster, ipFamilies: [IPv4], ipFamilyPolicy: SingleStack}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: main-gateway-1, namespace: default, labels: {kubernetes.io/service-name: main-gateway}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.42.1.7], conditions: {ready: true}, nodeName: k3s1}]
---
apiVersion: v1
kind: Node
metadata: {name: k3s1, labels: {bgp: enabled}}
spec: {podCIDR: 10.42.1.0/24, podCIDRs: [10.42.1.0/24]}
---
apiVersion: v1
kind: Secret
metadata: {name: router, namespace: kube-system}
stringData: {password: fairway, other: never read}
"#;

/// What the two sources cannot agree on, for the manifests do not have it.
fn without_the_servers_part(snapshot: &Snapshot) -> Snapshot {
    let mut snapshot = snapshot.clone();
    let own = |meta: &mut controller::cluster::Meta| {
        (meta.uid, meta.generation, meta.created) = (String::new(), 0, None);
    };
    // The API server has a Service of its own.
    snapshot.services.remove(&name("default", "kubernetes"));
    snapshot.endpoints.remove(&name("default", "kubernetes"));
    for service in snapshot.services.values_mut() {
        let service = Arc::make_mut(service);
        own(&mut service.meta);
        service.cluster_ips.clear();
    }
    for slices in snapshot.endpoints.values_mut() {
        for slice in Arc::make_mut(slices) {
            own(&mut Arc::make_mut(slice).meta);
        }
    }
    snapshot
        .nodes
        .values_mut()
        .for_each(|node| own(&mut node.meta));
    snapshot
        .pools
        .values_mut()
        .for_each(|pool| own(&mut pool.meta));
    let policies = snapshot.peering_policies.values_mut();
    policies.for_each(|policy| own(&mut policy.meta));
    snapshot
        .l2_policies
        .values_mut()
        .for_each(|policy| own(&mut policy.meta));
    // Services of a real cluster, and so their notes, differ.
    snapshot.problems.clear();
    snapshot
}

#[tokio::test(flavor = "multi_thread")]
async fn the_view_is_that_of_the_manifests_and_follows_changes_at_once() {
    let cluster = Cluster::start().await;
    for kind in [
        "CiliumBGPPeeringPolicy",
        "CiliumL2AnnouncementPolicy",
        "CiliumLoadBalancerIPPool",
    ] {
        add_crd(&cluster, kind, &["v2alpha1"]).await;
    }
    let manifests = cluster.path().join("manifests");
    std::fs::create_dir(&manifests).unwrap();
    std::fs::write(manifests.join("homelab.yaml"), HOMELAB).unwrap();
    let expected = read_once(&manifests, "kube-system").unwrap();
    for (key, object) in expected.objects.iter() {
        let group = match key.kind.group() {
            "" => "/api/v1".to_owned(),
            "cilium.io" => "/apis/cilium.io/v2alpha1".to_owned(),
            group => format!("/apis/{group}/v1"),
        };
        let namespace = match &*key.name.namespace {
            "" => String::new(),
            namespace => format!("/namespaces/{namespace}"),
        };
        let mut object = object.value().into_owned();
        if key.kind == Kind::Secret {
            object = secret(&key.name.name, "fairway");
        }
        let path = format!("{group}{namespace}/{}", key.kind.plural());
        cluster.create(&path, object).await;
    }

    let start = Instant::now();
    let mut source = Source::of(cluster.admin.clone());
    let snapshot = source
        .until("everything", |snapshot| snapshot.complete)
        .await;
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(
        without_the_servers_part(&snapshot),
        without_the_servers_part(&expected.snapshot)
    );
    assert_eq!(snapshot.problems, []);
    assert_eq!(snapshot.unreadable, [].into());

    // The writer needs these two, and nobody needs who manages what.
    let key = ObjectKey {
        kind: Kind::Service,
        name: name("default", "main-gateway"),
    };
    let object = source.observed.borrow().object(&key).unwrap();
    assert!(object["metadata"]["resourceVersion"].is_string());
    assert!(object["metadata"]["uid"].is_string());
    assert_eq!(object.pointer("/metadata/managedFields"), None);
    assert_eq!(
        (&object["apiVersion"], &object["kind"]),
        (&json!("v1"), &json!("Service"))
    );

    let mut slowest = Duration::ZERO;
    for round in 0..20 {
        let created = format!("web-{round}");
        cluster
            .create("/api/v1/namespaces/default/services", service(&created))
            .await;
        let start = Instant::now();
        let wanted = name("default", &created);
        source
            .until(&created, |snapshot| snapshot.services.contains_key(&wanted))
            .await;
        slowest = slowest.max(start.elapsed());
    }
    println!("slowest of 20 new Services seen {slowest:?} after the API server had answered");
    assert!(slowest < Duration::from_millis(300), "{slowest:?}");

    let path = "/api/v1/namespaces/default/services/web-1";
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}});
    let patch = format!("{path}/status?fieldManager=somebody");
    let (code, answer) = call(&cluster.admin, Method::PATCH, &patch, Some(status)).await;
    assert_eq!(code, 200, "{answer}");
    let wanted = name("default", "web-1");
    let snapshot = source
        .until("the address", |snapshot| {
            !snapshot.services[&wanted].ingress.is_empty()
        })
        .await;
    let writer = snapshot.services[&wanted].ingress_writer.clone().unwrap();
    assert_eq!(writer.manager, "somebody");
    assert!(writer.time.is_some());
    call(&cluster.admin, Method::DELETE, path, None).await;
    source
        .until("its end", |snapshot| {
            !snapshot.services.contains_key(&wanted)
        })
        .await;

    let calls = cluster.admin.calls.snapshot();
    assert!(
        calls[&("create", 201)] > 20 && calls[&("patch", 200)] == 1,
        "{calls:?}"
    );
    assert!(calls[&("watch", 200)] >= 7, "{calls:?}");
    assert_eq!(cluster.admin.calls.write_latencies()["patch"].count, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_killed_and_comes_back_takes_nothing_away() {
    let mut cluster = Cluster::start().await;
    add_crd(&cluster, "CiliumLoadBalancerIPPool", &["v2alpha1"]).await;
    cluster.create(POOLS, pool("a")).await;
    for service_name in ["stays", "goes"] {
        cluster
            .create("/api/v1/namespaces/default/services", service(service_name))
            .await;
    }
    let mut source = Source::of(cluster.admin.clone());
    let before = source
        .until("everything", |snapshot| snapshot.complete)
        .await;
    let everything_stays = |snapshot: &Snapshot| {
        assert_eq!(snapshot.pools, before.pools);
        assert!(
            before
                .services
                .keys()
                .all(|name| snapshot.services.contains_key(name))
        );
    };

    cluster.kill_server();
    wait("the watches to break", || {
        source.health.silent_since().is_some()
    })
    .await;
    everything_stays(&source.now());
    cluster.start_server().await;
    let path = "/api/v1/namespaces/default/services";
    cluster.create(path, service("new")).await;
    let new = name("default", "new");
    let snapshot = source
        .until("the new one", |snapshot| {
            snapshot.services.contains_key(&new)
        })
        .await;
    everything_stays(&snapshot);
    let connected = || source.health.kinds()[&Kind::CiliumLoadBalancerIPPool].connected;
    wait("the pools to be watched again", connected).await;
    everything_stays(&source.now());

    // Now the history is lost too, while one object goes and another comes: 410, a new list, exactly the difference.
    cluster.kill_server();
    wait("the watches to break", || {
        source.health.silent_since().is_some()
    })
    .await;
    let lists = source.health.kinds()[&Kind::Service].lists;
    cluster
        .behind_its_back(async |client| {
            let path = format!("{path}/goes");
            assert_eq!(call(client, Method::DELETE, &path, None).await.0, 200);
            let path = "/api/v1/namespaces/default/services";
            assert_eq!(
                call(client, Method::POST, path, Some(service("newer")))
                    .await
                    .0,
                201
            );
        })
        .await;
    everything_stays(&source.now());
    cluster.start_server().await;
    let [goes, newer] = ["goes", "newer"].map(|service_name| name("default", service_name));
    let snapshot = source
        .until("the newer one", |snapshot| {
            // Both changes show in one view, never only one of them.
            assert_ne!(
                snapshot.services.contains_key(&goes),
                snapshot.services.contains_key(&newer)
            );
            snapshot.services.contains_key(&newer)
        })
        .await;
    assert!(snapshot.services.contains_key(&name("default", "stays")));
    assert!(snapshot.services.contains_key(&new));
    assert_eq!(snapshot.pools, before.pools);
    let health = source.health.kinds();
    assert_eq!(health[&Kind::Service].lists, lists + 1, "{health:#?}");
    assert!(
        health[&Kind::Service].errors.contains_key("expired"),
        "{health:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_come_and_go_with_their_definitions() {
    let cluster = Cluster::start().await;
    let mut source = Source::of(cluster.admin.clone());
    let snapshot = source
        .until("the absence", |snapshot| snapshot.complete)
        .await;
    assert!(snapshot.pools.is_empty() && snapshot.unreadable.is_empty());

    add_crd(&cluster, "CiliumLoadBalancerIPPool", &["v2alpha1", "v2"]).await;
    let start = Instant::now();
    cluster.create(POOLS, pool("a")).await;
    source
        .until("the pool", |snapshot| snapshot.pools.contains_key("a"))
        .await;
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(
        source.health.kinds()[&Kind::CiliumLoadBalancerIPPool].version,
        "v2"
    );

    // The version that is read goes away; the other one shows the same.
    let definition = format!("{CRDS}/ciliumloadbalancerippools.cilium.io");
    let (_, mut changed) = call(&cluster.admin, Method::GET, &definition, None).await;
    changed["spec"]["versions"][1]["served"] = json!(false);
    let (code, answer) = call(&cluster.admin, Method::PUT, &definition, Some(changed)).await;
    assert_eq!(code, 200, "{answer}");
    let health = || source.health.kinds()[&Kind::CiliumLoadBalancerIPPool].clone();
    wait("the other version", || {
        health().version == "v2alpha1" && health().connected
    })
    .await;
    assert!(source.now().pools.contains_key("a"));
    let key = ObjectKey {
        kind: Kind::CiliumLoadBalancerIPPool,
        name: name("", "a"),
    };
    source
        .until("the object as the other version has it", |_| true)
        .await;
    let seen = || source.observed.borrow().object(&key).unwrap()["apiVersion"].clone();
    wait("its apiVersion", || seen() == "cilium.io/v2alpha1").await;
    cluster.create(POOLS, pool("b")).await;
    source
        .until("another pool", |snapshot| snapshot.pools.len() == 2)
        .await;

    // With the definition its objects are deleted, and the API server says so.
    let (code, answer) = call(&cluster.admin, Method::DELETE, &definition, None).await;
    assert_eq!(code, 200, "{answer}");
    source
        .until("no pool", |snapshot| snapshot.pools.is_empty())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_kind_that_is_refused_leaves_the_rest_alone_and_comes_back_by_itself() {
    let cluster = Cluster::start().await;
    let rule = |group: &str, resources: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": ["get", "list", "watch"]});
    let rules = json!([
        rule("", &["nodes", "services"]),
        rule("discovery.k8s.io", &["endpointslices"]),
        rule("cilium.io", &["*"])
    ]);
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = |kind: &str, rules: Value| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": "fairway"}, "rules": rules});
    let binding = |kind: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": format!("{kind}Binding"), "metadata": {"name": "fairway"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "fairway"},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "partial"}]})
    };
    cluster
        .create(&format!("{rbac}/clusterroles"), role("ClusterRole", rules))
        .await;
    cluster
        .create(
            &format!("{rbac}/clusterrolebindings"),
            binding("ClusterRole"),
        )
        .await;
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    cluster.create(secrets, secret("router", "fairway")).await;
    cluster
        .create("/api/v1/namespaces/default/services", service("web"))
        .await;

    let file = cluster.kubeconfig("partial", json!({"token": "partial-token"}));
    let mut source = Source::open(&file).await;
    let snapshot = source
        .until("a complete view", |snapshot| {
            snapshot.complete && snapshot.unreadable.len() == 1
        })
        .await;
    assert!(snapshot.services.contains_key(&name("default", "web")));
    let reason = &snapshot.unreadable[&Kind::Secret];
    for word in [
        "\"partial\"",
        "Role of Fairway in the namespace kube-system",
        "[\"secrets\"]",
    ] {
        assert!(reason.contains(word), "{reason}");
    }
    assert_eq!(
        snapshot
            .problems
            .iter()
            .filter(|problem| problem.object == "Secret")
            .count(),
        1
    );

    let namespace = format!("{rbac}/namespaces/kube-system");
    let rules = json!([rule("", &["secrets"])]);
    cluster
        .create(&format!("{namespace}/roles"), role("Role", rules))
        .await;
    cluster
        .create(&format!("{namespace}/rolebindings"), binding("Role"))
        .await;
    let snapshot = source
        .until("the Secret", |snapshot| snapshot.unreadable.is_empty())
        .await;
    assert!(snapshot.passwords["router"].is_some());
    assert_eq!(snapshot.problems, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_exchanged_is_read_at_once() {
    let cluster = Cluster::start().await;
    let token = cluster.path().join("token");
    std::fs::write(&token, "admin-token").unwrap();
    let file = cluster.kubeconfig("rotated", json!({"tokenFile": token}));
    let client = KubernetesClient::open(Some(&file)).await.unwrap();
    assert_eq!(
        call(&client, Method::GET, "/api/v1/nodes", None).await.0,
        200
    );

    // As if ours had expired while the file already has its successor: the reading of the file is what counts.
    std::fs::write(&token, "expired").unwrap();
    let expired = KubernetesClient::open(Some(&file)).await.unwrap();
    let mut source = Source::of(expired.clone());
    wait("a refusal", || {
        expired.calls.snapshot().contains_key(&("get", 401))
            || expired.calls.snapshot().contains_key(&("watch", 401))
    })
    .await;
    assert!(!source.now().complete);
    std::fs::write(&token, "admin-token").unwrap();
    let start = Instant::now();
    source
        .until("everything", |snapshot| snapshot.complete)
        .await;
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}

async fn wait(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
