//! What was typed, as it was typed. [`config`](crate::config) says what of it is valid.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

/// Gives Kubernetes services an address and makes the network find it.
#[derive(Debug, Parser)]
#[command(name = "fairway", version, about, disable_help_subcommand = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run Fairway: allocate addresses, talk to the routers, announce.
    Run(RunArgs),
    /// See it work: a small network on loopback, without root and without other software.
    Demo(DemoArgs),
    /// Show the BGP peers of a running Fairway.
    Peers(PeersArgs),
    /// Show the routes of a running Fairway.
    Routes(RoutesArgs),
    /// Show the Services with the status that Fairway writes.
    Services(ServicesArgs),
    /// Show the address pools with the status that Fairway writes.
    Pools(PoolsArgs),
    /// Print the CustomResourceDefinitions for a cluster without Cilium.
    ///
    /// They are YAML for `kubectl apply -f -`.
    ///
    /// Do not install them over Cilium's own, which Cilium's operator keeps as its release has them. Where Cilium no longer has
    /// a kind that your manifests use, install that one alone: `fairway crds CiliumBGPPeeringPolicy | kubectl apply -f -`.
    ///
    /// Removing a definition from a cluster removes every object of its kind.
    Crds(CrdsArgs),
}

/// `fairway run`
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// Read objects from the YAML files below this directory instead of from Kubernetes.
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// The Node that this process speaks for.
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    pub node: Option<String>,
    /// Where to keep what would be written to the Kubernetes API; only with --manifests.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// The local API: a unix socket path, or a loopback address and port
    /// [default: /run/fairway/api.sock or $XDG_RUNTIME_DIR/fairway/api.sock].
    #[arg(long, value_name = "ADDR")]
    pub api: Option<String>,
    /// Allow --api on an address that other machines reach; the API then has no access control at all.
    #[arg(long)]
    pub api_allow_remote: bool,
    /// Health and metrics: address and port, or `off` (default: `[::]:9633`, or the node's own address where that is a
    /// loopback address).
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t = LogFormat::Auto, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Announce a Service of traffic policy Cluster although none of its endpoints is ready.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set, num_args = 0..=1,
          default_missing_value = "true", require_equals = true)]
    pub enable_no_service_endpoints_routable: bool,
    /// The namespace of the Secrets that hold TCP MD5 passwords.
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    pub bgp_secrets_namespace: String,
    /// Who serves Services without a loadBalancerClass.
    #[arg(long, value_enum, default_value_t = DefaultIpam::Lbipam, value_name = "IPAM")]
    pub default_lb_service_ipam: DefaultIpam,
    /// Whether this process allocates addresses; `auto` leaves them alone where Cilium's operator does it.
    #[arg(long, value_enum, default_value_t = Ipam::Auto, value_name = "WHO")]
    pub ipam: Ipam,
    /// Reach Kubernetes as this file says, instead of as the pod that this process runs in.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The namespace of the lease by which one process is chosen to allocate [default: the pod's own, else kube-system].
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE")]
    pub namespace: Option<String>,
    /// For how long a deleted Service's addresses are kept for one that is made under the same name.
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub address_memory: String,
}

/// `fairway demo`
#[derive(Clone, Debug, Default, Args)]
pub struct DemoArgs {
    /// The router to peer with.
    #[arg(long, value_enum, default_value_t = DemoRouter::Builtin, value_name = "ROUTER")]
    pub router: DemoRouter,
    /// Play the story once, then leave.
    #[arg(long)]
    pub once: bool,
}

/// `fairway peers`
#[derive(Clone, Debug, Default, Args)]
pub struct PeersArgs {
    /// How to show it.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// `fairway routes`
#[derive(Clone, Debug, Default, Args)]
pub struct RoutesArgs {
    /// `[available|advertised] [ipv4|ipv6] [unicast] [vrouter ASN] [peer|neighbor ADDRESS]`
    #[arg(value_name = "WORD")]
    pub words: Vec<String>,
    /// How to show it.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// `fairway services`
#[derive(Clone, Debug, Default, Args)]
pub struct ServicesArgs {
    /// How to show it.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// `fairway pools`
#[derive(Clone, Debug, Default, Args)]
pub struct PoolsArgs {
    /// How to show it.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// `fairway crds`
#[derive(Clone, Debug, Default, Args)]
pub struct CrdsArgs {
    /// Only these kinds: kind, plural or short name, such as CiliumBGPPeeringPolicy or ippools [default: all].
    #[arg(value_name = "KIND")]
    pub kinds: Vec<String>,
}

/// What all commands that show something have in common.
#[derive(Clone, Debug, Default, Args)]
pub struct ViewArgs {
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Table, value_name = "FORMAT")]
    pub output: OutputFormat,
    /// Show it again whenever it changes.
    #[arg(short, long)]
    pub watch: bool,
    /// The local API of the Fairway to ask: a unix socket path, or an address and port
    /// [default: /run/fairway/api.sock, then $XDG_RUNTIME_DIR/fairway/api.sock].
    #[arg(long, value_name = "ADDR", env = "FAIRWAY_API")]
    pub api: Option<String>,
}

/// `-o`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Columns for people.
    #[default]
    Table,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// `--log-format`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
    /// Human on a terminal, JSON otherwise.
    #[default]
    Auto,
}

/// `--default-lb-service-ipam`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DefaultIpam {
    /// Fairway.
    #[default]
    Lbipam,
    /// Cilium's node IPAM.
    Nodeipam,
    /// Nobody.
    None,
}

