//! tokio around the cores: sockets, clocks and tasks. What is decided is decided in `bgp_core`; here it is performed.
//!
//! The only room with `unsafe`: in [`socket_options`] for socket options, in [`memory`] for the allocator, where no safe wrapper
//! offers them.

pub mod changes;
pub mod driver;
pub mod memory;
pub mod socket_options;
pub mod tcp;
