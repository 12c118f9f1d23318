//! What is valid: the arguments of `fairway run`, checked once at the door.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::args::{DefaultIpam, Ipam, LogFormat, RunArgs};
use crate::cli::Failure;
use crate::observe::api;
use crate::plan::Settings;

/// Where the local API is served unless told otherwise.
const DEFAULT_SOCKET: &str = "/run/fairway/api.sock";
/// Below `$XDG_RUNTIME_DIR`, for who may not write to `/run`.
const OWN_SOCKET: &str = "fairway/api.sock";
/// Port of health and metrics unless told otherwise.
const HEALTH_PORT: u16 = 9633;

/// A run that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunConfig {
    /// Where objects come from and statuses go.
    pub source: Source,
    /// The node, where it was named.
    pub node: Option<String>,
    /// Where the local API may be served: the first place that can be had.
    pub api: Vec<api::Address>,
    /// Where health and metrics are served.
    pub listen: Listen,
    /// How log lines look.
    pub log_format: LogFormat,
    /// `--enable-no-service-endpoints-routable`
    pub no_service_endpoints_routable: bool,
    /// `--bgp-secrets-namespace`
    pub secrets_namespace: String,
    /// Whether Services without a class are ours.
    pub default_ipam: bool,
    /// Whether we allocate.
    pub ipam: Ipam,
    /// How long the addresses of a deleted Service are kept for one of the same name.
    pub address_memory: Duration,
}

/// Where objects come from and statuses go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// YAML files.
    Directory {
        /// The directory that objects come from.
        manifests: PathBuf,
        /// Where statuses are kept.
        state: Option<PathBuf>,
    },
    /// A Kubernetes API server.
    Kubernetes {
        /// How to reach it; `None`: as the pod that we run in.
        kubeconfig: Option<PathBuf>,
        /// Where the lease lives; `None`: the pod's own namespace, else `kube-system`.
        namespace: Option<String>,
    },
}

/// Where health and metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// On this port of every address, or of the node's own where that is a loopback address.
    Default(u16),
    /// There.
    At(SocketAddr),
}

impl RunConfig {
    /// Checks what was typed. `runtime_directory` is `$XDG_RUNTIME_DIR`.
    ///
    /// # Errors
    /// The argument that is wrong, and what to do.
    pub fn new(args: RunArgs, runtime_directory: Option<PathBuf>) -> Result<Self, Failure> {
        let source = source(&args)?;
        if args.node.as_deref() == Some("") {
            return Err(Failure::Usage(
                "run: --node (or NODE_NAME) is empty; name a Node".to_owned(),
            ));
        }
        Ok(Self {
            source,
            node: args.node,
            api: match args.api {
                Some(text) => vec![api_address(&text, args.api_allow_remote)?],
                None => default_api(runtime_directory),
            },
            listen: match args.listen {
                Some(text) => listen(&text)?,
                None => Listen::Default(HEALTH_PORT),
            },
            log_format: args.log_format,
            no_service_endpoints_routable: args.enable_no_service_endpoints_routable,
            secrets_namespace: args.bgp_secrets_namespace,
            default_ipam: args.default_lb_service_ipam == DefaultIpam::Lbipam,
            ipam: args.ipam,
            address_memory: address_memory(&args.address_memory)?,
        })
    }

    /// The planner's switches for a node.
    pub fn settings(&self, node: &str) -> Settings {
        Settings {
            node: node.to_owned(),
            no_service_endpoints_routable: self.no_service_endpoints_routable,
            default_ipam: self.default_ipam,
            ipv4: true,
            ipv6: true,
            bgp_enabled: true,
            l2_enabled: true,
            address_memory: self.address_memory,
        }
    }
}

