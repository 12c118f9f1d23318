//! Hosts on a network of their own: network namespaces joined by bridges in a namespace that plays the switch.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::Write;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::{Process, output_of, record, remove_at_exit, run, text};

/// One network with its hosts. Dropping it removes what is left of it.
#[derive(Debug)]
pub struct Lab {
    id: String,
    directory: PathBuf,
    switch: Arc<Namespace>,
    ports: Cell<u32>,
    _turn: Turn,
}

/// Tests that measure run alone; the others run beside each other.
#[derive(Debug)]
enum Turn {
    Beside {
        _guard: RwLockReadGuard<'static, ()>,
    },
    Alone {
        _guard: RwLockWriteGuard<'static, ()>,
    },
}

static TURNS: RwLock<()> = RwLock::new(());
static LABS: AtomicU32 = AtomicU32::new(0);

impl Lab {
    /// A network with an empty switch.
    ///
    /// # Panics
    /// When namespaces cannot be made: not root, or no `ip`.
    #[track_caller]
    pub fn new() -> Self {
        Self::with(Turn::Beside {
            _guard: TURNS
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        })
    }

    /// The same, and no other lab of this process stands as long as it does: for tests that measure.
    ///
    /// # Panics
    /// As [`Lab::new`].
    #[track_caller]
    pub fn alone() -> Self {
        Self::with(Turn::Alone {
            _guard: TURNS
                .write()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        })
    }

    #[track_caller]
    fn with(turn: Turn) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "the lab needs root for network namespaces: run tests/run as root"
        );
        let (id, directory) = fresh_directory();
        let switch = Arc::new(Namespace::make(&format!("{id}-switch")));
        Self {
            id,
            directory,
            switch,
            ports: Cell::new(0),
            _turn: turn,
        }
    }

    /// A directory for files of this lab, readable by every user (routers drop their privileges).
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A name that no other lab has.
    pub fn unique(&self, name: &str) -> String {
        format!("{}-{name}", self.id)
    }

    /// A host with no link but loopback.
    ///
    /// # Panics
    /// As [`Lab::new`].
    #[track_caller]
    pub fn host(&self, name: &str) -> Host {
        let namespace = Namespace::make(&self.unique(name));
        ip_batch(&namespace.name, "link set lo up\n");
        self.wrap(name, namespace)
    }

    /// The namespace of a process that brought its own (a container), as a host.
    #[track_caller]
    pub fn host_of_process(&self, name: &str, process: u32) -> Host {
        let namespace = Namespace {
            name: self.unique(name),
        };
        record("netns", &namespace.name);
        output_of(
            "ip",
            &["netns", "attach", &namespace.name, &process.to_string()],
        );
        ip_batch(&namespace.name, "link set lo up\n");
        self.wrap(name, namespace)
    }

    fn wrap(&self, name: &str, namespace: Namespace) -> Host {
        Host {
            name: name.to_owned(),
            namespace: Arc::new(namespace),
            directory: self.directory.clone(),
        }
    }

    /// Plugs `host` into the bridge `segment` (made at first use) as interface `interface`, with these addresses
    /// (`192.168.10.21/24`).
    #[track_caller]
    pub fn plug(&self, host: &Host, segment: &str, interface: &str, addresses: &[&str]) {
        let switch = &self.switch.name;
        if !run("ip", &["-n", switch, "link", "show", segment])
            .status
            .success()
        {
            ip_batch(
                switch,
                &format!("link add {segment} type bridge forward_delay 0\nlink set {segment} up\n"),
            );
        }
        let port = self.ports.get();
        self.ports.set(port + 1);
        let target = &host.namespace.name;
        let mac = hardware_address(addresses);
        ip_batch(
            switch,
            &format!(
                "link add port{port} type veth peer name {interface} address {mac} netns {target}\nlink set port{port} master {segment} up\n"
            ),
        );
        let mut setup = String::new();
        for address in addresses {
            let nodad = if address.contains(':') { " nodad" } else { "" };
            setup.push_str(&format!("addr add {address} dev {interface}{nodad}\n"));
        }
        setup.push_str(&format!("link set {interface} up\n"));
        ip_batch(target, &setup);
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A name that nothing else on this machine has, and a directory called so.
#[track_caller]
fn fresh_directory() -> (String, PathBuf) {
    let id = format!(
        "fw{:x}n{}",
        std::process::id(),
        LABS.fetch_add(1, Ordering::Relaxed)
    );
    let directory = std::env::temp_dir().join(&id);
    record("directory", directory.display());
    fs::create_dir(&directory).expect("a fresh directory can be made");
    (id, directory)
}

/// One host: a network namespace.
#[derive(Clone, Debug)]
pub struct Host {
    name: String,
    namespace: Arc<Namespace>,
    directory: PathBuf,
}

impl Host {
    /// A host without a network that stands until this process ends: for what several tests use one after the other.
    /// It, the processes in it and its directory go when this process is gone, however it ends.
    ///
    /// # Panics
    /// As [`Lab::new`].
    #[track_caller]
    pub fn lasting(name: &str) -> Self {
        let (id, directory) = fresh_directory();
        remove_at_exit("directory", directory.display());
        let namespace = Namespace::make(&format!("{id}-{name}"));
        remove_at_exit("netns", &namespace.name);
        ip_batch(&namespace.name, "link set lo up\n");
        Self {
            name: name.to_owned(),
            namespace: Arc::new(namespace),
            directory,
        }
    }

    /// The directory for files of its lab.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its short name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `ip` in it, one command a line (`route add default via 192.168.10.1`).
    #[track_caller]
    pub fn ip(&self, commands: &str) {
        ip_batch(&self.namespace.name, &format!("{commands}\n"));
    }

    /// What `ip -json` answers in it.
    #[track_caller]
    pub fn ip_json(&self, arguments: &[&str]) -> serde_json::Value {
        let mut all = vec!["-n", &self.namespace.name, "-json"];
        all.extend(arguments);
        let printed = output_of("ip", &all);
        if printed.trim().is_empty() {
            serde_json::json!([])
        } else {
            serde_json::from_str(&printed).expect("ip -json prints JSON")
        }
    }

    /// Sets a value below `/proc/sys` (`net/ipv4/ip_forward`).
    #[track_caller]
    pub fn set_sysctl(&self, key: &str, value: &str) {
        let path = format!("/proc/sys/{key}");
        self.inside(|| fs::write(&path, value))
            .unwrap_or_else(|error| panic!("cannot set {path}: {error}"));
    }

    /// Runs `action` on a thread of its own inside the namespace: sockets it opens and processes it starts live there.
    ///
    /// # Panics
    /// When the namespace is gone, or with the action's own panic.
    #[track_caller]
    pub fn inside<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        let entry = self.entry();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                entry.enter();
                action()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A way into the namespace for a thread that lives longer than one call.
    #[track_caller]
    pub fn entry(&self) -> Entry {
        let path = self.namespace.path();
        Entry {
            namespace: File::open(&path)
                .unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display())),
        }
    }

    /// Starts a process in it; its output goes to a log of its own.
    #[track_caller]
    pub fn start(&self, name: &str, command: Command) -> Process {
        let full_name = format!("{name} on {}", self.name);
        let log = self.directory.join(format!("{}-{name}.log", self.name));
        self.inside(|| Process::start(&full_name, command, &log))
    }

    /// Runs a program in it to its end and returns what it printed.
    #[track_caller]
    pub fn output_of(&self, program: &str, arguments: &[&str]) -> String {
        self.inside(|| output_of(program, arguments))
    }

    /// Whether something listens on this TCP port, on any address.
    pub fn listens_on(&self, port: u16) -> bool {
        const LISTEN: &str = "0A";
        let wanted = format!(":{port:04X}");
        self.inside(|| {
            ["tcp", "tcp6"].iter().any(|table| {
                let sockets = fs::read_to_string(format!("/proc/thread-self/net/{table}"))
                    .unwrap_or_default();
                sockets.lines().any(|line| {
                    let mut fields = line.split_whitespace().skip(1);
                    fields.next().is_some_and(|local| local.ends_with(&wanted))
                        && fields.nth(1) == Some(LISTEN)
                })
            })
        })
    }

    /// Octets that wait in this host's kernel to be sent to `remote`.
    pub fn unsent_to(&self, remote: std::net::Ipv4Addr) -> u64 {
        // The kernel writes the address as one number in its own byte order: little-endian on every machine we run on.
        let wanted = format!("{:08X}:", u32::from_le_bytes(remote.octets()));
        let sockets = self
            .inside(|| fs::read_to_string("/proc/thread-self/net/tcp"))
            .unwrap_or_default();
        let queues = sockets.lines().filter_map(|line| {
            let mut fields = line.split_whitespace().skip(2);
            let to = fields.next()?;
            let queue = fields.nth(1)?.split_once(':')?.0;
            to.starts_with(&wanted)
                .then(|| u64::from_str_radix(queue, 16).ok())?
        });
        queues.sum()
    }

    /// The next hops of the kernel's route to exactly this host prefix, sorted.
    #[track_caller]
    pub fn next_hops_to(&self, address: IpAddr) -> Vec<String> {
        let family = if address.is_ipv4() { "-4" } else { "-6" };
        let routes = self.ip_json(&[family, "route", "show", &address.to_string()]);
        let mut hops = Vec::new();
        for route in routes.as_array().into_iter().flatten() {
            let several = route["nexthops"]
                .as_array()
                .cloned()
                .unwrap_or_else(|| vec![route.clone()]);
            hops.extend(several.iter().filter_map(|hop| {
                hop["gateway"]
                    .as_str()
                    .or_else(|| hop["via"]["host"].as_str())
                    .map(str::to_owned)
            }));
        }
        hops.sort();
        hops
    }
}

