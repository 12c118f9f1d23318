//! The election against a real API server: who leads, how soon, and at what cost.
//!
//! One API server serves all scenarios, each in a namespace of its own.

#[path = "lease/api_server.rs"]
mod api_server;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use controller::lease::{Election, ElectionConfig, LEASE, Leadership, Release, Timing};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use api_server::{ApiServer, client, now};

const ADMIN: &str = "admin-token";
/// The contract: somebody leads again within this after a crash.
const TAKEOVER: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn somebody_leads_and_never_two() {
    let Some(mut server) = ApiServer::start().await else {
        return;
    };
    a_first_start_leads_quickly(&server).await;
    two_starters_make_one_leader(&server).await;
    a_clean_release_hands_over_at_once(&server).await;
    a_crash_is_taken_over_in_time(&server).await;
    a_killed_process_is_taken_over_in_time(&server).await;
    a_stopped_process_is_taken_over_and_stays_out(&server).await;
    a_deleted_lease_is_made_again_by_its_leader(&server).await;
    a_stranger_who_empties_the_holder_makes_no_second_leader(&server).await;
    what_is_remembered_outlives_its_leader(&server).await;
    who_may_not_use_leases_follows_quietly(&server).await;
    idle_costs_almost_nothing(&server).await;
    an_outage_changes_nothing(&mut server).await;
}

async fn a_first_start_leads_quickly(server: &ApiServer) {
    let namespace = server.namespace("first").await;
    // The first connection of a client costs a TLS handshake, which is not the election's.
    let started = now();
    let one = Member::start(server, &namespace, "one").await;
    one.leads_within(Duration::from_secs(2)).await;
    println!("first start leads after {:?}", started.elapsed());
    let lead = one.leadership.borrow().lead.unwrap();
    assert!(!lead.unclean && lead.term == 1, "{lead:?}");
}

async fn two_starters_make_one_leader(server: &ApiServer) {
    let namespace = server.namespace("two").await;
    let (one, two) = tokio::join!(
        Member::start(server, &namespace, "one"),
        Member::start(server, &namespace, "two")
    );
    until(
        Duration::from_secs(2),
        "one leads and the other knows",
        || {
            let follows = |member: &Member, other: &Member| {
                member.leadership.borrow().holder == other.election.identity()
            };
            one.leads() && follows(&two, &one) || two.leads() && follows(&one, &two)
        },
    )
    .await;
    assert!(!(one.leads() && two.leads()));
}

async fn a_clean_release_hands_over_at_once(server: &ApiServer) {
    let namespace = server.namespace("release").await;
    let one = Member::start(server, &namespace, "one").await;
    one.leads_within(Duration::from_secs(2)).await;
    let two = Member::start(server, &namespace, "two").await;
    two.follows(&one).await;
    let released = now();
    one.election.release(Release::Settled).await;
    two.leads_within(Duration::from_secs(1)).await;
    let took = released.elapsed();
    println!("clean release: the other leads after {took:?}");
    assert!(took < Duration::from_millis(300), "{took:?}");
    assert!(!two.leadership.borrow().lead.unwrap().unclean);
    assert!(!one.leads());
    two.election.release(Release::Unsettled).await;
    let three = Member::start(server, &namespace, "three").await;
    three.leads_within(Duration::from_secs(1)).await;
    assert!(
        three.leadership.borrow().lead.unwrap().unclean,
        "writes may still be under way"
    );
}

async fn a_crash_is_taken_over_in_time(server: &ApiServer) {
    let namespace = server.namespace("crash").await;
    for round in 0..3 {
        let runtime = Runtime::new().unwrap();
        let (port, space) = (server.port(), namespace.clone());
        let one = runtime
            .spawn(async move { Member::on(port, ADMIN, &space, "one").await })
            .await
            .unwrap();
        one.leads_within(Duration::from_secs(4)).await;
        let two = Member::start(server, &namespace, "two").await;
        two.follows(&one).await;
        let crashed = now();
        runtime.shutdown_background();
        drop(one);
        two.leads_within(TAKEOVER).await;
        println!(
            "crash {round}: the other leads after {:?}",
            crashed.elapsed()
        );
        assert!(two.leadership.borrow().lead.unwrap().unclean);
        two.election.release(Release::Settled).await;
    }
}

async fn a_killed_process_is_taken_over_in_time(server: &ApiServer) {
    let namespace = server.namespace("kill").await;
    for round in 0..3 {
        let mut process = Process::start(server, &namespace);
        process.says("leads").await;
        let two = Member::start(server, &namespace, "two").await;
        two.follows_somebody().await;
        let killed = now();
        process.child.kill().unwrap();
        two.leads_within(TAKEOVER).await;
        println!(
            "kill -9 {round}: the other leads after {:?}",
            killed.elapsed()
        );
        two.election.release(Release::Settled).await;
    }
}

