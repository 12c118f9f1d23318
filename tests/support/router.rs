//! Real routers: FRR, BIRD and GoBGP, each as a process in a host's namespace; GoBGP as a container as well.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use crate::clock::{eventually, holds};
use crate::lab::{Host, Lab};
use crate::process::{Process, output_of, record, run, text};

const START: Duration = Duration::from_secs(20);
const BGP: u16 = 179;

/// FRR: zebra and bgpd in the host's namespace.
#[derive(Debug)]
pub struct Frr {
    sockets: PathBuf,
    /// The BGP daemon.
    pub bgpd: Process,
    /// The kernel's side.
    pub zebra: Process,
}

impl Frr {
    /// Starts FRR and waits until bgpd listens and answers.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    pub fn start(lab: &Lab, host: &Host, configuration: &str) -> Self {
        let sockets = lab.directory().join(format!("frr-{}", host.name()));
        fs::create_dir(&sockets).expect("a directory for FRR");
        let zebra_file = sockets.join("zebra.conf");
        let bgpd_file = sockets.join("bgpd.conf");
        fs::write(
            &zebra_file,
            format!("hostname {}\nlog stdout\n", host.name()),
        )
        .expect("zebra's file");
        fs::write(&bgpd_file, configuration).expect("bgpd's file");
        output_of("chown", &["-R", "frr:frr", &sockets.display().to_string()]);

        let daemon = |name: &str, file: &Path| {
            let mut command = Command::new(format!("/usr/lib/frr/{name}"));
            command.env("TZ", "UTC").arg("-f").arg(file);
            command
                .arg("-i")
                .arg(sockets.join(format!("{name}.pid")))
                .arg("-z")
                .arg(sockets.join("zserv.api"));
            command.arg("--vty_socket").arg(&sockets).args(["-P", "0"]);
            host.start(name, command)
        };
        let zebra = daemon("zebra", &zebra_file);
        eventually("zebra opens its socket", START, || {
            holds(sockets.join("zserv.api").exists(), zebra.log())
        });
        let bgpd = daemon("bgpd", &bgpd_file);
        eventually("bgpd listens", START, || {
            holds(host.listens_on(BGP), bgpd.log())
        });
        eventually("bgpd's terminal opens", START, || {
            holds(sockets.join("bgpd.vty").exists(), bgpd.log())
        });
        Self {
            sockets,
            bgpd,
            zebra,
        }
    }

    /// What `vtysh -c COMMAND` prints.
    #[track_caller]
    pub fn show(&self, command: &str) -> String {
        output_of(
            "vtysh",
            &[
                "--vty_socket",
                &self.sockets.display().to_string(),
                "-c",
                command,
            ],
        )
    }

    /// The JSON that `vtysh -c COMMAND` prints (give the word `json` yourself).
    #[track_caller]
    pub fn json(&self, command: &str) -> Value {
        let printed = self.show(command);
        serde_json::from_str(&printed)
            .unwrap_or_else(|error| panic!("`{command}` printed no JSON ({error}): {printed}"))
    }

    /// The neighbours that are Established in this family (`ipv4Unicast`, `ipv6Unicast`), sorted.
    pub fn established(&self, family: &str) -> Vec<String> {
        let summary = self.json("show bgp summary json");
        let mut peers: Vec<String> = summary[family]["peers"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, peer)| peer["state"] == "Established")
            .map(|(address, _)| address.clone())
            .collect();
        peers.sort();
        peers
    }

    /// The paths to exactly this prefix.
    pub fn paths(&self, prefix: &str) -> Vec<RoutePath> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let answer = self.json(&format!("show bgp {family} unicast {prefix} json"));
        let mut paths: Vec<RoutePath> = answer["paths"]
            .as_array()
            .into_iter()
            .flatten()
            .map(RoutePath::of_frr)
            .collect();
        paths.sort();
        paths
    }

    /// All prefixes of a family (`ipv4`, `ipv6`) in its table, sorted.
    pub fn prefixes(&self, family: &str) -> Vec<String> {
        let table = self.json(&format!("show bgp {family} unicast json"));
        let mut prefixes: Vec<String> = table["routes"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(prefix, _)| prefix.clone())
            .collect();
        prefixes.sort();
        prefixes
    }

    /// When bgpd logged that this neighbour came up, each time, as time since 1970. Its log file format is
    /// `2026/01/31 12:34:56.123456 BGP: ...` with `log timestamp precision 6`.
    pub fn came_up(&self, neighbor: &str) -> Vec<Duration> {
        let mark = format!("neighbor {neighbor}");
        self.bgpd
            .log()
            .lines()
            .filter(|line| {
                line.contains("ADJCHANGE") && line.contains(&mark) && line.ends_with(" Up")
            })
            .filter_map(timestamp)
            .collect()
    }
}