fn source(args: &RunArgs) -> Result<Source, Failure> {
    let Some(manifests) = &args.manifests else {
        if args.state.is_some() {
            return Err(Failure::Usage(
                "run: --state goes with --manifests; in a cluster the API server keeps the statuses".to_owned(),
            ));
        }
        return Ok(Source::Kubernetes {
            kubeconfig: args.kubeconfig.clone(),
            namespace: args.namespace.clone(),
        });
    };
    if args.kubeconfig.is_some() {
        return Err(Failure::Usage(
            "run: --kubeconfig and --manifests exclude each other: objects come from one place"
                .to_owned(),
        ));
    }
    if !manifests.is_dir() {
        return Err(Failure::Unreachable(format!(
            "run: --manifests {}: there is no such directory that can be read",
            manifests.display()
        )));
    }
    Ok(Source::Directory {
        manifests: manifests.clone(),
        state: args.state.clone(),
    })
}

/// `1h`, `90m`, `1h30m`, `45s`, `0`.
fn address_memory(text: &str) -> Result<Duration, Failure> {
    let wrong = || {
        Failure::Usage(format!(
            "run: --address-memory {text}: not a time; say something like 1h, 90m or 0"
        ))
    };
    let (mut seconds, mut number) = (0_u64, String::new());
    for character in text.chars() {
        let unit = match character {
            '0'..='9' => {
                number.push(character);
                continue;
            }
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return Err(wrong()),
        };
        let count: u64 = std::mem::take(&mut number).parse().map_err(|_| wrong())?;
        seconds = count
            .checked_mul(unit)
            .and_then(|more| seconds.checked_add(more))
            .ok_or_else(wrong)?;
    }
    match number.as_str() {
        "0" => {}
        "" if !text.is_empty() => {}
        _ => return Err(wrong()),
    }
    Ok(Duration::from_secs(seconds))
}

impl Listen {
    /// The address to bind for a node whose first InternalIP is `internal`.
    pub fn address(self, internal: Option<IpAddr>) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::At(address) => Some(address),
            Self::Default(port) => {
                let own = internal.filter(IpAddr::is_loopback);
                Some(SocketAddr::new(
                    own.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
                    port,
                ))
            }
        }
    }
}

/// What was typed after `--api`; an address that other machines reach only where that is allowed.
pub(crate) fn api_address(text: &str, allow_remote: bool) -> Result<api::Address, Failure> {
    let bare = text.strip_prefix("unix:").unwrap_or(text);
    if bare.contains('/') {
        return Ok(api::Address::Unix(PathBuf::from(bare)));
    }
    let Some(address) = socket_address(bare) else {
        return Err(Failure::Usage(format!(
            "--api {text}: neither the path of a unix socket nor an address and port; \
             say something like ./fairway.sock or 127.0.0.1:9634"
        )));
    };
    if !address.ip().is_loopback() && !allow_remote {
        return Err(Failure::Usage(format!(
            "--api {text}: other machines reach this address and the API has no access control; \
             take a loopback address, or add --api-allow-remote"
        )));
    }
    Ok(api::Address::Tcp(address))
}

/// Where the local API is unless told otherwise, the first place that can be had. `runtime_directory` is
/// `$XDG_RUNTIME_DIR`.
pub(crate) fn default_api(runtime_directory: Option<PathBuf>) -> Vec<api::Address> {
    let mut places = vec![api::Address::Unix(PathBuf::from(DEFAULT_SOCKET))];
    places
        .extend(runtime_directory.map(|directory| api::Address::Unix(directory.join(OWN_SOCKET))));
    places
}

fn listen(text: &str) -> Result<Listen, Failure> {
    if text == "off" {
        return Ok(Listen::Off);
    }
    let address = match text.strip_prefix(':').and_then(|port| port.parse().ok()) {
        Some(port) => Some(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)),
        None => socket_address(text),
    };
    address.map(Listen::At).ok_or_else(|| {
        Failure::Usage(format!(
            "run: --listen {text}: not an address and port; say something like [::]:9633, or off"
        ))
    })
}

