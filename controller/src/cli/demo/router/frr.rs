//! FRR's bgpd, alone and unprivileged: without zebra it installs nothing, but it decides as on any router.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde_json::Value;
use tokio::process::Command;

use crate::cli::Failure;
use crate::cli::demo::network::{CLUSTER_ASN, ROUTER_ASN};
use crate::cli::demo::process::{Process, find, words};
use crate::cli::demo::view::{Way, Ways};

use super::{Setting, output_of};

/// Where Debian and Fedora keep the daemons.
const DAEMON_DIRECTORIES: [&str; 3] = ["/usr/lib/frr", "/usr/libexec/frr", "/usr/sbin"];

/// The running daemon.
#[derive(Debug)]
pub(super) struct Frr {
    pub(super) process: Process,
    pub(super) log: PathBuf,
    vtysh: PathBuf,
    directory: PathBuf,
}

impl Frr {
    pub(super) fn start(setting: Setting<'_>) -> Result<Self, Failure> {
        let missing = |program: &str| {
            Failure::Unreachable(format!(
                "--router frr needs {program}: install the package frr"
            ))
        };
        let bgpd = find("bgpd", &DAEMON_DIRECTORIES).ok_or_else(|| missing("bgpd"))?;
        let vtysh = find("vtysh", &["/usr/bin", "/usr/sbin"]).ok_or_else(|| missing("vtysh"))?;
        let directory = setting.directory.join("frr");
        let (file, log) = (directory.join("bgpd.conf"), directory.join("bgpd.log"));
        fs::create_dir(&directory)
            .and_then(|()| fs::write(&file, configuration(setting.nodes)))
            .map_err(|error| Failure::Unreachable(format!("{}: {error}", file.display())))?;
        let arguments = words([
            &"-f" as &dyn AsRef<std::ffi::OsStr>,
            &file,
            &"-i",
            &directory.join("bgpd.pid"),
            &"--vty_socket",
            &directory,
            // No zebra, no change of user, no TCP port for its own terminal.
            &"-z",
            &directory.join("no-zebra"),
            &"-n",
            &"-S",
            &"-P",
            &"0",
            &"-l",
            &setting.address.ip().to_string(),
            &"-p",
            &setting.address.port().to_string(),
            &"--log",
            &"stdout",
        ]);
        let process = Process::start(&bgpd, &arguments, &log)?;
        Ok(Self {
            process,
            log,
            vtysh,
            directory,
        })
    }

    pub(super) async fn ways(&self) -> Result<Ways, String> {
        let mut command = Command::new(&self.vtysh);
        command.arg("--vty_socket").arg(&self.directory).args([
            "-d",
            "bgpd",
            "-c",
            "show bgp ipv4 unicast json",
        ]);
        parse(&output_of(command).await?)
    }

    pub(super) fn try_this(&self) -> String {
        format!(
            "{} --vty_socket {} -d bgpd -c 'show bgp ipv4 unicast'",
            self.vtysh.display(),
            self.directory.display()
        )
    }
}

fn configuration(nodes: &[(&str, IpAddr)]) -> String {
    let mut text = format!(
        "router bgp {ROUTER_ASN}\n bgp router-id 192.168.10.1\n no bgp default ipv4-unicast\n \
         no bgp ebgp-requires-policy\n bgp allow-martian-nexthop\n bgp log-neighbor-changes\n"
    );
    for (name, address) in nodes {
        // Writing into a String cannot fail.
        let _ = write!(
            text,
            " neighbor {address} remote-as {CLUSTER_ASN}\n neighbor {address} description {name}\n neighbor {address} passive\n"
        );
    }
    text.push_str(" address-family ipv4 unicast\n");
    for (_, address) in nodes {
        let _ = writeln!(text, "  neighbor {address} activate");
    }
    text.push_str("  maximum-paths 8\n exit-address-family\nexit\n");
    text
}

/// Reads `show bgp ipv4 unicast json`.
fn parse(text: &str) -> Result<Ways, String> {
    let document: Value =
        serde_json::from_str(text).map_err(|error| format!("vtysh printed no JSON: {error}"))?;
    let mut ways = Ways::new();
    for (prefix, paths) in document["routes"].as_object().into_iter().flatten() {
        let prefix: IpNet = prefix
            .parse()
            .map_err(|_| format!("vtysh printed the prefix {prefix:?}"))?;
        let mut known: Vec<Way> = paths
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(way)
            .collect();
        known.sort();
        ways.insert(prefix, known);
    }
    Ok(ways)
}

/// Only ways that FRR itself holds usable count.
fn way(path: &Value) -> Option<Way> {
    let next_hop = path["nexthops"]
        .as_array()?
        .iter()
        .find_map(|hop| hop["ip"].as_str()?.parse().ok())?;
    (path["valid"] == true).then(|| Way {
        next_hop,
        as_path: path["path"].as_str().unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_are_those_that_frr_holds_valid() {
        let ways = parse(
            r#"{"routes": { "192.168.10.224/32": [
                {"valid":true,"bestpath":true,"path":"64512","nexthops":[{"ip":"127.0.0.23","used":true}]},
                {"valid":true,"multipath":true,"path":"64512","nexthops":[{"ip":"127.0.0.21","used":true}]},
                {"path":"64512","nexthops":[{"ip":"127.0.0.31"}]}] } }"#,
        )
        .unwrap();
        let hops: Vec<String> = ways
            .values()
            .flatten()
            .map(|way| way.next_hop.to_string())
            .collect();
        assert_eq!(hops, ["127.0.0.21", "127.0.0.23"]);
        assert_eq!(parse(r#"{"routes": {  }  } "#).unwrap(), Ways::new());
        assert!(parse("% Unknown command").is_err());
    }
}
