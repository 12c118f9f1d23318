//! GoBGP's daemon with a configuration of our own.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde_json::Value;
use tokio::process::Command;

use crate::cli::Failure;
use crate::cli::demo::network::{CLUSTER_ASN, ROUTER_ASN, free_port};
use crate::cli::demo::process::{Process, find, words};
use crate::cli::demo::view::{Way, Ways};

use super::{Setting, output_of};

/// The running daemon.
#[derive(Debug)]
pub(super) struct Gobgp {
    pub(super) process: Process,
    pub(super) log: PathBuf,
    tool: PathBuf,
    api_port: u16,
}

impl Gobgp {
    pub(super) fn start(setting: Setting<'_>) -> Result<Self, Failure> {
        let missing = |program: &str| {
            Failure::Unreachable(format!(
                "--router gobgp needs {program}: install the package gobgpd"
            ))
        };
        let gobgpd = find("gobgpd", &["/usr/bin", "/usr/sbin"]).ok_or_else(|| missing("gobgpd"))?;
        let tool = find("gobgp", &["/usr/bin", "/usr/sbin"]).ok_or_else(|| missing("gobgp"))?;
        let (file, log) = (
            setting.directory.join("gobgpd.toml"),
            setting.directory.join("gobgpd.log"),
        );
        fs::write(&file, configuration(setting.address, setting.nodes))
            .map_err(|error| Failure::Unreachable(format!("{}: {error}", file.display())))?;
        let api_port = free_port(Ipv4Addr::LOCALHOST)?;
        let arguments = words([
            &"-f" as &dyn AsRef<std::ffi::OsStr>,
            &file,
            &"--api-hosts",
            &format!("127.0.0.1:{api_port}"),
            &"--pprof-disable",
        ]);
        let process = Process::start(&gobgpd, &arguments, &log)?;
        Ok(Self {
            process,
            log,
            tool,
            api_port,
        })
    }

    pub(super) async fn ways(&self) -> Result<Ways, String> {
        let mut command = Command::new(&self.tool);
        command.args([
            "-u",
            "127.0.0.1",
            "-p",
            &self.api_port.to_string(),
            "-j",
            "global",
            "rib",
            "-a",
            "ipv4",
        ]);
        parse(&output_of(command).await?)
    }

    pub(super) fn try_this(&self) -> String {
        format!("{} -p {} global rib", self.tool.display(), self.api_port)
    }
}

fn configuration(address: SocketAddr, nodes: &[(&str, IpAddr)]) -> String {
    let mut text = format!(
        "[global.config]\n  as = {ROUTER_ASN}\n  router-id = \"192.168.10.1\"\n  port = {}\n  local-address-list = [\"{}\"]\n",
        address.port(),
        address.ip()
    );
    for (name, node) in nodes {
        // Writing into a String cannot fail.
        let _ = write!(
            text,
            "\n[[neighbors]]\n  [neighbors.config]\n    neighbor-address = \"{node}\"\n    peer-as = {CLUSTER_ASN}\n    \
             description = \"{name}\"\n  [neighbors.transport.config]\n    passive-mode = true\n    local-address = \"{}\"\n",
            address.ip()
        );
    }
    text
}

/// Reads `gobgp -j global rib`.
fn parse(text: &str) -> Result<Ways, String> {
    let document: Value =
        serde_json::from_str(text).map_err(|error| format!("gobgp printed no JSON: {error}"))?;
    let mut ways = Ways::new();
    for (prefix, paths) in document.as_object().into_iter().flatten() {
        let prefix: IpNet = prefix
            .parse()
            .map_err(|_| format!("gobgp printed the prefix {prefix:?}"))?;
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

fn way(path: &Value) -> Option<Way> {
    let attribute = |kind: u64| {
        path["attrs"]
            .as_array()?
            .iter()
            .find(|attribute| attribute["type"] == kind)
    };
    let next_hop = attribute(3)?["nexthop"].as_str()?.parse().ok()?;
    let segments = attribute(2)?["as_paths"].as_array()?;
    let asns: Vec<String> = segments
        .iter()
        .flat_map(|segment| segment["asns"].as_array().into_iter().flatten())
        .map(ToString::to_string)
        .collect();
    Some(Way {
        next_hop,
        as_path: asns.join(" "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_are_read_from_gobgps_json() {
        let ways = parse(
            r#"{"192.168.10.224/32":[{"nlri":{"prefix":"192.168.10.224/32"},"best":true,
                "attrs":[{"type":1,"value":0},{"type":2,"as_paths":[{"segment_type":2,"num":1,"asns":[64512]}]},{"type":3,"nexthop":"127.0.0.21"}]}]}"#,
        )
        .unwrap();
        let known: Vec<(String, &str)> = ways
            .values()
            .flatten()
            .map(|way| (way.next_hop.to_string(), way.as_path.as_str()))
            .collect();
        assert_eq!(known, [("127.0.0.21".to_owned(), "64512")]);
        assert_eq!(parse("{}").unwrap(), Ways::new());
        assert!(parse("Network not in table").is_err());
    }
}
