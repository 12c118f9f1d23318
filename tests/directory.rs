//! `fairway run --manifests`: edits, mistakes, the state folder over crashes, what Services are told, exit codes.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use support::clock::{eventually, holds, now, throughout};
use support::fairway::{Fairway, FairwaySetup, addresses_of, command};
use support::lab::{Host, Lab};
use support::manifests::{Manifests, Neighbor, Service, node, peering_policy, pool};
use support::process::{output_of, text};
use support::scripted::{Connection, ScriptedPeer, ipv4_routes, kind, open};

const SOON: Duration = Duration::from_secs(5);
/// From the change of a file to its effect.
const EFFECT: Duration = Duration::from_millis(100);
const CONDITION: &str = "cilium.io/IPAMRequestSatisfied";
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 1);

#[test]
fn a_change_of_a_file_is_announced_within_100_milliseconds() {
    let stage = Stage::new(Lab::alone());
    let router = stage.lab.host("router");
    stage.lab.plug(&router, "lan", "eth0", &["192.168.10.1/24"]);
    let peer = ScriptedPeer::listen(&router, ROUTER.into(), 179);
    stage.manifests.write(
        "policy.yaml",
        &peering_policy(
            64512,
            &[Neighbor {
                hold_time: 90,
                ..Neighbor::new(ROUTER, 64513)
            }],
        ),
    );
    let fairway = stage.start();
    let mut session = peer.accept(SOON);
    session.establish(&open(64513, 90, ROUTER));
    eventually("Established", SOON, || {
        holds(
            fairway.is_established("192.168.10.1"),
            fairway.peer("192.168.10.1"),
        )
    });

    let service = Service::new("default", "web");
    let (first, second) = (
        "192.168.10.230/32".to_owned(),
        "192.168.10.231/32".to_owned(),
    );
    let mut took = Vec::new();
    for _ in 0..4 {
        let mut measure =
            |what: &str, change: &dyn Fn(), announced: &[String], withdrawn: &[String]| {
                let begin = now();
                change();
                let at = wait_for_routes(&mut session, announced, withdrawn);
                took.push((at.duration_since(begin), what.to_owned()));
            };
        let added = service.clone().asking_for("192.168.10.230").yaml();
        let edited = service.clone().asking_for("192.168.10.231").yaml();
        measure(
            "added",
            &|| stage.manifests.write("web.yaml", &added),
            std::slice::from_ref(&first),
            &[],
        );
        measure(
            "edited",
            &|| stage.manifests.overwrite("web.yaml", &edited),
            std::slice::from_ref(&second),
            std::slice::from_ref(&first),
        );
        measure(
            "removed",
            &|| stage.manifests.remove("web.yaml"),
            &[],
            std::slice::from_ref(&second),
        );
    }
    took.sort();
    println!("from the change of a file to the router: {took:?}");
    let late = took.iter().filter(|(took, _)| *took > EFFECT).count();
    assert!(
        late <= 1,
        "{late} of {} changes took longer than {EFFECT:?}: {took:?}",
        took.len()
    );
}

#[test]
fn a_broken_file_is_named_with_its_line_and_its_last_good_version_stays() {
    let stage = Stage::new(Lab::new());
    let web = Service::new("default", "web");
    stage
        .manifests
        .write("good.yaml", &Service::new("default", "other").yaml());
    stage.manifests.write("web.yaml", &web.yaml());
    let fairway = stage.start();
    let before = stage.until_served(&fairway, &["default/other", "default/web"]);

    let broken = format!(
        "{}---\napiVersion: v1\nkind: Service\nmetadata:\n  name: [unclosed\nspec: {{}}\n",
        web.yaml()
    );
    let fault = broken
        .lines()
        .position(|line| line.contains("[unclosed"))
        .expect("it is there")
        + 1;
    stage.manifests.write("web.yaml", &broken);
    let place = eventually("the file is named with a line", SOON, || {
        place_in(&fairway.process.log(), "web.yaml")
    });
    assert!(
        (fault..=fault + 1).contains(&place),
        "the fault is in line {fault}, not {place}"
    );
    throughout(
        "both Services keep their address",
        Duration::from_secs(1),
        || holds(fairway.addresses() == before, fairway.addresses()),
    );

    stage
        .manifests
        .write("third.yaml", &Service::new("default", "third").yaml());
    stage.until_served(&fairway, &["default/other", "default/third", "default/web"]);
    stage
        .manifests
        .write("web.yaml", &Service::new("default", "web-renamed").yaml());
    stage.until_served(
        &fairway,
        &["default/other", "default/third", "default/web-renamed"],
    );
}