/// `--ipam`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Ipam {
    /// Allocate.
    On,
    /// Only announce what others allocated.
    Off,
    /// Allocate unless Cilium does.
    #[default]
    Auto,
}

/// `--router`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DemoRouter {
    /// A small router inside this process.
    #[default]
    Builtin,
    /// GoBGP, if it is installed.
    Gobgp,
    /// FRR, if it is installed.
    Frr,
}

/// Why there are no arguments to go on with.
#[derive(Debug, PartialEq, Eq)]
pub enum NotParsed {
    /// Help or version was asked for: print this and leave with success.
    Asked(String),
    /// Wrong usage, in one line.
    Wrong(String),
}

impl Arguments {
    /// Parses a command line, program name first.
    ///
    /// # Errors
    /// Help that was asked for, or what is wrong in one line.
    pub fn from_words(
        words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, NotParsed> {
        Self::try_parse_from(words).map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                NotParsed::Asked(error.render().to_string())
            }
            _ => NotParsed::Wrong(one_line(&error)),
        })
    }
}

/// clap's message is several lines for people at a prompt; the first one says what is wrong, the context what is possible.
fn one_line(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command is missing; `fairway --help` lists them".to_owned();
    }
    let rendered = error.render().to_string();
    let mut what: String = rendered
        .lines()
        .take_while(|line| !line.trim().is_empty())
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ")
        .trim_start_matches("error: ")
        .to_owned();
    if let Some(ContextValue::String(hint)) = error
        .get(ContextKind::SuggestedArg)
        .or_else(|| error.get(ContextKind::SuggestedSubcommand))
    {
        what.push_str(&format!("; did you mean {hint}?"));
    }
    format!("{what}; see `fairway --help` and `fairway COMMAND --help`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, NotParsed> {
        Arguments::from_words(line.split_whitespace())
    }

    fn wrong(line: &str) -> String {
        match parse(line) {
            Err(NotParsed::Wrong(text)) => text,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }

    #[test]
    fn endpoints_routable_takes_a_value_or_none() {
        for (line, expected) in [
            ("fairway run", true),
            ("fairway run --enable-no-service-endpoints-routable", true),
            (
                "fairway run --enable-no-service-endpoints-routable=true",
                true,
            ),
            (
                "fairway run --enable-no-service-endpoints-routable=false",
                false,
            ),
        ] {
            let Ok(Arguments {
                command: Command::Run(run),
            }) = parse(line)
            else {
                panic!("{line}")
            };
            assert_eq!(run.enable_no_service_endpoints_routable, expected, "{line}");
        }
    }

    #[test]
    fn wrong_usage_is_one_line_that_names_the_fault() {
        for (line, word) in [
            ("fairway", "command"),
            ("fairway rum", "'rum'"),
            ("fairway run --manifest x", "--manifest"),
            ("fairway run --log-format xml", "xml"),
            ("fairway peers -o csv", "csv"),
            ("fairway run --node", "--node"),
        ] {
            let text = wrong(line);
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(text.contains(word), "{line}: {text}");
        }
    }

    #[test]
    fn routes_takes_bare_words_and_the_common_flags() {
        let Ok(Arguments {
            command: Command::Routes(routes),
        }) = parse("fairway routes advertised ipv6 -o json -w --api /x")
        else {
            panic!("not parsed")
        };
        assert_eq!(routes.words, ["advertised", "ipv6"]);
        assert_eq!(routes.view.output, OutputFormat::Json);
        assert!(routes.view.watch);
        assert_eq!(routes.view.api.as_deref(), Some("/x"));
    }

    #[test]
    fn help_is_not_an_error() {
        assert!(matches!(parse("fairway --help"), Err(NotParsed::Asked(_))));
        assert!(matches!(
            parse("fairway run --help"),
            Err(NotParsed::Asked(_))
        ));
    }
}