/// An open door to a namespace.
#[derive(Debug)]
pub struct Entry {
    namespace: File,
}

impl Entry {
    /// Moves the calling thread into the namespace, for good.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn enter(&self) {
        move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("root may enter a network namespace");
    }
}

#[derive(Debug)]
struct Namespace {
    name: String,
}

impl Namespace {
    #[track_caller]
    fn make(name: &str) -> Self {
        record("netns", name);
        output_of("ip", &["netns", "add", name]);
        Self {
            name: name.to_owned(),
        }
    }

    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = run("ip", &["netns", "delete", &self.name]);
    }
}

/// A hardware address that depends on the addresses alone: a host that comes back after a restart has the same one, as a real
/// machine does, and its neighbours' caches stay right.
fn hardware_address(addresses: &[&str]) -> String {
    let mut hash = 0x811c_9dc5_u32;
    for octet in addresses.concat().bytes() {
        hash = (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193);
    }
    let [a, b, c, d] = hash.to_be_bytes();
    format!("02:fa:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

#[track_caller]
fn ip_batch(namespace: &str, commands: &str) {
    let mut child = Command::new("ip")
        .args(["-n", namespace, "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run ip: {error}"));
    child
        .stdin
        .take()
        .expect("its input is a pipe")
        .write_all(commands.as_bytes())
        .expect("ip reads its input");
    let output = child.wait_with_output().expect("ip ends");
    assert!(
        output.status.success(),
        "ip -n {namespace} refused:\n{commands}{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}