#[test]
fn a_file_that_was_never_right_hinders_no_other() {
    let stage = Stage::new(Lab::new());
    stage.manifests.write(
        "a-broken.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: [\n",
    );
    stage
        .manifests
        .write("z-web.yaml", &Service::new("default", "web").yaml());
    let fairway = stage.start();
    stage.until_served(&fairway, &["default/web"]);
    eventually("the file is named with a line", SOON, || {
        place_in(&fairway.process.log(), "a-broken.yaml")
    });
}

#[test]
fn odd_files_hinder_no_other() {
    let stage = Stage::new(Lab::new());
    let folder = stage.manifests.folder();
    fs::write(folder.join("binary.yaml"), [0xff; 4096]).expect("written");
    fs::write(folder.join("notes.txt"), "kind: [").expect("written");
    fs::create_dir(folder.join("folder.yaml")).expect("made");
    std::os::unix::fs::symlink(folder, folder.join("loop")).expect("linked");
    std::os::unix::fs::symlink("/nowhere/at/all", folder.join("dangling.yaml")).expect("linked");
    output_of("mkfifo", &[&folder.join("pipe.yaml").display().to_string()]);
    stage.manifests.write("bomb.yaml", &alias_bomb());
    stage
        .manifests
        .write("web.yaml", &Service::new("default", "web").yaml());
    let mut fairway = stage.start();
    stage.until_served(&fairway, &["default/web"]);
    stage.manifests.write(
        "folder.yaml/inner.yaml",
        &Service::new("default", "inner").yaml(),
    );
    stage.until_served(&fairway, &["default/inner", "default/web"]);
    assert!(fairway.process.is_running());
    let memory = fairway.process.resident_kib().expect("it runs");
    assert!(memory < 128 * 1024, "{memory} KiB");
}

/// Nine levels of nine references each: some hundred octets that unfold to hundreds of millions of items.
fn alias_bomb() -> String {
    let mut yaml = "apiVersion: v1\nkind: Service\nmetadata:\n  name: bomb\nl0: &l0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let below = vec![format!("*l{}", level - 1); 9].join(", ");
        yaml.push_str(&format!("l{level}: &l{level} [{below}]\n"));
    }
    yaml
}