/// One path as a router shows it: next hop, AS path, origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoutePath {
    /// Next hop.
    pub next_hop: String,
    /// The AS path, blank between two.
    pub as_path: String,
    /// `IGP`, `EGP` or `incomplete`.
    pub origin: String,
}

impl RoutePath {
    fn of_frr(path: &Value) -> Self {
        let global = path["nexthops"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|hop| hop["scope"] != "link-local");
        Self {
            next_hop: global
                .and_then(|hop| hop["ip"].as_str())
                .unwrap_or_default()
                .to_owned(),
            as_path: path["aspath"]["string"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            origin: path["origin"].as_str().unwrap_or_default().to_owned(),
        }
    }

    fn of_gobgp(path: &Value) -> Self {
        let attributes = path["attrs"].as_array().cloned().unwrap_or_default();
        let attribute = |kind: u64| {
            attributes
                .iter()
                .find(|attribute| attribute["type"] == kind)
                .cloned()
                .unwrap_or_default()
        };
        let (origin, as_path, next_hop, reach) =
            (attribute(1), attribute(2), attribute(3), attribute(14));
        let asns: Vec<String> = as_path["as_paths"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|segment| segment["asns"].as_array().cloned().unwrap_or_default())
            .map(|asn| asn.to_string())
            .collect();
        let next_hop = next_hop["nexthop"]
            .as_str()
            .or_else(|| reach["nexthop"].as_str())
            .unwrap_or_default()
            .to_owned();
        let origin = match origin["value"].as_u64() {
            None | Some(0) if !origin.is_null() => "IGP",
            Some(1) => "EGP",
            Some(2) => "incomplete",
            _ => "absent",
        };
        Self {
            next_hop,
            as_path: asns.join(" "),
            origin: origin.to_owned(),
        }
    }
}

/// BIRD 2 in the host's namespace.
#[derive(Debug)]
pub struct Bird {
    socket: PathBuf,
    /// The daemon.
    pub process: Process,
}

impl Bird {
    /// Starts BIRD and waits until it answers.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    pub fn start(lab: &Lab, host: &Host, configuration: &str) -> Self {
        let file = lab.directory().join(format!("bird-{}.conf", host.name()));
        let socket = lab.directory().join(format!("bird-{}.ctl", host.name()));
        fs::write(&file, configuration).expect("BIRD's file");
        let mut command = Command::new("/usr/sbin/bird");
        command
            .arg("-f")
            .arg("-c")
            .arg(&file)
            .arg("-s")
            .arg(&socket)
            .arg("-P")
            .arg(lab.directory().join(format!("bird-{}.pid", host.name())));
        let process = host.start("bird", command);
        let bird = Self { socket, process };
        eventually("BIRD answers", START, || {
            if bird.socket.exists() {
                bird.ask("show status").map(|_| ())
            } else {
                Err(bird.process.log())
            }
        });
        bird
    }

    /// What `birdc COMMAND` prints.
    #[track_caller]
    pub fn show(&self, command: &str) -> String {
        self.ask(command)
            .unwrap_or_else(|answer| panic!("birdc {command}: {answer}"))
    }