async fn a_stopped_process_is_taken_over_and_stays_out(server: &ApiServer) {
    let namespace = server.namespace("stop").await;
    let process = Process::start(server, &namespace);
    process.says("leads").await;
    let two = Member::start(server, &namespace, "two").await;
    two.follows_somebody().await;
    let stopped = now();
    process.signal(Signal::STOP);
    // The silence of a second, the wait of the challenge, and what the requests take.
    two.leads_within(Duration::from_millis(3_500)).await;
    println!("SIGSTOP: the other leads after {:?}", stopped.elapsed());
    process.signal(Signal::CONT);
    process.says("follows").await;
    assert!(two.leads());
    assert_eq!(process.said("leads"), 1, "it led once and never again");
}

async fn a_deleted_lease_is_made_again_by_its_leader(server: &ApiServer) {
    let namespace = server.namespace("deleted").await;
    let one = Member::start(server, &namespace, "one").await;
    one.leads_within(Duration::from_secs(2)).await;
    let leases = leases(server, &namespace).await;
    leases
        .delete(LEASE, &DeleteParams::default())
        .await
        .unwrap();
    let mut always = true;
    until_async(
        Duration::from_secs(3),
        "the Lease is there again",
        async || {
            always &= one.leads();
            leases.get_opt(LEASE).await.unwrap().is_some()
        },
    )
    .await;
    assert!(always, "leadership was lost in between");
}