#[test]
fn addresses_are_the_same_after_twenty_crashes_at_any_moment() {
    const SEED: u64 = 0x5eed_0003;
    println!("seed {SEED:#x}");
    let mut random = SEED;
    let stage = Stage::new(Lab::new());
    stage
        .manifests
        .write("pool.yaml", &pool("pool", &["10.20.0.0/24"]));
    // The first ones hold the low addresses and go away: what is kept is then not what a fresh allocation would give.
    let fillers: Vec<String> = (0..8)
        .map(|index| Service::new("default", &format!("filler-{index}")).yaml())
        .collect();
    stage
        .manifests
        .write("fillers.yaml", &fillers.join("---\n"));
    let names: Vec<String> = (0..20).map(|index| format!("kept-{index:02}")).collect();
    let mut fairway = stage.start();
    stage.until_count(&fairway, fillers.len());
    let kept: Vec<String> = names
        .iter()
        .map(|name| Service::new("default", name).yaml())
        .collect();
    stage.manifests.write("kept.yaml", &kept.join("---\n"));
    stage.until_count(&fairway, fillers.len() + kept.len());
    stage.manifests.remove("fillers.yaml");
    let before = stage.until_count(&fairway, kept.len());
    assert!(
        before.values().all(|addresses| addresses.len() == 1),
        "{before:?}"
    );

    for crash in 0..20 {
        for edit in 0..next(&mut random) % 40 {
            let name = format!("churn-{}", next(&mut random) % 6);
            let file = format!("{name}.yaml");
            if next(&mut random).is_multiple_of(3) && stage.manifests.folder().join(&file).exists()
            {
                stage.manifests.remove(&file);
            } else {
                stage.manifests.write(
                    &file,
                    &Service::new("default", &name)
                        .labelled("edit", &edit.to_string())
                        .yaml(),
                );
            }
        }
        // Each look takes some milliseconds: the crash falls anywhere into reading, planning and writing.
        for _ in 0..next(&mut random) % 5 {
            fairway.addresses();
        }
        fairway.kill();
        for (file, content) in files_below(&stage.setup().state) {
            let whole: Result<Value, _> = serde_json::from_str(&content);
            assert!(
                whole.is_ok() || !file.ends_with(".json"),
                "torn after crash {crash}: {file}: {content}"
            );
        }
        fairway = stage.start();
        let after: BTreeMap<String, Vec<String>> =
            eventually("all kept Services have an address", SOON, || {
                let all: BTreeMap<_, _> = fairway
                    .addresses()
                    .into_iter()
                    .filter(|(name, _)| before.contains_key(name))
                    .collect();
                if all.len() == before.len() && all.values().all(|addresses| !addresses.is_empty())
                {
                    Ok(all)
                } else {
                    Err(all)
                }
            });
        assert_eq!(after, before, "after crash {crash}");
        let all: Vec<String> = fairway
            .addresses()
            .into_iter()
            .flat_map(|(_, addresses)| addresses)
            .collect();
        let distinct: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(
            distinct.len(),
            all.len(),
            "no address twice after crash {crash}"
        );
    }
}

#[test]
fn addresses_survive_an_orderly_restart_and_a_lost_state_folder_still_starts() {
    let stage = Stage::new(Lab::new());
    stage
        .manifests
        .write("a.yaml", &Service::new("default", "a").yaml());
    let mut fairway = stage.start();
    stage.until_served(&fairway, &["default/a"]);
    stage
        .manifests
        .write("b.yaml", &Service::new("default", "b").yaml());
    let before = stage.until_served(&fairway, &["default/a", "default/b"]);
    stage.manifests.remove("a.yaml");
    stage.until_served(&fairway, &["default/b"]);
    assert!(fairway.stop().success());
    let mut fairway = stage.start();
    let after = stage.until_served(&fairway, &["default/b"]);
    assert_eq!(after[0], before[1], "not the lowest free one, but its own");

    assert!(fairway.stop().success());
    let state = stage.setup().state;
    if state.is_dir() {
        fs::remove_dir_all(&state)
    } else {
        fs::remove_file(&state)
    }
    .expect("the state can be lost");
    let fairway = stage.start();
    stage.until_served(&fairway, &["default/b"]);
}

#[test]
fn an_exhausted_pool_says_so_and_serves_who_waits_as_soon_as_it_can() {
    let stage = Stage::new(Lab::new());
    stage
        .manifests
        .write("pool.yaml", &pool("pool", &["10.20.0.1-10.20.0.2"]));
    stage
        .manifests
        .write("a.yaml", &Service::new("default", "a").yaml());
    let fairway = stage.start();
    stage.until_served(&fairway, &["default/a"]);
    stage
        .manifests
        .write("b.yaml", &Service::new("default", "b").yaml());
    stage.until_served(&fairway, &["default/a", "default/b"]);
    stage
        .manifests
        .write("c.yaml", &Service::new("default", "c").yaml());
    let condition = eventually("c is refused", SOON, || {
        refusal(&fairway.service("default", "c"))
    });
    assert_eq!(condition["reason"], "out_of_ips");
    assert_eq!(
        condition["message"],
        "All enabled CiliumLoadBalancerIPPools that match this service ran out of allocatable IPs"
    );

    stage.manifests.remove("a.yaml");
    eventually("c gets the address that became free", SOON, || {
        let service = fairway.service("default", "c");
        holds(
            addresses_of(&service) == ["10.20.0.1"] && refusal(&service).is_err(),
            service,
        )
    });
}

