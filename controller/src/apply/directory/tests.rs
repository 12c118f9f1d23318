use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::cluster::{Document, IngressEntry, IngressIpMode, Objects, Store};
use crate::plan::addresses::{PoolCondition, ServiceCondition, ServiceStatus};

use super::*;

/// The names a test's Services have, and the addresses planned for them.
type Services<'a> = &'a [(&'a str, &'a str)];

/// What a source would show for these Services (and one pool), with what is recorded.
fn observed(state: &StateDirectory, services: Services<'_>) -> Observed {
    let mut values: Vec<_> = services
        .iter()
        .map(|(name, _)| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"type": "LoadBalancer"}}))
        .collect();
    values.push(json!({"apiVersion": "cilium.io/v2", "kind": "CiliumLoadBalancerIPPool", "metadata": {"name": "p"}, "spec": {}}));
    let mut objects = Objects::default();
    for (key, object) in values
        .into_iter()
        .flat_map(|value| Document::read(value, None, "kube-system").objects)
    {
        objects.insert(key, object);
    }
    let recorded = state.recorded().borrow().clone();
    let mut store = Store::default();
    store.update(&objects, &recorded);
    Observed {
        snapshot: Arc::new(store.snapshot()),
        objects: Arc::new(objects),
        recorded,
    }
}

fn plan(services: Services<'_>) -> AddressPlan {
    let status = |address: &str| ServiceStatus {
        ingress: vec![IngressEntry {
            ip: Some(address.parse().unwrap()),
            hostname: None,
            ip_mode: IngressIpMode::Absent,
        }],
        condition: Some(ServiceCondition {
            satisfied: true,
            reason: "satisfied",
            message: String::new(),
        }),
        foreign: None,
    };
    let pool = PoolCondition {
        kind: "cilium.io/IPsTotal",
        status: "Unknown",
        reason: "noreason",
        message: "16".to_owned(),
    };
    AddressPlan {
        services: services
            .iter()
            .map(|(name, address)| (name_of(name), status(address)))
            .collect(),
        pools: [("p".to_owned(), vec![pool])].into(),
        ..AddressPlan::default()
    }
}

fn name_of(name: &str) -> ObjectName {
    ObjectName {
        namespace: "default".into(),
        name: name.into(),
    }
}

fn write(state: &mut StateDirectory, services: Services<'_>, seconds: i64) -> usize {
    let observed = observed(state, services);
    state
        .write(
            &observed,
            &plan(services),
            Timestamp::from_second(seconds).unwrap(),
        )
        .unwrap()
}

/// Name and address of each Service on record.
fn recorded(state: &StateDirectory) -> Vec<(String, String)> {
    let recorded = state.recorded().borrow().clone();
    let services = recorded.iter().filter(|(key, _)| key.kind == Kind::Service);
    services
        .map(|(key, status)| {
            (
                key.name.name.to_string(),
                status["loadBalancer"]["ingress"][0]["ip"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            )
        })
        .collect()
}

fn pairs(services: Services<'_>) -> Vec<(String, String)> {
    services
        .iter()
        .map(|(name, address)| ((*name).to_owned(), (*address).to_owned()))
        .collect()
}

#[tokio::test]
async fn what_is_written_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let services = [("a", "10.0.0.1"), ("b", "10.0.0.2")];
    let mut state = StateDirectory::open(Some(&directory.path().join("new/state"))).unwrap();
    assert!(state.is_leader());
    assert_eq!(write(&mut state, &services, 0), 3);
    drop(state);
    let state = StateDirectory::open(Some(&directory.path().join("new/state"))).unwrap();
    assert_eq!(recorded(&state), pairs(&services));
    let observed = observed(&state, &services);
    assert_eq!(
        observed.snapshot.services[&name_of("a")].ingress[0].ip,
        Some("10.0.0.1".parse().unwrap())
    );
    assert_eq!(
        observed.snapshot.pools["p"].recorded_conditions[0].message,
        "16"
    );
    let list = observed.services_list();
    assert_eq!(
        list["items"][1]["status"]["conditions"][0]["lastTransitionTime"],
        "1970-01-01T00:00:00Z"
    );
}

#[tokio::test]
async fn without_a_directory_everything_is_in_memory() {
    let mut state = StateDirectory::open(None).unwrap();
    assert!(state.is_leader());
    assert_eq!(write(&mut state, &[("a", "10.0.0.1")], 0), 2);
    assert_eq!(recorded(&state), pairs(&[("a", "10.0.0.1")]));
}

#[tokio::test]
async fn nothing_is_written_when_nothing_changed() {
    let directory = tempfile::tempdir().unwrap();
    let services = [("a", "10.0.0.1")];
    let mut state = StateDirectory::open(Some(directory.path())).unwrap();
    write(&mut state, &services, 0);
    let file = directory.path().join("service_default_a.json");
    let before = fs::metadata(&file).unwrap().ino();
    let stale = Observed {
        recorded: Arc::default(),
        ..observed(&StateDirectory::open(None).unwrap(), &services)
    };
    assert_eq!(
        state
            .write(&stale, &plan(&services), Timestamp::from_second(9).unwrap())
            .unwrap(),
        0,
        "also for one who saw nothing of it yet"
    );
    assert_eq!(write(&mut state, &services, 10), 0);
    assert_eq!(fs::metadata(&file).unwrap().ino(), before);
}

