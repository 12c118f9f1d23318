//! Socket options of a BGP transport (RFC 4271 section 8, RFC 2385, RFC 5082): TTL, DSCP, TCP MD5, timeouts.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd as _};
use std::time::Duration;

use socket2::{SockAddr, SockRef};

use crate::cluster::Password;

/// DSCP CS6 (network control) in the traffic class octet.
const TRAFFIC_CLASS_CS6: u32 = 0xC0;
/// How long sent octets may stay unacknowledged, or the peer's window closed, before the kernel gives the connection up.
/// Above the send hold time (RFC 9687: eight minutes), so that the protocol decides first wherever it watches at all.
const USER_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Longest TCP MD5 key that Linux takes (`TCP_MD5SIG_MAXKEYLEN`).
pub const MD5_KEY_MAX: usize = 80;

/// What every BGP socket gets: no delay, DSCP CS6, a bound on unacknowledged data.
///
/// # Errors
/// The system's.
pub fn common(socket: &impl AsFd, family: IpAddr) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    match family {
        IpAddr::V4(_) => socket.set_tos_v4(TRAFFIC_CLASS_CS6),
        IpAddr::V6(_) => socket.set_tclass_v6(TRAFFIC_CLASS_CS6),
    }
}

/// The TTL (hop limit) of everything sent from now on.
///
/// # Errors
/// The system's.
pub fn ttl(socket: &impl AsFd, family: IpAddr, ttl: u8) -> io::Result<()> {
    let socket = SockRef::from(socket);
    match family {
        IpAddr::V4(_) => socket.set_ttl_v4(ttl.into()),
        IpAddr::V6(_) => socket.set_unicast_hops_v6(ttl.into()),
    }
}

/// GTSM (RFC 5082): drop what arrives with a TTL (hop limit) below `least`.
///
/// # Errors
/// The system's.
pub fn least_ttl(socket: &impl AsFd, family: IpAddr, least: u8) -> io::Result<()> {
    let (level, name) = match family {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MINTTL),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT),
    };
    set(socket, level, name, &libc::c_int::from(least))
}

/// TCP MD5 (RFC 2385) towards one neighbour, on a connecting socket before it connects or on a listener; `None` removes
/// the neighbour's key.
///
/// # Errors
/// A key that is too long or empty, or a kernel that has no TCP MD5, in words an operator can act on.
pub fn md5(socket: &impl AsFd, neighbour: IpAddr, password: Option<&Password>) -> io::Result<()> {
    let key = password.map_or(&[][..], |password| &password.0);
    if password.is_some() && (key.is_empty() || key.len() > MD5_KEY_MAX) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "a TCP MD5 password has 1 to {MD5_KEY_MAX} octets, this one has {}",
                key.len()
            ),
        ));
    }
    let address = SockAddr::from(std::net::SocketAddr::new(neighbour, 0));
    let mut option = TcpMd5Sig {
        // SAFETY: `sockaddr_storage` is plain data, for which all zeroes is a valid value (an unspecified family).
        address: unsafe { std::mem::zeroed() },
        flags: 0,
        prefix_length: 0,
        // At most MD5_KEY_MAX, checked above.
        key_length: u16::try_from(key.len()).unwrap_or(0),
        interface: 0,
        key: [0; MD5_KEY_MAX],
    };
    // SAFETY: both are at least `address.len()` octets long: the source holds an address of that length, and the
    // destination is a `sockaddr_storage`, which is as large as any address; they do not overlap.
    unsafe {
        std::ptr::copy_nonoverlapping(
            address.as_ptr().cast::<u8>(),
            (&raw mut option.address).cast::<u8>(),
            usize::try_from(address.len())
                .unwrap_or(0)
                .min(size_of::<libc::sockaddr_storage>()),
        );
    }
    option.key[..key.len()].copy_from_slice(key);
    match set(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG, &option) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) && password.is_none() => Ok(()),
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOPROTOOPT | libc::EOPNOTSUPP)
            ) =>
        {
            Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this kernel has no TCP MD5 signatures (CONFIG_TCP_MD5SIG, or FIPS mode); the peer's password cannot be used",
            ))
        }
        result => result,
    }
}

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct TcpMd5Sig {
    address: libc::sockaddr_storage,
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    interface: libc::c_int,
    key: [u8; MD5_KEY_MAX],
}

fn set<T>(socket: &impl AsFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is borrowed for the call, `value` points to `length` readable octets, and the kernel copies
    // them before the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const *value).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