#[test]
fn requested_addresses_are_given_or_refused_with_the_reason() {
    let stage = Stage::new(Lab::new());
    stage.manifests.write(
        "a.yaml",
        &Service::new("default", "a")
            .asking_for("192.168.10.230, 192.168.10.233")
            .yaml(),
    );
    let fairway = stage.start();
    eventually("both requested addresses", SOON, || {
        let service = fairway.service("default", "a");
        holds(
            addresses_of(&service) == ["192.168.10.230", "192.168.10.233"],
            service,
        )
    });
    let refused = |name: &str, asks: &str, reason: &str, message: &str| {
        stage.manifests.write(
            &format!("{name}.yaml"),
            &Service::new("default", name).asking_for(asks).yaml(),
        );
        let condition = eventually(&format!("{name} is refused"), SOON, || {
            refusal(&fairway.service("default", name))
        });
        assert_eq!(
            (condition["reason"].as_str(), condition["message"].as_str()),
            (Some(reason), Some(message))
        );
        assert_eq!(
            addresses_of(&fairway.service("default", name)),
            [""; 0],
            "never another address"
        );
    };
    refused(
        "taken",
        "192.168.10.230",
        "already_allocated",
        "The IP '192.168.10.230' is already allocated to another service",
    );
    refused(
        "outside",
        "10.9.9.9",
        "no_pool",
        "No pool exists with a CIDR containing '10.9.9.9'",
    );
    refused(
        "typo",
        "192.168.10.2300",
        "invalid_request",
        "The requested address '192.168.10.2300' is not an IP address",
    );
    eventually("a is not touched by it", SOON, || {
        let addresses = addresses_of(&fairway.service("default", "a"));
        holds(addresses == ["192.168.10.230", "192.168.10.233"], addresses)
    });
}

#[test]
fn services_and_pools_are_shown_as_a_list_of_whole_objects() {
    let stage = Stage::new(Lab::new());
    stage.manifests.write(
        "web.yaml",
        &Service::new("default", "web").labelled("app", "web").yaml(),
    );
    let fairway = stage.start();
    stage.until_served(&fairway, &["default/web"]);
    let services = fairway.ask_json(&["services"]);
    assert_eq!(
        (&services["apiVersion"], &services["kind"]),
        (&"v1".into(), &"List".into())
    );
    let service = &services["items"][0];
    assert_eq!(
        (&service["apiVersion"], &service["kind"]),
        (&"v1".into(), &"Service".into())
    );
    assert_eq!(service["metadata"]["labels"]["app"], "web");
    assert_eq!(service["spec"]["ports"][0]["port"], 80);
    let conditions = service["status"]["conditions"]
        .as_array()
        .expect("conditions");
    assert!(
        conditions
            .iter()
            .any(|condition| condition["type"] == CONDITION && condition["status"] == "True"),
        "{service}"
    );
    let pools = fairway.ask_json(&["pools"]);
    assert_eq!(pools["kind"], "List");
    assert_eq!(
        (
            &pools["items"][0]["kind"],
            &pools["items"][0]["metadata"]["name"]
        ),
        (&"CiliumLoadBalancerIPPool".into(), &"pool".into())
    );
    for form in ["table", "json", "yaml"] {
        for subject in ["services", "pools", "peers", "routes"] {
            let printed = fairway
                .ask(&[subject, "-o", form])
                .unwrap_or_else(|error| panic!("{subject} -o {form}: {error}"));
            assert!(
                !printed.trim().is_empty(),
                "{subject} -o {form} prints something"
            );
        }
    }
}

#[test]
fn a_removed_pool_gives_its_addresses_up_and_a_renamed_one_hands_them_over() {
    let stage = Stage::new(Lab::new());
    stage.manifests.write(
        "web.yaml",
        &Service::new("default", "web")
            .asking_for("192.168.10.230")
            .yaml(),
    );
    let fairway = stage.start();
    let before = stage.until_served(&fairway, &["default/web"]);
    stage
        .manifests
        .write("pool.yaml", &pool("renamed", &["192.168.10.224/28"]));
    throughout("the address is handed over", Duration::from_secs(1), || {
        holds(fairway.addresses() == before, fairway.addresses())
    });
    stage
        .manifests
        .write("pool.yaml", &pool("renamed", &["10.20.0.0/24"]));
    eventually("an address whose pool is gone is given up", SOON, || {
        holds(fairway.addresses()[0].1.is_empty(), fairway.addresses())
    });
}

