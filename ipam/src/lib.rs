//! A pure address allocator: pools and requests in, assignments and reasons out. No IO, no clock, no randomness.
//!
//! The crate knows neither Kubernetes nor BGP. Owners and pools are opaque keys; who may be served from which pool is the
//! caller's business and comes in with each [`Request`]. What it promises:
//!
//! * one address never goes to two owners that may not share it, counted over all pools, also where pools overlap;
//! * the lowest free address in the order of the pools and ranges given is taken, so the same history chooses the same;
//! * a refusal changes nothing and says why ([`Refusal`]).
//!
//! | file | job |
//! |---|---|
//! | `range` | one inclusive range, its spelling, size and overlap |
//! | `count` | sizes beyond 128 bits |
//! | `pool` | ranges and their rules |
//! | `request` | who asks, what for, and from where it may come |
//! | `selection` | which addresses are in use, and the lowest free one of a range in one lookup |
//! | `sharing` | whether owners may hold one address together |
//! | `allocator` | assign, release, restore |
//! | `error` | why not |

#![forbid(unsafe_code)]

mod allocator;
mod count;
mod error;
mod pool;
mod range;
mod request;
mod selection;
mod sharing;

pub use allocator::{Allocator, Holding, Usage};
pub use count::Count;
pub use error::{RangeError, Refusal};
pub use pool::{Pool, PoolKey, PoolRange};
pub use range::{Family, Range};
pub use request::{Request, Wanted};
pub use sharing::{Consent, Exposure, Incompatible, Port, Sharing};