async fn a_stranger_who_empties_the_holder_makes_no_second_leader(server: &ApiServer) {
    let namespace = server.namespace("emptied").await;
    let one = Member::start(server, &namespace, "one").await;
    one.leads_within(Duration::from_secs(2)).await;
    let two = Member::start(server, &namespace, "two").await;
    two.follows(&one).await;
    let patch = serde_json::json!({"spec": {"holderIdentity": ""}});
    let leases = leases(server, &namespace).await;
    leases
        .patch(LEASE, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    until(
        Duration::from_secs(4),
        "somebody leads another term",
        || {
            assert!(!(one.leads() && two.leads()));
            [&one, &two]
                .iter()
                .any(|member| member.leads() && member.leadership.borrow().lead.unwrap().term == 2)
        },
    )
    .await;
}

async fn what_is_remembered_outlives_its_leader(server: &ApiServer) {
    let namespace = server.namespace("memory").await;
    let one = Member::start(server, &namespace, "one").await;
    one.leads_within(Duration::from_secs(2)).await;
    one.election.remember("default/web 192.0.2.1").unwrap();
    until(Duration::from_secs(3), "it is in the Lease", || {
        &*one.election.remembered() == "default/web 192.0.2.1"
    })
    .await;
    let writes = one.election.writes();
    one.election.remember("default/web 192.0.2.1").unwrap();
    let most = "x".repeat(128 * 1024);
    one.election.remember(&most).unwrap();
    until(Duration::from_secs(3), "the most is in the Lease", || {
        *one.election.remembered() == *most
    })
    .await;
    assert_eq!(
        one.election.writes(),
        writes + 1,
        "what is there already is not written again"
    );
    assert!(one.election.remember(&"x".repeat(128 * 1024 + 1)).is_err());
    drop(one);
    let two = Member::start(server, &namespace, "two").await;
    two.leads_within(Duration::from_secs(4)).await;
    assert_eq!(*two.election.remembered(), *most);
    two.election.remember("the last word").unwrap();
    two.election.release(Release::Settled).await;
    let three = Member::start(server, &namespace, "three").await;
    three.leads_within(Duration::from_secs(1)).await;
    assert_eq!(&*three.election.remembered(), "the last word");
}

async fn who_may_not_use_leases_follows_quietly(server: &ApiServer) {
    let namespace = server.namespace("forbidden").await;
    let refused = Member::on(server.port(), "nobody-token", &namespace, "refused").await;
    let lost = Member::start(server, "there-is-no-such-namespace", "lost").await;
    let one = Member::start(server, &namespace, "one").await;
    one.leads_within(Duration::from_secs(2)).await;
    until(Duration::from_secs(3), "the refused one has tried", || {
        lost.election.writes() > 1
    })
    .await;
    assert!(!refused.leads() && !lost.leads());
    assert_eq!(refused.election.writes(), 0);
}

async fn idle_costs_almost_nothing(server: &ApiServer) {
    let namespace = server.namespace("idle").await;
    let one = Member::start(server, &namespace, "one").await;
    one.leads_within(Duration::from_secs(2)).await;
    let two = Member::start(server, &namespace, "two").await;
    two.follows(&one).await;
    let leases = leases(server, &namespace).await;
    let before = one.election.writes() + two.election.writes();
    let mut versions = vec![version(&leases).await];
    let end = now() + Duration::from_secs(30);
    while now() < end {
        assert!(one.leads());
        let version = version(&leases).await;
        if versions.last() != Some(&version) {
            versions.push(version);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let writes = one.election.writes() + two.election.writes() - before;
    println!(
        "idle for 30 s: {writes} writes sent, {} versions of the Lease",
        versions.len()
    );
    assert!(
        writes <= 3 && versions.len() <= 4,
        "{writes} writes, versions {versions:?}"
    );
}

async fn an_outage_changes_nothing(server: &mut ApiServer) {
    let namespace = server.namespace("outage").await;
    let one = Member::start(server, &namespace, "one").await;
    one.leads_within(Duration::from_secs(2)).await;
    let two = Member::start(server, &namespace, "two").await;
    two.follows(&one).await;
    let term = one.leadership.borrow().lead.unwrap().term;
    server.kill();
    let down = now();
    until(Duration::from_secs(10), "five seconds pass", || {
        assert!(!two.leads());
        down.elapsed() > Duration::from_secs(5)
    })
    .await;
    assert!(!one.leads(), "who cannot confirm its lease may not write");
    let (port, other) = (server.port(), two.leadership.clone());
    let watcher = tokio::spawn(async move {
        let mut led = false;
        let end = now() + Duration::from_secs(30);
        while now() < end && !led {
            led = other.borrow().may_write(now());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        led
    });
    server.run().await;
    let back = now();
    one.leads_within(Duration::from_secs(20)).await;
    println!(
        "API server back: the same one leads {:?} after it was ready (port {port})",
        back.elapsed()
    );
    assert_eq!(
        one.leadership.borrow().lead.unwrap().term,
        term,
        "the same term"
    );
    until(Duration::from_secs(15), "things stay like that", || {
        back.elapsed() > Duration::from_secs(5)
    })
    .await;
    assert!(one.leads());
    watcher.abort();
    assert!(!two.leads() && one.leadership.borrow().lead.unwrap().term == term);
}

/// A process that leads until it is killed; run by the scenarios, not by itself.
#[tokio::test]
#[ignore = "the other process of the scenarios"]
async fn another_process() {
    let (Ok(port), Ok(namespace)) = (
        std::env::var("LEASE_PORT"),
        std::env::var("LEASE_NAMESPACE"),
    ) else {
        return;
    };
    let mut member = Member::on(port.parse().unwrap(), ADMIN, &namespace, "child").await;
    loop {
        let word = if member.leads() { "leads" } else { "follows" };
        println!("{word}");
        std::io::stdout().flush().unwrap();
        if member.leadership.changed().await.is_err() {
            return;
        }
    }
}

struct Member {
    election: Election,
    leadership: watch::Receiver<Leadership>,
}

impl Member {
    async fn start(server: &ApiServer, namespace: &str, node: &str) -> Self {
        Self::on(server.port(), ADMIN, namespace, node).await
    }

    async fn on(port: u16, token: &str, namespace: &str, node: &str) -> Self {
        let (client, api_server) = client(port, token).await;
        let config = ElectionConfig {
            namespace: namespace.to_owned(),
            node: node.to_owned(),
            api_server,
            timing: Timing::default(),
        };
        let (election, leadership) = Election::start(client, config);
        Self {
            election,
            leadership,
        }
    }

    fn leads(&self) -> bool {
        self.leadership.borrow().may_write(now())
    }

    async fn leads_within(&self, limit: Duration) {
        until(limit, "it leads", || self.leads()).await;
    }

    async fn follows(&self, leader: &Self) {
        until(Duration::from_secs(2), "it follows", || {
            self.leadership.borrow().holder == leader.election.identity()
        })
        .await;
    }

    async fn follows_somebody(&self) {
        until(Duration::from_secs(2), "it follows", || {
            !self.leadership.borrow().holder.is_empty()
        })
        .await;
    }
}

/// Another process, and what it said so far.
struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    fn start(server: &ApiServer, namespace: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "another_process", "--ignored", "--nocapture"])
            .env("LEASE_PORT", server.port().to_string())
            .env("LEASE_NAMESPACE", namespace)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (output, heard) = (child.stdout.take().unwrap(), Arc::clone(&lines));
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                heard.lock().unwrap().push(line);
            }
        });
        Self { child, lines }
    }

    /// How often it said so; the test harness may begin the line.
    fn said(&self, word: &str) -> usize {
        self.lines
            .lock()
            .unwrap()
            .iter()
            .filter(|line| line.ends_with(word))
            .count()
    }

    /// Waits until that is the last it said.
    async fn says(&self, word: &str) {
        until(Duration::from_secs(10), word, || {
            self.lines
                .lock()
                .unwrap()
                .last()
                .is_some_and(|line| line.ends_with(word))
        })
        .await;
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

async fn leases(server: &ApiServer, namespace: &str) -> Api<Lease> {
    Api::namespaced(server.client(ADMIN).await, namespace)
}

async fn version(leases: &Api<Lease>) -> String {
    leases
        .get(LEASE)
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap()
}

async fn until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    until_async(limit, what, async || condition()).await;
}

async fn until_async(limit: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = now() + limit;
    while !condition().await {
        assert!(now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