#[test]
fn a_wrong_flag_is_wrong_usage_and_an_unreachable_api_is_named() {
    let output = command(&["run", "--no-such-flag"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("--no-such-flag"));
    let output = command(&["peers", "--api", "/nowhere/at/all.sock"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let complaint = text(&output.stderr);
    assert!(
        complaint.contains("/nowhere/at/all.sock") && complaint.trim_end().lines().count() == 1,
        "one line that names it: {complaint}"
    );
    let output = command(&[
        "run",
        "--manifests",
        "/nowhere/at/all",
        "--node",
        "k3s1",
        "--listen",
        "off",
    ]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("/nowhere/at/all"));
}

/// One node with a pool; nothing to peer with unless a test writes it.
struct Stage {
    lab: Lab,
    host: Host,
    manifests: Manifests,
}

impl Stage {
    fn new(lab: Lab) -> Self {
        let host = lab.host("k3s1");
        lab.plug(&host, "lan", "eth0", &["192.168.10.21/24"]);
        let manifests = Manifests::in_folder(&lab.directory().join("manifests"));
        manifests.write("node.yaml", &node("k3s1", &["192.168.10.21"], &[]));
        manifests.write("pool.yaml", &pool("pool", &["192.168.10.224/28"]));
        Self {
            lab,
            host,
            manifests,
        }
    }

    fn setup(&self) -> FairwaySetup {
        FairwaySetup::new("k3s1", self.manifests.folder(), self.lab.directory())
    }

    fn start(&self) -> Fairway {
        self.setup().start(&self.host)
    }

    /// Waits until exactly these Services are there and each has one address.
    fn until_served(&self, fairway: &Fairway, names: &[&str]) -> Vec<(String, Vec<String>)> {
        eventually(&format!("exactly {names:?} are served"), SOON, || {
            let all = fairway.addresses();
            let right = all.iter().map(|(name, _)| name).eq(names)
                && all.iter().all(|(_, addresses)| addresses.len() == 1);
            if right { Ok(all) } else { Err(all) }
        })
    }

    fn until_count(&self, fairway: &Fairway, count: usize) -> BTreeMap<String, Vec<String>> {
        eventually(&format!("{count} Services are served"), SOON, || {
            let all = fairway.addresses();
            let right = all.len() == count && all.iter().all(|(_, addresses)| addresses.len() == 1);
            if right {
                Ok(all.into_iter().collect())
            } else {
                Err(all)
            }
        })
    }
}

/// Names and contents of the files below a folder.
fn files_below(folder: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            let content = fs::read(&path).expect("a readable file");
            files.push((path.display().to_string(), text(&content)));
        }
    }
    files
}

/// When an UPDATE completed what is wanted.
fn wait_for_routes(
    session: &mut Connection,
    announced: &[String],
    withdrawn: &[String],
) -> std::time::Instant {
    let (mut missing, mut remaining) = (announced.to_vec(), withdrawn.to_vec());
    loop {
        let update = session.expect(kind::UPDATE, SOON);
        let (new, gone) = ipv4_routes(&update);
        missing.retain(|prefix| !new.contains(prefix));
        remaining.retain(|prefix| !gone.contains(prefix));
        if missing.is_empty() && remaining.is_empty() {
            return update.at;
        }
    }
}

/// The condition of a Service that is refused an address.
fn refusal(service: &Value) -> Result<Value, Value> {
    let conditions = service["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let condition = conditions
        .into_iter()
        .find(|condition| condition["type"] == CONDITION && condition["status"] == "False");
    condition.ok_or_else(|| service.clone())
}

/// The line number that the log gives beside this file (`web.yaml:12`).
fn place_in(log: &str, file: &str) -> Result<usize, String> {
    let mark = format!("{file}:");
    let numbers = log.match_indices(&mark).filter_map(|(at, _)| {
        let digits: String = log[at + mark.len()..]
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse().ok()
    });
    numbers.last().ok_or_else(|| log.to_owned())
}

/// xorshift64: the same numbers for the same seed.
fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random
}