#[tokio::test]
async fn a_service_made_again_within_the_hour_has_its_address_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut state = StateDirectory::open(Some(directory.path())).unwrap();
    write(&mut state, &[("a", "10.0.0.1"), ("b", "10.0.0.2")], 0);
    write(&mut state, &[("b", "10.0.0.2")], 100);
    assert!(
        fs::read_to_string(directory.path().join("service_default_a.json"))
            .unwrap()
            .contains("releasedAt")
    );
    drop(state);
    let mut state = StateDirectory::open(Some(directory.path())).unwrap();
    let again = observed(&state, &[("a", ""), ("b", "")]);
    assert_eq!(
        again.snapshot.services[&name_of("a")].ingress[0].ip,
        Some("10.0.0.1".parse().unwrap())
    );
    write(&mut state, &[("a", "10.0.0.1"), ("b", "10.0.0.2")], 200);
    assert!(
        !fs::read_to_string(directory.path().join("service_default_a.json"))
            .unwrap()
            .contains("releasedAt")
    );
}

#[tokio::test]
async fn an_address_that_somebody_else_holds_by_then_is_not_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut state = StateDirectory::open(Some(directory.path())).unwrap();
    write(&mut state, &[("b", "10.0.0.1")], 0);
    write(&mut state, &[], 1);
    write(&mut state, &[("a", "10.0.0.1")], 2);
    let again = observed(&state, &[("a", ""), ("b", "")]);
    assert!(again.snapshot.services[&name_of("b")].ingress.is_empty());
    // Whatever is planned, a record of the old address does not come back to life.
    state
        .write(
            &again,
            &plan(&[("a", "10.0.0.1")]),
            Timestamp::from_second(3).unwrap(),
        )
        .unwrap();
    assert_eq!(recorded(&state), pairs(&[("a", "10.0.0.1")]));
    assert!(!directory.path().join("service_default_b.json").exists());
}

#[tokio::test]
async fn after_an_hour_a_service_is_forgotten_and_a_pool_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut state = StateDirectory::open(Some(directory.path())).unwrap();
    write(&mut state, &[("a", "10.0.0.1")], 0);
    write(&mut state, &[], 10);
    write(&mut state, &[], 3609);
    assert_eq!(recorded(&state), pairs(&[("a", "10.0.0.1")]));
    write(&mut state, &[], 3611);
    assert_eq!(recorded(&state), []);
    assert!(directory.path().join("pool_p.json").exists());
    let nothing = Observed {
        snapshot: Arc::new(crate::cluster::Snapshot {
            complete: true,
            ..Default::default()
        }),
        ..Observed::default()
    };
    state
        .write(
            &nothing,
            &AddressPlan::default(),
            Timestamp::from_second(3612).unwrap(),
        )
        .unwrap();
    let files: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(files, [LOCK]);
}

#[tokio::test]
async fn an_incomplete_view_makes_nobody_forget() {
    let mut state = StateDirectory::open(None).unwrap();
    write(&mut state, &[("a", "10.0.0.1")], 0);
    state
        .write(
            &Observed::default(),
            &AddressPlan::default(),
            Timestamp::from_second(9).unwrap(),
        )
        .unwrap();
    assert!(
        state
            .records
            .values()
            .all(|record| record.released_at.is_none())
    );
}

#[tokio::test]
async fn torn_and_foreign_files_cost_nobody_else_anything() {
    let directory = tempfile::tempdir().unwrap();
    let mut state = StateDirectory::open(Some(directory.path())).unwrap();
    write(&mut state, &[("a", "10.0.0.1"), ("b", "10.0.0.2")], 0);
    drop(state);
    let torn = directory.path().join("service_default_a.json");
    let text = fs::read(&torn).unwrap();
    fs::write(&torn, &text[..text.len() / 2]).unwrap();
    fs::write(directory.path().join("notes.txt"), "remember the milk").unwrap();
    fs::create_dir(directory.path().join("subdirectory")).unwrap();
    fs::write(directory.path().join(".writing-1-0"), "{").unwrap();
    let mut state = StateDirectory::open(Some(directory.path())).unwrap();
    assert_eq!(recorded(&state), pairs(&[("b", "10.0.0.2")]));
    assert!(!directory.path().join(".writing-1-0").exists());
    write(&mut state, &[("a", "10.0.0.3"), ("b", "10.0.0.2")], 1);
    assert!(
        fs::read_to_string(&torn).unwrap().contains("10.0.0.3"),
        "a torn file is written anew"
    );
    assert!(directory.path().join("notes.txt").exists());
}