    fn ask(&self, command: &str) -> Result<String, String> {
        let mut arguments = vec!["-s", self.socket.to_str().unwrap_or_default()];
        arguments.extend(command.split_whitespace());
        let output = run("/usr/sbin/birdc", &arguments);
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stdout) + &text(&output.stderr))
        }
    }

    /// Whether the protocol of this name is Established.
    pub fn is_established(&self, protocol: &str) -> bool {
        self.show(&format!("show protocols {protocol}"))
            .lines()
            .any(|line| line.starts_with(protocol) && line.trim_end().ends_with("Established"))
    }

    /// The paths to exactly this prefix.
    pub fn paths(&self, prefix: &str) -> Vec<RoutePath> {
        // BIRD calls an empty answer a failure.
        let shown = match self.ask(&format!("show route all {prefix}")) {
            Err(answer) if answer.contains("not found") => String::new(),
            answer => answer.unwrap_or_else(|answer| panic!("birdc show route: {answer}")),
        };
        let mut paths = Vec::new();
        for line in shown.lines() {
            let line = line.trim();
            if line.contains("unicast [") {
                paths.push(RoutePath {
                    next_hop: String::new(),
                    as_path: String::new(),
                    origin: String::new(),
                });
            }
            let Some(path) = paths.last_mut() else {
                continue;
            };
            match line.split_once(": ") {
                Some(("BGP.origin", origin)) => path.origin = origin.to_owned(),
                Some(("BGP.as_path", as_path)) => path.as_path = as_path.to_owned(),
                Some(("BGP.next_hop", hop)) => {
                    path.next_hop = hop.split_whitespace().next().unwrap_or_default().to_owned()
                }
                _ => {}
            }
        }
        paths.sort();
        paths
    }

    /// How many routes its tables hold.
    pub fn prefixes(&self) -> Vec<String> {
        let mut prefixes: Vec<String> = self
            .ask("show route")
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .filter(|word| word.contains('/'))
            .map(str::to_owned)
            .collect();
        prefixes.sort();
        prefixes.dedup();
        prefixes
    }
}

/// GoBGP in a container that is plugged into the lab's switch. Dropping it removes the container.
#[derive(Debug)]
pub struct GobgpContainer {
    name: String,
    /// Its namespace, a host of the lab.
    pub host: Host,
}

/// How a [`GobgpContainer`] is set up.
#[derive(Clone, Debug)]
pub struct GobgpSetup {
    /// Its AS.
    pub asn: u32,
    /// Its BGP identifier.
    pub router_id: Ipv4Addr,
    /// Its address with the length of the LAN's prefix.
    pub address: String,
    /// Neighbours: address and AS.
    pub neighbors: Vec<(IpAddr, u32)>,
    /// Hold time in seconds; a third of it between keepalives.
    pub hold_time: u32,
    /// The port on which it dials its neighbours; `None` waits for them.
    pub dials: Option<u16>,
}

impl GobgpContainer {
    /// Starts the container, joins its namespace to the segment `lan`, and starts gobgpd in it once the link is there.
    ///
    /// # Panics
    /// When no container engine answers, or GoBGP does not come up.
    #[track_caller]
    pub fn start(lab: &Lab, name: &str, setup: &GobgpSetup) -> Self {
        let image = gobgp_image();
        let directory = lab.directory().join(format!("gobgp-{name}"));
        fs::create_dir(&directory).expect("a directory for GoBGP");
        fs::write(directory.join("gobgpd.yaml"), setup.configuration()).expect("GoBGP's file");
        let container = lab.unique(name);
        record("container", &container);
        let volume = format!("{}:/etc/gobgp:ro", directory.display());
        let run = [
            "run",
            "--detach",
            "--name",
            &container,
            "--network",
            "none",
            "--volume",
            &volume,
            image,
        ];
        let daemon = [
            "-t",
            "yaml",
            "-f",
            "/etc/gobgp/gobgpd.yaml",
            "--api-hosts",
            "127.0.0.1:50051",
        ];
        docker(&[&run[..], &daemon[..]].concat());
        let host = join(lab, &container, name, &setup.address);
        let gobgp = Self {
            name: container,
            host,
        };
        gobgp.wait_until_it_listens();
        gobgp
    }

