//! What a real Cilium operator did, step by step, on a real API server, and Fairway does too: the scenarios and recordings of
//! `../shared/vectors/lbipam` (`FAIRWAY_SHARED` names another place for `shared`), played by the player that lies beside them.
//!
//! A scenario mostly waits for quiet, so several play at once, each on a control plane of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use support::api_server::program;
use support::fairway::binary;
use support::lab::{Host, Lab};
use support::manifests::shared;
use support::process::Process;

/// How many play at once.
const PLAYERS: usize = 8;
const LIMIT: Duration = Duration::from_secs(900);
/// What Fairway logs when it has begun.
const READY: &str = "Fairway runs";

#[test]
fn fairway_does_what_cilium_does_or_better() {
    let vectors = shared().join("vectors/lbipam");
    if !vectors.join("play.py").is_file() {
        println!(
            "nothing played: the recordings are no part of the repository, and {} is not there",
            vectors.display()
        );
        return;
    }
    let lab = Lab::new();
    let mut players: Vec<Player> = shares(&vectors, PLAYERS)
        .into_iter()
        .enumerate()
        .map(|(number, share)| Player::start(&lab, &vectors, number, &share))
        .collect();
    for player in &mut players {
        player.process.wait_for_end(LIMIT);
    }
    let logs: Vec<String> = players.iter().map(|player| player.process.log()).collect();
    let count = |word: &str| {
        let lines = logs.iter().flat_map(|log| log.lines());
        lines.filter(|line| line.starts_with(word)).count()
    };
    for log in &logs {
        println!("{log}");
    }
    let (passed, failed, left_out) = (count("PASS "), count("FAIL "), count("SKIP "));
    println!(
        "{passed} passed, {failed} failed ({left_out} are about options of Cilium's operator)"
    );
    let wanted: usize = players.iter().map(|player| player.scenarios).sum();
    assert_eq!(failed, 0);
    assert_eq!(passed + left_out, wanted, "some were not played at all");
}

/// The scenarios' names in as many shares, each about as long as the others.
fn shares(vectors: &Path, number: usize) -> Vec<Vec<String>> {
    let mut scenarios: Vec<(usize, String)> = fs::read_dir(vectors.join("scenarios"))
        .expect("a folder of scenarios")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "yaml"))
        .flat_map(|path| scenarios_in(&path))
        .filter(|(_, name)| !name.starts_with("bgp-") && is_wanted(name))
        .collect();
    scenarios.sort();
    let mut shares: Vec<(usize, Vec<String>)> = vec![(0, Vec::new()); number];
    // The longest first, each to whoever has least to do.
    while let Some((length, name)) = scenarios.pop() {
        let least = shares.iter_mut().min_by_key(|(sum, _)| *sum);
        let (sum, share) = least.expect("there is at least one share");
        *sum += length;
        share.push(name);
    }
    let shares = shares.into_iter().map(|(_, share)| share);
    shares.filter(|share| !share.is_empty()).collect()
}

/// `FAIRWAY_SCENARIOS` names parts of names, separated by commas, of those to be played; all where it is not set.
fn is_wanted(name: &str) -> bool {
    std::env::var("FAIRWAY_SCENARIOS").map_or(true, |parts| {
        parts.split(',').any(|part| name.contains(part))
    })
}

/// Name, and about how long it takes, of each scenario of a file: what takes time are snapshots and starts.
fn scenarios_in(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).expect("a scenario");
    let documents = text.split("\n---\n");
    documents
        .filter_map(|document| {
            let mut lines = document.lines();
            let name = lines.find_map(|line| line.strip_prefix("name: "))?;
            let steps = document
                .lines()
                .filter(|line| {
                    ["- snapshot:", "- restart:", "- start:"]
                        .iter()
                        .any(|step| line.starts_with(step))
                })
                .count();
            Some((steps + 1, name.trim().to_owned()))
        })
        .collect()
}

/// One player with its own control plane on its own host.
struct Player {
    process: Process,
    scenarios: usize,
    directory: PathBuf,
    _host: Host,
}

impl Player {
    #[track_caller]
    fn start(lab: &Lab, vectors: &Path, number: usize, share: &[String]) -> Self {
        let host = lab.host(&format!("player-{number}"));
        // An API server wants an address and a route, even if nobody is there.
        lab.plug(
            &host,
            "lan",
            "eth0",
            &[&format!("192.168.10.{}/24", 100 + number)],
        );
        host.ip("route add default via 192.168.10.1");
        let directory = lab.directory().join(format!("player-{number}"));
        fs::create_dir(&directory).expect("a directory for the player");
        let programs = program("kube-apiserver");
        let api = directory.join("api.sock").display().to_string();
        let mut command = Command::new("/usr/bin/python3");
        command
            .arg(vectors.join("play.py"))
            .args(["--impl", "fairway", "--no-gc", "--keep-api"])
            .arg("--fairway")
            .arg(binary())
            .args(["--fairway-ready", READY])
            .arg("--bin")
            .arg(programs.parent().expect("a program lies in a folder"))
            .arg("--work")
            .arg(&directory);
        for switch in ["--api", &api, "--listen", "off", "--log-format", "json"] {
            command.arg(format!("--fairway-arg={switch}"));
        }
        for name in share {
            command.arg("--only").arg(format!("^{name}$"));
        }
        command.arg(vectors.join("scenarios"));
        Self {
            process: host.start("play", command),
            scenarios: share.len(),
            directory,
            _host: host,
        }
    }
}

impl Drop for Player {
    /// The player leaves its control plane running, because it would wait for it long.
    fn drop(&mut self) {
        self.process.kill();
        for name in ["api.pid", "etcd.pid"] {
            let id = fs::read_to_string(self.directory.join(name)).ok();
            let id = id.and_then(|text| text.trim().parse().ok());
            if let Some(id) = id.and_then(Pid::from_raw) {
                let _ = kill_process(id, Signal::KILL);
            }
        }
    }
}