#[tokio::test]
async fn a_second_process_reads_along_and_takes_over_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = StateDirectory::open(Some(directory.path())).unwrap();
    let mut second = StateDirectory::open(Some(directory.path())).unwrap();
    let third = StateDirectory::open(Some(directory.path())).unwrap();
    assert!(first.is_leader() && !second.is_leader() && !third.is_leader());
    assert_eq!(
        write(&mut second, &[("a", "10.0.0.9")], 0),
        0,
        "only one writes"
    );
    write(&mut first, &[("a", "10.0.0.1"), ("b", "10.0.0.2")], 0);
    until(&mut second, |state| {
        recorded(state) == pairs(&[("a", "10.0.0.1"), ("b", "10.0.0.2")])
    })
    .await;
    write(&mut first, &[("a", "10.0.0.1"), ("c", "10.0.0.3")], 1);
    until(&mut second, |state| recorded(state).len() == 3).await;
    drop(third);
    drop(first);
    until(&mut second, StateDirectory::is_leader).await;
    write(
        &mut second,
        &[("a", "10.0.0.1"), ("c", "10.0.0.3"), ("d", "10.0.0.4")],
        2,
    );
    drop(second);
    let after = StateDirectory::open(Some(directory.path())).unwrap();
    assert_eq!(
        recorded(&after),
        pairs(&[
            ("a", "10.0.0.1"),
            ("b", "10.0.0.2"),
            ("c", "10.0.0.3"),
            ("d", "10.0.0.4")
        ])
    );
}

async fn until(state: &mut StateDirectory, wanted: impl Fn(&StateDirectory) -> bool) {
    let waiting = async {
        while !wanted(state) {
            state.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting)
        .await
        .expect("in vain");
}

#[tokio::test]
async fn a_cleared_directory_is_written_again() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("state");
    let mut state = StateDirectory::open(Some(&directory)).unwrap();
    write(&mut state, &[("a", "10.0.0.1")], 0);
    fs::remove_dir_all(&directory).unwrap();
    assert_eq!(write(&mut state, &[("a", "10.0.0.1")], 1), 0);
    assert!(state.is_leader());
    assert!(directory.join("service_default_a.json").exists());
}

#[tokio::test]
async fn a_failed_write_counts_in_memory_and_is_made_up_for() {
    let directory = tempfile::tempdir().unwrap();
    let mut state = StateDirectory::open(Some(directory.path())).unwrap();
    let services = [("a", "10.0.0.1")];
    // A directory in the file's place cannot be replaced by a file.
    fs::create_dir(directory.path().join("service_default_a.json")).unwrap();
    fs::write(directory.path().join("service_default_a.json/x"), "").unwrap();
    let view = observed(&state, &services);
    let error = state
        .write(&view, &plan(&services), Timestamp::UNIX_EPOCH)
        .unwrap_err();
    assert!(
        error.to_string().contains("cannot write the state"),
        "{error}"
    );
    assert_eq!(recorded(&state), pairs(&services));
    fs::remove_dir_all(directory.path().join("service_default_a.json")).unwrap();
    assert_eq!(write(&mut state, &services, 1), 0);
    assert!(directory.path().join("service_default_a.json").is_file());
}

const STATE_OF_CHILD: &str = "FAIRWAY_TEST_STATE";

#[test]
fn killed_at_any_moment_every_file_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "apply::directory::tests::writes_until_killed",
                "--ignored",
                "--nocapture",
            ])
            .env(STATE_OF_CHILD, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told = lines
            .map_while(Result::ok)
            .filter(|line| line.contains("written"))
            .take(2 + 3 * round)
            .last();
        child.kill().unwrap();
        child.wait().unwrap();
        let told: u32 = told.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let state = StateDirectory::open(Some(directory.path())).unwrap();
            assert!(state.is_leader(), "the lock ends with its holder");
            let recorded = recorded(&state);
            assert_eq!(recorded.len(), 20);
            let turn_of =
                |address: &str| u32::from(address.parse::<std::net::Ipv4Addr>().unwrap()) & 0xFFFF;
            let turns: BTreeSet<_> = recorded
                .iter()
                .map(|(_, address)| turn_of(address))
                .collect();
            let (first, last) = (*turns.first().unwrap(), *turns.last().unwrap());
            assert!(
                told <= first && last <= first + 1,
                "what was told of as written is there: {turns:?} after {told}"
            );
        });
        for entry in fs::read_dir(directory.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(name == LOCK || record::read(&path).is_ok(), "{name}");
        }
    }
}

/// The child of the test above.
#[test]
#[ignore = "runs until it is killed"]
fn writes_until_killed() {
    let Ok(directory) = std::env::var(STATE_OF_CHILD) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut state = StateDirectory::open(Some(Path::new(&directory))).unwrap();
        for turn in 0_u16.. {
            let services: Vec<_> = (0..20)
                .map(|number| {
                    (
                        format!("s{number}"),
                        format!("10.{number}.{}.{}", turn >> 8, turn & 0xFF),
                    )
                })
                .collect();
            let services: Vec<_> = services
                .iter()
                .map(|(name, address)| (name.as_str(), address.as_str()))
                .collect();
            write(&mut state, &services, turn.into());
            println!("written {turn}");
        }
    });
}