fn socket_address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}").parse().ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Arguments, Command};

    fn config(line: &str) -> Result<RunConfig, Failure> {
        let words = ["fairway", "run"]
            .into_iter()
            .chain(line.split_whitespace());
        let Ok(Arguments {
            command: Command::Run(run),
        }) = Arguments::from_words(words)
        else {
            panic!("{line}")
        };
        RunConfig::new(run, Some(PathBuf::from("/own")))
    }

    fn failure(line: &str) -> String {
        config(line).unwrap_err().to_string()
    }

    #[test]
    fn objects_come_from_one_place_and_kubernetes_is_the_default() {
        let kubernetes = |kubeconfig: Option<&str>| Source::Kubernetes {
            kubeconfig: kubeconfig.map(PathBuf::from),
            namespace: None,
        };
        assert_eq!(config("").unwrap().source, kubernetes(None));
        assert_eq!(
            config("--kubeconfig a").unwrap().source,
            kubernetes(Some("a"))
        );
        assert!(failure("--kubeconfig a --manifests .").contains("exclude each other"));
        assert!(failure("--state .").contains("--manifests"));
    }

    #[test]
    fn the_memory_of_addresses_is_a_time() {
        for (text, seconds) in [
            ("1h", 3600),
            ("90m", 5400),
            ("1h30m", 5400),
            ("0", 0),
            ("2d", 172_800),
            ("45s", 45),
        ] {
            let config = config(&format!("--address-memory {text}")).unwrap();
            assert_eq!(
                config.address_memory,
                Duration::from_secs(seconds),
                "{text}"
            );
        }
        assert_eq!(
            config("").unwrap().address_memory,
            Duration::from_secs(3600)
        );
        for text in ["5", "h", "1.5h", "-1h", "99999999999999999999h", "1h5"] {
            let line = format!("--address-memory={text}");
            assert!(failure(&line).contains("--address-memory"), "{text}");
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let failure = config("--manifests /does/not/exist").unwrap_err();
        assert_eq!(failure.exit_code(), 3);
        assert!(failure.to_string().contains("/does/not/exist"));
    }

    #[test]
    fn the_api_is_local_unless_told_otherwise() {
        let unix = |path: &str| api::Address::Unix(PathBuf::from(path));
        assert_eq!(
            config("--manifests .").unwrap().api,
            [unix("/run/fairway/api.sock"), unix("/own/fairway/api.sock")]
        );
        assert_eq!(
            config("--manifests . --api ./a.sock").unwrap().api,
            [unix("./a.sock")]
        );
        assert_eq!(
            config("--manifests . --api localhost:1").unwrap().api,
            [api::Address::Tcp("127.0.0.1:1".parse().unwrap())]
        );
        assert!(failure("--manifests . --api 0.0.0.0:80").contains("--api-allow-remote"));
        assert!(config("--manifests . --api 0.0.0.0:80 --api-allow-remote").is_ok());
        assert!(failure("--manifests . --api a.sock").contains("./fairway.sock"));
    }

    #[test]
    fn a_node_on_loopback_is_asked_for_its_health_there_only() {
        let loopback = Some("127.0.0.21".parse().unwrap());
        let lan = Some("192.168.10.21".parse().unwrap());
        let default = config("--manifests .").unwrap().listen;
        assert_eq!(
            default.address(loopback),
            Some("127.0.0.21:9633".parse().unwrap())
        );
        assert_eq!(default.address(lan), Some("[::]:9633".parse().unwrap()));
        assert_eq!(default.address(None), Some("[::]:9633".parse().unwrap()));
        let own = config("--manifests . --listen 127.0.0.1:80")
            .unwrap()
            .listen;
        assert_eq!(own.address(loopback), Some("127.0.0.1:80".parse().unwrap()));
        assert_eq!(
            config("--manifests . --listen off")
                .unwrap()
                .listen
                .address(lan),
            None
        );
        assert!(failure("--manifests . --listen here").contains("--listen here"));
    }
}