    /// Ends the container's process at once, as a crash would, and starts it anew.
    #[track_caller]
    pub fn restart(&mut self, lab: &Lab, name: &str, setup: &GobgpSetup) {
        docker(&["kill", &self.name]);
        // The name keeps the old namespace alive, and its kernel would go on answering ARP for the address.
        self.host.ip("link delete eth0");
        docker(&["start", &self.name]);
        self.host = join(lab, &self.name, &format!("{name}-again"), &setup.address);
        self.wait_until_it_listens();
    }

    /// Freezes it: its kernel goes on answering, it says nothing any more.
    #[track_caller]
    pub fn freeze(&self) {
        docker(&["pause", &self.name]);
    }

    /// Ends the freeze.
    #[track_caller]
    pub fn thaw(&self) {
        docker(&["unpause", &self.name]);
    }

    /// What `gobgp -j ...` prints.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let printed = docker(&[&["exec", &self.name, "/usr/bin/gobgp", "-j"], arguments].concat());
        serde_json::from_str(&printed).unwrap_or_else(|error| {
            panic!("gobgp {arguments:?} printed no JSON ({error}): {printed}")
        })
    }

    /// Whether the session with this neighbour is Established.
    pub fn is_established(&self, neighbor: &str) -> bool {
        const ESTABLISHED: u64 = 6;
        let all = self.json(&["neighbor"]);
        all.as_array().into_iter().flatten().any(|peer| {
            let state = &peer["state"];
            state["neighbor_address"] == neighbor
                && (state["session_state"] == ESTABLISHED
                    || state["session_state"] == "ESTABLISHED")
        })
    }

    /// Its global table of a family (`ipv4`, `ipv6`): prefix and paths, sorted.
    pub fn rib(&self, family: &str) -> Vec<(String, Vec<RoutePath>)> {
        let table = self.json(&["global", "rib", "-a", family]);
        let mut routes: Vec<(String, Vec<RoutePath>)> = table
            .as_object()
            .into_iter()
            .flatten()
            .map(|(prefix, paths)| {
                (
                    prefix.clone(),
                    paths
                        .as_array()
                        .into_iter()
                        .flatten()
                        .map(RoutePath::of_gobgp)
                        .collect(),
                )
            })
            .collect();
        routes.sort();
        routes
    }

    /// What gobgpd has logged.
    pub fn log(&self) -> String {
        let output = docker_command(&["logs", &self.name])
            .output()
            .expect("docker runs");
        text(&output.stdout) + &text(&output.stderr)
    }

    #[track_caller]
    fn wait_until_it_listens(&self) {
        eventually("GoBGP listens", START, || {
            holds(self.host.listens_on(BGP), self.log())
        });
        eventually("GoBGP answers", START, || {
            let output = docker_command(&["exec", &self.name, "/usr/bin/gobgp", "global"])
                .output()
                .expect("docker runs");
            holds(output.status.success(), text(&output.stderr))
        });
    }
}

impl Drop for GobgpContainer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- {} ----\n{}", self.name, self.log());
        }
        let _ = docker_command(&["rm", "--force", &self.name]).output();
    }
}

impl GobgpSetup {
    fn configuration(&self) -> String {
        let mut file = format!(
            "global:\n  config:\n    as: {}\n    router-id: {}\nneighbors:\n",
            self.asn, self.router_id
        );
        for (address, asn) in &self.neighbors {
            let families = if address.is_ipv4() {
                &["ipv4-unicast"][..]
            } else {
                &["ipv4-unicast", "ipv6-unicast"][..]
            };
            file.push_str(&format!(
                "  - config: {{ neighbor-address: \"{address}\", peer-as: {asn} }}\n"
            ));
            match self.dials {
                Some(port) => file.push_str(&format!(
                    "    transport: {{ config: {{ remote-port: {port} }} }}\n"
                )),
                None => file.push_str("    transport: { config: { passive-mode: true } }\n"),
            }
            let (hold, keepalive) = (self.hold_time, self.hold_time / 3);
            file.push_str(&format!("    timers: {{ config: {{ hold-time: {hold}, keepalive-interval: {keepalive} }} }}\n    afi-safis:\n"));
            for family in families {
                file.push_str(&format!("      - config: {{ afi-safi-name: {family} }}\n"));
            }
        }
        file
    }
}

#[track_caller]
fn join(lab: &Lab, container: &str, name: &str, address: &str) -> Host {
    let id = docker(&["inspect", "--format", "{{.State.Pid}}", container]);
    let host = lab.host_of_process(name, id.trim().parse().expect("docker prints a process id"));
    lab.plug(&host, "lan", "eth0", &[address]);
    host
}

/// The image, built once in this process from the installed gobgpd: nothing but the two programs and what they are linked to.
#[track_caller]
fn gobgp_image() -> &'static str {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let name = format!("fairway-lab-gobgp:{}", std::process::id());
        let context =
            std::env::temp_dir().join(format!("fairway-lab-gobgp-{}", std::process::id()));
        record("image", &name);
        record("directory", context.display());
        for program in ["/usr/bin/gobgpd", "/usr/bin/gobgp"] {
            copy_into(&context.join("root"), Path::new(program));
            for library in libraries_of(program) {
                copy_into(&context.join("root"), &library);
            }
        }
        fs::write(
            context.join("Dockerfile"),
            "FROM scratch\nCOPY root/ /\nENTRYPOINT [\"/usr/bin/gobgpd\"]\n",
        )
        .expect("a Dockerfile");
        let mut build = docker_command(&[
            "build",
            "--quiet",
            "--tag",
            &name,
            &context.display().to_string(),
        ]);
        let output = build
            .env("DOCKER_BUILDKIT", "0")
            .output()
            .expect("docker runs");
        assert!(
            output.status.success(),
            "docker build failed: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        let _ = fs::remove_dir_all(&context);
        name
    })
}

fn libraries_of(program: &str) -> Vec<PathBuf> {
    let output = run("ldd", &[program]);
    text(&output.stdout)
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

fn copy_into(root: &Path, file: &Path) {
    let target = root.join(file.strip_prefix("/").expect("an absolute path"));
    fs::create_dir_all(target.parent().expect("a file has a folder"))
        .expect("a folder can be made");
    fs::copy(file, &target).unwrap_or_else(|error| {
        panic!(
            "cannot copy {}: {error}; is gobgpd installed?",
            file.display()
        )
    });
    fs::set_permissions(&target, fs::Permissions::from_mode(0o755))
        .expect("permissions can be set");
}

#[track_caller]
fn docker(arguments: &[&str]) -> String {
    let output = docker_command(arguments)
        .output()
        .unwrap_or_else(|error| panic!("cannot run docker: {error}"));
    assert!(
        output.status.success(),
        "docker {arguments:?} failed: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

fn docker_command(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments);
    command
}

/// `2026/01/31 12:34:56.123456 ...` (UTC) as time since 1970.
fn timestamp(line: &str) -> Option<Duration> {
    let mut words = line.split_whitespace();
    let mut date = words
        .next()?
        .split('/')
        .map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, fraction) = words.next()?.split_once('.')?;
    let mut clock = clock.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let nanoseconds: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    // Days since 1970 of the proleptic Gregorian calendar, years counted from March so that the leap day comes last.
    let (from_march, shifted) = if month > 2 {
        (month - 3, year)
    } else {
        (month + 9, year - 1)
    };
    let days = 365 * shifted + shifted / 4 - shifted / 100
        + shifted / 400
        + (153 * from_march + 2) / 5
        + day
        - 1
        - 719_468;
    let seconds = u64::try_from(((days * 24 + hour) * 60 + minute) * 60 + second).ok()?;
    Some(Duration::new(seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_s_timestamp_is_read_to_the_microsecond() {
        assert_eq!(
            timestamp("1970/01/01 00:00:00.000001 BGP: x"),
            Some(Duration::from_micros(1))
        );
        assert_eq!(
            timestamp("2024/02/29 12:00:00.5 BGP: x"),
            Some(Duration::from_millis(1_709_208_000_500))
        );
        assert_eq!(timestamp("no date here"), None);
    }
}
